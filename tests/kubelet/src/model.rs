//! Owns the shape of a `/stats/summary` reply: fields in the order a kubelet writes
//! them, every optional one left out when absent. Knows no clock and no socket.

use serde::{Deserialize, Serialize};
use serde_json::ser::{PrettyFormatter, Serializer};

/// The whole reply. `pods` is an `Option` only so that a fault can leave the key out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    pub node: NodeStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStats {
    pub node_name: String,
    pub system_containers: Vec<ContainerStats>,
    pub start_time: String,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rlimit: Option<RlimitStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    pub pod_ref: PodRef,
    pub start_time: String,
    pub containers: Vec<ContainerStats>,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volume: Vec<VolumeStats>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    pub ephemeral_storage: Option<FsStats>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    pub process_stats: Option<ProcessStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PodRef {
    pub name: String,
    pub namespace: String,
    pub uid: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStats {
    pub name: String,
    pub start_time: String,
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<FsStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap: Option<SwapStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuStats {
    pub time: String,
    pub usage_nano_cores: u64,
    pub usage_core_nano_seconds: u64,
}

/// A container the kubelet knows from the runtime only has just `workingSetBytes`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemoryStats {
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage_bytes: Option<u64>,
    pub working_set_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_faults: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub major_page_faults: Option<u64>,
}

/// The default interface inline, and again among `interfaces`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NetworkStats {
    pub time: String,
    #[serde(flatten)]
    pub default_interface: InterfaceStats,
    pub interfaces: Vec<InterfaceStats>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterfaceStats {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_errors: u64,
    pub tx_bytes: u64,
    pub tx_errors: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FsStats {
    pub time: String,
    pub available_bytes: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
    pub inodes_free: u64,
    pub inodes: u64,
    pub inodes_used: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VolumeStats {
    #[serde(flatten)]
    pub fs: FsStats,
    pub name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RuntimeStats {
    pub image_fs: FsStats,
    pub container_fs: FsStats,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RlimitStats {
    pub time: String,
    pub maxpid: u64,
    pub curproc: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessStats {
    pub process_count: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SwapStats {
    pub time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_available_bytes: Option<u64>,
    pub swap_usage_bytes: u64,
}

impl Summary {
    /// The bytes a kubelet sends: indented by one space, no final newline.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(4_096);
        let formatter = PrettyFormatter::with_indent(b" ");
        self.serialize(&mut Serializer::with_formatter(&mut out, formatter))
            .expect("plain structs with string keys always serialize");
        out
    }

    /// What `?only_cpu_and_memory=true` leaves: swap stays at the node and its system
    /// containers, and goes everywhere else.
    pub fn only_cpu_and_memory(mut self) -> Self {
        self.node.network = None;
        self.node.fs = None;
        self.node.runtime = None;
        self.node.rlimit = None;
        for pod in self.pods.iter_mut().flatten() {
            pod.network = None;
            pod.volume.clear();
            pod.ephemeral_storage = None;
            pod.process_stats = None;
            pod.swap = None;
            for container in &mut pod.containers {
                container.rootfs = None;
                container.logs = None;
                container.swap = None;
            }
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_captured_reply_survives_unchanged() {
        let mut seen = 0;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
        for entry in std::fs::read_dir(folder).expect("the fixtures folder") {
            let path = entry.expect("a fixture").path();
            let name = path.to_string_lossy().into_owned();
            // Beside a reply stand the records it gives. The captures from 20 on have what
            // this kubelet does not speak of: pressure stalls, and nodes without `eth0`.
            let is_spoken = path
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes()[0] == b'0');
            if !is_spoken || !name.contains(".summary") || !name.ends_with(".json") {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a readable fixture");
            let summary: Summary = serde_json::from_slice(&bytes).expect(&name);
            assert!(summary.to_bytes() == bytes, "{name} came out differently");
            seen += 1;
        }
        assert!(seen >= 20, "only {seen} fixtures found");
    }

    #[test]
    fn the_short_form_has_the_captured_short_form_shape() {
        let full: Summary =
            serde_json::from_slice(include_bytes!("../../fixtures/02-steady-open.summary.json"))
                .expect("the full reply");
        let short: Summary = serde_json::from_slice(include_bytes!(
            "../../fixtures/02-steady-open.summary-cpumem.json"
        ))
        .expect("the short reply");
        let keys = |summary: &Summary| {
            let mut lines: Vec<String> = String::from_utf8(summary.to_bytes())
                .expect("text")
                .lines()
                .map(|line| line.split(':').next().unwrap_or_default().to_owned())
                .filter(|line| line.contains('"'))
                .collect();
            lines.sort();
            lines
        };
        assert_eq!(keys(&full.only_cpu_and_memory()), keys(&short));
    }
}
