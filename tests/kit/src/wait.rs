//! Waits with a limit: deadlines, and polling for a condition until then.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

/// The latest moment at which something may happen. Every function that waits takes a
/// deadline, or a plain `Duration` from now. One deadline can limit several steps together.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    at: Instant,
    allowed: Duration,
}

impl Deadline {
    pub fn after(allowed: Duration) -> Self {
        Self {
            at: Instant::now() + allowed,
            allowed,
        }
    }

    pub fn passed(&self) -> bool {
        Instant::now() >= self.at
    }

    /// The time that is left. It is zero after the deadline.
    pub fn remaining(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// The whole time that was allowed, for messages.
    pub fn allowed(&self) -> Duration {
        self.allowed
    }
}

impl From<Duration> for Deadline {
    fn from(allowed: Duration) -> Self {
        Self::after(allowed)
    }
}

/// Polls until `condition` holds. `what` completes the sentence "waited … for …".
pub fn until(
    what: &str,
    deadline: impl Into<Deadline>,
    mut condition: impl FnMut() -> bool,
) -> Result<()> {
    until_some(what, deadline, || condition().then_some(()))
}

/// Polls until `attempt` returns a value, and returns it. The condition is tried at least
/// once, and once more after the deadline. On a busy machine this thread may wake late, and a
/// condition that holds by then should not fail.
pub fn until_some<T>(
    what: &str,
    deadline: impl Into<Deadline>,
    mut attempt: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = deadline.into();
    let mut pause = FIRST_PAUSE;
    loop {
        let last = deadline.passed();
        if let Some(value) = attempt() {
            return Ok(value);
        }
        if last {
            return Err(Error::new(format!(
                "waited {:.1} s in vain for {what}",
                deadline.allowed().as_secs_f64()
            )));
        }
        thread::sleep(pause.min(deadline.remaining()));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failure_names_what_was_waited_for() {
        let begun = Instant::now();
        let error = until("a unicorn", Duration::from_millis(30), || false).unwrap_err();
        assert_eq!(error.to_string(), "waited 0.0 s in vain for a unicorn");
        assert!(begun.elapsed() >= Duration::from_millis(30));
    }

    #[test]
    fn a_deadline_in_the_past_still_allows_one_attempt() {
        assert_eq!(until_some("now", Duration::ZERO, || Some(7)).unwrap(), 7);
    }
}
