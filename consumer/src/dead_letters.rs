//! Keeps skipped records in a file or a topic that the user names, so that they can be examined.
//! This module does not decide whether to retry.

use std::{
    fmt,
    fs::{File, OpenOptions, metadata},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use rdkafka::{
    ClientConfig,
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, task::spawn_blocking};

use crate::Settings;

/// How long Kafka may take for one record, in milliseconds.
const DELIVERY: &str = "30000";
/// How many records are passed to Kafka together.
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

/// A record, its origin, and why it was skipped.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub reason: String,
    pub record: Vec<u8>,
}

/// An open file or topic. A record may be in it twice, but every record that was reported as
/// written is in it.
pub enum DeadLetters {
    File {
        file: tokio::fs::File,
        from: String,
    },
    Topic {
        producer: FutureProducer,
        topic: String,
        from: String,
    },
}

impl DeadLetters {
    pub async fn open(place: &Place, settings: &Settings) -> Result<Self, String> {
        let from = settings.topic.clone();
        match place.clone() {
            Place::File(path) => match spawn_blocking(move || open(&path)).await {
                Ok(Ok(file)) => Ok(Self::File {
                    file: file.into(),
                    from,
                }),
                Ok(Err(error)) => Err(error.to_string()),
                Err(error) => Err(error.to_string()),
            },
            Place::Topic(topic) => {
                let mut config = ClientConfig::new();
                for (name, value) in &settings.kafka_options {
                    config.set(name, value);
                }
                let producer = config
                    .set("bootstrap.servers", &settings.brokers)
                    .set("acks", "all")
                    .set("enable.idempotence", "true")
                    // The topic has its own limit. A record that came from Kafka is not refused
                    // here.
                    .set("message.max.bytes", "1000000000")
                    .set("message.timeout.ms", DELIVERY)
                    .create()
                    // The text of the error would also show the value of an option.
                    .map_err(|_| "cannot write to Kafka with these options")?;
                Ok(Self::Topic {
                    producer,
                    topic,
                    from,
                })
            }
        }
    }

    /// Writes all records. When this returns, they survive a crash.
    pub async fn write(&mut self, dead: &[DeadLetter]) -> Result<(), String> {
        match self {
            Self::File { file, from } => {
                let lines: String = dead.iter().map(|one| line(from, one)).collect();
                append(file, &lines)
                    .await
                    .map_err(|error| error.to_string())
            }
            Self::Topic {
                producer,
                topic,
                from,
            } => {
                for some in dead.chunks(AT_ONCE) {
                    let sent = produce(producer, topic, from, some).await;
                    sent.map_err(|error| error.to_string())?;
                }
                Ok(())
            }
        }
    }
}

async fn append(file: &mut tokio::fs::File, lines: &str) -> io::Result<()> {
    file.write_all(lines.as_bytes()).await?;
    file.flush().await?;
    file.sync_data().await
}

/// Opens the file so that writing begins at its end, on a new line, because a crash may have left
/// part of a line.
fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for a reader.
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

/// Writes a record as a line of JSON. A record that is not text is written in hexadecimal.
fn line(from: &str, dead: &DeadLetter) -> String {
    let mut json = json!({
        "topic": from,
        "partition": dead.partition,
        "offset": dead.offset,
        "reason": dead.reason,
    });
    match str::from_utf8(&dead.record) {
        Ok(text) => json["record"] = text.into(),
        Err(_) => {
            let digits = dead.record.iter().map(|byte| format!("{byte:02x}"));
            json["record_hex"] = digits.collect::<String>().into();
        }
    }
    format!("{json}\n")
}

/// Sends the records unchanged, with the other values in headers.
async fn produce(
    producer: &FutureProducer,
    topic: &str,
    from: &str,
    dead: &[DeadLetter],
) -> Result<(), KafkaError> {
    let mut deliveries = Vec::new();
    for one in dead {
        let (partition, offset) = (one.partition.to_string(), one.offset.to_string());
        let header = |key, value| Header {
            key,
            value: Some(value),
        };
        let headers = OwnedHeaders::new()
            .insert(header("topic", from))
            .insert(header("partition", &partition))
            .insert(header("offset", &offset))
            .insert(header("reason", &one.reason));
        let record = FutureRecord::<(), [u8]>::to(topic)
            .payload(&one.record)
            .headers(headers);
        deliveries.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for delivery in deliveries {
        let delivered = delivery.await.map_err(|_| KafkaError::Canceled)?;
        delivered.map_err(|(error, _)| error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_record_is_a_line_also_behind_half_of_one() {
        let path = std::env::temp_dir().join(format!("dead-letters-{}", std::process::id()));
        std::fs::write(&path, "{\"half").expect("written");
        let mut file = DeadLetters::File {
            file: open(&path).expect("a file").into(),
            from: "metrics".to_owned(),
        };
        let dead = |record: &[u8]| DeadLetter {
            partition: 2,
            offset: 7,
            reason: "it is\nbad".to_owned(),
            record: record.to_owned(),
        };
        file.write(&[dead(b"{\"a\":1}\n"), dead(b"\xff\x00")])
            .await
            .expect("written");
        let text = std::fs::read_to_string(&path).expect("text");
        std::fs::remove_file(&path).expect("ours");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "{\"half");
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON");
        let first = json!({
            "topic": "metrics", "partition": 2, "offset": 7, "reason": "it is\nbad",
            "record": "{\"a\":1}\n",
        });
        assert_eq!(read(lines[1]), first);
        assert_eq!(read(lines[2])["record_hex"], "ff00");
        assert_eq!(lines.len(), 3);
    }
}
