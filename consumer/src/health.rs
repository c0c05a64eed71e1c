//! Decides when to log that something fails, and that it works again.

use std::time::{Duration, Instant};

use tracing::{info, warn};

/// How often a failure that continues is logged again.
const AGAIN: Duration = Duration::from_secs(60);

/// The state of one thing that can fail. A failure is logged when it begins, at most once a
/// minute while it continues, and when it ends.
#[derive(Debug)]
pub struct Health {
    what: String,
    failing: Option<Failing>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    logged: Instant,
    times: u64,
}

impl Health {
    /// `what` is the beginning of both lines, for example `database metrics at 10.0.0.7:5432`.
    pub fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            failing: None,
        }
    }

    pub fn is_failing(&self) -> bool {
        self.failing.is_some()
    }

    pub fn failed(&mut self, reason: &str) {
        if let Some(line) = self.failed_at(Instant::now(), reason) {
            warn!("{line}");
        }
    }

    /// Notes that it works. Returns whether it failed until now.
    pub fn works(&mut self) -> bool {
        let line = self.works_at(Instant::now());
        if let Some(line) = &line {
            info!("{line}");
        }
        line.is_some()
    }

    fn failed_at(&mut self, now: Instant, reason: &str) -> Option<String> {
        let what = &self.what;
        let Some(failing) = &mut self.failing else {
            self.failing = Some(Failing {
                since: now,
                logged: now,
                times: 1,
            });
            return Some(format!("{what}: {reason}"));
        };
        failing.times += 1;
        if now - failing.logged < AGAIN {
            return None;
        }
        failing.logged = now;
        let (since, times) = ((now - failing.since).as_secs(), failing.times);
        Some(format!(
            "{what}: {reason} (failing for {since} s, {times} times)"
        ))
    }

    fn works_at(&mut self, now: Instant) -> Option<String> {
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
    fn changes_are_logged_and_a_lasting_failure_once_a_minute() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut health = Health::new("database m");
        assert_eq!(health.works_at(at(0)), None);
        assert_eq!(
            health.failed_at(at(1), "refused").expect("a line"),
            "database m: refused"
        );
        assert_eq!(health.failed_at(at(30), "refused"), None);
        assert_eq!(
            health.failed_at(at(62), "starting up").expect("a line"),
            "database m: starting up (failing for 61 s, 3 times)"
        );
        assert!(health.is_failing());
        assert_eq!(
            health.works_at(at(63)).expect("a line"),
            "database m: works again, it failed for 62.0 s"
        );
        assert_eq!(health.works_at(at(64)), None);
        assert!(health.failed_at(at(65), "refused").is_some());
    }
}
