//! What the kubelet knows about pods apart from their measurements. It turns the bytes of `GET
//! /pods` into facts.
//!
//! This module knows no socket, no clock and no msgpack. [`parse`] reads a reply. [`FactStore`]
//! keeps its facts between scrapes and says when to ask again. Only values that are in the reply
//! are passed on: a container with a limit and without a request has no request here.

use std::{cmp::Ordering, fmt};

use crate::{json::Broken, timestamp::Timestamp};

mod containers;
mod keep;
mod metadata;
mod owner;
mod patterns;
mod pods;
pub mod quantity;
mod refresh;
mod selector;
mod store;

pub use patterns::Patterns;
pub use pods::parse;
pub use selector::LabelSelector;
pub use store::{FactStore, Sighting, sightings};

/// Which optional facts of a pod are read.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// The labels to read.
    pub labels: &'a Patterns,
    /// The annotations to read.
    pub annotations: &'a Patterns,
    /// Decides [`PodFacts::is_selected`]. Without a selector that is always `true`.
    pub selector: Option<&'a LabelSelector>,
}

/// The selected pods of a reply.
#[derive(Debug, Default)]
pub struct Pods {
    /// The facts of the selected pods, in the order of the reply.
    pub pods: Vec<PodFacts>,
    /// The number of all pods in the reply.
    pub on_node: usize,
    /// The number of pods that could not be decoded.
    pub unreadable: usize,
}

/// Keys and values, sorted by key.
pub type Pairs = Vec<(Box<str>, Box<str>)>;

/// The values of a pod that do not change with every sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodFacts {
    /// The pod's namespace.
    pub namespace: Box<str>,
    /// The pod's name, unique in its namespace.
    pub name: Box<str>,
    /// The uid of the API's object. For a static pod that was read from a file, it is the hash of
    /// its manifest.
    pub uid: Box<str>,
    /// The hash of the manifest. It is present for a static pod, and for its mirror in the API,
    /// whose uid is a different one.
    pub config_hash: Option<Box<str>>,
    /// The workload that the pod belongs to. A static pod belongs to none.
    pub workload: Option<Workload>,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos_class: Option<Box<str>>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<Box<str>>,
    /// The reason for the phase, if one is given, such as `Evicted`.
    pub reason: Option<Box<str>>,
    /// When the kubelet accepted the pod.
    pub start_time: Option<Timestamp>,
    /// The labels that [`Want`] allows.
    pub labels: Pairs,
    /// The annotations that [`Want`] allows, except those longer than 4 KiB.
    pub annotations: Pairs,
    /// Whether the selector selects the pod. The selector sees all labels.
    pub is_selected: bool,
    /// Whether its annotation `kubeletstats.io/exclude` is `true`.
    pub opted_out: bool,
    /// The requests and limits of the pod as a whole, which exist since Kubernetes 1.34.
    pub resources: Resources,
    /// The containers in this order: init and sidecar containers, then the app containers, then
    /// ephemeral containers. Within these, the order is that of the spec.
    pub containers: Vec<ContainerFacts>,
}

impl PodFacts {
    /// Whether this is the pod with this uid in `/stats/summary`. The uid of a static pod there is
    /// the hash of its manifest. If the summary has no uid, only the name identifies the pod.
    pub fn is_of(&self, summary_uid: &str) -> bool {
        summary_uid.is_empty()
            || *self.uid == *summary_uid
            || self.config_hash.as_deref() == Some(summary_uid)
    }

    /// Returns the container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        self.containers.iter().find(|one| *one.name == *name)
    }

    fn by_name(&self, namespace: &str, name: &str) -> Ordering {
        (&*self.namespace, &*self.name).cmp(&(namespace, name))
    }
}

/// The workload that a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// The kind, such as `Deployment`.
    pub kind: Box<str>,
    /// The name, in the pod's namespace.
    pub name: Box<str>,
}

/// The values of a container that do not change with every sample.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerFacts {
    /// The container's name, unique in its pod.
    pub name: Box<str>,
    /// Which list of the spec the container is in.
    pub kind: ContainerKind,
    /// The image in the spec, as the user wrote it. The status may have another name of the same
    /// image, given by the runtime.
    pub image: Option<Box<str>>,
    /// The id without the runtime's `containerd://`, like cAdvisor's label `name`.
    pub container_id: Option<Box<str>>,
    /// How often the kubelet has restarted it.
    pub restart_count: Option<u64>,
    /// The state of the current run.
    pub state: Option<State>,
    /// Why it waits or has ended, such as `CrashLoopBackOff` or `Completed`.
    pub state_reason: Option<Box<str>>,
    /// When the current run began. It is present only while the container runs.
    pub started_at: Option<Timestamp>,
    /// The exit code of the current run, after it has ended.
    pub exit_code: Option<i64>,
    /// Why the previous run ended, such as `OOMKilled`.
    pub last_termination_reason: Option<Box<str>>,
    /// The exit code of the previous run.
    pub last_exit_code: Option<i64>,
    /// The requests and limits that are in force, if the kubelet reports them. Otherwise those of
    /// the spec.
    pub resources: Resources,
    /// When the latest known run began.
    latest_start: Option<Timestamp>,
}

/// Requests and limits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Resources {
    /// In cores.
    pub cpu_request: Option<f64>,
    /// In cores.
    pub cpu_limit: Option<f64>,
    /// In bytes.
    pub memory_request: Option<u64>,
    /// In bytes.
    pub memory_limit: Option<u64>,
}

/// The role of a container in its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// A regular container.
    #[default]
    App,
    /// A container that ends before the others start.
    Init,
    /// An init container that is always restarted and runs while the others run.
    Sidecar,
    /// A container that was added to a running pod to debug it.
    Ephemeral,
}

impl ContainerKind {
    /// `app`, `init`, `sidecar` or `ephemeral`.
    pub fn as_str(self) -> &'static str {
        match self {
            ContainerKind::App => "app",
            ContainerKind::Init => "init",
            ContainerKind::Sidecar => "sidecar",
            ContainerKind::Ephemeral => "ephemeral",
        }
    }
}

/// The state of a container's run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The run has not begun. The API also reads an empty state as waiting.
    Waiting,
    /// The container runs.
    Running,
    /// The run has ended.
    Terminated,
}

impl State {
    /// `waiting`, `running` or `terminated`.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Terminated => "terminated",
        }
    }
}

/// Why a reply is not a list of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// The JSON is cut.
    Cut,
    /// The byte at this offset is not valid JSON.
    NotJson(usize),
    /// It is not an object with `items`.
    NoItems,
    /// There are more of these than any node has: the limit, and what exceeds it.
    TooMany(usize, &'static str),
    /// The text to keep is longer than this many bytes.
    TooMuchText(usize),
}

impl From<Broken> for Malformed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Cut => Self::Cut,
            Broken::At(offset) => Self::NotJson(offset),
        }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Cut => f.write_str("it ends in the middle"),
            Malformed::NotJson(offset) => write!(f, "it is not json at byte {offset}"),
            Malformed::NoItems => f.write_str("it has no 'items'"),
            Malformed::TooMany(most, what) => write!(f, "it has more than {most} {what}"),
            Malformed::TooMuchText(most) => {
                let mib = most >> 20;
                write!(
                    f,
                    "it has more than {mib} MiB of names, labels and annotations"
                )
            }
        }
    }
}
