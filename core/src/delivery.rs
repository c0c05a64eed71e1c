//! What the host has still to take: one batch, kept as long as it is refused, offered in
//! parts where it is refused for its size, and given up in the end. Pure: the host is a
//! function, and time comes in as an argument.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use crate::{scrape::Batch, sink::msgpack};

/// A batch that was refused so often, and for so long, is given up, so that scraping goes
/// on: what the kubelet says now is worth more than what it said then.
const TRIES: u32 = 10;
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Delivery {
    waiting: Option<Waiting>,
    /// The host has refused more bytes than this in the moment in which it took these.
    most: Option<usize>,
    /// It has once refused a batch, then taken it but for a record less.
    came_back: bool,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    /// What the host has taken of it, in bytes; the records are taken off.
    taken: usize,
    refused: Option<Instant>,
    tries: u32,
}

/// What came of an offer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Offered {
    pub records: usize,
    pub bytes: usize,
    /// The host did not take the rest.
    pub refused: bool,
    /// From now on what comes is offered in parts.
    pub split: bool,
    /// Records that were given up.
    pub lost: usize,
    /// Of a batch that is done with, for the next one.
    pub memory: Option<Vec<u8>>,
}

impl Delivery {
    /// Takes a batch on; there is none waiting.
    pub fn put(&mut self, batch: Batch) {
        self.waiting = Some(Waiting {
            batch,
            taken: 0,
            refused: None,
            tries: 0,
        });
    }

    /// Records that wait.
    pub fn records(&self) -> usize {
        let waiting = self.waiting.as_ref();
        waiting.map_or(0, |waiting| waiting.batch.records)
    }

    pub fn is_done(&self) -> bool {
        self.waiting.is_none()
    }

    /// Offers what waits, as far as the host takes it and until it has us paused, which it
    /// can do within an append. What it then does not take, it has not refused.
    pub fn offer(
        &mut self,
        now: Instant,
        is_paused: impl Fn() -> bool,
        mut append: impl FnMut(&[u8]) -> bool,
    ) -> Offered {
        let mut append = |part: &[u8]| !is_paused() && append(part);
        let mut offered = Offered::default();
        let Some(waiting) = &mut self.waiting else {
            return offered;
        };
        let again = waiting.refused.is_some();
        while waiting.batch.records > 0 {
            let part = waiting.part(usize::MAX, self.most);
            if offered.take(waiting, part.clone(), &mut append) {
                continue;
            }
            // Refused for its size, or is nothing taken now? Asked only when it is refused
            // again, since the host has a line of its own for each refusal.
            let single = waiting.part(1, None);
            if !again || part == single || !offered.take(waiting, single, &mut append) {
                offered.refused = true;
                break;
            }
            // One is taken. If all others are as well, the host may just have come back
            // between the two: that is believed once.
            let rest = waiting.part(usize::MAX, self.most);
            let bytes = rest.1.len();
            let most = match offered.take(waiting, rest.clone(), &mut append) {
                true if !std::mem::replace(&mut self.came_back, true) => continue,
                true => Some(bytes),
                false => waiting.largest_taken(rest, &mut offered, &mut append),
            };
            let Some(most) = most else {
                offered.refused = true;
                break;
            };
            offered.split |= self.most.replace(most).is_none();
        }
        if offered.refused && is_paused() {
            offered.refused = false;
        } else if offered.refused && !waiting.is_kept(now) {
            offered.lost = waiting.batch.records;
            waiting.batch.records = 0;
        }
        if waiting.batch.records == 0 {
            let done = self.waiting.take();
            offered.memory = done.map(|waiting| waiting.batch.bytes);
        }
        offered
    }
}

impl Waiting {
    /// The next records, no more than so many and so many bytes, and one at least.
    fn part(&self, records: usize, most: Option<usize>) -> (usize, Range<usize>) {
        let begin = self.taken;
        if records >= self.batch.records && most.is_none_or(|most| self.left() <= most) {
            return (self.batch.records, begin..self.batch.bytes.len());
        }
        let (mut count, mut end) = (0, begin);
        while count < records.min(self.batch.records) {
            let Some(length) = msgpack::length(&self.batch.bytes[end..]) else {
                // Never of what we have written ourselves.
                return (self.batch.records, begin..self.batch.bytes.len());
            };
            if count > 0 && most.is_some_and(|most| end + length - begin > most) {
                break;
            }
            (count, end) = (count + 1, end + length);
        }
        (count, begin..end)
    }

    fn left(&self) -> usize {
        self.batch.bytes.len() - self.taken
    }

    /// The host has taken one record and not this part: halves it until it is taken.
    fn largest_taken(
        &mut self,
        refused: (usize, Range<usize>),
        offered: &mut Offered,
        append: &mut impl FnMut(&[u8]) -> bool,
    ) -> Option<usize> {
        let mut records = refused.0 / 2;
        while records > 0 && self.batch.records > 0 {
            let part = self.part(records, None);
            let bytes = part.1.len();
            if offered.take(self, part, append) {
                return Some(bytes);
            }
            records /= 2;
        }
        None
    }

    /// Counts a refusal; `false` when it was the last one.
    fn is_kept(&mut self, now: Instant) -> bool {
        let since = *self.refused.get_or_insert(now);
        self.tries += 1;
        self.tries < TRIES || now.duration_since(since) < PATIENCE
    }
}

impl Offered {
    fn take(
        &mut self,
        waiting: &mut Waiting,
        (records, bytes): (usize, Range<usize>),
        append: &mut impl FnMut(&[u8]) -> bool,
    ) -> bool {
        let length = bytes.len();
        let taken = append(&waiting.batch.bytes[bytes]);
        if taken {
            waiting.taken += length;
            waiting.batch.records -= records;
            self.records += records;
            self.bytes += length;
            // What comes after it is refused for the first time.
            (waiting.refused, waiting.tries) = (None, 0);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::{sink::msgpack::Writer, timestamp::Timestamp};

    fn batch(records: usize) -> Batch {
        let mut out = Writer::default();
        for record in 0..records {
            let now = Timestamp::since_epoch(Duration::from_secs(record as u64));
            out.event(now.expect("in 1970"), 3);
            out.uint("number", record as u64);
            out.map("m", 1);
            out.text("text", &"x".repeat(40 * (record % 9)));
            out.float("f", 0.5);
        }
        Batch {
            bytes: out.into_bytes(),
            records,
            ..Batch::default()
        }
    }

    /// Offers batches of 50 records to a host that takes no more than `most` bytes at a
    /// time; what it took, and what came of each offer.
    fn offered(most: usize, batches: usize) -> (Vec<u8>, Vec<Offered>, usize) {
        let (mut delivery, mut taken, mut came) = (Delivery::default(), Vec::new(), Vec::new());
        let (mut refusals, mut now) = (0, Instant::now());
        for _ in 0..batches {
            delivery.put(batch(50));
            while !delivery.is_done() {
                let not = || false;
                let offer = delivery.offer(now, not, |part| {
                    let fits = part.len() <= most;
                    refusals += usize::from(!fits);
                    taken.extend_from_slice(if fits { part } else { &[] });
                    fits
                });
                came.push(offer);
                now += Duration::from_secs(10);
            }
        }
        (taken, came, refusals)
    }

    #[test]
    fn a_batch_that_never_fits_is_split_once_and_for_all() {
        let whole = batch(50).bytes;
        for most in [whole.len() - 1, whole.len() / 3, 500] {
            let (taken, came, refusals) = offered(most, 20);
            assert!(
                taken == whole.repeat(20),
                "{most}: not whole, or not in order"
            );
            // One offer more until it was learnt, or two where one record makes the difference.
            let more = if most + 1 == whole.len() { 2 } else { 1 };
            assert_eq!(came.len(), 20 + more, "{most}");
            assert_eq!(came.iter().filter(|came| came.split).count(), 1);
            assert!(refusals <= 2 + 7, "{most}: {refusals} refusals");
            assert!(came.iter().all(|came| came.lost == 0));
        }
    }

    #[test]
    fn a_host_that_takes_nothing_is_asked_twice_and_in_the_end_no_more() {
        let (taken, came, refusals) = offered(0, 2);
        assert!(taken.is_empty());
        // Ten tries, and a minute, whichever is later.
        assert_eq!(came.len(), 2 * 10);
        assert_eq!(refusals, 2 * (1 + 9 * 2));
        let lost: Vec<_> = came.iter().map(|came| came.lost).collect();
        assert_eq!(lost.iter().sum::<usize>(), 100);
        assert_eq!((lost[9], lost[19]), (50, 50));
    }

    /// Its room came back between two looks.
    #[test]
    fn a_host_that_comes_back_gets_no_parts() {
        let (mut delivery, mut now) = (Delivery::default(), Instant::now());
        delivery.put(batch(50));
        let mut looks = 0;
        while !delivery.is_done() {
            let not = || false;
            let came = delivery.offer(now, not, |_| {
                looks += 1;
                looks > 2
            });
            assert!(!came.split && came.lost == 0);
            now += Duration::from_secs(10);
        }
        delivery.put(batch(50));
        let mut parts = 0;
        let not = || false;
        delivery.offer(now, not, |_| {
            parts += 1;
            true
        });
        assert_eq!((looks, parts), (4, 1));
    }

    /// It pauses us with every part that it takes, for an hour.
    #[test]
    fn a_pause_within_an_append_is_no_refusal() {
        let (mut delivery, mut now) = (Delivery::default(), Instant::now());
        delivery.most = Some(batch(50).bytes.len() / 4);
        delivery.put(batch(50));
        let mut taken = Vec::new();
        let mut offers = 0;
        while !delivery.is_done() {
            let paused = Cell::new(false);
            let came = delivery.offer(
                now,
                || paused.get(),
                |part| {
                    assert!(!paused.replace(true), "offered in a pause");
                    taken.extend_from_slice(part);
                    true
                },
            );
            assert_eq!((came.refused, came.lost), (false, 0));
            offers += 1;
            now += Duration::from_secs(3600);
        }
        assert!(taken == batch(50).bytes && offers >= 4);
    }

    #[test]
    fn what_was_refused_for_a_while_arrives_once() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        delivery.put(batch(50));
        for _ in 0..100 {
            let came = delivery.offer(now, || false, |_| false);
            assert_eq!((came.records, came.lost, came.refused), (0, 0, true));
        }
        assert_eq!(delivery.records(), 50);
        let mut taken = Vec::new();
        let not = || false;
        let came = delivery.offer(now, not, |part| {
            taken.extend_from_slice(part);
            true
        });
        assert_eq!((came.records, came.refused, came.split), (50, false, false));
        assert!(taken == batch(50).bytes && came.memory.is_some() && delivery.is_done());
    }
}
