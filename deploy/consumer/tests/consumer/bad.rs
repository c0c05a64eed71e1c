//! Records that are of no use, rows that the table does not take, and the command line.

use crate::Outcome;
use crate::scene::{Stage, record, records, topic, wait_for_rows};
use testkit::Stream;

pub fn bad_records_are_skipped(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    let cpu = |text: &str| {
        let (before, after) = text.split_once("\"cpu\":").expect("a cpu");
        let (_, after) = after.split_once(',').expect("more");
        (before.to_owned(), after.to_owned())
    };
    let with_cpu = |value: &str| {
        let (before, after) = cpu(&record(0));
        format!("{before}\"cpu\":{value},{after}")
    };
    let changed = |from: &str, to: &str| {
        let record = record(0);
        assert!(record.contains(from));
        record.replace(from, to)
    };
    let bad = [
        (
            "[2026/11/21 10:19:31] [ info] ready".to_owned(),
            "not a record: ",
        ),
        (String::new(), "not a record: EOF"),
        (with_cpu("\"12.5\""), "cpu is \"12.5\": expected a number"),
        (with_cpu("null"), "cpu is null: expected a number"),
        (with_cpu("1e999"), "not a record: number out of range"),
        (
            with_cpu("1,\"cpu\":2"),
            "not a record: key cpu stands twice",
        ),
        (changed("\"podName\"", "\"pod\""), "podName is missing"),
        (
            changed("1795253440000", "1795253440000000000"),
            "timestamp is 1795253440000000000: ",
        ),
        (
            changed("\"app-0\"", "\"app\\u0000\""),
            "podName holds a NUL character",
        ),
    ];
    let mut all = Vec::new();
    for (index, (text, _)) in bad.iter().enumerate() {
        all.push(record(index));
        all.push(text.clone());
    }
    all.push(record(bad.len()));
    stage.produce(&topic, &all);
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    wait_for_rows(&database, bad.len() + 1, &consumer);
    for (index, (text, reason)) in bad.iter().enumerate() {
        let line =
            consumer.wait_for_log(&format!("skipped partition 0 offset {}: ", 2 * index + 1));
        assert!(line.contains(reason), "{text}: {line}");
    }
    let (good, skipped) = (bad.len() + 1, bad.len());
    let log = consumer.log();
    let last = consumer.stop();
    assert_eq!(
        last,
        format!("ended: {good} records, {good} rows stored, 0 known before, {skipped} skipped")
    );
    // The topic goes on behind them: nothing of before is read again.
    stage.produce(&topic, &records(good, 1));
    let again = stage.consumer(&topic, Some(&database), &[]);
    wait_for_rows(&database, good + 1, &again);
    assert_eq!(
        again.stop(),
        "ended: 1 records, 1 rows stored, 0 known before, 0 skipped"
    );
    let skipped = log.iter().filter(|line| line.starts_with("skipped"));
    Ok(skipped
        .map(|line| format!("  {line}\n"))
        .collect::<String>()
        + "  "
        + &last)
}

pub fn refused_rows_are_skipped(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (topic, database) = (topic(), stage.cluster.database());
    database
        .run_file(&crate::schema::file())
        .expect("the schema");
    database.rows("ALTER TABLE system_metrics ADD CHECK (network_in <> 5)");
    let mut all = records(0, 10);
    // Too long for an index, and of a kind that does not compress.
    let mut seed = 1_u32;
    let long: String = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'!' + (seed >> 24) as u8 % 90)
    })
    .filter(|c| !matches!(c, '"' | '\\'))
    .take(5_000)
    .collect();
    all[7] = all[7].replace("\"app-0\"", &format!("\"{long}\""));
    stage.produce(&topic, &all);
    let consumer = stage.consumer(&topic, Some(&database), &[]);
    wait_for_rows(&database, 8, &consumer);
    let line = consumer.wait_for_log("skipped partition 0 offset 5: the database refuses it: ");
    assert!(line.contains("violates check constraint"), "{line}");
    let long = consumer.wait_for_log("skipped partition 0 offset 7: the database refuses it: ");
    assert!(long.contains("exceeds btree"), "{long}");
    assert!(long.len() < 600, "{long}");
    assert_eq!(consumer.wait_for_printed(8).len(), 8);
    assert_eq!(
        consumer.stop(),
        "ended: 8 records, 8 rows stored, 0 known before, 2 skipped"
    );
    Ok(format!("  {line}\n  {long}"))
}

pub fn count_timeout_and_quiet(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let topic = topic();
    // It is started first: a topic that does not exist yet is waited for.
    let consumer = stage.consumer(&topic, None, &["--count", "2"]);
    consumer.wait_for_log("does not exist yet, waiting for it");
    stage.produce(&topic, &records(0, 3));
    let (code, child) = consumer.ended();
    assert_eq!(code, Some(0), "{}", child.tail());
    assert_eq!(
        child.lines(Stream::Stdout),
        [
            "[METRIC] service=app pod=app-0 CPU=0.00% Memory=100.00Mi timestamp=1795253440000",
            "[METRIC] service=app pod=app-0 CPU=0.37% Memory=100.12Mi timestamp=1795253440000",
        ]
    );
    // The third is left for whoever comes next, and a second consumer of the group gets it.
    let args = ["--count=2", "--timeout=8s", "--quiet"];
    let (code, child) = stage.consumer(&topic, None, &args).ended();
    assert_eq!(code, Some(1), "{}", child.tail());
    assert_eq!(child.lines(Stream::Stdout).len(), 0);
    let log = child.lines(Stream::Stderr);
    assert_eq!(
        log.last().map(String::as_str),
        Some("ended: 1 records, 0 skipped")
    );
    let (code, child) = stage.consumer(&topic, None, &["--tpic=x"]).ended();
    assert_eq!(code, Some(1));
    assert_eq!(
        child.lines(Stream::Stderr),
        ["metrics-consumer: unknown argument --tpic: see --help"]
    );
    Ok(String::new())
}
