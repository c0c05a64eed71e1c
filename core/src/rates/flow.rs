//! The bytes that go through an interface, from sample to sample.
//!
//! The kubelet gives counters and the time of the sample in whole seconds, cut off, and no
//! rate of its own to compare with. Two samples whose times are `t` apart are really
//! between `t - 1` and `t + 1` seconds apart, so a rate made of them is off by up to one
//! part in `t`. What can be done about it is to look further back: `WINDOW` seconds, as
//! soon as that much has been seen, and never less than `SHORTEST`.

use crate::{
    catalogue::{Traffic, TrafficRate},
    number::Number,
    timestamp::Timestamp,
};

/// In seconds: a rate is made from the newest sample that is as old as this. It is off by
/// one part in thirty then.
const WINDOW: f64 = 30.0;

/// In seconds: while there is no sample as old as that, the oldest one does, if it is not
/// younger than this. The rate is off by one part in ten then.
const SHORTEST: f64 = 10.0;

/// Samples are kept so many seconds apart: as many fit a window as there is room for.
const APART: f64 = 10.0;
const KEPT: usize = 4;

/// In a second. No interface can do more; a counter that says so is wrong.
const MOST_BYTES: f64 = 1e12;

/// How much the kubelet's times may be too early.
const CUT: f64 = 1.0;

/// The samples that a rate is made from.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Oldest first.
    kept: Vec<Point>,
    last: Option<Point>,
    /// One that cannot have come from `last`. Either the counters began again at 0, or one of the
    /// two is wrong; the next sample fits only one of them.
    doubted: Option<Point>,
    /// What was made of the last sample.
    pub rate: TrafficRate,
}

/// The counters, and when they stood there.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    time: Timestamp,
    rx: Option<Number>,
    tx: Option<Number>,
}

impl Point {
    /// Seconds from this one to a later.
    fn seconds_to(&self, later: &Self) -> Option<f64> {
        let nanos = later.time.as_nanos().checked_sub(self.time.as_nanos())?;
        Some(nanos as f64 / 1e9)
    }

    /// Whether the other can have come from this one.
    fn goes_on_to(&self, later: &Self) -> bool {
        let Some(seconds) = self.seconds_to(later) else {
            return false;
        };
        let can_rise = |from: Option<Number>, to: Option<Number>| match (from, to) {
            (Some(from), Some(to)) => to
                .get()
                .checked_sub(from.get())
                .is_some_and(|rise| rise as f64 <= MOST_BYTES * (seconds + CUT)),
            // What was left out says nothing.
            _ => true,
        };
        can_rise(self.rx, later.rx) && can_rise(self.tx, later.tx)
    }
}

impl Flow {
    /// Takes a sample in; `false` if it was seen before.
    pub fn take(&mut self, traffic: &Traffic) -> bool {
        let Some(time) = traffic.time else {
            self.rate = TrafficRate::default();
            return false;
        };
        let now = Point {
            time,
            rx: traffic.rx_bytes,
            tx: traffic.tx_bytes,
        };
        if self.last == Some(now) || self.doubted == Some(now) {
            return false;
        }
        let begins_anew = match (self.last, self.doubted) {
            (Some(last), _) if last.goes_on_to(&now) => false,
            (_, Some(doubted)) if doubted.goes_on_to(&now) => {
                self.kept = vec![doubted];
                false
            }
            (last, _) => last.is_some(),
        };
        self.rate = TrafficRate::default();
        if begins_anew {
            self.doubted = Some(now);
            return true;
        }
        (self.last, self.doubted) = (Some(now), None);
        if let Some((base, seconds)) = self.base(&now) {
            let rate = |from: Option<Number>, to: Option<Number>| {
                let rise = to?.get().checked_sub(from?.get())?;
                Some(rise as f64 / seconds)
            };
            (self.rate.rx, self.rate.tx) = (rate(base.rx, now.rx), rate(base.tx, now.tx));
        }
        self.keep(now);
        true
    }

    /// Whether the counters of the sample that was taken in are some that this interface can
    /// have. One that fell would look like a restart to a reader of it alone.
    pub fn is_believed(&self) -> bool {
        self.doubted.is_none()
    }

    /// What a rate is made from, and how many seconds before.
    fn base(&self, now: &Point) -> Option<(Point, f64)> {
        let age = |point: &Point| Some((*point, point.seconds_to(now)?));
        let aged = || self.kept.iter().filter_map(age);
        aged()
            .rev()
            .find(|(_, seconds)| *seconds >= WINDOW)
            .or_else(|| aged().find(|(_, seconds)| *seconds >= SHORTEST))
    }

    fn keep(&mut self, now: Point) {
        let since_last = self.kept.last().and_then(|last| last.seconds_to(&now));
        if self.kept.is_empty() || since_last.is_some_and(|seconds| seconds >= APART) {
            if self.kept.len() == KEPT {
                self.kept.remove(0);
            }
            self.kept.push(now);
        }
    }
}
