//! Turns panics into errors. It has the only `catch_unwind` of the crate, and makes the one line
//! that an operator reads. With the feature `panic-injection`, a test can cause a panic.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
};

use crate::error::{Error, Result};

thread_local! {
    /// Where the last panic of this thread began.
    static ORIGIN: Cell<Option<String>> = const { Cell::new(None) };
}

/// Keeps panics off stderr, which is the host's log, and notes where they begin. The hook belongs
/// to the plugin's own copy of the standard library, so a panic of the host or of another plugin
/// does not call it.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        ORIGIN.set(info.location().map(ToString::to_string));
    }));
}

/// Runs `work`. A panic in it becomes an error that names `place`.
///
/// After a panic, the changes by `work` may be incomplete. The caller decides which data can be
/// used again.
pub fn catch<T>(place: &str, work: impl FnOnce() -> T) -> Result<T> {
    let work = || {
        inject(place);
        work()
    };
    panic::catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        let message = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        let origin = ORIGIN.take().unwrap_or_default();
        Error::panic(place, message, &origin)
    })
}

#[cfg(not(feature = "panic-injection"))]
fn inject(_: &str) {}

/// Panics once per process, at the place that `KUBELETSTATS_PANIC` names.
#[cfg(feature = "panic-injection")]
fn inject(place: &str) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static DONE: AtomicBool = AtomicBool::new(false);
    let wanted = std::env::var("KUBELETSTATS_PANIC").is_ok_and(|wanted| wanted == place);
    if wanted && !DONE.swap(true, Ordering::Relaxed) {
        panic!("injected into {place}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_one_line() {
        let error = catch("the worker", || panic!("half\nway")).expect_err("there is a panic");
        let text = error.to_string();
        assert!(
            text.starts_with("internal error in the worker: half?way"),
            "{text}"
        );
        assert!(text.ends_with(": please report it"), "{text}");
        assert_eq!(catch("the worker", || 7).expect("there is no panic"), 7);
    }
}
