//! What the first scrape gave, and whether anything comes of what the options want. Both
//! commands base their verdict on it.

use std::collections::HashSet;

use kubeletstats_core::{
    catalogue::Plan,
    health::Missing,
    options::{Config, CpuSource},
    scrape::Batch,
    select::Selector,
    summary::{Container, Pod, Summary},
};
use rmpv::Value;

use crate::{check::clock, humanize};

/// Names in one line: nobody reads more.
pub const MAX_NAMES: usize = 10;

/// Seconds. The kubelet takes a sample each 10 to 20 s, and of file systems each minute.
pub const STALE_AFTER: f64 = 120.0;

/// Whether records come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RecordStatus {
    /// They do, from the first scrape on.
    Records,
    /// A rate needs two samples, which will come.
    AfterSecondSample,
    /// The plugin's own reason why none comes.
    Missing(Missing),
    /// `exclude_container` names all that the wanted pods have.
    ContainersExcluded,
    /// All wanted containers have ended.
    Ended,
    /// The newest sample is so many seconds old: the kubelet takes no new ones.
    Stale(f64),
}

impl RecordStatus {
    fn of(config: &Config, batch: &Batch, wanted: &Summary, body: &[u8], now: f64) -> Self {
        let wanted_containers = containers(wanted).map(|(_, container)| container);
        // How old the others may be is an option of the kubelet: volumes can wait for minutes.
        let newest = match config.plan.containers {
            true => newest_sample(wanted_containers),
            false => clock::newest_sample(body),
        };
        let age = newest.map(|newest| now - newest);
        let comes_later = config.cpu_source != CpuSource::Instant
            && containers(wanted).any(|(_, one)| one.stats.cpu.core_nanoseconds.is_some());
        match (age, Missing::of(batch)) {
            (Some(age), _) if age > STALE_AFTER => Self::Stale(age),
            (_, Some(Missing::Samples { .. })) if comes_later => Self::AfterSecondSample,
            // The plugin does not know whether there are any; here is time to look.
            (_, Some(Missing::ContainersExcluded)) => match have_containers(&wanted.pods, body) {
                true => Self::ContainersExcluded,
                false => Self::Missing(Missing::Containers),
            },
            (_, Some(missing)) => Self::Missing(missing),
            (_, None) if batch.records() == 0 => Self::Ended,
            _ => Self::Records,
        }
    }

    /// Why no record comes, if none does.
    pub fn failure(self, config: &Config) -> Option<String> {
        let groups = || config.groups().collect::<Vec<_>>().join(", ");
        Some(match self {
            Self::Records | Self::AfterSecondSample => return None,
            Self::Missing(Missing::Containers) => {
                "the kubelet lists no containers of the selected pods".to_owned()
            }
            Self::Missing(Missing::Cpu { .. } | Missing::Samples { .. }) => {
                "the kubelet has no CPU value of the selected containers".to_owned()
            }
            Self::Missing(Missing::Others { found: 0, .. }) => format!(
                "the kubelet reports nothing that metric_groups selects: {}",
                groups()
            ),
            Self::Missing(Missing::Others { .. }) => format!(
                "the kubelet has measured nothing yet that metric_groups selects: {}",
                groups()
            ),
            Self::ContainersExcluded | Self::Missing(Missing::ContainersExcluded) => {
                "exclude_container drops every container of the selected pods".to_owned()
            }
            Self::Ended => "all containers of the selected pods have ended".to_owned(),
            Self::Stale(age) => {
                let what = match config.plan.containers {
                    true => "the selected containers",
                    false => "the node's containers",
                };
                let age = humanize::duration(age);
                format!("the newest sample of {what} is {age} old: the kubelet takes no new ones")
            }
        })
    }
}

/// The records, and what has none.
#[derive(Debug)]
pub struct Outcome {
    /// By namespace, pod, kind and name.
    pub records: Vec<Value>,
    /// How many are wanted.
    pub containers: usize,
    /// Those of them without a record, as `namespace/pod/container`.
    pub without_cpu: Vec<String>,
    pub status: RecordStatus,
}

impl Outcome {
    /// `wanted` is of `body`, and `now` by the kubelet's clock, in seconds since the epoch.
    pub fn of(config: &Config, batch: &Batch, wanted: &Summary, body: &[u8], now: f64) -> Self {
        let records = decode(batch.events());
        let is_container = |record: &&Value| kind(record) == "container";
        let with_cpu: HashSet<_> = records
            .iter()
            .filter(is_container)
            .map(|record| ["namespace", "podName", "containerName"].map(|key| text(record, key)))
            .collect();
        let without_cpu = containers(wanted)
            .filter(|(pod, one)| !with_cpu.contains(&[&*pod.namespace, &*pod.name, &*one.name]))
            .map(|(pod, one)| format!("{}/{}", full_name(pod), one.name))
            .collect();
        Self {
            containers: containers(wanted).count(),
            without_cpu,
            status: RecordStatus::of(config, batch, wanted, body, now),
            records,
        }
    }

    /// `4 container, 1 node`, of all that the options name.
    pub fn by_kind(&self, config: &Config) -> String {
        let count = |group: &str| {
            let of_group = |record: &&Value| kind(record) == group;
            format!("{} {group}", self.records.iter().filter(of_group).count())
        };
        config.groups().map(count).collect::<Vec<_>>().join(", ")
    }
}

/// The maps of a batch.
fn decode(mut bytes: &[u8]) -> Vec<Value> {
    let mut records = Vec::new();
    // What the pipeline has just written can be read.
    while let Ok(Value::Array(mut event)) = rmpv::decode::read_value(&mut bytes) {
        records.extend(event.pop());
    }
    let place = |record: &Value| {
        let [namespace, pod] = ["namespace", "podName"].map(|key| text(record, key).to_owned());
        (namespace, pod, kind(record).to_owned(), name(record))
    };
    records.sort_by_cached_key(place);
    records
}

/// A text field of a record; empty where there is none.
pub fn text<'r>(record: &'r Value, key: &str) -> &'r str {
    record[key].as_str().unwrap_or_default()
}

/// What it is about. Where only containers are wanted, no record says it.
pub fn kind(record: &Value) -> &str {
    match text(record, "kind") {
        "" => "container",
        kind => kind,
    }
}

/// Of what it is about, within its pod or node; a pod has no other than its own.
pub fn name(record: &Value) -> String {
    match (kind(record), text(record, "pvcName")) {
        ("container" | "system_container", _) => text(record, "containerName").to_owned(),
        ("volume", "") => text(record, "volumeName").to_owned(),
        ("volume", claim) => format!("{} ({claim})", text(record, "volumeName")),
        ("interface", _) => text(record, "interface").to_owned(),
        ("node", _) => text(record, "nodeName").to_owned(),
        _ => String::new(),
    }
}

fn containers<'s>(
    wanted: &'s Summary<'_>,
) -> impl Iterator<Item = (&'s Pod<'s>, &'s Container<'s>)> {
    let of_pod = |pod: &'s Pod<'s>| pod.containers.iter().map(move |one| (pod, one));
    wanted.pods.iter().flat_map(of_pod)
}

/// Whether the reply has any of these pods, excluded or not.
fn have_containers(pods: &[Pod], body: &[u8]) -> bool {
    let all = Selector::default().parse(body, Plan::CONTAINERS);
    let names: HashSet<_> = pods.iter().map(full_name).collect();
    all.is_ok_and(|all| {
        all.pods
            .iter()
            .any(|pod| !pod.containers.is_empty() && names.contains(&full_name(pod)))
    })
}

/// Of these containers, in seconds since the epoch.
pub fn newest_sample<'s>(containers: impl Iterator<Item = &'s Container<'s>>) -> Option<f64> {
    let times = containers.filter_map(|one| one.stats.cpu.time.max(one.stats.memory.time));
    times.max().map(|newest| newest.as_nanos() as f64 / 1e9)
}

/// `namespace/pod`
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
