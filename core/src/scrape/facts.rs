//! What a scrape knows about the pods besides their measurements, and when it asks again.

use std::time::Instant;

use super::PodsReply;
use crate::{
    error::{Error, Result},
    facts::{self, FactStore, LabelSelector, Patterns, PodFacts, Want},
    options::Config,
    select::Selector,
    summary::{Pod, PodRef},
    timestamp::Timestamp,
};

#[derive(Debug)]
pub(super) struct Facts {
    store: FactStore,
    labels: Patterns,
    annotations: Patterns,
    selector: Option<LabelSelector>,
    /// When the last reply came, until the pods that only it has were recorded.
    came: Option<Timestamp>,
    /// By its place in the store, what summaries had of the pod since that reply.
    seen: Vec<Seen>,
}

/// Whether a summary had a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Never,
    /// But the last one does not.
    Before,
    Now,
}

impl Facts {
    pub fn new(config: &Config) -> Self {
        Self {
            store: FactStore::new(config.pod_facts_interval),
            labels: config.pod_labels.clone(),
            annotations: config.pod_annotations.clone(),
            selector: config.label_selector.clone(),
            came: None,
            seen: Vec::new(),
        }
    }

    pub fn of(&self, pod: &PodRef) -> Option<&PodFacts> {
        self.store.get(&pod.namespace, &pod.name, &pod.uid)
    }

    pub fn of_pod(&self, pod: &Pod) -> Option<&PodFacts> {
        self.store.get(&pod.namespace, &pod.name, &pod.uid)
    }

    /// Whether to ask now; what is too old is forgotten.
    pub fn is_due(&mut self, pods: &[Pod], now: Instant) -> bool {
        self.store.expire(now);
        self.store.is_due(now, facts::sightings(pods))
    }

    pub fn learn(
        &mut self,
        selector: &Selector,
        pods: &[Pod],
        now: Instant,
        reply: Result<PodsReply>,
    ) -> Result<usize> {
        let read = reply.and_then(|reply| {
            let want = Want {
                labels: &self.labels,
                annotations: &self.annotations,
                selector: self.selector.as_ref(),
            };
            let read = facts::parse(reply.body, &want, |namespace, name| {
                selector.wants(namespace, name)
            });
            let failed = |why| Error::unparsable_pods(reply.url, reply.body.len(), &why);
            let mut read = read.map_err(failed)?;
            for pod in &mut read.pods {
                pod.containers.retain(|one| !selector.excludes(&one.name));
            }
            Ok((read, reply.came))
        });
        match read {
            Ok((read, came)) => {
                let unreadable = read.unreadable;
                self.store.replace(now, read.pods, facts::sightings(pods));
                self.came = Some(came);
                self.seen.clear();
                Ok(unreadable)
            }
            Err(error) => {
                self.store.failed(now);
                Err(error)
            }
        }
    }

    /// When the last reply came, if its pods without statistics are still to be recorded.
    pub fn take_news(&mut self) -> Option<Timestamp> {
        self.came.take()
    }

    /// Takes in which pods the summary has. `pods` are sorted by namespace and name.
    pub fn see(&mut self, pods: &[Pod]) {
        self.seen.resize(self.store.pods().len(), Seen::Never);
        for (facts, seen) in self.store.pods().zip(&mut self.seen) {
            *seen = match (has_stats(facts, pods), *seen) {
                (true, _) => Seen::Now,
                (false, Seen::Never) => Seen::Never,
                (false, _) => Seen::Before,
            };
        }
    }

    /// The pods that are there, as far as is known since [`Facts::see`]: one that has left the
    /// summary may have ended, and is told of again once `/pods` does.
    pub fn present(&self) -> impl Iterator<Item = &PodFacts> {
        let known = self.store.pods().zip(&self.seen);
        let there = known.filter(|(_, seen)| **seen != Seen::Before);
        there.map(|(facts, _)| facts)
    }

    /// The pods that no summary has: they wait, or have ended. `pods` are sorted by
    /// namespace and name.
    pub fn without_stats(&self, pods: &[Pod]) -> impl Iterator<Item = &PodFacts> {
        self.store
            .pods()
            .filter(move |facts| !has_stats(facts, pods))
    }
}

/// Whether the pod is one of these, which are sorted by namespace and name.
fn has_stats(facts: &PodFacts, pods: &[Pod]) -> bool {
    let name = (&*facts.namespace, &*facts.name);
    let found = pods.binary_search_by(|pod| (&*pod.namespace, &*pod.name).cmp(&name));
    found.is_ok_and(|at| facts.is_of(&pods[at].uid))
}
