//! The life of an Apache Kafka broker, in a folder of this test's own: the shared one
//! belongs to the tests that only use it.

use std::path::PathBuf;
use std::time::Duration;
use testkit::kafka::{Apache, BrokerOptions, Reader, Start};
use testkit::kafka::{answers, consume, consume_until, produce, unique_topic};

const SOON: Duration = Duration::from_secs(20);
const BRIEFLY: Duration = Duration::from_millis(300);

/// Stops the broker and removes its folder, also when the test fails.
struct Scratch {
    apache: Apache,
    dir: PathBuf,
}

impl Scratch {
    fn new() -> Self {
        let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique_topic("kafka"));
        let apache = Apache::at(&dir);
        Self { apache, dir }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = self.apache.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_broker_starts_stops_dies_and_comes_back() {
    if let Err(reason) = testkit::kafka::apache_is_possible() {
        eprintln!("skipped, Apache Kafka cannot run here: {reason}");
        return;
    }
    let scratch = Scratch::new();
    let apache = &scratch.apache;
    assert!(apache.status().is_none());
    assert!(!apache.stop().unwrap());

    let broker = apache.start(BrokerOptions::default()).unwrap();
    assert!(broker.started_here);
    let brokers = broker.brokers.as_str();
    answers(brokers, SOON).unwrap();

    let topic = unique_topic("kit");
    produce(brokers, &topic, &["one", "two"], SOON).unwrap();
    assert_eq!(consume(brokers, &topic, 2, SOON).unwrap(), ["one", "two"]);
    // Another read begins at the beginning again.
    let until_one = consume_until(brokers, &topic, SOON, |seen| !seen.is_empty()).unwrap();
    assert_eq!(until_one[0], "one");

    let again = apache.start(BrokerOptions::default()).unwrap();
    assert!(!again.started_here);
    assert_eq!(again.pid, broker.pid);
    let elsewhere = BrokerOptions {
        port: Some(1),
        ..BrokerOptions::default()
    };
    let error = apache.start(elsewhere).unwrap_err().to_string();
    assert!(
        error.starts_with("Kafka already runs at 127.0.0.1:"),
        "{error}"
    );

    assert!(apache.kill().unwrap());
    assert!(apache.status().is_none());
    let error = answers(brokers, BRIEFLY).unwrap_err().to_string();
    assert!(error.contains("an answer of Kafka"), "{error}");

    let back = apache.restart().unwrap();
    assert_eq!(back.brokers, broker.brokers, "clients find it where it was");
    assert_ne!(back.pid, broker.pid);
    assert_eq!(consume(brokers, &topic, 2, SOON).unwrap(), ["one", "two"]);

    assert!(apache.stop().unwrap());
    assert!(apache.status().is_none());
    assert!(!apache.kill().unwrap());

    let fresh = apache.start(BrokerOptions::default()).unwrap();
    let mut reader = Reader::open(&fresh.brokers, &topic, Start::Beginning, SOON).unwrap();
    assert_eq!(reader.next(BRIEFLY), None, "a fresh broker starts empty");
}
