//! The facts of pods under the names of kube-state-metrics, for users who do not run it.

use std::{borrow::Cow, collections::BTreeSet};

use super::{Metrics, Told, counter, gauge};
use crate::facts::{ContainerFacts, ContainerKind, PodFacts, State};

const PHASES: [&str; 5] = ["Pending", "Succeeded", "Failed", "Unknown", "Running"];
const QOS_CLASSES: [&str; 3] = ["BestEffort", "Burstable", "Guaranteed"];

/// The limit for labels. Pods may have different labels, and the series of every pod have all of
/// them.
const MOST_LABELS: usize = 256;

static INFO: Told = gauge(
    "kube_pod_info",
    "Information about the pod",
    "1",
    &[
        "namespace",
        "pod",
        "uid",
        "created_by_kind",
        "created_by_name",
    ],
);
static OWNER: Told = gauge(
    "kube_pod_owner",
    "Workload that the pod belongs to",
    "1",
    &["namespace", "pod", "uid", "owner_kind", "owner_name"],
);
static PHASE: Told = gauge(
    "kube_pod_status_phase",
    "Phase of the pod: 1 for its phase, 0 for the others",
    "1",
    &["namespace", "pod", "uid", "phase"],
);
static QOS_CLASS: Told = gauge(
    "kube_pod_status_qos_class",
    "QoS class of the pod: 1 for its class, 0 for the others",
    "1",
    &["namespace", "pod", "uid", "qos_class"],
);
/// Each label that `pod_labels` allows adds a label `label_…`.
static LABELS: Told = gauge(
    "kube_pod_labels",
    "Labels of the pod that the option pod_labels selects",
    "1",
    &["namespace", "pod", "uid"],
);

/// The metrics of a container.
struct OfContainer {
    info: Told,
    requests: Told,
    limits: Told,
    restarts: Told,
    waiting: Told,
    last_terminated: Told,
}

macro_rules! of_container {
    ($start:literal) => {
        OfContainer {
            info: gauge(
                concat!($start, "_info"),
                "Information about the container",
                "1",
                &[
                    "namespace",
                    "pod",
                    "uid",
                    "container",
                    "image",
                    "container_id",
                ],
            ),
            requests: gauge(
                concat!($start, "_resource_requests"),
                "Resources that the container requests",
                "1",
                &["namespace", "pod", "uid", "container", "resource", "unit"],
            ),
            limits: gauge(
                concat!($start, "_resource_limits"),
                "Limit of a resource for the container",
                "1",
                &["namespace", "pod", "uid", "container", "resource", "unit"],
            ),
            restarts: counter(
                concat!($start, "_status_restarts_total"),
                "Restarts of the container",
                &["namespace", "pod", "uid", "container"],
            ),
            waiting: gauge(
                concat!($start, "_status_waiting_reason"),
                "Reason why the container waits",
                "1",
                &["namespace", "pod", "uid", "container", "reason"],
            ),
            last_terminated: gauge(
                concat!($start, "_status_last_terminated_reason"),
                "Reason why the last run of the container ended",
                "1",
                &["namespace", "pod", "uid", "container", "reason"],
            ),
        }
    };
}

static APP: OfContainer = of_container!("kube_pod_container");
/// Sidecars are init containers too.
static INIT: OfContainer = of_container!("kube_pod_init_container");

/// All metrics with names of kube-state-metrics.
pub static KUBE_STATE: [&Told; 17] = [
    &INFO,
    &OWNER,
    &LABELS,
    &PHASE,
    &QOS_CLASS,
    &APP.info,
    &APP.requests,
    &APP.limits,
    &APP.restarts,
    &APP.waiting,
    &APP.last_terminated,
    &INIT.info,
    &INIT.requests,
    &INIT.limits,
    &INIT.restarts,
    &INIT.waiting,
    &INIT.last_terminated,
];

pub(super) fn push(metrics: &mut Metrics, pods: &[&PodFacts]) {
    for pod in pods {
        push_pod(metrics, pod);
    }
    push_labels(metrics, pods);
}

/// The uid as in the records. For a static pod, it is the hash of its manifest.
fn uid(pod: &PodFacts) -> &str {
    pod.config_hash.as_deref().unwrap_or(&pod.uid)
}

fn push_pod(metrics: &mut Metrics, facts: &PodFacts) {
    let (namespace, pod, uid) = (&*facts.namespace, &*facts.name, uid(facts));
    let (kind, name) = match &facts.workload {
        Some(workload) => (&*workload.kind, &*workload.name),
        None => ("", ""),
    };
    let of_workload = [namespace, pod, uid, kind, name];
    metrics.tell(&INFO, 1.0, &of_workload);
    metrics.tell(&OWNER, 1.0, &of_workload);
    let mut one_of = |told: &'static Told, all: &[&str], is: &str| {
        for one in all {
            let value = f64::from(u8::from(*one == is));
            metrics.tell(told, value, &[namespace, pod, uid, one]);
        }
    };
    // As in kube-state-metrics, a pod without a class has 0 for each class, and a pod without a
    // phase has no series for phases.
    if let Some(phase) = facts.phase.as_deref() {
        one_of(&PHASE, &PHASES, phase);
    }
    let class = facts.qos_class.as_deref().unwrap_or_default();
    one_of(&QOS_CLASS, &QOS_CLASSES, class);
    for container in &facts.containers {
        let told = match container.kind {
            ContainerKind::App => &APP,
            ContainerKind::Init | ContainerKind::Sidecar => &INIT,
            // kube-state-metrics has no metrics for these.
            ContainerKind::Ephemeral => continue,
        };
        push_container(metrics, told, container, [namespace, pod, uid]);
    }
}

fn push_container(
    metrics: &mut Metrics,
    told: &'static OfContainer,
    facts: &ContainerFacts,
    [namespace, pod, uid]: [&str; 3],
) {
    let container = &*facts.name;
    let image = facts.image.as_deref().unwrap_or_default();
    let id = facts.container_id.as_deref().unwrap_or_default();
    let labels = [namespace, pod, uid, container, image, id];
    metrics.tell(&told.info, 1.0, &labels);

    let resources = &facts.resources;
    let bytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64);
    for (told, resource, unit, value) in [
        (&told.requests, "cpu", "core", resources.cpu_request),
        (
            &told.requests,
            "memory",
            "byte",
            bytes(resources.memory_request),
        ),
        (&told.limits, "cpu", "core", resources.cpu_limit),
        (
            &told.limits,
            "memory",
            "byte",
            bytes(resources.memory_limit),
        ),
    ] {
        if let Some(value) = value {
            let labels = [namespace, pod, uid, container, resource, unit];
            metrics.tell(told, value, &labels);
        }
    }
    if let Some(count) = facts.restart_count {
        let labels = [namespace, pod, uid, container];
        metrics.tell(&told.restarts, count as f64, &labels);
    }
    let waits = facts.state == Some(State::Waiting);
    for (told, reason) in [
        (
            &told.waiting,
            facts.state_reason.as_deref().filter(|_| waits),
        ),
        (
            &told.last_terminated,
            facts.last_termination_reason.as_deref(),
        ),
    ] {
        if let Some(reason) = reason {
            let labels = [namespace, pod, uid, container, reason];
            metrics.tell(told, 1.0, &labels);
        }
    }
}

/// A label's name in the form of Prometheus, which allows no `.`, `/` or `-`.
fn key_of(label: &str) -> String {
    let plain = |c: char| match c.is_ascii_alphanumeric() {
        true => c,
        false => '_',
    };
    let plain = label.chars().map(plain);
    "label_".chars().chain(plain).collect()
}

/// Adds the labels of pods. A family has one list of keys, so it has the keys of all pods. If two
/// labels of a pod have the same key, the first one counts.
fn push_labels(metrics: &mut Metrics, pods: &[&PodFacts]) {
    let labels = pods.iter().flat_map(|pod| &pod.labels);
    let keys: BTreeSet<String> = labels.map(|(label, _)| key_of(label)).collect();
    let keys: Vec<String> = keys.into_iter().take(MOST_LABELS).collect();
    let family = metrics.family_of(&LABELS);
    let fixed = LABELS.labels.iter().copied().map(Cow::Borrowed);
    let own = keys.iter().cloned().map(Cow::Owned);
    metrics.families[family].relabel(fixed.chain(own).collect());
    for pod in pods {
        let mut values = vec![""; 3 + keys.len()];
        values[..3].copy_from_slice(&[&*pod.namespace, &*pod.name, uid(pod)]);
        for (label, value) in pod.labels.iter().rev() {
            if let Ok(at) = keys.binary_search(&key_of(label)) {
                values[3 + at] = value;
            }
        }
        metrics.push(family, 1.0, metrics.now, values.into_iter());
    }
}
