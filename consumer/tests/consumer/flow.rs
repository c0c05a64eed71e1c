//! What is slow or stuck at the far ends: a database that takes its time, pipes that nobody reads.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use testkit::{Child, Stream};

use crate::{
    Outcome,
    postgres::Database,
    scene::{Consumer, DEADLINE, Stage, assert_complete, record, records, topic, wait_for_rows},
};

/// Every insert takes so much longer.
pub fn slow_down(database: &Database<'_>, milliseconds: u32) {
    database
        .run_file(&crate::schema::file())
        .expect("the schema");
    let seconds = f64::from(milliseconds) / 1000.0;
    database.rows(&format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END'"
    ));
    database.rows(
        "CREATE TRIGGER slow AFTER INSERT ON system_metrics \
         FOR EACH STATEMENT EXECUTE FUNCTION slow()",
    );
}

/// Bytes of messages that came from the broker, as librdkafka tells with `debug=fetch`.
fn fetched(log: &[String]) -> usize {
    let of_line = |line: &String| {
        let (_, text) = line.split_once(" message(s) (")?;
        text.split_once(" bytes")?.0.parse::<usize>().ok()
    };
    log.iter().filter_map(of_line).sum()
}

/// A database that is slower than Kafka makes nothing be fetched twice.
pub fn a_slow_database(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 20_000;
    let topic = topic();
    let all = records(0, RECORDS);
    stage.produce(&topic, &all);
    let bytes: usize = all.iter().map(String::len).sum();
    let mut saw = String::new();
    for milliseconds in [1, 10, 100] {
        let database = stage.cluster.database();
        slow_down(&database, milliseconds);
        let group = format!("--group=at-{milliseconds}");
        let args = [
            &group,
            "--quiet",
            "--batch-rows=200",
            "--kafka-option=debug=fetch",
        ];
        let consumer = stage.consumer(&topic, Some(&database), &args);
        consumer.wait_for_log("is ours");
        let begun = Instant::now();
        wait_for_rows(&database, RECORDS, &consumer);
        let took = begun.elapsed().as_secs_f64();
        assert_complete(&database, RECORDS);
        let fetched = fetched(&consumer.log());
        consumer.stop();
        saw.push_str(&format!(
            "  {milliseconds} ms an insert of 200: {took:.1} s, {:.0} records a second, \
             {fetched} bytes fetched for {bytes}\n",
            RECORDS as f64 / took
        ));
        assert!(fetched >= bytes && fetched < bytes * 6 / 5, "{saw}");
    }
    Ok(saw)
}

/// A pipe with a name, and a consumer that writes to it.
struct Piped {
    path: PathBuf,
}

impl Piped {
    fn new() -> Self {
        let path = std::env::temp_dir().join(topic());
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        Self { path }
    }

    /// `redirect` is the shell's: `>`, `2>`. The result is the end to read from.
    fn start(&self, redirect: &str, consumer: &Command) -> (Consumer, File) {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!(r#"exec "$0" "$@" {redirect}"$PIPE""#)])
            .arg(consumer.get_program())
            .args(consumer.get_args())
            .env("PIPE", &self.path);
        shell.envs(
            consumer
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        let child = Child::spawn(shell).expect("the consumer starts");
        (Consumer(child), File::open(&self.path).expect("the pipe"))
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// More lines than a pipe and the consumer's memory hold.
pub fn nobody_reads_stdout(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 60_000;
    let (topic, database, pipe) = (topic(), stage.cluster.database(), Piped::new());
    stage.produce(&topic, &records(0, RECORDS));
    let url = database.url();
    let command = || Consumer::command(stage.brokers(), &topic, Some(&url), &[]);
    let (consumer, reader) = pipe.start(">", &command());
    wait_for_rows(&database, RECORDS, &consumer);
    let line = consumer.wait_for_log("stdout: nobody reads it, ");
    assert!(
        line.ends_with(" lines dropped; rows are stored all the same"),
        "{line}"
    );
    // Now somebody does: every line is either read or counted.
    let reading = thread::spawn(move || BufReader::new(reader).lines().count());
    consumer.wait_for_recovery("stdout");
    let last = consumer.stop();
    let read = reading.join().expect("no panic");
    let dropped = RECORDS - read;
    let expected = format!(
        "ended: {RECORDS} records, {RECORDS} rows stored, 0 known before, 0 skipped, \
         {dropped} lines not printed"
    );
    assert_eq!(last, expected);
    assert!(dropped > 0);
    assert_complete(&database, RECORDS);

    // SIGTERM, with a pipe that is full and stays so.
    let mut again = command();
    again.env("KAFKA_GROUP", "another");
    let (consumer, _reader) = pipe.start(">", &again);
    consumer.wait_for_log("stdout: nobody reads it, ");
    let asked = Instant::now();
    consumer.stop();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    Ok(format!(
        "  {line}\n  {last}\n  SIGTERM is answered in {took:.1?}"
    ))
}

/// A closed pipe is no reason to stop storing either; without a database there is nothing left to do.
pub fn a_closed_stdout(stage: &Stage) -> Outcome {
    const RECORDS: usize = 10_000;
    let (topic, database, pipe) = (topic(), stage.cluster.database(), Piped::new());
    let (url, begins) = (database.url(), "stdout: Broken pipe (os error 32), ");
    let command = Consumer::command(stage.brokers(), &topic, Some(&url), &[]);
    let (consumer, reader) = pipe.start(">", &command);
    drop(reader);
    stage.produce(&topic, &records(0, RECORDS));
    wait_for_rows(&database, RECORDS, &consumer);
    let line = consumer.wait_for_log(begins);
    let last = consumer.stop();
    let expected = format!(
        "ended: {RECORDS} records, {RECORDS} rows stored, 0 known before, 0 skipped, \
         {RECORDS} lines not printed"
    );
    assert_eq!(last, expected);

    let command = Consumer::command(stage.brokers(), &topic, None, &["--group=another"]);
    let (consumer, reader) = pipe.start(">", &command);
    drop(reader);
    let (code, child) = consumer.ended();
    assert_eq!(code, Some(1), "{}", child.tail());
    let log = child.lines(Stream::Stderr);
    let expected = "metrics-consumer: cannot print: Broken pipe (os error 32)";
    assert_eq!(log.last().map(String::as_str), Some(expected));
    Ok(format!("  {line}\n  {last}"))
}

/// However large the records are: more than 16 MiB of them are not kept.
pub fn large_records(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 600;
    let topic = topic();
    let long = format!("\"service\":\"{}\"", "x".repeat(200_000));
    let large: Vec<String> = records(0, RECORDS)
        .iter()
        .map(|record| record.replace("\"service\":\"app\"", &long))
        .collect();
    stage.produce(&topic, &large);
    let nowhere = Some("host=127.0.0.1 port=1 user=metrics dbname=metrics");
    let args = ["--kafka-option=debug=topic"];
    let consumer = Consumer::start(stage.brokers(), &topic, nowhere, &args);
    consumer.wait_for_log("librdkafka: PAUSE ");
    let mib = consumer.0.rss_kib().expect("it runs") / 1024;
    assert!(mib < 100, "{mib} MiB");
    consumer.stop();
    Ok(format!(
        "  {mib} MiB resident with 120 MB of records waiting in Kafka"
    ))
}

/// Without a database the lines are all there is: they wait, and are not committed.
pub fn nobody_reads_lines_alone(stage: &Stage) -> Outcome {
    stage.needs_no_mock()?;
    const RECORDS: usize = 60_000;
    let (topic, pipe) = (topic(), Piped::new());
    stage.produce(&topic, &records(0, RECORDS));
    let command = Consumer::command(stage.brokers(), &topic, None, &[]);
    let (consumer, reader) = pipe.start(">", &command);
    let line = consumer.wait_for_log("stdout: nobody reads it, waiting");
    let asked = Instant::now();
    consumer.stop();
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    drop(reader);
    // All of it is there for the next.
    let count = format!("--count={RECORDS}");
    let (code, child) = stage.consumer(&topic, None, &[&count]).ended();
    assert_eq!(code, Some(0), "{}", child.tail());
    assert_eq!(child.lines(Stream::Stdout).len(), RECORDS);
    Ok(format!("  {line}\n  SIGTERM is answered in {took:.1?}"))
}

/// Nor does a log that nobody reads stop anything.
pub fn nobody_reads_the_log(stage: &Stage) -> Outcome {
    let (topic, database, pipe) = (topic(), stage.cluster.database(), Piped::new());
    let mut all = vec!["of no use, and so a line of the log".to_owned(); 2_000];
    all.push(record(0));
    stage.produce(&topic, &all);
    let command = Consumer::command(stage.brokers(), &topic, Some(&database.url()), &[]);
    let (mut consumer, _reader) = pipe.start("2>", &command);
    wait_for_rows(&database, 1, &consumer);
    let ended = consumer.0.terminate(DEADLINE);
    assert!(!ended.killed && ended.status.success(), "{}", ended.status);
    assert!(ended.took < Duration::from_secs(4), "{:?}", ended.took);
    Ok(format!("  SIGTERM is answered in {:.1?}", ended.took))
}
