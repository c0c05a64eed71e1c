//! Native metrics: a scrape as contexts of cmetrics' own msgpack, which the host decodes once
//! and appends once. No clock, no socket, no host.
//!
//! With Prometheus' names a scrape is one context of all that is wanted, whether its sample
//! is new or not: an exporter shows the last context of an input, and what is not in it has
//! ended. With OpenTelemetry's names it is one context for each resource.

pub mod families;
pub mod names;
mod own;
mod resource;
mod states;

pub use own::{SELF, SelfMetrics, failed};
pub use states::KUBE_STATE;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::BuildHasher,
};

use self::{
    families::{Dialect, Family, Sample, begin_context, make_room, push_text},
    names::Named,
    resource::{Attributes, Entity},
};
use crate::{
    catalogue::{
        Age, Allotment, Kind as CatalogueKind, Numbers, Rate, Restarts, Traffic, Unit, VolumeHealth,
    },
    facts::{ContainerFacts, PodFacts},
    number::Number,
    options::Config,
    rates::Reading,
    summary::{Container, Interface, Network, Node, Pod, Volume},
    timestamp::Timestamp,
};

/// Whose names metrics have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The kubelet's own pages' and cAdvisor's.
    #[default]
    Prometheus,
    /// The kubeletstats receiver's.
    OpenTelemetry,
}

/// Counter or gauge.
pub type Kind = CatalogueKind;

/// Whose numbers a family has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Of a container of a pod.
    Container,
    /// Of a pod, but for its network.
    Pod,
    /// Of the node, but for its network.
    Node,
    /// Of what runs on the node beside pods.
    SystemContainer,
    /// Of a volume of a pod.
    Volume,
    /// Of an interface of a pod.
    PodNetwork,
    /// Of an interface of the node.
    NodeNetwork,
    /// Of a volume of a pod that a claim is behind.
    Claim,
}

/// A metric that is made of no row of the catalogue.
#[derive(Debug)]
pub struct Told {
    /// Its name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// What its help says.
    pub about: &'static str,
    /// As OpenTelemetry writes it.
    pub unit: &'static str,
    /// The keys of its labels.
    pub labels: &'static [&'static str],
}

const fn gauge(
    name: &'static str,
    about: &'static str,
    unit: &'static str,
    labels: &'static [&'static str],
) -> Told {
    Told {
        name,
        kind: Kind::Gauge,
        about,
        unit,
        labels,
    }
}

const fn counter(name: &'static str, about: &'static str, labels: &'static [&'static str]) -> Told {
    Told {
        name,
        kind: Kind::Counter,
        about,
        unit: "1",
        labels,
    }
}

/// The name is cAdvisor's.
pub const MACHINE_MEMORY: Told = gauge(
    "machine_memory_bytes",
    "What the node has: node.memory.availableBytes and workingSetBytes together",
    "By",
    &[],
);

/// The samples of one scrape, and what is written of each resource, have no more bytes. A node
/// of a thousand pods has fewer with all groups and fields. A reply with long names could have
/// a hundred times as many.
const fn most_bytes(naming: Naming) -> usize {
    match naming {
        Naming::Prometheus => 12 << 20,
        // Each resource has the heads of its families.
        Naming::OpenTelemetry => 24 << 20,
    }
}

/// Where a number goes: which family, and the values of its own labels.
#[derive(Debug, Clone)]
struct Target {
    family: usize,
    labels: Vec<&'static str>,
    /// cAdvisor's series of the node, which has none of the shared labels.
    is_root: bool,
}

/// The families of an input, with memory that serves one scrape after the other.
#[derive(Debug)]
pub struct Metrics {
    naming: Naming,
    dialect: Dialect,
    has_facts: bool,
    has_states: bool,
    cluster: Option<String>,
    node_name: Option<String>,
    node: String,
    families: Vec<Family>,
    by_name: HashMap<Cow<'static, str>, usize>,
    /// By scope, the targets of each row in the order of its parts.
    rows: Vec<Vec<Vec<Target>>>,
    /// The labels that all samples have, and encoded what they are in this scrape. They are
    /// no labels of the context, since the host's processor `metrics_selector` loses those.
    common: Vec<&'static str>,
    of_all: Vec<u8>,
    /// Encoded labels that the samples at hand share; those of the root series.
    shared: Vec<u8>,
    none_shared: Vec<u8>,
    /// The claims of this scrape, as hashes: a scrape like the one before costs no memory.
    claims: HashSet<u64>,
    out: Vec<u8>,
    contexts: usize,
    room: Room,
    /// When this scrape came.
    now: Timestamp,
}

/// How many bytes more the samples of a scrape may have.
#[derive(Debug)]
struct Room {
    bytes: usize,
    /// Samples for which there were too few.
    left_out: usize,
}

/// What a scrape gave.
#[derive(Debug)]
pub struct Contexts {
    /// In msgpack, behind one another.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: usize,
}

/// The labels that all samples of a scope have before their own.
pub fn shared_labels(naming: Naming, scope: Scope, has_facts: bool) -> &'static [&'static str] {
    if naming == Naming::OpenTelemetry {
        // The rest is the resource's to say.
        return match scope {
            Scope::PodNetwork | Scope::NodeNetwork => &["interface"],
            _ => &[],
        };
    }
    match scope {
        Scope::Container if has_facts => &["namespace", "pod", "container", "image", "name"],
        Scope::Container => &["namespace", "pod", "container"],
        Scope::Pod => &["namespace", "pod"],
        Scope::PodNetwork => &["namespace", "pod", "interface"],
        Scope::NodeNetwork => &["interface"],
        Scope::Volume => &["namespace", "pod", "volume"],
        Scope::Claim => &["namespace", "persistentvolumeclaim"],
        Scope::SystemContainer => &["container"],
        Scope::Node => &[],
    }
}

/// Units as OpenTelemetry writes them.
pub fn unit_code(unit: Unit) -> &'static str {
    match unit {
        Unit::Bytes => "By",
        Unit::CoreNanoseconds | Unit::Microseconds | Unit::Seconds => "s",
        Unit::NanoCores | Unit::Cores => "{cpu}",
        Unit::BytesPerSecond => "By/s",
        Unit::Percent => "%",
        Unit::Ratio | Unit::Count => "1",
    }
}

impl Metrics {
    /// Before the first scrape.
    pub fn new(config: &Config) -> Self {
        let mut metrics = Self::without_rows(config);
        for scope in Scope::ALL {
            let rows = metrics.rows_of(scope);
            metrics.rows.push(rows);
        }
        metrics.complete_labels();
        metrics
    }

    /// For what is made of no row of the catalogue.
    fn without_rows(config: &Config) -> Self {
        Self {
            naming: config.metric_names,
            dialect: config.dialect,
            has_facts: config.pod_facts,
            has_states: config.kube_state_metrics,
            cluster: config.cluster.clone(),
            node_name: config.node_name.clone(),
            node: String::new(),
            families: Vec::new(),
            by_name: HashMap::new(),
            rows: Vec::new(),
            common: match (config.metric_names, &config.cluster) {
                (Naming::Prometheus, Some(_)) => vec!["node", "cluster"],
                (Naming::Prometheus, None) => vec!["node"],
                // The resource says it.
                (Naming::OpenTelemetry, _) => Vec::new(),
            },
            of_all: Vec::new(),
            shared: Vec::new(),
            none_shared: Vec::new(),
            claims: HashSet::new(),
            out: Vec::new(),
            contexts: 0,
            room: Room::new(config.metric_names),
            now: Timestamp::default(),
        }
    }

    fn rows_of(&mut self, scope: Scope) -> Vec<Vec<Target>> {
        let mut rows = Vec::new();
        for part in scope.parts() {
            for row in part.values {
                let source = match part.json {
                    "" => row.json.to_owned(),
                    path => format!("{path}.{}", row.json),
                };
                let named = match self.naming {
                    Naming::Prometheus => names::prometheus(scope, part, row),
                    Naming::OpenTelemetry => names::opentelemetry(scope, part, row),
                };
                let targets = named.into_iter().map(|named| {
                    let family = self.family(&named, scope, row.kind, &source);
                    self.target(family, &named)
                });
                rows.push(targets.collect());
            }
        }
        rows
    }

    fn family(&mut self, named: &Named, scope: Scope, kind: Kind, source: &str) -> usize {
        if let Some(known) = self.by_name.get(&*named.name) {
            self.families[*known].is_made_of(source);
            return *known;
        }
        // The root series stand among the containers' or the pods'.
        let among = match (named.is_root(), scope) {
            (false, scope) => scope,
            (true, Scope::NodeNetwork) => Scope::PodNetwork,
            (true, _) => Scope::Container,
        };
        let shared = shared_labels(self.naming, among, self.has_facts);
        let shared = [&self.common, shared].concat();
        let about = format!("From the kubelet: {source}");
        let family = Family::new(named.name.clone(), kind, about, named.unit, &shared);
        self.add(family)
    }

    fn add(&mut self, family: Family) -> usize {
        self.by_name
            .insert(family.name.clone(), self.families.len());
        self.families.push(family);
        self.families.len() - 1
    }

    /// The family learns of labels that it did not have.
    fn target(&mut self, family: usize, named: &Named) -> Target {
        let keys = &mut self.families[family].labels;
        for (key, _) in named.labels {
            if !keys.contains(&Cow::Borrowed(*key)) {
                keys.push(Cow::Borrowed(key));
            }
        }
        let value_of = |key: &Cow<str>| {
            let given = named.labels.iter().find(|(name, _)| name == key);
            given.map_or("", |(_, value)| *value)
        };
        Target {
            family,
            labels: keys.iter().map(value_of).collect(),
            is_root: named.is_root(),
        }
    }

    /// A target may have been made before its family learnt of another's label.
    fn complete_labels(&mut self) {
        for target in self.rows.iter_mut().flatten().flatten() {
            let keys = self.families[target.family].labels.len();
            target.labels.resize(keys, "");
        }
    }

    /// A scrape begins. The node's name is the kubelet's unless the options have another.
    pub fn begin(&mut self, memory: Vec<u8>, kubelet_node: Option<&str>, now: Timestamp) {
        self.now = now;
        self.out = memory;
        self.out.clear();
        self.contexts = 0;
        self.claims.clear();
        self.room = Room::new(self.naming);
        let node = self
            .node_name
            .as_deref()
            .or(kubelet_node)
            .unwrap_or_default();
        if self.node != node {
            self.node = node.to_owned();
        }
        self.of_all.clear();
        let cluster = self.cluster.as_deref().unwrap_or_default();
        for (_, value) in self.common.iter().zip([&self.node, cluster]) {
            push_text(&mut self.of_all, value);
        }
    }

    /// What the node is called.
    pub fn node_name(&self) -> &str {
        &self.node
    }

    /// All of it. What is the node's and the plugin's own ends here.
    pub fn finish(&mut self, own: &SelfMetrics) -> Contexts {
        self.own(own);
        self.take_contexts()
    }

    fn take_contexts(&mut self) -> Contexts {
        self.end_context(None, Entity::Whole);
        Contexts {
            bytes: std::mem::take(&mut self.out),
            count: self.contexts,
        }
    }

    /// A container of a pod.
    pub fn container(
        &mut self,
        pod: &Pod,
        facts: Option<&PodFacts>,
        container: &Container,
        reading: &Reading,
    ) {
        let facts_of_container = facts.and_then(|facts| facts.container(&container.name));
        let of_this_run = facts_of_container.filter(|facts| !facts.is_behind(container.start_time));
        let image = facts_of_container.and_then(|facts| facts.image.as_deref());
        let id = of_this_run.and_then(|facts| facts.container_id.as_deref());
        let labels = [
            &*pod.namespace,
            &*pod.name,
            &*container.name,
            image.unwrap_or_default(),
            id.unwrap_or_default(),
        ];
        self.share(Scope::Container, &labels);
        let now = self.now.as_nanos();
        let mut numbers = self.of_run(Scope::Container, reading, container.start_time);
        container.stats.numbers(&mut numbers);
        let used = container.stats.memory.working_set;
        let allotment = facts_of_container.map(|facts| Allotment::from(&facts.resources));
        let allotment = allotment.unwrap_or_default();
        allotment
            .used_by(reading.nano_cores, used)
            .numbers(&mut numbers);
        // They are counted through all of its runs, and known since the facts came.
        (numbers.usual, numbers.time) = (now, now);
        numbers.started = pod.start_time.map(Timestamp::as_nanos);
        numbers.doubts_zeros = false;
        restarts(of_this_run).numbers(&mut numbers);
        let name = &*container.name;
        self.end(Some(pod), Entity::Container { name, id, image });
    }

    /// A pod, without its network.
    pub fn pod(&mut self, pod: &Pod, facts: Option<&PodFacts>, reading: &Reading) {
        let Some(stats) = &pod.stats else { return };
        self.share(Scope::Pod, &[&*pod.namespace, &*pod.name]);
        let mut numbers = self.of_run(Scope::Pod, reading, pod.start_time);
        stats.numbers(&mut numbers);
        let allotment = facts.map(|facts| Allotment::from(&facts.resources));
        let allotment = allotment.unwrap_or_default();
        let used = stats.memory.working_set;
        allotment
            .used_by(reading.nano_cores, used)
            .numbers(&mut numbers);
    }

    /// That is all of a pod, but for its containers and volumes.
    pub fn end_pod(&mut self, pod: &Pod) {
        self.end(Some(pod), Entity::Whole);
    }

    /// The network of a pod or of the node as a whole, where its interfaces are not wanted each.
    pub fn network(&mut self, pod: Option<&Pod>, network: &Network, reading: &Reading) {
        self.traffic(pod, &network.name, &network.total, reading);
    }

    /// An interface of a pod, or of the node.
    pub fn interface(&mut self, pod: Option<&Pod>, interface: &Interface, reading: &Reading) {
        self.traffic(pod, &interface.name, &interface.traffic, reading);
    }

    fn traffic(
        &mut self,
        pod: Option<&Pod>,
        interface: &str,
        traffic: &Traffic,
        reading: &Reading,
    ) {
        let scope = match pod {
            Some(_) => Scope::PodNetwork,
            None => Scope::NodeNetwork,
        };
        match (pod, self.naming) {
            (Some(pod), Naming::Prometheus) => {
                self.share(scope, &[&*pod.namespace, &*pod.name, interface]);
            }
            _ => self.share(scope, &[interface]),
        }
        let started = pod.and_then(|pod| pod.start_time);
        let time = traffic.time.unwrap_or(reading.time);
        let mut numbers = self.numbers(scope, time, started);
        traffic.numbers(&mut numbers);
        reading.traffic.numbers(&mut numbers);
    }

    /// Whether there is the claim already. The series of one say not which pod has it, and
    /// several can.
    fn is_told_of(&mut self, namespace: &str, claim: &str) -> bool {
        let hash = self.claims.hasher().hash_one((namespace, claim));
        self.naming == Naming::Prometheus && !self.claims.insert(hash)
    }

    /// A volume of a pod. Of a claim that several pods have the first one's counts.
    pub fn volume(&mut self, pod: &Pod, volume: &Volume, reading: &Reading) {
        let claim = volume.claim.as_deref().unwrap_or_default();
        let scope = match claim.is_empty() {
            false if self.is_told_of(&pod.namespace, claim) => return,
            false => {
                self.share(Scope::Claim, &[&*pod.namespace, claim]);
                Scope::Claim
            }
            true => {
                let labels = [&*pod.namespace, &*pod.name, &*volume.name];
                self.share(Scope::Volume, &labels);
                Scope::Volume
            }
        };
        let mut numbers = self.numbers(scope, reading.time, None);
        volume.filesystem.numbers(&mut numbers);
        let health = VolumeHealth {
            abnormal: volume.is_abnormal.and_then(|is| Number::new(is.into())),
            ..VolumeHealth::default()
        };
        health.numbers(&mut numbers);
        let name = &*volume.name;
        self.end(Some(pod), Entity::Volume { name, claim });
    }

    /// The node, without its network. `memory` is all that it has.
    pub fn node(&mut self, node: &Node, memory: Option<u64>, reading: &Reading) {
        self.share(Scope::Node, &[]);
        let mut numbers = self.of_run(Scope::Node, reading, node.start_time);
        node.stats.numbers(&mut numbers);
        node.runtime.numbers(&mut numbers);
        if let (Some(memory), Naming::Prometheus) = (memory, self.naming) {
            let family = self.family_of(&MACHINE_MEMORY);
            self.push(family, memory as f64, reading.time, std::iter::empty());
        }
    }

    /// What runs on the node beside pods.
    pub fn system_container(&mut self, container: &Container, reading: &Reading) {
        self.share(Scope::SystemContainer, &[&*container.name]);
        let mut numbers = self.of_run(Scope::SystemContainer, reading, container.start_time);
        container.stats.numbers(&mut numbers);
        let name = &*container.name;
        self.end(None, Entity::SystemContainer { name });
    }

    /// Whether the facts of pods are wanted as kube-state-metrics tells them.
    pub fn wants_states(&self) -> bool {
        self.has_states && self.naming == Naming::Prometheus
    }

    /// They are.
    pub fn states(&mut self, pods: &[&PodFacts]) {
        states::push(self, pods);
    }

    /// One sample of a metric that is made of no row, now; `labels` are the values.
    fn tell(&mut self, told: &'static Told, value: f64, labels: &[&str]) {
        let family = self.family_of(told);
        self.push(family, value, self.now, labels.iter().copied());
    }

    /// Its family, which has the labels of all samples and its own.
    fn family_of(&mut self, told: &'static Told) -> usize {
        if let Some(known) = self.by_name.get(told.name) {
            return *known;
        }
        let name = Cow::Borrowed(told.name);
        let mut family = Family::new(
            name,
            told.kind,
            told.about.to_owned(),
            told.unit,
            &self.common,
        );
        family.labels = told.labels.iter().map(|key| Cow::Borrowed(*key)).collect();
        self.add(family)
    }

    fn push<'v>(
        &mut self,
        family: usize,
        value: f64,
        time: Timestamp,
        labels: impl ExactSizeIterator<Item = &'v str>,
    ) {
        let sample = Sample {
            time: time.as_nanos(),
            started: None,
            value,
            shared: &self.of_all,
        };
        let family = &mut self.families[family];
        self.room.push(family, self.dialect, &sample, labels);
    }

    fn share(&mut self, scope: Scope, values: &[&str]) {
        self.shared.clone_from(&self.of_all);
        self.none_shared.clone_from(&self.of_all);
        let keys = shared_labels(self.naming, scope, self.has_facts).len();
        for value in values.iter().take(keys) {
            push_text(&mut self.shared, value);
        }
        // The root series, and with them the labels of another scope.
        let interface = values.first().copied().unwrap_or_default();
        let of_container = shared_labels(self.naming, Scope::Container, self.has_facts).len();
        let of_root = match scope {
            Scope::NodeNetwork => &["", "", interface],
            Scope::Node => &["", "", "", "", ""][..of_container],
            _ => &[],
        };
        for value in of_root {
            push_text(&mut self.none_shared, value);
        }
    }

    fn numbers(
        &mut self,
        scope: Scope,
        time: Timestamp,
        started: Option<Timestamp>,
    ) -> Pushing<'_> {
        Pushing {
            rows: self.rows[scope as usize].iter(),
            families: &mut self.families,
            room: &mut self.room,
            dialect: self.dialect,
            shared: &self.shared,
            none_shared: &self.none_shared,
            usual: time.as_nanos(),
            time: time.as_nanos(),
            started: started.map(Timestamp::as_nanos),
            doubts_zeros: false,
        }
    }

    /// The same of what uses CPU, with what its samples say together.
    fn of_run(
        &mut self,
        scope: Scope,
        reading: &Reading,
        started: Option<Timestamp>,
    ) -> Pushing<'_> {
        let mut numbers = self.numbers(scope, reading.time, started);
        numbers.doubts_zeros = !reading.believes_cpu;
        let rate = Rate {
            nano_cores: reading.nano_cores,
            ..Rate::default()
        };
        rate.numbers(&mut numbers);
        Age::at(reading.time, started).numbers(&mut numbers);
        numbers
    }

    /// With OpenTelemetry's names what is told of a resource is a context of its own.
    fn end(&mut self, pod: Option<&Pod>, entity: Entity) {
        if self.naming == Naming::OpenTelemetry {
            self.end_context(pod, entity);
        }
    }

    fn end_context(&mut self, pod: Option<&Pod>, entity: Entity) {
        let node = std::mem::take(&mut self.node);
        let cluster = self.cluster.take();
        let attributes = Attributes::of(pod, entity, &node, cluster.as_deref());
        self.write_context(&attributes);
        (self.node, self.cluster) = (node, cluster);
    }

    /// Everything since the last one; nothing if there is nothing, or no room for it.
    fn write_context(&mut self, attributes: &Attributes) {
        let families = || self.families.iter().filter(|family| !family.is_empty());
        let count = families().count();
        let bytes: usize = families().map(Family::size).sum();
        if count == 0 {
            return;
        }
        // The samples have been counted; the families of each resource are written anew.
        let heads = bytes - families().map(Family::size_of_samples).sum::<usize>();
        let Some(room) = self.room.bytes.checked_sub(heads) else {
            self.room.left_out += self.families.iter_mut().map(Family::clear).sum::<usize>();
            return;
        };
        self.room.bytes = room;
        make_room(&mut self.out, bytes);
        begin_context(&mut self.out, attributes, count as u32);
        let separator = match self.naming {
            Naming::Prometheus => '_',
            Naming::OpenTelemetry => '.',
        };
        for family in self.families.iter_mut().filter(|family| !family.is_empty()) {
            family.take(self.dialect, separator, &mut self.out);
        }
        self.contexts += 1;
    }
}

impl Room {
    fn new(naming: Naming) -> Self {
        Self {
            bytes: most_bytes(naming),
            left_out: 0,
        }
    }

    /// Puts the sample into its family, if there is room for it.
    fn push<'v>(
        &mut self,
        family: &mut Family,
        dialect: Dialect,
        sample: &Sample,
        labels: impl ExactSizeIterator<Item = &'v str>,
    ) {
        match family.push(dialect, sample, labels, self.bytes) {
            Some(bytes) => self.bytes -= bytes,
            None => self.left_out += 1,
        }
    }
}

fn restarts(facts: Option<&ContainerFacts>) -> Restarts {
    let count = facts.and_then(|facts| facts.restart_count);
    Restarts {
        count: count.and_then(Number::new),
        ..Restarts::default()
    }
}

/// Takes a scope's numbers and puts each into its families.
struct Pushing<'m> {
    rows: std::slice::Iter<'m, Vec<Target>>,
    families: &'m mut Vec<Family>,
    room: &'m mut Room,
    dialect: Dialect,
    shared: &'m [u8],
    none_shared: &'m [u8],
    /// The time of what has none of its own.
    usual: u64,
    time: u64,
    started: Option<u64>,
    /// Whether counters at 0 are left out: the CPU's fell, and what fails to read one of a
    /// cgroup's files may fail with the others.
    doubts_zeros: bool,
}

impl Numbers for Pushing<'_> {
    fn begin_group(&mut self, time: Option<Timestamp>) {
        let own = time.filter(|time| time.seconds > 0);
        self.time = own.map_or(self.usual, Timestamp::as_nanos);
    }

    fn number(&mut self, number: Option<f64>) {
        let targets = self.rows.next();
        let (Some(value), Some(targets)) = (number, targets) else {
            return;
        };
        for target in targets {
            let family = &mut self.families[target.family];
            if value == 0.0 && self.doubts_zeros && family.is_counter() {
                continue;
            }
            let sample = Sample {
                time: self.time,
                started: self.started,
                value,
                shared: match target.is_root {
                    true => self.none_shared,
                    false => self.shared,
                },
            };
            let labels = target.labels.iter().copied();
            self.room.push(family, self.dialect, &sample, labels);
        }
    }
}
