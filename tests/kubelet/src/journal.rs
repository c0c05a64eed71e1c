//! Owns what was received: counters, and the latest requests. A test can wait here.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    respond::below_proxy,
    sync::{lock, wait_until},
};

/// Enough for a long suite, and a limit for an endless one.
const KEPT: usize = 10_000;

/// One request as it arrived, before it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    pub method: String,
    /// Path and query as sent.
    pub target: String,
    pub headers: Vec<(String, String)>,
    /// Whether it had an `Authorization` header.
    pub had_authorization: bool,
    /// When it arrived, in milliseconds since the epoch.
    pub at_ms: u64,
}

#[derive(Debug, Default)]
pub struct Journal {
    seen: Mutex<Seen>,
    arrived: Condvar,
    pub connections: AtomicU64,
    pub handshakes: AtomicU64,
    pub replies: AtomicU64,
    last_reply: Mutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct Seen {
    requests: u64,
    by_path: HashMap<String, u64>,
    latest: VecDeque<RecordedRequest>,
}

impl Seen {
    fn of(&self, path: &str) -> u64 {
        self.by_path.get(path).copied().unwrap_or_default()
    }
}

impl Journal {
    pub fn record(&self, request: RecordedRequest) {
        let mut seen = lock(&self.seen);
        seen.requests += 1;
        let path = request.target.split('?').next().unwrap_or_default();
        *seen
            .by_path
            .entry(below_proxy(path).to_owned())
            .or_default() += 1;
        if seen.latest.len() == KEPT {
            seen.latest.pop_front();
        }
        seen.latest.push_back(request);
        self.arrived.notify_all();
    }

    /// Notes that the last byte of a reply was sent.
    pub fn replied(&self) {
        *lock(&self.last_reply) = Some(Instant::now());
        count(&self.replies);
    }

    pub fn last_reply(&self) -> Option<Instant> {
        *lock(&self.last_reply)
    }

    pub fn requests(&self) -> u64 {
        lock(&self.seen).requests
    }

    pub fn latest(&self) -> Vec<RecordedRequest> {
        lock(&self.seen).latest.iter().cloned().collect()
    }

    /// The number of requests for that path, directly or through the API server's proxy.
    pub fn requests_of(&self, path: &str) -> u64 {
        lock(&self.seen).of(path)
    }

    /// Returns true when `count` requests for that path have arrived, or false at the
    /// deadline.
    pub fn wait_for_requests_of(&self, path: &str, count: u64, patience: Duration) -> bool {
        wait_until(&self.seen, &self.arrived, patience, |seen| {
            seen.of(path) >= count
        })
    }

    /// Returns true when `count` requests have arrived since the start, or false at the
    /// deadline.
    pub fn wait_for_requests(&self, count: u64, patience: Duration) -> bool {
        wait_until(&self.seen, &self.arrived, patience, |seen| {
            seen.requests >= count
        })
    }
}

/// Increases a counter by one, and returns its new value.
pub fn count(counter: &AtomicU64) -> u64 {
    counter.fetch_add(1, Ordering::Relaxed) + 1
}
