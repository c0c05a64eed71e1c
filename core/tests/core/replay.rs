//! Options, and captured replies through the plugin's own pipeline.

use std::{fs, path::PathBuf};

use kubeletstats_core::{options::Config, scrape::Pipeline};
use serde_json::Value;
use sim_kubelet::SimKubelet;

use crate::events;

pub fn fixtures() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

pub fn config(options: &[(&str, &str)]) -> Config {
    let config = Config::read(|name| {
        let given = options.iter().find(|(key, _)| *key == name);
        given.map(|(_, value)| value.to_string())
    });
    config.expect("valid options")
}

/// With what this kubelet wants to see, and time enough; `more` counts before that.
pub fn config_for(kubelet: &SimKubelet, more: &[(&str, &str)]) -> Config {
    let [url, ca, token] = kubelet.access();
    let usual = [
        ("kubelet_url", url.as_str()),
        ("kube_ca_file", &ca),
        ("kube_token_file", &token),
        ("timeout", "20s"),
    ];
    config(&[more, &usual].concat())
}

pub fn pipeline(options: &[(&str, &str)]) -> Pipeline {
    Pipeline::new(&config(options))
}

/// The records of one reply, whose events carry the same times.
pub fn records(pipeline: &mut Pipeline, body: &[u8]) -> Vec<Value> {
    let batch = pipeline.run(body, Vec::new()).expect("a summary");
    let events = events::decode(batch.events());
    assert_eq!(events.len(), batch.records());
    for (time, record) in &events {
        let millis = time.0 as u64 * 1000 + time.1 as u64 / 1_000_000;
        assert_eq!(record["timestamp"], millis, "event time and timestamp");
    }
    events.into_iter().map(|(_, record)| record).collect()
}

/// All captured replies.
pub fn summaries() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(fixtures())
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().contains(".summary"))
        .filter(|path| path.extension().is_some_and(|ext| ext == "json"))
        .collect();
    found.sort();
    assert!(found.len() >= 20, "only {} fixtures", found.len());
    found
}

/// xorshift: the same numbers on every machine.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }
}
