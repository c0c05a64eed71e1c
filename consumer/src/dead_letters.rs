//! Records that are skipped, kept for whoever wants to look into them: in a file or a topic that
//! the user names. Blocking; decides nothing about trying again.

use crate::Settings;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};
use serde_json::json;
use std::fmt;
use std::fs::{File, OpenOptions, metadata};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long Kafka may take for some letters.
const DELIVERY: Duration = Duration::from_secs(30);
/// Handed to Kafka at once.
const AT_ONCE: usize = 1_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    Topic(String),
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(out, "dead letters in {}", path.display()),
            Self::Topic(topic) => write!(out, "dead letters in topic {topic}"),
        }
    }
}

/// A record, where it stands, and why it was skipped.
#[derive(Clone, Debug)]
pub struct Letter {
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    pub record: Vec<u8>,
}

/// An open place. Letters may stand there twice, but none is missing of those reported as written.
pub enum DeadLetters {
    File {
        file: File,
        from: String,
    },
    Topic {
        producer: BaseProducer<Reports>,
        topic: String,
        from: String,
    },
}

impl DeadLetters {
    pub fn open(place: &Place, settings: &Settings) -> Result<Self, String> {
        let from = settings.topic.clone();
        match place {
            Place::File(path) => open(path)
                .map(|file| Self::File { file, from })
                .map_err(|error| error.to_string()),
            Place::Topic(topic) => {
                let mut config = ClientConfig::new();
                for (name, value) in &settings.kafka_options {
                    config.set(name, value);
                }
                config
                    .set("bootstrap.servers", &settings.brokers)
                    .set("acks", "all")
                    .set("enable.idempotence", "true")
                    // The topic has its own limit: what came from Kafka is not refused here.
                    .set("message.max.bytes", "1000000000")
                    .set("message.timeout.ms", DELIVERY.as_millis().to_string());
                let producer = config.create_with_context(Reports::default());
                let topic = topic.clone();
                producer
                    .map(|producer| Self::Topic {
                        producer,
                        topic,
                        from,
                    })
                    // As text it would show an option's value, too.
                    .map_err(|_| "cannot write to Kafka with these options".to_owned())
            }
        }
    }

    /// All of them are kept when this is over, also through a crash.
    pub fn write(&mut self, letters: &[Letter]) -> Result<(), String> {
        match self {
            Self::File { file, from } => {
                let lines: String = letters.iter().map(|letter| line(from, letter)).collect();
                file.write_all(lines.as_bytes())
                    .and_then(|()| file.sync_data())
                    .map_err(|error| error.to_string())
            }
            Self::Topic {
                producer,
                topic,
                from,
            } => letters
                .chunks(AT_ONCE)
                .try_for_each(|letters| produce(producer, topic, from, letters))
                .map_err(|error| error.to_string()),
        }
    }
}

/// At its end, and at the beginning of a line: a crash may have left half of one.
fn open(path: &Path) -> io::Result<File> {
    // A pipe would be waited for.
    if metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is not a file"));
    }
    let mut options = OpenOptions::new();
    let mut file = options.create(true).read(true).append(true).open(path)?;
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

/// As a line of JSON; a record that is no text is shown in hexadecimal.
fn line(from: &str, letter: &Letter) -> String {
    let mut json = json!({
        "topic": from,
        "partition": letter.partition,
        "offset": letter.offset,
        "reason": letter.reason,
    });
    match str::from_utf8(&letter.record) {
        Ok(text) => json["record"] = text.into(),
        Err(_) => {
            let digits = letter.record.iter().map(|byte| format!("{byte:02x}"));
            json["record_hex"] = digits.collect::<String>().into();
        }
    }
    format!("{json}\n")
}

/// The record as it is, and the rest in headers.
fn produce(
    producer: &BaseProducer<Reports>,
    topic: &str,
    from: &str,
    letters: &[Letter],
) -> Result<(), KafkaError> {
    let failed = || {
        producer
            .context()
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    };
    failed();
    for letter in letters {
        let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new()
            .insert(header("topic", from))
            .insert(header("partition", partition.as_str()))
            .insert(header("offset", offset.as_str()))
            .insert(header("reason", letter.reason.as_str()));
        let record = BaseRecord::<(), [u8]>::to(topic)
            .payload(&letter.record)
            .headers(headers);
        producer.send(record).map_err(|(error, _)| error)?;
    }
    producer.flush(DELIVERY)?;
    failed().map_or(Ok(()), Err)
}

/// The first delivery that failed.
#[derive(Default)]
pub struct Reports(Mutex<Option<KafkaError>>);

impl ClientContext for Reports {
    /// That deliveries fail is told by them.
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_a_line_also_behind_half_of_one() {
        let path = std::env::temp_dir().join(format!("letters-{}", std::process::id()));
        std::fs::write(&path, "{\"half").unwrap();
        let mut letters = DeadLetters::File {
            file: open(&path).unwrap(),
            from: "metrics".to_owned(),
        };
        let letter = |record: &[u8]| Letter {
            partition: 2,
            offset: 7,
            reason: "it is\nbad".to_owned(),
            record: record.to_owned(),
        };
        letters
            .write(&[letter(b"{\"a\":1}\n"), letter(b"\xff\x00")])
            .unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"half");
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let first = json!({
            "topic": "metrics", "partition": 2, "offset": 7, "reason": "it is\nbad",
            "record": "{\"a\":1}\n",
        });
        assert_eq!(read(lines[1]), first);
        assert_eq!(read(lines[2])["record_hex"], "ff00");
        assert_eq!(lines.len(), 3);
    }
}
