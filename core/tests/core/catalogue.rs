//! The catalogue beside captured replies: no number of theirs is left out, and each comes
//! out as its row says, read here a second time in another way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use kubeletstats_core::{
    catalogue::{
        ContainerStats, Fields, Figure, Filesystem, Level, NodeStats, Part, Plan, PodStats,
        RuntimeStats, Traffic,
    },
    select::Selector,
};
use serde_json::Value;

use crate::replay::{fixtures, summaries};

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

fn at<'j>(json: &'j Value, path: &str) -> &'j Value {
    path.split('.')
        .filter(|key| !key.is_empty())
        .fold(json, |value, key| &value[key])
}

/// The paths of all numbers in an object, but for those in lists, which are scopes.
fn numbers(json: &Value, path: &str, found: &mut BTreeSet<String>) {
    match json {
        Value::Number(_) => drop(found.insert(path.to_owned())),
        Value::Object(members) => {
            for (key, value) in members {
                let path = match path {
                    "" => key.clone(),
                    path => format!("{path}.{key}"),
                };
                numbers(value, &path, found);
            }
        }
        _ => {}
    }
}

/// Returns the paths that had a number.
fn check(what: &str, json: &Value, parts: &[Part], given: Given) -> BTreeSet<String> {
    let mut given = given.0;
    let mut known = BTreeSet::new();
    for part in parts {
        for row in part.values {
            let path = match part.json {
                "" => row.json.to_owned(),
                json => format!("{json}.{}", row.json),
            };
            for (_, suffix, made) in row.fields {
                let name = format!("{}{suffix}", part.prefix);
                let number = at(json, &path);
                let expected = match *made {
                    "whole" => number.as_u64().map(Figure::Whole),
                    "mebibytes" => number.as_f64().map(|n| Figure::Real(n / 1_048_576.0)),
                    "seconds" => number.as_f64().map(|n| Figure::Real(n / 1e6)),
                    "real" => number.as_f64().map(Figure::Real),
                    other => panic!("{name} is made by {other}"),
                };
                assert_eq!(given.remove(&name), expected, "{what}: {name} of {path}");
            }
            known.insert(path);
        }
    }
    assert!(given.is_empty(), "{what}: of no row: {given:?}");
    let mut all = BTreeSet::new();
    numbers(json, "", &mut all);
    let missing: Vec<_> = all.difference(&known).collect();
    assert!(missing.is_empty(), "{what}: without a row: {missing:?}");
    all
}

fn named<'j>(list: &'j Value, name: &str) -> &'j Value {
    let all = list.as_array().expect("a list");
    all.iter()
        .find(|one| one["name"] == name)
        .expect("of that name")
}

fn container(stats: &ContainerStats) -> Given {
    let mut given = Given::default();
    stats.fields(Level::All, &mut given);
    given
}

fn filesystem(filesystem: &Filesystem) -> Given {
    let mut given = Given::default();
    filesystem.fields("", Level::All, &mut given);
    given
}

fn traffic(traffic: &Traffic) -> Given {
    let mut given = Given::default();
    traffic.fields("", Level::All, &mut given);
    given
}

const fn alone(values: &'static [kubeletstats_core::catalogue::Value]) -> [Part; 1] {
    [Part {
        json: "",
        prefix: "",
        values,
    }]
}

/// The groups of a scope's own object, without what has a place of its own below it.
fn without(json: &Value, keys: &[&str]) -> Value {
    let mut json = json.clone();
    if let Some(members) = json.as_object_mut() {
        members.retain(|key, _| !keys.contains(&key.as_str()));
    }
    json
}

#[test]
fn no_number_is_left_out() {
    let (traffic_rows, volume_rows) = (alone(Traffic::VALUES), alone(Filesystem::VALUES));
    let mut seen: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for path in summaries() {
        let body = fs::read(&path).expect("a fixture");
        let json: Value = serde_json::from_slice(&body).expect("json");
        let name = path.display().to_string();
        let summary = Selector::default().parse(&body, Plan::ALL).expect(&name);
        let mut see = |scope, found| seen.entry(scope).or_default().extend(found);

        let node = &json["node"];
        let mut given = Given::default();
        summary.node.stats.fields(Level::All, &mut given);
        let own = without(node, &["network", "runtime"]);
        see("node", check(&name, &own, NodeStats::PARTS, given));
        let mut given = Given::default();
        summary.node.runtime.fields(Level::All, &mut given);
        see(
            "runtime",
            check(&name, &node["runtime"], RuntimeStats::PARTS, given),
        );
        for system in &summary.node.system_containers {
            let json = named(&node["systemContainers"], &system.name);
            let parts = ContainerStats::PARTS;
            see(
                "system_container",
                check(&name, json, parts, container(&system.stats)),
            );
        }
        for interface in &summary.node.network.interfaces {
            let json = named(&node["network"]["interfaces"], &interface.name);
            see(
                "interface",
                check(&name, json, &traffic_rows, traffic(&interface.traffic)),
            );
        }

        let pods = json["pods"].as_array().expect("pods");
        assert_eq!(
            (pods.len(), summary.pods_unreadable),
            (summary.pods.len(), 0)
        );
        for (json, pod) in pods.iter().zip(&summary.pods) {
            assert_eq!(json["podRef"]["uid"], *pod.uid);
            let mut given = Given::default();
            if let Some(stats) = &pod.stats {
                stats.fields(Level::All, &mut given);
            }
            let own = without(json, &["network"]);
            see("pod", check(&name, &own, PodStats::PARTS, given));
            let inline = without(&json["network"], &["interfaces"]);
            // Else it is that of the only interface, if there is one.
            if inline["rxBytes"].is_u64() {
                see(
                    "network",
                    check(&name, &inline, &traffic_rows, traffic(&pod.network.total)),
                );
            }
            let interfaces = json["network"]["interfaces"].as_array();
            assert_eq!(pod.network.interfaces.len(), interfaces.map_or(0, Vec::len));
            for it in &pod.containers {
                let json = named(&json["containers"], &it.name);
                let parts = ContainerStats::PARTS;
                see("container", check(&name, json, parts, container(&it.stats)));
            }
            let volumes = json["volume"].as_array();
            assert_eq!(pod.volumes.len(), volumes.map_or(0, Vec::len));
            for volume in &pod.volumes {
                let json = named(&json["volume"], &volume.name);
                see(
                    "volume",
                    check(&name, json, &volume_rows, filesystem(&volume.filesystem)),
                );
            }
        }
    }
    // Each row was tried, but for a pod's swapAvailableBytes, which no capture has.
    let rows = |parts: &[Part]| parts.iter().map(|part| part.values.len()).sum::<usize>();
    let found: BTreeMap<_, _> = seen
        .iter()
        .map(|(scope, paths)| (*scope, paths.len()))
        .collect();
    let expected = BTreeMap::from([
        ("container", rows(ContainerStats::PARTS)),
        ("interface", rows(&traffic_rows)),
        ("network", rows(&traffic_rows)),
        ("node", rows(NodeStats::PARTS)),
        ("pod", rows(PodStats::PARTS) - 1),
        ("runtime", rows(RuntimeStats::PARTS)),
        // It has no file systems.
        (
            "system_container",
            rows(ContainerStats::PARTS) - rows(&volume_rows) * 2,
        ),
        ("volume", rows(&volume_rows)),
    ]);
    assert_eq!(found, expected);
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
