//! Computes the rate of the bytes through an interface from its samples.
//!
//! The kubelet gives counters, and the time of the sample in whole seconds, rounded down. It gives
//! no rate of its own to compare with. Two samples whose times differ by `t` were really taken
//! between `t - 1` and `t + 1` seconds apart, so their rate has an error of up to one part in `t`.
//! To reduce the error, the rate is computed over a longer time: `WINDOW` seconds as soon as there
//! is a sample that old, and never less than `SHORTEST`.

use crate::{
    catalogue::{Traffic, TrafficRate},
    number::Number,
    timestamp::Timestamp,
};

/// In seconds. A rate is computed from the newest sample that is at least this old. Its error is
/// then one part in thirty.
const WINDOW: f64 = 30.0;

/// In seconds. If no sample is that old, the oldest sample is used, provided it is at least this
/// old. The error is then one part in ten.
const SHORTEST: f64 = 10.0;

/// Samples are kept at this distance in seconds, so that a window holds as many as there is room
/// for.
const APART: f64 = 10.0;
const KEPT: usize = 4;

/// In bytes per second. No interface is faster, so a counter that rises faster is wrong.
const MOST_BYTES: f64 = 1e12;

/// By how many seconds the kubelet's times may be too early, because they are rounded down.
const CUT: f64 = 1.0;

/// The samples from which rates are computed.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The kept samples, oldest first.
    kept: Vec<Point>,
    last: Option<Point>,
    /// A sample that cannot follow `last`. Either the counters restarted at 0, or one of the two
    /// samples is wrong. The next sample fits only one of them.
    doubted: Option<Point>,
    /// The rate of the last sample.
    pub rate: TrafficRate,
}

/// The counters of a sample and their time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    time: Timestamp,
    rx: Option<Number>,
    tx: Option<Number>,
}

impl Point {
    /// The seconds from this sample to a later one.
    fn seconds_to(&self, later: &Self) -> Option<f64> {
        let nanos = later.time.as_nanos().checked_sub(self.time.as_nanos())?;
        Some(nanos as f64 / 1e9)
    }

    /// Whether the other sample can follow this one.
    fn goes_on_to(&self, later: &Self) -> bool {
        let Some(seconds) = self.seconds_to(later) else {
            return false;
        };
        let can_rise = |from: Option<Number>, to: Option<Number>| match (from, to) {
            (Some(from), Some(to)) => to
                .get()
                .checked_sub(from.get())
                .is_some_and(|rise| rise as f64 <= MOST_BYTES * (seconds + CUT)),
            // An absent counter proves nothing.
            _ => true,
        };
        can_rise(self.rx, later.rx) && can_rise(self.tx, later.tx)
    }
}

impl Flow {
    /// Takes a sample. Returns `false` if it was seen before.
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

    /// Whether the counters of the last sample are possible for this interface. A counter that fell
    /// would look like a restart to a reader who sees only the counter.
    pub fn is_believed(&self) -> bool {
        self.doubted.is_none()
    }

    /// Returns the sample from which a rate is computed, and how many seconds ago it was taken.
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
