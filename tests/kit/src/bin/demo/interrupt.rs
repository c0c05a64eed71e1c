//! Sets a flag on Ctrl-C and SIGTERM. The started processes have their own process groups, so
//! this program must stop them.

use std::sync::atomic::{AtomicBool, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// After this, an interrupt no longer ends the program.
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
    // Stopping takes some seconds, and more if Kafka is being fetched or started.
    const SEEN: &[u8] = b"\nstopping\n";
    // SAFETY: write is async-signal-safe, and the bytes live as long as the program.
    unsafe { libc::write(libc::STDERR_FILENO, SEEN.as_ptr().cast(), SEEN.len()) };
}
