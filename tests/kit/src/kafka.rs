//! A Kafka for the tests: the user's own, an Apache Kafka that is started here, or librdkafka's
//! mock. [`Kafka::describe`] always tells which one it is.

mod apache;
mod artifacts;
mod client;

use std::{env, time::Duration};

pub use apache::{Apache, Broker, BrokerOptions};
pub use client::{Reader, answers, consume, consume_until, produce, unique_topic};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

use crate::{Error, Result};

/// How long brokers that the user named may take to answer.
const FOREIGN_ANSWER: Duration = Duration::from_secs(5);

/// A Kafka that answers. A mock ends with this value. An Apache broker keeps running for the
/// next test binary until [`stop_broker`] or [`Kafka::stop_if_started`].
pub struct Kafka {
    brokers: String,
    kind: Kind,
    /// Why a better kind was not used.
    because: Option<String>,
}

enum Kind {
    Named,
    Apache(Broker),
    Mock {
        _cluster: MockCluster<'static, DefaultProducerContext>,
    },
}

impl Kafka {
    /// Returns `KAFKA_BROKERS` if they answer. Otherwise it is Apache Kafka if Java and Maven
    /// can run it, and otherwise the mock. If `KUBELETSTATS_KAFKA` is `apache` or `mock`, only
    /// that is used.
    pub fn find_or_start() -> Result<Self> {
        let forced = env::var("KUBELETSTATS_KAFKA").unwrap_or_default();
        match forced.as_str() {
            "apache" => {
                artifacts::check_tools()?;
                return Self::apache(None);
            }
            "mock" => return Self::mock(Some("KUBELETSTATS_KAFKA=mock".to_owned())),
            "" => {}
            other => {
                return Err(Error::new(format!(
                    "KUBELETSTATS_KAFKA={other}: expected apache or mock"
                )));
            }
        }
        let mut because = None;
        if let Some(brokers) = env::var("KAFKA_BROKERS").ok().filter(|b| !b.is_empty()) {
            match answers(&brokers, FOREIGN_ANSWER) {
                Ok(()) => return Ok(Self::named(brokers)),
                Err(_) => because = Some(format!("KAFKA_BROKERS={brokers} did not answer")),
            }
        }
        // The mock is used only if this machine lacks something. If a broker could run but does
        // not start, that is an error to report.
        match apache_is_possible() {
            Ok(()) => Self::apache(because),
            Err(error) => {
                let lacking = error.to_string();
                let first = lacking.lines().next().unwrap_or_default();
                Self::mock(Some(match because {
                    Some(earlier) => format!("{earlier}, and {first}"),
                    None => first.to_owned(),
                }))
            }
        }
    }

    /// The addresses for clients, in the form of the setting `bootstrap.servers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Which Kafka this is, for the output of a test run.
    pub fn describe(&self) -> String {
        let brokers = &self.brokers;
        let mut text = match &self.kind {
            Kind::Named => format!("the Kafka at {brokers} (KAFKA_BROKERS)"),
            Kind::Apache(broker) => {
                let state = if broker.started_here {
                    "started just now"
                } else {
                    "already running"
                };
                let version = artifacts::version();
                format!("Apache Kafka {version} (KRaft) at {brokers}, {state}")
            }
            Kind::Mock { .. } => format!("librdkafka's mock cluster at {brokers}"),
        };
        if let Some(reason) = &self.because {
            text.push_str(&format!(" ({reason})"));
        }
        text
    }

    /// Stops the broker if this value started it.
    pub fn stop_if_started(self) -> Result<()> {
        match self.kind {
            Kind::Apache(broker) if broker.started_here => stop_broker().map(drop),
            _ => Ok(()),
        }
    }

    fn named(brokers: String) -> Self {
        Self {
            brokers,
            kind: Kind::Named,
            because: None,
        }
    }

    fn apache(because: Option<String>) -> Result<Self> {
        let broker = start_broker(BrokerOptions::default())?;
        Ok(Self {
            brokers: broker.brokers.clone(),
            kind: Kind::Apache(broker),
            because,
        })
    }

    fn mock(because: Option<String>) -> Result<Self> {
        let cluster = MockCluster::new(1)
            .map_err(|error| Error::new(format!("cannot start a mock cluster: {error}")))?;
        Ok(Self {
            brokers: cluster.bootstrap_servers(),
            kind: Kind::Mock { _cluster: cluster },
            because,
        })
    }
}

/// Whether Apache Kafka can run here. Its jars are fetched if necessary.
pub fn apache_is_possible() -> Result<()> {
    artifacts::check_tools()?;
    artifacts::libs().map(drop)
}

/// Starts the broker that all test binaries of this workspace share, or returns the running one.
pub fn start_broker(options: BrokerOptions) -> Result<Broker> {
    Apache::shared().start(options)
}

/// Stops the shared broker. Returns `false` if none was running.
pub fn stop_broker() -> Result<bool> {
    Apache::shared().stop()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_mock_says_that_it_is_one_and_keeps_what_is_written() {
        let kafka = Kafka::mock(Some("why".to_owned())).unwrap();
        let text = kafka.describe();
        assert!(text.starts_with("librdkafka's mock cluster at 127.0.0.1:"));
        assert!(text.ends_with(" (why)"), "{text}");
        let topic = unique_topic("kit");
        produce(kafka.brokers(), &topic, &["one"], SOON).unwrap();
        assert_eq!(consume(kafka.brokers(), &topic, 1, SOON).unwrap(), ["one"]);
        let error = consume(kafka.brokers(), &topic, 2, Duration::from_millis(300)).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("expected 2 messages: topic kit-") && text.contains("gave 1 "));
    }
}
