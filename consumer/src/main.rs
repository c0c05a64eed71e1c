//! `metrics-consumer`: settings from the command line and the environment, signals, exit code.

use kubeletstats_consumer::Settings;
use kubeletstats_consumer::output::{finish_log, say};
use kubeletstats_consumer::run::{Ended, run};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// At the end: for a log that is read slowly, or not at all.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let code = match start() {
        Ok(Ended::Asked | Ended::Counted) => ExitCode::SUCCESS,
        Ok(Ended::TimedOut) => ExitCode::FAILURE,
        Err(error) => {
            say(format!("metrics-consumer: {error}"));
            ExitCode::FAILURE
        }
    };
    finish_log(LAST_LINES);
    code
}

fn start() -> Result<Ended, String> {
    let settings = Settings::read()?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // A second one does not wait for anything.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| format!("cannot take signal {signal}: {error}"))?;
    }
    run(&settings, &stop)
}
