//! Many nodes that were started at one moment, as a DaemonSet's pods after a change: so many
//! workers of the plugin scrape one simulated kubelet, which records when they ask. Prints the
//! most requests in a twentieth of the interval, without `jitter` and with it.
//!
//!     fleet [NODES]

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use kubeletstats_core::{counters::Counters, options::Config, worker::Worker};
use sim_kubelet::SimKubelet;

const INTERVAL: Duration = Duration::from_secs(4);
const ROUNDS: u32 = 5;

fn main() {
    let nodes = std::env::args().nth(1);
    let nodes = nodes.map_or(200, |nodes| nodes.parse().expect("a number of nodes"));
    let slot = INTERVAL / 20;
    println!("{nodes} nodes, interval {INTERVAL:?}, {ROUNDS} scrapes each");
    println!("{:>8} {:>24} {:>10}", "jitter", "most in a 20th", "evenly");
    for jitter in [Duration::ZERO, INTERVAL / 4, INTERVAL * 9 / 10] {
        let most = most_at_once(nodes, jitter, slot);
        let evenly = nodes as f64 / 20.0;
        println!("{jitter:>8?} {most:>24} {evenly:>10.1}");
    }
}

/// The requests of the fullest slot of any round but the first, in which all connect.
fn most_at_once(nodes: usize, jitter: Duration, slot: Duration) -> usize {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let mut workers: Vec<_> = (0..nodes)
        .map(|node| worker(&kubelet, node, jitter))
        .collect();
    let began = Instant::now();
    let mut first = kubelet.recorded_requests().len();
    for round in 0..ROUNDS {
        if round == 1 {
            first = kubelet.recorded_requests().len();
        }
        for worker in &mut workers {
            while worker.outcome().is_some() {}
            worker.scrape(&Counters::default());
        }
        // The hosts' timers.
        thread::sleep((INTERVAL * (round + 1)).saturating_sub(began.elapsed()));
    }
    let slots = kubelet.recorded_requests();
    let slots = slots.iter().skip(first);
    let slots = slots.map(|request| u128::from(request.at_ms) / slot.as_millis());
    let mut counts = BTreeMap::<_, usize>::new();
    for slot in slots {
        *counts.entry(slot).or_default() += 1;
    }
    counts.into_values().max().unwrap_or_default()
}

fn worker(kubelet: &SimKubelet, node: usize, jitter: Duration) -> Worker {
    let url = kubelet.url();
    let interval = format!("{}ms", INTERVAL.as_millis());
    let jitter = format!("{}ms", jitter.as_millis());
    let name = format!("ip-10-0-{}-{}", node / 250, node % 250);
    let config = Config::read(|option| match option {
        "kubelet_url" => Some(url.clone()),
        "interval" => Some(interval.clone()),
        "jitter" => Some(jitter.clone()),
        "node_name" => Some(name.clone()),
        _ => None,
    });
    Worker::start(&config.expect("options")).expect("a thread")
}
