//! Owns the content of `/pods` for a pod: the captured text moved to the present, or what
//! an API server would send for a generated pod, and in addition the present state of the
//! pod. It knows no HTTP and no TLS.

use std::fmt::Write as _;

use crate::{
    clock::{parse_rfc3339, rfc3339},
    node::{Container, Pod, Role, Run},
    podlist::{
        Address, Condition, ContainerStatus, Item, Map, Metadata, OwnerReference, PodList, State,
        Status, Terminated, raw,
    },
    population::copy_uid,
    random::{mix, seed_of},
};

const CAPTURED: &str = include_str!("../../fixtures/02-steady-open.pods.json");
const HASH: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";
const SEEN: &str = "kubernetes.io/config.seen";
const SOURCE: &str = "kubernetes.io/config.source";
const NODE: &str = "vm";
const HOST_IP: &str = "192.0.2.2";
const IMAGE_ID: &str = "sha256:5cb3f5f77217453b8e1428d7688867eb57be724f694aac93e797ee709b5303fa";
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Used if the name or image of a container requires no other image.
const IMAGE: &str = "registry.local/loggen:1.0";

/// What created a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The pod was created by hand.
    Nobody,
    Deployment {
        app: String,
        hash: String,
    },
    StatefulSet {
        app: String,
        index: usize,
    },
    DaemonSet {
        app: String,
    },
    /// If the name ends with a minute, the Job belongs to a CronJob.
    Job {
        name: String,
        job_type: String,
    },
}

impl Owner {
    /// Returns the Job of this pod (`namespace/name`). It has the name of the pod without
    /// the part from the last hyphen on. Returns `None` if the name has no namespace.
    pub fn job(pod: &str, job_type: &str) -> Option<Self> {
        let (_, name) = pod.split_once('/')?;
        let job = name.rsplit_once('-').map_or(name, |(job, _)| job);
        Some(Self::Job {
            name: job.to_owned(),
            job_type: job_type.to_owned(),
        })
    }
}

/// The requests and limits of a container. CPU is in thousandths of a core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_request: Option<u64>,
    pub cpu_limit: Option<u64>,
    pub memory_request: Option<u64>,
    pub memory_limit: Option<u64>,
}

/// Returns the captured list, with every time in it moved by this many milliseconds.
pub fn captured(moved_ms: i64) -> Vec<Item> {
    let list: PodList =
        serde_json::from_str(&moved(CAPTURED, moved_ms)).expect("the captured list is valid");
    list.items.unwrap_or_default()
}

/// Moves everything in the text that looks like a time. A fraction of a second does not
/// change.
fn moved(text: &str, ms: i64) -> String {
    const SECONDS: usize = "2026-11-21T09:30:56".len();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\"20") {
        let (before, time) = rest.split_at(at + 1);
        out.push_str(before);
        let seconds = time.get(..SECONDS).unwrap_or_default();
        rest = match parse_rfc3339(&format!("{seconds}Z")) {
            Some(then) => {
                let now = rfc3339(then.saturating_add_signed(ms), false);
                out.push_str(now.trim_end_matches('Z'));
                &time[SECONDS..]
            }
            None => time,
        };
    }
    out + rest
}

/// Returns `count` letters of the kind that Kubernetes uses in names.
pub fn letters(seed: u64, count: usize) -> String {
    const SAFE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bits = mix(seed);
    (0..count)
        .map(|_| {
            bits = mix(bits);
            char::from(SAFE[(bits % SAFE.len() as u64) as usize])
        })
        .collect()
}

/// Returns what an API server sends for a pod, without any times yet.
pub fn from_api(pod: &Pod, owner: &Owner) -> Item {
    let pod_ref = &pod.template.pod_ref;
    let seed = seed_of(&pod_ref.uid);
    let mut labels = Map::new();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.to_owned());
    let owner_uid = |name: &str| copy_uid(name, seed_of(&pod_ref.namespace));
    let app = match owner {
        Owner::Deployment { app, hash } => {
            label("pod-template-hash", hash);
            app
        }
        Owner::StatefulSet { app, index } => {
            label("apps.kubernetes.io/pod-index", &index.to_string());
            label(
                "controller-revision-hash",
                &format!("{app}-{}", letters(seed_of(app), 10)),
            );
            label("statefulset.kubernetes.io/pod-name", &pod_ref.name);
            app
        }
        Owner::DaemonSet { app } => {
            label("controller-revision-hash", &letters(seed_of(app), 10));
            label("pod-template-generation", "1");
            app
        }
        Owner::Job { name, job_type } => {
            let uid = owner_uid(name);
            label("batch.kubernetes.io/controller-uid", &uid);
            label("batch.kubernetes.io/job-name", name);
            label("controller-uid", &uid);
            label("job-name", name);
            label("job_type", job_type);
            cron_job(name).unwrap_or(name)
        }
        Owner::Nobody => pod
            .containers
            .first()
            .map_or("bare", |container| container.template.name.as_str()),
    }
    .to_owned();
    label("app", &app);
    if *owner != Owner::Nobody {
        label("env", ["prod", "prod", "staging", "dev"][seed as usize % 4]);
        label("tier", ["web", "data", "batch"][(seed >> 2) as usize % 3]);
    }
    let reference = match owner {
        Owner::Deployment { app, hash } => Some(("apps/v1", "ReplicaSet", format!("{app}-{hash}"))),
        Owner::StatefulSet { app, .. } => Some(("apps/v1", "StatefulSet", app.clone())),
        Owner::DaemonSet { app } => Some(("apps/v1", "DaemonSet", app.clone())),
        Owner::Job { name, .. } => Some(("batch/v1", "Job", name.clone())),
        Owner::Nobody => None,
    };
    let generated = match owner {
        Owner::Nobody | Owner::StatefulSet { .. } => None,
        _ => pod_ref.name.rsplit_once('-'),
    };
    let mut annotations = Map::new();
    annotations.insert(SEEN.to_owned(), String::new());
    annotations.insert(SOURCE.to_owned(), "api".to_owned());
    if *owner != Owner::Nobody {
        let team = ["core", "growth", "data & \"search\""][(seed >> 4) as usize % 3];
        annotations.insert("example.com/team".to_owned(), team.to_owned());
    }
    let metadata = Metadata {
        name: pod_ref.name.clone(),
        generate_name: generated.map(|(prefix, _)| format!("{prefix}-")),
        namespace: pod_ref.namespace.clone(),
        uid: pod_ref.uid.clone(),
        resource_version: Some((seed % 900_000 + 1_000).to_string()),
        generation: Some(1),
        creation_timestamp: Some(String::new()),
        labels,
        annotations,
        owner_references: reference
            .map(|(api_version, kind, name)| OwnerReference {
                api_version: api_version.to_owned(),
                kind: kind.to_owned(),
                uid: owner_uid(&name),
                name,
                controller: true,
                block_owner_deletion: Some(true),
            })
            .into_iter()
            .collect(),
        managed_fields: None,
    };
    let tag = format!("{}.{}", 1 + seed % 3, seed % 20);
    let image = |container: &Container| match owner {
        Owner::Nobody => IMAGE.to_owned(),
        _ if container.role == Role::Ephemeral => "registry.local/debug:latest".to_owned(),
        _ => format!("registry.local/{app}:{tag}"),
    };
    Item {
        metadata,
        spec: raw(&spec(pod, owner, image)),
        status: status(pod, image),
    }
}

/// Returns the CronJob of a Job, if the Job's name ends with the minute when it was due.
fn cron_job(job: &str) -> Option<&str> {
    let (name, minute) = job.rsplit_once('-')?;
    let is_minute = minute.len() >= 8 && minute.bytes().all(|byte| byte.is_ascii_digit());
    is_minute.then_some(name)
}

/// All values are from this file and need no escapes.
fn spec(pod: &Pod, owner: &Owner, image: impl Fn(&Container) -> String) -> String {
    let access = format!(
        "kube-api-access-{}",
        letters(seed_of(&pod.template.pod_ref.uid), 5)
    );
    let mut volumes: Vec<String> = pod
        .volume_names()
        .iter()
        .map(|name| volume(&pod.template.pod_ref.name, name))
        .collect();
    if !pod
        .volume_names()
        .iter()
        .any(|name| name.starts_with("kube-api-access-"))
    {
        volumes.push(volume("", &access));
    }
    let target = pod.containers.iter().find(|one| one.role == Role::App);
    let target = target.map_or("", |one| one.template.name.as_str());
    let described = |container: &Container| {
        let mut text = format!(
            "{{\"name\":\"{}\",\"image\":\"{}\",\"resources\":{}",
            container.template.name,
            image(container),
            container.resources.to_json()
        );
        let restart = match container.role {
            Role::Sidecar => ",\"restartPolicy\":\"Always\"",
            _ => "",
        };
        let (mounts, debugs) = match container.role {
            Role::Ephemeral => (
                String::new(),
                format!(",\"stdin\":true,\"tty\":true,\"targetContainerName\":\"{target}\""),
            ),
            _ => (
                format!(
                    ",\"volumeMounts\":[{{\"name\":\"{access}\",\"readOnly\":true,\"mountPath\":\"{TOKEN_PATH}\"}}]"
                ),
                String::new(),
            ),
        };
        let _ = write!(
            text,
            "{restart}{mounts},\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"IfNotPresent\"{debugs}}}"
        );
        text
    };
    let of_role = |role: Role| -> Vec<String> {
        let containers = pod.containers.iter();
        containers
            .filter(|container| container.role == role)
            .map(described)
            .collect()
    };
    let mut init = of_role(Role::Sidecar);
    if !init.is_empty() {
        init.insert(0, format!("{{\"name\":\"init-config\",\"image\":\"{IMAGE}\",\"resources\":{{}},\"terminationMessagePath\":\"/dev/termination-log\",\"terminationMessagePolicy\":\"File\",\"imagePullPolicy\":\"IfNotPresent\"}}"));
    }
    let mut text = format!("{{\"volumes\":[{}]", volumes.join(","));
    for (key, list) in [
        ("initContainers", init),
        ("containers", of_role(Role::App)),
        ("ephemeralContainers", of_role(Role::Ephemeral)),
    ] {
        if !list.is_empty() {
            let _ = write!(text, ",\"{key}\":[{}]", list.join(","));
        }
    }
    let restart = match owner {
        Owner::Job { .. } => "OnFailure",
        _ => "Always",
    };
    let whole = match pod.resources == Resources::default() {
        true => String::new(),
        false => format!(",\"resources\":{}", pod.resources.to_json()),
    };
    let host = if pod.is_on_host_network() {
        ",\"hostNetwork\":true"
    } else {
        ""
    };
    let _ = write!(
        text,
        ",\"restartPolicy\":\"{restart}\",\"terminationGracePeriodSeconds\":30,\"dnsPolicy\":\"ClusterFirst\",\"serviceAccountName\":\"default\",\"serviceAccount\":\"default\",\"nodeName\":\"{NODE}\"{host},\"securityContext\":{{}},\"schedulerName\":\"default-scheduler\",\"tolerations\":[{{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}},{{\"key\":\"node.kubernetes.io/unreachable\",\"operator\":\"Exists\",\"effect\":\"NoExecute\",\"tolerationSeconds\":300}}],\"priority\":0,\"enableServiceLinks\":true,\"preemptionPolicy\":\"PreemptLowerPriority\"{whole}}}"
    );
    text
}

fn volume(pod: &str, name: &str) -> String {
    let source = match name {
        "cache" => "\"emptyDir\":{\"medium\":\"Memory\",\"sizeLimit\":\"16Mi\"}".to_owned(),
        "data" => format!("\"persistentVolumeClaim\":{{\"claimName\":\"data-{pod}\"}}"),
        _ if name.starts_with("kube-api-access-") => "\"projected\":{\"sources\":[{\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}},{\"configMap\":{\"name\":\"kube-root-ca.crt\",\"items\":[{\"key\":\"ca.crt\",\"path\":\"ca.crt\"}]}},{\"downwardAPI\":{\"items\":[{\"path\":\"namespace\",\"fieldRef\":{\"apiVersion\":\"v1\",\"fieldPath\":\"metadata.namespace\"}}]}}],\"defaultMode\":420}".to_owned(),
        _ => "\"emptyDir\":{}".to_owned(),
    };
    format!("{{\"name\":\"{name}\",{source}}}")
}

fn status(pod: &Pod, image: impl Fn(&Container) -> String) -> Status {
    let condition = |kind: &str| Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        last_probe_time: None,
        last_transition_time: String::new(),
        reason: None,
        message: None,
    };
    let of_role = |role: Role| -> Vec<ContainerStatus> {
        let containers = pod.containers.iter();
        containers
            .filter(|container| container.role == role)
            .map(|container| container_status(container, image(container)))
            .collect()
    };
    let mut init_container_statuses = of_role(Role::Sidecar);
    if !init_container_statuses.is_empty() {
        init_container_statuses.insert(0, ended_init(pod));
    }
    let seed = seed_of(&pod.template.pod_ref.uid);
    let ip = match pod.is_on_host_network() {
        true => HOST_IP.to_owned(),
        false => format!("10.244.{}.{}", seed >> 8 & 0xff, seed % 250 + 2),
    };
    let address = |ip: &str| vec![Address { ip: ip.to_owned() }];
    Status {
        phase: "Running".to_owned(),
        conditions: [
            "PodReadyToStartContainers",
            "Initialized",
            "Ready",
            "ContainersReady",
            "PodScheduled",
        ]
        .map(condition)
        .to_vec(),
        host_ip: Some(HOST_IP.to_owned()),
        host_ips: address(HOST_IP),
        pod_ips: address(&ip),
        pod_ip: Some(ip),
        start_time: Some(String::new()),
        init_container_statuses,
        container_statuses: of_role(Role::App),
        qos_class: Some(qos(pod).to_owned()),
        ephemeral_container_statuses: of_role(Role::Ephemeral),
    }
}

fn container_status(container: &Container, image: String) -> ContainerStatus {
    let is_ephemeral = container.role == Role::Ephemeral;
    ContainerStatus {
        name: container.template.name.clone(),
        state: State::default(),
        last_state: State::default(),
        // A container without a probe that does not count for the pod is never ready.
        ready: !is_ephemeral,
        restart_count: 0,
        image,
        image_id: IMAGE_ID.to_owned(),
        container_id: None,
        started: (!is_ephemeral).then_some(true),
        allocated_resources: container.resources.requests_json().map(|text| raw(&text)),
        resources: Some(raw(&container.resources.to_json())),
        volume_mounts: None,
    }
}

/// The init container ended before the first of the others began, within the same second.
fn ended_init(pod: &Pod) -> ContainerStatus {
    let at = rfc3339(pod.start_ms, false);
    let id = container_id(&pod.template.pod_ref.uid, "init-config", 0);
    ContainerStatus {
        name: "init-config".to_owned(),
        state: State::terminated(Terminated {
            exit_code: 0,
            reason: "Completed".to_owned(),
            started_at: at.clone(),
            finished_at: at,
            container_id: id.clone(),
        }),
        last_state: State::default(),
        ready: true,
        restart_count: 0,
        image: IMAGE.to_owned(),
        image_id: IMAGE_ID.to_owned(),
        container_id: Some(id),
        started: Some(false),
        allocated_resources: None,
        resources: Some(raw("{}")),
        volume_mounts: None,
    }
}

fn qos(pod: &Pod) -> &'static str {
    // An ephemeral container has no requests, and does not count.
    let counted = || {
        let containers = pod.containers.iter();
        containers
            .filter(|container| container.role != Role::Ephemeral)
            .map(|container| container.resources)
            .chain((pod.resources != Resources::default()).then_some(pod.resources))
    };
    let is_guaranteed = |of: Resources| {
        let both = of.cpu_limit.is_some() && of.memory_limit.is_some();
        both && (of.cpu_limit, of.memory_limit) == (of.cpu_request, of.memory_request)
    };
    if counted().all(|of| of == Resources::default()) {
        "BestEffort"
    } else if counted().all(is_guaranteed) && pod.volume_names().iter().all(|name| name != "cache")
    {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

fn container_id(uid: &str, container: &str, run: u64) -> String {
    let mut bits = seed_of(uid) ^ mix(seed_of(container)) ^ mix(run);
    let mut id = "containerd://".to_owned();
    for _ in 0..4 {
        bits = mix(bits);
        let _ = write!(id, "{bits:016x}");
    }
    id
}

impl Resources {
    fn to_json(self) -> String {
        let mut parts = Vec::new();
        if self.cpu_limit.is_some() || self.memory_limit.is_some() {
            parts.push(format!(
                "\"limits\":{}",
                amounts(self.cpu_limit, self.memory_limit)
            ));
        }
        if let Some(requests) = self.requests_json() {
            parts.push(format!("\"requests\":{requests}"));
        }
        format!("{{{}}}", parts.join(","))
    }

    fn requests_json(self) -> Option<String> {
        let some = self.cpu_request.is_some() || self.memory_request.is_some();
        some.then(|| amounts(self.cpu_request, self.memory_request))
    }
}

fn amounts(cpu: Option<u64>, memory: Option<u64>) -> String {
    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    let cpu = cpu.map(|milli| match milli % 1_000 {
        0 => format!("\"cpu\":\"{}\"", milli / 1_000),
        _ => format!("\"cpu\":\"{milli}m\""),
    });
    let memory = memory.map(|bytes| match (bytes % GIB, bytes % MIB) {
        (0, _) => format!("\"memory\":\"{}Gi\"", bytes / GIB),
        (_, 0) => format!("\"memory\":\"{}Mi\"", bytes / MIB),
        _ => format!("\"memory\":\"{bytes}\""),
    });
    let parts: Vec<String> = cpu.into_iter().chain(memory).collect();
    format!("{{{}}}", parts.join(","))
}

/// Returns the pod as it is in `/pods` now.
pub fn item_of(pod: &Pod) -> Item {
    let mut item = pod.item.clone();
    let pod_ref = &pod.template.pod_ref;
    let start = rfc3339(pod.start_ms, false);
    pod_ref.name.clone_into(&mut item.metadata.name);
    pod_ref.namespace.clone_into(&mut item.metadata.namespace);
    pod_ref.uid.clone_into(&mut item.metadata.uid);
    if let Some(created) = &mut item.metadata.creation_timestamp {
        start.clone_into(created);
    }
    let seen = item.metadata.annotations.entry(SEEN.to_owned());
    let seen = seen.or_default();
    if seen.is_empty() || item.metadata.creation_timestamp.is_some() {
        *seen = format!(
            "{}.{:09}Z",
            start.trim_end_matches('Z'),
            seed_of(&pod_ref.uid) % 1_000_000_000
        );
    }
    if let Some(hash) = item.metadata.annotations.get_mut(HASH) {
        pod_ref.uid.clone_into(hash);
    }
    item.status.start_time = Some(start.clone());
    let mut latest = pod.start_ms;
    for status in item.status.statuses() {
        let Some(container) = pod.container(&status.name) else {
            continue;
        };
        latest = latest.max(container.start_ms);
        running(status, container, &pod_ref.uid);
    }
    let latest = rfc3339(latest, false);
    for condition in &mut item.status.conditions {
        let since = match condition.kind.as_str() {
            "Ready" | "ContainersReady" => &latest,
            _ => &start,
        };
        // Times of the same form sort correctly as text.
        if condition.last_transition_time < *since {
            since.clone_into(&mut condition.last_transition_time);
        }
    }
    if pod.is_mirrored {
        mirror(&mut item, &start);
    }
    item
}

fn running(status: &mut ContainerStatus, container: &Container, uid: &str) {
    let first_id = status.container_id.take();
    let id = |run: u64| match (&first_id, run) {
        (Some(captured), 0) => captured.clone(),
        _ => container_id(uid, &status.name, run),
    };
    let runs = container.earlier.len() as u64;
    status.restart_count += runs;
    if let Some(run) = container.earlier.last() {
        status.last_state = State::terminated(ended(run, id(runs - 1)));
    }
    let id = id(runs);
    status.state = State::running(rfc3339(container.start_ms, false));
    status.container_id = Some(id);
}

fn ended(run: &Run, container_id: String) -> Terminated {
    Terminated {
        exit_code: run.exit_code,
        reason: run.reason.clone(),
        started_at: rfc3339(run.start_ms, false),
        finished_at: rfc3339(run.end_ms, false),
        container_id,
    }
}

/// The uid that the API server gave to the mirror pod of a static pod.
pub fn mirror_uid(pod: &Pod) -> String {
    copy_uid(&pod.template.pod_ref.uid, 3)
}

/// Changes a static pod to the API server's copy: the kubelet's own uid is an annotation.
fn mirror(item: &mut Item, created: &str) {
    let own = copy_uid(&item.metadata.uid, 3);
    let hash = std::mem::replace(&mut item.metadata.uid, own);
    item.metadata
        .annotations
        .insert(HASH.to_owned(), hash.clone());
    item.metadata.annotations.insert(MIRROR.to_owned(), hash);
    item.metadata.resource_version = Some("412".to_owned());
    item.metadata.generation = Some(1);
    item.metadata.creation_timestamp = Some(created.to_owned());
    item.metadata.owner_references = vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: NODE.to_owned(),
        uid: copy_uid(NODE, 0),
        controller: true,
        block_owner_deletion: None,
    }];
}

/// Returns the same pod after all its containers ended at `now_ms`.
pub fn ended_item(pod: &Pod, exit_code: i32, now_ms: u64) -> Item {
    let mut item = item_of(pod);
    let (phase, reason) = match exit_code {
        0 => ("Succeeded", "Completed"),
        _ => ("Failed", "Error"),
    };
    let now = rfc3339(now_ms, false);
    phase.clone_into(&mut item.status.phase);
    for status in item.status.statuses() {
        let Some(container) = pod.container(&status.name) else {
            continue;
        };
        let run = Run {
            start_ms: container.start_ms,
            end_ms: now_ms.max(container.start_ms),
            exit_code,
            reason: reason.to_owned(),
        };
        let id = status.container_id.clone().unwrap_or_default();
        status.state = State::terminated(ended(&run, id));
        (status.ready, status.started) = (false, Some(false));
    }
    for condition in &mut item.status.conditions {
        let changes = ["PodReadyToStartContainers", "Ready", "ContainersReady"];
        if changes.contains(&condition.kind.as_str()) {
            "False".clone_into(&mut condition.status);
            now.clone_into(&mut condition.last_transition_time);
        }
        if condition.kind.ends_with("Ready") || (condition.kind == "Initialized" && exit_code == 0)
        {
            condition.reason = Some(format!(
                "Pod{}",
                if exit_code == 0 {
                    "Completed"
                } else {
                    "Failed"
                }
            ));
        }
    }
    item
}

/// Returns a pod that has not started yet. None of its containers runs, for this reason.
pub fn pending_item(pod: &Pod, reason: &str) -> Item {
    let mut item = item_of(pod);
    "Pending".clone_into(&mut item.status.phase);
    let mut names = Vec::new();
    for status in item.status.statuses() {
        let message = reason
            .contains("Image")
            .then(|| format!("Back-off pulling image \"{}\"", status.image));
        status.state = State::waiting(reason, message);
        (status.ready, status.started) = (false, Some(false));
        status.image_id.clear();
        status.container_id = None;
        (status.resources, status.allocated_resources) = (None, None);
        names.push(status.name.clone());
    }
    if reason == "ContainerCreating" {
        item.status.pod_ip = None;
        item.status.pod_ips.clear();
    }
    for condition in &mut item.status.conditions {
        let is_off = match condition.kind.as_str() {
            "PodReadyToStartContainers" => reason == "ContainerCreating",
            kind => kind.ends_with("Ready"),
        };
        if is_off {
            "False".clone_into(&mut condition.status);
        }
        if condition.kind.ends_with("Ready") {
            condition.reason = Some("ContainersNotReady".to_owned());
            let names = names.join(" ");
            condition.message = Some(format!("containers with unready status: [{names}]"));
        }
    }
    item
}
