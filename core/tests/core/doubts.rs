//! What metrics have of replies that are not to be believed as they stand, and of numbers
//! that are made of several.

use std::collections::BTreeMap;

use kubeletstats_core::scrape::Pipeline;
use serde_json::{Value, json};

use crate::{
    contexts::{Context, Sample},
    events,
    metrics::{ALL, RECEIVERS_NAMES, decoded, full_node, scrape},
    replay::config,
};

/// A node of one pod of one container, at this second, all of whose counters have the value;
/// `nano_cores` is what the container uses.
fn reply(second: u32, counter: u64, nano_cores: u64) -> Vec<u8> {
    let time = format!("2026-11-21T09:{:02}:{:02}Z", 30 + second / 60, second % 60);
    let start = "2026-11-01T00:00:00Z";
    let cgroup = json!({
        "startTime": start,
        "cpu": {"time": time, "usageNanoCores": nano_cores, "usageCoreNanoSeconds": counter},
        "memory": {"time": time, "workingSetBytes": 4096, "pageFaults": counter},
    });
    let interface =
        json!({"name": "eth0", "rxBytes": counter, "txBytes": counter, "rxErrors": counter});
    let mut network = interface.clone();
    network["time"] = time.as_str().into();
    network["interfaces"] = json!([interface]);
    let mut container = cgroup.clone();
    container["name"] = "c".into();
    let mut pod = cgroup.clone();
    pod["podRef"] = json!({"name": "p", "namespace": "n", "uid": "u"});
    pod["containers"] = json!([container]);
    pod["network"] = network.clone();
    let mut node = cgroup;
    node["nodeName"] = "node".into();
    node["network"] = network;
    node["systemContainers"] = json!([container]);
    json!({"node": node, "pods": [pod]})
        .to_string()
        .into_bytes()
}

/// By metric, its samples in each of these replies.
fn samples(options: &[(&str, &str)], replies: &[Vec<u8>]) -> Vec<BTreeMap<String, Vec<Sample>>> {
    let config = config(options);
    let mut pipeline = Pipeline::new(&config);
    let contexts = |body: &Vec<u8>| decoded(&config, &scrape(&mut pipeline, body, None));
    replies.iter().map(contexts).map(by_name).collect()
}

fn by_name(contexts: Vec<Context>) -> BTreeMap<String, Vec<Sample>> {
    let mut found = BTreeMap::<_, Vec<_>>::new();
    for family in contexts.into_iter().flat_map(|context| context.families) {
        found.entry(family.name).or_default().extend(family.samples);
    }
    found
}

const SECOND: u64 = 1_000_000_000;

/// A counter at 0 for one sample is a restart for whoever makes rates of it.
#[test]
fn a_counter_that_fell_has_no_sample() {
    let replies = [
        reply(0, 500 * SECOND, 1),
        reply(10, 0, 1),
        reply(20, 501 * SECOND, 1),
        // One that began anew is believed as soon as it has gone on.
        reply(30, SECOND, 1),
        reply(40, 2 * SECOND, 1),
    ];
    let has = [true, false, true, false, true];
    for names in [("metric_names", "prometheus"), RECEIVERS_NAMES] {
        let found = samples(&[&ALL[..], &[names]].concat(), &replies);
        let counters: Vec<_> = found[0]
            .keys()
            .filter(|name| !name.starts_with("kubeletstats_s"))
            .filter(|name| {
                let counts = [
                    "_seconds_total",
                    "_bytes_total",
                    "_errors_total",
                    "_failures_total",
                ];
                let receivers = [".cpu.time", ".network.io", ".network.errors"];
                counts
                    .iter()
                    .chain(&receivers)
                    .any(|end| name.ends_with(end))
            })
            .collect();
        assert!(counters.len() >= 8, "{counters:?}");
        for (at, (scrape, has)) in found.iter().zip(has).enumerate() {
            for name in &counters {
                // Page faults that fell, but not to 0, are as believable as any.
                if name.contains("failures") && at == 3 {
                    continue;
                }
                let is_there = scrape.contains_key(*name);
                assert_eq!(is_there, has, "{name} of sample {at}");
            }
            // What does not count is as it was.
            for name in [
                "container_memory_working_set_bytes",
                "container.memory.working_set",
            ] {
                assert_eq!(scrape.contains_key(name), found[0].contains_key(name));
            }
        }
    }
}

/// The same where only containers are wanted, whose network is their pod's.
#[test]
fn the_network_of_a_pod_that_is_not_wanted_itself_is_doubted_as_well() {
    let options = [("format", "metrics")];
    let replies = [
        reply(0, 500 * SECOND, 1),
        reply(10, 0, 1),
        reply(20, 501 * SECOND, 1),
    ];
    let found = samples(&options, &replies);
    let received = |at: usize| {
        let samples = found[at].get("container_network_receive_bytes_total");
        samples.map(|samples| samples[0].value)
    };
    let expected = [Some(500e9), None, Some(501e9)];
    assert_eq!([0, 1, 2].map(received), expected);
}

#[test]
fn a_counter_at_zero_is_none_of_what_is_in_use() {
    let cpu = |found: &BTreeMap<String, Vec<Sample>>| {
        let samples = found.get("container_cpu_usage_seconds_total");
        samples.map(|samples| samples[0].value)
    };
    let in_use = samples(&ALL, &[reply(0, 0, 120_000_000), reply(10, 0, 120_000_000)]);
    assert_eq!([cpu(&in_use[0]), cpu(&in_use[1])], [None, None]);
    assert!(in_use[0].contains_key("kubeletstats_container_cpu_usage_cores"));
    let fresh = samples(&ALL, &[reply(0, 0, 0), reply(10, SECOND, 0)]);
    assert_eq!([cpu(&fresh[0]), cpu(&fresh[1])], [Some(0.0), Some(1.0)]);
    // More than all processors of any machine in that time.
    let wrong = samples(&ALL, &[reply(0, u64::MAX - 1, 0)]);
    assert_eq!(cpu(&wrong[0]), None);
}

#[test]
fn what_has_ended_has_no_metrics() {
    let mut reply: Value = serde_json::from_slice(&reply(0, 0, 0)).expect("json");
    let container = &mut reply["pods"][0]["containers"][0];
    container["memory"]["workingSetBytes"] = 0.into();
    let found = samples(&[("format", "metrics")], &[reply.to_string().into_bytes()]);
    let of_containers = |name: &&String| name.starts_with("container_memory");
    assert_eq!(found[0].keys().find(of_containers), None);
}

/// The kubelet's own page has one series of a claim, and its labels do not say which pod's.
#[test]
fn a_claim_of_several_pods_is_one_series() {
    let mut reply: Value = serde_json::from_slice(&reply(0, SECOND, 0)).expect("json");
    let time = "2026-11-21T09:30:00Z";
    let volume = |claim: &str| json!({"name": "v", "time": time, "usedBytes": 7, "pvcRef": {"name": claim, "namespace": "n"}});
    reply["pods"][0]["volume"] = json!([volume("shared")]);
    let mut other = reply["pods"][0].clone();
    other["podRef"] = json!({"name": "q", "namespace": "n", "uid": "v"});
    let mut elsewhere = other.clone();
    elsewhere["podRef"] = json!({"name": "q", "namespace": "m", "uid": "w"});
    let pods = reply["pods"].as_array_mut().expect("a list");
    pods.extend([other, elsewhere]);
    let body = reply.to_string().into_bytes();
    // Twice: what was told is forgotten with each scrape.
    for found in samples(&ALL, &[body.clone(), body.clone()]) {
        let used = &found["kubelet_volume_stats_used_bytes"];
        let claim = |namespace: &str| {
            let labels = [
                ("namespace", namespace),
                ("persistentvolumeclaim", "shared"),
            ];
            let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
            BTreeMap::from(labels)
        };
        let labels: Vec<_> = used.iter().map(|sample| sample.labels.clone()).collect();
        assert_eq!(labels, [claim("m"), claim("n")]);
    }
    let points = samples(&[&ALL[..], &[RECEIVERS_NAMES]].concat(), &[body]);
    assert_eq!(points[0]["k8s.pod.volume.usage"].len(), 3);
}

/// The hosts' cmetrics refuses a whole context for one text that is longer, or has a NUL.
#[test]
fn a_text_that_no_host_reads_is_cut_or_mended() {
    let mut reply: Value = serde_json::from_slice(&reply(0, SECOND, 0)).expect("json");
    let volume = json!({"name": "a\0b", "time": "2026-11-21T09:30:00Z", "usedBytes": 7});
    reply["pods"][0]["volume"] = json!([volume]);
    let body = reply.to_string().into_bytes();
    let long = "\u{e9}".repeat(2_000);
    let mut told = 0;
    for names in [("metric_names", "prometheus"), RECEIVERS_NAMES] {
        let config = config(&[&ALL[..], &[names, ("cluster", &long)]].concat());
        let batch = scrape(&mut Pipeline::new(&config), &body, None);
        for context in decoded(&config, &batch) {
            let attributes = context.attributes.unwrap_or(context.static_labels);
            let cluster = attributes
                .get("cluster")
                .or(attributes.get("k8s.cluster.name"));
            assert_eq!(cluster, Some(&"\u{e9}".repeat(500)));
            let families = context.families.iter().flat_map(|family| &family.samples);
            let labels = families.filter_map(|sample| sample.labels.get("volume"));
            for name in labels.chain(attributes.get("k8s.volume.name")) {
                assert_eq!(name, "a\u{fffd}b");
                told += 1;
            }
        }
    }
    assert_eq!(told, 2);
}

/// Numbers that are made of several are those of the records of the same scrape, which other
/// tests hold to the truth.
#[test]
fn what_is_made_of_several_numbers_is_as_in_the_records() {
    let [first, body, pods] = full_node();
    let mut compared = BTreeMap::<_, usize>::new();
    for (names, scopes) in [
        (
            "prometheus",
            [
                "kubeletstats_container_",
                "kubeletstats_pod_",
                "kubeletstats_node_",
            ],
        ),
        ("opentelemetry", ["container.", "k8s.pod.", "k8s.node."]),
    ] {
        let more = [
            ("format", "both"),
            ("pod_facts", "on"),
            ("metric_names", names),
        ];
        let config = config(&[&more[..], &ALL[1..]].concat());
        let mut pipeline = Pipeline::new(&config);
        scrape(&mut pipeline, &first, Some(&pods));
        let batch = scrape(&mut pipeline, &body, None);
        let contexts = decoded(&config, &batch);
        for (_, record) in events::decode(batch.events()) {
            let kinds = ["container", "pod", "node"];
            let Some(kind) = kinds.iter().position(|kind| record["kind"] == *kind) else {
                continue;
            };
            for (field, prometheus, receivers) in [
                ("cpu_cores", "cpu_usage_cores", "cpu.usage"),
                // In Prometheus' names there is the start instead.
                ("uptime_seconds", "", "uptime"),
                (
                    "network_rx_bytes_per_second",
                    "network_receive_bytes_per_second",
                    "network.io.rate",
                ),
                (
                    "cpu_limit_utilization",
                    "cpu_limit_utilization",
                    "cpu_limit_utilization",
                ),
                (
                    "memory_request_utilization",
                    "memory_request_utilization",
                    "memory_request_utilization",
                ),
            ] {
                let Some(expected) = record[field].as_f64() else {
                    continue;
                };
                let (name, identity) = match names {
                    "prometheus" => (prometheus, ["pod", "container"]),
                    _ => (receivers, ["k8s.pod.name", "k8s.container.name"]),
                };
                if name.is_empty() {
                    continue;
                }
                let mut name = format!("{}{name}", scopes[kind]);
                if name.starts_with("container.") && name.ends_with("utilization") {
                    name = format!("k8s.{name}");
                }
                let is_its = |labels: &BTreeMap<String, String>| {
                    let said = identity.map(|key| labels.get(key).map(String::as_str));
                    let direction = labels.get("direction").is_none_or(|one| one == "receive");
                    // Of interfaces there are rates as well.
                    let interface = labels.get("interface").is_none_or(|one| one == "eth0");
                    said == ["podName", "containerName"].map(|key| record[key].as_str())
                        && direction
                        && interface
                };
                let found: Vec<_> = contexts
                    .iter()
                    .flat_map(|context| {
                        let families = context.families.iter().filter(|one| one.name == name);
                        families
                            .flat_map(|family| &family.samples)
                            .filter(|sample| {
                                let mut labels = context.attributes.clone().unwrap_or_default();
                                labels.extend(sample.labels.clone());
                                is_its(&labels)
                            })
                    })
                    .map(|sample| sample.value)
                    .collect();
                assert_eq!(found, [expected], "{name} of {record}");
                *compared.entry(name).or_default() += 1;
            }
        }
    }
    println!("{compared:#?}");
    assert!(compared.len() >= 16, "{compared:?}");
}
