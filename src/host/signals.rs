//! Signals belong to the host: none of its handlers may run on a thread of the plugin.

use std::ptr;

/// Runs `f` with all signals blocked on this thread. Threads that `f` starts inherit the
/// mask and keep it. So do the threads that those start, for example for a DNS lookup.
pub fn with_signals_blocked<T>(f: impl FnOnce() -> T) -> T {
    // SAFETY: libc's calls initialise both sets before they are read. The mask from
    // before is restored on the same thread.
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
