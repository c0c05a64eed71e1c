//! What the kubelet says, read by serde_json, under the names that metrics have: tables of
//! their own, which know nothing of the plugin's.

use std::collections::BTreeMap;

use serde_json::Value;
use sim_kubelet::{SimKubelet, parse_rfc3339};

use crate::client;

/// A value that has to be there: name, labels, number.
#[derive(Debug, Clone, PartialEq)]
pub struct Expected {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

type Row = (
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    f64,
);

const ONE: f64 = 1.0;
const NANO: f64 = 1e9;
const MICRO: f64 = 1e6;

/// Name, own labels, where in the object, and by what to divide.
#[rustfmt::skip]
const CONTAINER: &[Row] = &[
    ("container_cpu_usage_seconds_total", &[("cpu", "total")], "/cpu/usageCoreNanoSeconds", NANO),
    ("container_memory_working_set_bytes", &[], "/memory/workingSetBytes", ONE),
    ("container_memory_usage_bytes", &[], "/memory/usageBytes", ONE),
    ("container_memory_rss", &[], "/memory/rssBytes", ONE),
    ("container_memory_failures_total", &[("failure_type", "pgfault")], "/memory/pageFaults", ONE),
    ("container_memory_failures_total", &[("failure_type", "pgmajfault")], "/memory/majorPageFaults", ONE),
    ("container_memory_swap", &[], "/swap/swapUsageBytes", ONE),
    ("container_swap_usage_bytes", &[], "/swap/swapUsageBytes", ONE),
    ("container_fs_usage_bytes", &[], "/rootfs/usedBytes", ONE),
    ("container_fs_limit_bytes", &[], "/rootfs/capacityBytes", ONE),
    ("container_fs_inodes_total", &[], "/rootfs/inodes", ONE),
    ("container_fs_inodes_free", &[], "/rootfs/inodesFree", ONE),
    ("container_pressure_cpu_waiting_seconds_total", &[], "/cpu/psi/some/total", MICRO),
    ("container_pressure_cpu_stalled_seconds_total", &[], "/cpu/psi/full/total", MICRO),
    ("container_pressure_memory_waiting_seconds_total", &[], "/memory/psi/some/total", MICRO),
    ("container_pressure_memory_stalled_seconds_total", &[], "/memory/psi/full/total", MICRO),
    ("container_pressure_io_waiting_seconds_total", &[], "/io/psi/some/total", MICRO),
    ("container_pressure_io_stalled_seconds_total", &[], "/io/psi/full/total", MICRO),
    ("kubeletstats_container_logs_used_bytes", &[], "/logs/usedBytes", ONE),
];

#[rustfmt::skip]
const POD: &[Row] = &[
    ("pod_cpu_usage_seconds_total", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("pod_memory_working_set_bytes", &[], "/memory/workingSetBytes", ONE),
    ("pod_swap_usage_bytes", &[], "/swap/swapUsageBytes", ONE),
    ("kubeletstats_pod_processes", &[], "/process_stats/process_count", ONE),
    ("kubeletstats_pod_ephemeral_storage_used_bytes", &[], "/ephemeral-storage/usedBytes", ONE),
];

#[rustfmt::skip]
const NODE: &[Row] = &[
    ("node_cpu_usage_seconds_total", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("node_memory_working_set_bytes", &[], "/memory/workingSetBytes", ONE),
    ("node_swap_usage_bytes", &[], "/swap/swapUsageBytes", ONE),
    ("container_cpu_usage_seconds_total", &[("cpu", "total"), ("id", "/")], "/cpu/usageCoreNanoSeconds", NANO),
    ("container_memory_working_set_bytes", &[("id", "/")], "/memory/workingSetBytes", ONE),
    ("container_memory_usage_bytes", &[("id", "/")], "/memory/usageBytes", ONE),
    ("container_memory_rss", &[("id", "/")], "/memory/rssBytes", ONE),
    ("container_fs_usage_bytes", &[("id", "/")], "/fs/usedBytes", ONE),
    ("container_fs_limit_bytes", &[("id", "/")], "/fs/capacityBytes", ONE),
    ("kubeletstats_node_cpu_psi_some_avg10_percent", &[], "/cpu/psi/some/avg10", ONE),
    ("kubeletstats_node_memory_psi_full_avg300_percent", &[], "/memory/psi/full/avg300", ONE),
    ("kubeletstats_node_io_psi_some_seconds_total", &[], "/io/psi/some/total", MICRO),
    ("kubeletstats_node_memory_usage_bytes", &[], "/memory/usageBytes", ONE),
    ("kubeletstats_node_memory_available_bytes", &[], "/memory/availableBytes", ONE),
    ("kubeletstats_node_memory_rss_bytes", &[], "/memory/rssBytes", ONE),
    ("kubeletstats_node_memory_page_faults_total", &[], "/memory/pageFaults", ONE),
    ("kubeletstats_node_memory_major_page_faults_total", &[], "/memory/majorPageFaults", ONE),
    ("kubeletstats_node_swap_available_bytes", &[], "/swap/swapAvailableBytes", ONE),
    ("kubeletstats_node_fs_used_bytes", &[], "/fs/usedBytes", ONE),
    ("kubeletstats_node_fs_capacity_bytes", &[], "/fs/capacityBytes", ONE),
    ("kubeletstats_node_fs_available_bytes", &[], "/fs/availableBytes", ONE),
    ("kubeletstats_node_fs_inodes", &[], "/fs/inodes", ONE),
    ("kubeletstats_node_fs_inodes_free", &[], "/fs/inodesFree", ONE),
    ("kubeletstats_node_fs_inodes_used", &[], "/fs/inodesUsed", ONE),
    ("kubeletstats_node_rlimit_maxpid", &[], "/rlimit/maxpid", ONE),
    ("kubeletstats_node_rlimit_curproc", &[], "/rlimit/curproc", ONE),
    ("kubeletstats_node_image_fs_used_bytes", &[], "/runtime/imageFs/usedBytes", ONE),
    ("kubeletstats_node_image_fs_available_bytes", &[], "/runtime/imageFs/availableBytes", ONE),
    ("kubeletstats_node_container_fs_capacity_bytes", &[], "/runtime/containerFs/capacityBytes", ONE),
    ("kubeletstats_node_container_fs_inodes_used", &[], "/runtime/containerFs/inodesUsed", ONE),
];

#[rustfmt::skip]
const SYSTEM_CONTAINER: &[Row] = &[
    ("kubeletstats_system_container_cpu_usage_seconds_total", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("kubeletstats_system_container_cpu_psi_full_seconds_total", &[], "/cpu/psi/full/total", MICRO),
    ("kubeletstats_system_container_memory_working_set_bytes", &[], "/memory/workingSetBytes", ONE),
    ("kubeletstats_system_container_memory_usage_bytes", &[], "/memory/usageBytes", ONE),
    ("kubeletstats_system_container_memory_available_bytes", &[], "/memory/availableBytes", ONE),
    ("kubeletstats_system_container_memory_rss_bytes", &[], "/memory/rssBytes", ONE),
    ("kubeletstats_system_container_memory_page_faults_total", &[], "/memory/pageFaults", ONE),
    ("kubeletstats_system_container_swap_usage_bytes", &[], "/swap/swapUsageBytes", ONE),
];

#[rustfmt::skip]
const INTERFACE: &[Row] = &[
    ("container_network_receive_bytes_total", &[], "/rxBytes", ONE),
    ("container_network_transmit_bytes_total", &[], "/txBytes", ONE),
    ("container_network_receive_errors_total", &[], "/rxErrors", ONE),
    ("container_network_transmit_errors_total", &[], "/txErrors", ONE),
];

#[rustfmt::skip]
const NODE_INTERFACE: &[Row] = &[
    ("kubeletstats_node_network_receive_bytes_total", &[], "/rxBytes", ONE),
    ("kubeletstats_node_network_transmit_bytes_total", &[], "/txBytes", ONE),
    ("kubeletstats_node_network_receive_errors_total", &[], "/rxErrors", ONE),
    ("kubeletstats_node_network_transmit_errors_total", &[], "/txErrors", ONE),
    ("container_network_receive_bytes_total", &[("id", "/")], "/rxBytes", ONE),
    ("container_network_transmit_bytes_total", &[("id", "/")], "/txBytes", ONE),
];

#[rustfmt::skip]
const CLAIM: &[Row] = &[
    ("kubelet_volume_stats_capacity_bytes", &[], "/capacityBytes", ONE),
    ("kubelet_volume_stats_available_bytes", &[], "/availableBytes", ONE),
    ("kubelet_volume_stats_used_bytes", &[], "/usedBytes", ONE),
    ("kubelet_volume_stats_inodes", &[], "/inodes", ONE),
    ("kubelet_volume_stats_inodes_free", &[], "/inodesFree", ONE),
    ("kubelet_volume_stats_inodes_used", &[], "/inodesUsed", ONE),
];

#[rustfmt::skip]
const VOLUME: &[Row] = &[
    ("kubeletstats_volume_capacity_bytes", &[], "/capacityBytes", ONE),
    ("kubeletstats_volume_available_bytes", &[], "/availableBytes", ONE),
    ("kubeletstats_volume_used_bytes", &[], "/usedBytes", ONE),
    ("kubeletstats_volume_inodes", &[], "/inodes", ONE),
    ("kubeletstats_volume_inodes_free", &[], "/inodesFree", ONE),
    ("kubeletstats_volume_inodes_used", &[], "/inodesUsed", ONE),
];

/// Of the receiver's documentation.
#[rustfmt::skip]
const POINTS_OF_CONTAINER: &[Row] = &[
    ("container.cpu.time", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("container.memory.working_set", &[], "/memory/workingSetBytes", ONE),
    ("container.memory.usage", &[], "/memory/usageBytes", ONE),
    ("container.memory.rss", &[], "/memory/rssBytes", ONE),
    ("container.memory.page_faults", &[], "/memory/pageFaults", ONE),
    ("container.memory.major_page_faults", &[], "/memory/majorPageFaults", ONE),
    ("container.filesystem.usage", &[], "/rootfs/usedBytes", ONE),
    ("container.filesystem.capacity", &[], "/rootfs/capacityBytes", ONE),
    ("container.filesystem.available", &[], "/rootfs/availableBytes", ONE),
];

#[rustfmt::skip]
const POINTS_OF_POD: &[Row] = &[
    ("k8s.pod.cpu.time", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("k8s.pod.memory.working_set", &[], "/memory/workingSetBytes", ONE),
    ("k8s.pod.memory.usage", &[], "/memory/usageBytes", ONE),
    ("k8s.pod.memory.rss", &[], "/memory/rssBytes", ONE),
];

#[rustfmt::skip]
const POINTS_OF_NODE: &[Row] = &[
    ("k8s.node.cpu.time", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("k8s.node.memory.working_set", &[], "/memory/workingSetBytes", ONE),
    ("k8s.node.memory.available", &[], "/memory/availableBytes", ONE),
    ("k8s.node.memory.usage", &[], "/memory/usageBytes", ONE),
    ("k8s.node.memory.rss", &[], "/memory/rssBytes", ONE),
    ("k8s.node.memory.page_faults", &[], "/memory/pageFaults", ONE),
    ("k8s.node.memory.major_page_faults", &[], "/memory/majorPageFaults", ONE),
    ("k8s.node.filesystem.capacity", &[], "/fs/capacityBytes", ONE),
    ("k8s.node.filesystem.available", &[], "/fs/availableBytes", ONE),
    ("k8s.node.filesystem.usage", &[], "/fs/usedBytes", ONE),
    ("k8s.node.filesystem.inode.count", &[], "/fs/inodes", ONE),
    ("k8s.node.filesystem.inode.free", &[], "/fs/inodesFree", ONE),
    ("k8s.node.pid.limit", &[], "/rlimit/maxpid", ONE),
    ("k8s.node.pid.usage", &[], "/rlimit/curproc", ONE),
    ("k8s.node.swap.usage", &[], "/swap/swapUsageBytes", ONE),
    ("k8s.node.io.psi.some.time", &[], "/io/psi/some/total", MICRO),
    ("k8s.node.image_filesystem.usage", &[], "/runtime/imageFs/usedBytes", ONE),
    ("k8s.node.container_filesystem.capacity", &[], "/runtime/containerFs/capacityBytes", ONE),
];

#[rustfmt::skip]
const POINTS_OF_SYSTEM_CONTAINER: &[Row] = &[
    ("k8s.node.system_container.cpu.time", &[], "/cpu/usageCoreNanoSeconds", NANO),
    ("k8s.node.system_container.memory.working_set", &[], "/memory/workingSetBytes", ONE),
    ("k8s.node.system_container.memory.usage", &[], "/memory/usageBytes", ONE),
    ("k8s.node.system_container.memory.rss", &[], "/memory/rssBytes", ONE),
    ("k8s.node.system_container.swap.usage", &[], "/swap/swapUsageBytes", ONE),
];

#[rustfmt::skip]
const POINTS_OF_VOLUME: &[Row] = &[
    ("k8s.volume.capacity", &[], "/capacityBytes", ONE),
    ("k8s.volume.available", &[], "/availableBytes", ONE),
    ("k8s.volume.inodes", &[], "/inodes", ONE),
    ("k8s.volume.inodes.free", &[], "/inodesFree", ONE),
    ("k8s.volume.inodes.used", &[], "/inodesUsed", ONE),
    ("k8s.pod.volume.usage", &[], "/usedBytes", ONE),
];

#[rustfmt::skip]
const POINTS_OF_INTERFACE: &[Row] = &[
    ("k8s.pod.network.io", &[("direction", "receive")], "/rxBytes", ONE),
    ("k8s.pod.network.io", &[("direction", "transmit")], "/txBytes", ONE),
    ("k8s.pod.network.errors", &[("direction", "receive")], "/rxErrors", ONE),
    ("k8s.pod.network.errors", &[("direction", "transmit")], "/txErrors", ONE),
];

#[rustfmt::skip]
const POINTS_OF_NODE_INTERFACE: &[Row] = &[
    ("k8s.node.network.io", &[("direction", "receive")], "/rxBytes", ONE),
    ("k8s.node.network.io", &[("direction", "transmit")], "/txBytes", ONE),
    ("k8s.node.network.errors", &[("direction", "receive")], "/rxErrors", ONE),
    ("k8s.node.network.errors", &[("direction", "transmit")], "/txErrors", ONE),
];

/// The kubelet's own page of that path.
pub fn page(kubelet: &SimKubelet, path: &str) -> Value {
    client::get_json(kubelet.port(), path).expect("the kubelet answers")
}

fn take(found: &mut Vec<Expected>, rows: &[Row], shared: &[(&str, &str)], object: &Value) {
    for (name, labels, place, divisor) in rows {
        if let Some(value) = object.pointer(place).and_then(Value::as_f64) {
            let all = shared.iter().chain(*labels);
            found.push(Expected {
                name: (*name).to_owned(),
                labels: all
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
                value: value / divisor,
            });
        }
    }
}

fn list<'v>(object: &'v Value, place: &str) -> impl Iterator<Item = &'v Value> {
    object
        .pointer(place)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text<'v>(object: &'v Value, place: &str) -> &'v str {
    object
        .pointer(place)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Of a summary, in Prometheus' names.
pub fn of_summary(summary: &Value) -> Vec<Expected> {
    let mut found = Vec::new();
    for pod in list(summary, "/pods") {
        let of_pod = [
            ("namespace", text(pod, "/podRef/namespace")),
            ("pod", text(pod, "/podRef/name")),
        ];
        let with = |key, value| [of_pod[0], of_pod[1], (key, value)];
        for container in list(pod, "/containers") {
            let labels = with("container", text(container, "/name"));
            take(&mut found, CONTAINER, &labels, container);
            if let Some(ms) = parse_rfc3339(text(container, "/startTime")) {
                let started = serde_json::json!({"at": ms as f64 / 1e3});
                let row: Row = ("container_start_time_seconds", &[], "/at", ONE);
                take(&mut found, &[row], &labels, &started);
            }
        }
        take(&mut found, POD, &of_pod, pod);
        for interface in list(pod, "/network/interfaces") {
            let labels = with("interface", text(interface, "/name"));
            take(&mut found, INTERFACE, &labels, interface);
        }
        for volume in list(pod, "/volume") {
            let claim = text(volume, "/pvcRef/name");
            match claim.is_empty() {
                true => {
                    let labels = with("volume", text(volume, "/name"));
                    take(&mut found, VOLUME, &labels, volume);
                }
                false => {
                    let labels = [of_pod[0], ("persistentvolumeclaim", claim)];
                    take(&mut found, CLAIM, &labels, volume);
                }
            }
        }
    }
    let node = &summary["node"];
    take(&mut found, NODE, &[], node);
    for interface in list(node, "/network/interfaces") {
        let labels = [("interface", text(interface, "/name"))];
        take(&mut found, NODE_INTERFACE, &labels, interface);
    }
    for container in list(node, "/systemContainers") {
        let labels = [("container", text(container, "/name"))];
        take(&mut found, SYSTEM_CONTAINER, &labels, container);
    }
    found
}

/// The same in OpenTelemetry's, with the resource's attributes among the labels.
pub fn points_of_summary(summary: &Value) -> Vec<Expected> {
    let mut found = Vec::new();
    for pod in list(summary, "/pods") {
        let of_pod = [
            ("k8s.namespace.name", text(pod, "/podRef/namespace")),
            ("k8s.pod.name", text(pod, "/podRef/name")),
            ("k8s.pod.uid", text(pod, "/podRef/uid")),
        ];
        let with = |key, value| [of_pod[0], of_pod[1], of_pod[2], (key, value)];
        for container in list(pod, "/containers") {
            let labels = with("k8s.container.name", text(container, "/name"));
            take(&mut found, POINTS_OF_CONTAINER, &labels, container);
        }
        take(&mut found, POINTS_OF_POD, &of_pod, pod);
        for interface in list(pod, "/network/interfaces") {
            let labels = with("interface", text(interface, "/name"));
            take(&mut found, POINTS_OF_INTERFACE, &labels, interface);
        }
        for volume in list(pod, "/volume") {
            let labels = with("k8s.volume.name", text(volume, "/name"));
            take(&mut found, POINTS_OF_VOLUME, &labels, volume);
        }
    }
    let node = &summary["node"];
    let name = ("k8s.node.name", text(node, "/nodeName"));
    take(&mut found, POINTS_OF_NODE, &[name], node);
    for interface in list(node, "/network/interfaces") {
        let labels = [name, ("interface", text(interface, "/name"))];
        take(&mut found, POINTS_OF_NODE_INTERFACE, &labels, interface);
    }
    for container in list(node, "/systemContainers") {
        let own = ("k8s.node.system_container.name", text(container, "/name"));
        take(
            &mut found,
            POINTS_OF_SYSTEM_CONTAINER,
            &[name, own],
            container,
        );
    }
    found
}

/// Of `/pods`, in the names of kube-state-metrics.
pub fn of_pods(pods: &Value) -> Vec<Expected> {
    let mut found = Vec::new();
    let mut push = |name: &str, labels: &[(&str, &str)], value: f64| {
        let labels = labels.iter();
        found.push(Expected {
            name: name.to_owned(),
            labels: labels
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            value,
        });
    };
    for pod in list(pods, "/items") {
        let of_pod = [
            ("namespace", text(pod, "/metadata/namespace")),
            ("pod", text(pod, "/metadata/name")),
        ];
        let with = |more: &[(&'static str, &str)]| {
            let more = more.iter().map(|(key, value)| (*key, (*value).to_owned()));
            let own = of_pod.map(|(key, value)| (key, value.to_owned()));
            own.into_iter().chain(more).collect::<Vec<_>>()
        };
        let mut push = |name: &str, labels: &[(&'static str, String)], value: f64| {
            let labels: Vec<_> = labels.iter().map(|(key, value)| (*key, &**value)).collect();
            push(name, &labels, value);
        };
        push("kube_pod_info", &with(&[]), 1.0);
        for phase in ["Pending", "Running", "Succeeded", "Failed", "Unknown"] {
            let is = text(pod, "/status/phase") == phase;
            push(
                "kube_pod_status_phase",
                &with(&[("phase", phase)]),
                is.into(),
            );
        }
        for class in ["BestEffort", "Burstable", "Guaranteed"] {
            let is = text(pod, "/status/qosClass") == class;
            let labels = with(&[("qos_class", class)]);
            push("kube_pod_status_qos_class", &labels, is.into());
        }
        for (statuses, specs, kind) in [
            ("/status/containerStatuses", "/spec/containers", "container"),
            (
                "/status/initContainerStatuses",
                "/spec/initContainers",
                "init_container",
            ),
        ] {
            for status in list(pod, statuses) {
                let own = [("container", text(status, "/name"))];
                let restarts = status["restartCount"].as_f64().unwrap_or_default();
                let name = format!("kube_pod_{kind}_status_restarts_total");
                push(&name, &with(&own), restarts);
                for (of, name) in [
                    ("/state/waiting/reason", "waiting_reason"),
                    ("/lastState/terminated/reason", "last_terminated_reason"),
                ] {
                    let reason = text(status, of);
                    if !reason.is_empty() {
                        let labels = with(&[own[0], ("reason", reason)]);
                        push(&format!("kube_pod_{kind}_status_{name}"), &labels, 1.0);
                    }
                }
            }
            for spec in list(pod, specs) {
                for (list, name) in [("requests", "requests"), ("limits", "limits")] {
                    for (resource, unit) in [("cpu", "core"), ("memory", "byte")] {
                        let given = text(spec, &format!("/resources/{list}/{resource}"));
                        if let Some(quantity) = quantity(given) {
                            let own = ("container", text(spec, "/name"));
                            let labels = with(&[own, ("resource", resource), ("unit", unit)]);
                            push(
                                &format!("kube_pod_{kind}_resource_{name}"),
                                &labels,
                                quantity,
                            );
                        }
                    }
                }
            }
        }
    }
    found
}

/// Those that are used here of Kubernetes' quantities.
fn quantity(text: &str) -> Option<f64> {
    let end = text
        .find(|c: char| c.is_ascii_alphabetic())
        .unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    let by = match &text[end..] {
        "" => 1.0,
        "m" => 1e-3,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("the unit of {text:?}: {other:?}"),
    };
    Some(number * by)
}

/// Equal but for what the last digits of a double can hold.
pub fn is_equal(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected.abs() * 1e-12
}
