//! A container's sample as one event in msgpack. No clock, no socket.
//!
//! | field | unit | source |
//! |---|---|---|
//! | `timestamp`, `timestamp_iso` | ms since the epoch; RFC 3339 | `cpu.time`, else `memory.time` |
//! | `cpu` | percent of one core | `usageCoreNanoSeconds` of two samples, else `usageNanoCores` |
//! | `cpu_cores` | cores | the same |
//! | `memory`, `memory_bytes` | MiB; bytes | `memory.workingSetBytes` |
//! | `disk`, `disk_bytes` | MiB; bytes | `rootfs.usedBytes`, else `logs.usedBytes` |
//! | `network_in`, `network_out` | bytes since the pod started | the pod's `network` |
//!
//! What the kubelet left out is left out here.

use std::convert::Infallible;

use rmp::encode::{self, ByteBuf, ValueWriteError};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    options::Config,
    samples::Sample,
    summary::{Container, Instant, Pod},
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
    buf: ByteBuf,
    count: usize,
}

/// Writing to memory does not fail.
fn sure<T>(result: Result<T, ValueWriteError<Infallible>>) {
    match result {
        Ok(_) => {}
        Err(
            ValueWriteError::InvalidMarkerWrite(never) | ValueWriteError::InvalidDataWrite(never),
        ) => match never {},
    }
}

impl Events {
    /// Starts in the memory of a batch that is done with.
    pub fn reusing(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self {
            buf: ByteBuf::from_vec(memory),
            count: 0,
        }
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.buf.into_vec()
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
        let disk = container.rootfs.used_bytes.or(container.logs.used_bytes);
        let network = pod.network;

        let present = |yes: bool, fields: u32| if yes { fields } else { 0 };
        let fields = 10
            + present(node.is_some(), 1)
            + present(memory.is_some(), 2)
            + present(disk.is_some(), 2)
            + present(network.rx_bytes.is_some(), 1)
            + present(network.tx_bytes.is_some(), 1);

        self.count += 1;
        sure(encode::write_array_len(&mut self.buf, 2));
        self.event_time(sample.time);
        sure(encode::write_map_len(&mut self.buf, fields));

        self.uint("timestamp", sample.time.as_millis());
        self.key("timestamp_iso");
        self.rfc3339(sample.time);
        self.text("service", service);
        self.text("podName", &pod.name);
        self.text("namespace", &pod.namespace);
        self.text("podUid", &pod.uid);
        self.text("containerName", &container.name);
        if let Some(node) = node {
            self.text("nodeName", node);
        }
        self.float("cpu", sample.nano_cores / 1e7);
        self.float("cpu_cores", sample.nano_cores / 1e9);
        if let Some(bytes) = memory {
            self.float("memory", bytes as f64 / MIB);
            self.uint("memory_bytes", bytes);
        }
        if let Some(bytes) = disk {
            self.float("disk", bytes as f64 / MIB);
            self.uint("disk_bytes", bytes);
        }
        if let Some(bytes) = network.rx_bytes {
            self.uint("network_in", bytes);
        }
        if let Some(bytes) = network.tx_bytes {
            self.uint("network_out", bytes);
        }
        self.metadata(labels.region.as_deref(), node, &pod.namespace);
    }

    fn metadata(&mut self, region: Option<&str>, node: Option<&str>, namespace: &str) {
        let fields = 1 + u32::from(region.is_some()) + u32::from(node.is_some());
        self.key("metadata");
        sure(encode::write_map_len(&mut self.buf, fields));
        if let Some(region) = region {
            self.text("region", region);
        }
        if let Some(node) = node {
            self.text("node", node);
        }
        self.text("namespace", namespace);
    }

    /// Fluent Bit's EventTime: extension type 0 of seconds and nanoseconds, big endian.
    fn event_time(&mut self, time: Instant) {
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&time.seconds.to_be_bytes());
        payload[4..].copy_from_slice(&time.nanos.to_be_bytes());
        sure(encode::write_ext_meta(&mut self.buf, 8, 0));
        self.buf.as_mut_vec().extend_from_slice(&payload);
    }

    fn rfc3339(&mut self, time: Instant) {
        let mut text = [0; 40];
        let room = text.len();
        let mut rest = &mut text[..];
        // Every Instant lies between 1970 and 2106, which the format can write.
        let written = OffsetDateTime::from_unix_timestamp(time.seconds.into())
            .ok()
            .and_then(|at| at.replace_nanosecond(time.nanos).ok())
            .and_then(|at| at.format_into(&mut rest, &Rfc3339).ok())
            .map_or(0, |_| room - rest.len());
        let text = str::from_utf8(&text[..written]).unwrap_or_default();
        sure(encode::write_str(&mut self.buf, text));
    }

    fn key(&mut self, key: &str) {
        sure(encode::write_str(&mut self.buf, key));
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        sure(encode::write_str(&mut self.buf, value));
    }

    fn uint(&mut self, key: &str, value: u64) {
        self.key(key);
        sure(encode::write_uint(&mut self.buf, value));
    }

    fn float(&mut self, key: &str, value: f64) {
        self.key(key);
        sure(encode::write_f64(&mut self.buf, value));
    }
}
