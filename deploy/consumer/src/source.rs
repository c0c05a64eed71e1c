//! The topic: a member of a consumer group that reads, pauses and commits when told to, and
//! says in plain words when Kafka is away. Knows neither records nor the database.

use crate::health::Health;
use crate::output::say;
use crate::positions::{Position, Positions};
use crate::settings::Settings;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// While Kafka is away: how often it is asked, and how long for.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(500);

/// What can be set otherwise by `--kafka-option`.
const DEFAULTS: [(&str, &str); 6] = [
    ("client.id", "metrics-consumer"),
    // A killed consumer's partitions are free after this time; the default is 45 s.
    ("session.timeout.ms", "10000"),
    // A topic that appears is seen after this time; the default is 5 minutes.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    // Read ahead at most so much of each partition; the default is 64 MiB.
    ("queued.max.messages.kbytes", "8192"),
    // The buffer in front of the database reads ahead; this is only what a pause throws away.
    ("queued.min.messages", "1000"),
];

/// One message as it stands in the topic.
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    /// See [`crate::positions::Position`].
    pub assignment: u64,
    pub payload: Vec<u8>,
}

impl Message {
    /// Behind it.
    pub fn position(&self) -> Position {
        Position {
            assignment: self.assignment,
            next: self.offset + 1,
        }
    }
}

pub struct Source {
    consumer: Arc<BaseConsumer<Events>>,
    committer: Committer,
    topic: String,
    paused: bool,
    brokers: Health,
    reading: Health,
    probed: Instant,
}

impl Source {
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(name, value);
        }
        let from = if settings.from_end {
            "latest"
        } else {
            "earliest"
        };
        config.set("auto.offset.reset", from);
        for (name, value) in &settings.kafka_options {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &settings.brokers)
            .set("group.id", &settings.group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let debugs = settings
            .kafka_options
            .iter()
            .any(|(name, _)| name == "debug");
        let events = Events {
            topic: settings.topic.clone(),
            debugs,
            state: Mutex::default(),
        };
        config.set_log_level(if debugs {
            RDKafkaLogLevel::Debug
        } else {
            RDKafkaLogLevel::Emerg
        });
        let consumer: BaseConsumer<Events> =
            config
                .create_with_context(events)
                .map_err(|error| match error {
                    // As text it would show the value too, which may be a password.
                    KafkaError::ClientConfig(_, why, name, _) => format!("option {name}: {why}"),
                    error => format!("cannot read from Kafka: {error}"),
                })?;
        say(format!(
            "reading topic {} at {} in group {}",
            settings.topic, settings.brokers, settings.group
        ));
        consumer
            .subscribe(&[&settings.topic])
            .map_err(|error| format!("cannot read topic {}: {error}", settings.topic))?;
        let consumer = Arc::new(consumer);
        Ok(Self {
            committer: Committer::start(Arc::clone(&consumer), settings.topic.clone()),
            consumer,
            topic: settings.topic.clone(),
            paused: false,
            brokers: Health::new(format!("Kafka at {}", settings.brokers)),
            reading: Health::new(format!("topic {}", settings.topic)),
            probed: Instant::now(),
        })
    }

    /// Serves the group and returns a message if there is one; fails only where going on is
    /// of no use. Has to be called all the time, or the group believes us dead.
    pub fn next(&mut self, wait: Duration) -> Result<Option<Message>, String> {
        let message = match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                let state = self.consumer.context().state();
                let assignment = state.assigned.get(&message.partition()).copied();
                // Without an assignment it is left over from one that has ended.
                assignment.map(|assignment| Message {
                    partition: message.partition(),
                    offset: message.offset(),
                    assignment,
                    payload: message.payload().unwrap_or_default().to_owned(),
                })
            }
            Some(Err(KafkaError::MessageConsumptionFatal(code))) => {
                return Err(format!("Kafka: {code}"));
            }
            Some(Err(error)) => {
                self.failed(&error);
                None
            }
            None => None,
        };
        self.serve(message.is_some());
        Ok(message)
    }

    fn failed(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let now = Instant::now();
        let code = error.rdkafka_error_code();
        let line = match code {
            Some(Code::AllBrokersDown | Code::Authentication | Code::SSL) => {
                let last = self.consumer.context().state().last_failure.take();
                let reason = last.as_deref().unwrap_or("no broker answers");
                self.brokers.failed(reason, now)
            }
            // One connection of perhaps several: if it was the last, the above follows.
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => None,
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                self.reading
                    .failed("does not exist yet, waiting for it", now)
            }
            _ => self.reading.failed(&error.to_string(), now),
        };
        line.iter().for_each(say);
    }

    /// Sees to what has changed since the last call.
    fn serve(&mut self, got_message: bool) {
        let now = Instant::now();
        let changed = std::mem::take(&mut self.consumer.context().state().changed);
        if changed {
            // A new assignment begins unpaused.
            self.pause_all(self.paused);
        }
        if got_message || changed {
            let lines = [self.brokers.works(now), self.reading.works(now)];
            lines.iter().flatten().for_each(say);
        } else if self.brokers.is_failing() && now - self.probed >= PROBE_EVERY {
            // An idle topic brings no message to tell that Kafka is back.
            let answer = self.consumer.fetch_metadata(Some(&self.topic), PROBE);
            self.probed = Instant::now();
            if answer.is_ok() {
                self.brokers.works(now).iter().for_each(say);
            }
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// A paused topic costs no memory while nothing can be done with its records. What was
    /// read ahead is thrown away, and read again on resuming.
    pub fn pause(&mut self, paused: bool) {
        if paused != self.paused {
            self.paused = paused;
            self.pause_all(paused);
        }
    }

    fn pause_all(&self, paused: bool) {
        let Ok(all) = self.consumer.assignment() else {
            return;
        };
        // Fails for partitions that are being taken away at this moment: they do not matter.
        let _ = match paused {
            true => self.consumer.pause(&all),
            false => self.consumer.resume(&all),
        };
    }

    /// The assignment under which a partition is ours now.
    pub fn assignment(&self, partition: i32) -> Option<u64> {
        let state = self.consumer.context().state();
        state.assigned.get(&partition).copied()
    }

    /// Begins a commit; how it went is told by [`Source::committed`].
    pub fn commit(&self, positions: Positions) {
        let _ = self.committer.requests.send(positions);
    }

    /// Whether the commit went well, once that is known.
    pub fn committed(&self) -> Option<bool> {
        self.committer.answers.try_recv().ok()
    }

    /// Leaves the group, for a limited time: a Kafka that is away is not waited for.
    pub fn close(self, within: Duration) {
        let (done, closed) = mpsc::channel::<()>();
        let Committer {
            requests, thread, ..
        } = self.committer;
        let consumer = self.consumer;
        thread::spawn(move || {
            drop(requests);
            let _ = thread.join();
            drop(consumer);
            drop(done);
        });
        let _ = closed.recv_timeout(within);
    }
}

/// A thread for commits: librdkafka tells only who waits for it how a commit went, and that
/// may take as long as Kafka is away.
struct Committer {
    requests: Sender<Positions>,
    answers: Receiver<bool>,
    thread: JoinHandle<()>,
}

impl Committer {
    fn start(consumer: Arc<BaseConsumer<Events>>, topic: String) -> Self {
        let (requests, queue) = mpsc::channel::<Positions>();
        let (answer, answers) = mpsc::channel();
        let thread = thread::spawn(move || {
            for positions in queue {
                let well = commit(&consumer, &topic, &positions).is_ok();
                if answer.send(well).is_err() {
                    return;
                }
            }
        });
        Self {
            requests,
            answers,
            thread,
        }
    }
}

fn commit(consumer: &BaseConsumer<Events>, topic: &str, positions: &Positions) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for (partition, position) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(position.next))?;
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// What librdkafka tells on the side.
struct Events {
    topic: String,
    /// Is option `debug` set?
    debugs: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Partitions that are ours, each with the number of its assignment.
    assigned: BTreeMap<i32, u64>,
    assignments: u64,
    changed: bool,
    last_failure: Option<String>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Events {
    fn error(&self, _: KafkaError, reason: &str) {
        // `HOST/ID: Connect to … failed: Connection refused (…)`; that all are down says less.
        if !reason.contains("brokers are down") {
            self.state().last_failure = Some(reason.to_owned());
        }
    }

    /// For option `debug` only: what matters comes as errors too.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if self.debugs {
            say(format!("librdkafka: {facility} {text}"));
        }
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut state = self.state();
        match rebalance {
            Rebalance::Assign(_) => {}
            Rebalance::Revoke(partitions) => {
                for element in partitions.elements() {
                    state.assigned.remove(&element.partition());
                }
            }
            // All are given back then.
            Rebalance::Error(_) => state.assigned.clear(),
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let Rebalance::Assign(partitions) = rebalance else {
            return;
        };
        let mut state = self.state();
        state.assignments += 1;
        let number = state.assignments;
        for element in partitions.elements() {
            state.assigned.insert(element.partition(), number);
        }
        state.changed = !state.assigned.is_empty();
        let all: Vec<String> = state.assigned.keys().map(ToString::to_string).collect();
        let topic = &self.topic;
        match all.as_slice() {
            [] => say(format!(
                "no partition of topic {topic} is ours: others have them"
            )),
            all => say(format!(
                "partition {} of topic {topic} is ours",
                all.join(", ")
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_librdkafka_refuses_keeps_its_value_to_itself() {
        let args = ["--brokers=k:9092", "--kafka-option=sasl.pasword=sesame"];
        let settings = Settings::read(args.map(str::to_owned), |_| None, []).unwrap();
        assert_eq!(
            Source::open(&settings).err().unwrap(),
            "option sasl.pasword: No such configuration property: \"sasl.pasword\""
        );
    }
}
