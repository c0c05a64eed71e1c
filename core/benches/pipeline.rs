//! What a scrape costs after the last byte has arrived: parse, select and
//! encode, as a ratio to a pass of `serde_json` that ignores every value of the
//! same bytes. Both are timed in turn, so a slow moment of the machine hits both.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kubeletstats_core::{
    counters::Counters,
    facts::{self, Patterns, Want},
    options::Config,
    scrape::{About, Memory, Pipeline, PodsReply},
    timestamp::Timestamp,
};
use serde::de::IgnoredAny;
use sim_kubelet::{Offline, captured};

const ROUNDS: usize = 400;

struct Row {
    pods: usize,
    wanted: &'static str,
    prefix: &'static str,
    /// Largest ratio and most allocations allowed.
    budget: Option<(f64, Option<u64>)>,
}

const fn row(
    pods: usize,
    wanted: &'static str,
    prefix: &'static str,
    budget: Option<(f64, Option<u64>)>,
) -> Row {
    Row {
        pods,
        wanted,
        prefix,
        budget,
    }
}

const ROWS: [Row; 6] = [
    row(30, "2", "log-generator", None),
    row(110, "2", "log-generator", Some((0.4, Some(5)))),
    row(500, "2", "log-generator", None),
    row(30, "all", "", None),
    row(110, "all", "", Some((1.6, Some(30)))),
    row(500, "all", "", None),
];

fn main() {
    println!(
        "parse + select + encode, as a ratio to serde_json ignoring every value of the same bytes"
    );
    println!("median of {ROUNDS} pairs; every reply brings a new sample of every container\n");
    println!(
        "{:>5} {:>7} {:>9} {:>8} {:>7} {:>7} {:>7} {:>7}  verdict",
        "pods", "wanted", "bytes", "records", "ratio", "budget", "allocs", "budget"
    );
    let mut kept = true;
    for row in &ROWS {
        kept &= measure(row);
    }
    println!(
        "\nWhat more costs, as a ratio to the default of the same bytes (a node of 110 pods that writes all a kubelet has)\n"
    );
    println!(
        "{:<44} {:>8} {:>9} {:>7} {:>7}",
        "options", "events", "bytes", "ratio", "allocs"
    );
    more();
    if !kept {
        eprintln!("a budget is exceeded");
        std::process::exit(1);
    }
}

fn measure(row: &Row) -> bool {
    let bodies: Vec<Vec<u8>> = (0..8)
        .map(|sample| captured::of_node(row.pods, sample))
        .collect();
    let config = Config::read(|name| match name {
        "pod_prefix" => Some(row.prefix.to_owned()),
        _ => None,
    })
    .expect("valid options");

    let mut pipeline = Pipeline::new(&config);
    let mut memory = Vec::new();
    let mut records = 0;
    // The first pass over all bodies brings buffers and tables to their size.
    for body in &bodies {
        let batch = pipeline.run(body, memory).expect("a summary");
        records = batch.records();
        memory = batch.into_memory().logs;
    }

    let mut spare = Some(memory);
    let mut run = |body: &[u8]| {
        let memory = spare.take().unwrap_or_default();
        let batch = pipeline.run(black_box(body), memory).expect("a summary");
        spare = Some(black_box(batch).into_memory().logs);
    };
    let allocations = allocation_counter::measure(|| run(&bodies[0])).count_total;
    let mut ratios: Vec<f64> = (0..ROUNDS)
        .map(|round| {
            let body = &bodies[round % bodies.len()];
            let ours = time(|| run(body));
            let baseline = time(|| {
                black_box(serde_json::from_slice::<IgnoredAny>(black_box(body)).expect("json"));
            });
            ours.as_secs_f64() / baseline.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios[ROUNDS / 2];

    let (most, most_allocations) = match row.budget {
        Some((ratio, allocations)) => (Some(ratio), allocations),
        None => (None, None),
    };
    let kept = most.is_none_or(|most| ratio <= most)
        && most_allocations.is_none_or(|most| allocations <= most);
    let shown = |budget: Option<String>| budget.unwrap_or_else(|| "-".to_owned());
    println!(
        "{:>5} {:>7} {:>9} {:>8} {:>7.2} {:>7} {:>7} {:>7}  {}",
        row.pods,
        row.wanted,
        bodies[0].len(),
        records,
        ratio,
        shown(most.map(|most| format!("{most:.1}"))),
        allocations,
        shown(most_allocations.map(|most| most.to_string())),
        match (row.budget, kept) {
            (None, _) => "no budget",
            (Some(_), true) => "kept",
            (Some(_), false) => "EXCEEDED",
        }
    );
    kept
}

type Options = &'static [(&'static str, &'static str)];

/// What the options ask for, beside the default.
const MORE: [(&str, Options); 13] = [
    ("default, once more", &[]),
    ("fields all", &[("fields", "all")]),
    (
        "metric_groups container,pod,node",
        &[("metric_groups", "container,pod,node")],
    ),
    ("metric_groups all", &[("metric_groups", "all")]),
    (
        "metric_groups all, fields all",
        &[("metric_groups", "all"), ("fields", "all")],
    ),
    ("pod_facts on, nothing new", &[("pod_facts", "on")]),
    (
        "the same with labels and a selector",
        &[
            ("pod_facts", "on"),
            ("pod_labels", "*"),
            ("label_selector", "!none"),
        ],
    ),
    ("format metrics", &[("format", "metrics")]),
    (
        "format metrics, groups and fields all",
        &[
            ("format", "metrics"),
            ("metric_groups", "all"),
            ("fields", "all"),
        ],
    ),
    (
        "the same in opentelemetry's names",
        &[
            ("format", "metrics"),
            ("metric_names", "opentelemetry"),
            ("metric_groups", "all"),
            ("fields", "all"),
        ],
    ),
    ("format both", &[("format", "both")]),
    (
        "format both, groups and fields all",
        &[
            ("format", "both"),
            ("metric_groups", "all"),
            ("fields", "all"),
        ],
    ),
    (
        "format metrics, kube_state_metrics",
        &[
            ("format", "metrics"),
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
        ],
    ),
];

/// A pipeline that has learnt the facts, if it wants any.
struct Warm {
    pipeline: Pipeline,
    spare: Option<Memory>,
}

impl Warm {
    fn new(options: Options, bodies: &[Vec<u8>], pods: &[u8]) -> Self {
        let config = Config::read(|name| {
            let given = options.iter().find(|(key, _)| *key == name);
            given.map(|(_, value)| (*value).to_owned())
        });
        let mut pipeline = Pipeline::new(&config.expect("valid options"));
        let summary = pipeline.decode(&bodies[0]).expect("a summary");
        if pipeline.wants_facts(&summary, Instant::now()) {
            let reply = PodsReply {
                body: pods,
                url: "",
                came: Timestamp::default(),
            };
            let learnt = pipeline.learn(&summary, Instant::now(), Ok(reply));
            learnt.expect("a list of pods");
        }
        let mut warm = Self {
            pipeline,
            spare: None,
        };
        for body in bodies {
            warm.scrape(body);
        }
        warm
    }

    /// As the scraper does it; returns records, and bytes of records and metrics.
    fn scrape(&mut self, body: &[u8]) -> (usize, usize) {
        let memory = self.spare.take().unwrap_or_default();
        let summary = self.pipeline.decode(black_box(body)).expect("a summary");
        assert!(!self.pipeline.wants_facts(&summary, Instant::now()));
        let about = About {
            counters: Counters::default(),
            began: Instant::now(),
            now: Timestamp::default(),
            reply_bytes: body.len(),
        };
        let batch = black_box(self.pipeline.encode(summary, memory, Some(about)));
        let of_metrics = batch.metrics().map_or(0, |metrics| metrics.bytes.len());
        let size = (batch.records(), batch.events().len() + of_metrics);
        self.spare = Some(batch.into_memory());
        size
    }
}

fn more() {
    let second = |number: u64| 1_800_000_000_000 + number * 1_000;
    let mut node = Offline::full(110, Duration::from_secs(15), second(0));
    let bodies: Vec<_> = (4..12)
        .map(|sample| node.reply(second(sample * 21)))
        .collect();
    let pods = node.pods_reply();
    let mut default = Warm::new(&[], &bodies, &pods);
    let mut ratio_of = |work: &mut dyn FnMut(&[u8])| {
        let mut ratios: Vec<f64> = (0..ROUNDS)
            .map(|round| {
                let body = &bodies[round % bodies.len()];
                let ours = time(|| work(body));
                let usual = time(|| default.scrape(body));
                ours.as_secs_f64() / usual.as_secs_f64()
            })
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios[ROUNDS / 2]
    };
    for (name, options) in MORE {
        let mut warm = Warm::new(options, &bodies, &pods);
        let (records, bytes) = warm.scrape(&bodies[0]);
        let allocations = allocation_counter::measure(|| {
            warm.scrape(&bodies[1]);
        });
        let ratio = ratio_of(&mut |body| {
            warm.scrape(body);
        });
        let allocations = allocations.count_total;
        println!("{name:<44} {records:>8} {bytes:>9} {ratio:>7.2} {allocations:>7}");
    }
    let none = Patterns::default();
    let want = Want {
        labels: &none,
        annotations: &none,
        selector: None,
    };
    let mut read = |_: &[u8]| {
        let pods = facts::parse(black_box(&pods), &want, |_, _| true);
        drop(black_box(pods.expect("a list of pods")));
    };
    let ratio = ratio_of(&mut read);
    let name = "reading /pods, once a pod_facts_interval";
    println!("{name:<44} {:>8} {:>9} {ratio:>7.2}", "-", pods.len());
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let began = Instant::now();
    black_box(work());
    began.elapsed()
}
