//! The result of the first scrape: its records, or why there are none. Both commands base
//! their verdict on it.

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

/// The largest number of names in one line. Nobody reads more.
pub const MAX_NAMES: usize = 10;

/// In seconds. The kubelet takes a sample every 10 to 20 s, and one of file systems every
/// minute.
pub const STALE_AFTER: f64 = 120.0;

/// Whether there are records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RecordStatus {
    /// There are records from the first scrape on.
    Records,
    /// There will be records, because a rate needs a second sample.
    AfterSecondSample,
    /// There are no records, for a reason that the plugin itself gives.
    Missing(Missing),
    /// `exclude_container` drops all containers of the selected pods.
    ContainersExcluded,
    /// All selected containers have ended.
    Ended,
    /// The newest sample has this age in seconds, so the kubelet takes no new samples.
    Stale(f64),
}

impl RecordStatus {
    fn of(config: &Config, batch: &Batch, wanted: &Summary, body: &[u8], now: f64) -> Self {
        let wanted_containers = containers(wanted).map(|(_, container)| container);
        // The other kinds may be older, because an option of the kubelet sets how often it
        // measures volumes. This can be minutes.
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
            // The plugin does not know whether the pods have containers. Here there is time to
            // check it.
            (_, Some(Missing::ContainersExcluded)) => match have_containers(&wanted.pods, body) {
                true => Self::ContainersExcluded,
                false => Self::Missing(Missing::Containers),
            },
            (_, Some(missing)) => Self::Missing(missing),
            (_, None) if batch.records() == 0 => Self::Ended,
            _ => Self::Records,
        }
    }

    /// Returns why there are no records, or `None` if there are or will be some.
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

/// The records of a scrape, and the containers that have none.
#[derive(Debug)]
pub struct Outcome {
    /// Sorted by namespace, pod, kind and name.
    pub records: Vec<Value>,
    /// The number of selected containers.
    pub containers: usize,
    /// The selected containers without a record, as `namespace/pod/container`.
    pub without_cpu: Vec<String>,
    pub status: RecordStatus,
}

impl Outcome {
    /// `wanted` is the selected part of `body`. `now` is the time by the kubelet's clock, in
    /// seconds since the epoch.
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

    /// Counts the records of each kind that the options select, for example `4 container, 1
    /// node`.
    pub fn by_kind(&self, config: &Config) -> String {
        let count = |group: &str| {
            let of_group = |record: &&Value| kind(record) == group;
            format!("{} {group}", self.records.iter().filter(of_group).count())
        };
        config.groups().map(count).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the records of a batch.
fn decode(mut bytes: &[u8]) -> Vec<Value> {
    let mut records = Vec::new();
    // The pipeline has just written these bytes, so they can be read.
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

/// Returns a text field of a record, or an empty text if it is absent.
pub fn text<'r>(record: &'r Value, key: &str) -> &'r str {
    record[key].as_str().unwrap_or_default()
}

/// Returns the kind of the record. If only containers are selected, records have no kind.
pub fn kind(record: &Value) -> &str {
    match text(record, "kind") {
        "" => "container",
        kind => kind,
    }
}

/// Returns the name of the record's entity within its pod or node. A pod's record needs no
/// name, because it has the name of the pod.
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

/// Whether one of these pods has a container in the reply, excluded or not.
fn have_containers(pods: &[Pod], body: &[u8]) -> bool {
    let all = Selector::default().parse(body, Plan::CONTAINERS);
    let names: HashSet<_> = pods.iter().map(full_name).collect();
    all.is_ok_and(|all| {
        all.pods
            .iter()
            .any(|pod| !pod.containers.is_empty() && names.contains(&full_name(pod)))
    })
}

/// Returns the time of the newest sample of these containers, in seconds since the epoch.
pub fn newest_sample<'s>(containers: impl Iterator<Item = &'s Container<'s>>) -> Option<f64> {
    let times = containers.filter_map(|one| one.stats.cpu.time.max(one.stats.memory.time));
    times.max().map(|newest| newest.as_nanos() as f64 / 1e9)
}

/// For example `namespace/pod`.
pub fn full_name(pod: &Pod) -> String {
    format!("{}/{}", pod.namespace, pod.name)
}
