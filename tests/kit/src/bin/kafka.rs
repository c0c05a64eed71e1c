//! `kafka start [--port P] | stop | status`: the shared test broker by hand, for `make kafka`.

use std::process::ExitCode;
use testkit::cli::Flags;
use testkit::kafka::{self, Apache, BrokerOptions};
use testkit::{Error, Result};

const USAGE: &str = "usage: kafka start [--port P] | kafka stop | kafka status";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kafka: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut args = std::env::args().skip(1);
    let verb = args.next().ok_or_else(|| Error::new(USAGE))?;
    let known: &[&str] = if verb == "start" { &["--port"] } else { &[] };
    let flags = Flags::parse(args, known).map_err(|error| error.context(USAGE))?;
    match verb.as_str() {
        "start" => {
            let broker = kafka::start_broker(BrokerOptions {
                port: flags.number("--port")?,
                keep_data: false,
            })?;
            let state = if broker.started_here {
                ""
            } else {
                " (it already ran)"
            };
            println!("kafka answers on {}{state}", broker.brokers);
            if !broker.brokers.ends_with(":9092") {
                println!("(9092 is taken, or another port was asked for)");
            }
        }
        "stop" => {
            let stopped = kafka::stop_broker()?;
            println!(
                "kafka {}",
                if stopped {
                    "stopped"
                } else {
                    "was not running"
                }
            );
        }
        "status" => match Apache::shared().status() {
            Some(broker) => println!("kafka runs on {} as pid {}", broker.brokers, broker.pid),
            None => {
                println!("kafka is not running");
                // As `systemctl status` does for a service that is not running.
                return Ok(ExitCode::from(3));
            }
        },
        _ => return Err(Error::new(USAGE)),
    }
    Ok(ExitCode::SUCCESS)
}
