//! When to say that something fails, and that it works again. Knows no clock: time comes in.

use std::time::{Duration, Instant};

/// How often a lasting failure is repeated.
const AGAIN: Duration = Duration::from_secs(60);

/// Of one thing that can fail: said once when it begins, at most once a minute while it lasts,
/// and once when it is over.
#[derive(Debug)]
pub struct Health {
    what: String,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    said: Instant,
    times: u64,
}

impl Health {
    /// `what` begins both lines: `database metrics at 10.0.0.7:5432`.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            failing: None,
        }
    }

    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    /// The line to log, if one is due.
    pub fn failed(&mut self, reason: &str, now: Instant) -> Option<String> {
        let what = &self.what;
        let Some(failing) = &mut self.failing else {
            self.failing = Some(Failing {
                since: now,
                said: now,
                times: 1,
            });
            return Some(format!("{what}: {reason}"));
        };
        failing.times += 1;
        if now - failing.said < AGAIN {
            return None;
        }
        failing.said = now;
        let (since, times) = ((now - failing.since).as_secs(), failing.times);
        Some(format!(
            "{what}: {reason} (failing for {since} s, {times} times)"
        ))
    }

    /// The same.
    pub fn works(&mut self, now: Instant) -> Option<String> {
        let failing = self.failing.take()?;
        let lasted = (now - failing.since).as_secs_f64();
        let what = &self.what;
        Some(format!("{what}: works again, it failed for {lasted:.1} s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_said_and_a_lasting_failure_once_a_minute() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut health = Health::new("database m");
        assert_eq!(health.works(at(0)), None);
        assert_eq!(
            health.failed("refused", at(1)).unwrap(),
            "database m: refused"
        );
        assert_eq!(health.failed("refused", at(30)), None);
        assert_eq!(
            health.failed("starting up", at(62)).unwrap(),
            "database m: starting up (failing for 61 s, 3 times)"
        );
        assert!(health.is_failing());
        assert_eq!(
            health.works(at(63)).unwrap(),
            "database m: works again, it failed for 62.0 s"
        );
        assert_eq!(health.works(at(64)), None);
        assert!(health.failed("refused", at(65)).is_some());
    }
}
