//! One reply's bytes to one batch of events: parse, select, observe, encode.
//! Everything between the HTTP seam and the host's append, and pure.

use crate::{
    options::Config,
    rates::Samples,
    select::{self, Selector},
    sink::record::{Events, Labels},
    summary::{self, Malformed},
};

/// Events that belong to one scrape.
#[derive(Debug, Default)]
pub struct Batch {
    /// msgpack, ready to append.
    pub bytes: Vec<u8>,
    pub records: usize,
    /// Pods in the reply, and how many of them the options want.
    pub pods_on_node: usize,
    pub pods_wanted: usize,
    /// Of the wanted pods, without those that have ended.
    pub containers: usize,
    /// Those of them of which the kubelet tells a CPU value, new or not.
    pub with_cpu: usize,
    /// That have ended: all their values are 0.
    pub ended: usize,
    /// Pods that could not be decoded, wanted or not.
    pub pods_unreadable: usize,
}

#[derive(Debug)]
pub struct Pipeline {
    selector: Selector,
    labels: Labels,
    samples: Samples,
}

impl Pipeline {
    pub fn new(config: &Config) -> Self {
        Self {
            selector: Selector::new(config),
            labels: Labels::new(config),
            samples: Samples::new(config.cpu_source, config.repeat_samples),
        }
    }

    /// Turns a reply into events, in the memory of an earlier batch.
    pub fn run(&mut self, body: &[u8], memory: Vec<u8>) -> Result<Batch, Malformed> {
        let mut summary = summary::parse(body, &self.selector)?;
        select::newest_of_each_name(&mut summary.pods);

        let mut events = Events::reusing(memory);
        self.samples.begin_scrape();
        let (mut containers, mut with_cpu, mut ended) = (0, 0, 0);
        for pod in &summary.pods {
            for container in &pod.containers {
                let cpu = &container.cpu;
                let values = [cpu.usage_nano_cores, cpu.usage_core_nano_seconds];
                match values.iter().flatten().max() {
                    Some(0) if container.memory.working_set_bytes.unwrap_or(0) == 0 => ended += 1,
                    most => {
                        containers += 1;
                        with_cpu += usize::from(most.is_some_and(|most| *most > 0));
                    }
                }
                if let Some(sample) = self.samples.observe(pod, container) {
                    let node = summary.node_name.as_deref();
                    events.push(&self.labels, node, pod, container, sample);
                }
            }
        }
        Ok(Batch {
            records: events.count(),
            pods_on_node: summary.pods_on_node,
            pods_wanted: summary.pods.len(),
            containers,
            with_cpu,
            ended,
            pods_unreadable: summary.pods_unreadable,
            bytes: events.into_bytes(),
        })
    }
}
