//! `metric-consumer --brokers B --topic T [--count N] [--timeout 60s] [--from beginning|end]`:
//! reads records back from Kafka and prints each as a METRIC line. Ends with 0 when
//! `--count` good records were read, with 1 at the deadline or at the first bad record.

use std::process::ExitCode;
use std::time::Duration;
use testkit::cli::Flags;
use testkit::kafka::{Reader, Start};
use testkit::metric_line::metric_line;
use testkit::{Deadline, Error, Result};

const KNOWN: [&str; 5] = ["--brokers", "--topic", "--count", "--timeout", "--from"];
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("metric-consumer: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let flags = Flags::parse(std::env::args().skip(1), &KNOWN)?;
    let brokers = flags.required("--brokers")?;
    let topic = flags.required("--topic")?;
    let count: Option<u64> = flags.number("--count")?;
    let deadline = Deadline::after(flags.duration("--timeout", DEFAULT_TIMEOUT)?);
    let start = match flags.get("--from") {
        None | Some("beginning") => Start::Beginning,
        Some("end") => Start::End,
        Some(other) => {
            return Err(Error::new(format!(
                "--from {other}: expected beginning or end"
            )));
        }
    };
    let mut reader = Reader::open(brokers, topic, start, deadline)?;
    // Whoever started this program may now write: nothing will be missed.
    eprintln!("reading topic {topic} at {brokers}");

    let mut read = 0;
    while count != Some(read) {
        let Some(record) = reader.next(deadline) else {
            let error = reader.last_error().unwrap_or("none");
            return Err(Error::new(format!(
                "{read} records in {:.1} s; last error: {error}",
                deadline.allowed().as_secs_f64()
            )));
        };
        let line = metric_line(&record)
            .map_err(|reason| Error::new(format!("{reason}; the record: {record}")))?;
        println!("{line}");
        read += 1;
    }
    Ok(())
}
