//! Owns the shape of a `/stats/summary` reply: fields in the order a kubelet writes
//! them, every optional one left out when absent. What nobody here changes stays the text
//! it was captured as. Knows no clock and no socket.

use serde::{Deserialize, Serialize};
use serde_json::{
    ser::{PrettyFormatter, Serializer},
    value::RawValue,
};

type AsCaptured = Box<RawValue>;

/// The whole reply. `pods` is an `Option` only so that a fault can leave the key out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Summary {
    node: AsCaptured,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Vec<PodStats>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStats {
    pub pod_ref: PodRef,
    pub start_time: String,
    pub containers: Vec<ContainerStats>,
    cpu: AsCaptured,
    memory: AsCaptured,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkStats>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume: Option<AsCaptured>,
    #[serde(rename = "ephemeral-storage", skip_serializing_if = "Option::is_none")]
    ephemeral_storage: Option<AsCaptured>,
    #[serde(rename = "process_stats", skip_serializing_if = "Option::is_none")]
    process_stats: Option<AsCaptured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<AsCaptured>,
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
    swap: Option<AsCaptured>,
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

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl PodStats {
    pub fn volume_names(&self) -> Vec<String> {
        let text = self.volume.as_ref().map_or("[]", |volumes| volumes.get());
        let volumes: Vec<Named> = serde_json::from_str(text).unwrap_or_default();
        volumes.into_iter().map(|volume| volume.name).collect()
    }
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
}
