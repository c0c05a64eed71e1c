//! Kafka's stand-in. This file is a test binary of its own because it forces the choice
//! through the environment.

use std::sync::OnceLock;
use std::time::Duration;
use testkit::Kafka;
use testkit::kafka::{Reader, Start, consume, produce, unique_topic};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_millis(300);

fn mock() -> Kafka {
    static FORCED: OnceLock<()> = OnceLock::new();
    FORCED.get_or_init(|| {
        // SAFETY: every test of this binary comes through here before it does anything else,
        // so no other thread reads or writes the environment meanwhile.
        unsafe { std::env::set_var("KUBELETSTATS_KAFKA", "mock") };
    });
    Kafka::find_or_start().unwrap()
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
