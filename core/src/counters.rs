//! The plugin's counters about itself, and the record that is made of them.
//!
//! | field | unit |
//! |---|---|
//! | `scrapes`, `failures`, `overruns` | count since start; while a scrape hangs for longer than its timeout, each interval counts as a failed scrape; an overrun is an interval without a scrape of its own, because the last scrape was still running |
//! | `failures_by_reason` | map of reason to count, only of reasons that occurred |
//! | `records`, `bytes` | count and bytes of msgpack that Fluent Bit has accepted since start |
//! | `last_duration_ms` | of the last scrape, from request to encoded batch |

use std::{collections::BTreeMap, time::Duration};

use crate::{error::Reason, sink::msgpack::Writer, timestamp::Timestamp};

/// All counters since the input was started. A reload resets them to zero.
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
    /// Counts a scrape that has ended, with success or without, or that counts as failed because it
    /// hangs.
    pub fn scraped(&mut self, took: Duration) {
        self.scrapes += 1;
        self.last_duration = took;
    }

    /// Counts the reason why a scrape or a callback failed.
    pub fn failed(&mut self, reason: Reason) {
        *self.failures.entry(reason.name()).or_default() += 1;
    }

    /// Counts an interval in which no scrape was started because the last one was still running.
    pub fn overran(&mut self) {
        self.overruns += 1;
    }

    /// Counts records that Fluent Bit has accepted: a batch or a part of one.
    pub fn appended(&mut self, records: usize, bytes: usize) {
        self.records += records as u64;
        self.bytes += bytes as u64;
    }

    /// The number of scrapes.
    pub fn scrapes(&self) -> u64 {
        self.scrapes
    }

    /// The number of intervals without a scrape of their own.
    pub fn overruns(&self) -> u64 {
        self.overruns
    }

    /// The number of failures by reason.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.failures
            .iter()
            .map(|(reason, count)| (*reason, *count))
    }

    /// Makes the record as one msgpack event, which is appended under `stats_tag`.
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
