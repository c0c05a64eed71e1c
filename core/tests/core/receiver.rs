//! The metrics of OpenTelemetry's kubeletstats receiver, as its public documentation had
//! them in November 2026, and what of them this plugin has. `core/tests/core/metrics.rs` holds the
//! plugin to it, `tests/docs` makes the table of `docs/from-opentelemetry.md` of it.

/// What the receiver says of a metric's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `Gauge`
    Gauge,
    /// `Sum`, cumulative and monotonic.
    Counter,
    /// `Sum`, cumulative and not monotonic.
    UpDown,
}

/// What we have of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// The same name, type and unit.
    Same,
    /// The same name and unit as another type, and why.
    As(Type, &'static str),
    /// Nothing of that name; what there is instead.
    None(&'static str),
}

/// One row.
#[derive(Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Type,
    pub unit: &'static str,
    /// Whether the receiver has it without being asked.
    pub is_default: bool,
    pub ours: Ours,
}

const fn default(name: &'static str, kind: Type, unit: &'static str, ours: Ours) -> Metric {
    Metric {
        name,
        kind,
        unit,
        is_default: true,
        ours,
    }
}

const fn optional(name: &'static str, kind: Type, unit: &'static str, ours: Ours) -> Metric {
    Metric {
        name,
        kind,
        unit,
        is_default: false,
        ours,
    }
}

use Ours::{As, None, Same};
use Type::{Counter, Gauge, UpDown};

const FAULTS: Ours = As(Counter, "it only rises, so `rate` works on it");
const NOT_ADDED: Ours = As(Gauge, "it does not count events");
const AGE: Ours = As(Gauge, "it is an age, with fractions of a second");
const POD_LIMITS: &str = "but of the pod's own requests and limits, which Kubernetes has from 1.34, not of the sum over its containers";
const OF_WORKING_SET: &str = "but of the working set, which the kubelet uses for evictions; the receiver takes the usage, which includes caches";
const POD_MEMORY: &str =
    "but of the working set and of the pod's own requests and limits, as above";
const OF_NODE: Ours = None("deprecated in the receiver; divide by the node's capacity");

/// All of them.
#[rustfmt::skip]
pub const METRICS: &[Metric] = &[
    default("container.cpu.time", Counter, "s", Same),
    default("container.cpu.usage", Gauge, "{cpu}", Same),
    default("container.filesystem.available", Gauge, "By", Same),
    default("container.filesystem.capacity", Gauge, "By", Same),
    default("container.filesystem.usage", Gauge, "By", Same),
    default("container.memory.available", Gauge, "By", Same),
    default("container.memory.major_page_faults", Gauge, "1", FAULTS),
    default("container.memory.page_faults", Gauge, "1", FAULTS),
    default("container.memory.rss", Gauge, "By", Same),
    default("container.memory.usage", Gauge, "By", Same),
    default("container.memory.working_set", Gauge, "By", Same),
    default("k8s.node.cpu.time", Counter, "s", Same),
    default("k8s.node.cpu.usage", Gauge, "{cpu}", Same),
    default("k8s.node.filesystem.available", Gauge, "By", Same),
    default("k8s.node.filesystem.capacity", Gauge, "By", Same),
    default("k8s.node.filesystem.usage", Gauge, "By", Same),
    default("k8s.node.memory.available", Gauge, "By", Same),
    default("k8s.node.memory.major_page_faults", Gauge, "1", FAULTS),
    default("k8s.node.memory.page_faults", Gauge, "1", FAULTS),
    default("k8s.node.memory.rss", Gauge, "By", Same),
    default("k8s.node.memory.usage", Gauge, "By", Same),
    default("k8s.node.memory.working_set", Gauge, "By", Same),
    default("k8s.node.network.errors", Counter, "1", Same),
    default("k8s.node.network.io", Counter, "By", Same),
    default("k8s.pod.cpu.time", Counter, "s", Same),
    default("k8s.pod.cpu.usage", Gauge, "{cpu}", Same),
    default("k8s.pod.filesystem.available", Gauge, "By", Same),
    default("k8s.pod.filesystem.capacity", Gauge, "By", Same),
    default("k8s.pod.filesystem.usage", Gauge, "By", Same),
    default("k8s.pod.memory.available", Gauge, "By", Same),
    default("k8s.pod.memory.major_page_faults", Gauge, "1", FAULTS),
    default("k8s.pod.memory.page_faults", Gauge, "1", FAULTS),
    default("k8s.pod.memory.rss", Gauge, "By", Same),
    default("k8s.pod.memory.usage", Gauge, "By", Same),
    default("k8s.pod.memory.working_set", Gauge, "By", Same),
    default("k8s.pod.network.errors", Counter, "1", Same),
    default("k8s.pod.network.io", Counter, "By", Same),
    default("k8s.volume.available", Gauge, "By", Same),
    default("k8s.volume.capacity", Gauge, "By", Same),
    default("k8s.volume.inodes", Gauge, "1", Same),
    default("k8s.volume.inodes.free", Gauge, "1", Same),
    default("k8s.volume.inodes.used", Gauge, "1", Same),
    optional("container.uptime", Counter, "s", AGE),
    optional("k8s.container.cpu.node.utilization", Gauge, "1", OF_NODE),
    optional("k8s.container.cpu_limit_utilization", Gauge, "1", Same),
    optional("k8s.container.cpu_request_utilization", Gauge, "1", Same),
    optional("k8s.container.ephemeral_storage.usage", UpDown, "By", None("`container.filesystem.usage` is its `rootfs`, `container.logs.usage` its `logs`")),
    optional("k8s.container.memory.node.utilization", Gauge, "1", OF_NODE),
    optional("k8s.container.memory_limit_utilization", Gauge, "1", As(Gauge, OF_WORKING_SET)),
    optional("k8s.container.memory_request_utilization", Gauge, "1", As(Gauge, OF_WORKING_SET)),
    optional("k8s.node.filesystem.inode.count", UpDown, "{inode}", NOT_ADDED),
    optional("k8s.node.filesystem.inode.free", UpDown, "{inode}", NOT_ADDED),
    optional("k8s.node.pid.limit", UpDown, "{thread}", NOT_ADDED),
    optional("k8s.node.pid.usage", UpDown, "{thread}", NOT_ADDED),
    optional("k8s.node.system_container.cpu.time", Counter, "s", Same),
    optional("k8s.node.system_container.cpu.usage", Gauge, "{cpu}", Same),
    optional("k8s.node.system_container.memory.usage", Gauge, "By", Same),
    optional("k8s.node.system_container.memory.working_set", Gauge, "By", Same),
    optional("k8s.node.uptime", Counter, "s", AGE),
    optional("k8s.pod.cpu.node.utilization", Gauge, "1", OF_NODE),
    optional("k8s.pod.cpu_limit_utilization", Gauge, "1", As(Gauge, POD_LIMITS)),
    optional("k8s.pod.cpu_request_utilization", Gauge, "1", As(Gauge, POD_LIMITS)),
    optional("k8s.pod.memory.node.utilization", Gauge, "1", OF_NODE),
    optional("k8s.pod.memory_limit_utilization", Gauge, "1", As(Gauge, POD_MEMORY)),
    optional("k8s.pod.memory_request_utilization", Gauge, "1", As(Gauge, POD_MEMORY)),
    optional("k8s.pod.uptime", Counter, "s", AGE),
    optional("k8s.pod.volume.usage", UpDown, "By", NOT_ADDED),
];
