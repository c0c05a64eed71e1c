//! From the replies' bytes to one batch of events: parse, select, observe, encode.
//! Everything between the HTTP seam and the host's append, and pure.

mod facts;

use std::time::Instant;

use self::facts::Facts;
use crate::{
    catalogue::Plan,
    error::Result,
    facts::PodFacts,
    number::Number,
    options::Config,
    rates::{OfOne, Samples},
    select::{self, Selector},
    sink::record::{CommonFields, Records},
    summary::{Container, Malformed, Node, Pod, PodRef, Summary},
    timestamp::Timestamp,
};

/// What the host has to take of a scrape. Each part is kept by itself until it is taken.
#[derive(Debug)]
pub enum Part {
    /// Events, for `flb_input_log_append`.
    Logs(Logs),
}

/// Events behind one another.
#[derive(Debug, Default)]
pub struct Logs {
    /// In msgpack, ready to append.
    pub bytes: Vec<u8>,
    /// How many they are.
    pub records: usize,
}

/// The reply for the pods.
#[derive(Debug)]
pub struct PodsReply<'r> {
    /// As it came.
    pub body: &'r [u8],
    /// Where from, for errors.
    pub url: &'r str,
    /// When.
    pub came: Timestamp,
}

/// What one scrape gave, and what it saw.
#[derive(Debug, Default)]
pub struct Batch {
    /// For the host.
    pub parts: Vec<Part>,
    /// Pods in the reply.
    pub pods_on_node: usize,
    /// Those of them that the options want.
    pub pods_wanted: usize,
    /// Pods that could not be decoded, wanted or not.
    pub pods_unreadable: usize,
    /// Containers of the wanted pods, without those that have ended.
    pub containers: usize,
    /// Those of them of which the kubelet tells a CPU value, new or not.
    pub with_cpu: usize,
    /// Those that have ended: all their values are 0.
    pub ended: usize,
    /// Whether `exclude_container` drops some.
    pub excludes_containers: bool,
    /// Records of containers.
    pub container_records: usize,
    /// Records of new samples, of whatever kind.
    pub news: usize,
    /// What the reply has of the other kinds that are wanted, new or not.
    pub others: usize,
    /// What was asked for.
    pub plan: Plan<'static>,
    /// Whether the facts of pods came, where they were asked for, and of how many pods they
    /// cannot be read.
    pub facts: Option<Result<usize>>,
}

impl Batch {
    /// In all parts.
    pub fn records(&self) -> usize {
        self.parts.iter().map(|Part::Logs(logs)| logs.records).sum()
    }

    /// The events of all parts.
    pub fn events(&self) -> &[u8] {
        match self.parts.first() {
            Some(Part::Logs(logs)) => &logs.bytes,
            None => &[],
        }
    }

    /// Counts a container of a wanted pod.
    fn count(&mut self, container: &Container) {
        match most_cpu(container) {
            Some(0) if !has_memory(container) => self.ended += 1,
            most => {
                self.containers += 1;
                self.with_cpu += usize::from(most.is_some_and(|most| most > 0));
            }
        }
    }

    /// The memory of its events, for the next batch's.
    pub fn into_buffer(self) -> Vec<u8> {
        match self.parts.into_iter().next() {
            Some(Part::Logs(logs)) => logs.bytes,
            None => Vec::new(),
        }
    }
}

/// What is kept from one scrape to the next: the choice, the samples seen last, and the facts.
#[derive(Debug)]
pub struct Pipeline {
    plan: Plan<'static>,
    selector: Selector,
    common: CommonFields,
    samples: Samples,
    facts: Option<Facts>,
}

impl Pipeline {
    /// Before the first scrape.
    pub fn new(config: &Config) -> Self {
        Self {
            plan: config.plan,
            selector: Selector::new(config),
            common: CommonFields::new(config),
            samples: Samples::new(config.cpu_source, config.repeat_samples),
            facts: (config.pod_facts && config.plan.wants_pods()).then(|| Facts::new(config)),
        }
    }

    /// Turns a reply into events, in the memory of an earlier batch. Facts are not asked for.
    pub fn run(&mut self, body: &[u8], memory: Vec<u8>) -> std::result::Result<Batch, Malformed> {
        let summary = self.decode(body)?;
        Ok(self.encode(summary, memory))
    }

    /// The wanted pods of a reply. One whose facts say that it is not wanted is not decoded.
    pub fn decode<'a>(&self, body: &'a [u8]) -> std::result::Result<Summary<'a>, Malformed> {
        let is_dropped = |pod: &PodRef| {
            let known = self.facts.as_ref().and_then(|facts| facts.of(pod));
            known.is_some_and(|known| !self.selector.keeps(Some(known)))
        };
        let mut summary = self.selector.parse_but(body, self.plan, is_dropped)?;
        select::newest_of_each_name(&mut summary.pods);
        Ok(summary)
    }

    /// The same without those that nobody can say are wanted: what [`Pipeline::encode`] makes
    /// records of.
    pub fn wanted<'a>(&self, body: &'a [u8]) -> std::result::Result<Summary<'a>, Malformed> {
        let mut summary = self.decode(body)?;
        self.keep_wanted(&mut summary.pods);
        Ok(summary)
    }

    fn keep_wanted(&self, pods: &mut Vec<Pod>) {
        pods.retain(|pod| self.selector.keeps(self.facts_of(pod)));
    }

    /// What is known of a pod of a summary.
    pub fn facts_of(&self, pod: &Pod) -> Option<&PodFacts> {
        self.facts.as_ref().and_then(|facts| facts.of_pod(pod))
    }

    /// Whether to ask for the facts of pods before this summary is encoded.
    pub fn wants_facts(&mut self, summary: &Summary, now: Instant) -> bool {
        let facts = self.facts.as_mut();
        facts.is_some_and(|facts| facts.is_due(&summary.pods, now))
    }

    /// Takes in what came of that; an error if there are no facts in it, else of how many
    /// pods they cannot be read.
    pub fn learn(
        &mut self,
        summary: &Summary,
        now: Instant,
        reply: Result<PodsReply>,
    ) -> Result<usize> {
        let facts = self.facts.as_mut();
        facts.map_or(Ok(0), |facts| {
            facts.learn(&self.selector, &summary.pods, now, reply)
        })
    }

    /// The events of a reply.
    pub fn encode(&mut self, mut summary: Summary, memory: Vec<u8>) -> Batch {
        let news = self.facts.as_mut().and_then(Facts::take_news);
        self.keep_wanted(&mut summary.pods);
        let facts = self.facts.as_ref();
        let of = |pod: &Pod| facts.and_then(|facts| facts.of_pod(pod));

        let mut batch = Batch {
            pods_on_node: summary.pods_on_node,
            pods_wanted: summary.pods.len(),
            pods_unreadable: summary.pods_unreadable,
            excludes_containers: self.selector.excludes_containers(),
            plan: self.plan,
            ..Batch::default()
        };
        self.samples.begin_scrape();
        let mut records = Records::reusing(memory, &self.common, summary.node.name.as_deref());
        for pod in &summary.pods {
            let facts = of(pod);
            let mut samples = self.samples.of_pod(pod);
            for container in &pod.containers {
                batch.count(container);
                if let Some(sample) = samples.container(container) {
                    records.container(pod, facts, container, sample);
                    batch.container_records += 1;
                }
            }
            batch.others += others_of_pod(&mut samples, pod, facts, &mut records);
        }
        batch.others += of_node(
            self.plan,
            self.samples.of_node(),
            &summary.node,
            &mut records,
        );
        batch.news = records.count();
        if let (Some(facts), Some(came), true) = (facts, news, self.plan.pods) {
            let without_stats = facts.without_stats(&summary.pods);
            for pod in without_stats.filter(|pod| self.selector.keeps(Some(pod))) {
                records.pod_without_stats(pod, came);
                batch.others += 1;
            }
        }
        batch.parts.push(Part::Logs(Logs {
            records: records.count(),
            bytes: records.into_bytes(),
        }));
        batch
    }
}

/// What the plan leaves out has not been decoded, and is not there. Returns how many there are.
fn others_of_pod(
    samples: &mut OfOne,
    pod: &Pod,
    facts: Option<&PodFacts>,
    records: &mut Records,
) -> usize {
    if let Some(reading) = samples.pod(pod) {
        records.pod(pod, facts, &reading);
    }
    for volume in &pod.volumes {
        if let Some(time) = samples.volume(volume) {
            records.volume(pod, facts, volume, time);
        }
    }
    for interface in &pod.network.interfaces {
        if let Some(reading) = samples.interface(interface) {
            records.interface(Some(pod), interface, &reading);
        }
    }
    usize::from(pod.stats.is_some()) + pod.volumes.len() + pod.network.interfaces.len()
}

/// The same of the node.
fn of_node(plan: Plan, mut samples: OfOne, node: &Node, records: &mut Records) -> usize {
    if plan.node
        && let Some(reading) = samples.node(node)
    {
        records.node(node, &reading);
    }
    for container in &node.system_containers {
        if let Some(reading) = samples.system_container(container) {
            records.system_container(container, &reading);
        }
    }
    for interface in &node.network.interfaces {
        if let Some(reading) = samples.interface(interface) {
            records.interface(None, interface, &reading);
        }
    }
    usize::from(plan.node) + node.system_containers.len() + node.network.interfaces.len()
}

/// The greater of its two CPU values.
fn most_cpu(container: &Container) -> Option<u64> {
    let cpu = &container.stats.cpu;
    [cpu.nano_cores, cpu.core_nanoseconds]
        .into_iter()
        .flatten()
        .map(Number::get)
        .max()
}

fn has_memory(container: &Container) -> bool {
    container
        .stats
        .memory
        .working_set
        .is_some_and(|bytes| bytes.get() > 0)
}
