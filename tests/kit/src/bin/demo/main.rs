//! Runs the main task in one command, for `make demo`: a kubelet, a Kafka and a Fluent Bit
//! with the shipped configuration, until the records were seen on both of its outputs. It
//! stops what it started, and exits with 0 only if the records arrived.

mod interrupt;
mod kubelet;
mod outputs;
mod settings;
mod tally;

use std::{path::Path, process::ExitCode, thread, time::Duration};

use kubelet::Kubelet;
use outputs::{read_back, show_host, show_readings, topic_exists};
use settings::Topic;
use tally::Tally;
use testkit::{Child, Deadline, Error, Host, Kafka, Result, hosts};

/// The limit from the moment when Kafka answers. Fetching Kafka for the first time has its
/// own limits.
const DEADLINE: Duration = Duration::from_secs(120);
/// This is longer than the grace period that Fluent Bit gives its outputs at shutdown.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    interrupt::install();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) if interrupt::requested() => {
            eprintln!("\ninterrupted; all that was started has been stopped");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\nthe demo failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let host = hosts::best()?;
    let conf = settings::shipped(&host);
    println!("looking for Kafka (the first time, Apache Kafka is downloaded)");
    let kafka = Kafka::find_or_start()?;
    println!("kafka:   {}", kafka.describe());
    let result = with_kafka(&conf, &host, &kafka);
    let stopped = kafka.stop_if_started();
    result.and(stopped)
}

fn with_kafka(conf: &Path, host: &Host, kafka: &Kafka) -> Result<()> {
    if interrupt::requested() {
        return Err(Error::new("interrupted"));
    }
    let deadline = Deadline::after(DEADLINE);
    let mut kubelet = Kubelet::find_or_start(deadline)?;
    println!("kubelet: {}", kubelet.describe());
    let topic = Topic::choose(|name| topic_exists(kafka.brokers(), name))?;
    println!("topic:   {}", topic.describe());

    // The reader must be ready before the first record is written.
    let mut reader = read_back(kafka.brokers(), &topic, deadline)?;
    println!("{}\n", settings::running(host));
    let mut command = host.command(["-c".as_ref(), conf.as_os_str()]);
    // The plugin's path in the output is relative to this folder.
    command.current_dir(hosts::workspace_root());
    command.envs(settings::environment(&kubelet, kafka.brokers()));
    let mut fluent_bit = Child::spawn(command)?;

    let mut tally = Tally::new(kubelet.expected_pods());
    let watched = watch(&mut fluent_bit, &mut reader, &mut tally, deadline);
    let ended = fluent_bit.terminate(STOP_DEADLINE);
    reader.kill();
    kubelet.stop();
    watched.map_err(|error| {
        let seen = tally.describe();
        let log = fluent_bit.tail();
        Error::new(format!("{error}\n{seen}\nthe last of {}: {log}", host.name))
    })?;
    if ended.killed {
        let log = fluent_bit.tail();
        return Err(Error::new(format!(
            "{} did not stop within {} s and was killed; {log}",
            host.name,
            STOP_DEADLINE.as_secs()
        )));
    }
    println!("\ndone: {}", tally.describe());
    Ok(())
}

/// Prints the records of both outputs when they arrive, until there are enough.
fn watch(
    fluent_bit: &mut Child,
    reader: &mut Child,
    tally: &mut Tally,
    deadline: Deadline,
) -> Result<()> {
    let (mut host_seen, mut reader_seen) = (0, 0);
    loop {
        // The status is read before the lines, so that the last lines of an ended process are
        // included.
        let host_end = fluent_bit.exit_status();
        let reader_end = reader.exit_status();
        host_seen = show_host(fluent_bit, host_seen, tally)?;
        reader_seen = show_readings(reader, reader_seen, tally)?;
        if tally.is_enough() {
            return Ok(());
        }
        if interrupt::requested() {
            return Err(Error::new("interrupted"));
        }
        if let Some(status) = host_end {
            return Err(Error::new(format!("Fluent Bit ended by itself ({status})")));
        }
        if reader_end.is_some() {
            let said = reader.tail();
            return Err(Error::new(format!(
                "reading back from Kafka failed; {said}"
            )));
        }
        if deadline.passed() {
            return Err(Error::new(format!(
                "not all records arrived within {} s",
                deadline.allowed().as_secs()
            )));
        }
        thread::sleep(PAUSE);
    }
}
