//! `schema.sql` on what may be there before: nothing, the old stack's table, a table that is
//! somebody else's.

use std::{
    path::{Path, PathBuf},
    thread,
};

use testkit::wait;

use crate::{
    Outcome,
    postgres::{Database, PASSWORD, USER},
    scene::{Consumer, DEADLINE, Stage, records, topic, wait_for_rows},
};

/// As the old stack made it.
const OLD_TABLE: &str = "CREATE TABLE system_metrics (time timestamptz NOT NULL, service text, \
    pod_name text, cpu double precision, memory double precision, namespace text, node_name text)";
/// It had no key: the same row may stand there twice.
const OLD_ROWS: &str = "INSERT INTO system_metrics VALUES \
    ('2025-01-01 00:00:00+00', 'app', 'app-0', 12.5, 100, 'default', 'vm'), \
    ('2025-01-01 00:00:00+00', 'app', 'app-0', 12.5, 100, 'default', 'vm'), \
    ('2025-01-01 00:00:10+00', 'app', 'app-0', 13.5, 100, NULL, NULL)";

const COLUMNS: &str = "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute \
    WHERE attrelid = 'system_metrics'::regclass AND attnum > 0 ORDER BY attnum";
const INDEXES: &str =
    "SELECT indexdef FROM pg_indexes WHERE tablename = 'system_metrics' ORDER BY 1";

pub fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema.sql")
}

fn assert_columns(database: &Database<'_>) {
    assert_eq!(
        database.rows(COLUMNS),
        [
            "time|timestamp with time zone",
            "service|text",
            "pod_name|text",
            "cpu|double precision",
            "memory|double precision",
            "namespace|text",
            "node_name|text",
            "container_name|text",
            "network_in|bigint",
            "network_out|bigint",
        ]
    );
    let indexes = database.rows(INDEXES);
    let has = |part: &str| indexes.iter().any(|index| index.ends_with(part));
    assert!(
        has("(pod_name, \"time\" DESC, namespace, container_name, service, node_name)"),
        "{indexes:?}"
    );
    assert!(has("(\"time\" DESC)"), "{indexes:?}");
}

pub fn twice(stage: &Stage) -> Outcome {
    let database = stage.cluster.database();
    let first = database.run_file(&file()).expect("on nothing");
    assert_columns(&database);
    let before = database.rows(INDEXES);
    let second = database.run_file(&file()).expect("on its own table");
    assert_columns(&database);
    assert_eq!(database.rows(INDEXES), before);
    assert_eq!(
        database.rows("SELECT extname FROM pg_extension"),
        ["plpgsql"]
    );
    // The key is what finds a pod's newest rows, too.
    let plan = database.rows(
        "SET enable_seqscan = off; SET enable_bitmapscan = off; EXPLAIN (COSTS OFF) \
         SELECT * FROM system_metrics WHERE pod_name = 'a' ORDER BY time DESC LIMIT 10",
    );
    assert!(
        plan.iter()
            .any(|line| line.contains("Index Scan using system_metrics_sample")),
        "{plan:?}"
    );
    assert!(!plan.iter().any(|line| line.contains("Sort")), "{plan:?}");
    Ok(format!(
        "  first: {:?}, second: {:?}",
        first.trim(),
        second.trim()
    ))
}

/// The statements of README.md, as they stand there.
pub fn readme(stage: &Stage) -> Outcome {
    let database = stage.cluster.database();
    database.run_file(&file()).expect("the schema");
    database.rows(
        "INSERT INTO system_metrics SELECT now() - n * interval '10 s', 'app', 'app-0', 25, 100, \
         'default', 'vm', container, 1000000 - n * 5000, NULL \
         FROM generate_series(1, 40) AS n, (VALUES ('c0'), ('c1')) AS containers (container)",
    );
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(readme).expect("README.md");
    let (_, sql) = readme.split_once("```sql\n").expect("statements");
    let (sql, _) = sql.split_once("```").expect("their end");
    let mut saw = String::new();
    let mut statements = 0;
    for statement in sql
        .split_inclusive(";\n")
        .filter(|text| text.contains("SELECT"))
    {
        statements += 1;
        saw.push_str(&database.table(statement));
    }
    assert_eq!(statements, 3);
    // Two containers of 25 % and 100 MiB, and 5000 bytes in 10 s.
    assert!(saw.contains(" app-0    |  50 |    200\n"), "{saw}");
    assert!(saw.contains(" | app-0    | 500.000"), "{saw}");
    Ok(saw)
}

pub fn old_table(stage: &Stage) -> Outcome {
    for by_consumer in [false, true] {
        let (topic, database) = (topic(), stage.cluster.database());
        database.rows(OLD_TABLE);
        database.rows(OLD_ROWS);
        if !by_consumer {
            database.run_file(&file()).expect("on the old table");
            database.run_file(&file()).expect("again");
            assert_columns(&database);
        }
        stage.produce(&topic, &records(0, 6));
        let consumer = stage.consumer(&topic, Some(&database), &[]);
        wait_for_rows(&database, 9, &consumer);
        consumer.stop();
        assert_columns(&database);
        // The old stack's own statement, by position and by name.
        let old = database.rows(
            "SELECT time, service, pod_name, cpu, memory, namespace, node_name \
            FROM system_metrics WHERE time < '2026-01-01' ORDER BY time",
        );
        assert_eq!(
            old[0],
            "2025-01-01 00:00:00+00|app|app-0|12.5|100|default|vm"
        );
        assert_eq!(old[1], old[0]);
        assert_eq!(old[2], "2025-01-01 00:00:10+00|app|app-0|13.5|100||");
    }
    Ok(String::new())
}

/// The limit of a statement is that of inserts: a change of the table may take longer.
pub fn a_slow_change(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    database.rows(OLD_TABLE);
    stage.produce(&topic, &records(0, 6));
    let url = database.url_of(
        USER,
        "sslmode=disable&options=-c%20statement_timeout%3D500ms",
    );
    thread::scope(|scope| {
        let locked = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
            AND relation = 'system_metrics'::regclass";
        let lock = "BEGIN; LOCK TABLE system_metrics; SELECT pg_sleep(2); COMMIT";
        scope.spawn(|| database.rows(lock));
        wait::until("the lock", DEADLINE, || database.rows(locked) == ["1"])
            .unwrap_or_else(|error| panic!("{error}"));
        let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &[]);
        wait_for_rows(&database, 6, &consumer);
        assert_eq!(
            consumer.times("cannot be changed"),
            0,
            "{:?}",
            consumer.log()
        );
        consumer.stop();
    });
    assert_columns(&database);
    Ok(String::new())
}

pub fn without_the_right(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    let role = format!("writer_of_{}", database.name());
    database.rows(OLD_TABLE);
    database.rows(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'"));
    database.rows(&format!("GRANT INSERT ON system_metrics TO {role}"));
    let url = database.url_of(&role, "sslmode=disable");
    stage.produce(&topic, &records(0, 6));
    let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &[]);
    let line =
        consumer.wait_for_log("system_metrics lacks container_name, network_in, network_out");
    assert!(line.contains(", and it cannot be changed: "), "{line}");
    assert!(line.ends_with("; run schema.sql as its owner"), "{line}");
    assert_eq!(database.count(), 0);
    // Somebody who may does; then the right to insert is enough.
    database.run_file(&file()).expect("as the owner");
    wait_for_rows(&database, 6, &consumer);
    consumer.wait_for_recovery("database db_");
    consumer.stop();
    Ok(format!("  {line}"))
}

/// Refused until the statement that the line gives has been run: a value that a type cannot hold
/// is not rounded, nor lost.
pub fn other_types(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    database.rows(
        "CREATE TABLE system_metrics (time timestamp NOT NULL, service varchar(255), \
         pod_name varchar(20), cpu double precision, memory integer, namespace text, node_name text)",
    );
    database.rows("INSERT INTO system_metrics VALUES ('2025-01-01', 'app', 'app-0', 12.5, 100)");
    stage.produce(&topic, &records(0, 6));
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    let line = consumer.wait_for_log("database db_");
    let expected = ": public.system_metrics: \
        time is timestamp without time zone, expected timestamp with time zone; \
        pod_name is character varying(20), expected text; \
        memory is integer, expected double precision; to mend it: ALTER TABLE ";
    assert!(line.contains(expected), "{line}");
    assert_eq!(database.count(), 1);
    let (_, statement) = line.split_once("to mend it: ").expect("a remedy");
    database.rows(statement);
    consumer.wait_for_recovery("database db_");
    wait_for_rows(&database, 7, &consumer);
    consumer.stop();
    let old = "DELETE FROM system_metrics WHERE time = '2025-01-01 00:00:00+00' RETURNING memory";
    assert_eq!(database.rows(old)[0], "100");
    crate::scene::assert_complete(&database, 6);
    Ok(format!("  {line}"))
}

/// The search path finds the old table behind the schema in which a new one would be made.
pub fn in_another_schema(stage: &Stage) -> Outcome {
    for by_consumer in [false, true] {
        let (topic, database) = (topic(), stage.cluster.database());
        database.rows(&format!(
            "CREATE SCHEMA \"The Old\"; ALTER DATABASE {} SET search_path = public, \"The Old\"",
            database.name()
        ));
        database.rows(&OLD_TABLE.replace("system_metrics", "\"The Old\".system_metrics"));
        if !by_consumer {
            database.run_file(&file()).expect("on the old table");
        }
        stage.produce(&topic, &records(0, 6));
        let consumer = stage.consumer(&topic, Some(&database), &[]);
        wait_for_rows(&database, 6, &consumer);
        consumer.stop();
        assert_eq!(
            database.rows("SELECT schemaname FROM pg_tables WHERE tablename = 'system_metrics'"),
            ["The Old"]
        );
        assert_columns(&database);
    }
    Ok(String::new())
}

/// What a trigger, a default or a partition makes of a time is the same everywhere.
pub fn in_another_time_zone(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    let name = database.name();
    database.rows(&format!(
        "ALTER DATABASE {name} SET timezone = 'America/New_York'"
    ));
    database.run_file(&file()).expect("the schema");
    database.rows(
        "ALTER TABLE system_metrics ADD COLUMN zone text DEFAULT current_setting('TimeZone')",
    );
    stage.produce(&topic, &records(0, 6));
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    wait_for_rows(&database, 6, &consumer);
    consumer.stop();
    let zones = database.rows("SELECT DISTINCT zone FROM system_metrics");
    assert_eq!(zones, ["UTC"]);
    Ok(String::new())
}
