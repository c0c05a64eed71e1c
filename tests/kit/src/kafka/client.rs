//! What the kit does as a Kafka client: it asks for metadata, writes, and reads a topic from a
//! known place. All of it uses librdkafka, and all of it has a deadline.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rdkafka::{
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
    message::Message,
    producer::{BaseProducer, BaseRecord, Producer},
    topic_partition_list::{Offset, TopicPartitionList},
};

use crate::{Deadline, Error, Result, wait};

/// The limit of one request within a longer wait.
const REQUEST: Duration = Duration::from_millis(500);
/// How long one poll may block. The deadline is checked after each poll.
const POLL: Duration = Duration::from_millis(100);

/// Reads all partitions of one topic from its beginning. The topic need not exist yet.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    /// Set when the topic was seen.
    assigned: bool,
    last_error: Option<String>,
}

impl Reader {
    pub fn open(brokers: &str, topic: &str) -> Result<Self> {
        let consumer: BaseConsumer = config(brokers)
            // Partitions are assigned by hand, which needs no group. But librdkafka requires
            // the name of one. A new group can have no stored offsets.
            .set("group.id", unique_topic("testkit"))
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("fetch.wait.max.ms", "100")
            .create()
            .map_err(|error| Error::new(format!("cannot read from {brokers}: {error}")))?;
        Ok(Self {
            consumer,
            topic: topic.to_owned(),
            assigned: false,
            last_error: None,
        })
    }

    /// Returns the next message as text, or `None` if the deadline passes without one.
    pub fn next(&mut self, deadline: impl Into<Deadline>) -> Option<String> {
        let deadline = deadline.into();
        if !self.assigned {
            let what = format!("topic {}", self.topic);
            let found = wait::until(&what, deadline, || self.assign().is_some());
            if let Err(error) = found {
                self.last_error = Some(error.to_string());
                return None;
            }
        }
        loop {
            match self.consumer.poll(deadline.remaining().min(POLL)) {
                Some(Ok(message)) => {
                    let payload = message.payload().unwrap_or_default();
                    return Some(String::from_utf8_lossy(payload).into_owned());
                }
                // Brokers may stop and start, and librdkafka reconnects by itself. Only the
                // arrival of the messages in time matters.
                Some(Err(error)) => self.last_error = Some(error.to_string()),
                None => {}
            }
            if deadline.passed() {
                return None;
            }
        }
    }

    /// Returns librdkafka's last error, for messages.
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Returns `None` if the brokers do not answer or do not know the topic.
    fn assign(&mut self) -> Option<()> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), REQUEST);
        let metadata = self.keep_error(metadata)?;
        let mut list = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
            let (id, start) = (partition.id(), Offset::Beginning);
            let added = list.add_partition_offset(&self.topic, id, start);
            self.keep_error(added)?;
        }
        let assigned = self.consumer.assign(&list);
        self.keep_error(assigned)?;
        self.assigned = list.count() > 0;
        self.assigned.then_some(())
    }

    fn keep_error<T>(&mut self, result: rdkafka::error::KafkaResult<T>) -> Option<T> {
        result
            .map_err(|error| self.last_error = Some(error.to_string()))
            .ok()
    }
}

/// Waits until a metadata request to `brokers` is answered with at least one broker.
pub fn answers(brokers: &str, deadline: impl Into<Deadline>) -> Result<()> {
    let probe = Probe::new(brokers)?;
    let what = format!("an answer of Kafka at {brokers}");
    wait::until(&what, deadline, || probe.is_answered())
}

/// A client that only asks for metadata.
pub(super) struct Probe(BaseConsumer);

impl Probe {
    pub(super) fn new(brokers: &str) -> Result<Self> {
        let client = config(brokers).set("group.id", "testkit-probe").create();
        client
            .map(Self)
            .map_err(|error| Error::new(format!("cannot ask {brokers}: {error}")))
    }

    pub(super) fn is_answered(&self) -> bool {
        let metadata = self.0.fetch_metadata(None, REQUEST);
        metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
    }
}

/// Reads at least `count` messages of a topic, from its beginning.
pub fn consume(
    brokers: &str,
    topic: &str,
    count: usize,
    deadline: impl Into<Deadline>,
) -> Result<Vec<String>> {
    consume_until(brokers, topic, deadline, |messages| messages.len() >= count)
        .map_err(|error| error.context(format!("expected {count} messages")))
}

/// Reads the messages of a topic from its beginning, until `enough` accepts them.
pub fn consume_until(
    brokers: &str,
    topic: &str,
    deadline: impl Into<Deadline>,
    mut enough: impl FnMut(&[String]) -> bool,
) -> Result<Vec<String>> {
    let deadline = deadline.into();
    let mut reader = Reader::open(brokers, topic)?;
    let mut messages = Vec::new();
    while !enough(&messages) {
        match reader.next(deadline) {
            Some(message) => messages.push(message),
            None => {
                let count = messages.len();
                let last = messages.last().map_or("none", String::as_str);
                let error = reader.last_error().unwrap_or("none");
                return Err(Error::new(format!(
                    "topic {topic} at {brokers} gave {count} messages in {:.1} s; \
                     last message: {last}; last error: {error}",
                    deadline.allowed().as_secs_f64()
                )));
            }
        }
    }
    Ok(messages)
}

/// Writes messages and waits until the brokers have confirmed them all.
pub fn produce(
    brokers: &str,
    topic: &str,
    messages: &[&str],
    deadline: impl Into<Deadline>,
) -> Result<()> {
    let deadline = deadline.into();
    let failed = |error| Error::new(format!("cannot write to {topic} at {brokers}: {error}"));
    // This is longer than the deadline, so that a message never counts as done because
    // librdkafka gave it up.
    let give_up = deadline.remaining() + Duration::from_secs(60);
    let producer: BaseProducer = config(brokers)
        .set("acks", "all")
        .set("message.timeout.ms", give_up.as_millis().to_string())
        .create()
        .map_err(failed)?;
    for message in messages {
        let record = BaseRecord::<(), str>::to(topic).payload(message);
        producer.send(record).map_err(|(error, _)| failed(error))?;
    }
    producer.flush(deadline.remaining()).map_err(failed)
}

/// Returns a topic name that no other test, process or run uses.
pub fn unique_topic(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = now.unwrap_or_default().as_millis();
    format!("{prefix}-{millis}-{}-{count}", std::process::id())
}

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        // Tests stop brokers and start them again. With the default, librdkafka waits up to 10
        // s before it reconnects.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "200");
    config
}
