//! Adds the samples of everything in a summary: containers, pods, volumes, interfaces and the node.

use std::hash::BuildHasher;

use super::{
    MACHINE_MEMORY, Metrics, Naming, Scope, Target,
    families::{Dialect, Family, Sample, push_text},
    resource::Entity,
    room::Room,
    shared_labels,
};
use crate::{
    catalogue::{Age, Allotment, Numbers, Rate, Restarts, Traffic, VolumeHealth},
    facts::{ContainerFacts, PodFacts},
    number::Number,
    rates::Reading,
    summary::{Container, Interface, Network, Node, Pod, Volume},
    timestamp::Timestamp,
};

impl Metrics {
    /// Adds a container of a pod.
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
        // The restarts are counted over all runs. Their time is that of the scrape.
        (numbers.usual, numbers.time) = (now, now);
        numbers.started = pod.start_time.map(Timestamp::as_nanos);
        numbers.doubts_zeros = false;
        restarts(of_this_run).numbers(&mut numbers);
        let name = &*container.name;
        self.end(Some(pod), Entity::Container { name, id, image });
    }

    /// Adds a pod, without its network.
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

    /// Ends the samples of a pod, except those of its containers and volumes.
    pub fn end_pod(&mut self, pod: &Pod) {
        self.end(Some(pod), Entity::Whole);
    }

    /// Adds the network of a pod or of the node as a whole, if there are no metrics of each
    /// interface.
    pub fn network(&mut self, pod: Option<&Pod>, network: &Network, reading: &Reading) {
        self.traffic(pod, &network.name, &network.total, reading);
    }

    /// Adds an interface of a pod or of the node.
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

    /// Whether this scrape already has samples of the claim. The series of a claim do not say which
    /// pod uses it, and several pods can use it.
    fn is_told_of(&mut self, namespace: &str, claim: &str) -> bool {
        let hash = self.claims.hasher().hash_one((namespace, claim));
        self.naming == Naming::Prometheus && !self.claims.insert(hash)
    }

    /// Adds a volume of a pod. If several pods use the same claim, only the first one is added.
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

    /// Adds the node, without its network. `memory` is all its memory.
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

    /// Adds a system container.
    pub fn system_container(&mut self, container: &Container, reading: &Reading) {
        self.share(Scope::SystemContainer, &[&*container.name]);
        let mut numbers = self.of_run(Scope::SystemContainer, reading, container.start_time);
        container.stats.numbers(&mut numbers);
        let name = &*container.name;
        self.end(None, Entity::SystemContainer { name });
    }

    fn share(&mut self, scope: Scope, values: &[&str]) {
        self.shared.clone_from(&self.of_all);
        self.none_shared.clone_from(&self.of_all);
        let keys = shared_labels(self.naming, scope, self.has_facts).len();
        for value in values.iter().take(keys) {
            push_text(&mut self.shared, value);
        }
        // The root series share their families, and so their labels, with another scope.
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

    /// Does the same for a scope with CPU, and adds what was computed from its samples.
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
}

fn restarts(facts: Option<&ContainerFacts>) -> Restarts {
    let count = facts.and_then(|facts| facts.restart_count);
    Restarts {
        count: count.and_then(Number::new),
        ..Restarts::default()
    }
}

/// Receives the numbers of a scope and adds each to its families.
struct Pushing<'m> {
    rows: std::slice::Iter<'m, Vec<Target>>,
    families: &'m mut Vec<Family>,
    room: &'m mut Room,
    dialect: Dialect,
    shared: &'m [u8],
    none_shared: &'m [u8],
    /// The time for groups without a time of their own.
    usual: u64,
    time: u64,
    started: Option<u64>,
    /// Whether counters of 0 are dropped. This is so if the CPU counter is not possible: if the
    /// kubelet fails to read one file of a cgroup, it may fail to read the others too.
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
