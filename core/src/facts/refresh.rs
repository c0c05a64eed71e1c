//! Decides when to ask the kubelet for its pods again.
//!
//! Asking for the pods costs the kubelet more than a scrape, so it is done once per interval. It is
//! done sooner when a pod or container without facts appears. If the reply does not have these
//! facts, the next request waits. This module has no clock: time is an argument.

use std::time::{Duration, Instant};

/// The first wait after a request that failed or did not have the missing facts. Each further wait
/// is twice as long, up to the interval.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// Facts older than this many intervals are dropped: their pods may no longer exist.
const KEPT_INTERVALS: u32 = 10;

/// How old the facts are, and how the last requests went.
#[derive(Debug)]
pub(super) struct Refresh {
    interval: Duration,
    taken_at: Option<Instant>,
    /// After a failure, no request is sent before this time.
    not_before: Option<Instant>,
    /// What was absent from the last good reply is not asked for before this time.
    not_again_before: Option<Instant>,
    wait: Duration,
}

/// Whether something in the summary has no facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Missing {
    Nothing,
    /// Only facts that were absent from the last good reply are missing.
    AskedBefore,
    /// There are missing facts that have not been asked for yet.
    New,
}

impl Refresh {
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            taken_at: None,
            not_before: None,
            not_again_before: None,
            wait: FIRST_WAIT.min(interval),
        }
    }

    pub fn is_due(&self, now: Instant, missing: Missing) -> bool {
        let is_past = |moment: Option<Instant>| moment.is_none_or(|earliest| now >= earliest);
        let is_old = self.age(now).is_none_or(|age| age >= self.interval);
        let would_help = match missing {
            Missing::Nothing => false,
            Missing::AskedBefore => is_past(self.not_again_before),
            Missing::New => true,
        };
        is_past(self.not_before) && (is_old || would_help)
    }

    /// A good reply has arrived. `is_missing` says whether some of the facts that were asked for
    /// are still absent.
    pub fn succeeded(&mut self, now: Instant, is_missing: bool) {
        self.taken_at = Some(now);
        self.not_before = None;
        match is_missing {
            true => self.not_again_before = self.put_off(now),
            false => {
                self.not_again_before = None;
                self.wait = FIRST_WAIT.min(self.interval);
            }
        }
    }

    pub fn failed(&mut self, now: Instant) {
        self.not_before = self.put_off(now);
    }

    /// Whether the wait has reached its maximum.
    pub fn waits_longest(&self) -> bool {
        self.wait >= self.interval
    }

    pub fn age(&self, now: Instant) -> Option<Duration> {
        let taken_at = self.taken_at?;
        Some(now.saturating_duration_since(taken_at))
    }

    /// Whether the facts have expired: there were some, and they are too old.
    pub fn expire(&mut self, now: Instant) -> bool {
        let most = self.interval.saturating_mul(KEPT_INTERVALS);
        let is_expired = self.age(now).is_some_and(|age| age > most);
        if is_expired {
            self.taken_at = None;
        }
        is_expired
    }

    fn put_off(&mut self, now: Instant) -> Option<Instant> {
        let until = now.checked_add(self.wait);
        self.wait = self.wait.saturating_mul(2).min(self.interval);
        until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    enum Step {
        /// The seconds since the start, whether something is missing, and the expected answer.
        Ask(u64, bool, bool),
        Fails(u64),
        /// The seconds since the start, and whether nothing is missing any more.
        Replies(u64, bool),
    }
    use Step::{Ask, Fails, Replies};

    #[test]
    fn the_kubelet_is_asked_when_it_helps() {
        for (what, steps) in [
            (
                "once an interval",
                vec![
                    Ask(0, false, true),
                    Replies(0, true),
                    Ask(1, false, false),
                    Ask(59, false, false),
                    Ask(60, false, true),
                    Replies(60, true),
                    Ask(119, false, false),
                    Ask(120, false, true),
                ],
            ),
            (
                "at once when something is missing",
                vec![
                    Replies(0, true),
                    Ask(10, true, true),
                    Replies(10, true),
                    Ask(10, true, true),
                    Replies(11, true),
                    Ask(12, true, true),
                ],
            ),
            (
                "less and less often while that fails",
                vec![
                    Fails(0),
                    Ask(0, true, false),
                    Ask(1, true, true),
                    Fails(1),
                    Ask(2, true, false),
                    Ask(3, false, true),
                    Fails(3),
                    Ask(6, true, false),
                    Ask(7, true, true),
                    Fails(7),
                    Fails(15),
                    Fails(31),
                    Ask(62, true, false),
                    Ask(63, true, true),
                    Fails(63),
                    Ask(122, true, false),
                    Ask(123, true, true),
                    Fails(123),
                    Ask(182, true, false),
                    Ask(183, true, true),
                ],
            ),
            (
                "likewise while it does not help",
                vec![
                    Replies(0, false),
                    Ask(0, true, false),
                    Ask(0, false, false),
                    Ask(1, true, true),
                    Replies(1, false),
                    Ask(2, true, false),
                    Ask(3, true, true),
                    Replies(3, false),
                    Ask(6, true, false),
                    Ask(7, true, true),
                ],
            ),
            (
                "as before once it helps",
                vec![
                    Fails(0),
                    Fails(1),
                    Replies(3, false),
                    Ask(6, true, false),
                    Replies(7, true),
                    Ask(7, true, true),
                    Fails(7),
                    Ask(7, true, false),
                    Ask(8, true, true),
                ],
            ),
            (
                "after a failure not for its age alone",
                vec![
                    Replies(0, true),
                    Ask(60, false, true),
                    Fails(60),
                    Ask(60, false, false),
                    Ask(61, false, true),
                ],
            ),
        ] {
            let start = Instant::now();
            let mut refresh = Refresh::new(seconds(60));
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Ask(at, is_missing, expected) => {
                        let missing = match is_missing {
                            true => Missing::AskedBefore,
                            false => Missing::Nothing,
                        };
                        let due = refresh.is_due(start + seconds(at), missing);
                        assert_eq!(due, expected, "{what}: step {number}");
                    }
                    Fails(at) => refresh.failed(start + seconds(at)),
                    Replies(at, helps) => refresh.succeeded(start + seconds(at), !helps),
                }
            }
        }
    }

    #[test]
    fn a_short_interval_is_the_longest_wait() {
        let start = Instant::now();
        let mut refresh = Refresh::new(Duration::from_millis(200));
        for at in [0, 200, 400] {
            refresh.failed(start + Duration::from_millis(at));
            let millis = |millis| start + Duration::from_millis(at + millis);
            assert!(!refresh.is_due(millis(199), Missing::New));
            assert!(refresh.is_due(millis(200), Missing::New));
        }
    }

    /// Facts that are still absent from a reply do not delay a request for new ones.
    #[test]
    fn what_is_new_is_asked_for_at_once() {
        let start = Instant::now();
        let mut refresh = Refresh::new(seconds(60));
        for at in 0..10 {
            assert!(refresh.is_due(start + seconds(at), Missing::New));
            refresh.succeeded(start + seconds(at), true);
        }
        assert!(!refresh.is_due(start + seconds(11), Missing::AskedBefore));
        refresh.failed(start + seconds(11));
        assert!(!refresh.is_due(start + seconds(12), Missing::New));
    }
}
