//! Computes the CPU of one run of a container, a pod or the node from its samples.

use crate::{
    catalogue::{Cpu, Memory},
    number::Number,
    options::CpuSource,
    timestamp::Timestamp,
};

/// The largest number of processors that Linux can be built for, in billionths of a core. The
/// summary does not say how many a node has, but no node can use more than this.
const MOST_NANO_CORES: f64 = 8_192e9;

/// In seconds. A container's first sample often has no `usageNanoCores` yet. Up to this age, the
/// mean since its start is used instead.
const YOUNG: f64 = 120.0;

/// In seconds. The kubelet writes 0 for an idle container, and also for a container without a
/// window. At this age, it has a window.
const HAS_WINDOW: f64 = 60.0;

/// By how many seconds a time may be too early, because it is rounded down.
const CUT: f64 = 1.0;

/// The last sample of one run.
#[derive(Debug, Default)]
pub(super) struct Run {
    started: Option<Timestamp>,
    time: Option<Timestamp>,
    /// The counter as it was written, whether it is possible or not.
    written: Option<u64>,
    /// The counter from which the next rise is measured.
    base: Option<Counter>,
    /// A counter that cannot follow `base`. Either it restarted at 0, or one of the two is wrong.
    /// The next sample fits only one of them.
    doubted: Option<Counter>,
    /// The CPU in use that was computed from the sample, in billionths of a core.
    pub nano_cores: Option<f64>,
    /// Whether the counter of the sample is possible for this run.
    is_believed: bool,
}

/// A run's values in a reply.
#[derive(Debug)]
pub(super) struct Now<'s> {
    pub cpu: &'s Cpu,
    pub started: Option<Timestamp>,
    /// The time of the sample as a whole.
    pub time: Timestamp,
}

impl<'s> Now<'s> {
    /// The time of the sample is that of the CPU. Without it, it is the memory's, and without that,
    /// it is `other`.
    pub fn new(
        cpu: &'s Cpu,
        memory: &Memory,
        other: Option<Timestamp>,
        started: Option<Timestamp>,
    ) -> Option<Self> {
        let time = cpu.time.or(memory.time).or(other)?;
        Some(Self { cpu, started, time })
    }

    /// The counter as it was written, whether it is possible or not.
    fn written(&self) -> Option<u64> {
        self.cpu.core_nanoseconds.map(Number::get)
    }
}

/// `usageCoreNanoSeconds` and its time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counter {
    time: Timestamp,
    value: u64,
}

/// How much the counter rose, and in how many seconds according to the samples' times.
#[derive(Debug, Clone, Copy)]
struct Rise {
    used: f64,
    seconds: f64,
}

impl Run {
    /// Takes a sample. Returns `false` if it was seen before.
    pub fn take(&mut self, source: CpuSource, now: &Now) -> bool {
        if self.is_known(now) {
            return false;
        }
        if self.started != now.started {
            *self = Self::default();
        }
        self.learn(source, now);
        true
    }

    /// Of two samples of the same second, the later one has the higher counter.
    fn is_known(&self, now: &Now) -> bool {
        let written = self.written.zip(now.written());
        self.started == now.started
            && self.time == Some(now.time)
            && written.is_none_or(|(last, now)| now <= last)
    }

    /// Whether the counter of the last sample, or of one with the same counter, is possible for
    /// this run. A counter that fell or is 0 would look like a restart to a reader who sees only
    /// the counter.
    pub fn believes(&self, now: &Now) -> bool {
        self.is_believed && self.written == now.written()
    }

    /// Whether the sample belongs to another run.
    pub fn began_otherwise(&self, now: &Now) -> bool {
        self.started != now.started
    }

    fn learn(&mut self, source: CpuSource, now: &Now) {
        self.started = now.started;
        self.time = Some(now.time);
        self.written = now.written();
        let is_first = self.base.is_none();
        let claims = Claims::of(now);
        let rise = claims.counter.and_then(|now| self.rise(now));
        self.is_believed = match now.written() {
            // This is possible only for a run that has just started, and only if it uses no CPU
            // yet.
            Some(0) => self.base.is_none() && claims.nano_cores.is_none_or(|used| used == 0.0),
            _ => claims.counter.is_some() && claims.counter != self.doubted,
        };
        self.nano_cores = match source {
            CpuSource::Auto => claims.best(rise, is_first),
            CpuSource::Counter => rise.and_then(Rise::rate),
            CpuSource::Instant => claims.instant(rise),
        };
    }

    /// Returns the rise from an earlier counter to this one. The next rise begins at this counter.
    fn rise(&mut self, now: Counter) -> Option<Rise> {
        let last = self.base.and_then(|base| base.to(now));
        let doubted = || self.doubted.and_then(|doubted| doubted.to(now));
        let rise = last.or_else(doubted);
        match rise {
            // Of two samples of the same second, the later one cannot be the base, because time
            // must pass.
            Some(rise) if rise.seconds == 0.0 => {}
            Some(_) => (self.base, self.doubted) = (Some(now), None),
            None if self.base.is_none() => self.base = Some(now),
            None => self.doubted = Some(now),
        }
        rise
    }
}

impl Counter {
    /// Returns `None` if the counter fell, if time went back, or if no node can use that much.
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
    /// The rate, as exactly as the times allow.
    fn rate(self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.used / self.seconds)
    }

    /// The lowest and the highest possible rate.
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

/// The values of a sample for the CPU that are possible.
struct Claims {
    counter: Option<Counter>,
    nano_cores: Option<f64>,
    /// The age in seconds, if the start of the container is known.
    age: Option<f64>,
}

impl Claims {
    /// A counter of 0 was never counted, because nothing starts without using CPU.
    fn of(now: &Now) -> Self {
        let age = now
            .started
            .and_then(|started| now.time.as_nanos().checked_sub(started.as_nanos()))
            .map(|nanos| nanos as f64 / 1e9);
        let counter = now.cpu.time.zip(now.written());
        let counter = counter.map(|(time, value)| Counter { time, value });
        let can_be = |counter: &Counter| {
            counter.value > 0 && age.is_none_or(|age| counter.value as f64 <= most_used_in(age))
        };
        let nano_cores = now.cpu.nano_cores.map(|value| value.get() as f64);
        Self {
            counter: counter.filter(can_be),
            nano_cores: nano_cores.filter(|value| *value <= MOST_NANO_CORES),
            age,
        }
    }

    /// The kubelet's rate, limited by the bounds that the counter gives. If one of the two is
    /// missing, the other is used alone.
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

    /// The kubelet's rate, unless it is a 0 that means that there is no window yet.
    fn instant(&self, rise: Option<Rise>) -> Option<f64> {
        let is_idle = || match rise {
            Some(rise) => rise.used == 0.0,
            None => self.counter.is_some() && self.age.is_some_and(|age| age > HAS_WINDOW),
        };
        self.nano_cores.filter(|value| *value > 0.0 || is_idle())
    }

    /// The mean over the life of a young container.
    fn since_start(&self) -> Option<f64> {
        let age = self.age.filter(|age| *age <= YOUNG)?;
        Some(self.counter?.value as f64 / age.max(CUT))
    }
}

/// The largest possible use, in nanoseconds of all processors together.
fn most_used_in(seconds: f64) -> f64 {
    MOST_NANO_CORES * (seconds + CUT)
}
