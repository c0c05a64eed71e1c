//! Inputs to start from: captured replies, whole and cut down to one container,
//! under every set of options; and option values of all kinds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::check::OPTION_SETS;

/// An input and the name of its file.
pub type Seed = (String, Vec<u8>);

/// Whole replies, and small ones for runs with a short `-max_len`.
pub fn summaries(fixtures: &Path) -> io::Result<(Vec<Seed>, Vec<Seed>)> {
    let mut paths: Vec<PathBuf> = fs::read_dir(fixtures)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.retain(|path| {
        let name = path.to_string_lossy();
        name.contains(".summary") && name.ends_with(".json")
    });
    paths.sort();

    let (mut whole, mut small) = (Vec::new(), Vec::new());
    let mut before: Option<Value> = None;
    for (number, path) in paths.iter().enumerate() {
        let body = fs::read(path)?;
        whole.push((format!("{number:02}"), input(number, &[&body])));

        let reply: Value = serde_json::from_slice(&body)?;
        for (place, pod) in pods(&reply).enumerate() {
            let now = json!({"node": {"nodeName": "vm"}, "pods": [pod]}).to_string();
            let name = format!("{number:02}-{place:02}");
            small.push((name, input(number + place, &[now.as_bytes()])));
        }
        // Several pods, short enough to be changed in every part, of which a sieve drops some.
        let few: Vec<_> = pods(&reply)
            .map(|pod| only(&pod, &["podRef", "network"]))
            .take(5)
            .collect();
        let few = serde_json::to_vec_pretty(&json!({"pods": few}))?;
        for set in 0..OPTION_SETS.len() {
            small.push((format!("{number:02}-few-{set}"), input(set, &[&few])));
        }
        // Two replies of the same pod, one after the other, under each set.
        let generator = pods(&reply).find(is_generator);
        if let (Some(earlier), Some(later)) = (before.take(), &generator) {
            let [earlier, later] = [&earlier, later].map(|pod| json!({"pods": [pod]}).to_string());
            for set in 0..OPTION_SETS.len() {
                let replies = [earlier.as_bytes(), later.as_bytes()];
                small.push((format!("{number:02}-then-{set}"), input(set, &replies)));
            }
        }
        before = generator;
    }
    Ok((whole, small))
}

/// Pods as they stand in replies, and each object in them, for the target `skip`.
#[allow(dead_code, reason = "the tests of core have this file too")]
pub fn values(fixtures: &Path) -> io::Result<Vec<Seed>> {
    let mut found = Vec::new();
    for path in fs::read_dir(fixtures)? {
        let path = path?.path();
        let name = path.to_string_lossy();
        if !name.contains(".summary") || !name.ends_with(".json") {
            continue;
        }
        let reply: Value = serde_json::from_slice(&fs::read(&path)?)?;
        for pod in pods(&reply).take(2) {
            let parts = pod.as_object().into_iter().flatten();
            let parts = parts.map(|(_, part)| part.clone()).chain([pod.clone()]);
            for part in parts.filter(|part| part.is_object() || part.is_array()) {
                let text = serde_json::to_vec_pretty(&part)?;
                found.push((format!("{:03}", found.len()), text));
            }
        }
    }
    Ok(found)
}

/// In the form that `check::summary` takes.
fn input(options: usize, replies: &[&[u8]]) -> Vec<u8> {
    let set = (options % OPTION_SETS.len()) as u8;
    [&[set], replies.join(&0).as_slice()].concat()
}

fn is_generator(pod: &Value) -> bool {
    pod["podRef"]["name"] == "log-generator-a-vm"
}

/// Each pod with its first container, and of both only what the plugin reads.
fn pods(reply: &Value) -> impl Iterator<Item = Value> {
    let all = reply["pods"].as_array().into_iter().flatten();
    all.map(|pod| {
        let container = only(
            &pod["containers"][0],
            &["name", "startTime", "cpu", "memory", "rootfs", "logs"],
        );
        let mut kept = only(pod, &["podRef", "startTime", "network"]);
        kept["containers"] = json!([container]);
        kept
    })
}

fn only(object: &Value, keys: &[&str]) -> Value {
    let mut kept = json!({});
    for key in keys {
        if let Some(value) = object.get(key) {
            kept[*key] = value.clone();
        }
    }
    kept
}

/// In the form that `check::options` takes.
pub fn options() -> Vec<Seed> {
    let values = [
        "https://10.0.0.7:10250",
        "http://[::1]:10255/api/v1/nodes/vm/proxy/",
        "500ms",
        "1.5 h",
        "default, other",
        "log-,web",
        "true",
        "counter",
        "vm",
    ];
    let rows = kubeletstats_core::options::OPTIONS.len() as u8;
    let mut seeds = Vec::new();
    for row in 0..rows {
        for (number, value) in values.iter().enumerate() {
            let next = [0, (row + 1) % rows];
            let input = [&[row], value.as_bytes(), &next, b"10s"].concat();
            seeds.push((format!("{row:02}-{number}"), input));
        }
    }
    seeds
}
