//! Captured replies beside the records they give.
//!
//! `GOLDEN=rewrite cargo test --test golden` writes the expected files anew.
//! What they hold is checked a second time here, field by field, against the
//! captured JSON read in another way.

use std::{collections::BTreeSet, fs, path::Path};

use kubeletstats_core::{
    catalogue::{Level, Plan},
    health::Missing,
    summary::{self, Malformed},
};
use serde_json::{Value, json};

use crate::{
    events,
    replay::{fixtures, pipeline, records, summaries},
};

#[test]
fn log_generators_of_the_default_namespace() {
    let options = [
        ("namespace", "default"),
        ("pod_prefix", "log-generator"),
        ("region", "eu-1"),
    ];
    for path in summaries() {
        compare(&path, "records", &options);
    }
}

/// Each kind with all its fields, of a recent kubelet and of one without `eth0`.
#[test]
fn every_kind_of_record() {
    let options = [
        ("metric_groups", "all"),
        ("fields", "all"),
        ("cluster", "c1"),
    ];
    for name in ["21-k136-cgroup2-psi", "23-hostnetwork-no-eth0"] {
        let path = fixtures().join(format!("{name}.summary.json"));
        compare(&path, "all-records", &options);
    }
}

/// A kubelet puts one space behind each colon, and that form has a way of its own in the decoder.
#[test]
fn the_space_behind_a_colon_changes_nothing() {
    for path in summaries() {
        let spaced = fs::read_to_string(&path).expect("a fixture");
        let dense = spaced.replace("\": ", "\":");
        assert_ne!(spaced, dense);
        for level in [Level::Least, Level::Basic, Level::All] {
            let plan = Plan { level, ..Plan::ALL };
            let read = |text: &str| {
                let summary = summary::parse(text.as_bytes(), plan, |_| true);
                format!("{:?}", summary.expect("a summary"))
            };
            assert_eq!(read(&spaced), read(&dense), "{}, {level:?}", path.display());
        }
    }
}

/// A broken value of `podRef` breaks the reply if it has no end, and else its pod alone.
#[test]
fn a_pod_without_an_identity_is_dropped() {
    let parse = |reference: &str| {
        let body = format!(r#"{{"pods":[{{"podRef":{reference}}}]}}"#);
        let summary = summary::parse(body.as_bytes(), Plan::CONTAINERS, |_| true);
        summary.map(|summary| summary.pods_unreadable)
    };
    for reference in ["null", "17", r#"{"name":1}"#, r#"{"name" "a"}"#] {
        assert_eq!(parse(reference), Ok(1), "{reference}");
    }
    assert_eq!(parse("?"), Err(Malformed::NotJson(19)));
    assert_eq!(parse(r#"{"name":["a"}}"#), Err(Malformed::NotJson(31)));
}

/// What a reply gives with these options, beside what stands in the file next to it.
fn compare(path: &Path, extension: &str, options: &[(&str, &str)]) {
    let body = fs::read(path).expect("a fixture");
    let got = records(&mut pipeline(options), &body);
    let expected = path.with_extension(extension);
    let text: String = got.iter().map(|record| format!("{record}\n")).collect();
    if std::env::var_os("GOLDEN").is_some() {
        fs::write(&expected, &text).expect("writable fixtures");
    }
    let want = fs::read_to_string(&expected).expect("expected records: make golden");
    assert_eq!(text, want, "{}", expected.display());
}

/// One uid on two nodes. The consumer's tests store these records.
#[test]
fn static_pods_of_one_manifest() {
    for node in ["a", "b"] {
        let name = format!("field-reports/16-static-pod-node-{node}.summary.json");
        compare(&fixtures().join(name), "records", &[]);
    }
}

/// The mapping of the documentation, written a second time over plain JSON.
fn expected(reply: &Value, pod: &Value, container: &Value) -> Option<Value> {
    let number = |value: &Value| value.as_u64();
    let parse = |time| {
        time::OffsetDateTime::parse(time, &time::format_description::well_known::Rfc3339)
            .expect("a time")
    };
    let time = [&container["cpu"]["time"], &container["memory"]["time"]]
        .into_iter()
        .find_map(Value::as_str)?;
    let at = parse(time);
    let counter = number(&container["cpu"]["usageCoreNanoSeconds"]).filter(|n| *n > 0);
    let age = (at - parse(container["startTime"].as_str()?)).whole_seconds();
    let nano_cores = match number(&container["cpu"]["usageNanoCores"]) {
        Some(0) | None if age <= 120 => counter? as f64 / age.max(1) as f64,
        Some(0) => counter.map(|_| 0.0)?,
        instant => instant? as f64,
    };
    let node = &reply["node"]["nodeName"];
    let mut record = json!({
        "timestamp": (at.unix_timestamp_nanos() / 1_000_000) as u64,
        "timestamp_iso": time,
        "service": container["name"],
        "podName": pod["podRef"]["name"],
        "namespace": pod["podRef"]["namespace"],
        "podUid": pod["podRef"]["uid"],
        "containerName": container["name"],
        "nodeName": node,
        "cpu": nano_cores / 1e7,
        "cpu_cores": nano_cores / 1e9,
        "metadata": {"node": node, "namespace": pod["podRef"]["namespace"]},
    });
    let rootfs = &container["rootfs"];
    let pending = rootfs["time"] == "1970-01-01T00:00:00Z" && rootfs["usedBytes"] == 0;
    let disk = number(&rootfs["usedBytes"])
        .or_else(|| number(&container["logs"]["usedBytes"]))
        .filter(|_| !pending);
    for (mib, name, bytes) in [
        (
            "memory",
            "memory_bytes",
            number(&container["memory"]["workingSetBytes"]),
        ),
        ("disk", "disk_bytes", disk),
    ] {
        if let Some(bytes) = bytes {
            record[mib] = json!(bytes as f64 / 1_048_576.0);
            record[name] = json!(bytes);
        }
    }
    for (name, counter) in [("network_in", "rxBytes"), ("network_out", "txBytes")] {
        let network = &pod["network"];
        let interfaces = network["interfaces"].as_array();
        let only = || match interfaces?.as_slice() {
            [only] => number(&only[counter]),
            _ => None,
        };
        if let Some(bytes) = number(&network[counter]).or_else(only) {
            record[name] = json!(bytes);
        }
    }
    Some(record)
}

/// The default record, read here a second time. What is added to it is the catalogue's to
/// try, and the expected records' to show.
#[test]
fn every_field_of_every_container_is_what_the_reply_says() {
    let mut read = Vec::new();
    for path in summaries() {
        let body = fs::read(&path).expect("a fixture");
        let reply: Value = serde_json::from_slice(&body).expect("json");
        let mut want: Vec<Value> = Vec::new();
        for pod in reply["pods"].as_array().into_iter().flatten() {
            for container in pod["containers"].as_array().into_iter().flatten() {
                want.extend(expected(&reply, pod, container));
            }
        }
        read.push((path, records(&mut pipeline(&[]), &body), want));
    }
    let fields = |record: &Value| record.as_object().expect("a map").keys().cloned().collect();
    let known = read.iter().flat_map(|(.., want)| want);
    let known: BTreeSet<String> = known
        .flat_map(|record| -> Vec<_> { fields(record) })
        .collect();
    let mut compared = 0;
    for (path, mut got, mut want) in read {
        let key = |record: &Value| format!("{}{}", record["podUid"], record["containerName"]);
        got.sort_by_key(key);
        want.sort_by_key(key);
        for record in &mut got {
            let record = record.as_object_mut().expect("a map");
            record.retain(|field, _| known.contains(field));
        }
        assert_eq!(got, want, "{}", path.display());
        compared += got.len();
    }
    assert!(compared > 100, "only {compared} records compared");
}

#[test]
fn a_restart_of_a_container_gives_no_rate_over_it() {
    let read = |name: &str| fs::read(fixtures().join(name)).expect("a fixture");
    let mut pipeline = pipeline(&[("pod_prefix", "log-generator-b"), ("cpu_source", "counter")]);
    let steps = [
        ("03a-before-restart-of-log-generator-b.summary.json", 0),
        ("03b-during-restart-pod-absent.summary.json", 0),
        ("03c-just-after-restart.summary.json", 0),
        ("03d-after-restart-settled.summary.json", 1),
    ];
    for (name, want) in steps {
        assert_eq!(
            records(&mut pipeline, &read(name)).len(),
            want,
            "counter rates after {name}"
        );
    }
}

/// Same name, new uid, no window of the kubelet's yet: its counter is compared with
/// its own start and not with the pod before.
#[test]
fn a_pod_made_anew_under_its_name_is_another_pod() {
    let read = |name: &str| fs::read(fixtures().join(name)).expect("a fixture");
    let mut pipeline = pipeline(&[("pod_prefix", "log-generator-b")]);
    let before = read("03d-after-restart-settled.summary.json");
    assert_eq!(records(&mut pipeline, &before).len(), 1);
    let after = read("05c-pod-manifest-changed-new-uid.summary.json");
    let got = records(&mut pipeline, &after);
    let reply: Value = serde_json::from_slice(&after).expect("json");
    let is_new = |pod: &&Value| pod["podRef"]["name"] == "log-generator-b-vm";
    let pod = reply["pods"].as_array().expect("pods").iter().find(is_new);
    let pod = pod.expect("the new pod");
    assert_eq!(
        got,
        [expected(&reply, pod, &pod["containers"][0]).expect("a record")]
    );
}

/// Whatever is wrong with one pod, the records of the others are the same.
#[test]
fn one_broken_pod_costs_one_pod() {
    let body = fs::read(fixtures().join("02-steady-open.summary.json")).expect("a fixture");
    let reply: Value = serde_json::from_slice(&body).expect("json");
    let is_of_b = |record: &Value| record["podName"] == "log-generator-b-vm";
    let mut sound = records(&mut pipeline(&[]), &body);
    sound.retain(|record| !is_of_b(record));
    let pods = reply["pods"].as_array().expect("pods");
    let pod = pods
        .iter()
        .find(|pod| pod["podRef"]["name"] == "log-generator-b-vm");
    let pod = pod.expect("the pod").to_string();
    assert!(sound.len() > 5 && pod.contains(r#""name":"log-generator""#));

    // Text of the pod, and what stands there instead.
    let changes: [(&str, &[u8]); 14] = [
        (r#""containers":["#, br#""containers":[null,"#),
        (r#""containers":["#, br#""containers":7,"x":["#),
        (r#""name":"log-generator""#, br#""name":null"#),
        (r#""name":"log-generator""#, b"\"name\":\"\xff\xfe\""),
        (r#""name":"log-generator""#, br#""name":"\ud800""#),
        (r#""name":"log-generator""#, br#""name":7"#),
        (r#""startTime":""#, br#""startTime":{},"x":""#),
        (r#""cpu":{"#, br#""cpu":"x","y":{"#),
        (r#""memory":{"#, br#""memory":7,"y":{"#),
        (r#""network":{"#, br#""network":7,"y":{"#),
        (r#""podRef":{"#, br#""podRef":null,"y":{"#),
        (r#""podRef":{"#, br#""podRef":{"uid":[],"x":"#),
        (
            r#""usageCoreNanoSeconds":"#,
            br#""usageCoreNanoSeconds":NaN,"x":"#,
        ),
        (r#""rootfs":{"#, br#""rootfs" {"#),
    ];
    for (text, instead) in changes {
        let mut changed = Vec::new();
        let (before, after) = pod.split_once(text).expect(text);
        for part in [before.as_bytes(), instead, after.as_bytes()] {
            changed.extend_from_slice(part);
        }
        let name = String::from_utf8_lossy(instead).into_owned();
        let mut others: Vec<Vec<u8>> = pods
            .iter()
            .filter(|pod| pod["podRef"]["name"] != "log-generator-b-vm")
            .map(|pod| pod.to_string().into_bytes())
            .collect();
        others.insert(3, changed);
        let body = [
            format!(r#"{{"node":{},"pods":["#, reply["node"]).into_bytes(),
            others.join(&b","[..]),
            b"]}".to_vec(),
        ]
        .concat();
        let batch = pipeline(&[]).run(&body, Vec::new()).expect(&name);
        assert_eq!(batch.pods_unreadable, 1, "{name}");
        let mut got: Vec<Value> = events::decode(batch.events())
            .into_iter()
            .map(|(_, record)| record)
            .collect();
        got.retain(|record| !is_of_b(record));
        assert_eq!(got, sound, "{name}");
    }
}

/// Pods that have ended lack nothing; what the others lack is seen in every host.
#[test]
fn pods_that_have_ended_lack_nothing() {
    let steady = fs::read(fixtures().join("02-steady-open.summary.json")).expect("a fixture");
    let mut reply: Value = serde_json::from_slice(&steady).expect("json");
    for pod in reply["pods"].as_array_mut().expect("pods") {
        for container in pod["containers"].as_array_mut().expect("containers") {
            container["cpu"]["usageNanoCores"] = json!(0);
            container["cpu"]["usageCoreNanoSeconds"] = json!(0);
            container["memory"]["workingSetBytes"] = json!(0);
        }
    }
    let batch = pipeline(&[]).run(reply.to_string().as_bytes(), Vec::new());
    let batch = batch.expect("a summary");
    assert_eq!((batch.records(), Missing::of(&batch)), (0, None));
}
