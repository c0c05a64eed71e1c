//! Owns the node that is simulated: its pods, what they burn, and the reply that holds
//! at a given moment. Pure: time comes in as an argument. Knows no HTTP and no TLS.

use std::time::Duration;

use crate::clock::rfc3339;
use crate::model::{
    ContainerStats, CpuStats, FsStats, InterfaceStats, MemoryStats, NetworkStats, PodStats,
    ProcessStats, Summary, SwapStats,
};
use crate::random::{Xorshift, mix, seed_of};

/// The kubelet's own share of the node, in nanoseconds of CPU a second.
const SYSTEM_BURN: u64 = 44_447_000;
/// The pause container's memory, which the kubelet adds at pod level only.
const PAUSE_BYTES: u64 = 229_376;
const PAGE: u64 = 4_096;
/// Between two samples of a real kubelet, on average.
pub const USUAL_PERIOD_MS: u64 = 15_000;

pub struct Node {
    pub template: Summary,
    pub launched_ms: u64,
    pub period_ms: u64,
    pub pods: Vec<Pod>,
}

pub struct Pod {
    pub template: PodStats,
    pub start_ms: u64,
    pub host_network: bool,
    pub containers: Vec<Container>,
}

pub struct Container {
    pub template: ContainerStats,
    pub start_ms: u64,
    /// Nanoseconds of CPU a second: what `usageNanoCores` shows.
    pub burn: u64,
    pub working_set: u64,
    /// Earlier runs of a restarted container, as (start, end): the pod's counter keeps them.
    pub earlier_runs: Vec<(u64, u64)>,
}

/// What a pod really burns, to compare a record with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    pub uid: String,
    pub containers: Vec<ContainerTruth>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerTruth {
    pub name: String,
    /// Nanoseconds of CPU a second; a thousand millicores are 1,000,000,000.
    pub nanocores: u64,
    /// Start of the container in milliseconds since the epoch; a reply has it cut to seconds.
    pub start_ms: u64,
}

impl Truth {
    /// The burn of the first container, which is every container's after
    /// [`SimKubeletBuilder::burn`](crate::SimKubeletBuilder::burn).
    pub fn nanocores(&self) -> u64 {
        self.containers.first().map_or(0, |first| first.nanocores)
    }

    /// The same in thousandths of a core.
    pub fn millicores(&self) -> u64 {
        self.nanocores() / 1_000_000
    }
}

impl ContainerTruth {
    /// The exact `usageCoreNanoSeconds` for a sample time in milliseconds since the epoch.
    pub fn usage_core_nano_seconds(&self, sample_ms: u64) -> u64 {
        burned(self.nanocores, self.start_ms, sample_ms)
    }
}

/// Every burn is a multiple of 1,000, so that the product is exact to the millisecond.
fn burned(nanocores: u64, from_ms: u64, to_ms: u64) -> u64 {
    nanocores / 1_000 * to_ms.saturating_sub(from_ms)
}

impl Node {
    /// The last moment not after `now_ms` at which a sample was taken of what has this
    /// `seed`. As a kubelet's they lie between two and four thirds of a period apart, one
    /// on average: each somewhere in the sixth before or after its place on a grid.
    fn sample_ms(&self, seed: u64, now_ms: u64) -> u64 {
        let sixth = self.period_ms / 6;
        let moment = |place: u64| {
            let grid = place * self.period_ms + mix(seed) % self.period_ms;
            (grid + mix(seed ^ mix(place)) % (2 * sixth + 1)).saturating_sub(sixth)
        };
        let place = now_ms / self.period_ms;
        let last = (place.saturating_sub(2)..=place + 1).rev();
        last.map(moment).find(|at| *at <= now_ms).unwrap_or(now_ms)
    }

    /// When the container was sampled last, to the millisecond, and whether there was a
    /// sample before, so that the kubelet knows a rate. A young one is looked at more often:
    /// with the usual period within its first second, and again some seconds later.
    pub fn container_sample_ms(
        &self,
        pod: &Pod,
        container: &Container,
        now_ms: u64,
    ) -> (u64, bool) {
        let seed = seed_of(&pod.template.pod_ref.uid) ^ seed_of(&container.template.name);
        // Sooner where all is faster, but no later where it is slower.
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

    /// A kubelet writes whole seconds. Faster than that none samples but to save a test's
    /// time, and then its samples have to be told apart.
    fn whole_seconds(&self) -> bool {
        self.period_ms >= 1_500
    }

    fn text(&self, ms: u64) -> String {
        rfc3339(ms, !self.whole_seconds())
    }

    /// The reply at `now_ms`, pods and containers in a new order each time.
    pub fn summary(&self, now_ms: u64, order: &mut Xorshift) -> Summary {
        let mut pods: Vec<PodStats> = self
            .pods
            .iter()
            .map(|pod| {
                let mut stats = self.pod_stats(pod, now_ms);
                order.shuffle(&mut stats.containers);
                stats
            })
            .collect();
        order.shuffle(&mut pods);
        let mut summary = self.node_stats(now_ms);
        summary.pods = Some(pods);
        summary
    }

    fn node_stats(&self, now_ms: u64) -> Summary {
        let mut summary = self.template.clone();
        let node = &mut summary.node;
        let sample = self.sample_ms(1, now_ms).max(self.launched_ms);
        let time = self.text(sample);
        let pods_burn: u64 = self.containers().map(|container| container.burn).sum();
        let pods_memory: u64 = self
            .containers()
            .map(|container| container.memory_at(sample, self.period_ms))
            .sum();
        let elapsed_ms = sample - self.launched_ms;
        for (cpu, memory, burn) in node
            .system_containers
            .iter_mut()
            .map(|container| (&mut container.cpu, &mut container.memory, pods_burn))
            .chain([(&mut node.cpu, &mut node.memory, pods_burn + SYSTEM_BURN)])
        {
            // The template's figure keeps the counter plausible, and above zero.
            cpu.usage_core_nano_seconds += burned(burn, 0, elapsed_ms);
            cpu.usage_nano_cores = burn;
            cpu.time.clone_from(&time);
            let capacity = memory.available_bytes.unwrap_or(0) + memory.working_set_bytes;
            memory.working_set_bytes += pods_memory;
            memory.usage_bytes = memory.usage_bytes.map(|bytes| bytes + pods_memory);
            memory.rss_bytes = memory.rss_bytes.map(|bytes| bytes + pods_memory);
            // A crowd that needs more memory than the captured node had gets a larger node.
            let capacity = capacity.max(memory.working_set_bytes / 4 * 5);
            memory.available_bytes = Some(capacity - memory.working_set_bytes);
            memory.time.clone_from(&time);
        }
        for swap in node
            .system_containers
            .iter_mut()
            .filter_map(|container| container.swap.as_mut())
            .chain(node.swap.as_mut())
        {
            swap.time.clone_from(&time);
        }
        node.network = Some(self.node_network(sample));
        let fs_time = self.text(self.sample_ms(2, now_ms));
        if let Some(fs) = &mut node.fs {
            fs.time.clone_from(&time);
        }
        if let Some(runtime) = &mut node.runtime {
            runtime.image_fs.time.clone_from(&fs_time);
            runtime.container_fs.time = fs_time;
        }
        if let Some(rlimit) = &mut node.rlimit {
            rlimit.time = self.text(self.sample_ms(3, now_ms));
        }
        summary
    }

    fn node_network(&self, sample: u64) -> NetworkStats {
        let template = self.template.node.network.as_ref();
        let mut network = template.cloned().unwrap_or_else(|| NetworkStats {
            time: String::new(),
            default_interface: InterfaceStats {
                name: "eth0".to_owned(),
                rx_bytes: 0,
                rx_errors: 0,
                tx_bytes: 0,
                tx_errors: 0,
            },
            interfaces: Vec::new(),
        });
        let elapsed_ms = sample.saturating_sub(self.launched_ms);
        advance(&mut network, elapsed_ms, 20_000, 8_000);
        network.time = self.text(sample);
        network
    }

    fn pod_stats(&self, pod: &Pod, now_ms: u64) -> PodStats {
        let mut stats = pod.template.clone();
        let seed = seed_of(&stats.pod_ref.uid);
        let sample = self.sample_ms(seed, now_ms).max(pod.start_ms);
        let time = self.text(sample);
        stats.start_time = rfc3339(pod.start_ms, false);
        stats.containers = pod
            .containers
            .iter()
            .map(|container| self.container_stats(pod, container, now_ms))
            .collect();
        stats.cpu = CpuStats {
            time: time.clone(),
            usage_nano_cores: pod.containers.iter().map(|container| container.burn).sum(),
            usage_core_nano_seconds: pod.burned_by(sample),
        };
        let memory_sum: u64 = pod
            .containers
            .iter()
            .map(|container| container.memory_at(sample, self.period_ms))
            .sum();
        stats.memory = memory_stats(
            &stats.memory,
            memory_sum + PAUSE_BYTES,
            pod.working_set() + PAUSE_BYTES,
        );
        stats.memory.page_faults = Some(0);
        stats.memory.time.clone_from(&time);
        let network_sample = self.sample_ms(mix(seed), now_ms).max(pod.start_ms);
        stats.network = stats.network.map(|mut network| {
            if pod.host_network {
                return self.node_network(network_sample);
            }
            let elapsed_ms = network_sample - pod.start_ms;
            advance(&mut network, elapsed_ms, seed % 4_000 + 50, seed % 1_500);
            network.time = self.text(network_sample);
            network
        });
        for volume in &mut stats.volume {
            volume.fs.time = self.text(self.sample_ms(seed ^ 5, now_ms));
        }
        set_time(
            &mut stats.ephemeral_storage,
            &self.text(self.sample_ms(3, now_ms)),
        );
        stats.process_stats = Some(ProcessStats {
            process_count: pod.containers.len() as u64,
        });
        set_swap_time(&mut stats.swap, &time);
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
            // Not known before there are two samples to take a difference of.
            usage_nano_cores: if fresh { 0 } else { container.burn },
            usage_core_nano_seconds: burned(container.burn, container.start_ms, sample),
        };
        let working_set = container.memory_at(sample, self.period_ms);
        stats.memory = if fresh {
            MemoryStats {
                working_set_bytes: working_set,
                ..MemoryStats::default()
            }
        } else {
            let elapsed_ms = sample - container.start_ms;
            let mut memory = memory_stats(&stats.memory, working_set, container.working_set);
            memory.page_faults = memory
                .page_faults
                .map(|faults| faults + elapsed_ms * 3 / 1_000);
            memory
        };
        stats.memory.time.clone_from(&time);
        if fresh {
            if let Some(rootfs) = &mut stats.rootfs {
                rootfs.time = self.text(0);
                rootfs.used_bytes = 0;
                rootfs.inodes_used = 0;
            }
        } else {
            set_time(&mut stats.rootfs, &self.text(self.sample_ms(2, now_ms)));
        }
        set_time(&mut stats.logs, &self.text(self.sample_ms(3, now_ms)));
        set_swap_time(&mut stats.swap, &time);
        stats
    }

    fn containers(&self) -> impl Iterator<Item = &Container> {
        self.pods.iter().flat_map(|pod| &pod.containers)
    }

    /// All pods of that name, oldest first; more than one after a duplicate was added.
    pub fn find<'a>(&'a mut self, pod: &str) -> Vec<&'a mut Pod> {
        self.pods
            .iter_mut()
            .filter(|candidate| candidate.is(pod))
            .collect()
    }

    /// Moves a container's start to `now_ms`; false if there is no such container.
    pub fn restart_container(&mut self, pod: &str, container: &str, now_ms: u64) -> bool {
        let found = self
            .find(pod)
            .into_iter()
            .flat_map(|pod| &mut pod.containers)
            .find(|candidate| candidate.template.name == container);
        if let Some(found) = found {
            // Written as whole seconds, a later run never shares its start with an earlier.
            let start = now_ms.max((found.start_ms / 1_000 + 1) * 1_000);
            found.earlier_runs.push((found.start_ms, start));
            found.start_ms = start;
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

    pub fn truth(&self) -> Truth {
        Truth {
            uid: self.template.pod_ref.uid.clone(),
            containers: self
                .containers
                .iter()
                .map(|container| ContainerTruth {
                    name: container.template.name.clone(),
                    nanocores: container.burn,
                    start_ms: container.start_ms,
                })
                .collect(),
        }
    }

    fn working_set(&self) -> u64 {
        self.containers.iter().map(|one| one.working_set).sum()
    }

    fn burned_by(&self, sample: u64) -> u64 {
        let runs = self.containers.iter().flat_map(|container| {
            container
                .earlier_runs
                .iter()
                .map(|&(from, to)| burned(container.burn, from, sample.min(to)))
                .chain([burned(container.burn, container.start_ms, sample)])
        });
        runs.sum()
    }
}

impl Container {
    /// Within 3 % of the nominal working set, in whole pages, a new value each sample.
    fn memory_at(&self, sample: u64, period_ms: u64) -> u64 {
        let swing = self.working_set / 16;
        let seed = seed_of(&self.template.name) ^ self.start_ms ^ (sample / period_ms);
        let bytes = self.working_set - swing / 2 + mix(seed) % (swing + 1);
        bytes / PAGE * PAGE
    }
}

/// A full memory entry around `working_set`; a limit in the template stays a limit.
fn memory_stats(template: &MemoryStats, working_set: u64, nominal: u64) -> MemoryStats {
    let surplus = template
        .usage_bytes
        .map_or(0, |usage| usage.saturating_sub(template.working_set_bytes));
    let limit = template
        .available_bytes
        .map(|available| (available + template.working_set_bytes).max(nominal * 5 / 4));
    MemoryStats {
        time: String::new(),
        available_bytes: limit.map(|limit| limit.saturating_sub(working_set)),
        usage_bytes: Some(working_set + surplus),
        working_set_bytes: working_set,
        rss_bytes: Some(working_set / 100 * 95 / PAGE * PAGE),
        page_faults: template.page_faults,
        major_page_faults: template.major_page_faults,
    }
}

/// Moves the default interface and its twin among `interfaces` on by the same amount.
fn advance(network: &mut NetworkStats, elapsed_ms: u64, rx_per_s: u64, tx_per_s: u64) {
    let name = network.default_interface.name.clone();
    let interfaces = network
        .interfaces
        .iter_mut()
        .filter(|interface| interface.name == name);
    for interface in interfaces.chain([&mut network.default_interface]) {
        interface.rx_bytes += rx_per_s * elapsed_ms / 1_000;
        interface.tx_bytes += tx_per_s * elapsed_ms / 1_000;
    }
}

fn set_time(fs: &mut Option<FsStats>, time: &str) {
    if let Some(fs) = fs {
        time.clone_into(&mut fs.time);
    }
}

fn set_swap_time(swap: &mut Option<SwapStats>, time: &str) {
    if let Some(swap) = swap {
        time.clone_into(&mut swap.time);
    }
}

/// Milliseconds of a sample period, at least one.
pub fn period_ms(period: Duration) -> u64 {
    u64::try_from(period.as_millis())
        .unwrap_or(u64::MAX)
        .clamp(1, 86_400_000)
}
