//! Owns a node without a server: its replies of any moment, at once, and the moments of
//! the samples in them, which a reply has cut to whole seconds.

use std::time::Duration;

use crate::{
    full::pod_sample_ms,
    listing::Owner,
    node::{ContainerTruth, Node, NodeTruth, Truth, period_ms},
    population::{Kind, new_pod, populate},
    random::Xorshift,
};

/// A node whose clock is whoever asks.
pub struct Offline {
    node: Node,
    order: Xorshift,
    latest_ms: u64,
}

impl Offline {
    /// With this many pods, as [`SimKubeletBuilder::pods`](crate::SimKubeletBuilder::pods).
    pub fn new(pods: usize, sample_period: Duration, now_ms: u64) -> Self {
        Self::of(pods, Kind::default(), sample_period, now_ms)
    }

    /// The same in full, as [`SimKubeletBuilder::full`](crate::SimKubeletBuilder::full).
    pub fn full(pods: usize, sample_period: Duration, now_ms: u64) -> Self {
        let kind = Kind {
            full: true,
            ..Kind::default()
        };
        Self::of(pods, kind, sample_period, now_ms)
    }

    fn of(pods: usize, kind: Kind, sample_period: Duration, now_ms: u64) -> Self {
        Self {
            node: populate(Some(pods), kind, period_ms(sample_period), now_ms),
            order: Xorshift::new(now_ms),
            latest_ms: now_ms,
        }
    }

    /// A new pod (`namespace/name`) with one container `log-generator`; `None` if the name
    /// has no namespace.
    pub fn start_pod(&mut self, pod: &str, millicores: u64, now_ms: u64) -> Option<()> {
        self.start(pod, millicores, &Owner::Nobody, now_ms)
    }

    /// The same as the pod of a Job, with the label `job_type`.
    pub fn start_job_pod(
        &mut self,
        pod: &str,
        millicores: u64,
        job_type: &str,
        now_ms: u64,
    ) -> Option<()> {
        self.start(pod, millicores, &Owner::job(pod, job_type)?, now_ms)
    }

    fn start(&mut self, pod: &str, millicores: u64, owner: &Owner, now_ms: u64) -> Option<()> {
        let full = self.node.full.is_some();
        let added = new_pod(pod, millicores, owner, full, now_ms)?;
        self.node.pods.push(added);
        self.node.changed(now_ms);
        Some(())
    }

    /// Takes all pods of that name away, as of the latest reply.
    pub fn end_pod(&mut self, pod: &str) {
        self.node.pods.retain(|candidate| !candidate.is(pod));
        self.node.changed(self.latest_ms);
    }

    /// The reply of that moment, as the kubelet writes it.
    pub fn reply(&mut self, now_ms: u64) -> Vec<u8> {
        self.latest_ms = now_ms;
        self.node.summary(now_ms, &mut self.order).to_bytes()
    }

    /// What `/pods` answers now, whose times are those of starts only.
    pub fn pods_reply(&mut self) -> Vec<u8> {
        self.node.list(&mut self.order).to_bytes()
    }

    /// The first container of the pod: what it burns, and when the sample in a reply of
    /// that moment was really taken.
    pub fn sample(&self, pod: &str, now_ms: u64) -> Option<(ContainerTruth, u64)> {
        let pod = self.node.pods.iter().find(|candidate| candidate.is(pod))?;
        let container = pod.containers.first()?;
        let (sample, _) = self.node.container_sample_ms(pod, container, now_ms);
        Some((
            pod.truth(self.node.full.is_some())
                .containers
                .swap_remove(0),
            sample,
        ))
    }

    /// When CPU and memory of the pod as a whole, and when its network, as a reply of that
    /// moment of a full kubelet has them, were really sampled.
    pub fn pod_samples(&self, pod: &str, now_ms: u64) -> Option<(u64, u64)> {
        let pod = self.node.pods.iter().find(|candidate| candidate.is(pod))?;
        let of_pod = pod_sample_ms(&self.node, pod, now_ms);
        Some((of_pod, self.node.pod_network_ms(pod, now_ms)))
    }

    /// What a pod burns; of several with that name the oldest.
    pub fn truth(&self, pod: &str) -> Option<Truth> {
        let pod = self.node.pods.iter().find(|candidate| candidate.is(pod))?;
        Some(pod.truth(self.node.full.is_some()))
    }

    /// What the node and its system containers burn; `None` unless the kubelet is full.
    pub fn node_truth(&self, now_ms: u64) -> Option<NodeTruth> {
        Some(self.node.full.as_ref()?.truth(now_ms))
    }

    /// As [`SimKubelet::restart_container`](crate::SimKubelet::restart_container).
    pub fn restart_container(&mut self, pod: &str, container: &str, now_ms: u64) -> bool {
        let why = ("Error", 1);
        self.node.restart_container(pod, container, why, now_ms)
    }
}
