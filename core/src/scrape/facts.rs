//! Knows the facts of the pods between scrapes, and when to request them again.

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
    /// When the last reply was received. It is taken when the pods that are only in that reply are
    /// recorded.
    came: Option<Timestamp>,
    /// Whether summaries since that reply had the pod, in the order of the store.
    seen: Vec<Seen>,
}

/// Whether a summary had the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Never,
    /// An earlier summary had it, but not the last one.
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

    /// Whether to request the facts now. Facts that are too old are dropped.
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

    /// Returns when the last reply was received, if its pods without statistics have not been
    /// recorded yet.
    pub fn take_news(&mut self) -> Option<Timestamp> {
        self.came.take()
    }

    /// Notes which pods the summary has. `pods` must be sorted by namespace and name.
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

    /// Returns the pods that exist, as far as is known since [`Facts::see`]. A pod that has left
    /// the summary may have ended. It is absent until the next reply of `/pods` has it.
    pub fn present(&self) -> impl Iterator<Item = &PodFacts> {
        let known = self.store.pods().zip(&self.seen);
        let there = known.filter(|(_, seen)| **seen != Seen::Before);
        there.map(|(facts, _)| facts)
    }

    /// Returns the pods that are not in the summary: they wait or have ended. `pods` must be sorted
    /// by namespace and name.
    pub fn without_stats(&self, pods: &[Pod]) -> impl Iterator<Item = &PodFacts> {
        self.store
            .pods()
            .filter(move |facts| !has_stats(facts, pods))
    }
}

/// Whether `pods`, which must be sorted by namespace and name, has this pod.
fn has_stats(facts: &PodFacts, pods: &[Pod]) -> bool {
    let name = (&*facts.namespace, &*facts.name);
    let found = pods.binary_search_by(|pod| (&*pod.namespace, &*pod.name).cmp(&name));
    found.is_ok_and(|at| facts.is_of(&pods[at].uid))
}
