//! Signals belong to the host: none of its handlers may run on a thread of ours.

use std::ptr;

/// Runs `f` with all signals blocked on this thread. Threads that `f` starts inherit the
/// mask and keep it, as do those that they start, such as the DNS lookup's.
pub fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
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
