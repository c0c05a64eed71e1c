//! Owns what the host has not accepted yet, which is at most the parts of one scrape. Metrics are
//! kept until the host accepts them or newer metrics replace them. A batch of records is kept while
//! the host refuses it. If the host refuses it because of its size, it is appended in pieces. After
//! `MAX_REFUSALS` and `MIN_RETRY_TIME` it is dropped. This module is pure: the host is a function,
//! and time is an argument.

use std::{
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    scrape::{Logs, Part},
    sink::{metrics::Contexts, msgpack},
};

/// A batch is dropped after this many refusals and this time. Then scraping continues, because
/// newer samples are worth more than older ones.
const MAX_REFUSALS: u32 = 10;
const MIN_RETRY_TIME: Duration = Duration::from_secs(60);

/// The batches that are not accepted yet, and what is known about how much the host accepts at
/// once.
#[derive(Debug, Default)]
pub struct Delivery {
    pending: VecDeque<Pending>,
    /// The metrics that the host has refused or has not been offered yet.
    metrics: Option<Contexts>,
    /// The size in bytes of the largest piece that the host accepted after it refused a larger one.
    max_piece: Option<usize>,
    /// Whether the host has once accepted the rest of a batch right after it refused all of it.
    recovered_once: bool,
}

#[derive(Debug)]
struct Pending {
    logs: Logs,
    /// How many of its bytes the host has accepted. `logs.records` counts only the records that are
    /// left.
    accepted: usize,
    refused: Option<Instant>,
    refusals: u32,
}

/// The result of one [`Delivery::try_append`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Records that the host accepted.
    pub records: usize,
    /// Their size in msgpack.
    pub bytes: usize,
    /// Whether the host refused the rest.
    pub refused: bool,
    /// Whether batches are appended in pieces from now on. This is set at most once per input.
    pub split: bool,
    /// The number of records that were dropped.
    pub given_up: usize,
    /// The memory of a finished batch, for the next one.
    pub buffer: Option<Vec<u8>>,
}

/// The host refused the metrics.
#[derive(Debug)]
pub struct Refused;

impl Delivery {
    /// Takes over the parts of a scrape.
    pub fn enqueue(&mut self, parts: Vec<Part>) {
        for part in parts {
            match part {
                Part::Logs(logs) => self.pending.push_back(Pending {
                    logs,
                    accepted: 0,
                    refused: None,
                    refusals: 0,
                }),
                Part::Metrics(metrics) => self.metrics = Some(metrics),
            }
        }
    }

    /// Offers the metrics to the host, if there are any, and returns the result. Refused metrics
    /// are offered again until newer ones replace them, because only the latest metrics count.
    pub fn try_metrics(
        &mut self,
        is_paused: bool,
        append: impl FnOnce(&Contexts) -> bool,
    ) -> Option<Result<Contexts, Refused>> {
        if is_paused {
            return None;
        }
        let metrics = self.metrics.take()?;
        if append(&metrics) {
            return Some(Ok(metrics));
        }
        self.metrics = Some(metrics);
        Some(Err(Refused))
    }

    /// How many records the host has not accepted yet.
    pub fn records(&self) -> usize {
        let pending = self.pending.iter();
        pending.map(|pending| pending.logs.records).sum()
    }

    /// Whether no record is pending, so that the next scrape may start.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Appends what is pending until the host refuses some. `append` gets events and their number.
    /// It stops, without counting a refusal, when `is_paused` becomes true. The host can pause the
    /// input inside an `append`.
    pub fn try_append(
        &mut self,
        now: Instant,
        is_paused: impl Fn() -> bool,
        mut append: impl FnMut(&[u8], usize) -> bool,
    ) -> Appended {
        let mut append = |piece: &[u8], count| !is_paused() && append(piece, count);
        let mut appended = Appended::default();
        while let Some(mut pending) = self.pending.pop_front() {
            self.append_one(&mut pending, &mut appended, &mut append);
            if appended.refused && is_paused() {
                appended.refused = false;
            } else if appended.refused && !pending.keep_after_refusal(now) {
                appended.given_up += pending.logs.records;
                pending.logs.records = 0;
            }
            if pending.logs.records > 0 {
                self.pending.push_front(pending);
                break;
            }
            appended.buffer = Some(pending.logs.bytes);
        }
        appended
    }

    /// Appends one batch until the host refuses a piece.
    fn append_one(
        &mut self,
        pending: &mut Pending,
        appended: &mut Appended,
        append: &mut impl FnMut(&[u8], usize) -> bool,
    ) {
        let again = pending.refused.is_some();
        while pending.logs.records > 0 {
            let piece = pending.piece(usize::MAX, self.max_piece);
            if appended.append_piece(pending, piece.clone(), append) {
                continue;
            }
            // The host refused it either for its size or because it accepts nothing now. Appending
            // a single record shows which. This is tried only at the second refusal, since the host
            // logs an error of its own for each refusal.
            let single = pending.piece(1, None);
            if !again || piece == single || !appended.append_piece(pending, single, append) {
                appended.refused = true;
                break;
            }
            // The host accepted one record. If it also accepts all others, there are two
            // explanations: it has had room again in between, or the batch was too large by this
            // one record. The first time, the first explanation is assumed.
            let rest = pending.piece(usize::MAX, self.max_piece);
            let bytes = rest.1.len();
            let max_piece = match appended.append_piece(pending, rest.clone(), append) {
                true if !std::mem::replace(&mut self.recovered_once, true) => continue,
                true => Some(bytes),
                false => pending.find_largest_piece(rest, appended, append),
            };
            let Some(max_piece) = max_piece else {
                appended.refused = true;
                break;
            };
            appended.split |= self.max_piece.replace(max_piece).is_none();
        }
    }
}

impl Pending {
    /// The next records: at most `records` and at most `max_piece` bytes, but at least one record.
    fn piece(&self, records: usize, max_piece: Option<usize>) -> (usize, Range<usize>) {
        let start = self.accepted;
        if records >= self.logs.records
            && max_piece.is_none_or(|max_piece| self.remaining_bytes() <= max_piece)
        {
            return (self.logs.records, start..self.logs.bytes.len());
        }
        let (mut count, mut end) = (0, start);
        while count < records.min(self.logs.records) {
            let Some(length) = msgpack::length(&self.logs.bytes[end..]) else {
                // This cannot happen with bytes that this plugin has written.
                return (self.logs.records, start..self.logs.bytes.len());
            };
            if count > 0 && max_piece.is_some_and(|max_piece| end + length - start > max_piece) {
                break;
            }
            (count, end) = (count + 1, end + length);
        }
        (count, start..end)
    }

    fn remaining_bytes(&self) -> usize {
        self.logs.bytes.len() - self.accepted
    }

    /// The host accepts one record but not this piece. Halves the piece until the host accepts it,
    /// and returns the size of the accepted piece in bytes.
    fn find_largest_piece(
        &mut self,
        refused: (usize, Range<usize>),
        appended: &mut Appended,
        append: &mut impl FnMut(&[u8], usize) -> bool,
    ) -> Option<usize> {
        let mut records = refused.0 / 2;
        while records > 0 && self.logs.records > 0 {
            let piece = self.piece(records, None);
            let bytes = piece.1.len();
            if appended.append_piece(self, piece, append) {
                return Some(bytes);
            }
            records /= 2;
        }
        None
    }

    /// Counts a refusal. Returns `false` if the batch must be dropped.
    fn keep_after_refusal(&mut self, now: Instant) -> bool {
        let since = *self.refused.get_or_insert(now);
        self.refusals += 1;
        self.refusals < MAX_REFUSALS || now.duration_since(since) < MIN_RETRY_TIME
    }
}

impl Appended {
    fn append_piece(
        &mut self,
        pending: &mut Pending,
        (records, bytes): (usize, Range<usize>),
        append: &mut impl FnMut(&[u8], usize) -> bool,
    ) -> bool {
        let length = bytes.len();
        let accepted = append(&pending.logs.bytes[bytes], records);
        if accepted {
            pending.accepted += length;
            pending.logs.records -= records;
            self.records += records;
            self.bytes += length;
            // A refusal of the records after this piece is the first one again.
            (pending.refused, pending.refusals) = (None, 0);
        }
        accepted
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{sink::msgpack::Writer, timestamp::Timestamp};

    fn batch(records: usize) -> Vec<Part> {
        vec![Part::Logs(logs(records))]
    }

    fn logs(records: usize) -> Logs {
        let mut out = Writer::default();
        for record in 0..records {
            let now = Timestamp::since_epoch(Duration::from_secs(record as u64));
            let mut event = out.event(now.expect("the time fits an event"));
            event.uint("number", record as u64);
            event.map("m").text("text", &"x".repeat(40 * (record % 9)));
            event.float("f", 0.5);
        }
        Logs {
            bytes: out.into_bytes(),
            records,
        }
    }

    /// Metrics are kept until a pause ends and until the host accepts them.
    #[test]
    fn metrics_are_kept_until_they_are_taken() {
        let mut delivery = Delivery::default();
        let bytes = vec![1];
        delivery.enqueue(vec![Part::Metrics(Contexts { bytes, count: 1 })]);
        assert!(delivery.try_metrics(true, |_| true).is_none());
        assert!(matches!(
            delivery.try_metrics(false, |_| false),
            Some(Err(Refused))
        ));
        let taken = delivery.try_metrics(false, |_| true);
        assert!(matches!(taken, Some(Ok(contexts)) if contexts.bytes == [1]));
        assert!(delivery.try_metrics(false, |_| true).is_none());
    }

    /// Offers batches of 50 records to a host that accepts at most `max_piece` bytes at a time.
    /// Returns what the host accepted, and the result of each offer.
    fn appended(max_piece: usize, batches: usize) -> (Vec<u8>, Vec<Appended>, usize) {
        let (mut delivery, mut accepted, mut results) =
            (Delivery::default(), Vec::new(), Vec::new());
        let (mut refusals, mut now) = (0, Instant::now());
        for _ in 0..batches {
            delivery.enqueue(batch(50));
            while !delivery.is_empty() {
                let running = || false;
                let result = delivery.try_append(now, running, |part, count| {
                    assert_eq!(events(part), count);
                    let fits = part.len() <= max_piece;
                    refusals += usize::from(!fits);
                    accepted.extend_from_slice(if fits { part } else { &[] });
                    fits
                });
                results.push(result);
                now += Duration::from_secs(10);
            }
        }
        (accepted, results, refusals)
    }

    fn events(mut bytes: &[u8]) -> usize {
        let mut count = 0;
        while let Some(length) = msgpack::length(bytes) {
            bytes = &bytes[length..];
            count += 1;
        }
        count
    }

    #[test]
    fn a_batch_that_never_fits_is_split_once_and_for_all() {
        let whole = logs(50).bytes;
        for max_piece in [whole.len() - 1, whole.len() / 3, 500] {
            let (accepted, results, refusals) = appended(max_piece, 20);
            assert!(
                accepted == whole.repeat(20),
                "{max_piece}: not whole, or not in order"
            );
            // It takes one more offer to learn the size, or two if the batch is too large by one
            // record.
            let more = if max_piece + 1 == whole.len() { 2 } else { 1 };
            assert_eq!(results.len(), 20 + more, "{max_piece}");
            assert_eq!(results.iter().filter(|result| result.split).count(), 1);
            assert!(refusals <= 2 + 7, "{max_piece}: {refusals} refusals");
            assert!(results.iter().all(|result| result.given_up == 0));
        }
    }

    #[test]
    fn a_host_that_takes_nothing_is_asked_twice_and_in_the_end_no_more() {
        let (accepted, results, refusals) = appended(0, 2);
        assert!(accepted.is_empty());
        // The batch is dropped after ten refusals and a minute, whichever is later.
        assert_eq!(results.len(), 2 * 10);
        assert_eq!(refusals, 2 * (1 + 9 * 2));
        let given_up: Vec<_> = results.iter().map(|result| result.given_up).collect();
        assert_eq!(given_up.iter().sum::<usize>(), 100);
        assert_eq!((given_up[9], given_up[19]), (50, 50));
    }

    /// The host has room again between two appends.
    #[test]
    fn a_host_that_comes_back_gets_no_parts() {
        let (mut delivery, mut now) = (Delivery::default(), Instant::now());
        delivery.enqueue(batch(50));
        let mut attempts = 0;
        while !delivery.is_empty() {
            let running = || false;
            let result = delivery.try_append(now, running, |_, _| {
                attempts += 1;
                attempts > 2
            });
            assert!(!result.split && result.given_up == 0);
            now += Duration::from_secs(10);
        }
        delivery.enqueue(batch(50));
        let mut parts = 0;
        let running = || false;
        delivery.try_append(now, running, |_, _| {
            parts += 1;
            true
        });
        assert_eq!((attempts, parts), (4, 1));
    }

    /// The host pauses the input with every part that it accepts, for an hour.
    #[test]
    fn a_pause_within_an_append_is_no_refusal() {
        let (mut delivery, mut now) = (Delivery::default(), Instant::now());
        delivery.max_piece = Some(logs(50).bytes.len() / 4);
        delivery.enqueue(batch(50));
        let mut accepted = Vec::new();
        let mut offers = 0;
        while !delivery.is_empty() {
            let paused = Cell::new(false);
            let result = delivery.try_append(
                now,
                || paused.get(),
                |part, _| {
                    assert!(!paused.replace(true), "offered in a pause");
                    accepted.extend_from_slice(part);
                    true
                },
            );
            assert_eq!((result.refused, result.given_up), (false, 0));
            offers += 1;
            now += Duration::from_secs(3600);
        }
        assert!(accepted == logs(50).bytes && offers >= 4);
    }

    #[test]
    fn what_was_refused_for_a_while_arrives_once() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        delivery.enqueue(batch(50));
        for _ in 0..100 {
            let result = delivery.try_append(now, || false, |_, _| false);
            assert_eq!(
                (result.records, result.given_up, result.refused),
                (0, 0, true)
            );
        }
        assert_eq!(delivery.records(), 50);
        let mut accepted = Vec::new();
        let running = || false;
        let result = delivery.try_append(now, running, |part, _| {
            accepted.extend_from_slice(part);
            true
        });
        assert_eq!(
            (result.records, result.refused, result.split),
            (50, false, false)
        );
        assert!(accepted == logs(50).bytes && result.buffer.is_some() && delivery.is_empty());
    }

    /// The second part is offered only after the first, and the host accepts or refuses each on its
    /// own.
    #[test]
    fn parts_are_kept_each_until_it_is_taken() {
        let mut parts = batch(3);
        parts.extend(batch(2));
        let mut delivery = Delivery::default();
        delivery.enqueue(parts);
        let (now, mut taken) = (Instant::now(), Vec::new());
        let refused = delivery.try_append(now, || false, |_, _| false);
        assert!(refused.refused && delivery.records() == 5);
        // The host accepts one append and refuses all others.
        let one = delivery.try_append(
            now,
            || false,
            |piece, _| {
                taken.push(piece.len());
                taken.len() == 1
            },
        );
        assert_eq!((one.records, one.refused, delivery.records()), (3, true, 2));
        let rest = delivery.try_append(now, || false, |_, _| true);
        assert_eq!((rest.records, delivery.is_empty()), (2, true));
    }
}
