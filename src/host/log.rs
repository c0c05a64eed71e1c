//! The host's log.

use std::{
    ffi::{CString, c_int},
    ptr, thread,
    time::Duration,
};

use super::symbols::Host;
use crate::ffi;

/// How severe a line of the log is, in the host's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = ffi::FLB_LOG_ERROR as isize,
    Warn = ffi::FLB_LOG_WARN as isize,
    Info = ffi::FLB_LOG_INFO as isize,
    Debug = ffi::FLB_LOG_DEBUG as isize,
}

impl Host {
    /// A line outside any instance, as for a failed load: always printed.
    pub fn print(&self, level: Level, text: &str) {
        // A log line has no room for a NUL, and neither has a C string.
        let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
        match self.log_print {
            // SAFETY: format and text are C strings, and the format takes one.
            Some(print) => unsafe {
                print(
                    level as c_int,
                    ptr::null(),
                    0,
                    c"%s".as_ptr(),
                    text.as_ptr(),
                );
            },
            None => eprintln!("{}", text.to_string_lossy()),
        }
    }

    /// Whether the calling thread of the host logs at this level. Hosts without
    /// `flb_input_log_check` know no level of an input's own.
    pub(super) fn is_worker_level_enabled(&self, level: Level) -> bool {
        let (Some(worker), Some(worker_level)) = (self.worker_get, self.worker_log_level) else {
            return true;
        };
        // SAFETY: both take what the other gives; the host returns NULL on
        // threads that are not its own, which is checked.
        unsafe {
            let worker = worker();
            worker.is_null() || worker_level(worker) >= level as c_int
        }
    }
}

/// Gives the host's logger thread time to print. For the last line before an end, such
/// as why init failed: the host may exit before that thread has got to it. Nothing else
/// runs at that point that the sleep could hold up.
pub fn wait_for_logger() {
    thread::sleep(Duration::from_millis(50));
}
