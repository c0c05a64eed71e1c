//! What the kubelet knows of a pod besides its measurements: `GET /pods`, bytes in, facts out.
//!
//! Knows no socket, no clock and no msgpack. [`parse`] reads a reply, [`FactStore`] keeps
//! what came of it between scrapes and says when to ask again. Only what is written is
//! passed on: where a container has a limit and no request, there is no request here.

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

/// What is wanted of a pod besides what is always read.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// Which labels.
    pub labels: &'a Patterns,
    /// Which annotations.
    pub annotations: &'a Patterns,
    /// What [`PodFacts::is_selected`] says; without one it is always `true`.
    pub selector: Option<&'a LabelSelector>,
}

/// A reply, as far as it is wanted.
#[derive(Debug, Default)]
pub struct Pods {
    /// Those that are wanted, in the order of the reply.
    pub pods: Vec<PodFacts>,
    /// All that the reply holds.
    pub on_node: usize,
    /// Those of them that could not be decoded.
    pub unreadable: usize,
}

/// Keys and values, sorted by key.
pub type Pairs = Vec<(Box<str>, Box<str>)>;

/// What does not change with every sample of a pod.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PodFacts {
    /// Of the pod.
    pub namespace: Box<str>,
    /// Within its namespace.
    pub name: Box<str>,
    /// Of the API's object; of a static pod read from a file the hash of its manifest.
    pub uid: Box<str>,
    /// That hash, where the pod says so: a static pod, or its mirror in the API, whose uid
    /// is another.
    pub config_hash: Option<Box<str>>,
    /// What the pod belongs to. A static pod belongs to none.
    pub workload: Option<Workload>,
    /// `Guaranteed`, `Burstable` or `BestEffort`.
    pub qos_class: Option<Box<str>>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<Box<str>>,
    /// Why it is in that phase, where somebody says so: `Evicted`.
    pub reason: Option<Box<str>>,
    /// When the kubelet took it on.
    pub start_time: Option<Timestamp>,
    /// Those that are wanted.
    pub labels: Pairs,
    /// Likewise; one of more than 4 KiB is left out.
    pub annotations: Pairs,
    /// Whether the selector chooses it, which looks at all labels.
    pub is_selected: bool,
    /// Whether its annotation `kubeletstats.io/exclude` is `true`.
    pub opted_out: bool,
    /// Of the pod as a whole, which Kubernetes knows from 1.34.
    pub resources: Resources,
    /// As the spec lists them: init and sidecar containers, then the others, then ephemeral
    /// ones.
    pub containers: Vec<ContainerFacts>,
}

impl PodFacts {
    /// Whether a pod of `/stats/summary` with this uid is this one. There a static pod has
    /// the hash of its manifest. A summary without a uid is only told by its name.
    pub fn is_of(&self, summary_uid: &str) -> bool {
        summary_uid.is_empty()
            || *self.uid == *summary_uid
            || self.config_hash.as_deref() == Some(summary_uid)
    }

    /// The container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerFacts> {
        self.containers.iter().find(|one| *one.name == *name)
    }

    fn by_name(&self, namespace: &str, name: &str) -> Ordering {
        (&*self.namespace, &*self.name).cmp(&(namespace, name))
    }
}

/// What a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// `Deployment`
    pub kind: Box<str>,
    /// In the pod's namespace.
    pub name: Box<str>,
}

/// What does not change with every sample of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainerFacts {
    /// Within its pod.
    pub name: Box<str>,
    /// Which of the lists it stands in.
    pub kind: ContainerKind,
    /// As the spec has it, which is what the user wrote: in the status a runtime may have
    /// put another name of the same image.
    pub image: Option<Box<str>>,
    /// Without the runtime's `containerd://`, as cAdvisor's `name` has it.
    pub container_id: Option<Box<str>>,
    /// How often the kubelet has started it again.
    pub restart_count: Option<u64>,
    /// Of the current run.
    pub state: Option<State>,
    /// Why it waits or has ended: `CrashLoopBackOff`, `Completed`.
    pub state_reason: Option<Box<str>>,
    /// When the current run began, while it is running.
    pub started_at: Option<Timestamp>,
    /// Of the current run, once it has ended.
    pub exit_code: Option<i64>,
    /// Of the run before: `OOMKilled`.
    pub last_termination_reason: Option<Box<str>>,
    /// Likewise.
    pub last_exit_code: Option<i64>,
    /// What is in force, where the kubelet says it; else what the spec asks for.
    pub resources: Resources,
    /// When the newest run began that is known here.
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

/// What a container is for its pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContainerKind {
    /// One of those the pod is made for.
    #[default]
    App,
    /// Ends before the others begin.
    Init,
    /// An init container that is always restarted, and runs beside the others.
    Sidecar,
    /// Put into a running pod to debug it.
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

/// How far a run of a container is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not begun. Also what the API takes a state for that says nothing.
    Waiting,
    /// It runs.
    Running,
    /// It has ended.
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

/// What is no list of pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// It ends where it should go on.
    Cut,
    /// The byte at this offset cannot stand there.
    NotJson(usize),
    /// No object with `items` in it.
    NoItems,
    /// More than any node has: so many, of these.
    TooMany(usize, &'static str),
    /// What would be kept has more bytes than this.
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
