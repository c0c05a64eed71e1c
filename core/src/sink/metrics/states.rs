//! The facts of pods under the names that kube-state-metrics has given them, for those who
//! do not run it.

use std::{borrow::Cow, collections::BTreeSet};

use super::{Kind, Metrics};
use crate::{
    facts::{ContainerFacts, PodFacts, Resources, State},
    timestamp::Timestamp,
};

const PHASES: [&str; 5] = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];
const QOS_CLASSES: [&str; 3] = ["BestEffort", "Burstable", "Guaranteed"];

type Label<'l> = (&'static str, &'l str);

pub(super) fn push(metrics: &mut Metrics, pods: &[&PodFacts], now: Timestamp) {
    for pod in pods {
        push_pod(metrics, pod, now);
    }
    push_labels(metrics, pods, now);
}

fn push_pod(metrics: &mut Metrics, facts: &PodFacts, now: Timestamp) {
    let uid = facts.config_hash.as_deref().unwrap_or(&facts.uid);
    let pod: [Label; 3] = [
        ("namespace", &facts.namespace),
        ("pod", &facts.name),
        ("uid", uid),
    ];
    let with = |more: &[Label<'_>]| -> Vec<(&'static str, String)> {
        let all = pod.iter().chain(more);
        all.map(|(key, value)| (*key, (*value).to_owned()))
            .collect()
    };
    let mut state = |name: &str, about: &str, value: f64, labels: Vec<(&'static str, String)>| {
        let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, &**value)).collect();
        metrics.gauge(name, about, "1", value, now, &labels);
    };
    let (kind, name) = match &facts.workload {
        Some(workload) => (&*workload.kind, &*workload.name),
        None => ("", ""),
    };
    let info = [("created_by_kind", kind), ("created_by_name", name)];
    state("kube_pod_info", "Which pod it is", 1.0, with(&info));
    let owner = [("owner_kind", kind), ("owner_name", name)];
    state(
        "kube_pod_owner",
        "The workload of the pod",
        1.0,
        with(&owner),
    );
    for phase in PHASES {
        let is = facts.phase.as_deref() == Some(phase);
        let about = "The phase that the pod is in";
        state(
            "kube_pod_status_phase",
            about,
            f64::from(u8::from(is)),
            with(&[("phase", phase)]),
        );
    }
    for class in QOS_CLASSES {
        let is = facts.qos_class.as_deref() == Some(class);
        let about = "The quality of service class of the pod";
        let labels = with(&[("qos_class", class)]);
        state(
            "kube_pod_status_qos_class",
            about,
            f64::from(u8::from(is)),
            labels,
        );
    }
    for container in &facts.containers {
        push_container(metrics, container, &pod, now);
    }
}

fn push_container(metrics: &mut Metrics, facts: &ContainerFacts, pod: &[Label], now: Timestamp) {
    let mut labels = pod.to_vec();
    labels.push(("container", &facts.name));
    let mut info = labels.clone();
    info.push(("image", facts.image.as_deref().unwrap_or_default()));
    info.push((
        "container_id",
        facts.container_id.as_deref().unwrap_or_default(),
    ));
    let about = "Which container it is";
    metrics.gauge("kube_pod_container_info", about, "1", 1.0, now, &info);
    resources(metrics, &facts.resources, &labels, now);
    if let Some(count) = facts.restart_count {
        let name = "kube_pod_container_status_restarts_total";
        let about = "How often the kubelet has started the container again";
        metrics.sample(name, Kind::Counter, about, "1", count as f64, now, &labels);
    }
    let mut because = |name: &str, about: &str, reason: Option<&str>| {
        if let Some(reason) = reason {
            let mut labels = labels.clone();
            labels.push(("reason", reason));
            metrics.gauge(name, about, "1", 1.0, now, &labels);
        }
    };
    let waits = facts.state == Some(State::Waiting);
    because(
        "kube_pod_container_status_waiting_reason",
        "Why the container waits",
        facts.state_reason.as_deref().filter(|_| waits),
    );
    because(
        "kube_pod_container_status_last_terminated_reason",
        "Why the run before ended",
        facts.last_termination_reason.as_deref(),
    );
}

fn resources(metrics: &mut Metrics, resources: &Resources, labels: &[Label], now: Timestamp) {
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    const REQUESTS: &str = "kube_pod_container_resource_requests";
    const LIMITS: &str = "kube_pod_container_resource_limits";
    for (name, resource, unit, value) in [
        (REQUESTS, "cpu", "core", resources.cpu_request),
        (REQUESTS, "memory", "byte", bytes(resources.memory_request)),
        (LIMITS, "cpu", "core", resources.cpu_limit),
        (LIMITS, "memory", "byte", bytes(resources.memory_limit)),
    ] {
        if let Some(value) = value {
            let mut labels = labels.to_vec();
            labels.extend([("resource", resource), ("unit", unit)]);
            let about = "What the container asks for, or may use at most";
            metrics.gauge(name, about, "1", value, now, &labels);
        }
    }
}

/// A label's name as Prometheus takes it, which has no `.`, `/` or `-`.
fn key_of(label: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    format!("label_{}", label.chars().map(plain).collect::<String>())
}

/// Each pod may have other labels, and a family has one list of keys: that of all pods.
fn push_labels(metrics: &mut Metrics, pods: &[&PodFacts], now: Timestamp) {
    const NAME: &str = "kube_pod_labels";
    let about = "Labels of the pod that pod_labels names";
    let labels = pods.iter().flat_map(|pod| &pod.labels);
    let keys: BTreeSet<String> = labels.map(|(label, _)| key_of(label)).collect();
    let family = metrics.family_of(NAME, Kind::Gauge, about, "1");
    let fixed = ["namespace", "pod", "uid"].map(Cow::Borrowed);
    let own = keys.iter().cloned().map(Cow::Owned);
    metrics.families[family].relabel(fixed.into_iter().chain(own).collect());
    for pod in pods {
        let uid = pod.config_hash.as_deref().unwrap_or(&pod.uid);
        let value = |key: &String| {
            let mut labels = pod.labels.iter();
            let found = labels.find(|(label, _)| key_of(label) == *key);
            found.map_or("", |(_, value)| &**value)
        };
        let mut values = vec![&*pod.namespace, &*pod.name, uid];
        values.extend(keys.iter().map(value));
        metrics.push(family, 1.0, now, values.into_iter());
    }
}
