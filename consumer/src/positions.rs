//! Which offsets may be committed, and which commits are under way. Pure: no Kafka, no clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A commit that failed is tried again, also if no new records come.
const RETRY: Duration = Duration::from_secs(1);

/// The offset to be read next in a partition, under one assignment of it to us. What was read
/// under an earlier one is not committed: the partition may be another consumer's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub assignment: u64,
    pub next: i64,
    /// When the record before it was written, in milliseconds: kept with the commit, to tell
    /// since when records are gone, should that ever be.
    pub since: Option<i64>,
}

/// By partition.
pub type Positions = BTreeMap<i32, Position>;

#[derive(Debug, Default)]
pub struct Commits {
    wanted: Positions,
    sent: Option<Positions>,
    not_before: Option<Instant>,
}

impl Commits {
    /// Everything before these positions is done with.
    pub fn add(&mut self, done: Positions) {
        for (partition, position) in done {
            let newest = self.wanted.entry(partition).or_insert(position);
            // A batch of before may be done after the partition came back to us, and where
            // reading begins may be told after the first records are done.
            let order = |position: &Position| (position.assignment, position.next);
            if order(&position) >= order(newest) {
                *newest = position;
            }
        }
    }

    /// What to commit now. Forgets what is no longer ours.
    pub fn due(
        &mut self,
        now: Instant,
        assignment: impl Fn(i32) -> Option<u64>,
    ) -> Option<Positions> {
        self.wanted
            .retain(|partition, position| assignment(*partition) == Some(position.assignment));
        let early = self.not_before.is_some_and(|time| now < time);
        if self.wanted.is_empty() || self.sent.is_some() || early {
            return None;
        }
        self.sent = Some(self.wanted.clone());
        self.sent.clone()
    }

    /// The commit under way has been answered.
    pub fn answered(&mut self, succeeded: bool, now: Instant) {
        let Some(sent) = self.sent.take() else {
            return;
        };
        self.not_before = (!succeeded).then_some(now + RETRY);
        if succeeded {
            self.wanted
                .retain(|partition, position| sent.get(partition) != Some(position));
        }
    }

    /// Is there nothing left to do, nor to wait for?
    pub fn is_done(&self) -> bool {
        self.wanted.is_empty() && self.sent.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(partition: i32, assignment: u64, next: i64) -> Positions {
        let since = None;
        let position = Position {
            assignment,
            next,
            since,
        };
        Positions::from([(partition, position)])
    }

    #[test]
    fn one_commit_at_a_time_and_the_newest_next() {
        let now = Instant::now();
        let mut commits = Commits::default();
        assert_eq!(commits.due(now, |_| Some(1)), None);
        commits.add(at(0, 1, 10));
        assert_eq!(commits.due(now, |_| Some(1)), Some(at(0, 1, 10)));
        commits.add(at(0, 1, 20));
        assert_eq!(commits.due(now, |_| Some(1)), None, "one is under way");
        commits.answered(true, now);
        assert!(!commits.is_done());
        assert_eq!(commits.due(now, |_| Some(1)), Some(at(0, 1, 20)));
        commits.answered(true, now);
        assert!(commits.is_done());
    }

    #[test]
    fn a_place_never_goes_back() {
        let now = Instant::now();
        let mut commits = Commits::default();
        commits.add(at(0, 1, 20));
        commits.add(at(0, 1, 10));
        assert_eq!(commits.due(now, |_| Some(1)), Some(at(0, 1, 20)));
        // The topic was made anew: a new assignment begins where it begins.
        commits.add(at(0, 2, 0));
        commits.answered(true, now);
        assert_eq!(commits.due(now, |_| Some(2)), Some(at(0, 2, 0)));
    }

    #[test]
    fn a_failed_one_is_tried_again_later() {
        let now = Instant::now();
        let mut commits = Commits::default();
        commits.add(at(3, 1, 10));
        commits.due(now, |_| Some(1)).expect("due");
        commits.answered(false, now);
        assert_eq!(commits.due(now, |_| Some(1)), None);
        let later = now + RETRY;
        assert_eq!(commits.due(later, |_| Some(1)), Some(at(3, 1, 10)));
    }

    #[test]
    fn what_was_taken_away_is_forgotten() {
        let now = Instant::now();
        let mut commits = Commits::default();
        commits.add(at(0, 1, 10));
        commits.add(at(1, 1, 10));
        // Partition 0 went away and came back, 1 is somebody else's.
        let owned = |partition| (partition == 0).then_some(2);
        assert_eq!(commits.due(now, owned), None);
        assert!(commits.is_done());
    }
}
