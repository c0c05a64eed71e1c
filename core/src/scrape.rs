//! Turns the bytes of the replies into one batch of events and metrics: it parses, selects,
//! observes and encodes. It owns everything between the HTTP client and the host's append. It is
//! pure.

mod facts;

use std::{cell::RefCell, time::Instant};

use self::facts::Facts;
use crate::{
    catalogue::Plan,
    counters::Counters,
    error::Result,
    facts::PodFacts,
    number::Number,
    options::Config,
    rates::{OfOne, Reading, Samples},
    select::{self, Selector},
    sink::{
        metrics::{Contexts, Metrics, SelfMetrics},
        record::{CommonFields, Records},
    },
    summary::{Body, Container, Malformed, Network, Pod, PodRef, Spare, Summary},
    timestamp::Timestamp,
};

/// A part of a scrape that the host has to accept. Each part is kept until it is accepted.
#[derive(Debug)]
pub enum Part {
    /// Events for `flb_input_log_append`.
    Logs(Logs),
    /// Metrics. If the host refuses them, those of the next scrape replace them.
    Metrics(Contexts),
}

/// A sequence of events.
#[derive(Debug, Default)]
pub struct Logs {
    /// The events in msgpack, ready to append.
    pub bytes: Vec<u8>,
    /// The number of events.
    pub records: usize,
}

/// The reply of `/pods`.
#[derive(Debug)]
pub struct PodsReply<'r> {
    /// The body as it was received.
    pub body: &'r [u8],
    /// The URL of the request, for errors.
    pub url: &'r str,
    /// When the reply was received.
    pub came: Timestamp,
}

/// The result of one scrape, and what it found.
#[derive(Debug, Default)]
pub struct Batch {
    /// The parts for the host.
    pub parts: Vec<Part>,
    /// The number of pods in the reply.
    pub pods_on_node: usize,
    /// The number of pods that the options select.
    pub pods_wanted: usize,
    /// The number of pods that could not be decoded, selected or not.
    pub pods_unreadable: usize,
    /// The number of containers of the selected pods, without those that have ended.
    pub containers: usize,
    /// The number of these containers for which the kubelet reports a CPU value, new or not.
    pub with_cpu: usize,
    /// The number of containers that have ended. All their values are 0.
    pub ended: usize,
    /// Whether `exclude_container` is set.
    pub excludes_containers: bool,
    /// The number of new samples of containers. If there are records, each of them has one.
    pub new_containers: usize,
    /// The number of new samples of all kinds.
    pub news: usize,
    /// How many objects of other kinds than containers the plan records, with a new sample or not.
    pub others: usize,
    /// The plan of the scrape.
    pub plan: Plan<'static>,
    /// If facts of pods were requested: the number of pods whose facts cannot be read, or the
    /// error.
    pub facts: Option<Result<usize>>,
    /// The name of the node in metrics, if there are metrics.
    pub node: Option<String>,
}

impl Batch {
    /// The number of records.
    pub fn records(&self) -> usize {
        self.logs().map_or(0, |logs| logs.records)
    }

    /// All events.
    pub fn events(&self) -> &[u8] {
        self.logs().map_or(&[], |logs| &logs.bytes)
    }

    fn logs(&self) -> Option<&Logs> {
        self.parts.iter().find_map(|part| match part {
            Part::Logs(logs) => Some(logs),
            Part::Metrics(_) => None,
        })
    }

    /// The metrics, if there are any.
    pub fn metrics(&self) -> Option<&Contexts> {
        self.parts.iter().find_map(|part| match part {
            Part::Metrics(metrics) => Some(metrics),
            Part::Logs(_) => None,
        })
    }

    /// Counts a container of a selected pod. Returns `false` if the container has ended.
    fn count(&mut self, container: &Container) -> bool {
        let most = most_cpu(container);
        let has_ended = most == Some(0) && !has_memory(container);
        if has_ended {
            self.ended += 1;
        } else {
            self.containers += 1;
            self.with_cpu += usize::from(most.is_some_and(|most| most > 0));
        }
        !has_ended
    }

    /// Returns the memory of the parts, for the next batch.
    pub fn into_memory(self) -> Memory {
        let mut memory = Memory::default();
        for part in self.parts {
            match part {
                Part::Logs(logs) => memory.logs = logs.bytes,
                Part::Metrics(metrics) => memory.metrics = metrics.bytes,
            }
        }
        memory
    }
}

/// The memory of finished parts, for the next ones.
#[derive(Debug, Default)]
pub struct Memory {
    /// The memory of events.
    pub logs: Vec<u8>,
    /// The memory of metrics.
    pub metrics: Vec<u8>,
}

/// What the metrics report about the scrape itself.
#[derive(Debug)]
pub struct About {
    /// The counters before this scrape.
    pub counters: Counters,
    /// When the scrape began.
    pub began: Instant,
    /// When the scrape ends, by the machine's clock.
    pub now: Timestamp,
    /// The size of the reply.
    pub reply_bytes: usize,
}

/// What is kept between scrapes: the selection, the last samples, and the facts.
#[derive(Debug)]
pub struct Pipeline {
    plan: Plan<'static>,
    selector: Selector,
    common: CommonFields,
    samples: Samples,
    facts: Option<Facts>,
    has_records: bool,
    metrics: Option<Box<Metrics>>,
    spare: RefCell<Spare>,
}

impl Pipeline {
    /// Makes the state before the first scrape.
    pub fn new(config: &Config) -> Self {
        Self {
            plan: config.plan,
            selector: Selector::new(config),
            common: CommonFields::new(config),
            samples: Samples::new(config.cpu_source, config.repeat_samples),
            facts: (config.pod_facts && config.plan.wants_pods()).then(|| Facts::new(config)),
            has_records: config.format.has_records(),
            metrics: config
                .format
                .has_metrics()
                .then(|| Box::new(Metrics::new(config))),
            spare: RefCell::default(),
        }
    }

    /// Turns a reply into events, in the memory of an earlier batch. It requests no facts and makes
    /// no metrics.
    pub fn run<'a>(
        &mut self,
        body: impl Into<Body<'a>>,
        memory: Vec<u8>,
    ) -> std::result::Result<Batch, Malformed> {
        let summary = self.decode(body)?;
        let memory = Memory {
            logs: memory,
            ..Memory::default()
        };
        Ok(self.encode(summary, memory, None))
    }

    /// Decodes the selected pods of a reply. A pod is not decoded if its facts show that it is not
    /// selected.
    pub fn decode<'a>(
        &self,
        body: impl Into<Body<'a>>,
    ) -> std::result::Result<Summary<'a>, Malformed> {
        let is_dropped = |pod: &PodRef| {
            let known = self.facts.as_ref().and_then(|facts| facts.of(pod));
            known.is_some_and(|known| !self.selector.keeps(Some(known)))
        };
        let spare = &mut *self.spare.borrow_mut();
        let mut summary = self
            .selector
            .parse_but(spare, body.into(), self.plan, is_dropped)?;
        select::newest_of_each_name(&mut summary.pods);
        select::first_of_each_name(&mut summary);
        Ok(summary)
    }

    /// Does the same, but also drops pods whose facts are needed for the selection and are not
    /// known. These are the pods of which [`Pipeline::encode`] makes records.
    pub fn wanted<'a>(&self, body: &'a [u8]) -> std::result::Result<Summary<'a>, Malformed> {
        let mut summary = self.decode(body)?;
        self.keep_wanted(&mut summary.pods);
        Ok(summary)
    }

    fn keep_wanted(&self, pods: &mut Vec<Pod>) {
        pods.retain(|pod| self.selector.keeps(self.facts_of(pod)));
    }

    /// Returns the facts of a pod of a summary, if they are known.
    pub fn facts_of(&self, pod: &Pod) -> Option<&PodFacts> {
        self.facts.as_ref().and_then(|facts| facts.of_pod(pod))
    }

    /// Whether to request the facts of pods before this summary is encoded.
    pub fn wants_facts(&mut self, summary: &Summary, now: Instant) -> bool {
        let facts = self.facts.as_mut();
        facts.is_some_and(|facts| facts.is_due(&summary.pods, now))
    }

    /// Takes the reply of that request. Returns an error if it has no facts. Otherwise it returns
    /// the number of pods whose facts cannot be read.
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

    /// Makes the events of a reply and, with `about`, its metrics.
    pub fn encode(&mut self, mut summary: Summary, memory: Memory, about: Option<About>) -> Batch {
        let news = self.facts.as_mut().and_then(Facts::take_news);
        self.keep_wanted(&mut summary.pods);
        let metrics = self.metrics.as_ref();
        let wants_states = metrics.is_some_and(|metrics| metrics.wants_states());
        if let (Some(facts), true) = (&mut self.facts, wants_states) {
            facts.see(&summary.pods);
        }
        let facts = self.facts.as_ref();
        let of = |pod: &Pod| facts.and_then(|facts| facts.of_pod(pod));

        let batch = Batch {
            pods_on_node: summary.pods_on_node,
            pods_wanted: summary.pods.len(),
            pods_unreadable: summary.pods_unreadable,
            excludes_containers: self.selector.excludes_containers(),
            plan: self.plan,
            ..Batch::default()
        };
        self.samples.begin_scrape();
        let node = summary.node.name.clone();
        let node = node.as_deref();
        let mut sinks = Sinks {
            records: self
                .has_records
                .then(|| Records::reusing(memory.logs, &self.common, node)),
            metrics: self.metrics.as_deref_mut().filter(|_| about.is_some()),
            plan: self.plan,
            batch,
            newest: None,
        };
        if let (Some(metrics), Some(about)) = (&mut sinks.metrics, &about) {
            metrics.begin(memory.metrics, node, about.now);
        }
        for pod in &mut summary.pods {
            let samples = self.samples.of_pod(pod);
            sinks.pod(pod, of(pod), samples);
        }
        sinks.node(&mut summary, self.samples.of_node());
        if let Some(facts) = facts {
            let kept = |pod: &&PodFacts| self.selector.keeps(Some(pod));
            if let (Some(came), true) = (news, self.plan.pods) {
                let without_stats = facts.without_stats(&summary.pods);
                sinks.without_stats(without_stats.filter(kept), came);
            }
            if let (Some(metrics), true) = (&mut sinks.metrics, wants_states) {
                let pods: Vec<_> = facts.present().filter(kept).collect();
                metrics.states(&pods);
            }
        }
        let Sinks {
            records,
            metrics,
            mut batch,
            newest,
            ..
        } = sinks;
        if let Some(records) = records {
            batch.parts.push(Part::Logs(Logs {
                records: records.count(),
                bytes: records.into_bytes(),
            }));
        }
        if let (Some(metrics), Some(about)) = (metrics, about) {
            let own = own_metrics(newest, &batch, &about);
            batch.node = Some(metrics.node_name().to_owned()).filter(|name| !name.is_empty());
            batch.parts.push(Part::Metrics(metrics.finish(&own)));
        }
        self.spare.get_mut().reclaim(summary);
        batch
    }
}

fn own_metrics(newest: Option<Timestamp>, batch: &Batch, about: &About) -> SelfMetrics {
    let took = about.began.elapsed();
    let mut counters = about.counters.clone();
    counters.scraped(took);
    let nanos = newest.map(|newest| about.now.as_nanos().saturating_sub(newest.as_nanos()));
    SelfMetrics {
        counters,
        duration: took.as_secs_f64(),
        reply_bytes: about.reply_bytes,
        newest_sample_age: nanos.map(|nanos| nanos as f64 / 1e9),
        pods: [batch.pods_on_node, batch.pods_wanted, batch.pods_unreadable],
    }
}

/// Where the samples of a scrape go. What the plan does not include was not decoded and is absent.
struct Sinks<'s> {
    records: Option<Records<'s>>,
    metrics: Option<&'s mut Metrics>,
    plan: Plan<'static>,
    batch: Batch,
    /// The time of the newest sample.
    newest: Option<Timestamp>,
}

impl<'s> Sinks<'s> {
    /// Adds the samples of a pod. A counter that is not possible is absent from here on.
    fn pod(&mut self, pod: &mut Pod, facts: Option<&PodFacts>, mut samples: OfOne) {
        let mut containers = std::mem::take(&mut pod.containers);
        for container in &mut containers {
            let runs = self.batch.count(container);
            let Some(reading) = samples.container(container) else {
                continue;
            };
            self.newest = self.newest.max(Some(reading.time));
            reading.keep_believed(&mut container.stats.cpu);
            // Without a rate there is no record, because a consumer refuses a record without `cpu`.
            if reading.is_due && reading.nano_cores.is_some() {
                self.batch.new_containers += 1;
                self.batch.news += 1;
                if let Some(records) = &mut self.records {
                    records.container(pod, facts, container, &reading);
                }
            }
            // The zeros of a container that has ended are not measurements.
            if let (Some(metrics), true) = (&mut self.metrics, runs) {
                metrics.container(pod, facts, container, &reading);
            }
        }
        pod.containers = containers;
        let reading = samples.pod(pod);
        if let (Some(reading), Some(stats)) = (&reading, &mut pod.stats) {
            reading.keep_believed(&mut stats.cpu);
            reading.keep_believed_traffic(&mut pod.network.total);
        }
        if let Some(reading) = &reading
            && let Some(records) = self.due(reading)
        {
            records.pod(pod, facts, reading);
        }
        for volume in &pod.volumes {
            let Some(reading) = samples.volume(volume) else {
                continue;
            };
            if let Some(records) = self.due(&reading) {
                records.volume(pod, facts, volume, reading.time);
            }
            if let Some(metrics) = &mut self.metrics {
                metrics.volume(pod, volume, &reading);
            }
        }
        if let (Some(metrics), Some(reading)) = (&mut self.metrics, &reading) {
            metrics.pod(pod, facts, reading);
        }
        let mut network = std::mem::take(&mut pod.network);
        self.network(Some(pod), &mut network, reading, samples);
        pod.network = network;
        if let Some(metrics) = &mut self.metrics {
            metrics.end_pod(pod);
        }
        let own = usize::from(pod.stats.is_some());
        self.batch.others += own + pod.volumes.len() + pod.network.interfaces.len();
    }

    fn node(&mut self, summary: &mut Summary, mut samples: OfOne) {
        let node = &mut summary.node;
        let reading = samples.node(node).filter(|_| self.plan.node);
        if let Some(reading) = &reading {
            reading.keep_believed(&mut node.stats.cpu);
            reading.keep_believed_traffic(&mut node.network.total);
        }
        if let Some(reading) = &reading
            && let Some(records) = self.due(reading)
        {
            records.node(node, reading);
        }
        for container in &mut node.system_containers {
            let Some(reading) = samples.container(container) else {
                continue;
            };
            reading.keep_believed(&mut container.stats.cpu);
            if let Some(records) = self.due(&reading) {
                records.system_container(container, &reading);
            }
            if let Some(metrics) = &mut self.metrics {
                metrics.system_container(container, &reading);
            }
        }
        if let (Some(metrics), Some(reading)) = (&mut self.metrics, &reading) {
            metrics.node(node, summary.memory_bytes, reading);
        }
        self.network(None, &mut node.network, reading, samples);
        let own = usize::from(self.plan.node);
        self.batch.others += own + node.system_containers.len() + node.network.interfaces.len();
    }

    /// Adds each interface if the plan has interfaces. Otherwise it adds the network as a whole.
    fn network(
        &mut self,
        pod: Option<&Pod>,
        network: &mut Network,
        reading: Option<Reading>,
        mut samples: OfOne,
    ) {
        for interface in &mut network.interfaces {
            let Some(reading) = samples.interface(interface) else {
                continue;
            };
            reading.keep_believed_traffic(&mut interface.traffic);
            if let Some(records) = self.due(&reading) {
                records.interface(pod, interface, &reading);
            }
            if let Some(metrics) = &mut self.metrics {
                metrics.interface(pod, interface, &reading);
            }
        }
        // A pod's network belongs to the pod and to its containers. The node's network belongs only
        // to the node.
        let is_wanted = match pod {
            Some(_) => self.plan.pods || self.plan.containers,
            None => self.plan.node,
        };
        if let (Some(metrics), true, false) = (&mut self.metrics, is_wanted, self.plan.interfaces) {
            let of_network = || {
                let reading = samples.network(network)?;
                reading.keep_believed_traffic(&mut network.total);
                Some(reading)
            };
            if let Some(reading) = reading.or_else(of_network) {
                metrics.network(pod, network, &reading);
            }
        }
    }

    /// Adds pods that are only in `/pods`.
    fn without_stats<'f>(&mut self, pods: impl Iterator<Item = &'f PodFacts>, came: Timestamp) {
        for pod in pods {
            self.batch.others += 1;
            if let Some(records) = &mut self.records {
                records.pod_without_stats(pod, came);
            }
        }
    }

    /// Returns the records if a record is due.
    fn due(&mut self, reading: &Reading) -> Option<&mut Records<'s>> {
        self.newest = self.newest.max(Some(reading.time));
        self.batch.news += usize::from(reading.is_due);
        self.records.as_mut().filter(|_| reading.is_due)
    }
}

/// Returns the greater of the container's two CPU values.
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
