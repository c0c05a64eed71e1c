//! The two outputs of the pipeline as lines: what the host prints, and what a separate
//! consumer reads back from Kafka.

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

/// Was the topic ever written to? All topics are asked for: to ask for one could make it.
pub fn topic_exists(brokers: &str, name: &str) -> Result<bool> {
    let failed = |error| Error::new(format!("cannot list the topics of {brokers}: {error}"));
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    let client: BaseConsumer = config.create().map_err(failed)?;
    let metadata = client.fetch_metadata(None, METADATA).map_err(failed)?;
    Ok(metadata.topics().iter().any(|topic| topic.name() == name))
}

/// Starts the consumer, without a database, and returns once it looks for the topic.
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
    // Nobody else's place in the topic counts, nor moves.
    command.args(["--group", &unique_topic("demo")]);
    command.env_remove("DATABASE_URL");
    command.args(["--from", if topic.is_fresh { "beginning" } else { "end" }]);
    // The topic may only come to be when the first record is written.
    command.args(["--kafka-option", "topic.metadata.refresh.interval.ms=500"]);
    // Ended by us; this limit only stands in should we not come to it.
    command.args(["--timeout", "150s"]);
    let reader = Child::spawn(command)?;
    reader.wait_for_line(
        Stream::Stderr,
        |line| line.starts_with("reading topic"),
        deadline,
    )?;
    Ok(reader)
}

/// Prints the host's new records and what the plugin complains of, and returns how many of its
/// lines were seen. Its stdout also carries a banner: a record is a line that begins as JSON.
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

/// Does the plugin say what keeps it from scraping? With a kubelet of the user's own that is what
/// has to be seen, and not only when the time is up.
fn is_complaint(line: &str) -> bool {
    line.contains("[input:kubeletstats:")
        && ["[error]", "[ warn]"].iter().any(|it| line.contains(it))
}

/// Prints what the consumer has newly read. It skips a record it cannot use: here, where
/// every record is the plugin's, that is a failure.
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
