//! `metrics-consumer`: settings from the command line and the environment, signals, exit code.

use kubeletstats_consumer::output::{finish_log, say};
use kubeletstats_consumer::run::{Ended, run};
use kubeletstats_consumer::settings::{Settings, help};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// At the end: for a log that is read slowly, or not at all.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // What is not UTF-8 is none of ours; the names and values we know are.
    let args = std::env::args_os().skip(1);
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    if args.iter().any(|arg| arg == "--help" || arg == "-h") {
        println!("{}", help());
        return ExitCode::SUCCESS;
    }
    if args.iter().any(|arg| arg == "--version") {
        println!("metrics-consumer {}", env!("CARGO_PKG_VERSION"));
        return ExitCode::SUCCESS;
    }
    let code = match start(args) {
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

fn start(args: Vec<String>) -> Result<Ended, String> {
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let settings = Settings::read(args, |name| std::env::var(name).ok(), variables)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // A second one does not wait for anything.
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| format!("cannot take signal {signal}: {error}"))?;
    }
    run(&settings, &stop)
}
