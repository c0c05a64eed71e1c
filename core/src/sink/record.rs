//! A container's sample as one event in msgpack. No clock, no socket.
//!
//! | field | unit | source |
//! |---|---|---|
//! | `timestamp`, `timestamp_iso` | ms since the epoch; RFC 3339 | `cpu.time`, else `memory.time` |
//! | `cpu` | percent of one core | `usageNanoCores`, within what `usageCoreNanoSeconds` proves |
//! | `cpu_cores` | cores | the same |
//! | `memory`, `memory_bytes` | MiB; bytes | `memory.workingSetBytes` |
//! | `disk`, `disk_bytes` | MiB; bytes | `rootfs.usedBytes`, else `logs.usedBytes` |
//! | `network_in`, `network_out` | bytes since the pod started | the pod's `network` |
//!
//! What the kubelet left out is left out here.

use crate::{
    options::Config,
    rates::Sample,
    sink::msgpack::Writer,
    summary::{Container, Pod},
};

const MIB: f64 = 1_048_576.0;

/// What the options say about every record.
#[derive(Debug, Clone)]
pub struct Labels {
    service: Option<String>,
    region: Option<String>,
    node_name: Option<String>,
}

impl Labels {
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
pub struct Events {
    out: Writer,
    count: usize,
}

impl Events {
    /// Starts in the memory of a batch that is done with.
    pub fn reusing(memory: Vec<u8>) -> Self {
        Self {
            out: Writer::reusing(memory),
            count: 0,
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    /// Appends `[time, map]`, the form that every host since 1.9 takes.
    pub fn push(
        &mut self,
        labels: &Labels,
        kubelet_node: Option<&str>,
        pod: &Pod,
        container: &Container,
        sample: Sample,
    ) {
        let service = labels.service.as_deref().unwrap_or(&container.name);
        let node = labels.node_name.as_deref().or(kubelet_node);
        let memory = container.memory.working_set_bytes;
        let disk = [&container.rootfs, &container.logs]
            .into_iter()
            .find(|filesystem| filesystem.used_bytes.is_some())
            // Logs stand in where the runtime does not tell of the rest, not until it does.
            .filter(|filesystem| !filesystem.is_pending())
            .and_then(|filesystem| filesystem.used_bytes);
        let network = pod.network;

        let present = |yes: bool, fields: u32| if yes { fields } else { 0 };
        let fields = 10
            + present(node.is_some(), 1)
            + present(memory.is_some(), 2)
            + present(disk.is_some(), 2)
            + present(network.rx_bytes.is_some(), 1)
            + present(network.tx_bytes.is_some(), 1);

        self.count += 1;
        let out = &mut self.out;
        out.event(sample.time, fields);
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
        out.float("cpu", sample.nano_cores / 1e7);
        out.float("cpu_cores", sample.nano_cores / 1e9);
        if let Some(bytes) = memory {
            out.float("memory", bytes as f64 / MIB);
            out.uint("memory_bytes", bytes);
        }
        if let Some(bytes) = disk {
            out.float("disk", bytes as f64 / MIB);
            out.uint("disk_bytes", bytes);
        }
        if let Some(bytes) = network.rx_bytes {
            out.uint("network_in", bytes);
        }
        if let Some(bytes) = network.tx_bytes {
            out.uint("network_out", bytes);
        }
        metadata(out, labels.region.as_deref(), node, &pod.namespace);
    }
}

fn metadata(out: &mut Writer, region: Option<&str>, node: Option<&str>, namespace: &str) {
    let fields = 1 + u32::from(region.is_some()) + u32::from(node.is_some());
    out.map("metadata", fields);
    if let Some(region) = region {
        out.text("region", region);
    }
    if let Some(node) = node {
        out.text("node", node);
    }
    out.text("namespace", namespace);
}
