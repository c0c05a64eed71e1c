//! The shipped configuration, with the test's own kubelet and brokers.

use std::{fs, path, process::Command};

use sim_kubelet::SimKubelet;
use testkit::hosts;

pub fn text() -> String {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fluent-bit.conf"));
    shipped.expect("fluent-bit.conf")
}

/// Returns the shipped YAML configuration, with this topic and the path of the plugin that
/// was built.
pub fn yaml(topic: &str) -> String {
    let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fluent-bit.yaml"));
    let mut text = shipped.expect("fluent-bit.yaml");
    let plugin = path::absolute(hosts::plugin_path()).expect("a folder to start from");
    for (shipped, here) in [
        (
            "target/release/flb-in_kubeletstats.so",
            &*plugin.to_string_lossy(),
        ),
        ("topics: metrics\n", &format!("topics: {topic}\n")),
    ] {
        assert_eq!(text.matches(shipped).count(), 1, "{shipped}");
        text = text.replace(shipped, here);
    }
    text
}

/// Returns the shipped configuration with these values for these keys. A section is
/// `service` or `kafka`. If another output section is given, it replaces that of Kafka.
pub fn configuration(settings: &[(&str, &str, &str)], instead: Option<&str>) -> String {
    // Each section continues until the next header.
    let shipped = text().replace("\n[", "\n\0[");
    let sections = shipped.split('\0').map(|text| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        let this = match lines.iter().find(|line| line.starts_with('[')) {
            Some(header) if header == "[SERVICE]" => "service",
            Some(header) if header == "[OUTPUT]" && text.contains("Brokers") => "kafka",
            _ => "",
        };
        for (_, key, value) in settings.iter().filter(|(section, ..)| *section == this) {
            let is_key = |line: &String| {
                let word = line.split_whitespace().next();
                word.is_some_and(|word| word.eq_ignore_ascii_case(key))
            };
            lines.retain(|line| !is_key(line));
            lines.push(format!("    {key} {value}"));
        }
        if let (Some(output), "kafka") = (instead, this) {
            return output.to_owned();
        }
        lines.join("\n") + "\n"
    });
    sections.collect()
}

/// Sets the variables of the configuration for the command. Without a variable, the plugin
/// uses its default.
pub fn lead_to(command: &mut Command, kubelet: &SimKubelet, brokers: &str) {
    let [url, ca, token] = kubelet.access();
    for (name, value) in [
        ("KUBELET_URL", &*url),
        ("KUBELET_CA_FILE", &ca),
        ("KUBELET_TOKEN_FILE", &token),
        ("KAFKA_BROKERS", brokers),
    ] {
        command.env(name, value);
    }
    for unset in [
        "KUBELET_SERVER_NAME",
        "KUBELET_TIMEOUT_MS",
        "ALLOW_INSECURE_TLS",
        "TARGET_NAMESPACE",
        "TARGET_POD_PREFIX",
        "NODE_NAME",
        "SERVICE_NAME",
    ] {
        command.env_remove(unset);
    }
}
