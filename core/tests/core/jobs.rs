//! What is seen of pods that live for some seconds, as those of an orchestrator of jobs.
//! `cargo test -p kubeletstats-core --test core jobs -- --nocapture` prints the table.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use kubeletstats_core::{
    scrape::{Memory, Pipeline, PodsReply},
    timestamp::Timestamp,
};
use serde_json::Value;
use sim_kubelet::Offline;

use crate::{
    events,
    replay::{Random, pipeline, records},
};

/// A kubelet's, on average.
const SAMPLE_PERIOD: Duration = Duration::from_secs(15);
const NOW: u64 = 1_800_000_000_000;
const PODS: usize = 200;
/// In milliseconds: in so long all of them have started, each at any moment.
const SPAN: u64 = 1_000_000;

/// By name: the pods of which something was seen.
#[derive(Debug, Default)]
struct Seen {
    recorded: BTreeSet<String>,
    /// With a rate that the kubelet made itself.
    with_rate: BTreeSet<String>,
    /// Chosen by their label, and with it.
    with_labels: BTreeSet<String>,
    scrapes: usize,
    requests_for_pods: usize,
}

/// The records of a reply, with the facts of pods where they are due.
fn learned(
    pipeline: &mut Pipeline,
    body: &[u8],
    now: Instant,
    ms: u64,
    pods_reply: impl FnOnce() -> Vec<u8>,
) -> (bool, Vec<Value>) {
    let summary = pipeline.decode(body).expect("a summary");
    let asks = pipeline.wants_facts(&summary, now);
    if asks {
        let body = pods_reply();
        let came = Timestamp::since_epoch(Duration::from_millis(ms)).expect("a time");
        let reply = PodsReply {
            body: &body,
            url: "URL",
            came,
        };
        let learnt = pipeline.learn(&summary, now, Ok(reply));
        learnt.expect("a list of pods");
    }
    let batch = pipeline.encode(summary, Memory::default(), None);
    let events = events::decode(batch.events());
    (asks, events.into_iter().map(|(_, record)| record).collect())
}

/// Pods that live so long, under a scrape so often; both in milliseconds.
fn watch(life: u64, interval: u64) -> Seen {
    let mut random = Random(life * 1_000 + interval);
    let mut starts: Vec<u64> = (0..PODS).map(|_| random.below(SPAN)).collect();
    starts.sort_unstable();
    let mut node = Offline::new(1, SAMPLE_PERIOD, NOW);
    let mut plain = pipeline(&[("pod_prefix", "job-")]);
    let mut chosen = pipeline(&[
        ("pod_facts", "on"),
        ("pod_labels", "job_type"),
        ("label_selector", "job_type=report"),
    ]);
    let begun = Instant::now();
    let mut seen = Seen::default();
    let (mut next, mut ended) = (0, 0);
    for ms in (0..SPAN + life).step_by(interval as usize) {
        while next < PODS && starts[next] <= ms {
            let pod = format!("default/job-{next:03}-x7k2p");
            let started = node.start_job_pod(&pod, 100, "report", NOW + starts[next]);
            started.expect("a pod");
            next += 1;
        }
        while ended < next && starts[ended] + life <= ms {
            node.end_pod(&format!("default/job-{ended:03}-x7k2p"));
            ended += 1;
        }
        let body = node.reply(NOW + ms);
        seen.scrapes += 1;
        let reply: Value = serde_json::from_slice(&body).expect("json");
        let rates: BTreeSet<_> = reply["pods"]
            .as_array()
            .expect("pods")
            .iter()
            .filter(|pod| pod["containers"][0]["cpu"]["usageNanoCores"].as_u64() > Some(0))
            .map(|pod| pod["podRef"]["name"].as_str().expect("a name").to_owned())
            .collect();
        for record in records(&mut plain, &body) {
            let name = record["podName"].as_str().expect("a name").to_owned();
            if rates.contains(&name) {
                seen.with_rate.insert(name.clone());
            }
            seen.recorded.insert(name);
        }
        let now = begun + Duration::from_millis(ms);
        let (asked, records) = learned(&mut chosen, &body, now, NOW + ms, || node.pods_reply());
        seen.requests_for_pods += usize::from(asked);
        for record in records {
            assert_eq!(record["labels"]["job_type"], "report", "{record}");
            let name = record["podName"].as_str().expect("a name");
            seen.with_labels.insert(name.to_owned());
        }
    }
    assert_eq!(next, PODS);
    seen
}

/// A pod is seen if a scrape falls into its life, whatever else is wanted of it. The kubelet
/// knows a rate of its own only some seconds later.
#[test]
fn how_many_short_lived_pods_are_seen() {
    println!(
        "\n{:>6} {:>9} {:>14} {:>22} {:>12} {:>28}",
        "life",
        "interval",
        "with a record",
        "with a rate of kubelet",
        "with labels",
        "/pods asked, of 100 scrapes"
    );
    for life in [3, 5, 8, 15, 30] {
        for interval in [2, 5, 10] {
            let seen = watch(life * 1_000, interval * 1_000);
            let percent =
                |pods: &BTreeSet<String>| (100.0 * pods.len() as f64 / PODS as f64).round();
            println!(
                "{life:>4} s {interval:>7} s {:>12} % {:>20} % {:>10} % {:>28}",
                percent(&seen.recorded),
                percent(&seen.with_rate),
                percent(&seen.with_labels),
                100 * seen.requests_for_pods / seen.scrapes
            );
            assert_eq!(seen.with_labels, seen.recorded, "a label costs no record");
            let expected = (life as f64 / interval as f64).min(1.0);
            let share = seen.recorded.len() as f64 / PODS as f64;
            assert!((share - expected).abs() < 0.11, "{life} s: {share}");
            assert!(seen.with_rate.is_subset(&seen.recorded));
        }
    }
}

/// Of a pod that has just started the record has all that `/pods` knows.
#[test]
fn a_record_says_which_job_it_was() {
    let mut node = Offline::new(1, SAMPLE_PERIOD, NOW);
    let job = "default/report-29403360-x7k2p";
    node.start_job_pod(job, 100, "report", NOW).expect("a pod");
    let mut pipeline = pipeline(&[
        ("pod_facts", "on"),
        ("label_selector", "job_type"),
        ("pod_labels", "job_type"),
    ]);
    let ms = NOW + 1_000;
    let body = node.reply(ms);
    let (_, records) = learned(&mut pipeline, &body, Instant::now(), ms, || {
        node.pods_reply()
    });
    let [record] = records.as_slice() else {
        panic!("one container: {records:?}");
    };
    for (field, expected) in [
        ("workload_kind", "CronJob"),
        ("workload_name", "report"),
        ("phase", "Running"),
        ("container_type", "app"),
        ("state", "running"),
    ] {
        assert_eq!(record[field], expected, "{field}: {record}");
    }
    assert_eq!(record["labels"]["job_type"], "report");
    for field in ["qos_class", "image", "container_id"] {
        assert!(record[field].is_string(), "{field}: {record}");
    }
    assert_eq!(record["restart_count"], 0);
}
