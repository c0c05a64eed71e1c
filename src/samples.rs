//! What was seen last of each container: is a sample new, and how much CPU has
//! been used since the one before. Pure: the kubelet's times are the only clock.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    options::CpuSource,
    summary::{Container, Instant, Pod},
};

/// A container that has been gone for this many scrapes is forgotten.
const KEPT_SCRAPES: u64 = 30;

/// The last sample of one container.
#[derive(Debug)]
struct Seen {
    started: Option<Instant>,
    time: Instant,
    /// The last counter of this start of the container, and its own time.
    counter: Option<(Instant, u64)>,
    /// What was made of the sample, for `repeat_samples`.
    nano_cores: Option<f64>,
    scrape: u64,
}

/// The last sample of every wanted container.
#[derive(Debug)]
pub struct Samples {
    source: CpuSource,
    repeat: bool,
    /// By pod, then by the container's name. A pod that is replaced under its
    /// old name has a new uid.
    pods: HashMap<String, HashMap<String, Seen>>,
    scrape: u64,
}

/// A sample that deserves a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    pub time: Instant,
    /// CPU in use, in billionths of a core.
    pub nano_cores: f64,
}

impl Samples {
    pub fn new(source: CpuSource, repeat: bool) -> Self {
        Self {
            source,
            repeat,
            pods: HashMap::new(),
            scrape: 0,
        }
    }

    /// Call once per reply, before its containers.
    pub fn begin_scrape(&mut self) {
        self.scrape += 1;
        if self.scrape.is_multiple_of(KEPT_SCRAPES) {
            let oldest = self.scrape - KEPT_SCRAPES;
            self.pods.retain(|_, containers| {
                containers.retain(|_, seen| seen.scrape >= oldest);
                !containers.is_empty()
            });
        }
    }

    /// Remembers the container's sample; `None` when it gives no record: it has
    /// no time, no CPU value, or was seen already.
    pub fn observe(&mut self, pod: &Pod, container: &Container) -> Option<Sample> {
        let time = container.cpu.time.or(container.memory.time)?;
        let counter = container
            .cpu
            .time
            .zip(container.cpu.usage_core_nano_seconds);
        let sample =
            |nano_cores: Option<f64>| nano_cores.map(|nano_cores| Sample { time, nano_cores });

        let key = key_of(pod);
        let containers = match self.pods.contains_key(key.as_ref()) {
            true => self.pods.get_mut(key.as_ref())?,
            false => self.pods.entry(key.into_owned()).or_default(),
        };
        let Some(seen) = containers.get_mut(container.name.as_ref()) else {
            let nano_cores = cpu(self.source, None, container);
            let seen = Seen {
                started: container.start_time,
                time,
                counter,
                nano_cores,
                scrape: self.scrape,
            };
            containers.insert(container.name.to_string(), seen);
            return sample(nano_cores);
        };

        seen.scrape = self.scrape;
        let same_start = seen.started == container.start_time;
        if same_start && seen.time == time {
            return sample(seen.nano_cores.filter(|_| self.repeat));
        }
        let last = seen.counter.filter(|_| same_start);
        seen.started = container.start_time;
        seen.time = time;
        seen.counter = counter.or(last);
        seen.nano_cores = cpu(self.source, last, container);
        sample(seen.nano_cores)
    }
}

/// A pod's uid, which the kubelet always gives; its name should one be missing.
fn key_of<'p>(pod: &'p Pod) -> Cow<'p, str> {
    match pod.uid.as_ref() {
        "" => Cow::Owned(format!("{}/{}", pod.namespace, pod.name)),
        uid => Cow::Borrowed(uid),
    }
}

/// `last` is the counter before, of the same start of the container.
fn cpu(source: CpuSource, last: Option<(Instant, u64)>, container: &Container) -> Option<f64> {
    match source {
        CpuSource::Auto => from_counter(last, container).or_else(|| instant(last, container)),
        CpuSource::Counter => from_counter(last, container),
        CpuSource::Instant => instant(last, container),
    }
}

/// Needs two samples whose time went on and whose counter did not fall.
fn from_counter(last: Option<(Instant, u64)>, container: &Container) -> Option<f64> {
    let (last_time, last_usage) = last?;
    let elapsed = container
        .cpu
        .time?
        .as_nanos()
        .checked_sub(last_time.as_nanos())?;
    let used = container
        .cpu
        .usage_core_nano_seconds?
        .checked_sub(last_usage)?;
    (elapsed > 0).then(|| used as f64 / elapsed as f64 * 1e9)
}

/// The kubelet writes 0 both for an idle container and for one it has no window
/// of yet. It is taken at its word only when the counter stood still as well.
fn instant(last: Option<(Instant, u64)>, container: &Container) -> Option<f64> {
    match container.cpu.usage_nano_cores? {
        0 => from_counter(last, container).filter(|used| *used == 0.0),
        nano_cores => Some(nano_cores as f64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::Cpu;

    const START: u32 = 1_000;

    fn at(seconds: u32) -> Option<Instant> {
        Some(Instant { seconds, nanos: 0 })
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
            cpu: Cpu {
                time: at(time),
                usage_nano_cores: instant,
                usage_core_nano_seconds: counter,
            },
            memory: Default::default(),
            rootfs: Default::default(),
            logs: Default::default(),
        }
    }

    /// The values that a series of samples gives, each in a scrape of its own.
    fn observe(source: CpuSource, repeat: bool, series: &[Container]) -> Vec<Option<f64>> {
        let mut samples = Samples::new(source, repeat);
        series
            .iter()
            .map(|container| {
                samples.begin_scrape();
                samples
                    .observe(&pod(), container)
                    .map(|sample| sample.nano_cores)
            })
            .collect()
    }

    #[test]
    fn the_counter_decides_and_the_first_sample_is_instantaneous() {
        let series = [
            container(START, 2_000, Some(100_000_000_000), Some(111)),
            container(START, 2_010, Some(102_500_000_000), Some(222)),
        ];
        let auto = observe(CpuSource::Auto, false, &series);
        assert_eq!(auto, [Some(111.0), Some(250e6)]);
        let counter = observe(CpuSource::Counter, false, &series);
        assert_eq!(counter, [None, Some(250e6)]);
        let instant = observe(CpuSource::Instant, false, &series);
        assert_eq!(instant, [Some(111.0), Some(222.0)]);
    }

    #[test]
    fn the_same_sample_again_is_nothing_new() {
        let series = [
            container(START, 2_000, Some(1_000), Some(111)),
            container(START, 2_000, Some(1_000), Some(111)),
        ];
        assert_eq!(
            observe(CpuSource::Auto, false, &series),
            [Some(111.0), None]
        );
        assert_eq!(
            observe(CpuSource::Auto, true, &series),
            [Some(111.0), Some(111.0)]
        );
    }

    #[test]
    fn a_restart_or_a_fallen_counter_breaks_the_rate() {
        let restarted = [
            container(START, 2_000, Some(5_000), Some(111)),
            container(2_005, 2_010, Some(9_000), Some(0)),
            container(2_005, 2_020, Some(9_000 + 5_000_000_000), Some(0)),
        ];
        assert_eq!(
            observe(CpuSource::Auto, false, &restarted),
            [Some(111.0), None, Some(500e6)]
        );
        let fallen = [
            container(START, 2_000, Some(5_000), Some(111)),
            container(START, 2_010, Some(10), Some(222)),
        ];
        assert_eq!(
            observe(CpuSource::Auto, false, &fallen),
            [Some(111.0), Some(222.0)]
        );
    }

    #[test]
    fn an_instantaneous_zero_counts_only_while_the_counter_stands_still() {
        let series = [
            container(START, 2_000, Some(5_000), Some(0)),
            container(START, 2_010, Some(6_000), Some(0)),
            container(START, 2_020, Some(6_000), Some(0)),
        ];
        assert_eq!(
            observe(CpuSource::Instant, false, &series),
            [None, None, Some(0.0)]
        );
    }

    #[test]
    fn a_sample_without_a_counter_does_not_lose_the_one_before() {
        let series = [
            container(START, 2_000, Some(0), Some(111)),
            container(START, 2_010, None, None),
            container(START, 2_020, Some(20_000_000_000), None),
        ];
        assert_eq!(
            observe(CpuSource::Auto, false, &series),
            [Some(111.0), None, Some(1e9)]
        );
    }

    #[test]
    fn a_clock_that_went_back_gives_no_rate() {
        let series = [
            container(START, 2_000, Some(5_000), Some(111)),
            container(START, 1_990, Some(6_000), Some(222)),
        ];
        assert_eq!(
            observe(CpuSource::Auto, false, &series),
            [Some(111.0), Some(222.0)]
        );
    }

    #[test]
    fn containers_that_are_gone_are_forgotten() {
        let mut samples = Samples::new(CpuSource::Auto, false);
        samples.begin_scrape();
        samples.observe(&pod(), &container(START, 2_000, Some(1), Some(1)));
        for _ in 0..2 * KEPT_SCRAPES {
            samples.begin_scrape();
        }
        assert!(samples.pods.is_empty());
    }
}
