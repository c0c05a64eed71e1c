//! Ends the process if it waits too long where there is no deadline, for example for a file
//! on a dead mount. Nothing is printed during that time, so a slow reader of the output
//! does no harm.

use std::{
    path::Path,
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use kubeletstats_core::{error::Error, kubelet::deadline, options::Config};

use crate::print_error;

/// How much longer the work may take than the time that is allowed anyway.
const SPARE: Duration = Duration::from_secs(5);

/// Does `work`, which is at most one scrape or a check of the files of these options. It
/// may take `timeout` and five seconds. After that the process ends with status 1 and one
/// line.
pub fn watch<T>(config: &Config, work: impl FnOnce() -> T) -> T {
    let files = deadline::credential_files(config).join(", ");
    end_after(config.timeout + SPARE, files, 1, work)
}

/// Does `work`, which reads this configuration and all files that it includes. It may take
/// five seconds. After that the process ends with status 2 and one line.
pub fn watch_configuration<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let files = format!("{}, or what it includes", path.display());
    end_after(SPARE, files, 2, work)
}

/// If no thread can be started, there is no time limit.
fn end_after<T>(limit: Duration, files: String, status: i32, work: impl FnOnce() -> T) -> T {
    let (done, end) = mpsc::channel::<()>();
    let _ = thread::Builder::new().spawn(move || {
        if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            print_error(&Error::timeout_reading(&files, limit).to_string());
            process::exit(status);
        }
    });
    let result = work();
    drop(done);
    result
}
