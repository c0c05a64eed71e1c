//! Kafka's stand-in, and the program that reads records back, against it. This file is a
//! test binary of its own because it forces the choice through the environment.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;
use testkit::kafka::{Reader, Start, consume, produce, unique_topic};
use testkit::{Child, Kafka, Stream};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_millis(300);

const RECORD: &str = r#"{"service":"log-generator","podName":"log-generator-a","cpu":78.5,
    "memory":512.3,"timestamp":1795253446000}"#;
const LINE: &str = "[METRIC] service=log-generator pod=log-generator-a CPU=78.50% \
    Memory=512.30Mi timestamp=1795253446000";

fn mock() -> Kafka {
    static FORCED: OnceLock<()> = OnceLock::new();
    FORCED.get_or_init(|| {
        // SAFETY: every test of this binary comes through here before it does anything else,
        // so no other thread reads or writes the environment meanwhile.
        unsafe { std::env::set_var("KUBELETSTATS_KAFKA", "mock") };
    });
    Kafka::find_or_start().unwrap()
}

fn metric_consumer(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metric-consumer"));
    command.args(args);
    Child::spawn(command).unwrap()
}

#[test]
fn it_says_that_it_is_a_mock() {
    let text = mock().describe();
    assert!(
        text.starts_with("librdkafka's mock cluster at 127.0.0.1:"),
        "{text}"
    );
    assert!(text.ends_with(" (KUBELETSTATS_KAFKA=mock)"), "{text}");
}

#[test]
fn what_is_written_is_read() {
    let kafka = mock();
    let topic = unique_topic("kit");
    produce(kafka.brokers(), &topic, &["one"], SOON).unwrap();
    assert_eq!(consume(kafka.brokers(), &topic, 1, SOON).unwrap(), ["one"]);
    let error = consume(kafka.brokers(), &topic, 2, BRIEFLY).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("expected 2 messages: topic kit-"),
        "{text}"
    );
    assert!(text.contains("gave 1 messages"), "{text}");
}

#[test]
fn reading_from_the_end_leaves_out_what_was_there() {
    let kafka = mock();
    let topic = unique_topic("kit");
    produce(kafka.brokers(), &topic, &["old"], SOON).unwrap();
    let mut reader = Reader::open(kafka.brokers(), &topic, Start::End, SOON).unwrap();
    produce(kafka.brokers(), &topic, &["new"], SOON).unwrap();
    assert_eq!(reader.next(SOON).unwrap(), "new");
}

#[test]
fn the_consumer_ends_well_after_its_count() {
    let kafka = mock();
    let topic = unique_topic("kit");
    let args = ["--brokers", kafka.brokers(), "--topic", &topic, "--count=2"];
    // It is started first: a topic that does not exist yet is waited for.
    let mut consumer = metric_consumer(&args);
    consumer
        .wait_for_line(Stream::Stderr, |line| line.starts_with("reading"), SOON)
        .unwrap();
    produce(kafka.brokers(), &topic, &[RECORD, RECORD], SOON).unwrap();
    assert!(consumer.wait_for_exit(SOON).unwrap().success());
    assert_eq!(consumer.lines(Stream::Stdout), [LINE, LINE]);
}

#[test]
fn the_consumer_fails_at_a_bad_record() {
    let kafka = mock();
    let topic = unique_topic("kit");
    let bad = RECORD.replace("78.5", "\"78.5\"");
    produce(kafka.brokers(), &topic, &[&bad], SOON).unwrap();
    let args = ["--brokers", kafka.brokers(), "--topic", &topic, "--count=1"];
    let mut consumer = metric_consumer(&args);
    assert_eq!(consumer.wait_for_exit(SOON).unwrap().code(), Some(1));
    let said = consumer.lines(Stream::Stderr).join("\n");
    assert!(
        said.contains(r#"metric-consumer: cpu is "78.5": expected a number; the record: {"#),
        "{said}"
    );
}

#[test]
fn the_consumer_fails_at_its_deadline() {
    let kafka = mock();
    let topic = unique_topic("kit");
    let args = ["--brokers", kafka.brokers(), "--topic", &topic];
    let args = [&args[..], &["--count=1", "--timeout=300ms"]].concat();
    let mut consumer = metric_consumer(&args);
    assert_eq!(consumer.wait_for_exit(SOON).unwrap().code(), Some(1));
    let said = consumer.lines(Stream::Stderr).join("\n");
    assert!(said.contains("0 records in 0.3 s"), "{said}");
}
