//! The two outputs of the pipeline as lines: what the host prints, and what a separate consumer
//! reads from Kafka.

use std::{process::Command, time::Duration};

use rdkafka::{
    config::ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use testkit::{
    Child, Deadline, Error, Result, Stream, hosts, kafka::unique_topic, record_reader::Metric,
};

use crate::{
    settings::Topic,
    tally::{Side, Tally},
};

const METADATA: Duration = Duration::from_secs(10);

/// Whether the topic exists. This asks for all topics, because a request for a single topic could
/// create it.
pub fn topic_exists(brokers: &str, name: &str) -> Result<bool> {
    let failed = |error| Error::new(format!("cannot list the topics of {brokers}: {error}"));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let client: BaseConsumer = config.create().map_err(failed)?;
    let metadata = client.fetch_metadata(None, METADATA).map_err(failed)?;
    Ok(metadata.topics().iter().any(|topic| topic.name() == name))
}

/// Starts the consumer without a database, and returns when it looks for the topic.
pub fn read_back(brokers: &str, topic: &Topic, deadline: Deadline) -> Result<Child> {
    let program = hosts::built("metrics-consumer");
    if !program.exists() {
        return Err(Error::new(format!(
            "no consumer at {}: run `make tools` first, or set METRICS_CONSUMER",
            program.display()
        )));
    }
    let mut command = Command::new(program);
    command.args(["--brokers", brokers, "--topic", &topic.name]);
    // This group is new, so it neither uses nor changes the place of another group in the topic.
    command.args(["--group", &unique_topic("demo")]);
    command.env_remove("DATABASE_URL");
    command.args(["--from", if topic.is_fresh { "beginning" } else { "end" }]);
    // The topic may be created only when the first record is written.
    command.args(["--kafka-option", "topic.metadata.refresh.interval.ms=500"]);
    // This program ends the consumer. The limit applies only if it cannot.
    command.args(["--timeout", "150s"]);
    let reader = Child::spawn(command)?;
    reader.wait_for_line(
        Stream::Stderr,
        |line| line.starts_with("reading topic"),
        deadline,
    )?;
    Ok(reader)
}

/// Prints the host's new records and the plugin's complaints. Returns how many lines were seen.
/// The stdout of the host also has a banner, so only a line that begins as JSON is a record.
pub fn show_host(host: &Child, seen: usize, tally: &mut Tally) -> Result<usize> {
    let fresh = host.lines_from(seen);
    for line in fresh.iter().filter(|line| is_complaint(&line.text)) {
        println!("log     {}", line.text);
    }
    let records = fresh
        .iter()
        .filter(|line| line.stream == Stream::Stdout && line.text.starts_with('{'));
    for record in records {
        let metric = Metric::from_json(&record.text)
            .map_err(|reason| Error::new(format!("{reason}; on stdout: {}", record.text)))?;
        println!("stdout  {metric}");
        tally.add(Side::Stdout, &metric.pod, metric.to_string());
    }
    Ok(seen + fresh.len())
}

/// Whether the plugin logs what prevents a scrape. With the user's own kubelet, this must be seen
/// at once, and not only at the deadline.
fn is_complaint(line: &str) -> bool {
    line.contains("[input:kubeletstats:")
        && ["[error]", "[ warn]"].iter().any(|it| line.contains(it))
}

/// Prints what the consumer has newly read. It skips a record that it cannot use. Here every
/// record is the plugin's, so that is a failure.
pub fn show_readings(reader: &Child, seen: usize, tally: &mut Tally) -> Result<usize> {
    let fresh = reader.lines_from(seen);
    for line in &fresh {
        if line.stream == Stream::Stderr {
            if line.text.starts_with("skipped") {
                return Err(Error::new(format!("from Kafka: {}", line.text)));
            }
            continue;
        }
        println!("kafka   {}", line.text);
        let mut words = line.text.split_whitespace();
        let pod = words.find_map(|word| word.strip_prefix("pod="));
        tally.add(Side::Kafka, pod.unwrap_or_default(), line.text.clone());
    }
    Ok(seen + fresh.len())
}

#[cfg(test)]
mod tests {
    use super::is_complaint;

    #[test]
    fn only_the_plugins_errors_and_warnings_are_complaints() {
        let line =
            |level: &str, from: &str| format!("[2026/11/21 15:08:06] [{level}] [{from}] text");
        let plugin = "input:kubeletstats:kubeletstats.0";
        assert!(is_complaint(&line("error", plugin)));
        assert!(is_complaint(&line(" warn", plugin)));
        assert!(!is_complaint(&line(" info", plugin)));
        assert!(!is_complaint(&line("error", "output:kafka:kafka.1")));
    }
}
