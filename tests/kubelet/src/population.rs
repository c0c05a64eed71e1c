//! Owns which pods are on the node: the pods of a captured reply, moved to the present, and
//! as many generated ones as requested. It knows no HTTP and no TLS.

use crate::{
    clock::parse_rfc3339,
    full::{Full, without_eth0},
    listing::{self, Owner, Resources, from_api, letters},
    model::{Captured, ContainerStats, PodStats, PvcRef, Summary, VolumeHealthStats, VolumeStats},
    node::{Container, Node, Pod, Role},
    podlist::Item,
    random::{mix, seed_of},
};

const STEADY: &[u8] = include_bytes!("../../fixtures/02-steady-open.summary.json");
/// When that reply was captured. It is the newest sample time in it.
const TAKEN_AT: &str = "2026-11-21T09:30:56Z";

const BUSY: &str = "log-generator-a-vm";
const IDLE: &str = "log-generator-b-vm";
const MIB: u64 = 1024 * 1024;
/// The captured pods, and one of each generated workload.
const FULL: usize = 15;

const NAMESPACES: [&str; 5] = ["default", "payments", "monitoring", "other", "kube-system"];
/// The names of workloads, and their kinds.
const WORKLOADS: [(&str, &str); 8] = [
    ("checkout", "Deployment"),
    ("ledger", "StatefulSet"),
    ("search-api", "Deployment"),
    ("cart", "Deployment"),
    ("mailer", "CronJob"),
    ("log-router", "DaemonSet"),
    ("frontend", "Deployment"),
    ("migration", "Job"),
];

/// What kind of node it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Kind {
    /// Everything that a kubelet with pressure stalls and swap writes, with changing
    /// values.
    pub full: bool,
    /// No interface of the node is called `eth0`.
    pub without_eth0: bool,
}

/// Returns a node with `count` pods, or with just the captured ones. A full node has
/// additional pods, one for each kind of owner.
pub fn populate(count: Option<usize>, kind: Kind, period_ms: u64, now_ms: u64) -> Node {
    let count = count.or(kind.full.then_some(FULL));
    let mut template: Summary =
        serde_json::from_slice(STEADY).expect("the captured reply is valid");
    let mut captured = template.pods.take().unwrap_or_default();
    captured.sort_by_key(|pod| match pod.pod_ref.name.as_str() {
        BUSY => 0,
        IDLE => 1,
        _ => 2,
    });
    let taken_at = parse_rfc3339(TAKEN_AT).expect("a time of the captured form");
    let launched_ms = now_ms / 1_000 * 1_000;
    let moved = |time: &str| {
        let age = taken_at.saturating_sub(parse_rfc3339(time).unwrap_or(taken_at));
        launched_ms.saturating_sub(age)
    };
    let mut idle = listing::captured(launched_ms.cast_signed() - taken_at.cast_signed());
    if kind.full {
        captured.iter_mut().for_each(bring_to_life);
    }
    let mut pods: Vec<Pod> = captured
        .into_iter()
        .map(|stats| Pod {
            start_ms: moved(&stats.start_time),
            containers: stats
                .containers
                .iter()
                .map(|container| captured_container(&stats, container, moved))
                .collect(),
            item: take_item(&mut idle, &stats.pod_ref.uid),
            is_mirrored: false,
            resources: Resources::default(),
            template: stats,
        })
        .collect();
    if let Some(count) = count {
        let models = pods.len();
        for index in models..count {
            let generated = generate(&pods[index % models], index, kind, launched_ms);
            pods.push(generated);
        }
        pods.truncate(count);
    }
    if kind.without_eth0 {
        let mut node = template.node.value();
        node.network.iter_mut().for_each(without_eth0);
        template.node = Captured::live(node);
        for pod in pods.iter_mut().filter(|pod| pod.is_on_host_network()) {
            pod.template.network.iter_mut().for_each(without_eth0);
        }
    }
    let full = kind
        .full
        .then(|| Full::new(template.node.value(), &pods, launched_ms));
    Node {
        template,
        full,
        period_ms,
        // A shorter period is only used to make a test faster. Then the times of its samples must
        // differ.
        whole_seconds: period_ms >= 1_500,
        pods,
        idle,
    }
}

/// Prepares the parts whose times and counters change in a full reply.
fn bring_to_life(stats: &mut PodStats) {
    let volumes = stats.volumes();
    stats.volume = (!volumes.is_empty()).then_some(Captured::live(volumes));
    if let Some(storage) = &mut stats.ephemeral_storage {
        *storage = Captured::live(storage.value());
    }
}

fn take_item(items: &mut Vec<Item>, uid: &str) -> Item {
    let found = items.iter().position(|item| item.metadata.uid == uid);
    items.remove(found.expect("both replies were taken at one moment"))
}

fn captured_container(
    pod: &PodStats,
    container: &ContainerStats,
    moved: impl Fn(&str) -> u64,
) -> Container {
    let (burn, working_set) = match pod.pod_ref.name.as_str() {
        BUSY => (785_000_000, 512 * MIB),
        IDLE => (250_000_000, 64 * MIB),
        _ => (
            (container.cpu.usage_nano_cores / 1_000).max(1) * 1_000,
            container.memory.working_set_bytes,
        ),
    };
    let available = container.memory.available_bytes;
    Container {
        template: container.clone(),
        start_ms: moved(&container.start_time),
        burn,
        working_set,
        memory_limit: available.map(|left| left + container.memory.working_set_bytes),
        role: match container.name.as_str() {
            "log-shipper" => Role::Sidecar,
            _ => Role::App,
        },
        resources: Resources::default(),
        earlier: Vec::new(),
    }
}

/// Makes a pod like `model` that belongs to another workload, is older, and has its own
/// values.
fn generate(model: &Pod, index: usize, kind: Kind, launched_ms: u64) -> Pod {
    let seed = mix(index as u64 + 1_000);
    let namespace = NAMESPACES[index % NAMESPACES.len()];
    let older_ms = seed % 259_200 * 1_000;
    let (owner, name) = owner(index, namespace, launched_ms.saturating_sub(older_ms));
    let mut pod = copy(model, namespace, &name, index as u64);
    pod.start_ms = pod.start_ms.saturating_sub(older_ms);
    for container in &mut pod.containers {
        let own = mix(seed ^ seed_of(&container.template.name));
        container.start_ms = container.start_ms.saturating_sub(older_ms);
        container.burn = (own % 400_000 + 500) * 1_000;
        container.working_set = (own >> 24) % (192 * MIB) + 2 * MIB;
        container.resources = resources(container, index);
        container.memory_limit = container.resources.memory_limit;
    }
    if kind.full {
        add_volumes(&mut pod, &owner);
        if index % 64 == 10 {
            pod.resources = of_whole_pod(&pod);
        }
        if index % 64 == WORKLOADS.len() {
            pod.containers
                .push(debugger(&pod.containers[0], launched_ms));
        }
    }
    pod.item = from_api(&pod, &owner);
    pod
}

/// Returns the limits of a pod as a whole, as since 1.34: twice what its containers use.
fn of_whole_pod(pod: &Pod) -> Resources {
    let containers = || pod.containers.iter();
    let burn: u64 = containers().map(|one| one.burn).sum();
    let held: u64 = containers().map(|one| one.working_set).sum();
    Resources {
        cpu_request: Some(burn.div_ceil(100_000_000) * 100),
        cpu_limit: Some(burn.div_ceil(100_000_000) * 200),
        memory_request: Some(held.div_ceil(64 * MIB) * 64 * MIB),
        memory_limit: Some(held.div_ceil(64 * MIB) * 128 * MIB),
    }
}

/// Adds the volumes that every pod of an API server has, and the claim of a StatefulSet's
/// pod.
fn add_volumes(pod: &mut Pod, owner: &Owner) {
    let pod_ref = &pod.template.pod_ref;
    let seed = seed_of(&pod_ref.uid);
    let mut volumes = pod.template.volumes();
    volumes.push(VolumeStats {
        time: String::new(),
        available_bytes: 25_171_632_128,
        capacity_bytes: 25_171_644_416,
        used_bytes: 12_288,
        inodes_free: 3_085_499,
        inodes: 3_085_510,
        inodes_used: 11,
        name: format!("kube-api-access-{}", letters(seed, 5)),
        pvc_ref: None,
        volume_health_stats: None,
    });
    if let Owner::StatefulSet { .. } = owner {
        volumes.push(VolumeStats {
            time: String::new(),
            available_bytes: 9_200_000_000,
            capacity_bytes: 10_464_022_528,
            used_bytes: 1_247_244_288,
            inodes_free: 655_210,
            inodes: 655_360,
            inodes_used: 150,
            name: "data".to_owned(),
            pvc_ref: Some(PvcRef {
                name: format!("data-{}", pod_ref.name),
                namespace: pod_ref.namespace.clone(),
            }),
            volume_health_stats: Some(VolumeHealthStats {
                abnormal: seed.is_multiple_of(16),
            }),
        });
    }
    pod.template.volume = Some(Captured::live(volumes));
}

/// Makes an ephemeral container, like that of `kubectl debug` some time after the pod's
/// start.
fn debugger(model: &Container, launched_ms: u64) -> Container {
    let mut debugger = model.clone();
    "debugger-7xk2p".clone_into(&mut debugger.template.name);
    debugger.role = Role::Ephemeral;
    debugger.start_ms = debugger.start_ms.max(launched_ms.saturating_sub(90_000));
    debugger.burn = 3_000_000;
    debugger.working_set = 6 * MIB;
    debugger.resources = Resources::default();
    debugger.memory_limit = None;
    debugger
}

/// Returns the owner of the pod with that index, and a name like those that Kubernetes
/// makes.
fn owner(index: usize, namespace: &str, start_ms: u64) -> (Owner, String) {
    let (app, kind) = WORKLOADS[index % WORKLOADS.len()];
    let suffix = letters(index as u64, 5);
    let name = app.to_owned();
    let job = |name: String| {
        let job_type = ["report", "import", "cleanup"][index % 3].to_owned();
        let pod = format!("{name}-{suffix}");
        (Owner::Job { name, job_type }, pod)
    };
    match kind {
        "StatefulSet" => {
            let ordinal = index / WORKLOADS.len();
            let pod = format!("{app}-{ordinal}");
            (
                Owner::StatefulSet {
                    app: name,
                    index: ordinal,
                },
                pod,
            )
        }
        "DaemonSet" => (Owner::DaemonSet { app: name }, format!("{app}-{suffix}")),
        "CronJob" => job(format!("{app}-{}", start_ms / 60_000)),
        "Job" => job(format!("{app}-{}", letters(seed_of(namespace), 4))),
        _ => {
            let hash = letters(seed_of(namespace) ^ seed_of(app), 10);
            let pod = format!("{app}-{hash}-{suffix}");
            (Owner::Deployment { app: name, hash }, pod)
        }
    }
}

/// Returns limits, if the kubelet reports available memory. They are never below what is
/// used.
fn resources(container: &Container, index: usize) -> Resources {
    let milli = container.burn.div_ceil(100_000_000) * 100;
    let memory = (container.working_set * 5 / 4).div_ceil(64 * MIB) * 64 * MIB;
    let has_limits = container.template.memory.available_bytes.is_some();
    match (has_limits, index % 3) {
        (true, 0) => Resources {
            cpu_request: Some(milli),
            cpu_limit: Some(milli),
            memory_request: Some(memory),
            memory_limit: Some(memory),
        },
        (true, _) => Resources {
            cpu_request: Some(milli / 2),
            cpu_limit: Some(milli),
            memory_request: Some(memory / 2),
            memory_limit: Some(memory),
        },
        (false, 0) => Resources::default(),
        (false, _) => Resources {
            cpu_request: Some(milli),
            memory_request: Some(memory / 2),
            ..Resources::default()
        },
    }
}

/// Makes the same pod under another name, with its own uid in the form of the API server.
pub fn copy(model: &Pod, namespace: &str, name: &str, salt: u64) -> Pod {
    let mut template = model.template.clone();
    template.pod_ref.uid = copy_uid(name, salt);
    namespace.clone_into(&mut template.pod_ref.namespace);
    name.clone_into(&mut template.pod_ref.name);
    let mut item = model.item.clone();
    for status in item.status.statuses() {
        status.container_id = None;
    }
    let mut containers = model.containers.clone();
    for container in &mut containers {
        container.earlier.clear();
    }
    Pod {
        template,
        start_ms: model.start_ms,
        containers,
        item,
        is_mirrored: false,
        resources: Resources::default(),
    }
}

/// Makes a uid in the form of the API server. It differs for every name and salt.
pub fn copy_uid(name: &str, salt: u64) -> String {
    let high = mix(seed_of(name) ^ salt);
    let low = mix(high);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    )
}

/// Makes a new pod (`namespace/name`) with one container `log-generator` that starts at
/// `now_ms`. Returns `None` if the name has no namespace.
pub fn new_pod(pod: &str, millicores: u64, owner: &Owner, full: bool, now_ms: u64) -> Option<Pod> {
    let (namespace, name) = pod.split_once('/')?;
    let kind = Kind {
        full,
        ..Kind::default()
    };
    let model = populate(Some(1), kind, 1_000, now_ms).pods.pop()?;
    let mut added = started_now(copy(&model, namespace, name, now_ms), now_ms);
    for container in &mut added.containers {
        container.burn = millicores * 1_000_000;
    }
    added.item = from_api(&added, owner);
    Some(added)
}

/// Makes the pod start at `now_ms`, like a replacement or a new pod.
pub fn started_now(mut pod: Pod, now_ms: u64) -> Pod {
    pod.start_ms = now_ms;
    for container in &mut pod.containers {
        container.start_ms = pod.start_ms;
    }
    pod
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::Xorshift;

    const NOW: u64 = 1_800_000_000_123;

    #[test]
    fn counters_are_exact_for_the_moment_of_the_sample() {
        for period in [15_000, 500, 1_000] {
            let node = populate(Some(30), Kind::default(), period, NOW);
            for step in 0..40 {
                let now = NOW + step * 777;
                let summary = node.summary(now, &mut Xorshift::new(step));
                for stats in summary.pods.expect("pods") {
                    let is_it = |pod: &&Pod| pod.template.pod_ref.uid == stats.pod_ref.uid;
                    let pod = node.pods.iter().find(is_it).expect("it");
                    for stats in &stats.containers {
                        let is_it = |one: &&Container| one.template.name == stats.name;
                        let container = pod.containers.iter().find(is_it).expect("it");
                        let (sample, _) = node.container_sample_ms(pod, container, now);
                        assert!(sample <= now && now - sample <= period * 4 / 3);
                        let written = parse_rfc3339(&stats.cpu.time).expect("a time");
                        let unit = if period == 15_000 { 1_000 } else { 1 };
                        assert_eq!(written, sample / unit * unit);
                        let burnt = container.burn / 1_000 * (sample - container.start_ms);
                        assert_eq!(stats.cpu.usage_core_nano_seconds, burnt);
                        assert!(burnt < 1 << 53);
                    }
                }
            }
        }
    }

    #[test]
    fn samples_are_ten_to_twenty_seconds_apart() {
        let node = populate(None, Kind::default(), 15_000, NOW);
        let (pod, container) = (&node.pods[0], &node.pods[0].containers[0]);
        let mut samples: Vec<u64> = (0..600_000)
            .map(|ms| node.container_sample_ms(pod, container, NOW + ms).0)
            .collect();
        samples.dedup();
        let apart: Vec<u64> = samples.windows(2).map(|two| two[1] - two[0]).collect();
        assert!((38..=42).contains(&apart.len()), "{}", apart.len());
        assert!(
            apart.iter().all(|ms| (10_000..=20_000).contains(ms)),
            "{apart:?}"
        );
        assert!(apart.iter().any(|ms| *ms < 13_000) && apart.iter().any(|ms| *ms > 17_000));
    }

    #[test]
    fn a_crowd_has_names_and_uids_of_its_own() {
        let node = populate(Some(500), Kind::default(), 10_000, NOW);
        let refs = || node.pods.iter().map(|pod| &pod.template.pod_ref);
        let uids: HashSet<_> = refs().map(|one| &one.uid).collect();
        let names: HashSet<_> = refs().map(|one| &one.name).collect();
        assert_eq!((uids.len(), names.len()), (500, 500));
        assert_eq!(populate(None, Kind::default(), 10_000, NOW).pods.len(), 7);
        assert!(
            populate(Some(0), Kind::default(), 10_000, NOW)
                .pods
                .is_empty()
        );
    }
}
