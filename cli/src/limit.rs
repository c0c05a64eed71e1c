//! An end for what no deadline reaches: reading a file on a mount that has gone. All
//! else ends by itself long before.

use std::{
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use kubeletstats_core::{error::Error, kubelet::deadline, options::Config};

use crate::complain;

/// For what is neither the one scrape nor files that hang.
const SPARE: Duration = Duration::from_secs(5);

/// Ends the process with 1 and a line, unless it is dropped before.
#[derive(Debug)]
pub struct Limit {
    _dropped: mpsc::Sender<()>,
}

/// From now on, for one input.
pub fn start(config: &Config) -> Option<Limit> {
    let (dropped, end) = mpsc::channel();
    let limit = config.timeout + SPARE;
    let files = deadline::credential_files(config).join(", ");
    let watch = move || {
        if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            complain(&Error::timeout_reading(&files, limit).to_string());
            process::exit(1);
        }
    };
    // Without a thread to watch it goes on unwatched.
    let started = thread::Builder::new().spawn(watch);
    started.ok().map(|_| Limit { _dropped: dropped })
}
