//! Ends the process where no deadline reaches: in reading a file on a mount that has gone.
//! All else ends by itself long before.

use std::{
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use kubeletstats_core::{error::Error, kubelet::deadline, options::Config};

use crate::print_error;

/// Beyond `timeout`, for all that is not the scrape itself.
const SPARE: Duration = Duration::from_secs(5);

/// Drop it in time, or it ends the process with status 1 and one line.
#[derive(Debug)]
pub struct Watchdog {
    _dropped: mpsc::Sender<()>,
}

/// Starts the clock for one input. `None` where no thread can be had: then nothing is
/// watched.
pub fn start(config: &Config) -> Option<Watchdog> {
    let (dropped, end) = mpsc::channel();
    let limit = config.timeout + SPARE;
    let files = deadline::credential_files(config).join(", ");
    let watch = move || {
        if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            print_error(&Error::timeout_reading(&files, limit).to_string());
            process::exit(1);
        }
    };
    let started = thread::Builder::new().spawn(watch);
    started.ok().map(|_| Watchdog { _dropped: dropped })
}
