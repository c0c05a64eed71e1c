//! The hypertable: on a TimescaleDB where there is one, and on a stand-in everywhere, which
//! shows that `schema.sql` takes the right branch and what it calls there.

use std::path::PathBuf;

use crate::{
    Outcome,
    postgres::{Cluster, Database, find_programs},
    scene::{Consumer, Stage, assert_complete, records, topic, wait_for_rows},
    schema::file,
};

/// Catalogue and function that say what they are told, found before the real ones.
const STAND_IN: &str = "CREATE SCHEMA stand_in; \
    CREATE TABLE stand_in.pg_extension (extname name); \
    CREATE TABLE stand_in.pg_available_extensions (name name); \
    CREATE TABLE stand_in.calls (call text); \
    CREATE FUNCTION stand_in.create_hypertable(relation regclass, time_column_name name, \
        chunk_time_interval interval, if_not_exists boolean, migrate_data boolean) \
        RETURNS void LANGUAGE sql AS \
        'INSERT INTO stand_in.calls VALUES (concat_ws('','', $1, $2, $3, $4, $5))'";

fn with_stand_in<'a>(stage: &'a Stage, installed: bool, available: bool) -> Database<'a> {
    let database = stage.cluster.database();
    database.rows(STAND_IN);
    if installed {
        database.rows("INSERT INTO stand_in.pg_extension VALUES ('timescaledb')");
    }
    if available {
        database.rows("INSERT INTO stand_in.pg_available_extensions VALUES ('timescaledb')");
    }
    let path = "public, stand_in, pg_catalog";
    database.rows(&format!(
        "ALTER DATABASE {} SET search_path = {path}",
        database.name()
    ));
    database
}

pub fn branches(stage: &Stage) -> Outcome {
    let calls = "SELECT call FROM stand_in.calls";
    let database = with_stand_in(stage, true, true);
    database.run_file(&file()).expect("installed");
    assert_eq!(database.rows(calls), ["system_metrics,time,1 day,t,t"]);

    let database = with_stand_in(stage, false, false);
    database.run_file(&file()).expect("absent");
    assert_eq!(database.rows(calls), [] as [&str; 0]);

    // On the disk of the server, but not loaded by it.
    let database = with_stand_in(stage, false, true);
    database.run_file(&file()).expect("not loaded");
    assert_eq!(database.rows(calls), [] as [&str; 0]);

    // Loaded, as the setting tells: now it would be installed, if it were really there.
    database.rows(&format!(
        "ALTER DATABASE {} SET timescaledb.disable_load = off",
        database.name()
    ));
    let error = database
        .run_file(&file())
        .expect_err("there is no such extension");
    assert!(
        error.contains("extension \"timescaledb\" is not available"),
        "{error}"
    );
    Ok("  installed, absent, not loaded, loaded: the right branch each time".to_owned())
}

/// Server programs that have the extension: `TIMESCALE_BIN`, else the usual ones if they do.
fn programs(stage: &Stage) -> Result<PathBuf, String> {
    if let Some(named) = std::env::var_os("TIMESCALE_BIN") {
        return Ok(named.into());
    }
    let sql = "SELECT default_version FROM pg_available_extensions WHERE name = 'timescaledb'";
    match stage.cluster.database().rows(sql).is_empty() {
        false => find_programs(),
        true => Err(
            "the extension timescaledb is not installed (Debian has no package of it; \
            TIMESCALE_BIN names server programs that have it)"
                .to_owned(),
        ),
    }
}

pub fn hypertable(stage: &Stage) -> Outcome {
    let settings = "shared_preload_libraries = 'timescaledb'\ntimescaledb.telemetry_level = off";
    let cluster = Cluster::start_with(programs(stage)?, settings)?;
    let (topic, database) = (topic(), cluster.database());
    // Rows of before move into chunks.
    database.rows("CREATE TABLE system_metrics (time timestamptz NOT NULL, service text, \
        pod_name text, cpu double precision, memory double precision, namespace text, node_name text)");
    database.rows("INSERT INTO system_metrics VALUES ('2025-01-01', 'a', 'p', 1, 2, 'd', 'n')");
    stage.produce(&topic, &records(0, 600));
    let url = database.url();
    for group in ["--group=one", "--group=other"] {
        let consumer = Consumer::start(stage.brokers(), &topic, Some(&url), &[group, "--quiet"]);
        wait_for_rows(&database, 601, &consumer);
        consumer.wait_for_log("is ours");
        consumer.stop();
    }
    database.run_file(&file()).expect("once more");
    assert_eq!(
        database.rows(
            "SELECT hypertable_name, num_dimensions FROM timescaledb_information.hypertables"
        ),
        ["system_metrics|1"]
    );
    let dimension = "SELECT column_name, time_interval FROM timescaledb_information.dimensions";
    assert_eq!(database.rows(dimension), ["time|1 day"]);
    let chunks = database.rows("SELECT count(*) FROM timescaledb_information.chunks");
    database.rows("DELETE FROM system_metrics WHERE time < '2026-01-01'");
    assert_complete(&database, 600);
    let version =
        database.rows("SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'");
    let policy = database.rows(
        "SELECT add_retention_policy('system_metrics', interval '30 days', if_not_exists => true) >= 0",
    );
    assert_eq!(policy, ["t"]);
    Ok(format!(
        "  TimescaleDB {}: {} chunks",
        version[0], chunks[0]
    ))
}
