//! Signals belong to the host.

use std::ptr;

/// Runs `f` so that threads it starts take no signals: those are the host's,
/// and its handlers expect its own threads.
pub fn without_signals<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: both sets are initialised by the calls that fill them, and the
    // mask that was in force is put back on the same thread.
    unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&mut all);
        let blocked = libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) == 0;
        let result = f();
        if blocked {
            libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut());
        }
        result
    }
}
