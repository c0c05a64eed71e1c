//! The metrics about the plugin itself. They show that a kubelet is down.

use super::{Metrics, Told, counter, gauge};
use crate::{counters::Counters, options::Config, timestamp::Timestamp};

/// The values of a successful scrape.
#[derive(Debug, Default)]
pub struct SelfMetrics {
    /// The counters, including this scrape.
    pub counters: Counters,
    /// The duration in seconds, up to the encoding.
    pub duration: f64,
    /// The size of the reply.
    pub reply_bytes: usize,
    /// The age of its newest sample, in seconds.
    pub newest_sample_age: Option<f64>,
    /// The number of all pods in the reply, of the selected ones, and of those that cannot be read.
    pub pods: [usize; 3],
}

static UP: Told = gauge(
    "kubeletstats_up",
    "Whether the last scrape of the kubelet succeeded",
    "1",
    &[],
);
static BUILD_INFO: Told = gauge(
    "kubeletstats_build_info",
    "Version of the plugin",
    "1",
    &["version"],
);
static SCRAPES: Told = counter(
    "kubeletstats_scrapes_total",
    "Scrapes since the start, including those that failed",
    &[],
);
static FAILURES: Told = counter(
    "kubeletstats_scrape_failures_total",
    "Scrapes that failed, by reason",
    &["reason"],
);
static OVERRUNS: Told = counter(
    "kubeletstats_overruns_total",
    "Scrapes skipped because the one before was still running",
    &[],
);
static DURATION: Told = gauge(
    "kubeletstats_scrape_duration_seconds",
    "Duration of the last scrape, from the request to the encoded metrics",
    "s",
    &[],
);
static REPLY_BYTES: Told = gauge(
    "kubeletstats_reply_bytes",
    "Size of the last summary that the kubelet sent",
    "By",
    &[],
);
static SAMPLE_AGE: Told = gauge(
    "kubeletstats_newest_sample_age_seconds",
    "Age of the newest sample of the last scrape",
    "s",
    &[],
);
static PODS: Told = gauge(
    "kubeletstats_pods",
    "Pods in the last summary, by state: on_node, selected or unreadable",
    "1",
    &["state"],
);
static LEFT_OUT: Told = gauge(
    "kubeletstats_left_out_samples",
    "Samples of the last scrape that were dropped because of the size limit",
    "1",
    &[],
);

/// All metrics about the plugin. After a failed scrape, there are only the first five.
pub static SELF: [&Told; 10] = [
    &UP,
    &BUILD_INFO,
    &SCRAPES,
    &FAILURES,
    &OVERRUNS,
    &DURATION,
    &REPLY_BYTES,
    &SAMPLE_AGE,
    &PODS,
    &LEFT_OUT,
];

/// Makes the context of a failed scrape. It has no metrics of the kubelet, so no old values remain.
/// The node's name is that of the last reply, if there was one.
pub fn failed(
    config: &Config,
    node: Option<&str>,
    counters: &Counters,
    now: Timestamp,
) -> super::Contexts {
    let mut metrics = Metrics::without_rows(config);
    metrics.begin(Vec::new(), node, now);
    metrics.of_any_scrape(counters, false);
    metrics.take_contexts()
}

impl Metrics {
    pub(super) fn own(&mut self, own: &SelfMetrics) {
        let left_out = self.room.left_out;
        // The limit does not apply to these.
        self.room.bytes = usize::MAX;
        self.of_any_scrape(&own.counters, true);
        self.tell(&DURATION, own.duration, &[]);
        self.tell(&REPLY_BYTES, own.reply_bytes as f64, &[]);
        if let Some(age) = own.newest_sample_age {
            self.tell(&SAMPLE_AGE, age, &[]);
        }
        for (state, count) in ["on_node", "selected", "unreadable"].iter().zip(own.pods) {
            self.tell(&PODS, count as f64, &[state]);
        }
        self.tell(&LEFT_OUT, left_out as f64, &[]);
    }

    fn of_any_scrape(&mut self, counters: &Counters, is_up: bool) {
        self.tell(&UP, f64::from(u8::from(is_up)), &[]);
        self.tell(&BUILD_INFO, 1.0, &[env!("CARGO_PKG_VERSION")]);
        self.tell(&SCRAPES, counters.scrapes() as f64, &[]);
        self.tell(&OVERRUNS, counters.overruns() as f64, &[]);
        for (reason, count) in counters.failures() {
            self.tell(&FAILURES, count as f64, &[reason]);
        }
    }
}
