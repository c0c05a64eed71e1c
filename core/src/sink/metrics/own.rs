//! What the plugin tells of itself, so that a kubelet that is down shows as such.

use super::{Kind, Metrics, Naming};
use crate::{
    counters::Counters, options::Config, sink::metrics::families::External, timestamp::Timestamp,
};

/// Of a scrape that succeeded.
#[derive(Debug, Default)]
pub struct SelfMetrics {
    /// Before this scrape, and with it.
    pub counters: Counters,
    /// In seconds, up to the encoding.
    pub duration: f64,
    /// The size of the reply.
    pub reply_bytes: usize,
    /// How old the newest sample in it was, in seconds.
    pub newest_sample_age: Option<f64>,
    /// All pods of the reply, those that are wanted, and those that cannot be read.
    pub pods: [usize; 3],
}

/// What is told of a scrape that failed: a context without anything of the kubelet's, so that
/// nothing stale stays.
pub fn failed(config: &Config, counters: &Counters, now: Timestamp) -> super::Contexts {
    let mut metrics = Metrics::new(config);
    metrics.begin(Vec::new(), None);
    metrics.of_any_scrape(counters, false, now);
    let attributes = metrics.resource(None, &[]);
    match metrics.naming {
        Naming::Prometheus => metrics.write_context(None),
        Naming::OpenTelemetry => metrics.write_context(Some(&External { attributes })),
    }
    super::Contexts {
        bytes: std::mem::take(&mut metrics.out),
        count: metrics.contexts,
    }
}

impl Metrics {
    pub(super) fn own(&mut self, own: &SelfMetrics, now: Timestamp) {
        self.of_any_scrape(&own.counters, true, now);
        let mut gauge = |name: &str, about: &str, unit, value| {
            self.gauge(name, about, unit, value, now, &[]);
        };
        gauge(
            "kubeletstats_scrape_duration_seconds",
            "Of the last scrape, from request to encoded metrics",
            "s",
            own.duration,
        );
        gauge(
            "kubeletstats_reply_bytes",
            "Size of the kubelet's last summary",
            "By",
            own.reply_bytes as f64,
        );
        if let Some(age) = own.newest_sample_age {
            gauge(
                "kubeletstats_newest_sample_age_seconds",
                "How old the newest sample of the last summary was",
                "s",
                age,
            );
        }
        for (state, count) in ["on_node", "selected", "unreadable"].iter().zip(own.pods) {
            let about = "Pods in the kubelet's last summary";
            let labels = [("state", *state)];
            self.gauge("kubeletstats_pods", about, "1", count as f64, now, &labels);
        }
    }

    fn of_any_scrape(&mut self, counters: &Counters, is_up: bool, now: Timestamp) {
        let up = f64::from(u8::from(is_up));
        let about = "Whether the last scrape of the kubelet succeeded";
        self.gauge("kubeletstats_up", about, "1", up, now, &[]);
        let about = "The plugin's version";
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        self.gauge("kubeletstats_build_info", about, "1", 1.0, now, &version);
        let mut counter = |name: &str, about: &str, value: u64, labels: &[_]| {
            self.sample(name, Kind::Counter, about, "1", value as f64, now, labels);
        };
        let about = "Scrapes since the start, failed ones among them";
        counter("kubeletstats_scrapes_total", about, counters.scrapes(), &[]);
        let about = "Intervals left out because the last scrape was still on its way";
        counter(
            "kubeletstats_overruns_total",
            about,
            counters.overruns(),
            &[],
        );
        let about = "Scrapes that failed, by reason";
        for (reason, count) in counters.failures() {
            let labels = [("reason", reason)];
            counter("kubeletstats_scrape_failures_total", about, count, &labels);
        }
    }
}
