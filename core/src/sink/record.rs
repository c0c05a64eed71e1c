//! Records: a container's sample as one event in msgpack. No clock, no socket.
//!
//! Whom a record is about stands here; which values it has, what they are called and how
//! they are made of the kubelet's, in the [catalogue](crate::catalogue). What the kubelet
//! left out is left out.

use crate::{
    catalogue::{Disk, Level, PodTraffic, Rate},
    options::Config,
    rates::Sample,
    sink::msgpack::{Map, Writer},
    summary::{Container, Pod},
};

/// What the options say about every record.
#[derive(Debug, Clone)]
pub struct CommonFields {
    service: Option<String>,
    region: Option<String>,
    node_name: Option<String>,
}

impl CommonFields {
    /// As far as they are set.
    pub fn new(config: &Config) -> Self {
        Self {
            service: config.service.clone(),
            region: config.region.clone(),
            node_name: config.node_name.clone(),
        }
    }
}

/// Events behind one another, as Fluent Bit's append takes them.
#[derive(Debug, Default)]
pub struct Records {
    out: Writer,
    count: usize,
    level: Level,
}

impl Records {
    /// Starts in the memory of a batch that is done with.
    pub fn reusing(memory: Vec<u8>, level: Level) -> Self {
        Self {
            out: Writer::reusing(memory),
            count: 0,
            level,
        }
    }

    /// So far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// All of them.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// Appends the record of a container.
    pub fn container(
        &mut self,
        common: &CommonFields,
        kubelet_node: Option<&str>,
        pod: &Pod,
        container: &Container,
        sample: Sample,
    ) {
        let service = common.service.as_deref().unwrap_or(&container.name);
        let node = common.node_name.as_deref().or(kubelet_node);
        let level = self.level;

        self.count += 1;
        let mut out = self.out.event(sample.time);
        out.uint("timestamp", sample.time.as_millis());
        out.rfc3339("timestamp_iso", sample.time);
        out.text("service", service);
        out.text("podName", &pod.name);
        out.text("namespace", &pod.namespace);
        out.text("podUid", &pod.uid);
        out.text("containerName", &container.name);
        if let Some(node) = node {
            out.text("nodeName", node);
        }
        let rate = Rate {
            nano_cores: Some(sample.nano_cores),
            ..Rate::default()
        };
        rate.fields("cpu", level, &mut out);
        container.stats.fields(level, &mut out);
        disk(container).fields("disk", level, &mut out);
        let traffic = PodTraffic {
            rx_bytes: pod.network.total.rx_bytes,
            tx_bytes: pod.network.total.tx_bytes,
            ..PodTraffic::default()
        };
        traffic.fields("network", level, &mut out);
        metadata(&mut out, common.region.as_deref(), node, &pod.namespace);
    }
}

/// Logs stand in where the runtime does not tell of the rest, not until it does.
fn disk(container: &Container) -> Disk {
    let stats = &container.stats;
    let known = [&stats.rootfs, &stats.logs]
        .into_iter()
        .find(|filesystem| filesystem.used.is_some());
    let measured = known.filter(|filesystem| !filesystem.is_pending());
    Disk {
        used: measured.and_then(|filesystem| filesystem.used),
        ..Disk::default()
    }
}

fn metadata(out: &mut Map, region: Option<&str>, node: Option<&str>, namespace: &str) {
    let mut out = out.map("metadata");
    if let Some(region) = region {
        out.text("region", region);
    }
    if let Some(node) = node {
        out.text("node", node);
    }
    out.text("namespace", namespace);
}
