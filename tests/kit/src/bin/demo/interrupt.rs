//! Ctrl-C and SIGTERM as a flag to be looked at: the started processes lead groups of their own,
//! so they have to be stopped by us.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From now on an interrupt no longer ends the program by itself.
pub fn install() {
    let handler: extern "C" fn(libc::c_int) = note;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: the handler sets an atomic and writes, both of which are async-signal-safe.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}

pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

extern "C" fn note(_signal: libc::c_int) {
    if REQUESTED.swap(true, Ordering::Relaxed) {
        return;
    }
    // Stopping takes some seconds, more while Kafka is being fetched or started.
    const SEEN: &[u8] = b"\nstopping\n";
    // SAFETY: write is async-signal-safe, and the bytes live as long as the program.
    unsafe { libc::write(libc::STDERR_FILENO, SEEN.as_ptr().cast(), SEEN.len()) };
}
