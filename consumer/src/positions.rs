//! Which offsets may be committed, and which commits are running. This module is pure,
//! without Kafka and clock.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// A failed commit is tried again after this time, even if no new records arrive.
const RETRY: Duration = Duration::from_secs(1);

/// The offset to read next in a partition, under one assignment of it to this consumer. What
/// was read under an earlier assignment is not committed, because the partition may belong to
/// another consumer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub assignment: u64,
    pub next: i64,
    /// When the record before this offset was written, in milliseconds. It is stored with the
    /// commit. If records are deleted later, a log line says since when.
    pub since: Option<i64>,
}

/// A position for each partition.
pub type Positions = BTreeMap<i32, Position>;

#[derive(Debug, Default)]
pub struct Commits {
    wanted: Positions,
    sent: Option<Positions>,
    not_before: Option<Instant>,
}

impl Commits {
    /// Adds the positions before which everything is finished.
    pub fn add(&mut self, done: Positions) {
        for (partition, position) in done {
            let newest = self.wanted.entry(partition).or_insert(position);
            // An earlier batch may be finished after the partition was assigned again. And
            // the place where reading begins may be added after the first records are
            // finished.
            let order = |position: &Position| (position.assignment, position.next);
            if order(&position) >= order(newest) {
                *newest = position;
            }
        }
    }

    /// Returns what to commit now, and drops positions under assignments that have ended.
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

    /// The running commit has ended.
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

    /// Whether there is nothing to commit or to wait for.
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
        // The topic was recreated. The new assignment starts at its beginning.
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
        // Partition 0 was revoked and assigned again, and partition 1 belongs to another
        // consumer.
        let owned = |partition| (partition == 0).then_some(2);
        assert_eq!(commits.due(now, owned), None);
        assert!(commits.is_done());
    }
}
