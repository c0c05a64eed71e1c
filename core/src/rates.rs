//! What was seen last of each container: is a sample new, and how much CPU is in
//! use. Pure: the kubelet's times are the only clock.
//!
//! The kubelet writes the time of a sample in whole seconds and cut off, though it
//! samples at any moment. Two samples whose times are `t` apart are really between
//! `t - 1` and `t + 1` seconds apart, and a rate made from the counter is as uncertain.
//! `usageNanoCores` is the kubelet's own rate, made from the exact times, but over a
//! window that need not be ours. So it is taken as long as it agrees with what the
//! counter proves.

use std::{borrow::Cow, collections::HashMap};

use crate::{
    number::Number,
    options::CpuSource,
    summary::{Container, Pod},
    timestamp::Timestamp,
};

/// A container that has been gone for this many scrapes is forgotten.
const KEPT_SCRAPES: u64 = 30;

/// With more containers known than this, which no node runs in so short a time, those
/// that are gone are forgotten at once.
const MOST_KNOWN: usize = 10_000;

/// The most processors Linux can be built for, in billionths of a core. What a node
/// has the summary does not say; more than this no node can use.
const MOST_NANO_CORES: f64 = 8_192e9;

/// A container's first sample has often no `usageNanoCores` yet. Up to this age its
/// mean since the start stands in.
const YOUNG: f64 = 120.0;

/// The kubelet writes 0 both for an idle container and for one it has no window of
/// yet. By this age it has one.
const HAS_WINDOW: f64 = 60.0;

/// By how many seconds a time that is cut to whole ones may be too early.
const CUT: f64 = 1.0;

/// The last sample of one start of a container.
#[derive(Debug, Default)]
struct Seen {
    started: Option<Timestamp>,
    time: Option<Timestamp>,
    /// The counter as it was written, believed or not.
    written: Option<u64>,
    /// What the next rate is measured from.
    base: Option<Counter>,
    /// A counter that cannot have come from `base`. Either it began anew, or one of the
    /// two is wrong; the next sample fits only one of them.
    doubted: Option<Counter>,
    /// What was made of the sample, for `repeat_samples`.
    nano_cores: Option<f64>,
    scrape: u64,
}

/// `usageCoreNanoSeconds`, and when it stood there.
#[derive(Debug, Clone, Copy)]
struct Counter {
    time: Timestamp,
    value: u64,
}

/// How much the counter rose, and in how many seconds by the samples' times.
#[derive(Debug, Clone, Copy)]
struct Rise {
    used: f64,
    seconds: f64,
}

/// The last sample of every wanted container.
#[derive(Debug)]
pub struct Samples {
    source: CpuSource,
    repeat: bool,
    /// By pod, then by the container's name. A pod that is replaced under its
    /// old name has a new uid.
    pods: HashMap<String, HashMap<String, Seen>>,
    known: usize,
    scrape: u64,
}

/// A sample that deserves a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When the kubelet took it.
    pub time: Timestamp,
    /// CPU in use, in billionths of a core.
    pub nano_cores: f64,
}

impl Samples {
    /// Nothing seen yet; with `repeat` a known sample is one as well.
    pub fn new(source: CpuSource, repeat: bool) -> Self {
        Self {
            source,
            repeat,
            pods: HashMap::new(),
            known: 0,
            scrape: 0,
        }
    }

    /// Call once per reply, before its containers.
    pub fn begin_scrape(&mut self) {
        if self.known > MOST_KNOWN {
            self.forget_before(self.scrape);
            self.pods.shrink_to_fit();
        }
        self.scrape += 1;
        if self.scrape.is_multiple_of(KEPT_SCRAPES) {
            self.forget_before(self.scrape - KEPT_SCRAPES);
        }
    }

    fn forget_before(&mut self, oldest: u64) {
        self.known = 0;
        self.pods.retain(|_, containers| {
            containers.retain(|_, seen| seen.scrape >= oldest);
            self.known += containers.len();
            !containers.is_empty()
        });
    }

    /// Remembers the container's sample; `None` when it gives no record: it has
    /// no time, no CPU value, or was seen already. No name may come twice in a pod.
    pub fn observe(&mut self, pod: &Pod, container: &Container) -> Option<Sample> {
        let time = container.stats.cpu.time.or(container.stats.memory.time)?;
        let key = key_of(pod);
        let containers = match self.pods.contains_key(key.as_ref()) {
            true => self.pods.get_mut(key.as_ref())?,
            false => self.pods.entry(key.into_owned()).or_default(),
        };
        let nano_cores = match containers.get_mut(container.name.as_ref()) {
            Some(seen) if seen.is_known(container, time) => {
                seen.scrape = self.scrape;
                seen.nano_cores.filter(|_| self.repeat)
            }
            Some(seen) => {
                if seen.started != container.start_time {
                    *seen = Seen::default();
                }
                seen.learn(self.source, container, time, self.scrape)
            }
            None => {
                let mut seen = Seen::default();
                let nano_cores = seen.learn(self.source, container, time, self.scrape);
                containers.insert(container.name.to_string(), seen);
                self.known += 1;
                nano_cores
            }
        };
        nano_cores.map(|nano_cores| Sample { time, nano_cores })
    }
}

impl Seen {
    /// Of two samples in one second the later has the higher counter.
    fn is_known(&self, container: &Container, time: Timestamp) -> bool {
        let written = self
            .written
            .zip(container.stats.cpu.core_nanoseconds.map(Number::get));
        self.started == container.start_time
            && self.time == Some(time)
            && written.is_none_or(|(last, now)| now <= last)
    }

    /// The CPU in use by a new sample of this start of the container.
    fn learn(
        &mut self,
        source: CpuSource,
        container: &Container,
        time: Timestamp,
        scrape: u64,
    ) -> Option<f64> {
        self.started = container.start_time;
        self.time = Some(time);
        self.written = container.stats.cpu.core_nanoseconds.map(Number::get);
        self.scrape = scrape;
        let is_first = self.base.is_none();
        let cpu = Cpu::of(container, time);
        let rise = cpu.counter.and_then(|now| self.rise(now));
        self.nano_cores = match source {
            CpuSource::Auto => cpu.best(rise, is_first),
            CpuSource::Counter => rise.and_then(Rise::rate),
            CpuSource::Instant => cpu.instant(rise),
        };
        self.nano_cores
    }

    /// From an earlier counter to this one, which is where the next rise begins.
    fn rise(&mut self, now: Counter) -> Option<Rise> {
        let last = self.base.and_then(|base| base.to(now));
        let doubted = || self.doubted.and_then(|doubted| doubted.to(now));
        let rise = last.or_else(doubted);
        match rise {
            // Of two samples in one second the later may not be the base: time has to go on.
            Some(rise) if rise.seconds == 0.0 => {}
            Some(_) => (self.base, self.doubted) = (Some(now), None),
            None if self.base.is_none() => self.base = Some(now),
            None => self.doubted = Some(now),
        }
        rise
    }
}

impl Counter {
    /// `None` if it fell, if time went back, or if no node can use that much.
    fn to(self, later: Self) -> Option<Rise> {
        let nanos = later.time.as_nanos().checked_sub(self.time.as_nanos())?;
        let rise = Rise {
            used: later.value.checked_sub(self.value)? as f64,
            seconds: nanos as f64 / 1e9,
        };
        (rise.used <= most_used_in(rise.seconds)).then_some(rise)
    }
}

impl Rise {
    /// As well as the times tell it.
    fn rate(self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.used / self.seconds)
    }

    /// The least and the most that it can have been.
    fn bounds(self) -> (f64, f64) {
        let longest = self.seconds + CUT;
        let shortest = self.seconds - CUT;
        let most = match shortest > 0.0 {
            true => self.used / shortest,
            false if self.used > 0.0 => f64::INFINITY,
            false => 0.0,
        };
        (self.used / longest, most)
    }
}

/// What a sample says of the CPU, as far as it can be believed.
struct Cpu {
    counter: Option<Counter>,
    nano_cores: Option<f64>,
    /// In seconds, of a container that says when it started.
    age: Option<f64>,
}

impl Cpu {
    /// A counter at 0 was never counted: nothing starts without using any CPU.
    fn of(container: &Container, time: Timestamp) -> Self {
        let age = container
            .start_time
            .and_then(|started| time.as_nanos().checked_sub(started.as_nanos()))
            .map(|nanos| nanos as f64 / 1e9);
        let values = &container.stats.cpu;
        let counter = values.time.zip(values.core_nanoseconds);
        let counter = counter.map(|(time, value)| Counter {
            time,
            value: value.get(),
        });
        let can_be = |counter: &Counter| {
            counter.value > 0 && age.is_none_or(|age| counter.value as f64 <= most_used_in(age))
        };
        let nano_cores = values.nano_cores.map(|value| value.get() as f64);
        Self {
            counter: counter.filter(can_be),
            nano_cores: nano_cores.filter(|value| *value <= MOST_NANO_CORES),
            age,
        }
    }

    /// The kubelet's rate, held to what the counter proves; each alone where the other
    /// is missing.
    fn best(&self, rise: Option<Rise>, is_first: bool) -> Option<f64> {
        let instant = self.instant(rise);
        match (instant, rise) {
            (Some(instant), Some(rise)) => {
                let (least, most) = rise.bounds();
                Some(instant.clamp(least, most))
            }
            (None, Some(rise)) => rise.rate(),
            (Some(instant), None) if instant > 0.0 => Some(instant),
            (_, None) if is_first => self.since_start().or(instant),
            (_, None) => instant,
        }
    }

    /// The kubelet's rate, unless it is a 0 that means "no window yet".
    fn instant(&self, rise: Option<Rise>) -> Option<f64> {
        let is_idle = || match rise {
            Some(rise) => rise.used == 0.0,
            None => self.counter.is_some() && self.age.is_some_and(|age| age > HAS_WINDOW),
        };
        self.nano_cores.filter(|value| *value > 0.0 || is_idle())
    }

    /// The mean over a young container's life.
    fn since_start(&self) -> Option<f64> {
        let age = self.age.filter(|age| *age <= YOUNG)?;
        Some(self.counter?.value as f64 / age.max(CUT))
    }
}

/// In nanoseconds of all processors together.
fn most_used_in(seconds: f64) -> f64 {
    MOST_NANO_CORES * (seconds + CUT)
}

/// A pod's uid, which the kubelet always gives; its name should one be missing.
fn key_of<'p>(pod: &'p Pod) -> Cow<'p, str> {
    match pod.uid.as_ref() {
        "" => Cow::Owned(format!("{}/{}", pod.namespace, pod.name)),
        uid => Cow::Borrowed(uid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::{self, ContainerStats};

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

    /// The values that a series of samples gives, each in a scrape of its own. A sample
    /// is its time in seconds, counter and instantaneous value.
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
                    .observe(&pod(), &container(start, *time, *counter, *instant))
                    .map(|sample| sample.nano_cores)
            })
            .collect()
    }

    fn auto(series: &[(u32, Option<u64>, Option<u64>)]) -> Vec<Option<f64>> {
        observe(CpuSource::Auto, START, series)
    }

    #[test]
    fn the_kubelets_rate_is_held_to_what_the_counter_proves() {
        let base = (2_000, Some(100 * SECOND), Some(111));
        // 2.5 s of CPU in 9 to 11 s.
        let (least, most) = (2.5e9 / 11.0, 2.5e9 / 9.0);
        let counter = Some(100 * SECOND + 2_500_000_000);
        for (instant, expected) in [
            (Some(260_000_000), 260e6),
            (Some(200_000_000), least),
            (Some(300_000_000), most),
            // No window of the kubelet's, and no zero: the counter went on.
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
            // Nothing says how long that took.
            (2_000, Some(10 * SECOND + 99), None),
            // From the first of that second on.
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
            let observed = samples.observe(&pod(), &sample);
            assert_eq!(observed.map(|sample| sample.nano_cores), Some(111.0));
        }
    }

    #[test]
    fn a_young_container_without_a_window_gives_its_mean() {
        for (age, counter, instant, expected) in [
            (10, Some(SECOND), Some(0), Some(1e8)),
            (10, Some(SECOND), None, Some(1e8)),
            // It is less than a second old: this is the least that it can be.
            (0, Some(SECOND / 2), Some(0), Some(5e8)),
            (120, Some(12 * SECOND), Some(0), Some(1e8)),
            // Old enough for the kubelet to know: it is idle.
            (121, Some(12 * SECOND), Some(0), Some(0.0)),
            (3_600, Some(SECOND), Some(0), Some(0.0)),
            (3_600, Some(SECOND), None, None),
            // What has ended is all zeros.
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
            // All zeros between two runs.
            container(START, 2_004, Some(0), Some(0)),
            container(2_005, 2_015, Some(9 * SECOND), Some(0)),
            container(2_005, 2_025, Some(14 * SECOND), Some(0)),
        ];
        let got = restarted.map(|container| {
            let sample = samples.observe(&pod(), &container);
            sample.map(|sample| sample.nano_cores)
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
        // A counter that began anew goes on from there.
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

    /// Some runtimes never count: the counter stays 0.
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
        samples.observe(&pod(), &container(START, 2_000, Some(1), Some(1)));
        for _ in 0..2 * KEPT_SCRAPES {
            samples.begin_scrape();
        }
        assert!(samples.pods.is_empty());
    }
}
