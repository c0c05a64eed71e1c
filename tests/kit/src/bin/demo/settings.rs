//! What the demo sets for the shipped configuration: its environment and the topic.

use std::{env, path::PathBuf};

use testkit::{Host, Result, hosts};

use crate::kubelet::Kubelet;

/// What the configuration sends to.
const TOPIC: &str = "metrics";

/// The configuration in the root of the repository, in the form that this host takes.
pub fn shipped(host: &Host) -> PathBuf {
    hosts::workspace_root().join(match host.takes_yaml() {
        true => "fluent-bit.yaml",
        false => "fluent-bit.conf",
    })
}

/// Where the records are read back from.
#[derive(Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Nothing else was ever written to it.
    pub is_fresh: bool,
}

impl Topic {
    /// Of a topic that is not there yet the end is where it begins: read from there, or the
    /// record that makes it would be missed.
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

/// Every variable that the shipped configuration refers to. Fluent Bit expands one that is not
/// set to nothing, so each gets a value here.
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

/// Which host runs, in so many words.
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
