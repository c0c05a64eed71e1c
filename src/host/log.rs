//! The log of the host.

use std::{
    ffi::{CString, c_int},
    ptr, thread,
    time::Duration,
};

use super::symbols::Host;
use crate::ffi;

/// The severity of a log line, with the numbers of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = ffi::FLB_LOG_ERROR as isize,
    Warn = ffi::FLB_LOG_WARN as isize,
    Info = ffi::FLB_LOG_INFO as isize,
    Debug = ffi::FLB_LOG_DEBUG as isize,
}

impl Host {
    /// Prints a line that belongs to no instance, for example about a failed load. It is
    /// always printed.
    pub fn print(&self, level: Level, text: &str) {
        // Neither a log line nor a C string can contain a NUL.
        let text = CString::new(text.replace('\0', "?")).unwrap_or_default();
        match self.log_print {
            // SAFETY: format and text are C strings, and the format takes one string.
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
    /// `flb_input_log_check` have no level for a single input.
    pub(super) fn is_worker_level_enabled(&self, level: Level) -> bool {
        let (Some(worker), Some(worker_level)) = (self.worker_get, self.worker_log_level) else {
            return true;
        };
        // SAFETY: the second function takes what the first one returns. The host returns
        // NULL on threads that are not its own, and this is checked.
        unsafe {
            let worker = worker();
            worker.is_null() || worker_level(worker) >= level as c_int
        }
    }
}

/// Gives the host's logger thread time to print the last line before an end, such as why
/// init failed. Otherwise the host may exit before that thread prints it. Nothing else
/// runs then, so the sleep delays nothing.
pub fn wait_for_logger() {
    thread::sleep(Duration::from_millis(50));
}
