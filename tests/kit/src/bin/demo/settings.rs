//! What the demo sets for the shipped configuration: its environment and the topic.

use crate::kubelet::Kubelet;
use std::path::PathBuf;
use std::{env, fs};
use testkit::kafka::unique_topic;
use testkit::{Error, Host, Result, hosts};

/// Either of these in the configuration lets a run have a topic to itself.
const TOPIC_VARIABLES: [&str; 2] = ["KUBELETSTATS_TOPIC", "METRICS_TOPIC"];
/// What the configuration sends to otherwise.
const USUAL_TOPIC: &str = "metrics";

/// The configuration in the root of the repository.
pub struct Conf {
    pub path: PathBuf,
    text: String,
}

pub fn shipped_conf() -> Result<Conf> {
    let path = hosts::workspace_root().join("fluent-bit.conf");
    let text = fs::read_to_string(&path)
        .map_err(|error| Error::new(format!("{}: {error}", path.display())))?;
    Ok(Conf { path, text })
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
    pub fn choose(conf: &Conf, exists: impl FnOnce(&str) -> Result<bool>) -> Result<Self> {
        let settable = |name: &&str| conf.text.contains(&format!("${{{name}}}"));
        if TOPIC_VARIABLES.iter().any(settable) {
            return Ok(Self {
                name: unique_topic("metrics-demo"),
                is_fresh: true,
            });
        }
        Ok(Self {
            name: USUAL_TOPIC.to_owned(),
            is_fresh: !exists(USUAL_TOPIC)?,
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
pub fn environment(kubelet: &Kubelet, topic: &Topic, brokers: &str) -> Vec<(String, String)> {
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
    for name in TOPIC_VARIABLES {
        variables.push((name.to_owned(), topic.name.clone()));
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

    fn conf(text: &str) -> Conf {
        Conf {
            path: PathBuf::new(),
            text: text.to_owned(),
        }
    }

    fn usual(exists: bool) -> Topic {
        Topic::choose(&conf("    Topics metrics\n"), |_| Ok(exists)).expect("a topic")
    }

    #[test]
    fn a_configuration_with_a_topic_variable_gets_a_topic_of_its_own() {
        let topic = Topic::choose(&conf("    Topics ${KUBELETSTATS_TOPIC}\n"), |_| Ok(true));
        let topic = topic.expect("a topic");
        assert!(topic.is_fresh);
        assert!(topic.name.starts_with("metrics-demo-"));
    }

    #[test]
    fn without_one_the_usual_topic_is_read_from_its_end() {
        let topic = usual(true);
        assert!(!topic.is_fresh);
        assert_eq!(topic.describe(), "metrics, read from its present end");
    }

    #[test]
    fn the_usual_topic_of_a_new_kafka_is_read_from_its_beginning() {
        let topic = usual(false);
        assert!(topic.is_fresh);
        assert_eq!(topic.describe(), "metrics, made by this run");
    }

    #[test]
    fn a_kubelet_of_the_users_own_gets_every_variable() {
        let kubelet = Kubelet::Own {
            url: "https://10.0.0.7:10250".to_owned(),
        };
        let topic = usual(true);
        let variables = environment(&kubelet, &topic, "127.0.0.1:9092");
        for name in [
            "KUBELET_URL",
            "KUBELET_SERVER_NAME",
            "KAFKA_BROKERS",
            "NODE_NAME",
        ] {
            assert_eq!(variables.iter().filter(|(set, _)| set == name).count(), 1);
        }
        assert!(variables.contains(&("METRICS_TOPIC".to_owned(), "metrics".to_owned())));
    }
}
