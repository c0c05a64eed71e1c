//! Records that are of no use, rows that the table does not take, and the command line.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Headers as _, Message as _},
};
use testkit::{Child, Stream};

use crate::{
    Outcome,
    scene::{Consumer, DEADLINE, Stage, record, records, topic, wait_for_rows},
};

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
    // An empty variable counts as not set.
    let with_variable = |name, value, args: &[&str]| {
        let mut command = Consumer::command(stage.brokers(), &topic, None, args);
        command.env(name, value).env("KAFKA_FROM", "");
        Consumer(Child::spawn(command).expect("the consumer starts")).ended()
    };
    let (code, child) = with_variable("QUIET", "true", &["--count=2", "--timeout=8s"]);
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
    let database = "postgresql://metrics:sesame@localhost:port/metrics";
    for (name, value, begins) in [
        ("QUIET", "yes", "--quiet yes: expected true or false"),
        (
            "DATABASE_URL",
            database,
            "--database: expected postgresql://",
        ),
    ] {
        let (code, child) = with_variable(name, value, &[]);
        assert_eq!(code, Some(1));
        let log = child.lines(Stream::Stderr).join("\n");
        let begins = format!("metrics-consumer: {begins}");
        assert!(log.starts_with(&begins), "{log}");
        assert!(!log.contains("sesame"), "{log}");
    }
    Ok(String::new())
}

/// Whatever is skipped is kept where the user wants it, before its offset is committed.
pub fn dead_letters(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    let (from, database) = (topic(), stage.cluster.database());
    database
        .run_file(&crate::schema::file())
        .expect("the schema");
    database.rows("ALTER TABLE system_metrics ADD CHECK (network_in <> 2)");
    let unusable = "[2026/11/21 10:19:31] [ info] ready".to_owned();
    let all = [record(0), unusable.clone(), record(2), record(3)];
    stage.produce(&from, &all);
    let folder = std::env::temp_dir().join(&from);
    let file = folder.join("letters");
    let in_file = format!("--dead-letter-file={}", file.display());
    let start = |args: &[&str]| stage.consumer(&from, Some(&database), args);

    // No such folder: nothing is written, and so nothing is committed.
    let consumer = start(&[&in_file]);
    let line = consumer.wait_for_log("dead letters in /");
    assert!(
        line.contains(": No such file or directory (os error 2)"),
        "{line}"
    );
    consumer.wait_for_log("skipped partition 0 offset 1: ");
    consumer.stop();
    std::fs::create_dir(&folder).expect("a folder");
    let consumer = start(&[&in_file]);
    wait_for_rows(&database, 2, &consumer);
    let ended = "ended: 2 records, 2 rows stored, 0 known before, 2 skipped";
    assert_eq!(consumer.stop(), ended);
    let text = std::fs::read_to_string(&file).expect("letters");
    std::fs::remove_dir_all(&folder).expect("ours");
    let letters: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let expected = [
        (1, &unusable, "not a record: "),
        (2, &all[2], "the database refuses it: new row for relation"),
    ];
    assert_eq!(letters.len(), expected.len(), "{text}");
    for (letter, (offset, record, reason)) in letters.iter().zip(expected) {
        assert_eq!(letter["topic"], from.as_str());
        assert_eq!(
            (&letter["partition"], &letter["offset"]),
            (&0.into(), &offset.into())
        );
        assert_eq!(letter["record"], record.as_str());
        assert!(
            letter["reason"]
                .as_str()
                .is_some_and(|text| text.starts_with(reason))
        );
    }

    // The same in a topic.
    let to = topic();
    let in_topic = format!("--dead-letter-topic={to}");
    let consumer = start(&["--group=another", &in_topic]);
    let letters = testkit::kafka::consume(stage.brokers(), &to, 2, DEADLINE).expect("letters");
    assert_eq!(letters, [&*unusable, &*all[2]]);
    for (found, (offset, _, reason)) in headers(stage.brokers(), &to, 2).iter().zip(expected) {
        let offset = offset.to_string();
        let header = |key: &str| found.get(key).map_or("", String::as_str);
        let place = ["topic", "partition", "offset"].map(header);
        assert_eq!(place, [from.as_str(), "0", &offset], "{found:?}");
        assert!(header("reason").starts_with(reason), "{found:?}");
    }
    let last = consumer.stop();
    Ok(format!("  {line}\n{text}  {last}"))
}

/// The headers of the first messages of a topic.
fn headers(brokers: &str, topic: &str, count: usize) -> Vec<BTreeMap<String, String>> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", topic);
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let mut place = TopicPartitionList::new();
    place
        .add_partition_offset(topic, 0, Offset::Beginning)
        .expect("a place");
    consumer.assign(&place).expect("it can be read");
    let (mut found, begun) = (Vec::new(), Instant::now());
    while found.len() < count {
        assert!(begun.elapsed() < DEADLINE, "only {found:?}");
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else {
            continue;
        };
        let text = |header: Header<'_, &[u8]>| {
            let value = String::from_utf8_lossy(header.value.unwrap_or_default());
            (header.key.to_owned(), value.into_owned())
        };
        let headers = message.headers().expect("it has some");
        found.push(headers.iter().map(text).collect());
    }
    found
}
