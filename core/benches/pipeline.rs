//! What a scrape costs once it has the bytes of a reply: sieve, parse, select and
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
    select::Selector,
    sieve::{PIECE, Sieve},
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
        "What one reply costs: sieve, parse, select and encode. Beside it serde_json reads the same bytes and keeps no value.\n\
ratio: our time divided by serde_json's, so 0.5 is half of it. Both are measured in turn, so a ratio holds on other\n\
machines too; the microseconds are this machine's. All are medians of {ROUNDS} pairs, and every reply brings a new sample\n\
of every container. A budget is the most that a ratio or a number of allocations may be.\n"
    );
    println!(
        "{:>5} {:>7} {:>9} {:>8} {:>8} {:>13} {:>7} {:>7} {:>7} {:>7}  verdict",
        "pods",
        "wanted",
        "bytes",
        "records",
        "us",
        "us serde_json",
        "ratio",
        "budget",
        "allocs",
        "budget"
    );
    let mut kept = true;
    for row in &ROWS {
        kept &= measure(row);
    }
    println!(
        "\nWhat options cost, on a node of 110 pods whose kubelet writes all that there is.\n\
ratio: the time with these options divided by that with the default ones, for the same reply.\n"
    );
    println!(
        "{:<44} {:>8} {:>9} {:>8} {:>7} {:>7}",
        "options", "events", "bytes", "us", "ratio", "allocs"
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
    let mut sieve = Sieve::new(Selector::new(&config));
    let mut rest = Vec::new();
    let mut spare = Some(Vec::new());
    let mut run = |body: &[u8]| {
        let memory = spare.take().unwrap_or_default();
        let body = sieve.pass(black_box(body), PIECE, &mut rest);
        let batch = pipeline.run(body, memory).expect("a summary");
        let records = batch.records();
        spare = Some(black_box(batch).into_memory().logs);
        records
    };
    // The first pass over all bodies brings buffers and tables to their size.
    let records = bodies.iter().map(|body| run(body)).last();
    let records = records.expect("a reply");
    let allocations = allocation_counter::measure(|| {
        run(&bodies[0]);
    });
    let allocations = allocations.count_total;
    let mut ours = |body: &[u8]| {
        run(body);
    };
    let cost = in_turn(&bodies, &mut ours, &mut |body| {
        black_box(serde_json::from_slice::<IgnoredAny>(black_box(body)).expect("json"));
    });
    let ratio = cost.ratio;

    let (most, most_allocations) = match row.budget {
        Some((ratio, allocations)) => (Some(ratio), allocations),
        None => (None, None),
    };
    let kept = most.is_none_or(|most| ratio <= most)
        && most_allocations.is_none_or(|most| allocations <= most);
    let shown = |budget: Option<String>| budget.unwrap_or_else(|| "-".to_owned());
    println!(
        "{:>5} {:>7} {:>9} {:>8} {:>8.0} {:>13.0} {:>7.2} {:>7} {:>7} {:>7}  {}",
        row.pods,
        row.wanted,
        bodies[0].len(),
        records,
        cost.us,
        cost.us_beside,
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
    let mut cost_of = |work: &mut dyn FnMut(&[u8])| {
        in_turn(&bodies, work, &mut |body| {
            default.scrape(body);
        })
    };
    for (name, options) in MORE {
        let mut warm = Warm::new(options, &bodies, &pods);
        let (records, bytes) = warm.scrape(&bodies[0]);
        let allocations = allocation_counter::measure(|| {
            warm.scrape(&bodies[1]);
        });
        let Cost { us, ratio, .. } = cost_of(&mut |body| {
            warm.scrape(body);
        });
        let allocations = allocations.count_total;
        println!("{name:<44} {records:>8} {bytes:>9} {us:>8.0} {ratio:>7.2} {allocations:>7}");
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
    let Cost { us, ratio, .. } = cost_of(&mut read);
    let name = "reading /pods, once a pod_facts_interval";
    println!(
        "{name:<44} {:>8} {:>9} {us:>8.0} {ratio:>7.2}",
        "-",
        pods.len()
    );
}

/// Medians: microseconds of some work and of what stands beside it, and of their ratios.
struct Cost {
    us: f64,
    us_beside: f64,
    ratio: f64,
}

fn in_turn(bodies: &[Vec<u8>], work: &mut dyn FnMut(&[u8]), beside: &mut dyn FnMut(&[u8])) -> Cost {
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let body = &bodies[round % bodies.len()];
        let (our, their) = (time(|| work(body)), time(|| beside(body)));
        ratios.push(our / their);
        ours.push(our);
        theirs.push(their);
    }
    Cost {
        us: median(ours) * 1e6,
        us_beside: median(theirs) * 1e6,
        ratio: median(ratios),
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// Seconds.
fn time<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    black_box(work());
    began.elapsed().as_secs_f64()
}
