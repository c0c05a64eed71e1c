//! Native metrics. A scrape becomes contexts in cmetrics' own msgpack, which the host decodes once
//! and appends once. This module knows no clock, no socket and no host.
//!
//! With Prometheus' names, a scrape is one context with everything that is selected, whether its
//! sample is new or not. An exporter shows the last context of an input, so a series that is not in
//! it has ended. With OpenTelemetry's names, there is one context for each resource.

mod entities;
pub mod families;
mod layout;
pub mod names;
mod own;
mod resource;
mod room;
mod states;

pub use own::{SELF, SelfMetrics, failed};
pub use states::KUBE_STATE;

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use self::{
    families::{Dialect, Family, Sample, begin_context, make_room, push_text},
    resource::{Attributes, Entity},
    room::Room,
};
use crate::{
    catalogue::{Kind as CatalogueKind, Unit},
    facts::PodFacts,
    options::Config,
    summary::Pod,
    timestamp::Timestamp,
};

/// Which names metrics have.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// The names on the kubelet's own pages, including cAdvisor's.
    #[default]
    Prometheus,
    /// The names of the kubeletstats receiver.
    OpenTelemetry,
}

/// Counter or gauge.
pub type Kind = CatalogueKind;

/// What the numbers of a family belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A container of a pod.
    Container,
    /// A pod, without its network.
    Pod,
    /// The node, without its network.
    Node,
    /// A system container.
    SystemContainer,
    /// A volume of a pod, without a claim.
    Volume,
    /// An interface of a pod.
    PodNetwork,
    /// An interface of the node.
    NodeNetwork,
    /// A volume of a pod, with a claim.
    Claim,
}

/// A metric that does not come from a row of the catalogue.
#[derive(Debug)]
pub struct Told {
    /// Its name.
    pub name: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// The text of its help.
    pub about: &'static str,
    /// The unit in OpenTelemetry's form.
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

/// This name is cAdvisor's.
pub const MACHINE_MEMORY: Told = gauge(
    "machine_memory_bytes",
    "Memory of the node: its working set and what is available",
    "By",
    &[],
);

/// Where a number goes: the family, and the values of its own labels.
#[derive(Debug, Clone)]
struct Target {
    family: usize,
    labels: Vec<&'static str>,
    /// Whether this is cAdvisor's series of the node, in which the shared labels are empty.
    is_root: bool,
}

/// The families of an input. Their memory is reused by each scrape.
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
    /// For each scope, the targets of each row, in the order of its parts.
    rows: Vec<Vec<Vec<Target>>>,
    /// The keys of the labels that all samples have, followed by their encoded values in this
    /// scrape. They are not labels of the context, because the host's processor `metrics_selector`
    /// loses those.
    common: Vec<&'static str>,
    of_all: Vec<u8>,
    /// The encoded labels that the current samples share, followed by those of the root series.
    shared: Vec<u8>,
    none_shared: Vec<u8>,
    /// Hashes of the claims in this scrape. With hashes, a scrape like the previous one needs no
    /// new memory.
    claims: HashSet<u64>,
    out: Vec<u8>,
    contexts: usize,
    room: Room,
    /// The time of this scrape.
    now: Timestamp,
}

/// The metrics of a scrape.
#[derive(Debug)]
pub struct Contexts {
    /// The contexts in msgpack, one after the other.
    pub bytes: Vec<u8>,
    /// The number of contexts.
    pub count: usize,
}

/// The labels that all samples of a scope have before their own labels.
pub fn shared_labels(naming: Naming, scope: Scope, has_facts: bool) -> &'static [&'static str] {
    if naming == Naming::OpenTelemetry {
        // The other labels are attributes of the resource.
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

/// The unit in OpenTelemetry's form.
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
    /// Makes the families before the first scrape.
    pub fn new(config: &Config) -> Self {
        let mut metrics = Self::without_rows(config);
        for scope in Scope::ALL {
            let rows = metrics.rows_of(scope);
            metrics.rows.push(rows);
        }
        metrics.complete_labels();
        metrics
    }

    /// Makes an instance for metrics that do not come from a row of the catalogue.
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
                // These are attributes of the resource.
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

    /// Begins a scrape. The node's name is the kubelet's, unless the options have another.
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

    /// Returns the name of the node.
    pub fn node_name(&self) -> &str {
        &self.node
    }

    /// Returns all metrics of the scrape. The last context has those of the node and of the plugin
    /// itself.
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

    /// Whether the facts of pods are written under the names of kube-state-metrics.
    pub fn wants_states(&self) -> bool {
        self.has_states && self.naming == Naming::Prometheus
    }

    /// Writes the facts of these pods under those names.
    pub fn states(&mut self, pods: &[&PodFacts]) {
        states::push(self, pods);
    }

    /// Adds one sample, with the current time, of a metric that does not come from a row. `labels`
    /// are the values.
    fn tell(&mut self, told: &'static Told, value: f64, labels: &[&str]) {
        let family = self.family_of(told);
        self.push(family, value, self.now, labels.iter().copied());
    }

    /// Returns its family, which has the labels of all samples and its own labels.
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

    /// Ends the context of a resource, if the names are OpenTelemetry's.
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

    /// Writes everything since the last context. If there is nothing, or no room for it, it writes
    /// nothing.
    fn write_context(&mut self, attributes: &Attributes) {
        let families = || self.families.iter().filter(|family| !family.is_empty());
        let count = families().count();
        let bytes: usize = families().map(Family::size).sum();
        if count == 0 {
            return;
        }
        // The samples are already counted. The heads of the families are written again for each
        // resource.
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
