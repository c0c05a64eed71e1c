//! Owns the simulated node: its pods, what they use, and the reply at a given time. This
//! module is pure: time comes in as an argument. It knows no HTTP and no TLS.

use std::time::Duration;

use crate::{
    clock::rfc3339,
    full::{
        Full, NODE_NETWORK, complete_container, complete_pod, container_pressure, pod_network,
        pod_pressure,
    },
    listing::{Resources, ended_item, item_of},
    model::{Captured, ContainerStats, CpuStats, MemoryStats, NetworkStats, PodStats, Summary},
    podlist::{Item, PodList},
    random::{Xorshift, mix, seed_of},
};

pub const PAGE: u64 = 4_096;
/// The average time between two samples of a real kubelet.
pub const USUAL_PERIOD_MS: u64 = 15_000;

pub struct Node {
    /// The captured reply. Unless the node is full, the node's own values stay as captured.
    pub template: Summary,
    pub full: Option<Full>,
    pub period_ms: u64,
    /// Whether the times of samples are whole seconds, as a kubelet writes them.
    pub whole_seconds: bool,
    pub pods: Vec<Pod>,
    /// Pods that are only in `/pods`: they have ended, wait, or crash.
    pub idle: Vec<Item>,
}

pub struct Pod {
    pub template: PodStats,
    pub start_ms: u64,
    pub containers: Vec<Container>,
    /// The pod in `/pods`, except for its present state.
    pub item: Item,
    /// Whether `/pods` has the API server's copy of this static pod.
    pub is_mirrored: bool,
    /// The resources of the pod as a whole.
    pub resources: Resources,
}

#[derive(Clone)]
pub struct Container {
    pub template: ContainerStats,
    pub start_ms: u64,
    /// Nanoseconds of CPU per second, which is the value of `usageNanoCores`.
    pub burn: u64,
    pub working_set: u64,
    pub memory_limit: Option<u64>,
    pub role: Role,
    pub resources: Resources,
    /// The runs that ended, oldest first.
    pub earlier: Vec<Run>,
}

/// The role of a container in its pod. Only `/pods` shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    App,
    /// An init container that is always restarted.
    Sidecar,
    Ephemeral,
}

/// One run of a container.
#[derive(Debug, Clone)]
pub struct Run {
    pub start_ms: u64,
    pub end_ms: u64,
    pub exit_code: i32,
    pub reason: String,
}

/// What a pod really uses, to compare with a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub uid: String,
    pub containers: Vec<ContainerTruth>,
    /// The sum of all its containers. The counter of a full kubelet also includes what their
    /// earlier runs used.
    pub nanocores: u64,
    /// Start of the pod in milliseconds since the epoch.
    pub start_ms: u64,
    /// The traffic of its default interface. A pod on the host network of a full kubelet
    /// shows the node's.
    pub network: NetworkTruth,
    /// The stalls since its start, if the kubelet is full.
    pub pressure: Pressure,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerTruth {
    pub name: String,
    /// Nanoseconds of CPU per second. A thousand millicores are 1,000,000,000.
    pub nanocores: u64,
    /// Start of the container in milliseconds since the epoch. A reply has it rounded down to
    /// seconds.
    pub start_ms: u64,
    /// The stalls since its start, if the kubelet is full.
    pub pressure: Pressure,
}

/// What the node of a full kubelet really uses, and its traffic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeTruth {
    /// The present value. It changes when pods are added or removed.
    pub nanocores: u64,
    pub start_ms: u64,
    pub network: NetworkTruth,
    pub pressure: Pressure,
    pub system_containers: Vec<SystemTruth>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemTruth {
    pub name: String,
    pub nanocores: u64,
    pub pressure: Pressure,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkTruth {
    pub rx_bytes_per_second: u64,
    pub tx_bytes_per_second: u64,
}

/// Steady shares of the time in which tasks were stalled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pressure {
    pub cpu: Stall,
    pub memory: Stall,
    pub io: Stall,
}

/// Microseconds per second. 10,000 are one percent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stall {
    pub some: u64,
    pub full: u64,
}

/// Every burn is a multiple of 1,000, so the product is exact to the millisecond.
pub fn burned(nanocores: u64, from_ms: u64, to_ms: u64) -> u64 {
    nanocores / 1_000 * to_ms.saturating_sub(from_ms)
}

impl Node {
    /// Returns the last sample time not after `now_ms` of the entity with this `seed`. As
    /// with a kubelet, two samples are between two and four thirds of a period apart, and one
    /// period on average. Each sample is at most a sixth of a period before or after its
    /// place on a grid.
    pub fn sample_ms(&self, seed: u64, now_ms: u64) -> u64 {
        let sixth = self.period_ms / 6;
        let moment = |place: u64| {
            let grid = place * self.period_ms + mix(seed) % self.period_ms;
            (grid + mix(seed ^ mix(place)) % (2 * sixth + 1)).saturating_sub(sixth)
        };
        let place = now_ms / self.period_ms;
        let last = (place.saturating_sub(2)..=place + 1).rev();
        last.map(moment).find(|at| *at <= now_ms).unwrap_or(now_ms)
    }

    /// Returns when the container was last sampled, to the millisecond, and whether there was
    /// a sample before, so that the kubelet has a rate. A young container is sampled more
    /// often: with the usual period within its first second, and again some seconds later.
    pub fn container_sample_ms(
        &self,
        pod: &Pod,
        container: &Container,
        now_ms: u64,
    ) -> (u64, bool) {
        let seed = seed_of(&pod.template.pod_ref.uid) ^ seed_of(&container.template.name);
        // With a shorter period these samples are earlier, but with a longer one they are not
        // later.
        let of_period = |ms: u64| ms * self.period_ms.min(USUAL_PERIOD_MS) / USUAL_PERIOD_MS;
        let first = container.start_ms + of_period(200 + mix(seed ^ 7) % 800);
        let second = first + of_period(1_500 + mix(seed ^ 8) % 3_000);
        let regular = self.sample_ms(seed, now_ms);
        if regular > second {
            (regular, true)
        } else if now_ms >= second {
            (second, true)
        } else {
            (now_ms.clamp(container.start_ms, first), false)
        }
    }

    pub fn text(&self, ms: u64) -> String {
        rfc3339(ms, !self.whole_seconds)
    }

    /// Returns the reply at `now_ms`. Pods and containers are in a new order each time.
    pub fn summary(&self, now_ms: u64, order: &mut Xorshift) -> Summary {
        let mut pods: Vec<PodStats> = self
            .pods
            .iter()
            .map(|pod| self.pod_stats(pod, now_ms))
            .collect();
        for pod in &mut pods {
            order.shuffle(&mut pod.containers);
        }
        order.shuffle(&mut pods);
        let node = match &self.full {
            Some(full) => Captured::live(full.stats(self, now_ms)),
            None => self.template.node.clone(),
        };
        Summary {
            node,
            pods: Some(pods),
        }
    }

    /// Must be called after pods were added or removed, or use another amount of CPU.
    pub fn changed(&mut self, now_ms: u64) {
        if let Some(full) = &mut self.full {
            full.changed(&self.pods, now_ms);
        }
    }

    /// When the pod's network was last sampled.
    pub fn pod_network_ms(&self, pod: &Pod, now_ms: u64) -> u64 {
        let seed = mix(seed_of(&pod.template.pod_ref.uid));
        self.sample_ms(seed, now_ms).max(pod.start_ms)
    }

    fn pod_stats(&self, pod: &Pod, now_ms: u64) -> PodStats {
        let mut stats = pod.template.clone();
        stats.start_time = rfc3339(pod.start_ms, false);
        let containers = pod.containers.iter();
        stats.containers = containers
            .map(|container| self.container_stats(pod, container, now_ms))
            .collect();
        if let Some(full) = &self.full {
            complete_pod(self, full, pod, &mut stats, now_ms);
            return stats;
        }
        let seed = seed_of(&stats.pod_ref.uid);
        let sample = self.pod_network_ms(pod, now_ms);
        if let Some(network) = &mut stats.network {
            let seconds = (sample - pod.start_ms) / 1_000;
            network.advance(seconds * (seed % 4_000 + 50), seconds * (seed % 1_500));
            network.time = self.text(sample);
        }
        stats
    }

    fn container_stats(&self, pod: &Pod, container: &Container, now_ms: u64) -> ContainerStats {
        let mut stats = container.template.clone();
        let (sample, has_window) = self.container_sample_ms(pod, container, now_ms);
        let time = self.text(sample);
        let fresh = !has_window;
        stats.start_time = rfc3339(container.start_ms, false);
        stats.cpu = CpuStats {
            time: time.clone(),
            // The rate is not known before there are two samples.
            usage_nano_cores: if fresh { 0 } else { container.burn },
            usage_core_nano_seconds: burned(container.burn, container.start_ms, sample),
            psi: None,
        };
        stats.memory.working_set_bytes = container.memory_at(sample, self.period_ms);
        let left = |limit: u64| limit.saturating_sub(stats.memory.working_set_bytes);
        stats.memory.available_bytes = container.memory_limit.map(left);
        if fresh {
            stats.memory = MemoryStats {
                working_set_bytes: stats.memory.working_set_bytes,
                ..MemoryStats::default()
            };
        }
        stats.memory.time = time;
        if let Some(rootfs) = &mut stats.rootfs {
            rootfs.time = self.text(if fresh { 0 } else { self.sample_ms(2, now_ms) });
            if fresh {
                (rootfs.used_bytes, rootfs.inodes_used) = (0, 0);
            }
        }
        if let Some(logs) = &mut stats.logs {
            logs.time = self.text(self.sample_ms(3, now_ms));
        }
        if self.full.is_some() {
            complete_container(pod, container, &mut stats, (sample, has_window));
        }
        stats
    }

    /// Returns all pods of that name, oldest first. There are several after a duplicate was
    /// added.
    pub fn find<'a>(&'a mut self, pod: &str) -> Vec<&'a mut Pod> {
        self.pods
            .iter_mut()
            .filter(|candidate| candidate.is(pod))
            .collect()
    }

    /// Returns the `/pods` data of all pods of that name.
    pub fn items_of(&mut self, pod: &str) -> Vec<&mut Item> {
        let running = self.pods.iter_mut().filter(|one| one.is(pod));
        let idle = self.idle.iter_mut().filter(|item| item.is(pod));
        running.map(|pod| &mut pod.item).chain(idle).collect()
    }

    /// Moves all pods of that name from the summary to those that are only in `/pods`.
    pub fn end_pod(&mut self, pod: &str, exit_code: i32, now_ms: u64) -> bool {
        let before = self.pods.len();
        let ended = self.pods.extract_if(.., |one| one.is(pod));
        self.idle
            .extend(ended.map(|one| ended_item(&one, exit_code, now_ms)));
        self.changed(now_ms);
        self.pods.len() < before
    }

    /// Returns the content of `/pods` now, in a new order each time.
    pub fn list(&self, order: &mut Xorshift) -> PodList {
        let mut items: Vec<Item> = self.pods.iter().map(item_of).collect();
        items.extend(self.idle.iter().cloned());
        order.shuffle(&mut items);
        PodList::of(items)
    }

    /// Ends a container for this reason, and sets its start to `now_ms`. Returns false if
    /// there is no such container.
    pub fn restart_container(
        &mut self,
        pod: &str,
        container: &str,
        (reason, exit_code): (&str, i32),
        now_ms: u64,
    ) -> bool {
        let found = self
            .find(pod)
            .into_iter()
            .flat_map(|pod| &mut pod.containers)
            .find(|candidate| candidate.template.name == container);
        if let Some(found) = found {
            found.earlier.push(Run {
                start_ms: found.start_ms,
                end_ms: now_ms.max(found.start_ms),
                exit_code,
                reason: reason.to_owned(),
            });
            // The start is in another second than the earlier one, because it is written in
            // whole seconds.
            found.start_ms = now_ms.max((found.start_ms / 1_000 + 1) * 1_000);
            return true;
        }
        false
    }
}

impl Pod {
    pub fn is(&self, pod: &str) -> bool {
        let pod_ref = &self.template.pod_ref;
        pod.split_once('/') == Some((&pod_ref.namespace, &pod_ref.name))
    }

    pub fn container(&self, name: &str) -> Option<&Container> {
        let mut containers = self.containers.iter();
        containers.find(|container| container.template.name == name)
    }

    /// Whether the pod has the node's interfaces instead of its own.
    pub fn is_on_host_network(&self) -> bool {
        let network = self.template.network.as_ref();
        network.is_some_and(|network| network.interfaces.len() > 1)
    }

    pub fn volume_names(&self) -> Vec<String> {
        let volumes = self.template.volumes().into_iter();
        volumes.map(|volume| volume.name).collect()
    }

    pub fn truth(&self, is_full: bool) -> Truth {
        Truth {
            uid: self.template.pod_ref.uid.clone(),
            containers: self
                .containers
                .iter()
                .map(|container| ContainerTruth {
                    name: container.template.name.clone(),
                    nanocores: container.burn,
                    start_ms: container.start_ms,
                    pressure: container_pressure(self, container),
                })
                .collect(),
            nanocores: self.containers.iter().map(|one| one.burn).sum(),
            start_ms: self.start_ms,
            network: match self.is_on_host_network() && is_full {
                true => NODE_NETWORK,
                false => pod_network(self),
            },
            pressure: pod_pressure(self),
        }
    }
}

impl Container {
    /// Returns the CPU that all its runs used until then.
    pub fn spent_at(&self, ms: u64) -> u64 {
        let earlier = self.earlier.iter();
        let before: u64 = earlier
            .map(|run| burned(self.burn, run.start_ms, run.end_ms.min(ms)))
            .sum();
        before + burned(self.burn, self.start_ms, ms)
    }

    /// Returns a value within 3 % of the nominal working set, in whole pages, and a new one
    /// for each sample.
    pub fn memory_at(&self, sample: u64, period_ms: u64) -> u64 {
        let swing = self.working_set / 16;
        let seed = seed_of(&self.template.name) ^ self.start_ms ^ (sample / period_ms);
        let bytes = self.working_set - swing / 2 + mix(seed) % (swing + 1);
        bytes / PAGE * PAGE
    }
}

impl NetworkStats {
    /// Increases the default interface and its copy in `interfaces` by the same amount. If
    /// there is no `eth0`, it increases the first of the node's own interfaces.
    pub fn advance(&mut self, received: u64, sent: u64) {
        let default = match self.name.as_str() {
            "" => "ens5",
            name => name,
        };
        let found = self.interfaces.iter_mut().find(|one| one.name == default);
        if let Some(interface) = found {
            interface.rx_bytes += received;
            interface.tx_bytes += sent;
        }
        self.rx_bytes = self.rx_bytes.map(|bytes| bytes + received);
        self.tx_bytes = self.tx_bytes.map(|bytes| bytes + sent);
    }
}

/// Returns a sample period in milliseconds, at least one.
pub fn period_ms(period: Duration) -> u64 {
    u64::try_from(period.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, 86_400_000)
}
