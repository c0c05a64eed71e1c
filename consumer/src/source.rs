//! The topic. This is a member of a consumer group, which reads, pauses and commits on request, and
//! logs when Kafka is not available. It knows neither records nor the database.
//!
//! librdkafka has blocking requests. They run on a blocking thread of the runtime, except for the
//! look-up of places: it is part of the answer to the group, and its time is limited.

mod place;

use std::{
    collections::BTreeMap,
    mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use rdkafka::{
    client::ClientContext,
    config::{ClientConfig, RDKafkaLogLevel},
    consumer::{
        BaseConsumer, CommitMode, Consumer, ConsumerContext, RebalanceProtocol, StreamConsumer,
    },
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Message as _},
    topic_partition_list::{Offset, TopicPartitionList},
    types::RDKafkaRespErr,
};
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::timeout,
};
use tracing::{error, info, warn};

use self::place::{Gone, Start};
use crate::{
    health::Health,
    positions::{Position, Positions},
    settings::{From, Settings},
};

/// While Kafka is not available: how often it is asked, and how long to wait for the answer.
const PROBE_EVERY: Duration = Duration::from_secs(1);
const PROBE: Duration = Duration::from_millis(500);
/// The limit for looking up where to begin in assigned partitions, and what was deleted.
const LOOK_UP: Duration = Duration::from_secs(3);

/// The largest number of gaps that are kept while Kafka is not available.
const MOST_GAPS: usize = 10_000;

/// Defaults that `--kafka-option` overrides.
const DEFAULTS: [(&str, &str); 7] = [
    ("client.id", "metrics-consumer"),
    // After this time, the partitions of a killed consumer are assigned to others. librdkafka's
    // default is 45 s.
    ("session.timeout.ms", "10000"),
    // After this time, a new topic is noticed. The default is 5 minutes.
    ("topic.metadata.refresh.interval.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    // At most this much of each partition is read ahead. The default is 64 MiB.
    ("queued.max.messages.kbytes", "8192"),
    // The buffer before the database already reads ahead. What librdkafka has read ahead is
    // discarded by a pause, so it is kept small.
    ("queued.min.messages", "1000"),
    // If one fetch returned more than that, the next fetch waits this long. The default is 1 s.
    ("fetch.queue.backoff.ms", "10"),
];

/// One message of the topic.
pub struct Message {
    pub partition: i32,
    pub offset: i64,
    /// See [`crate::positions::Position`].
    pub assignment: u64,
    /// When the message was written, in milliseconds.
    pub time: Option<i64>,
    pub payload: Vec<u8>,
}

impl Message {
    /// Makes a message. Its assignment is set later.
    fn of(message: &BorrowedMessage<'_>) -> Self {
        Self {
            partition: message.partition(),
            offset: message.offset(),
            assignment: 0,
            time: message.timestamp().to_millis(),
            payload: message.payload().unwrap_or_default().to_owned(),
        }
    }

    /// The position after this message.
    pub fn position(&self) -> Position {
        Position {
            assignment: self.assignment,
            next: self.offset + 1,
            since: self.time,
        }
    }
}

pub struct Source {
    consumer: Arc<StreamConsumer<Events>>,
    topic: String,
    paused: bool,
    brokers: Health,
    reading: Health,
    probed: Instant,
    looked_up: Instant,
}

impl Source {
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS {
            config.set(name, value);
        }
        for (name, value) in &settings.kafka_options {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &settings.brokers)
            .set("group.id", &settings.group)
            // If the group's place does not exist, the existing records are read from the
            // beginning; see `Events::starts`.
            .set("auto.offset.reset", "earliest")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false");
        let mut options = settings.kafka_options.iter();
        let is_debugging = options.any(|(name, _)| name == "debug");
        let events = Events {
            topic: settings.topic.clone(),
            from_end: settings.from == From::End,
            is_debugging,
            state: Mutex::default(),
        };
        config.set_log_level(match is_debugging {
            true => RDKafkaLogLevel::Debug,
            false => RDKafkaLogLevel::Emerg,
        });
        let consumer: StreamConsumer<Events> =
            config
                .create_with_context(events)
                .map_err(|error| match error {
                    // The text of the error would also show the value, which may be a password.
                    KafkaError::ClientConfig(_, why, name, _) => format!("option {name}: {why}"),
                    error => format!("cannot read from Kafka: {error}"),
                })?;
        info!(
            "reading topic {} at {} in group {}",
            settings.topic, settings.brokers, settings.group
        );
        consumer
            .subscribe(&[&settings.topic])
            .map_err(|error| format!("cannot read topic {}: {error}", settings.topic))?;
        Ok(Self {
            consumer: Arc::new(consumer),
            topic: settings.topic.clone(),
            paused: false,
            brokers: Health::new(format!("Kafka at {}", settings.brokers)),
            reading: Health::new(format!("topic {}", settings.topic)),
            probed: Instant::now(),
            looked_up: Instant::now(),
        })
    }

    /// Serves the group, and returns a message if there is one. Fails only if continuing is
    /// useless. It must be called all the time, because otherwise the group removes this consumer.
    pub async fn next(&mut self) -> Result<Option<Message>, String> {
        let received = self.consumer.recv().await;
        let received = received.map(|message| Message::of(&message));
        self.received(received)
    }

    /// Does the same as [`Self::next`], but does not wait for a message.
    pub fn try_next(&mut self) -> Result<Option<Message>, String> {
        let received = {
            let mut context = Context::from_waker(Waker::noop());
            match pin!(self.consumer.recv()).poll(&mut context) {
                Poll::Ready(received) => received.map(|message| Message::of(&message)),
                Poll::Pending => return Ok(None),
            }
        };
        self.received(received)
    }

    fn received(&mut self, received: KafkaResult<Message>) -> Result<Option<Message>, String> {
        let mut message = match received {
            Ok(message) => message,
            Err(KafkaError::MessageConsumptionFatal(code)) => return Err(format!("Kafka: {code}")),
            Err(error) => {
                self.failed(&error);
                return Ok(None);
            }
        };
        self.works();
        let mut state = self.consumer.context().state();
        // Without an assignment, the message is left over from one that has ended.
        let Some(ours) = state.assigned.get_mut(&message.partition) else {
            return Ok(None);
        };
        message.assignment = ours.number;
        let gap = ours.pass(message.offset, message.time);
        if let Some(gap) = gap.filter(|_| state.gaps.len() < MOST_GAPS) {
            state.gaps.push((message.partition, gap));
        }
        drop(state);
        Ok(Some(message))
    }

    /// Looks up the offsets that were missing. Offsets before all existing records were deleted.
    /// Others never were records, for example the marks of transactions, which can follow every few
    /// records. Therefore the look-up runs on another thread, once for all gaps of a partition that
    /// are known then. If it fails, they are looked up again with the next gaps.
    fn look_up_gaps(&mut self, now: Instant) {
        let mut state = self.consumer.context().state();
        if state.gaps.is_empty() || state.looks_up || now - self.looked_up < PROBE_EVERY {
            return;
        }
        state.looks_up = true;
        let gaps = std::mem::take(&mut state.gaps);
        drop(state);
        self.looked_up = now;
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        spawn_blocking(move || {
            let mut kept = BTreeMap::new();
            let mut unknown = Vec::new();
            for (partition, gap) in gaps {
                let low = *kept.entry(partition).or_insert_with(|| {
                    let kept = consumer.fetch_watermarks(&topic, partition, LOOK_UP);
                    kept.ok().map(|(low, _)| low)
                });
                match low.map(|low| low.min(gap.to)) {
                    None => unknown.push((partition, gap)),
                    Some(to) if gap.from < to => {
                        warn!("partition {partition} of topic {topic}: {gap}");
                    }
                    Some(_) => {}
                }
            }
            let mut state = consumer.context().state();
            state.gaps.extend(unknown);
            state.looks_up = false;
        });
    }

    fn failed(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        match error.rdkafka_error_code() {
            Some(Code::AllBrokersDown | Code::Authentication | Code::SSL) => {
                let last = self.consumer.context().state().last_failure.take();
                let reason = last.as_deref().unwrap_or("no broker answers");
                self.brokers.failed(reason);
            }
            // One of perhaps several connections failed. If it was the last one, the error above
            // follows.
            Some(Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut) => {}
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition) => {
                self.consumer.context().state().is_awaited = true;
                self.reading.failed("does not exist yet, waiting for it");
            }
            _ => self.reading.failed(&error.to_string()),
        }
    }

    fn works(&mut self) {
        self.brokers.works();
        self.reading.works();
    }

    /// Handles what has changed since the last call.
    pub fn serve(&mut self) {
        let now = Instant::now();
        self.look_up_gaps(now);
        let mut state = self.consumer.context().state();
        let has_changed = mem::take(&mut state.has_changed);
        let has_answered = mem::take(&mut state.has_answered);
        drop(state);
        if has_changed {
            // A new assignment is not paused at first.
            self.pause_all(self.paused);
        }
        if has_changed || has_answered {
            self.works();
        } else if self.brokers.is_failing() && now - self.probed >= PROBE_EVERY {
            // If a topic is idle, no message shows that Kafka is available again.
            self.probed = now;
            let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
            spawn_blocking(move || {
                let answer = consumer.fetch_metadata(Some(&topic), PROBE);
                consumer.context().state().has_answered = answer.is_ok();
            });
        }
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Pauses or resumes reading. A paused topic uses no memory while its records cannot be
    /// processed. What was read ahead is discarded, and read again after resuming.
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
        // This fails for partitions that are being revoked. They do not matter.
        let _ = match paused {
            true => self.consumer.pause(&all),
            false => self.consumer.resume(&all),
        };
    }

    /// Returns the assignment under which this consumer has the partition now.
    pub fn assignment(&self, partition: i32) -> Option<u64> {
        let state = self.consumer.context().state();
        state.assigned.get(&partition).map(|ours| ours.number)
    }

    /// Returns where reading begins in newly assigned partitions, so that this is committed. Then
    /// the group keeps the place even if no record ever arrives.
    pub fn chosen(&self) -> Positions {
        mem::take(&mut self.consumer.context().state().chosen)
    }

    /// Starts a commit. While Kafka is not available, it may take any time. The result is whether
    /// it succeeded.
    pub fn commit(&self, positions: Positions) -> JoinHandle<bool> {
        let (consumer, topic) = (Arc::clone(&self.consumer), self.topic.clone());
        spawn_blocking(move || commit(&consumer, &topic, &positions).is_ok())
    }

    /// Leaves the group after the last commit has ended, within a limited time. It does not wait
    /// longer if Kafka is not available.
    pub async fn close(self, commit: Option<JoinHandle<bool>>, limit: Duration) {
        let closing = async {
            if let Some(commit) = commit {
                let _ = commit.await;
            }
            let _ = spawn_blocking(move || drop(self.consumer)).await;
        };
        let _ = timeout(limit, closing).await;
    }
}

fn commit(
    consumer: &StreamConsumer<Events>,
    topic: &str,
    positions: &Positions,
) -> KafkaResult<()> {
    let mut list = TopicPartitionList::new();
    for (partition, position) in positions {
        list.add_partition_offset(topic, *partition, Offset::Offset(position.next))?;
        let mut added = list.find_partition(topic, *partition);
        if let (Some(added), Some(since)) = (&mut added, position.since) {
            added.set_metadata(since.to_string());
        }
    }
    consumer.commit(&list, CommitMode::Sync)
}

/// Handles what librdkafka reports besides messages.
struct Events {
    topic: String,
    from_end: bool,
    /// Whether option `debug` is set.
    is_debugging: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    assigned: BTreeMap<i32, Assigned>,
    assignments: u64,
    has_changed: bool,
    /// Whether Kafka has answered the question whether it is available again.
    has_answered: bool,
    /// Whether the topic did not exist at start. Then everything in it is new.
    is_awaited: bool,
    /// The positions where reading begins. They become the group's places.
    chosen: Positions,
    last_failure: Option<String>,
    /// Gaps that are not looked up yet.
    gaps: Vec<(i32, Gone)>,
    looks_up: bool,
}

/// A partition that is assigned to this consumer.
struct Assigned {
    /// The number of its assignment.
    number: u64,
    /// The next expected offset, if it is known.
    next: Option<i64>,
    /// When the record before that offset was written.
    since: Option<i64>,
}

impl Assigned {
    /// Moves the position past a message. Returns the gap before it, if there is one.
    fn pass(&mut self, offset: i64, time: Option<i64>) -> Option<Gone> {
        let since = self.since;
        let from = self.next.filter(|next| *next < offset);
        (self.next, self.since) = (Some(offset + 1), time);
        from.map(|from| Gone {
            from,
            to: offset,
            since,
        })
    }
}

impl Events {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Events {
    fn error(&self, _: KafkaError, reason: &str) {
        // Keeps for example `HOST/ID: Connect to … failed: Connection refused (…)`. The line that
        // all brokers are down has less information.
        if !reason.contains("brokers are down") {
            self.state().last_failure = Some(reason.to_owned());
        }
    }

    /// Logs only with option `debug`, because important events are errors too.
    fn log(&self, _: RDKafkaLogLevel, facility: &str, text: &str) {
        if self.is_debugging {
            info!("librdkafka: {facility} {text}");
        }
    }
}

impl ConsumerContext for Events {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        use RDKafkaRespErr::{
            RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS as ASSIGN,
            RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS as REVOKE,
        };
        let is_cooperative = matches!(
            consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        );
        // If this fails, the group has changed again. The next rebalance follows.
        let _ = match (what, is_cooperative) {
            (ASSIGN, _) => {
                self.assign(consumer, partitions);
                match is_cooperative {
                    true => consumer.incremental_assign(partitions),
                    false => consumer.assign(partitions),
                }
            }
            (REVOKE, true) => {
                let mut state = self.state();
                for element in partitions.elements() {
                    state.assigned.remove(&element.partition());
                }
                drop(state);
                consumer.incremental_unassign(partitions)
            }
            // Without cooperative rebalancing, all partitions are revoked.
            _ => {
                self.state().assigned.clear();
                consumer.unassign()
            }
        };
    }
}

impl Events {
    /// Notes the newly assigned partitions, and sets where to begin in each.
    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &mut TopicPartitionList) {
        let starts = self.starts(consumer, partitions).unwrap_or_else(|error| {
            error!(
                "the place of the group cannot be looked up: {error}; \
                 reading from there, or else from the beginning"
            );
            BTreeMap::new()
        });
        let mut state = self.state();
        state.assignments += 1;
        let number = state.assignments;
        for element in partitions.elements() {
            let start = starts.get(&element.partition()).copied();
            let (next, since) = start.map_or((None, None), |(next, since)| (Some(next), since));
            let ours = Assigned {
                number,
                next,
                since,
            };
            state.assigned.insert(element.partition(), ours);
        }
        for (partition, (next, since)) in starts {
            let offset = Offset::Offset(next);
            let _ = partitions.set_partition_offset(&self.topic, partition, offset);
            let position = Position {
                assignment: number,
                next,
                since,
            };
            state.chosen.insert(partition, position);
        }
        state.has_changed = !state.assigned.is_empty();
        let all: Vec<String> = state.assigned.keys().map(ToString::to_string).collect();
        let topic = &self.topic;
        match all.as_slice() {
            [] => info!("no partition of topic {topic} is ours: others have them"),
            all => info!("partition {} of topic {topic} is ours", all.join(", ")),
        }
    }

    /// Returns where to begin, and when the record before that was written. Partitions in which the
    /// group has no place are absent. They are read from their beginning.
    fn starts(
        &self,
        consumer: &BaseConsumer<Self>,
        partitions: &TopicPartitionList,
    ) -> KafkaResult<BTreeMap<i32, (i64, Option<i64>)>> {
        let deadline = Instant::now() + LOOK_UP;
        let left = || deadline.saturating_duration_since(Instant::now());
        let topic = &self.topic;
        let mut starts = BTreeMap::new();
        let mut without = Vec::new();
        let committed = consumer.committed_offsets(partitions.clone(), left())?;
        for element in committed.elements() {
            let partition = element.partition();
            let Offset::Offset(place) = element.offset() else {
                without.push(partition);
                continue;
            };
            let since = element.metadata().parse().ok();
            let kept = consumer.fetch_watermarks(topic, partition, left())?;
            let start = Start::of(place, since, kept);
            let of = format!("partition {partition} of topic {topic}");
            match &start {
                Start::Place(_) => {}
                Start::Behind(gone) => warn!("{of}: {gone}"),
                Start::Recreated(low) => warn!(
                    "{of}: it ends at offset {}, before the group's place {place}, as one that \
                     was made anew: reading all of it, from offset {low}",
                    kept.1
                ),
            }
            starts.insert(partition, (start.offset(), since));
        }
        if self.from_end && !without.is_empty() && !self.state().is_awaited {
            let ends = self.ends_for_new_group(consumer, left)?;
            let ours = ends.into_iter().filter(|(id, _)| without.contains(id));
            starts.extend(ours.map(|(partition, end)| (partition, (end, None))));
        }
        Ok(starts)
    }

    /// Returns the end of each partition, if the group has no place in any partition. Otherwise it
    /// returns nothing, because a partition that was added later is read from its beginning.
    fn ends_for_new_group(
        &self,
        consumer: &BaseConsumer<Self>,
        left: impl Fn() -> Duration,
    ) -> KafkaResult<BTreeMap<i32, i64>> {
        let topic = &self.topic;
        let metadata = consumer.fetch_metadata(Some(topic), left())?;
        let mut all = TopicPartitionList::new();
        for partition in metadata.topics().iter().flat_map(|t| t.partitions()) {
            all.add_partition(topic, partition.id());
        }
        let mut ends = BTreeMap::new();
        for element in consumer.committed_offsets(all.clone(), left())?.elements() {
            if let Offset::Offset(_) = element.offset() {
                return Ok(BTreeMap::new());
            }
            let partition = element.partition();
            let (_, end) = consumer.fetch_watermarks(topic, partition, left())?;
            all.set_partition_offset(topic, partition, Offset::Offset(end))?;
            ends.insert(partition, end);
        }
        // Commits the ends as places now. Then the group has places in the partitions of other
        // members too, and before the first record arrives. Records that arrive while no consumer
        // runs are not skipped.
        consumer.commit(&all, CommitMode::Async)?;
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_librdkafka_refuses_keeps_its_value_to_itself() {
        let args = ["--brokers=k:9092", "--kafka-option=sasl.pasword=sesame"];
        let settings = Settings::of_arguments(&args).expect("settings");
        assert_eq!(
            Source::open(&settings).err().expect("no such option"),
            "option sasl.pasword: No such configuration property: \"sasl.pasword\""
        );
    }
}
