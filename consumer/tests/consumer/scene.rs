//! What the tests share: the Kafka and the PostgreSQL, records by the thousand, and the
//! consumer as a process.

use std::{path::PathBuf, process::Command, time::Duration};

use testkit::{
    Child, Kafka, Stream,
    kafka::{self, Apache, BrokerOptions, produce, unique_topic},
    wait,
};

use crate::postgres::{Cluster, Database, PASSWORD};

/// For anything that has to happen at all.
pub const DEADLINE: Duration = Duration::from_secs(40);

pub struct Stage {
    pub cluster: Cluster,
    brokers: String,
    kafka: String,
    is_mock: bool,
}

/// Ends the Kafka with it, if it was started here.
pub struct KafkaGuard {
    _own: Option<OwnKafka>,
    _found: Option<Kafka>,
}

/// A broker in a folder of its own, ended with this value.
pub struct OwnKafka {
    pub apache: Apache,
    pub brokers: String,
    folder: PathBuf,
}

impl OwnKafka {
    pub fn start() -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(unique_topic("kafka"));
        let mut own = Self {
            apache: Apache::at(&folder),
            brokers: String::new(),
            folder,
        };
        // Port 9092 is left to whoever looks for a Kafka there.
        let port = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|l| l.local_addr());
        let options = BrokerOptions {
            port: Some(port.expect("a free port").port()),
            keep_data: false,
        };
        own.brokers = own.apache.start(options).expect("Kafka starts").brokers;
        own
    }
}

impl Drop for OwnKafka {
    fn drop(&mut self) {
        let _ = self.apache.kill();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Stage {
    /// The error says what this machine lacks.
    pub fn set_up() -> Result<(Self, KafkaGuard), String> {
        crate::postgres::find_programs()?;
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_named = is_set("KAFKA_BROKERS") || is_set("KUBELETSTATS_KAFKA");
        let own = !is_named && kafka::apache_is_possible().is_ok();
        let own = own.then(OwnKafka::start);
        let found = match &own {
            Some(_) => None,
            None => Some(Kafka::find_or_start().expect("a Kafka")),
        };
        let (brokers, kafka) = match (&own, &found) {
            (Some(own), _) => {
                let brokers = own.brokers.clone();
                let kafka = format!("Apache Kafka (KRaft) at {brokers}, started for these tests");
                (brokers, kafka)
            }
            (None, found) => {
                let found = found.as_ref().expect("one of both");
                (found.brokers().to_owned(), found.describe())
            }
        };
        let is_mock = found
            .as_ref()
            .is_some_and(|found| found.describe().starts_with("librdkafka's mock"));
        let stage = Self {
            is_mock,
            cluster: Cluster::start("")?,
            brokers,
            kafka,
        };
        let guard = KafkaGuard {
            _own: own,
            _found: found,
        };
        Ok((stage, guard))
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// For tests that know the offset of a record, or make a topic themselves.
    pub fn needs_no_mock(&self) -> Result<(), String> {
        match self.is_mock {
            false => Ok(()),
            true => Err(
                "librdkafka's mock gives every topic four partitions and makes none on request \
                 (Apache Kafka needs Java and Maven)"
                    .to_owned(),
            ),
        }
    }

    pub fn describe(&self) -> String {
        let kafka = &self.kafka;
        let (version, port) = (self.cluster.version(), self.cluster.port());
        format!("on {kafka}\non {version} at 127.0.0.1:{port}, started for these tests")
    }

    /// A consumer of this topic, into this database.
    pub fn consumer(
        &self,
        topic: &str,
        database: Option<&Database<'_>>,
        args: &[&str],
    ) -> Consumer {
        let url = database.map(Database::url);
        Consumer::start(self.brokers(), topic, url.as_deref(), args)
    }

    pub fn produce(&self, topic: &str, records: &[String]) {
        let records: Vec<&str> = records.iter().map(String::as_str).collect();
        produce(self.brokers(), topic, &records, DEADLINE).expect("Kafka takes the records");
    }
}

/// The consumer, as a guarded process.
pub struct Consumer(pub Child);

impl Consumer {
    pub fn command(brokers: &str, topic: &str, database: Option<&str>, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_metrics-consumer"));
        command
            .env("KAFKA_BROKERS", brokers)
            .env("KAFKA_TOPIC", topic)
            .env("KAFKA_GROUP", format!("group-of-{topic}"))
            .env("DATABASE_URL", database.unwrap_or_default())
            .env("BATCH_WAIT", "100ms")
            .env("KAFKA_OPTION_TOPIC_METADATA_REFRESH_INTERVAL_MS", "200")
            .env("KAFKA_OPTION_RECONNECT_BACKOFF_MAX_MS", "200")
            .env("KAFKA_OPTION_FETCH_WAIT_MAX_MS", "50")
            .args(args);
        command
    }

    pub fn start(brokers: &str, topic: &str, database: Option<&str>, args: &[&str]) -> Self {
        let command = Self::command(brokers, topic, database, args);
        Self(Child::spawn(command).expect("the consumer starts"))
    }

    pub fn wait_for_log(&self, text: &str) -> String {
        self.0
            .wait_for_line(Stream::Stderr, |line| line.contains(text), DEADLINE)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    pub fn wait_for_recovery(&self, of: &str) -> String {
        let is_it = |line: &str| line.starts_with(of) && line.contains(": works again, ");
        self.0
            .wait_for_line(Stream::Stderr, is_it, DEADLINE)
            .unwrap_or_else(|error| panic!("{of}: {error}"))
    }

    /// What it has printed, once that is so many lines.
    pub fn wait_for_printed(&self, lines: usize) -> Vec<String> {
        let printed = || self.0.lines(Stream::Stdout);
        wait::until("what is printed", DEADLINE, || printed().len() >= lines)
            .unwrap_or_else(|error| panic!("{error}: {}", self.0.tail()));
        printed()
    }

    pub fn log(&self) -> Vec<String> {
        self.0.lines(Stream::Stderr)
    }

    pub fn times(&self, text: &str) -> usize {
        self.log().iter().filter(|line| line.contains(text)).count()
    }

    /// SIGTERM: it has to end with 0, and to have kept the password to itself. The result is
    /// its last line.
    pub fn stop(mut self) -> String {
        let ended = self.0.terminate(DEADLINE);
        assert!(
            !ended.killed && ended.status.success(),
            "{}: {}",
            ended.status,
            self.0.tail()
        );
        let log = self.log();
        assert!(!log.join("\n").contains(PASSWORD), "{log:?}");
        log.last().cloned().unwrap_or_default()
    }

    /// Waits for it to end by itself.
    pub fn ended(mut self) -> (Option<i32>, Child) {
        let status = self.0.wait_for_exit(DEADLINE);
        let status = status.unwrap_or_else(|error| panic!("{error}"));
        (status.code(), self.0)
    }
}

/// Distinct records: three pods of two containers that all bear one service's name, as option
/// `service` gives it, one sample every 10 s.
pub fn records(from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(record).collect()
}

pub fn record(number: usize) -> String {
    let (sample, pod, container) = (number / 6, number / 2 % 3, number % 2);
    let timestamp = 1_795_253_440_000 + sample * 10_000;
    let (cpu, memory) = (number as f64 * 0.37 % 100.0, 100.0 + number as f64 / 8.0);
    format!(
        r#"{{"@timestamp":"x","timestamp":{timestamp},"service":"app","podName":"app-{pod}","namespace":"default","containerName":"c{container}","nodeName":"vm","cpu":{cpu:?},"memory":{memory:?},"network_in":{number},"metadata":{{"node":"vm"}}}}"#
    )
}

pub fn topic() -> String {
    unique_topic("consumer")
}

/// Waits until the table has so many rows.
pub fn wait_for_rows(database: &Database<'_>, rows: usize, consumer: &Consumer) {
    let mut seen = 0;
    wait::until("the rows", DEADLINE, || {
        seen = database.count();
        seen >= rows
    })
    .unwrap_or_else(|error| panic!("{error}, {seen} of {rows}: {}", consumer.0.tail()));
}

/// All of these records are in the table, each once, and nothing else: by count, by key, and
/// by the values of each.
pub fn assert_complete(database: &Database<'_>, count: usize) {
    let total = "SELECT count(*), count(DISTINCT (time, pod_name, container_name)), \
        count(DISTINCT network_in), min(network_in), max(network_in) FROM system_metrics";
    let last = count - 1;
    assert_eq!(
        database.rows(total),
        [format!("{count}|{count}|{count}|0|{last}")]
    );
    let wrong = "SELECT count(*) FROM system_metrics WHERE pod_name <> 'app-' || network_in / 2 % 3 \
        OR container_name <> 'c' || network_in % 2 OR memory <> 100.0::float8 + network_in / 8.0::float8 \
        OR time <> timestamptz 'epoch' + (1795253440 + network_in / 6 * 10) * interval '1 second'";
    assert_eq!(database.rows(wrong), ["0"]);
}
