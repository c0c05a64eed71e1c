//! The catalogue beside captured replies: every leaf of theirs is a field of a record, with
//! the value its row says, read here a second time in another way; or it stands in
//! [`NO_FIELD`], with the reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use kubeletstats_core::{
    catalogue::{
        ContainerStats, Fields, Figure, Filesystem, Level, NodeStats, Part, Plan, PodStats,
        RuntimeStats, Traffic, Value as Row,
    },
    kubelet::{Client, deadline},
    select::Selector,
};
use serde_json::Value;
use sim_kubelet::SimKubelet;

use crate::replay::{config_for, fixtures, pipeline, records, summaries};

/// Leaves that are text or a switch, and the record's field each becomes.
const TEXTS: [(&str, &str); 11] = [
    ("podRef.name", "podName"),
    ("podRef.namespace", "namespace"),
    ("podRef.uid", "podUid"),
    ("nodeName", "nodeName"),
    ("startTime", "start_time"),
    ("name", "containerName"),
    ("name", "volumeName"),
    ("name", "interface"),
    ("pvcRef.name", "pvcName"),
    ("cpu.time", "timestamp_iso"),
    ("time", "timestamp_iso"),
];

/// Leaves without a field: how the path ends, and why.
const NO_FIELD: [(&str, &str); 4] = [
    (
        ".time",
        "a record has one time, the CPU's or, of a volume or an interface, its own",
    ),
    ("pvcRef.namespace", "a claim is in its pod's namespace"),
    (
        "usageNanoCores",
        "cpu and cpu_cores are made of it, and the counter may correct it",
    ),
    (
        "network.name",
        "the default interface; the record of each interface has its name",
    ),
];

/// Something of a reply that has a record of its own.
pub struct Entity {
    pub kind: &'static str,
    /// The fields by which its record is found, and what they have to be.
    pub identity: Vec<(&'static str, Value)>,
    pub json: Value,
    pub parts: Vec<Group>,
}

/// Where a group stands, how its fields begin, and its rows.
pub type Group = (String, &'static str, &'static [Row]);

fn parts(of: &[Part]) -> Vec<Group> {
    of.iter()
        .map(|part| (part.json.to_owned(), part.prefix, part.values))
        .collect()
}

/// Without what has records of its own.
fn without(json: &Value, keys: &[&str]) -> Value {
    let mut json = json.clone();
    if let Some(members) = json.as_object_mut() {
        members.retain(|key, _| !keys.contains(&key.as_str()));
    }
    json
}

fn list<'j>(json: &'j Value, key: &str) -> impl Iterator<Item = &'j Value> {
    json[key].as_array().into_iter().flatten()
}

/// The interfaces, with the time that they share.
fn interfaces(network: &Value, owner: &[(&'static str, Value)]) -> Vec<Entity> {
    let with_time = |interface: &Value| {
        let mut json = interface.clone();
        json["time"] = network["time"].clone();
        let mut identity = owner.to_vec();
        identity.push(("interface", interface["name"].clone()));
        Entity {
            kind: "interface",
            identity,
            json,
            parts: vec![(String::new(), "network", Traffic::VALUES)],
        }
    };
    list(network, "interfaces").map(with_time).collect()
}

/// A pod's or the node's own, without the interfaces.
fn with_network(json: &Value, keys: &[&str], of: &[Part]) -> (Value, Vec<Group>) {
    let mut own = without(json, keys);
    if json["network"].is_object() {
        own["network"] = without(&json["network"], &["interfaces"]);
    }
    let mut parts = parts(of);
    parts.push(("network".to_owned(), "network", Traffic::VALUES));
    (own, parts)
}

pub fn entities(reply: &Value) -> Vec<Entity> {
    let node = &reply["node"];
    let (json, mut of_node) = with_network(node, &["systemContainers"], NodeStats::PARTS);
    for (path, prefix, values) in parts(RuntimeStats::PARTS) {
        of_node.push((format!("runtime.{path}"), prefix, values));
    }
    let mut all = vec![Entity {
        kind: "node",
        identity: vec![],
        json,
        parts: of_node,
    }];
    all.extend(interfaces(&node["network"], &[("podName", Value::Null)]));
    for container in list(node, "systemContainers") {
        all.push(Entity {
            kind: "system_container",
            identity: vec![("containerName", container["name"].clone())],
            json: container.clone(),
            parts: parts(ContainerStats::PARTS),
        });
    }
    for pod in list(reply, "pods") {
        let reference = &pod["podRef"];
        let owner = [("podUid", "uid"), ("podName", "name")];
        let owner = owner.map(|(field, key)| (field, reference[key].clone()));
        let (json, of_pod) = with_network(pod, &["containers", "volume"], PodStats::PARTS);
        all.push(Entity {
            kind: "pod",
            identity: owner.to_vec(),
            json,
            parts: of_pod,
        });
        all.extend(interfaces(&pod["network"], &owner));
        let mut below = |kind, field, json: &Value, parts| {
            let mut identity = owner.to_vec();
            identity.push((field, json["name"].clone()));
            all.push(Entity {
                kind,
                identity,
                json: json.clone(),
                parts,
            });
        };
        for container in list(pod, "containers") {
            let of = parts(ContainerStats::PARTS);
            below("container", "containerName", container, of);
        }
        for volume in list(pod, "volume") {
            let of = vec![(String::new(), "volume", Filesystem::VALUES)];
            below("volume", "volumeName", volume, of);
        }
    }
    all
}

/// The leaves of an object: path and value.
pub fn leaves<'j>(json: &'j Value, path: &str, found: &mut BTreeMap<String, &'j Value>) {
    match json {
        Value::Object(members) => {
            for (key, value) in members {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                leaves(value, &path, found);
            }
        }
        Value::Null => {}
        Value::Array(_) => panic!("{path} is a list that no entity was made of"),
        leaf => drop(found.insert(path.to_owned(), leaf)),
    }
}

/// Checks each leaf; returns what is wrong, and notes which rows had a value.
fn compare(entity: &Entity, record: &Value, seen: &mut BTreeSet<String>) -> Vec<String> {
    let mut found = BTreeMap::new();
    leaves(&entity.json, "", &mut found);
    let mut wrong = Vec::new();
    for (path, leaf) in found {
        let row = entity.parts.iter().find_map(|(json, prefix, rows)| {
            let key = match json.as_str() {
                "" => path.as_str(),
                json => path.strip_prefix(json)?.strip_prefix('.')?,
            };
            rows.iter()
                .find(|row| row.json == key)
                .map(|row| (prefix, row))
        });
        if let (Some((prefix, row)), true) = (row, leaf.is_number()) {
            seen.insert(format!("{} {path}", entity.kind));
            for (_, suffix, made) in row.fields {
                let number = leaf.as_f64().expect("a number");
                // Not measured yet, which the kubelet writes as 0.
                if path.starts_with("rootfs.")
                    && path.to_lowercase().contains("used")
                    && is_pending(&entity.json["rootfs"])
                {
                    let field = format!("{prefix}{suffix}");
                    if !record[&field].is_null() {
                        wrong.push(format!(
                            "{path} is not measured, {field} {}",
                            record[&field]
                        ));
                    }
                    continue;
                }
                let expected = match *made {
                    "whole" => leaf.clone(),
                    "mebibytes" => (number / 1_048_576.0).into(),
                    "seconds" => (number / 1e6).into(),
                    "real" => number.into(),
                    other => panic!("{path} is made by {other}"),
                };
                let field = format!("{prefix}{suffix}");
                if record[&field] != expected {
                    wrong.push(format!("{path} is {expected}, {field} {}", record[&field]));
                }
            }
            if !row.fields.is_empty() {
                continue;
            }
        }
        let text = TEXTS
            .iter()
            .any(|(of, field)| *of == path && record[field] == *leaf);
        let health = path == "volumeHealthStats.abnormal"
            && leaf.as_bool().map(u64::from) == record["volume_health_abnormal"].as_u64();
        if !text && !health && !NO_FIELD.iter().any(|(end, _)| path.ends_with(end)) {
            wrong.push(format!("{path} is in no field"));
        }
    }
    wrong
}

pub fn is_pending(filesystem: &Value) -> bool {
    let time = filesystem["time"].as_str();
    time.is_some_and(|time| time.starts_with("1970"))
}

/// Why something has no record.
fn has_no_record(entity: &Entity, node: &Value) -> bool {
    let json = &entity.json;
    match entity.kind {
        // Without a rate there is none, and most captures are first samples.
        "container" => true,
        // Its file system has not been measured yet.
        "volume" => is_pending(json) || !json["time"].is_string(),
        "interface" => !json["time"].is_string(),
        // The kubelet has just started, and has nothing of it but its name.
        _ => {
            !json["cpu"]["time"].is_string()
                && !json["memory"]["time"].is_string()
                && node.is_object()
        }
    }
}

/// All captured replies, and last one of a kubelet that writes everything.
pub fn replies() -> Vec<(String, Vec<u8>)> {
    let mut replies: Vec<_> = summaries()
        .into_iter()
        .map(|path| {
            (
                path.display().to_string(),
                fs::read(path).expect("a fixture"),
            )
        })
        .collect();
    let full = SimKubelet::builder().plain_http(true).full(true).started();
    let config = config_for(&full, &[]);
    let (_stop, signal) = deadline::stop_pair().expect("a socket pair");
    let mut client = Client::new(&config, signal).expect("readable files");
    let body = client.summary().expect("a reply");
    replies.push(("the simulated kubelet".to_owned(), body));
    replies
}

#[test]
fn every_leaf_of_every_reply_is_a_field() {
    let replies = replies();
    let (mut seen, mut wrong) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
    let mut compared = 0;
    for (name, body) in &replies {
        let reply: Value = serde_json::from_slice(body).expect("json");
        let options = [("metric_groups", "all"), ("fields", "all")];
        let records = records(&mut pipeline(&options), body);
        let mut used = BTreeSet::new();
        for entity in entities(&reply) {
            let is_its = |record: &Value| {
                let mut identity = entity.identity.iter();
                record["kind"] == entity.kind
                    && identity.all(|(field, value)| record[field] == *value)
            };
            let Some(at) = records.iter().position(is_its) else {
                assert!(
                    has_no_record(&entity, &reply["node"]),
                    "{name}: {} {:?}",
                    entity.kind,
                    entity.identity
                );
                continue;
            };
            used.insert(at);
            compared += 1;
            for what in compare(&entity, &records[at], &mut seen) {
                *wrong
                    .entry(format!("{name}: {}: {what}", entity.kind))
                    .or_default() += 1;
            }
        }
        assert_eq!(used.len(), records.len(), "{name}: records of nothing");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(compared > 700, "only {compared} records compared");

    // Each row was tried.
    let mut rows = BTreeSet::new();
    let captured: Value =
        serde_json::from_slice(&replies.last().expect("a reply").1).expect("json");
    for entity in entities(&captured) {
        for (json, _, values) in &entity.parts {
            let paths = values.iter().map(|row| match json.as_str() {
                "" => row.json.to_owned(),
                json => format!("{json}.{}", row.json),
            });
            rows.extend(paths.map(|path| format!("{} {path}", entity.kind)));
        }
    }
    // The API has it; no kubelet was seen to write it.
    rows.remove("pod swap.swapAvailableBytes");
    // A system container has no file systems.
    rows.retain(|row| {
        !row.starts_with("system_container rootfs.") && !row.starts_with("system_container logs.")
    });
    assert_eq!(
        rows.difference(&seen).collect::<Vec<_>>(),
        Vec::<&String>::new()
    );
}

/// What a scope's `fields` gives.
#[derive(Default)]
struct Given(BTreeMap<String, Figure>);

impl Fields for Given {
    fn field(&mut self, prefix: &'static str, suffix: &'static str, figure: Figure) {
        let name = format!("{prefix}{suffix}");
        let before = self.0.insert(name.clone(), figure);
        assert!(before.is_none(), "{name} comes twice");
    }
}

/// What `all` adds to `basic`, it adds: nothing else changes.
#[test]
fn a_level_only_adds() {
    let body = fs::read(fixtures().join("21-k136-cgroup2-psi.summary.json")).expect("a fixture");
    let all = Selector::default()
        .parse(&body, Plan::ALL)
        .expect("a summary");
    let basic = Selector::default()
        .parse(&body, Plan::CONTAINERS)
        .expect("a summary");
    for (all, basic) in all.pods.iter().zip(&basic.pods) {
        assert_eq!(basic.stats, None);
        assert_eq!(
            (basic.volumes.len(), basic.network.interfaces.len()),
            (0, 0)
        );
        for (all, basic) in all.containers.iter().zip(&basic.containers) {
            let (mut of_all, mut of_basic) = (Given::default(), Given::default());
            all.stats.fields(Level::Least, &mut of_all);
            basic.stats.fields(Level::All, &mut of_basic);
            // The counter is decoded for the rate's sake.
            of_basic
                .0
                .retain(|name, _| !name.ends_with("core_nanoseconds"));
            of_basic.0.retain(|name, _| !name.ends_with("_used_bytes"));
            assert_eq!(of_all.0, of_basic.0);
        }
    }
}
