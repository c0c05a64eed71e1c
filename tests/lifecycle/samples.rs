//! A kubelet whose every reply has a sample of its own, and the check that all of
//! them arrived, once.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;
use sim_kubelet::{SimKubelet, captured::of_node};
use testkit::{Child, Host, Stream};

use crate::run::wait_for_line;

const PODS: usize = 10;
pub const INTERVAL: Duration = Duration::from_millis(25);

/// How long the kubelet has to be left alone to say that nobody scrapes.
pub const SILENCE: Duration = Duration::from_millis(500);

/// Scrapes with a sample of their own each; there is nothing new in any further one.
pub const SAMPLES: usize = 780;

/// The samples lie a minute apart.
const STEP_MS: u64 = 60_000;

pub fn kubelet() -> SimKubelet {
    let first = String::from_utf8(of_node(PODS, 0)).expect("utf-8");
    let sample = |i: usize| {
        let time = format!("T{:02}:{:02}:", 10 + i / 60, i % 60);
        first.replace("T10:00:", &time).into_bytes()
    };
    let kubelet = SimKubelet::builder().replay((0..SAMPLES).map(sample).collect());
    kubelet.started()
}

/// When each container was sampled, in order of arrival, in steps from the first scrape on.
fn steps(records: &[String]) -> BTreeMap<String, Vec<u64>> {
    let mut containers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let record: Value = serde_json::from_str(record).expect("json");
        let key = format!("{}/{}", record["podUid"], record["containerName"]);
        let at = record["timestamp"].as_u64().expect("an integer");
        // All samples of a reply lie within one minute of the day.
        containers.entry(key).or_default().push(at / STEP_MS);
    }
    let first = containers.values().flatten().min().copied().unwrap_or(0);
    for steps in containers.values_mut() {
        steps.iter_mut().for_each(|step| *step -= first);
    }
    containers
}

/// Every sample that was scraped up to the last one delivered, once. The scrape
/// that was under way at the end may be missing.
pub fn assert_whole(host: &Host, records: &[String], scrapes: u64) -> usize {
    let containers = steps(records);
    let last = containers.values().flatten().max().copied().unwrap_or(0);
    for (container, mut steps) in containers {
        steps.sort_unstable();
        // A container's first sample may lack a CPU value.
        let first = steps[0];
        assert!(first <= 1, "{} {container}: begins with {first}", host.name);
        let expected: Vec<_> = (first..=last).collect();
        assert_eq!(steps, expected, "{} {container}", host.name);
    }
    assert!(last + 3 >= scrapes, "{}: {last} of {scrapes}", host.name);
    last as usize
}

/// Waits for a line that names the input and holds this, from line `from` on.
pub fn wait_for(child: &Child, from: usize, text: &str) -> String {
    let wanted = |line: &str| line.contains("kubeletstats.0") && line.contains(text);
    wait_for_line(child, from, Stream::Stderr, wanted)
}
