//! What the plugin counts of itself, and the record it makes of that.
//!
//! | field | unit |
//! |---|---|
//! | `scrapes`, `failures`, `overruns` | count since start; while a scrape hangs for longer than its timeout each interval is one that failed; an overrun is an interval left out because the last scrape was still on its way |
//! | `failures_by_reason` | map of reason to count, those that occurred |
//! | `records`, `bytes` | count and bytes of msgpack handed to Fluent Bit since start |
//! | `last_duration_ms` | of the last scrape, from request to encoded batch |

use std::{collections::BTreeMap, time::Duration};

use crate::{error::Reason, sink::msgpack::Writer, timestamp::Timestamp};

/// All since the input was started. A reload starts them from zero.
#[derive(Debug, Default, Clone)]
pub struct Counters {
    scrapes: u64,
    failures: BTreeMap<&'static str, u64>,
    overruns: u64,
    records: u64,
    bytes: u64,
    last_duration: Duration,
}

impl Counters {
    /// A scrape has ended, well or not, or is counted as failed while it hangs.
    pub fn scraped(&mut self, took: Duration) {
        self.scrapes += 1;
        self.last_duration = took;
    }

    /// That scrape, or a callback, failed for this reason.
    pub fn failed(&mut self, reason: Reason) {
        *self.failures.entry(reason.name()).or_default() += 1;
    }

    /// An interval passed without a scrape of its own, since the last one was still
    /// running.
    pub fn overran(&mut self) {
        self.overruns += 1;
    }

    /// Fluent Bit has accepted so many records, which is a batch or a part of one.
    pub fn appended(&mut self, records: usize, bytes: usize) {
        self.records += records as u64;
        self.bytes += bytes as u64;
    }

    /// All scrapes.
    pub fn scrapes(&self) -> u64 {
        self.scrapes
    }

    /// Intervals without one.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// Those that failed, by reason.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.failures
            .iter()
            .map(|(reason, count)| (*reason, *count))
    }

    /// The record as one msgpack event, to be appended under `stats_tag`.
    pub fn event(&self, instance: &str, now: Timestamp) -> Vec<u8> {
        let mut events = Writer::default();
        let mut out = events.event(now);
        out.uint("timestamp", now.as_millis());
        out.text("input", instance);
        out.uint("scrapes", self.scrapes);
        out.uint("failures", self.failures.values().sum());
        let mut by_reason = out.map("failures_by_reason");
        for (reason, count) in &self.failures {
            by_reason.uint(reason, *count);
        }
        drop(by_reason);
        out.uint("overruns", self.overruns);
        out.uint("records", self.records);
        out.uint("bytes", self.bytes);
        out.float("last_duration_ms", self.last_duration.as_secs_f64() * 1e3);
        drop(out);
        events.into_bytes()
    }
}
