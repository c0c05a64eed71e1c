//! What has to hold for any input. The fuzz targets and `core/tests/core/properties.rs`
//! share it; both have `core/tests/core/events.rs` as their module `events`, and `contexts.rs`
//! beside it as `contexts`.
#![allow(dead_code)]

use std::{
    collections::HashSet,
    sync::LazyLock,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use kubeletstats_core::{
    catalogue::Plan,
    counters::Counters,
    error::Reason,
    options::{Config, OPTIONS},
    scrape::{About, Memory, Pipeline},
    select::{self, Selector},
    sieve::Sieve,
    summary::Malformed,
    timestamp::Timestamp,
};
use serde::de::IgnoredAny;
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{contexts, events};

/// A reply may take so many bytes of memory for each of its own, and so many more for the
/// first pod.
const MOST_PER_BYTE: u64 = 128;
const MOST_AT_FIRST: u64 = 64 << 10;

/// In how many bytes at a time a reply arrives.
const PIECES: [usize; 5] = [1, 7, 100, 4096, 16 << 10];

type Given = &'static [(&'static str, &'static str)];

/// What an input's first byte chooses from.
pub const OPTION_SETS: [Given; 7] = [
    &[],
    &[("namespace", "default"), ("pod_prefix", "log-generator")],
    &[("cpu_source", "counter")],
    &[("cpu_source", "instant"), ("repeat_samples", "true")],
    &[
        ("namespace", "default,n"),
        ("service", "s"),
        ("region", "r"),
        ("node_name", "m"),
    ],
    &[("pod_prefix", "p,web,log-"), ("repeat_samples", "true")],
    &[("exclude_pod_prefix", "log-generator-a,other")],
];

/// One byte for the options, then replies of one kubelet with a NUL between
/// them, which JSON never holds. Each reply comes twice.
pub fn summary(input: &[u8]) {
    let Some((first, replies)) = input.split_first() else {
        return;
    };
    // Reading options is not what is tested here, and takes as long.
    static CONFIGS: LazyLock<[Config; OPTION_SETS.len()]> =
        LazyLock::new(|| OPTION_SETS.map(|given| read(given).expect("valid options")));
    let config = &CONFIGS[usize::from(*first) % CONFIGS.len()];
    let mut scrapes = Scrapes::new(config);
    let mut sieved = Sieved::new(config);
    for reply in replies.split(|byte| *byte == 0) {
        scrapes.reply(reply);
        scrapes.same_again(reply);
        sieved.is_the_same(reply, PIECES[reply.len() % PIECES.len()]);
    }
    metrics(*first, replies);
}

/// A sieve for one reply after the other.
pub struct Sieved {
    selector: Selector,
    sieve: Sieve,
    rest: Vec<u8>,
}

impl Sieved {
    pub fn new(config: &Config) -> Self {
        let selector = Selector::new(config);
        Self {
            sieve: Sieve::new(selector.clone()),
            selector,
            rest: Vec::new(),
        }
    }

    /// What it leaves of a reply that arrives in pieces of this size decodes to the same, errors
    /// included. Returns the length of that.
    pub fn is_the_same(&mut self, reply: &[u8], piece: usize) -> usize {
        let body = self.sieve.pass(reply, piece, &mut self.rest);
        let left = self.selector.parse(body, Plan::ALL);
        let left = left.map_err(|error| self.sieve.in_whole(error));
        let whole = self.selector.parse(reply, Plan::ALL);
        let (left, whole) = (format!("{left:?}"), format!("{whole:?}"));
        assert!(left == whole, "pieces of {piece}: {left}, not {whole}");
        body.bytes.len()
    }
}

/// The same replies as metrics, in one naming or the other: a host can read them, and no
/// series is there twice.
pub fn metrics(first: u8, replies: &[u8]) {
    static CONFIGS: LazyLock<[Config; 2]> = LazyLock::new(|| {
        ["prometheus", "opentelemetry"].map(|names| {
            let given = [
                ("format", "metrics"),
                ("metric_names", names),
                ("metric_groups", "all"),
                ("fields", "all"),
            ];
            let mut config = read(&given).expect("valid options");
            config.dialect.has_units = names == "opentelemetry";
            config
        })
    });
    let config = &CONFIGS[usize::from(first) % CONFIGS.len()];
    let mut pipeline = Pipeline::new(config);
    let mut memory = Memory::default();
    for reply in replies.split(|byte| *byte == 0) {
        let Ok(summary) = pipeline.decode(reply) else {
            continue;
        };
        let about = About {
            counters: Counters::default(),
            began: Instant::now(),
            now: Timestamp::default(),
            reply_bytes: reply.len(),
        };
        let batch = pipeline.encode(summary, memory, Some(about));
        let metrics = batch.metrics().expect("those of the plugin, at least");
        contexts::decode(&metrics.bytes, metrics.count, config.dialect.has_units);
        memory = batch.into_memory();
    }
}

/// A pipeline with its options, and what is asserted of every scrape.
pub struct Scrapes<'c> {
    config: &'c Config,
    pipeline: Pipeline,
    memory: Vec<u8>,
}

impl<'c> Scrapes<'c> {
    pub fn new(config: &'c Config) -> Self {
        Self {
            pipeline: Pipeline::new(config),
            config,
            memory: Vec::new(),
        }
    }

    /// The records of one reply; `None` for what is no summary.
    pub fn reply(&mut self, body: &[u8]) -> Option<Vec<Value>> {
        let memory = std::mem::take(&mut self.memory);
        let mut outcome = None;
        let used = measure(|| outcome = Some(self.pipeline.run(body, memory)));
        let most = MOST_PER_BYTE * body.len() as u64 + MOST_AT_FIRST;
        assert!(
            used.bytes_max <= most,
            "{} bytes of {}",
            used.bytes_max,
            body.len()
        );
        let selector = Selector::new(self.config);
        let used = measure(|| drop(selector.parse(body, Plan::ALL)));
        assert!(
            used.bytes_max <= most,
            "{} bytes of all of {}",
            used.bytes_max,
            body.len()
        );
        let batch = match outcome.expect("it has run") {
            Ok(batch) => batch,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                let no_json = matches!(error, Malformed::Cut | Malformed::NotJson(_));
                let is_json = serde_json::from_slice::<IgnoredAny>(body).is_ok();
                assert!(!(no_json && is_json), "json is refused: {error}");
                return None;
            }
        };
        let events = events::decode(batch.events());
        assert_eq!(events.len(), batch.records());
        for (time, record) in &events {
            assert_consistent(self.config, *time, record);
        }
        self.memory = batch.into_memory().logs;
        Some(events.into_iter().map(|(_, record)| record).collect())
    }

    /// The last reply once more: nothing in it is new.
    pub fn same_again(&mut self, body: &[u8]) {
        let selector = Selector::new(self.config);
        let Ok(mut parsed) = selector.parse(body, Plan::CONTAINERS) else {
            assert!(self.reply(body).is_none(), "accepted the second time");
            return;
        };
        select::newest_of_each_name(&mut parsed.pods);
        let mut keys = HashSet::new();
        let mut containers = 0;
        for pod in &parsed.pods {
            let uid = match pod.uid.as_ref() {
                "" => format!("{}/{}", pod.namespace, pod.name),
                uid => uid.to_owned(),
            };
            for container in &pod.containers {
                containers += 1;
                keys.insert((uid.clone(), container.name.to_string()));
            }
        }
        let records = self.reply(body).expect("accepted the first time").len();
        assert!(records <= containers, "{records} records of {containers}");
        // Two pods of one uid share their containers' samples.
        if keys.len() == containers && !self.config.repeat_samples {
            assert_eq!(records, 0, "nothing is new");
        }
    }
}

pub fn read(given: &[(&str, &str)]) -> kubeletstats_core::error::Result<Config> {
    Config::read(|name| {
        let given = given.iter().find(|(key, _)| *key == name);
        given.map(|(_, value)| value.to_string())
    })
}

/// A record agrees with its event's time, with itself and with the options.
fn assert_consistent(config: &Config, time: events::Time, record: &Value) {
    let text = |name: &str| record[name].as_str().unwrap_or_else(|| panic!("{name}"));
    let float = |name: &str| {
        let number = record[name].as_f64().unwrap_or_else(|| panic!("{name}"));
        assert!(number.is_finite() && number >= 0.0, "{name} is {number}");
        number
    };

    let (seconds, nanos) = time;
    assert!(nanos < 1_000_000_000);
    let millis = u64::from(seconds) * 1000 + u64::from(nanos) / 1_000_000;
    assert_eq!(record["timestamp"], millis);
    let iso = OffsetDateTime::parse(text("timestamp_iso"), &Rfc3339).expect("rfc 3339");
    assert_eq!(iso.unix_timestamp(), i64::from(seconds));
    assert_eq!(iso.nanosecond(), nanos);

    let (percent, cores) = (float("cpu"), float("cpu_cores"));
    assert!((percent - 100.0 * cores).abs() <= percent * 1e-9);
    for (mib, bytes) in [("memory", "memory_bytes"), ("disk", "disk_bytes")] {
        assert_eq!(record.get(mib).is_some(), record.get(bytes).is_some());
        if let Some(bytes) = record.get(bytes) {
            let bytes = bytes.as_u64().expect("whole");
            assert_eq!(float(mib), bytes as f64 / 1_048_576.0);
        }
    }
    for counter in ["network_in", "network_out"] {
        assert!(record.get(counter).is_none_or(Value::is_u64), "{counter}");
    }

    let (namespace, pod) = (text("namespace"), text("podName"));
    let namespaces = &config.namespaces;
    assert!(namespaces.is_empty() || namespaces.iter().any(|n| n == namespace));
    let prefixes = &config.pod_prefixes;
    assert!(prefixes.is_empty() || prefixes.iter().any(|p| pod.starts_with(p.as_str())));
    assert!(record["podUid"].is_string() && record["containerName"].is_string());
    let service = config.service.as_deref();
    assert_eq!(
        text("service"),
        service.unwrap_or_else(|| text("containerName"))
    );
    if let Some(node) = &config.node_name {
        assert_eq!(record["nodeName"], node.as_str());
    }
    let metadata = &record["metadata"];
    assert_eq!(metadata["namespace"], namespace);
    assert_eq!(metadata.get("node"), record.get("nodeName"));
    assert_eq!(
        metadata.get("region").and_then(Value::as_str),
        config.region.as_deref()
    );

    let known = [
        "timestamp",
        "timestamp_iso",
        "service",
        "podName",
        "namespace",
        "podUid",
        "containerName",
        "nodeName",
        "cpu",
        "cpu_cores",
        "memory",
        "memory_bytes",
        "disk",
        "disk_bytes",
        "network_in",
        "network_out",
        "metadata",
    ];
    let fields = record.as_object().expect("a map");
    assert!(fields.keys().all(|name| known.contains(&name.as_str())));
}

/// Options with a NUL between them: the first byte of each chooses one by its
/// place in the table, the rest is its text.
pub fn options(input: &[u8]) {
    let given: Vec<(&str, String)> = input
        .split(|byte| *byte == 0)
        .filter_map(|part| part.split_first())
        .map(|(which, text)| {
            let option = &OPTIONS[usize::from(*which) % OPTIONS.len()];
            (option.name, String::from_utf8_lossy(text).into_owned())
        })
        .collect();
    let given: Vec<_> = given.iter().map(|(n, v)| (*n, v.as_str())).collect();
    option_values(&given);
}

/// Accepted with every value in its range, or refused in one line.
pub fn option_values(given: &[(&str, &str)]) -> Option<Config> {
    let config = match read(given) {
        Ok(config) => config,
        Err(error) => {
            assert_eq!(error.reason(), Reason::Option);
            let line = error.to_string();
            assert_one_line(&line);
            assert!(line.chars().count() < 500, "{} long", line.len());
            let named = |(name, _): &(&str, &str)| line.starts_with(&format!("option {name}"));
            assert!(given.iter().any(named), "{line}");
            return None;
        }
    };
    let range = Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3600);
    assert!(range.contains(&config.interval) && range.contains(&config.timeout));
    for item in config.namespaces.iter().chain(&config.pod_prefixes) {
        assert!(!item.is_empty() && item.trim() == item && !item.contains(','));
    }
    let url = &config.url;
    assert!(!url.host.is_empty() && url.port > 0);
    assert!(url.summary.ends_with("/stats/summary"), "{}", url.summary);
    assert_eq!(url.summary.starts_with("https://"), url.https);
    let (_, after_scheme) = url.summary.split_once("://").expect("a scheme");
    let authority = after_scheme.split('/').next().unwrap_or_default();
    assert!(!authority.contains('@') && authority.contains(url.host.as_str()));
    assert!(!url.summary.contains(['?', '#']), "{}", url.summary);
    assert_one_line(&url.summary);
    assert_one_line(&config.announcement());
    Some(config)
}

pub fn assert_one_line(text: &str) {
    assert!(!text.is_empty());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}
