//! The demo's settings for the shipped configuration: its environment and the topic.

use std::{env, path::PathBuf};

use testkit::{Host, Result, hosts};

use crate::kubelet::Kubelet;

/// The topic to which the configuration sends.
const TOPIC: &str = "metrics";

/// Returns the configuration in the root of the repository, in a format that this host
/// supports.
pub fn shipped(host: &Host) -> PathBuf {
    hosts::workspace_root().join(match host.takes_yaml() {
        true => "fluent-bit.yaml",
        false => "fluent-bit.conf",
    })
}

/// The topic from which the records are read.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Whether nothing else was ever written to it.
    pub is_fresh: bool,
}

impl Topic {
    /// Chooses where to read. A topic that does not exist yet must be read from its beginning.
    /// Otherwise the record that creates it would be missed.
    pub fn choose(exists: impl FnOnce(&str) -> Result<bool>) -> Result<Self> {
        Ok(Self {
            name: TOPIC.to_owned(),
            is_fresh: !exists(TOPIC)?,
        })
    }

    pub fn describe(&self) -> String {
        let how = if self.is_fresh {
            "made by this run"
        } else {
            "read from its present end"
        };
        format!("{}, {how}", self.name)
    }
}

/// Returns every variable to which the shipped configuration refers. Fluent Bit replaces a
/// variable that is not set by nothing, so each gets a value here.
pub fn environment(kubelet: &Kubelet, brokers: &str) -> Vec<(String, String)> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let theirs = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let overridable = matches!(kubelet, Kubelet::Own { .. });
    for (name, value) in kubelet.environment() {
        let chosen = theirs(name).filter(|_| overridable);
        variables.push((name.to_owned(), chosen.unwrap_or_else(|| value.to_owned())));
    }
    for (name, default) in [
        ("ALLOW_INSECURE_TLS", "false"),
        ("KUBELET_TIMEOUT_MS", "5000"),
        ("METRICS_REGION", "local"),
    ] {
        let value = theirs(name).unwrap_or_else(|| default.to_owned());
        variables.push((name.to_owned(), value));
    }
    variables.push(("KAFKA_BROKERS".to_owned(), brokers.to_owned()));
    variables
}

/// Describes which host runs.
pub fn running(host: &Host) -> String {
    if host.embedded {
        "no Fluent Bit found: the embedded host stands in".to_owned()
    } else {
        format!("running {}", host.describe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_there_is_read_from_its_end() {
        let topic = |is_there| Topic::choose(|_| Ok(is_there)).expect("a topic").describe();
        assert_eq!(topic(true), "metrics, read from its present end");
        assert_eq!(topic(false), "metrics, made by this run");
    }

    #[test]
    fn a_kubelet_of_the_users_own_gets_every_variable() {
        let url = "https://10.0.0.7:10250".to_owned();
        let variables = environment(&Kubelet::Own { url }, "127.0.0.1:9092");
        for name in [
            "KUBELET_URL",
            "KUBELET_SERVER_NAME",
            "KAFKA_BROKERS",
            "NODE_NAME",
        ] {
            assert_eq!(variables.iter().filter(|(set, _)| set == name).count(), 1);
        }
    }
}
