//! Keeps the last sample of each container, pod, volume and interface. It decides whether a sample
//! is new, and computes the rates. This module is pure: the kubelet's times are the only clock.
//!
//! The kubelet takes a sample at any moment, but writes its time in whole seconds, rounded down.
//! Two samples whose times differ by `t` were really taken between `t - 1` and `t + 1` seconds
//! apart. A rate made from the counter is equally uncertain. `usageNanoCores` is the kubelet's own
//! rate. It is made from the exact times, but over a window that may differ from the time between
//! two scrapes. So it is used as long as it is within the bounds that the counter gives.

mod flow;
mod run;

use std::{borrow::Cow, collections::HashMap};

use self::{
    flow::Flow,
    run::{Now, Run},
};
use crate::{
    catalogue::{Cpu, Traffic, TrafficRate},
    options::CpuSource,
    summary::{Container, Interface, Network, Node, Pod, Volume},
    timestamp::Timestamp,
};

/// What was absent for more than this many scrapes is dropped. This is checked once per so many
/// scrapes.
const KEPT_SCRAPES: u64 = 30;

/// If more entries than this are known, all that are absent from the last scrape are dropped at
/// once. No node has so many in so short a time.
const MOST_KNOWN: usize = 10_000;

/// The last sample of everything that is selected.
#[derive(Debug)]
pub struct Samples {
    source: CpuSource,
    repeat: bool,
    /// The entries of pods by uid. A pod that replaces another one of the same name has a new uid.
    pods: HashMap<String, Known>,
    node: Known,
    count: usize,
    scrape: u64,
}

/// The last samples of a pod or of the node.
#[derive(Debug, Default)]
struct Known {
    own: Seen<Own>,
    containers: HashMap<String, Seen<Run>>,
    volumes: HashMap<String, Seen<Option<Timestamp>>>,
    interfaces: HashMap<String, Seen<Flow>>,
}

/// The last sample of the pod or node itself, and of its network as a whole.
#[derive(Debug, Default)]
struct Own {
    run: Run,
    flow: Flow,
}

/// A last sample, and the number of the scrape that had it.
#[derive(Debug, Default)]
struct Seen<T> {
    what: T,
    scrape: u64,
}

/// What is known about a sample in addition to its own numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// When the kubelet took the sample.
    pub time: Timestamp,
    /// Whether there should be a record: the sample is new, or known samples are repeated.
    pub is_due: bool,
    /// CPU in use, in billionths of a core.
    pub nano_cores: Option<f64>,
    /// Whether its CPU counter is possible for this run.
    pub believes_cpu: bool,
    /// The rates of its network.
    pub traffic: TrafficRate,
    /// Whether its network's counters are possible.
    pub believes_traffic: bool,
}

impl Reading {
    /// A reading without CPU and without network.
    fn at(time: Timestamp, is_due: bool) -> Self {
        Self {
            time,
            is_due,
            nano_cores: None,
            believes_cpu: true,
            traffic: TrafficRate::default(),
            believes_traffic: true,
        }
    }

    /// Drops the CPU counter if it is not possible.
    pub fn keep_believed(&self, cpu: &mut Cpu) {
        if !self.believes_cpu {
            cpu.core_nanoseconds = None;
        }
    }

    /// Drops the network's counters if they are not possible.
    pub fn keep_believed_traffic(&self, traffic: &mut Traffic) {
        if !self.believes_traffic {
            *traffic = Traffic {
                time: traffic.time,
                ..Traffic::default()
            };
        }
    }
}

impl Samples {
    /// Makes an empty store. With `repeat`, a known sample gives a record too.
    pub fn new(source: CpuSource, repeat: bool) -> Self {
        Self {
            source,
            repeat,
            pods: HashMap::new(),
            node: Known::default(),
            count: 0,
            scrape: 0,
        }
    }

    /// Must be called once for each reply, before its samples.
    pub fn begin_scrape(&mut self) {
        if self.count > MOST_KNOWN {
            self.forget_before(self.scrape);
            self.pods.shrink_to_fit();
        }
        self.scrape += 1;
        if self.scrape.is_multiple_of(KEPT_SCRAPES) {
            self.forget_before(self.scrape - KEPT_SCRAPES);
        }
    }

    fn forget_before(&mut self, oldest: u64) {
        self.node.forget_before(oldest);
        self.count = self.node.count();
        self.pods.retain(|_, known| {
            known.forget_before(oldest);
            let is_known = known.count() > 0;
            self.count += if is_known { known.total() } else { 0 };
            is_known
        });
    }

    /// Returns the entries of a pod.
    pub fn of_pod(&mut self, pod: &Pod) -> OfOne<'_> {
        let key = key_of(pod);
        // The map is searched twice, so that a known pod needs no allocation.
        if !self.pods.contains_key(key.as_ref()) {
            let key = key.clone().into_owned();
            self.pods.insert(key, Known::default());
            self.count += 1;
        }
        OfOne {
            known: self.pods.get_mut(key.as_ref()).expect("it is there now"),
            source: self.source,
            repeat: self.repeat,
            count: &mut self.count,
            scrape: self.scrape,
        }
    }

    /// Returns the entries of the node.
    pub fn of_node(&mut self) -> OfOne<'_> {
        OfOne {
            known: &mut self.node,
            source: self.source,
            repeat: self.repeat,
            count: &mut self.count,
            scrape: self.scrape,
        }
    }
}

/// The entries of a pod or of the node. Each sample that is passed to a method is remembered.
#[derive(Debug)]
pub struct OfOne<'s> {
    known: &'s mut Known,
    source: CpuSource,
    repeat: bool,
    count: &'s mut usize,
    scrape: u64,
}

impl OfOne<'_> {
    /// Takes the sample of a container or of a system container. Returns `None` if the sample has
    /// no time. A name must not occur twice in a pod.
    pub fn container(&mut self, container: &Container) -> Option<Reading> {
        let stats = &container.stats;
        let now = Now::new(&stats.cpu, &stats.memory, None, container.start_time)?;
        let (source, repeat) = (self.source, self.repeat);
        let run = &mut self.known.containers;
        see(run, &container.name, self.scrape, self.count, |run| {
            let is_due = run.take(source, &now) || repeat;
            Some(Reading {
                nano_cores: run.nano_cores,
                believes_cpu: run.believes(&now),
                ..Reading::at(now.time, is_due)
            })
        })
    }

    /// Takes the pod's own sample.
    pub fn pod(&mut self, pod: &Pod) -> Option<Reading> {
        let stats = pod.stats.as_deref()?;
        let other = pod.network.total.time.or(stats.ephemeral_storage.time);
        let now = Now::new(&stats.cpu, &stats.memory, other, pod.start_time)?;
        self.own(&now, &pod.network)
    }

    /// Takes the node's own sample.
    pub fn node(&mut self, node: &Node) -> Option<Reading> {
        let stats = &node.stats;
        let other = node.network.total.time.or(stats.fs.time);
        let now = Now::new(&stats.cpu, &stats.memory, other, node.start_time)?;
        self.own(&now, &node.network)
    }

    fn own(&mut self, now: &Now, network: &Network) -> Option<Reading> {
        let own = &mut self.known.own;
        *self.count += usize::from(own.scrape == 0);
        own.scrape = self.scrape;
        let Own { run, flow } = &mut own.what;
        if run.began_otherwise(now) {
            *flow = Flow::default();
        }
        flow.take(&network.total);
        let is_due = run.take(self.source, now) || self.repeat;
        Some(Reading {
            nano_cores: run.nano_cores,
            believes_cpu: run.believes(now),
            traffic: flow.rate.clone(),
            believes_traffic: flow.is_believed(),
            ..Reading::at(now.time, is_due)
        })
    }

    /// Takes the sample of a pod's network, if the pod's own sample is not recorded.
    pub fn network(&mut self, network: &Network) -> Option<Reading> {
        let time = network.total.time?;
        let own = &mut self.known.own;
        *self.count += usize::from(own.scrape == 0);
        own.scrape = self.scrape;
        let flow = &mut own.what.flow;
        let is_due = flow.take(&network.total) || self.repeat;
        Some(Reading {
            traffic: flow.rate.clone(),
            believes_traffic: flow.is_believed(),
            ..Reading::at(time, is_due)
        })
    }

    /// Takes a volume's sample. Returns `None` if it has no time, or if the volume has not been
    /// measured yet.
    pub fn volume(&mut self, volume: &Volume) -> Option<Reading> {
        let filesystem = &volume.filesystem;
        let time = filesystem.time.filter(|_| !filesystem.is_pending())?;
        let repeat = self.repeat;
        let last = &mut self.known.volumes;
        see(last, &volume.name, self.scrape, self.count, |last| {
            let is_due = last.replace(time) != Some(time) || repeat;
            Some(Reading::at(time, is_due))
        })
    }

    /// Takes an interface's sample.
    pub fn interface(&mut self, interface: &Interface) -> Option<Reading> {
        let time = interface.traffic.time?;
        let repeat = self.repeat;
        let flow = &mut self.known.interfaces;
        see(flow, &interface.name, self.scrape, self.count, |flow| {
            let is_due = flow.take(&interface.traffic) || repeat;
            Some(Reading {
                traffic: flow.rate.clone(),
                believes_traffic: flow.is_believed(),
                ..Reading::at(time, is_due)
            })
        })
    }
}

/// Calls `look` with the entry of this name. A known entry is searched only once.
fn see<T: Default, R>(
    map: &mut HashMap<String, Seen<T>>,
    name: &str,
    scrape: u64,
    count: &mut usize,
    look: impl FnOnce(&mut T) -> R,
) -> R {
    if let Some(seen) = map.get_mut(name) {
        seen.scrape = scrape;
        return look(&mut seen.what);
    }
    let mut seen = Seen {
        what: T::default(),
        scrape,
    };
    let looked = look(&mut seen.what);
    map.insert(name.to_owned(), seen);
    *count += 1;
    looked
}

impl Known {
    fn forget_before(&mut self, oldest: u64) {
        fn forget<T>(map: &mut HashMap<String, Seen<T>>, oldest: u64) {
            map.retain(|_, seen| seen.scrape >= oldest);
        }
        forget(&mut self.containers, oldest);
        forget(&mut self.volumes, oldest);
        forget(&mut self.interfaces, oldest);
        if self.own.scrape < oldest {
            self.own = Seen::default();
        }
    }

    fn count(&self) -> usize {
        let maps = self.containers.len() + self.volumes.len() + self.interfaces.len();
        maps + usize::from(self.own.scrape > 0)
    }

    /// The number of entries, including that of the pod itself.
    fn total(&self) -> usize {
        1 + self.count()
    }
}

/// Returns a pod's uid, which the kubelet always writes. If it is missing, the name is used.
fn key_of<'p>(pod: &'p Pod) -> Cow<'p, str> {
    match pod.uid.as_ref() {
        "" => Cow::Owned(format!("{}/{}", pod.namespace, pod.name)),
        uid => Cow::Borrowed(uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalogue::{self, ContainerStats},
        number::Number,
    };

    const START: u32 = 1_000;
    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u32) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn pod() -> Pod<'static> {
        Pod {
            uid: "u".into(),
            ..Pod::default()
        }
    }

    fn container(
        start: u32,
        time: u32,
        counter: Option<u64>,
        instant: Option<u64>,
    ) -> Container<'static> {
        Container {
            name: "c".into(),
            start_time: at(start),
            stats: ContainerStats {
                cpu: catalogue::Cpu {
                    time: at(time),
                    nano_cores: instant.and_then(Number::new),
                    core_nanoseconds: counter.and_then(Number::new),
                    psi: None,
                },
                ..ContainerStats::default()
            },
        }
    }

    /// Returns the values for a series of samples, each in its own scrape. A sample is its time in
    /// seconds, the counter and the instantaneous value.
    fn observe(
        source: CpuSource,
        start: u32,
        series: &[(u32, Option<u64>, Option<u64>)],
    ) -> Vec<Option<f64>> {
        let mut samples = Samples::new(source, false);
        series
            .iter()
            .map(|(time, counter, instant)| {
                samples.begin_scrape();
                samples
                    .of_pod(&pod())
                    .container(&container(start, *time, *counter, *instant))
                    .filter(|sample| sample.is_due)
                    .and_then(|sample| sample.nano_cores)
            })
            .collect()
    }

    fn auto(series: &[(u32, Option<u64>, Option<u64>)]) -> Vec<Option<f64>> {
        observe(CpuSource::Auto, START, series)
    }

    #[test]
    fn the_kubelets_rate_is_held_to_what_the_counter_proves() {
        let base = (2_000, Some(100 * SECOND), Some(111));
        // 2.5 s of CPU were used in 9 to 11 s.
        let (least, most) = (2.5e9 / 11.0, 2.5e9 / 9.0);
        let counter = Some(100 * SECOND + 2_500_000_000);
        for (instant, expected) in [
            (Some(260_000_000), 260e6),
            (Some(200_000_000), least),
            (Some(300_000_000), most),
            // The kubelet has no window yet. The container is not idle, because the counter rose.
            (Some(0), 250e6),
            (None, 250e6),
        ] {
            let got = auto(&[base, (2_010, counter, instant)]);
            assert_eq!(got, [Some(111.0), Some(expected)], "{instant:?}");
        }
        let series = [base, (2_010, counter, Some(260_000_000))];
        let counter = observe(CpuSource::Counter, START, &series);
        assert_eq!(counter, [None, Some(250e6)]);
        let instant = observe(CpuSource::Instant, START, &series);
        assert_eq!(instant, [Some(111.0), Some(260e6)]);
    }

    #[test]
    fn samples_of_one_second_are_told_apart_by_their_counters() {
        let series = [
            (2_000, Some(10 * SECOND), Some(111)),
            (2_000, Some(10 * SECOND), Some(111)),
            (2_000, Some(10 * SECOND + 9), Some(222)),
            // The time between these two samples is unknown.
            (2_000, Some(10 * SECOND + 99), None),
            // The rate is computed from the first sample of that second.
            (2_001, Some(11 * SECOND), None),
        ];
        let expected = [Some(111.0), None, Some(222.0), None, Some(1e9)];
        assert_eq!(auto(&series), expected);
    }

    #[test]
    fn a_known_sample_is_repeated_only_when_asked_for() {
        let mut samples = Samples::new(CpuSource::Auto, true);
        let sample = container(START, 2_000, Some(1), Some(111));
        for _ in 0..2 {
            let observed = samples.of_pod(&pod()).container(&sample);
            assert_eq!(
                observed.map(|sample| (sample.is_due, sample.nano_cores)),
                Some((true, Some(111.0)))
            );
        }
    }

    #[test]
    fn a_young_container_without_a_window_gives_its_mean() {
        for (age, counter, instant, expected) in [
            (10, Some(SECOND), Some(0), Some(1e8)),
            (10, Some(SECOND), None, Some(1e8)),
            // The container is less than a second old, so this is the lowest possible value.
            (0, Some(SECOND / 2), Some(0), Some(5e8)),
            (120, Some(12 * SECOND), Some(0), Some(1e8)),
            // The container is old enough for the kubelet to have a window, so it is idle.
            (121, Some(12 * SECOND), Some(0), Some(0.0)),
            (3_600, Some(SECOND), Some(0), Some(0.0)),
            (3_600, Some(SECOND), None, None),
            // A container that has ended has only zeros.
            (10, Some(0), Some(0), None),
            (3_600, Some(0), Some(0), None),
            (3_600, None, Some(0), None),
        ] {
            let got = auto(&[(START + age, counter, instant)]);
            assert_eq!(got, [expected], "{age} {counter:?} {instant:?}");
        }
    }

    #[test]
    fn a_restart_breaks_the_rate() {
        let mut samples = Samples::new(CpuSource::Auto, false);
        let restarted = [
            container(START, 2_000, Some(5 * SECOND), Some(111)),
            // Between two runs, all values are zero.
            container(START, 2_004, Some(0), Some(0)),
            container(2_005, 2_015, Some(9 * SECOND), Some(0)),
            container(2_005, 2_025, Some(14 * SECOND), Some(0)),
        ];
        let got = restarted.map(|container| {
            let sample = samples.of_pod(&pod()).container(&container);
            sample.and_then(|sample| sample.nano_cores)
        });
        assert_eq!(got, [Some(111.0), None, Some(9e8), Some(5e8)]);
    }

    #[test]
    fn one_wrong_counter_spoils_no_other_sample() {
        let right = |tens: u32| {
            let counter = 50_000 * SECOND + u64::from(tens) * 9 * SECOND;
            (90_000 + 10 * tens, Some(counter), None)
        };
        for wrong in [0, 10, u64::MAX] {
            let mut series = [right(0), right(1), right(2), right(3), right(4)];
            series[2].1 = Some(wrong);
            let expected = [None, Some(9e8), None, Some(9e8), Some(9e8)];
            assert_eq!(auto(&series), expected, "{wrong} in the middle");
            let mut series = [right(0), right(1), right(2), right(3), right(4)];
            series[0].1 = Some(wrong);
            let got = auto(&series);
            assert_eq!(got[3..], expected[3..], "{wrong} at first");
        }
        // A counter that restarted continues from its new value.
        let fallen = [
            (2_000, Some(500 * SECOND), None),
            (2_010, Some(1_000), None),
            (2_020, Some(9 * SECOND + 1_000), None),
        ];
        assert_eq!(auto(&fallen), [None, None, Some(9e8)]);
    }

    #[test]
    fn what_no_node_can_use_is_no_value() {
        let series = [
            (2_000, Some(10 * SECOND), Some(5_213_910_257_021_878_272)),
            (2_010, Some(u64::MAX), Some(u64::MAX)),
            (2_020, Some(28 * SECOND), Some(900_000_000)),
        ];
        assert_eq!(auto(&series), [None, None, Some(9e8)]);
    }

    /// Some runtimes do not count, so the counter stays 0.
    #[test]
    fn a_counter_at_zero_is_none() {
        let series = [2_000, 2_010, 2_020].map(|time| (time, Some(0), Some(120_000_000)));
        assert_eq!(auto(&series), [Some(12e7); 3]);
    }

    #[test]
    fn an_idle_container_is_at_zero() {
        let series = [2_000, 2_010].map(|time| (time, Some(SECOND), Some(0)));
        for source in [CpuSource::Auto, CpuSource::Instant] {
            assert_eq!(observe(source, START, &series), [Some(0.0); 2]);
        }
        assert_eq!(
            observe(CpuSource::Counter, START, &series),
            [None, Some(0.0)]
        );
    }

    #[test]
    fn a_sample_without_a_counter_does_not_lose_the_one_before() {
        let series = [
            (2_000, Some(SECOND), Some(111)),
            (2_010, None, None),
            (2_020, Some(21 * SECOND), None),
        ];
        assert_eq!(auto(&series), [Some(111.0), None, Some(1e9)]);
    }

    #[test]
    fn a_clock_that_went_back_gives_no_rate() {
        let series = [
            (2_000, Some(5_000), Some(111)),
            (1_990, Some(6_000), None),
            (1_999, Some(9 * SECOND + 6_000), None),
        ];
        assert_eq!(auto(&series), [Some(111.0), None, Some(1e9)]);
    }

    #[test]
    fn containers_that_are_gone_are_forgotten() {
        let mut samples = Samples::new(CpuSource::Auto, false);
        samples.begin_scrape();
        samples
            .of_pod(&pod())
            .container(&container(START, 2_000, Some(1), Some(1)));
        for _ in 0..2 * KEPT_SCRAPES {
            samples.begin_scrape();
        }
        assert!(samples.pods.is_empty());
    }
}
