//! Whose fault it is when a row is refused: the table's is waited for, the row's own is skipped.

use kubeletstats_consumer::database::SCHEMA;

use crate::{
    Outcome,
    postgres::{Database, PASSWORD},
    scene::{Consumer, Stage, assert_complete, records, topic},
};

fn with_schema(database: &Database<'_>) {
    database
        .run_file(&crate::schema::file())
        .expect("the schema");
}

/// What keeps rows out that are as they should be, what is said of it, and what ends it.
struct Fault {
    what: &'static str,
    begins: String,
    says: &'static str,
    ends: &'static str,
}

fn fault(what: &'static str, begins: &str, says: &'static str, ends: &'static str) -> Fault {
    Fault {
        what,
        begins: begins.to_owned(),
        says,
        ends,
    }
}

/// A trigger that refuses rows with this code.
fn trigger(kind: &str, condition: &str, code: &str) -> String {
    format!(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         IF {condition} THEN RAISE EXCEPTION 'not now' USING ERRCODE = '{code}'; END IF; \
         RETURN NEW; END $$; \
         CREATE {kind} INSERT ON system_metrics FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
}

/// `WRITER` stands for the role the consumer has.
fn faults() -> Vec<Fault> {
    const DROP: &str = "DROP TRIGGER refuse ON system_metrics";
    let earlier = "INSERT INTO system_metrics (time, service, pod_name) \
        VALUES ('2026-11-20', 'app', 'app-0'); ";
    let by_time = trigger("TRIGGER refuse BEFORE", "NEW.time > '2026-11-21'", "23514");
    let partitioned = format!(
        "DROP TABLE system_metrics; CREATE TABLE system_metrics (time timestamptz NOT NULL, \
         service text, pod_name text, cpu double precision, memory double precision, \
         namespace text, node_name text) PARTITION BY RANGE (time); \
         CREATE TABLE earlier PARTITION OF system_metrics \
         FOR VALUES FROM ('2026-11-20') TO ('2026-11-21'); {SCHEMA} {earlier}"
    );
    vec![
        fault(
            "a column of the user's own wants a value",
            "ALTER TABLE system_metrics ADD COLUMN zone text NOT NULL",
            "system_metrics has a column zone that may not be NULL: give it a default",
            "ALTER TABLE system_metrics ALTER COLUMN zone SET DEFAULT 'a'",
        ),
        fault(
            "no partition for these rows, one for others",
            &partitioned,
            "found for row (Partition key of the failing row contains",
            "CREATE TABLE later PARTITION OF system_metrics DEFAULT",
        ),
        fault(
            "a trigger that refuses every row",
            &trigger("TRIGGER refuse BEFORE", "true", "23514"),
            "not now; no other row is taken either",
            DROP,
        ),
        fault(
            "a trigger in place of partitions",
            &(earlier.to_owned() + &by_time),
            "not now; no other row is taken either",
            DROP,
        ),
        fault(
            "a trigger at the end of the transaction",
            &trigger("CONSTRAINT TRIGGER refuse AFTER", "true", "22000")
                .replace("FOR EACH", "DEFERRABLE INITIALLY DEFERRED FOR EACH"),
            "not now; no other row is taken either",
            DROP,
        ),
        fault(
            "a full disk",
            &trigger("TRIGGER refuse BEFORE", "true", "53100"),
            "not now",
            DROP,
        ),
        fault(
            "a foreign key whose row is not there yet",
            "CREATE TABLE services (name text PRIMARY KEY); ALTER TABLE system_metrics \
             ADD CONSTRAINT known_service FOREIGN KEY (service) REFERENCES services",
            "violates foreign key constraint \"known_service\"",
            "INSERT INTO services VALUES ('app')",
        ),
        fault(
            "a key of before that knows no container",
            "ALTER TABLE system_metrics ADD PRIMARY KEY (pod_name, time)",
            ": public.system_metrics: distinct samples are the same for \
             constraint system_metrics_pkey (pod_name, \"time\"), and the second would be lost; \
             to mend it: ALTER TABLE system_metrics DROP CONSTRAINT system_metrics_pkey",
            "ALTER TABLE system_metrics DROP CONSTRAINT system_metrics_pkey",
        ),
        fault(
            "the index in another form, and a constant in a unique one",
            "DROP INDEX system_metrics_sample; CREATE UNIQUE INDEX system_metrics_sample \
             ON system_metrics (pod_name, time, lower(node_name)); \
             ALTER TABLE system_metrics ADD zone text DEFAULT 'a', ADD UNIQUE (time, zone)",
            "to mend it: ALTER TABLE system_metrics DROP CONSTRAINT system_metrics_time_zone_key; \
             DROP INDEX system_metrics_sample",
            "ALTER TABLE system_metrics DROP CONSTRAINT system_metrics_time_zone_key; \
             DROP INDEX system_metrics_sample; GRANT ALL ON SCHEMA public TO WRITER; \
             ALTER TABLE system_metrics DROP zone; ALTER TABLE system_metrics OWNER TO WRITER",
        ),
        fault(
            "a sequence that gives numbers which other rows have",
            "ALTER TABLE system_metrics ADD id bigint PRIMARY KEY; \
             INSERT INTO system_metrics (id, time, service, pod_name) \
             SELECT n, '2026-11-20', 'app', 'app-' || n FROM generate_series(1, 9) AS n; \
             CREATE SEQUENCE ids MAXVALUE 9 CYCLE; GRANT USAGE ON ids TO WRITER; \
             ALTER TABLE system_metrics ALTER id SET DEFAULT nextval('ids')",
            " already exists.); it is none of ours: drop it, or mend what makes its values",
            "ALTER SEQUENCE ids NO MAXVALUE RESTART 10",
        ),
        fault(
            "an index of our name that is another",
            "DROP INDEX system_metrics_sample; CREATE UNIQUE INDEX system_metrics_sample ON \
             system_metrics (pod_name, time, namespace, container_name, service, node_name, cpu)",
            "drop index system_metrics_sample and run schema.sql, which makes it anew",
            "DROP INDEX system_metrics_sample; CREATE UNIQUE INDEX system_metrics_sample ON \
             system_metrics (pod_name, time, namespace, container_name, service, node_name)",
        ),
        fault(
            "a check that nothing passes",
            "ALTER TABLE system_metrics ADD CONSTRAINT never CHECK (cpu IS NULL)",
            "violates check constraint \"never\"",
            "ALTER TABLE system_metrics DROP CONSTRAINT never",
        ),
        fault(
            "a read-only session",
            "ALTER ROLE WRITER SET default_transaction_read_only = on",
            "cannot execute INSERT in a read-only transaction",
            "ALTER ROLE WRITER RESET default_transaction_read_only",
        ),
        fault(
            "a policy that lets no row in",
            "ALTER TABLE system_metrics ENABLE ROW LEVEL SECURITY",
            "new row violates row-level security policy",
            "ALTER TABLE system_metrics DISABLE ROW LEVEL SECURITY",
        ),
        fault(
            "no right to insert",
            "REVOKE INSERT ON system_metrics FROM WRITER",
            "permission denied for table system_metrics",
            "GRANT INSERT ON system_metrics TO WRITER",
        ),
        fault(
            "a table that was renamed",
            "ALTER TABLE system_metrics RENAME TO away",
            "there is no table system_metrics, and it cannot be changed: ",
            "ALTER TABLE away RENAME TO system_metrics",
        ),
    ]
}

/// Nothing is skipped, and all is there in the end.
pub fn of_the_table(stage: &Stage) -> Outcome {
    const RECORDS: usize = 5;
    let topic = topic();
    stage.produce(&topic, &records(0, RECORDS));
    let mut saw = String::new();
    for (index, fault) in faults().iter().enumerate() {
        let database = stage.cluster.database();
        let role = format!("writer_of_{}", database.name());
        database.rows(&format!(
            "CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'; \
             ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT ON TABLES TO {role}"
        ));
        with_schema(&database);
        database.rows(&fault.begins.replace("WRITER", &role));
        let url = database.url_of(&role, "sslmode=disable");
        let group = format!("--group=fault-{index}-of-{topic}");
        let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &[&group]);
        let line = consumer.wait_for_log("database db_");
        assert!(line.contains(fault.says), "{}: {line}", fault.what);
        database.rows(&fault.ends.replace("WRITER", &role));
        consumer.wait_for_recovery("database db_");
        let wanted = "SELECT count(*) FROM system_metrics WHERE time > '2026-11-21'";
        testkit::wait::until(fault.what, crate::scene::DEADLINE, || {
            database.rows(wanted) == [RECORDS.to_string()]
        })
        .unwrap_or_else(|error| panic!("{error}: {}", consumer.0.tail()));
        let last = consumer.stop();
        assert!(last.ends_with(", 0 skipped"), "{}: {last}", fault.what);
        database.rows("DELETE FROM system_metrics WHERE time < '2026-11-21'");
        assert_complete(&database, RECORDS);
        let (_, said) = line.split_once(": ").expect("a reason");
        saw.push_str(&format!("  {}: {said}\n", fault.what));
    }
    Ok(saw)
}

/// A unique constraint of which no two rows have the same values loses nothing.
pub fn keys_that_do_no_harm(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    with_schema(&database);
    database.rows(
        "ALTER TABLE system_metrics ADD id bigserial PRIMARY KEY, ADD pod_uid text, \
         ADD number bigint GENERATED ALWAYS AS IDENTITY, ADD UNIQUE (time, number), \
         ADD UNIQUE (pod_uid, container_name, time), ADD mark uuid DEFAULT gen_random_uuid() UNIQUE, \
         ADD UNIQUE (time, pod_name, namespace, container_name, node_name, service, cpu)",
    );
    stage.produce(&topic, &records(0, 12));
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    crate::scene::wait_for_rows(&database, 12, &consumer);
    consumer.stop();
    assert_complete(&database, 12);
    Ok(String::new())
}

/// One that comes later, while the consumer runs: what it takes for known is an error.
pub fn a_key_that_comes_later(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    with_schema(&database);
    stage.produce(&topic, &records(0, 1));
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    crate::scene::wait_for_rows(&database, 1, &consumer);
    database.rows("ALTER TABLE system_metrics ADD CONSTRAINT of_pod UNIQUE (pod_name, time)");
    stage.produce(&topic, &records(1, 5));
    let line = consumer.wait_for_log("database db_");
    assert!(line.contains("constraint of_pod"), "{line}");
    database.rows("ALTER TABLE system_metrics DROP CONSTRAINT of_pod");
    crate::scene::wait_for_rows(&database, 6, &consumer);
    assert_eq!(
        consumer.stop(),
        "ended: 6 records, 6 rows stored, 0 known before, 0 skipped"
    );
    assert_complete(&database, 6);
    Ok(format!("  {line}"))
}

/// Static pods of one manifest have the same uid on every node.
pub fn one_uid_on_two_nodes(stage: &Stage) -> Outcome {
    let (topic, database) = (topic(), stage.cluster.database());
    let replies = ["a", "b"].map(|node| {
        let name =
            format!("../tests/fixtures/field-reports/16-static-pod-node-{node}.summary.records");
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        std::fs::read_to_string(path).expect("what the plugin makes of it")
    });
    let uids = replies
        .iter()
        .map(|reply| reply.split("\"podUid\":").nth(1).map(|it| &it[..34]));
    let uids: std::collections::BTreeSet<_> = uids.collect();
    assert_eq!(uids.len(), 1, "{uids:?}");
    // Each is delivered twice.
    let records: Vec<_> = replies
        .iter()
        .chain(&replies)
        .flat_map(|reply| reply.lines())
        .collect();
    stage.produce(
        &topic,
        &records.iter().map(|it| it.to_string()).collect::<Vec<_>>(),
    );
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    crate::scene::wait_for_rows(&database, 2, &consumer);
    consumer.stop();
    let rows = "SELECT node_name, pod_name, container_name FROM system_metrics ORDER BY 1";
    assert_eq!(
        database.rows(rows),
        [
            "node-a|kube-proxy-node-a|kube-proxy",
            "node-b|kube-proxy-node-b|kube-proxy"
        ]
    );
    Ok(String::new())
}

/// Halves of halves lead to it: the database is not asked about each row.
pub fn of_one_row_in_a_thousand(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const TRANSACTIONS: &str = "SELECT xact_commit + xact_rollback FROM pg_stat_database \
        WHERE datname = current_database()";
    let (topic, database) = (topic(), stage.cluster.database());
    with_schema(&database);
    database.rows("ALTER TABLE system_metrics ADD CHECK (network_in <> 700)");
    stage.produce(&topic, &records(0, 1_000));
    let transactions = || -> usize { database.rows(TRANSACTIONS)[0].parse().expect("a number") };
    let before = transactions();
    let consumer = stage.consumer(&topic, Some(&database), &["--batch-wait=10s"]);
    consumer.wait_for_log("skipped partition 0 offset 700: ");
    // A session's transactions are counted when it has ended.
    assert_eq!(
        consumer.stop(),
        "ended: 999 records, 999 rows stored, 0 known before, 1 skipped"
    );
    let took = transactions() - before;
    assert!((10..50).contains(&took), "{took} transactions");
    Ok(format!("  {took} transactions"))
}

/// One that fails and has no other beside it: a row that is made up is tried in its place.
pub fn of_a_lone_row(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    with_schema(&database);
    database.rows("ALTER TABLE system_metrics ADD CHECK (network_in <> 0)");
    stage.produce(&topic, &records(0, 1));
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    let line = consumer.wait_for_log("skipped partition 0 offset 0: the database refuses it: ");
    consumer.stop();
    // The row that was tried is not there.
    assert_eq!(database.count(), 0);
    Ok(format!("  {line}"))
}
