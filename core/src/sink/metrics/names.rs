//! Knows the names of metrics. A row of the [catalogue](crate::catalogue) has a name by rule. If
//! others already have a name for the same number, that name is used.

use std::borrow::Cow;

use super::{Scope, unit_code};
use crate::catalogue::{
    Age, ContainerStats, Filesystem, NodeStats, Part, PodStats, Rate, Restarts, RuntimeStats,
    Traffic, TrafficRate, Utilization, Value, VolumeHealth,
};

/// A name of a number that replaces the name by rule or is used in addition to it.
#[derive(Debug)]
pub struct Established {
    /// The scope of the number.
    pub scope: Scope,
    /// The end of its name by rule.
    pub tail: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Labels in addition to those of the scope.
    pub labels: &'static [(&'static str, &'static str)],
}

const fn of(
    scope: Scope,
    tail: &'static str,
    name: &'static str,
    labels: &'static [(&'static str, &'static str)],
) -> Established {
    Established {
        scope,
        tail,
        name,
        labels,
    }
}

use Scope::{Claim, Container, Node, NodeNetwork, Pod, PodNetwork, Volume};

/// The label of cAdvisor's root series, which describe the node.
const ROOT: &[(&str, &str)] = &[("id", "/")];

/// The names on a kubelet's own pages, `/metrics/cadvisor`, `/metrics/resource` and `/metrics`.
#[rustfmt::skip]
pub const ESTABLISHED: &[Established] = &[
    of(Container, "cpu_usage_seconds_total", "container_cpu_usage_seconds_total", &[("cpu", "total")]),
    of(Container, "memory_working_set_bytes", "container_memory_working_set_bytes", &[]),
    of(Container, "memory_usage_bytes", "container_memory_usage_bytes", &[]),
    of(Container, "memory_rss_bytes", "container_memory_rss", &[]),
    of(Container, "memory_page_faults_total", "container_memory_failures_total", &[("failure_type", "pgfault"), ("scope", "container")]),
    of(Container, "memory_major_page_faults_total", "container_memory_failures_total", &[("failure_type", "pgmajfault"), ("scope", "container")]),
    of(Container, "swap_usage_bytes", "container_memory_swap", &[]),
    of(Container, "swap_usage_bytes", "container_swap_usage_bytes", &[]),
    of(Container, "start_time_seconds", "container_start_time_seconds", &[]),
    of(Container, "rootfs_used_bytes", "container_fs_usage_bytes", &[]),
    of(Container, "rootfs_capacity_bytes", "container_fs_limit_bytes", &[]),
    of(Container, "rootfs_inodes", "container_fs_inodes_total", &[]),
    of(Container, "rootfs_inodes_free", "container_fs_inodes_free", &[]),
    of(Container, "cpu_psi_some_seconds_total", "container_pressure_cpu_waiting_seconds_total", &[]),
    of(Container, "cpu_psi_full_seconds_total", "container_pressure_cpu_stalled_seconds_total", &[]),
    of(Container, "memory_psi_some_seconds_total", "container_pressure_memory_waiting_seconds_total", &[]),
    of(Container, "memory_psi_full_seconds_total", "container_pressure_memory_stalled_seconds_total", &[]),
    of(Container, "io_psi_some_seconds_total", "container_pressure_io_waiting_seconds_total", &[]),
    of(Container, "io_psi_full_seconds_total", "container_pressure_io_stalled_seconds_total", &[]),
    of(PodNetwork, "receive_bytes_total", "container_network_receive_bytes_total", &[]),
    of(PodNetwork, "transmit_bytes_total", "container_network_transmit_bytes_total", &[]),
    of(PodNetwork, "receive_errors_total", "container_network_receive_errors_total", &[]),
    of(PodNetwork, "transmit_errors_total", "container_network_transmit_errors_total", &[]),
    of(Pod, "cpu_usage_seconds_total", "pod_cpu_usage_seconds_total", &[]),
    of(Pod, "memory_working_set_bytes", "pod_memory_working_set_bytes", &[]),
    of(Pod, "swap_usage_bytes", "pod_swap_usage_bytes", &[]),
    of(Node, "cpu_usage_seconds_total", "node_cpu_usage_seconds_total", &[]),
    of(Node, "cpu_usage_seconds_total", "container_cpu_usage_seconds_total", &[("id", "/"), ("cpu", "total")]),
    of(Node, "memory_working_set_bytes", "node_memory_working_set_bytes", &[]),
    of(Node, "memory_working_set_bytes", "container_memory_working_set_bytes", ROOT),
    of(Node, "memory_usage_bytes", "container_memory_usage_bytes", ROOT),
    of(Node, "memory_rss_bytes", "container_memory_rss", ROOT),
    of(Node, "swap_usage_bytes", "node_swap_usage_bytes", &[]),
    of(Node, "fs_used_bytes", "container_fs_usage_bytes", ROOT),
    of(Node, "fs_capacity_bytes", "container_fs_limit_bytes", ROOT),
    of(NodeNetwork, "receive_bytes_total", "container_network_receive_bytes_total", ROOT),
    of(NodeNetwork, "transmit_bytes_total", "container_network_transmit_bytes_total", ROOT),
    of(NodeNetwork, "receive_errors_total", "container_network_receive_errors_total", ROOT),
    of(NodeNetwork, "transmit_errors_total", "container_network_transmit_errors_total", ROOT),
    of(Claim, "capacity_bytes", "kubelet_volume_stats_capacity_bytes", &[]),
    of(Claim, "available_bytes", "kubelet_volume_stats_available_bytes", &[]),
    of(Claim, "used_bytes", "kubelet_volume_stats_used_bytes", &[]),
    of(Claim, "inodes", "kubelet_volume_stats_inodes", &[]),
    of(Claim, "inodes_free", "kubelet_volume_stats_inodes_free", &[]),
    of(Claim, "inodes_used", "kubelet_volume_stats_inodes_used", &[]),
    of(Claim, "health_abnormal", "kubelet_volume_stats_health_status_abnormal", &[]),
];

const fn part(prefix: &'static str, opentelemetry: &'static str, values: &'static [Value]) -> Part {
    Part {
        json: "",
        prefix,
        opentelemetry,
        values,
    }
}

const RATE: Part = part("cpu", "cpu", Rate::VALUES);
const AGE: Part = part("", "", Age::VALUES);
const USED: Part = part("", "", Utilization::VALUES);

impl Scope {
    /// All scopes, in their order.
    pub const ALL: [Self; 8] = [
        Container,
        Pod,
        Node,
        Self::SystemContainer,
        Volume,
        PodNetwork,
        NodeNetwork,
        Claim,
    ];

    /// The groups of the scope, in their order.
    pub fn parts(self) -> Vec<&'static Part> {
        const NETWORK: [Part; 2] = [
            part("", "network", Traffic::VALUES),
            part("", "network", TrafficRate::VALUES),
        ];
        const OF_VOLUME: [Part; 2] = [
            part("", "volume", Filesystem::VALUES),
            part("health", "volume", VolumeHealth::VALUES),
        ];
        const RESTARTS: Part = part("", "", Restarts::VALUES);
        let (first, own, last): (&[Part], &[Part], &[Part]) = match self {
            Container => (&[RATE, AGE], ContainerStats::PARTS, &[USED, RESTARTS]),
            Self::SystemContainer => (&[RATE, AGE], ContainerStats::PARTS, &[]),
            Pod => (&[RATE, AGE], PodStats::PARTS, &[USED]),
            Node => (&[RATE, AGE], NodeStats::PARTS, RuntimeStats::PARTS),
            PodNetwork | NodeNetwork => (&NETWORK, &[], &[]),
            Volume | Claim => (&OF_VOLUME, &[], &[]),
        };
        [first, own, last].into_iter().flatten().collect()
    }

    /// The prefix of a Prometheus name by rule.
    pub const fn prefix(self) -> &'static str {
        match self {
            Container => "kubeletstats_container_",
            Pod => "kubeletstats_pod_",
            Node => "kubeletstats_node_",
            Self::SystemContainer => "kubeletstats_system_container_",
            Volume | Claim => "kubeletstats_volume_",
            PodNetwork => "kubeletstats_pod_network_",
            NodeNetwork => "kubeletstats_node_network_",
        }
    }

    /// The prefix of an OpenTelemetry name, as in the kubeletstats receiver.
    const fn opentelemetry(self) -> &'static str {
        match self {
            Container => "container",
            Pod | PodNetwork => "k8s.pod",
            Node | NodeNetwork => "k8s.node",
            Self::SystemContainer => "k8s.node.system_container",
            Volume | Claim => "k8s",
        }
    }
}

/// A name of a row, with its unit and labels.
#[derive(Debug)]
pub struct Named {
    /// The name of the metric.
    pub name: Cow<'static, str>,
    /// The unit in OpenTelemetry's form.
    pub unit: &'static str,
    /// Labels in addition to those of the scope.
    pub labels: &'static [(&'static str, &'static str)],
}

impl Named {
    /// Whether it is cAdvisor's series of the node.
    pub fn is_root(&self) -> bool {
        self.labels.contains(&ROOT[0])
    }
}

/// Returns a row's names in Prometheus' style. If there is no established name, it is the name by
/// rule. The names of the root series are additional.
pub fn prometheus(scope: Scope, part: &Part, row: &Value) -> Vec<Named> {
    if row.metric.is_empty() {
        return Vec::new();
    }
    let unit = unit_code(row.unit);
    let tail = format!("{}{}", part.prefix, row.metric);
    let tail = tail.trim_start_matches('_');
    let established = ESTABLISHED
        .iter()
        .filter(|one| one.scope == scope && one.tail == tail);
    let mut names: Vec<_> = established
        .map(|one| Named {
            name: Cow::Borrowed(one.name),
            unit,
            labels: one.labels,
        })
        .collect();
    if names.iter().all(Named::is_root) {
        names.push(Named {
            name: Cow::Owned(format!("{}{tail}", scope.prefix())),
            unit,
            labels: &[],
        });
    }
    names
}

/// The receiver's names that differ from the name by rule: the name by rule, the receiver's name,
/// and its unit if that differs too.
const OF_RECEIVER: &[(&str, &str, Option<&str>)] = &[
    (
        "container.cpu_request_utilization",
        "k8s.container.cpu_request_utilization",
        None,
    ),
    (
        "container.cpu_limit_utilization",
        "k8s.container.cpu_limit_utilization",
        None,
    ),
    (
        "container.memory_request_utilization",
        "k8s.container.memory_request_utilization",
        None,
    ),
    (
        "container.memory_limit_utilization",
        "k8s.container.memory_limit_utilization",
        None,
    ),
    ("container.restarts", "k8s.container.restarts", None),
    ("k8s.volume.usage", "k8s.pod.volume.usage", None),
    (
        "k8s.node.filesystem.inodes",
        "k8s.node.filesystem.inode.count",
        Some("{inode}"),
    ),
    (
        "k8s.node.filesystem.inodes.free",
        "k8s.node.filesystem.inode.free",
        Some("{inode}"),
    ),
    (
        "k8s.node.rlimit.maxpid",
        "k8s.node.pid.limit",
        Some("{thread}"),
    ),
    (
        "k8s.node.rlimit.curproc",
        "k8s.node.pid.usage",
        Some("{thread}"),
    ),
];

/// Returns a row's name in OpenTelemetry's style, if it has one.
pub fn opentelemetry(scope: Scope, part: &Part, row: &Value) -> Vec<Named> {
    if row.opentelemetry.is_empty() {
        return Vec::new();
    }
    let names = [scope.opentelemetry(), part.opentelemetry, row.opentelemetry];
    let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
    let by_rule = names.join(".");
    let other = OF_RECEIVER.iter().find(|(rule, ..)| *rule == by_rule);
    let (name, unit) = match other {
        Some((_, name, unit)) => (Cow::Borrowed(*name), *unit),
        None => (Cow::Owned(by_rule), None),
    };
    let is_network = matches!(scope, PodNetwork | NodeNetwork);
    let labels: &[_] = match row.metric.contains("receive") {
        _ if !is_network => &[],
        true => &[("direction", "receive")],
        false => &[("direction", "transmit")],
    };
    vec![Named {
        name,
        unit: unit.unwrap_or(unit_code(row.unit)),
        labels,
    }]
}
