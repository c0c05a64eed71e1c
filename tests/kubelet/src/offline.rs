//! Owns a node without a server. It returns the reply for any time at once, and also the
//! exact times of the samples, which are rounded down to whole seconds in a reply.

use std::time::Duration;

use crate::{
    full::pod_sample_ms,
    listing::Owner,
    node::{ContainerTruth, Node, NodeTruth, Truth, period_ms},
    population::{Kind, new_pod, populate},
    random::Xorshift,
};

/// A node whose time is an argument of each call.
pub struct Offline {
    node: Node,
    order: Xorshift,
    latest_ms: u64,
}

impl Offline {
    /// Makes a node with this many pods, like
    /// [`SimKubeletBuilder::pods`](crate::SimKubeletBuilder::pods).
    pub fn new(pods: usize, sample_period: Duration, now_ms: u64) -> Self {
        Self::of(pods, Kind::default(), sample_period, now_ms)
    }

    /// Makes a full node, like [`SimKubeletBuilder::full`](crate::SimKubeletBuilder::full).
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

    /// Starts a new pod (`namespace/name`) with one container `log-generator`. Returns
    /// `None` if the name has no namespace.
    pub fn start_pod(&mut self, pod: &str, millicores: u64, now_ms: u64) -> Option<()> {
        self.start(pod, millicores, &Owner::Nobody, now_ms)
    }

    /// Does the same for the pod of a Job, with the label `job_type`.
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

    /// Removes all pods of that name at the time of the latest reply.
    pub fn end_pod(&mut self, pod: &str) {
        self.node.pods.retain(|candidate| !candidate.is(pod));
        self.node.changed(self.latest_ms);
    }

    /// Returns the reply at that time, as a kubelet writes it.
    pub fn reply(&mut self, now_ms: u64) -> Vec<u8> {
        self.latest_ms = now_ms;
        self.node.summary(now_ms, &mut self.order).to_bytes()
    }

    /// Returns the reply of `/pods`. All times in it are those of starts.
    pub fn pods_reply(&mut self) -> Vec<u8> {
        self.node.list(&mut self.order).to_bytes()
    }

    /// Returns what the first container of the pod uses, and when the sample in a reply of
    /// that time was really taken.
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

    /// Returns when the CPU and memory of the pod as a whole, and when its network, were
    /// really sampled, for a reply of a full kubelet at that time.
    pub fn pod_samples(&self, pod: &str, now_ms: u64) -> Option<(u64, u64)> {
        let pod = self.node.pods.iter().find(|candidate| candidate.is(pod))?;
        let of_pod = pod_sample_ms(&self.node, pod, now_ms);
        Some((of_pod, self.node.pod_network_ms(pod, now_ms)))
    }

    /// Returns what a pod really uses. If several have that name, it is the oldest.
    pub fn truth(&self, pod: &str) -> Option<Truth> {
        let pod = self.node.pods.iter().find(|candidate| candidate.is(pod))?;
        Some(pod.truth(self.node.full.is_some()))
    }

    /// Returns what the node and its system containers really use, or `None` unless the
    /// kubelet is full.
    pub fn node_truth(&self, now_ms: u64) -> Option<NodeTruth> {
        Some(self.node.full.as_ref()?.truth(now_ms))
    }

    /// Does the same as
    /// [`SimKubelet::restart_container`](crate::SimKubelet::restart_container).
    pub fn restart_container(&mut self, pod: &str, container: &str, now_ms: u64) -> bool {
        let why = ("Error", 1);
        self.node.restart_container(pod, container, why, now_ms)
    }
}
