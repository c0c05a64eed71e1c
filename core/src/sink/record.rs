//! Makes records: a sample of a container, a pod, the node … becomes one event in msgpack. This
//! module knows no clock and no socket.
//!
//! This module writes the identity in a record. The [catalogue](crate::catalogue) knows which
//! values it has, their names, and how they are made from the kubelet's values. A value that the
//! kubelet does not report is absent.

use std::borrow::Cow;

use crate::{
    catalogue::{
        Age, Allotment, Disk, Level, PodTraffic, Rate, Restarts, Traffic, TrafficRate, VolumeHealth,
    },
    facts::{ContainerFacts, PodFacts, Resources},
    number::Number,
    options::Config,
    rates::Reading,
    sink::msgpack::{Map, Writer},
    summary::{Container, Interface, Node, Pod, Volume},
    timestamp::Timestamp,
};

/// What a record describes: its field `kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A container of a pod.
    Container,
    /// A pod.
    Pod,
    /// The node.
    Node,
    /// What runs on the node outside pods.
    SystemContainer,
    /// A volume of a pod.
    Volume,
    /// A network interface of a pod or of the node.
    Interface,
}

impl Kind {
    /// The name in the record and in the option `metric_groups`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Node => "node",
            Self::SystemContainer => "system_container",
            Self::Volume => "volume",
            Self::Interface => "interface",
        }
    }
}

/// The values of the options for every record.
#[derive(Debug, Clone)]
pub struct CommonFields {
    service: Option<String>,
    region: Option<String>,
    node_name: Option<String>,
    cluster: Option<String>,
    level: Level,
    has_kind: bool,
}

impl CommonFields {
    /// Takes the values that are set.
    pub fn new(config: &Config) -> Self {
        Self {
            service: config.service.clone(),
            region: config.region.clone(),
            node_name: config.node_name.clone(),
            cluster: config.cluster.clone(),
            level: config.plan.level,
            has_kind: config.plan.wants_other_kinds(),
        }
    }
}

/// Events one after the other, as Fluent Bit's append accepts them.
#[derive(Debug)]
pub struct Records<'s> {
    out: Writer,
    count: usize,
    common: &'s CommonFields,
    /// The node's name: the kubelet's, unless the options have another.
    node: Option<&'s str>,
}

/// What a record describes.
struct Subject<'s> {
    kind: Kind,
    pod: Option<&'s Pod<'s>>,
    container: Option<&'s str>,
    started: Option<Timestamp>,
    facts: Option<&'s PodFacts>,
}

impl<'s> Subject<'s> {
    fn of_pod(kind: Kind, pod: &'s Pod<'s>) -> Self {
        Self {
            kind,
            pod: Some(pod),
            container: None,
            started: pod.start_time,
            facts: None,
        }
    }

    fn of_node(kind: Kind) -> Self {
        Self {
            kind,
            pod: None,
            container: None,
            started: None,
            facts: None,
        }
    }
}

impl<'s> Records<'s> {
    /// Begins in the memory of a finished batch.
    pub fn reusing(
        memory: Vec<u8>,
        common: &'s CommonFields,
        kubelet_node: Option<&'s str>,
    ) -> Self {
        Self {
            out: Writer::reusing(memory),
            count: 0,
            common,
            node: common.node_name.as_deref().or(kubelet_node),
        }
    }

    /// The number of records so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Returns all events.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// Appends the record of a container.
    pub fn container(
        &mut self,
        pod: &Pod,
        facts: Option<&PodFacts>,
        container: &Container,
        reading: &Reading,
    ) {
        let subject = Subject {
            container: Some(&container.name),
            started: container.start_time,
            facts,
            ..Subject::of_pod(Kind::Container, pod)
        };
        self.record(reading.time, &subject, |out, level| {
            let level = level.of_containers();
            rate(reading.nano_cores).fields("cpu", level, out);
            container.stats.fields(level, out);
            disk(container).fields("disk", level, out);
            let traffic = PodTraffic {
                rx_bytes: pod.network.total.rx_bytes,
                tx_bytes: pod.network.total.tx_bytes,
                ..PodTraffic::default()
            };
            traffic.fields("network", level, out);
            if let Some(facts) = facts.and_then(|facts| facts.container(&container.name)) {
                container_facts(facts, container.start_time, out);
                let used = container.stats.memory.working_set;
                allotment(&facts.resources, reading.nano_cores, used, out);
            }
        });
    }

    /// Appends the record of a pod.
    pub fn pod(&mut self, pod: &Pod, facts: Option<&PodFacts>, reading: &Reading) {
        let subject = Subject {
            facts,
            ..Subject::of_pod(Kind::Pod, pod)
        };
        self.record(reading.time, &subject, |out, level| {
            rate(reading.nano_cores).fields("cpu", level, out);
            if let Some(stats) = &pod.stats {
                stats.fields(level, out);
            }
            network(&pod.network.total, &reading.traffic, level, out);
            if let Some(facts) = facts {
                let used = pod
                    .stats
                    .as_ref()
                    .and_then(|stats| stats.memory.working_set);
                allotment(&facts.resources, reading.nano_cores, used, out);
            }
        });
    }

    /// Appends the record of a pod without statistics. Such a pod waits or has ended.
    pub fn pod_without_stats(&mut self, facts: &PodFacts, now: Timestamp) {
        let pod = Pod {
            name: Cow::Borrowed(&facts.name),
            namespace: Cow::Borrowed(&facts.namespace),
            uid: Cow::Borrowed(facts.config_hash.as_ref().unwrap_or(&facts.uid)),
            start_time: facts.start_time,
            ..Pod::default()
        };
        let subject = Subject {
            facts: Some(facts),
            ..Subject::of_pod(Kind::Pod, &pod)
        };
        self.record(now, &subject, |out, _| {
            allotment(&facts.resources, None, None, out);
        });
    }

    /// Appends the record of a volume.
    pub fn volume(
        &mut self,
        pod: &Pod,
        facts: Option<&PodFacts>,
        volume: &Volume,
        time: Timestamp,
    ) {
        let subject = Subject {
            facts,
            ..Subject::of_pod(Kind::Volume, pod)
        };
        self.record(time, &subject, |out, level| {
            out.text("volumeName", &volume.name);
            if let Some(claim) = &volume.claim {
                out.text("pvcName", claim);
            }
            volume.filesystem.fields("volume", level, out);
            let health = VolumeHealth {
                abnormal: volume.is_abnormal.and_then(|is| Number::new(is.into())),
                ..VolumeHealth::default()
            };
            health.fields("volume_health", level, out);
        });
    }

    /// Appends the record of an interface of a pod or of the node.
    pub fn interface(&mut self, pod: Option<&Pod>, interface: &Interface, reading: &Reading) {
        let subject = match pod {
            Some(pod) => Subject::of_pod(Kind::Interface, pod),
            None => Subject::of_node(Kind::Interface),
        };
        self.record(reading.time, &subject, |out, level| {
            out.text("interface", &interface.name);
            network(&interface.traffic, &reading.traffic, level, out);
        });
    }

    /// Appends the record of the node.
    pub fn node(&mut self, node: &Node, reading: &Reading) {
        let subject = Subject {
            started: node.start_time,
            ..Subject::of_node(Kind::Node)
        };
        self.record(reading.time, &subject, |out, level| {
            rate(reading.nano_cores).fields("cpu", level, out);
            node.stats.fields(level, out);
            network(&node.network.total, &reading.traffic, level, out);
            node.runtime.fields(level, out);
        });
    }

    /// Appends the record of a system container.
    pub fn system_container(&mut self, container: &Container, reading: &Reading) {
        let subject = Subject {
            container: Some(&container.name),
            started: container.start_time,
            ..Subject::of_node(Kind::SystemContainer)
        };
        self.record(reading.time, &subject, |out, level| {
            rate(reading.nano_cores).fields("cpu", level, out);
            container.stats.fields(level, out);
        });
    }

    /// Appends a record: the identity, the values that `values` adds, and the end that all records
    /// have.
    fn record(&mut self, time: Timestamp, subject: &Subject, values: impl FnOnce(&mut Map, Level)) {
        let common = self.common;
        self.count += 1;
        let mut out = self.out.event(time);
        out.uint("timestamp", time.as_millis());
        out.rfc3339("timestamp_iso", time);
        if common.has_kind {
            out.text("kind", subject.kind.as_str());
        }
        let of_pod = subject.container.filter(|_| subject.pod.is_some());
        if let Some(service) = common.service.as_deref().or(of_pod) {
            out.text("service", service);
        }
        if let Some(pod) = subject.pod {
            out.text("podName", &pod.name);
            out.text("namespace", &pod.namespace);
            out.text("podUid", &pod.uid);
        }
        if let Some(container) = subject.container {
            out.text("containerName", container);
        }
        if let Some(node) = self.node {
            out.text("nodeName", node);
        }
        if let Some(cluster) = &common.cluster {
            out.text("cluster", cluster);
        }
        if let Some(facts) = subject.facts {
            pod_facts(facts, &mut out);
        }
        values(&mut out, common.level);
        if let Some(started) = subject.started.filter(|_| common.level == Level::All) {
            out.rfc3339("start_time", started);
            let age = Age::at(time, Some(started));
            age.fields("uptime", common.level, &mut out);
        }
        let namespace = subject.pod.map(|pod| pod.namespace.as_ref());
        metadata(&mut out, common.region.as_deref(), self.node, namespace);
    }
}

fn pod_facts(facts: &PodFacts, out: &mut Map) {
    if let Some(workload) = &facts.workload {
        out.text("workload_kind", &workload.kind);
        out.text("workload_name", &workload.name);
    }
    optional(out, "qos_class", facts.qos_class.as_deref());
    optional(out, "phase", facts.phase.as_deref());
    optional(out, "status_reason", facts.reason.as_deref());
    for (key, members) in [
        ("labels", &facts.labels),
        ("annotations", &facts.annotations),
    ] {
        if !members.is_empty() {
            let mut map = out.map(key);
            for (name, value) in members {
                map.text(name, value);
            }
        }
    }
}

/// Writes the facts of a container. If its run began later than every run in `/pods`, only the
/// facts that all runs share are written.
fn container_facts(facts: &ContainerFacts, started: Option<Timestamp>, out: &mut Map) {
    optional(out, "image", facts.image.as_deref());
    out.text("container_type", facts.kind.as_str());
    if facts.is_behind(started) {
        return;
    }
    optional(out, "container_id", facts.container_id.as_deref());
    let restarts = Restarts {
        count: facts.restart_count.and_then(Number::new),
        ..Restarts::default()
    };
    restarts.fields("", Level::Least, out);
    optional(out, "state", facts.state.map(|state| state.as_str()));
    optional(out, "state_reason", facts.state_reason.as_deref());
    let reason = facts.last_termination_reason.as_deref();
    optional(out, "last_termination_reason", reason);
    if let Some(code) = facts.last_exit_code {
        out.int("last_exit_code", code);
    }
}

fn allotment(
    resources: &Resources,
    nano_cores: Option<f64>,
    working_set: Option<Number>,
    out: &mut Map,
) {
    let allotment = Allotment::from(resources);
    allotment.fields("", Level::Least, out);
    let used = allotment.used_by(nano_cores, working_set);
    used.fields("", Level::Least, out);
}

fn optional(out: &mut Map, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        out.text(key, value);
    }
}

fn rate(nano_cores: Option<f64>) -> Rate {
    Rate {
        nano_cores,
        ..Rate::default()
    }
}

fn network(counters: &Traffic, rate: &TrafficRate, level: Level, out: &mut Map) {
    counters.fields("network", level, out);
    rate.fields("network", level, out);
}

/// The used bytes of the root file system. If the runtime does not report them, those of the logs
/// are used instead. They are absent while the kubelet has not measured the root file system yet.
fn disk(container: &Container) -> Disk {
    let (rootfs, logs) = (&container.stats.rootfs, &container.stats.logs);
    let used = match rootfs.is_pending() {
        true => rootfs.used,
        false => rootfs.used.or(logs.used),
    };
    Disk {
        used,
        ..Disk::default()
    }
}

fn metadata(out: &mut Map, region: Option<&str>, node: Option<&str>, namespace: Option<&str>) {
    let mut out = out.map("metadata");
    optional(&mut out, "region", region);
    optional(&mut out, "node", node);
    optional(&mut out, "namespace", namespace);
}
