//! Owns locking: a panic in another thread must not cause a second one here.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until `done` or the deadline, and returns which.
pub fn wait_until<T>(
    mutex: &Mutex<T>,
    changed: &Condvar,
    patience: Duration,
    done: impl Fn(&T) -> bool,
) -> bool {
    let deadline = Instant::now() + patience;
    let mut value = lock(mutex);
    while !done(&value) {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            return false;
        };
        value = match changed.wait_timeout(value, left) {
            Ok((value, _)) => value,
            Err(poisoned) => poisoned.into_inner().0,
        };
    }
    true
}
