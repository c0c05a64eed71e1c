//! The CPU of one run of a container, of a pod or of the node, from sample to sample.

use crate::{
    catalogue::{Cpu, Memory},
    number::Number,
    options::CpuSource,
    timestamp::Timestamp,
};

/// The most processors that Linux can be built for, in billionths of a core. The summary
/// does not say how many a node has, but no node can use more than this.
const MOST_NANO_CORES: f64 = 8_192e9;

/// A container's first sample often has no `usageNanoCores` yet. Up to this age its mean
/// since the start is used instead.
const YOUNG: f64 = 120.0;

/// The kubelet writes 0 both for an idle container and for one it has no window of
/// yet. By this age it has one.
const HAS_WINDOW: f64 = 60.0;

/// By how many seconds a time that is cut to whole ones may be too early.
const CUT: f64 = 1.0;

/// The last sample of one run.
#[derive(Debug, Default)]
pub(super) struct Run {
    started: Option<Timestamp>,
    time: Option<Timestamp>,
    /// The counter as it was written, believed or not.
    written: Option<u64>,
    /// What the next rate is measured from.
    base: Option<Counter>,
    /// A counter that cannot have come from `base`. Either it began again at 0, or one of the
    /// two is wrong; the next sample fits only one of them.
    doubted: Option<Counter>,
    /// What was computed from the sample: the CPU in use, in billionths of a core.
    pub nano_cores: Option<f64>,
    /// Whether its counter is one that this run can have.
    is_believed: bool,
}

/// What a reply says of a run.
#[derive(Debug)]
pub(super) struct Now<'s> {
    pub cpu: &'s Cpu,
    pub started: Option<Timestamp>,
    /// Of the sample as a whole.
    pub time: Timestamp,
}

impl<'s> Now<'s> {
    /// The CPU's time is the sample's; the memory's where it has none, and `other` where
    /// neither has one.
    pub fn new(
        cpu: &'s Cpu,
        memory: &Memory,
        other: Option<Timestamp>,
        started: Option<Timestamp>,
    ) -> Option<Self> {
        let time = cpu.time.or(memory.time).or(other)?;
        Some(Self { cpu, started, time })
    }

    /// The counter as it was written, believed or not.
    fn written(&self) -> Option<u64> {
        self.cpu.core_nanoseconds.map(Number::get)
    }
}

/// `usageCoreNanoSeconds`, and when it stood there.
#[derive(Debug, Clone, Copy, PartialEq)]
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

impl Run {
    /// Takes a sample in; `false` if it was seen before.
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

    /// Of two samples in one second the later has the higher counter.
    fn is_known(&self, now: &Now) -> bool {
        let written = self.written.zip(now.written());
        self.started == now.started
            && self.time == Some(now.time)
            && written.is_none_or(|(last, now)| now <= last)
    }

    /// Whether the counter of the sample that was taken in, or of one of the same time, is one
    /// that this run can have. One that fell, or is 0, would look like a restart to a reader
    /// of the counter alone.
    pub fn believes(&self, now: &Now) -> bool {
        self.is_believed && self.written == now.written()
    }

    /// Whether that is another run.
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
            // Of what has just started, unless it is in use all the same.
            Some(0) => self.base.is_none() && claims.nano_cores.is_none_or(|used| used == 0.0),
            _ => claims.counter.is_some() && claims.counter != self.doubted,
        };
        self.nano_cores = match source {
            CpuSource::Auto => claims.best(rise, is_first),
            CpuSource::Counter => rise.and_then(Rise::rate),
            CpuSource::Instant => claims.instant(rise),
        };
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
    /// As exactly as the times allow.
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
struct Claims {
    counter: Option<Counter>,
    nano_cores: Option<f64>,
    /// In seconds, of a container that says when it started.
    age: Option<f64>,
}

impl Claims {
    /// A counter at 0 was never counted: nothing starts without using any CPU.
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

    /// The kubelet's rate, limited by what the counter proves; each alone where the other
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
