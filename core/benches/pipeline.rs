//! What a scrape costs after the last byte has arrived: parse, select and
//! encode, as a ratio to a pass of `serde_json` that ignores every value of the
//! same bytes. Both are timed in turn, so a slow moment of the machine hits both.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use kubeletstats_core::{options::Config, scrape::Pipeline};
use serde::de::IgnoredAny;
use sim_kubelet::captured;

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
    row(110, "2", "log-generator", Some((1.3, Some(5)))),
    row(500, "2", "log-generator", None),
    row(30, "all", "", None),
    row(110, "all", "", Some((2.5, None))),
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
        memory = batch.into_buffer();
    }

    let mut spare = Some(memory);
    let mut run = |body: &[u8]| {
        let memory = spare.take().unwrap_or_default();
        let batch = pipeline.run(black_box(body), memory).expect("a summary");
        spare = Some(black_box(batch).into_buffer());
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

fn time(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}
