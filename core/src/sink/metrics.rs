//! Native metrics: a scrape as contexts of cmetrics' own msgpack, which the host decodes once
//! and appends once. No clock, no socket, no host.
//!
//! With Prometheus' names a scrape is one context of all that is wanted, whether its sample
//! is new or not: an exporter shows the last context of an input, and what is not in it has
//! ended. With OpenTelemetry's names it is one context for each resource.

pub mod families;
pub mod names;
mod own;
mod states;

pub use own::{SelfMetrics, failed};

use std::{borrow::Cow, collections::HashMap};

use self::{
    families::{Dialect, External, Family, Sample, begin_context, push_text},
    names::ESTABLISHED,
};
use crate::{
    catalogue::{
        Age, Allotment, Kind as CatalogueKind, Numbers, Rate, Restarts, Unit, VolumeHealth,
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
    by_name: HashMap<String, usize>,
    /// By scope, the targets of each row in the order of its parts.
    rows: HashMap<Scope, Vec<Vec<Target>>>,
    /// Encoded labels that the samples at hand share; those of the root series.
    shared: Vec<u8>,
    none_shared: Vec<u8>,
    out: Vec<u8>,
    contexts: usize,
}

/// What a scrape gave.
#[derive(Debug)]
pub struct Contexts {
    /// In msgpack, behind one another.
    pub bytes: Vec<u8>,
    /// How many.
    pub count: usize,
}

/// The labels that Prometheus' samples have before their own.
fn shared_labels(scope: Scope, has_facts: bool) -> &'static [&'static str] {
    match scope {
        Scope::Container if has_facts => &["namespace", "pod", "container", "image", "name"],
        Scope::Container => &["namespace", "pod", "container"],
        Scope::Pod => &["namespace", "pod"],
        Scope::PodNetwork => &["namespace", "pod", "interface"],
        Scope::NodeNetwork => &["interface"],
        Scope::Volume => &["namespace", "pod", "persistentvolumeclaim", "volume"],
        Scope::SystemContainer => &["container"],
        Scope::Node => &[],
    }
}

/// Units as OpenTelemetry writes them.
fn unit_code(unit: Unit) -> &'static str {
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
        let mut metrics = Self {
            naming: config.metric_names,
            dialect: config.dialect,
            has_facts: config.pod_facts,
            has_states: config.kube_state_metrics,
            cluster: config.cluster.clone(),
            node_name: config.node_name.clone(),
            node: String::new(),
            families: Vec::new(),
            by_name: HashMap::new(),
            rows: HashMap::new(),
            shared: Vec::new(),
            none_shared: Vec::new(),
            out: Vec::new(),
            contexts: 0,
        };
        for scope in Scope::ALL {
            let rows = metrics.rows_of(scope);
            metrics.rows.insert(scope, rows);
        }
        metrics.complete_labels();
        metrics
    }

    fn rows_of(&mut self, scope: Scope) -> Vec<Vec<Target>> {
        let mut rows = Vec::new();
        for part in scope.parts() {
            for row in part.values {
                let about = about(part.json, row.json);
                let unit = unit_code(row.unit);
                rows.push(match self.naming {
                    Naming::Prometheus => {
                        self.prometheus(scope, part.prefix, row.metric, row.kind, &about, unit)
                    }
                    Naming::OpenTelemetry => {
                        let name = names::opentelemetry(scope, part, row);
                        name.map(|name| {
                            self.opentelemetry(scope, name, row.metric, row.kind, about, unit)
                        })
                        .into_iter()
                        .collect()
                    }
                });
            }
        }
        rows
    }

    fn prometheus(
        &mut self,
        scope: Scope,
        prefix: &str,
        metric: &str,
        kind: Kind,
        about: &str,
        unit: &'static str,
    ) -> Vec<Target> {
        if metric.is_empty() {
            return Vec::new();
        }
        let tail = format!("{prefix}{metric}");
        let tail = tail.trim_start_matches('_');
        let established: Vec<_> = ESTABLISHED
            .iter()
            .filter(|one| one.scope == scope && one.tail == tail)
            .collect();
        let is_named = established.iter().any(|one| !is_root(one.labels));
        let mut targets: Vec<_> = established
            .iter()
            .map(|one| {
                let is_root = is_root(one.labels);
                // The root series stand among the containers' or the pods'.
                let of = match (is_root, scope) {
                    (false, scope) => scope,
                    (true, Scope::NodeNetwork) => Scope::PodNetwork,
                    (true, _) => Scope::Container,
                };
                let family = self.family(one.name.to_owned(), of, kind, about, unit);
                self.target(family, one.labels, is_root)
            })
            .collect();
        if !is_named {
            let name = format!("{}{tail}", scope.prefix());
            let family = self.family(name, scope, kind, about, unit);
            targets.push(self.target(family, &[], false));
        }
        targets
    }

    fn opentelemetry(
        &mut self,
        scope: Scope,
        name: String,
        metric: &str,
        kind: Kind,
        about: String,
        unit: &'static str,
    ) -> Target {
        let family = self.family(name, scope, kind, &about, unit);
        let is_network = matches!(scope, Scope::PodNetwork | Scope::NodeNetwork);
        let direction: &[_] = match metric.contains("receive") {
            _ if !is_network => &[],
            true => &[("direction", "receive")],
            false => &[("direction", "transmit")],
        };
        self.target(family, direction, false)
    }

    fn family(
        &mut self,
        name: String,
        scope: Scope,
        kind: Kind,
        about: &str,
        unit: &'static str,
    ) -> usize {
        if let Some(known) = self.by_name.get(&name) {
            return *known;
        }
        let shared = match self.naming {
            Naming::Prometheus => shared_labels(scope, self.has_facts),
            // The rest is the resource's to say.
            Naming::OpenTelemetry if matches!(scope, Scope::PodNetwork | Scope::NodeNetwork) => {
                &["interface"]
            }
            Naming::OpenTelemetry => &[],
        };
        let family = Family::new(name.clone(), kind, about.to_owned(), unit, shared);
        self.families.push(family);
        self.by_name.insert(name, self.families.len() - 1);
        self.families.len() - 1
    }

    /// The family learns of labels that it did not have.
    fn target(
        &mut self,
        family: usize,
        labels: &[(&'static str, &'static str)],
        is_root: bool,
    ) -> Target {
        let keys = &mut self.families[family].labels;
        for (key, _) in labels {
            if !keys.contains(&Cow::Borrowed(*key)) {
                keys.push(Cow::Borrowed(key));
            }
        }
        let value_of = |key: &Cow<str>| {
            let given = labels.iter().find(|(name, _)| name == key);
            given.map_or("", |(_, value)| *value)
        };
        Target {
            family,
            labels: keys.iter().map(value_of).collect(),
            is_root,
        }
    }

    /// A target may have been made before its family learnt of another's label.
    fn complete_labels(&mut self) {
        for target in self.rows.values_mut().flatten().flatten() {
            let keys = self.families[target.family].labels.len();
            target.labels.resize(keys, "");
        }
    }

    /// A scrape begins. The node's name is the kubelet's unless the options have another.
    pub fn begin(&mut self, memory: Vec<u8>, kubelet_node: Option<&str>) {
        self.out = memory;
        self.out.clear();
        self.contexts = 0;
        let node = self
            .node_name
            .as_deref()
            .or(kubelet_node)
            .unwrap_or_default();
        if self.node != node {
            self.node = node.to_owned();
        }
    }

    /// All of it.
    pub fn finish(&mut self, own: &SelfMetrics, now: Timestamp) -> Contexts {
        self.own(own, now);
        self.end_context(&External {
            attributes: self.resource(None, &[]),
        });
        if self.naming == Naming::Prometheus {
            self.write_context(None);
        }
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
        let mut numbers = self.numbers(Scope::Container, reading.time, container.start_time);
        rate(reading).numbers(&mut numbers);
        Age::at(reading.time, container.start_time).numbers(&mut numbers);
        container.stats.numbers(&mut numbers);
        let used = container.stats.memory.working_set;
        let allotment = facts_of_container.map(|facts| Allotment::from(&facts.resources));
        let allotment = allotment.unwrap_or_default();
        allotment
            .used_by(reading.nano_cores, used)
            .numbers(&mut numbers);
        restarts(of_this_run).numbers(&mut numbers);
        let attributes = [
            ("k8s.container.name", Some(&*container.name)),
            ("container.id", id),
            ("container.image.name", image),
        ];
        self.end_resource(Some(pod), &attributes);
    }

    /// A pod, without its network.
    pub fn pod(&mut self, pod: &Pod, facts: Option<&PodFacts>, reading: &Reading) {
        let Some(stats) = &pod.stats else { return };
        self.share(Scope::Pod, &[&*pod.namespace, &*pod.name]);
        let mut numbers = self.numbers(Scope::Pod, reading.time, pod.start_time);
        rate(reading).numbers(&mut numbers);
        Age::at(reading.time, pod.start_time).numbers(&mut numbers);
        stats.numbers(&mut numbers);
        let allotment = facts.map(|facts| Allotment::from(&facts.resources));
        let allotment = allotment.unwrap_or_default();
        let used = stats.memory.working_set;
        allotment
            .used_by(reading.nano_cores, used)
            .numbers(&mut numbers);
        self.end_resource(Some(pod), &[]);
    }

    /// The network of a pod as a whole, where its interfaces are not wanted each.
    pub fn network(&mut self, pod: Option<&Pod>, network: &Network, reading: Option<&Reading>) {
        let interface = Interface {
            name: network.name.clone(),
            traffic: network.total.clone(),
        };
        self.interface(pod, &interface, reading);
    }

    /// An interface of a pod, or of the node.
    pub fn interface(
        &mut self,
        pod: Option<&Pod>,
        interface: &Interface,
        reading: Option<&Reading>,
    ) {
        let traffic = &interface.traffic;
        let Some(time) = traffic.time.or(reading.map(|reading| reading.time)) else {
            return;
        };
        let scope = match pod {
            Some(_) => Scope::PodNetwork,
            None => Scope::NodeNetwork,
        };
        let name = &*interface.name;
        match (pod, self.naming) {
            (Some(pod), Naming::Prometheus) => {
                self.share(scope, &[&*pod.namespace, &*pod.name, name]);
            }
            _ => self.share(scope, &[name]),
        }
        let started = pod.and_then(|pod| pod.start_time);
        let mut numbers = self.numbers(scope, time, started);
        traffic.numbers(&mut numbers);
        let rate = reading.map(|reading| reading.traffic.clone());
        rate.unwrap_or_default().numbers(&mut numbers);
        self.end_resource(pod, &[]);
    }

    /// A volume of a pod.
    pub fn volume(&mut self, pod: &Pod, volume: &Volume, reading: &Reading) {
        let claim = volume.claim.as_deref();
        let labels = [
            &*pod.namespace,
            &*pod.name,
            claim.unwrap_or_default(),
            &*volume.name,
        ];
        self.share(Scope::Volume, &labels);
        let mut numbers = self.numbers(Scope::Volume, reading.time, None);
        volume.filesystem.numbers(&mut numbers);
        let health = VolumeHealth {
            abnormal: volume.is_abnormal.and_then(|is| Number::new(is.into())),
            ..VolumeHealth::default()
        };
        health.numbers(&mut numbers);
        let attributes = [
            ("k8s.volume.name", Some(&*volume.name)),
            ("k8s.persistentvolumeclaim.name", claim),
        ];
        self.end_resource(Some(pod), &attributes);
    }

    /// The node, without its network. `memory` is all that it has.
    pub fn node(&mut self, node: &Node, memory: Option<u64>, reading: &Reading) {
        self.share(Scope::Node, &[]);
        let mut numbers = self.numbers(Scope::Node, reading.time, node.start_time);
        rate(reading).numbers(&mut numbers);
        Age::at(reading.time, node.start_time).numbers(&mut numbers);
        node.stats.numbers(&mut numbers);
        node.runtime.numbers(&mut numbers);
        if let (Some(memory), Naming::Prometheus) = (memory, self.naming) {
            let about =
                "What the node has: node.memory.availableBytes and workingSetBytes together";
            self.gauge(
                "machine_memory_bytes",
                about,
                "By",
                memory as f64,
                reading.time,
                &[],
            );
        }
        self.end_resource(None, &[]);
    }

    /// What runs on the node beside pods.
    pub fn system_container(&mut self, container: &Container, reading: &Reading) {
        self.share(Scope::SystemContainer, &[&*container.name]);
        let mut numbers = self.numbers(Scope::SystemContainer, reading.time, container.start_time);
        rate(reading).numbers(&mut numbers);
        Age::at(reading.time, container.start_time).numbers(&mut numbers);
        container.stats.numbers(&mut numbers);
        self.end_resource(None, &[("k8s.container.name", Some(&*container.name))]);
    }

    /// The facts of pods, as kube-state-metrics tells them.
    pub fn states(&mut self, pods: &[&PodFacts], now: Timestamp) {
        if self.has_states && self.naming == Naming::Prometheus {
            states::push(self, pods, now);
        }
    }

    /// One sample of a family that is in no table, with labels by name.
    fn sample(
        &mut self,
        name: &str,
        kind: Kind,
        about: &str,
        unit: &'static str,
        value: f64,
        time: Timestamp,
        labels: &[(&'static str, &str)],
    ) {
        let family = self.family_of(name, kind, about, unit);
        if self.families[family].labels.is_empty() {
            let keys = labels.iter().map(|(key, _)| Cow::Borrowed(*key));
            self.families[family].labels = keys.collect();
        }
        self.push(family, value, time, labels.iter().map(|(_, value)| *value));
    }

    /// The family of this name, which has no shared labels.
    fn family_of(&mut self, name: &str, kind: Kind, about: &str, unit: &'static str) -> usize {
        if let Some(known) = self.by_name.get(name) {
            return *known;
        }
        let family = Family::new(name.to_owned(), kind, about.to_owned(), unit, &[]);
        self.families.push(family);
        let family = self.families.len() - 1;
        self.by_name.insert(name.to_owned(), family);
        family
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
            shared: &[],
        };
        self.families[family].push(self.dialect, &sample, labels);
    }

    fn gauge(
        &mut self,
        name: &str,
        about: &str,
        unit: &'static str,
        value: f64,
        time: Timestamp,
        labels: &[(&'static str, &str)],
    ) {
        self.sample(name, Kind::Gauge, about, unit, value, time, labels);
    }

    fn share(&mut self, scope: Scope, values: &[&str]) {
        self.shared.clear();
        self.none_shared.clear();
        let keys = match (self.naming, scope) {
            (Naming::Prometheus, scope) => shared_labels(scope, self.has_facts).len(),
            (_, Scope::PodNetwork | Scope::NodeNetwork) => 1,
            _ => 0,
        };
        for value in values.iter().take(keys) {
            push_text(&mut self.shared, value);
        }
        // The root series, and with them the labels of another scope.
        let of_root = match scope {
            Scope::NodeNetwork => {
                let interface = values.first().copied().unwrap_or_default();
                vec!["", "", interface]
            }
            _ => vec![""; shared_labels(Scope::Container, self.has_facts).len()],
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
            rows: self.rows[&scope].iter(),
            families: &mut self.families,
            dialect: self.dialect,
            shared: &self.shared,
            none_shared: &self.none_shared,
            usual: time.as_nanos(),
            time: time.as_nanos(),
            started: started.map(Timestamp::as_nanos),
        }
    }

    fn resource(
        &self,
        pod: Option<&Pod>,
        more: &[(&'static str, Option<&str>)],
    ) -> Vec<(&'static str, String)> {
        let mut attributes = Vec::new();
        let mut add = |key, value: &str| {
            if !value.is_empty() {
                attributes.push((key, value.to_owned()));
            }
        };
        if let Some(pod) = pod {
            add("k8s.namespace.name", &pod.namespace);
            add("k8s.pod.name", &pod.name);
            add("k8s.pod.uid", &pod.uid);
        }
        for (key, value) in more {
            add(key, value.unwrap_or_default());
        }
        add("k8s.node.name", &self.node);
        add(
            "k8s.cluster.name",
            self.cluster.as_deref().unwrap_or_default(),
        );
        attributes
    }

    /// With OpenTelemetry's names the resource is a context of its own.
    fn end_resource(&mut self, pod: Option<&Pod>, more: &[(&'static str, Option<&str>)]) {
        if self.naming == Naming::OpenTelemetry {
            let attributes = self.resource(pod, more);
            self.end_context(&External { attributes });
        }
    }

    fn end_context(&mut self, external: &External) {
        if self.naming == Naming::OpenTelemetry {
            self.write_context(Some(external));
        }
    }

    fn write_context(&mut self, external: Option<&External>) {
        let count = self
            .families
            .iter()
            .filter(|family| !family.is_empty())
            .count();
        if count == 0 {
            return;
        }
        let mut labels = Vec::new();
        if external.is_none() {
            labels.extend([("node", self.node.as_str())]);
            labels.extend(self.cluster.as_deref().map(|cluster| ("cluster", cluster)));
            labels.retain(|(_, value)| !value.is_empty());
        }
        begin_context(&mut self.out, external, &labels, count as u32);
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

fn is_root(labels: &[(&str, &str)]) -> bool {
    labels.contains(&("id", "/"))
}

/// What a metric's help says.
fn about(path: &str, row: &str) -> String {
    match path {
        "" => format!("From the kubelet's summary: {row}"),
        path => format!("From the kubelet's summary: {path}.{row}"),
    }
}

fn rate(reading: &Reading) -> Rate {
    Rate {
        nano_cores: reading.nano_cores,
        ..Rate::default()
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
    dialect: Dialect,
    shared: &'m [u8],
    none_shared: &'m [u8],
    /// The time of what has none of its own.
    usual: u64,
    time: u64,
    started: Option<u64>,
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
            self.families[target.family].push(self.dialect, &sample, labels);
        }
    }
}
