//! Ends the process in waits that have no deadline, such as reading a file on a dead mount.
//! Nothing is printed while it watches, so the reader of the output may be slow.

use std::{
    path::Path,
    process,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use kubeletstats_core::{error::Error, kubelet::deadline, options::Config};

use crate::print_error;

/// Beyond the time that is allowed anyway.
const SPARE: Duration = Duration::from_secs(5);

/// Does `work`, which is one scrape at most, or looks at the files of these options. It has
/// `timeout` and five seconds, else the process ends with status 1 and one line.
pub fn watch<T>(config: &Config, work: impl FnOnce() -> T) -> T {
    let files = deadline::credential_files(config).join(", ");
    end_after(config.timeout + SPARE, files, 1, work)
}

/// Does `work`, which reads this configuration and all that it includes. It has five
/// seconds, else the process ends with status 2 and one line.
pub fn watch_configuration<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let files = format!("{}, or what it includes", path.display());
    end_after(SPARE, files, 2, work)
}

/// If no thread can be started, nothing is watched.
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
