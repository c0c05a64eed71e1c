//! `kafka start | stop`: starts or stops the shared test broker by hand, for `make
//! kafka`.

use std::process::ExitCode;

use testkit::{
    Result,
    kafka::{self, BrokerOptions},
};

fn main() -> ExitCode {
    match run(std::env::args().nth(1).as_deref()) {
        Ok(said) => println!("kafka {said}"),
        Err(error) => {
            eprintln!("kafka: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn run(verb: Option<&str>) -> Result<String> {
    match verb {
        Some("start") => {
            let broker = kafka::start_broker(BrokerOptions::default())?;
            let already = if broker.started_here {
                ""
            } else {
                " (it already ran)"
            };
            Ok(format!("answers on {}{already}", broker.brokers))
        }
        Some("stop") if kafka::stop_broker()? => Ok("stopped".to_owned()),
        Some("stop") => Ok("was not running".to_owned()),
        _ => Err(testkit::Error::new("usage: kafka start | kafka stop")),
    }
}
