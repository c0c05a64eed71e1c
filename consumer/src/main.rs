//! `metrics-consumer`: settings from the command line and the environment, signals, exit code.

use std::{
    io,
    process::{self, ExitCode},
    sync::Arc,
    time::Duration,
};

use kubeletstats_consumer::{
    Settings, output,
    run::{Ended, run},
};
use tokio::{
    runtime::Builder,
    select,
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tracing::error;

/// How long to wait at the end for a log that is read slowly or not at all.
const LAST_LINES: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let log = output::start_log();
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("metrics-consumer: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        let code = match start().await {
            Ok(Ended::Asked | Ended::Counted) => ExitCode::SUCCESS,
            Ok(Ended::TimedOut) => ExitCode::FAILURE,
            Err(error) => {
                error!("metrics-consumer: {error}");
                ExitCode::FAILURE
            }
        };
        log.flush(LAST_LINES).await;
        code
    });
    // The look-up of a name or a commit cannot be interrupted, so the end does not wait for
    // it.
    runtime.shutdown_background();
    code
}

async fn start() -> Result<Ended, String> {
    let settings = Settings::read()?;
    let stop = stop_signal().map_err(|error| format!("cannot take signals: {error}"))?;
    run(&settings, stop.notified()).await
}

/// Returns a notification of the first SIGTERM or SIGINT. The second signal ends the process
/// at once.
fn stop_signal() -> io::Result<Arc<Notify>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = Arc::new(Notify::new());
    let told = Arc::clone(&stop);
    tokio::spawn(async move {
        for is_second in [false, true] {
            select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if is_second {
                process::exit(1);
            }
            told.notify_one();
        }
    });
    Ok(stop)
}
