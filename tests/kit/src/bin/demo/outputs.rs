//! The two outputs of the pipeline as lines: what the host prints, and what a separate
//! consumer reads back from Kafka.

use crate::settings::Topic;
use crate::tally::{Side, Tally};
use std::env;
use std::process::Command;
use testkit::metric_line::Metric;
use testkit::{Child, Deadline, Error, Result, Stream};

/// Starts the consumer, and returns once it is placed where it will miss nothing.
pub fn read_back(brokers: &str, topic: &Topic, deadline: Deadline) -> Result<Child> {
    let here = env::current_exe().map_err(|error| Error::new(error.to_string()))?;
    let mut command = Command::new(here.with_file_name("metric-consumer"));
    command.args(["--brokers", brokers, "--topic", &topic.name]);
    command.args(["--from", if topic.is_fresh { "beginning" } else { "end" }]);
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

/// Prints the host's new records and returns how many of its lines were seen. Its stdout also
/// carries a banner: a record is a line that begins as JSON.
pub fn show_host(host: &Child, seen: usize, tally: &mut Tally) -> Result<usize> {
    let fresh = host.lines_from(seen);
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

/// Prints what the consumer has newly read. It has checked the records already and would
/// have ended at a bad one.
pub fn show_readings(reader: &Child, seen: usize, tally: &mut Tally) -> usize {
    let fresh = reader.lines_from(seen);
    for line in fresh.iter().filter(|line| line.stream == Stream::Stdout) {
        println!("kafka   {}", line.text);
        let mut words = line.text.split_whitespace();
        let pod = words.find_map(|word| word.strip_prefix("pod="));
        tally.add(Side::Kafka, pod.unwrap_or_default(), line.text.clone());
    }
    seen + fresh.len()
}
