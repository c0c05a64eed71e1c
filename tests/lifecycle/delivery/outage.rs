//! One experiment: Kafka goes away while samples are taken, something is done to
//! Fluent Bit meanwhile, Kafka comes back, and the topic is read.
//!
//! The truth is the shipped configuration's other output, stdout, which prints
//! a record when it is handed to Kafka's client, and so before anything can
//! happen to it there.

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use sim_kubelet::SimKubelet;
use testkit::{
    Child, Host, Kafka, Stream,
    kafka::{self, Apache, Broker, BrokerOptions, Reader},
};

use super::disk;
use crate::{
    proc::{Scratch, Table, free_port, until},
    run::record_lines,
    shipped, sink,
};

mod rest;

const DEADLINE: Duration = Duration::from_secs(60);

/// How long a proxy waits for the brokers.
const CONFIRMED: Duration = Duration::from_secs(2);

/// Longer than the longest pause between two tries of a chunk, see `Run::new`.
const QUIET: Duration = Duration::from_secs(8);

const STORAGE: &str = "storage";

const ROOM: &str = "rdkafka.queue.buffering.max.messages";

/// What the shipped configuration gives Kafka's client: this much is lost with Fluent
/// Bit, and this much stays in order.
pub fn shipped_room() -> usize {
    let text = shipped::text();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(ROOM));
    let value = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    value.unwrap_or_else(|| panic!("{ROOM} in fluent-bit.conf"))
}

/// An output section for `http`, to this port.
fn http(port: u16) -> String {
    format!(
        "[OUTPUT]\n    name http\n    match kubeletstats\n    host 127.0.0.1\n    \
         port {port}\n    format json_lines\n    json_date_key false\n    \
         retry_limit no_limits\n"
    )
}

/// What is done to Fluent Bit while Kafka is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Nothing,
    /// SIGTERM, and started again.
    Stopped,
    /// SIGKILL, and started again.
    Killed,
}

/// One experiment.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    pub host: &'a Host,
    /// For messages, in Kafka's client.
    pub room: usize,
    pub pods: usize,
    pub away: Duration,
    pub to: To,
    pub by: By,
}

/// Which output brings the records to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// `kafka`: done with a record when its client's memory has it.
    Kafka,
    /// `http`, to somebody who answers when the brokers have confirmed all records, as
    /// proxies for Kafka do: done with a record then.
    Http,
}

/// One host, one kubelet, one topic.
pub struct Run<'a> {
    host: &'a Host,
    configuration: String,
    kubelet: SimKubelet,
    folder: Scratch,
    topic: String,
}

impl<'a> Run<'a> {
    /// `instead` is the section of the other output, if it is one.
    fn new(plan: &Plan<'a>, topic: String, instead: Option<&str>) -> Self {
        Self::with(plan.host, plan.pods, plan.room, topic, instead)
    }

    /// `port` is that of the `http` output, if it is that.
    pub fn of(host: &'a Host, pods: usize, room: usize, topic: String, port: Option<u16>) -> Self {
        Self::with(host, pods, room, topic, port.map(http).as_deref())
    }

    fn with(
        host: &'a Host,
        pods: usize,
        room: usize,
        topic: String,
        instead: Option<&str>,
    ) -> Self {
        let kubelet = SimKubelet::builder()
            .pods(pods)
            .sample_period(Duration::from_millis(500))
            .started();
        let folder = Scratch::new("delivery");
        let room = room.to_string();
        let settings = [
            ("kafka", "topics", topic.as_str()),
            ("kafka", ROOM, &room),
            ("service", "storage.path", STORAGE),
            // Chunks are tried again sooner than anybody would configure.
            ("service", "scheduler.base", "1"),
            ("service", "scheduler.cap", "2"),
        ];
        Self {
            host,
            configuration: shipped::configuration(&settings, instead),
            kubelet,
            folder,
            topic,
        }
    }

    /// What of it is on disk now.
    pub fn on_disk(&self) -> BTreeSet<Sample> {
        disk::samples(&self.folder.join(STORAGE))
    }

    pub fn start(&self, brokers: &str) -> Child {
        let mut command = self.folder.command(self.host, &self.configuration);
        shipped::lead_to(&mut command, &self.kubelet, brokers);
        command.env("SCRAPE_INTERVAL_MS", "500");
        Child::spawn(command).expect("the host starts")
    }
}

/// A container and when it was sampled.
pub type Sample = (String, u64);

pub fn sample(record: &str) -> Sample {
    let record: Value = serde_json::from_str(record).expect("json");
    let text = |key: &str| record[key].as_str().expect("text").to_owned();
    let at = record["timestamp"].as_u64().expect("an integer");
    (format!("{}/{}", text("podUid"), text("containerName")), at)
}

pub fn printed(child: &Child) -> BTreeSet<Sample> {
    let records = record_lines(child);
    records.iter().map(|line| sample(line)).collect()
}

/// Waits until a sample of this time or later was printed.
pub fn wait_for_sample(child: &mut Child, at: u64) {
    let later = |line: &str| line.starts_with('{') && sample(line).1 >= at;
    child
        .wait_for_line(Stream::Stdout, later, 3 * DEADLINE)
        .unwrap_or_else(|error| {
            let log = child.lines(Stream::Stderr).join("\n  ");
            panic!("{:?}: {error}\nlog:\n  {log}", child.exit_status())
        });
}

pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.expect("after 1970").as_millis() as u64
}

/// The topic, as far as it was read.
struct Topic {
    reader: Reader,
    times: HashMap<Sample, usize>,
    latest: HashMap<String, u64>,
    /// Samples that came after a later one of the same container.
    late: usize,
}

impl Topic {
    fn open(brokers: &str, topic: &str) -> Self {
        let reader = Reader::open(brokers, topic);
        Self {
            reader: reader.expect("a reader"),
            times: HashMap::new(),
            latest: HashMap::new(),
            late: 0,
        }
    }

    fn read(&mut self, within: Duration) -> bool {
        let Some(record) = self.reader.next(within) else {
            return false;
        };
        let (container, at) = sample(&record);
        let latest = self.latest.entry(container.clone()).or_default();
        let times = self.times.entry((container, at)).or_default();
        *times += 1;
        self.late += usize::from(*times == 1 && at < *latest);
        *latest = at.max(*latest);
        true
    }

    fn missing(&self, of: &BTreeSet<Sample>) -> usize {
        let missing = |sample: &&Sample| !self.times.contains_key(*sample);
        of.iter().filter(missing).count()
    }

    /// Reads until nothing of `taken` is missing, or nothing missing has come for long;
    /// returns since when it is so.
    fn read_all(&mut self, taken: &BTreeSet<Sample>) -> Instant {
        let (mut left, mut since) = (self.missing(taken), Instant::now());
        while left > 0 && since.elapsed() < QUIET {
            let batch = Instant::now();
            while batch.elapsed() < Duration::from_millis(200)
                && self.read(Duration::from_millis(50))
            {}
            let now = self.missing(taken);
            if now < left {
                (left, since) = (now, Instant::now());
            }
        }
        since
    }

    fn duplicates(&self) -> usize {
        self.times.values().map(|times| times - 1).sum()
    }
}

#[derive(Debug)]
pub struct Outcome {
    pub taken: usize,
    pub lost: usize,
    /// Of those on disk when Fluent Bit was killed.
    pub on_disk: usize,
    pub lost_from_disk: usize,
    pub late: usize,
    pub duplicates: usize,
    /// From when Kafka was back until all that comes had come.
    pub settled: Duration,
}

impl Outcome {
    pub const HEAD: [&str; 11] = [
        "host",
        "by",
        "room",
        "Fluent Bit",
        "taken",
        "lost",
        "on disk",
        "lost of these",
        "late",
        "twice",
        "settled",
    ];

    pub fn add_to(&self, table: &mut Table, plan: &Plan) {
        let (by, room) = match plan.by {
            By::Kafka => ("kafka", plan.room.to_string()),
            By::Http => ("http", "-".to_owned()),
        };
        let to = match plan.to {
            To::Nothing => "goes on",
            To::Stopped => "stopped",
            To::Killed => "killed",
        };
        table.row(&[
            &plan.host.name,
            &by,
            &room,
            &to,
            &self.taken,
            &self.lost,
            &self.on_disk,
            &self.lost_from_disk,
            &self.late,
            &self.duplicates,
            &format!("{:.1} s", self.settled.as_secs_f64()),
        ]);
    }
}

/// What there was to be delivered.
struct There {
    taken: BTreeSet<Sample>,
    on_disk: BTreeSet<Sample>,
}

/// Does to Fluent Bit what is planned; returns what there was by then.
fn meddle(run: &Run, child: &mut Child, brokers: &str, to: To) -> Option<There> {
    let on_disk = match to {
        To::Nothing => return None,
        To::Stopped => {
            child.terminate(DEADLINE);
            BTreeSet::new()
        }
        To::Killed => {
            child.kill();
            run.on_disk()
        }
    };
    let taken = printed(child);
    *child = run.start(brokers);
    Some(There { taken, on_disk })
}

/// Kafka is killed, and comes back after a while.
pub fn outage(apache: &Apache, plan: &Plan) -> Outcome {
    let broker = apache.start(BrokerOptions::default()).expect("a broker");
    let output = |topic: &str| match plan.by {
        By::Kafka => None,
        By::Http => {
            let (brokers, topic) = (broker.brokers.clone(), topic.to_owned());
            Some(http(sink::serve(move |lines| {
                let lines: Vec<_> = lines.iter().map(String::as_str).collect();
                kafka::produce(&brokers, &topic, &lines, CONFIRMED).is_ok()
            })))
        }
    };
    let end = || assert!(apache.kill().expect("killed"));
    let restart = || drop(apache.restart().expect("a broker again"));
    outage_of(&broker, plan, output, end, restart)
}

/// Something on the way to the topic is ended, and comes back after a while.
fn outage_of(
    broker: &Broker,
    plan: &Plan,
    output: impl FnOnce(&str) -> Option<String>,
    end: impl FnOnce(),
    restart: impl FnOnce(),
) -> Outcome {
    let topic = kafka::unique_topic("delivery");
    let instead = output(&topic);
    let run = Run::new(plan, topic, instead.as_deref());
    let mut child = run.start(&broker.brokers);
    let mut topic = Topic::open(&broker.brokers, &run.topic);
    until(&child, "records in Kafka", DEADLINE, || {
        topic.read(DEADLINE)
    });

    end();
    wait_for_sample(&mut child, now_ms() + plan.away.as_millis() as u64);
    let there = meddle(&run, &mut child, &broker.brokers, plan.to);
    restart();
    let back = Instant::now();
    wait_for_sample(&mut child, now_ms() + 1_000);
    let there = there.unwrap_or_else(|| There {
        taken: printed(&child),
        on_disk: BTreeSet::new(),
    });
    settle(topic, &there, back, child)
}

/// The same where there is no Kafka to kill: at first its address is one where nobody
/// listens, and Fluent Bit is started again with that of a Kafka.
pub fn moved(kafka: &Kafka, plan: &Plan) -> Outcome {
    let run = Run::new(plan, kafka::unique_topic("delivery"), None);
    let mut child = run.start(&format!("127.0.0.1:{}", free_port()));
    wait_for_sample(&mut child, now_ms() + plan.away.as_millis() as u64);
    let there = meddle(&run, &mut child, kafka.brokers(), plan.to);
    let there = there.expect("Fluent Bit was ended");
    let topic = Topic::open(kafka.brokers(), &run.topic);
    settle(topic, &there, Instant::now(), child)
}

fn settle(mut topic: Topic, there: &There, back: Instant, mut child: Child) -> Outcome {
    let all = &there.taken | &there.on_disk;
    let until = topic.read_all(&all);
    child.terminate(DEADLINE);
    // What comes again may come later than what was missing.
    while topic.read(Duration::from_secs(3)) {}
    Outcome {
        taken: there.taken.len(),
        lost: topic.missing(&there.taken),
        on_disk: there.on_disk.len(),
        lost_from_disk: topic.missing(&there.on_disk),
        late: topic.late,
        duplicates: topic.duplicates(),
        settled: until.saturating_duration_since(back),
    }
}
