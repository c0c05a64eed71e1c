//! One host process under test: what it was told, what it said, and its end.
//! Every wait is bounded, and what went wrong comes back as text.

use std::{
    cell::Cell,
    fs,
    process::Command,
    ptr, thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testkit::{Child, Host, Stream, wait};

use super::{
    metrics::{self, Printed},
    truth,
};
use crate::common::run::Line;
pub use crate::common::run::{DEADLINE, Said};

/// What stopping may take more than with a `dummy` input alone.
const MORE: Duration = Duration::from_millis(500);

/// Ten records a second, flushed five times a second: a longer silence means
/// that somebody kept the engine waiting.
const SILENCE: Duration = Duration::from_millis(1500);

pub const TOKEN: &str = "a-token-of-the-test";

/// Where rows run: a host, and how long it takes to stop without the plugin.
pub struct Site<'h> {
    pub host: &'h Host,
    pub dummy_stop: Duration,
}

impl<'h> Site<'h> {
    /// Fluent Bit ends on a beat of one second, so that a stop takes anything up
    /// to that: the longest of several counts, each at another point of it.
    pub fn new(host: &'h Host) -> Result<Self, String> {
        let site = Self {
            host,
            dummy_stop: DEADLINE,
        };
        let stop_after = &|records: usize| {
            let run = Run::start(&site, Line::new())?;
            for _ in 0..records {
                run.dummy_goes_on()?;
            }
            Ok(run.stop(&site)?.stop)
        };
        let stops = thread::scope(|scope| {
            let begun: Vec<_> = (1..=8)
                .map(|records| scope.spawn(move || stop_after(records)))
                .collect();
            let ended = begun.into_iter().map(|one| one.join());
            ended
                .map(|one| one.unwrap_or_else(|_| Err("it panicked".to_owned())))
                .collect::<Result<Vec<Duration>, String>>()
        })?;
        let dummy_stop = stops.into_iter().max().unwrap_or_default();
        Ok(Self { host, dummy_stop })
    }
}

/// What the plugin counts of itself, from its own record.
#[derive(Debug, Clone, Default)]
pub struct Stats {
    pub scrapes: u64,
    pub failures: u64,
    pub records: u64,
}

impl Stats {
    pub fn replies(&self) -> u64 {
        self.scrapes - self.failures
    }
}

/// A host that runs.
pub struct Run {
    child: Child,
    /// The last record of the plugin about itself that was looked at.
    stats: Cell<usize>,
    /// How many of the plugin's there are.
    inputs: usize,
}

/// What is left of one that has been stopped.
pub struct Ended {
    pub said: Vec<Said>,
    pub records: Vec<Value>,
    pub stats: Stats,
    pub metrics: Printed,
    pub stop: Duration,
}

impl Run {
    /// Inputs are on `line` already; `dummy`, beside which everything happens, and stdout
    /// are added here.
    pub fn start(site: &Site, line: Line) -> Result<Self, String> {
        Self::start_command(Self::command(site, line))
    }

    pub fn command(site: &Site, line: Line) -> Command {
        let mut command = line.dummy("10").printing().command(site.host);
        // Where nobody answers for names, the resolver says so soon.
        command.env("RES_OPTIONS", "timeout:1 attempts:1");
        command
    }

    pub fn start_command(command: Command) -> Result<Self, String> {
        let plugins = command.get_args().filter(|arg| *arg == "kubeletstats");
        let inputs = plugins.count();
        let child = Child::spawn(command).map_err(|error| error.to_string())?;
        Ok(Self {
            child,
            inputs,
            stats: Cell::new(0),
        })
    }

    /// Waits for the plugin's first record about itself that is `wanted`, of
    /// those that no call has passed yet.
    pub fn stats(&self, what: &str, wanted: impl Fn(&Stats) -> bool) -> Result<Stats, String> {
        self.stats_of("", what, wanted)
    }

    /// The same of one of several inputs.
    pub fn stats_of(
        &self,
        input: &str,
        what: &str,
        wanted: impl Fn(&Stats) -> bool,
    ) -> Result<Stats, String> {
        let mut found = None;
        let mut at = self.stats.get();
        let waited = wait::until(what, DEADLINE, || {
            for line in self.child.lines_from(at) {
                let stats = stats(&line.text, input).filter(&wanted);
                if stats.is_some() {
                    found = stats;
                    return true;
                }
                at += 1;
            }
            self.has_ended()
        });
        self.stats.set(at);
        match (waited, found) {
            (Ok(()), Some(stats)) => Ok(stats),
            (Ok(()), None) => Err(self.failed(&format!("ended before {what}"))),
            (Err(error), _) => Err(self.failed(&error.to_string())),
        }
    }

    /// Waits for a record that is `wanted`.
    pub fn record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<(), String> {
        self.record_from(0, what, wanted)
    }

    /// The same, from now on.
    pub fn next_record(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<(), String> {
        self.record_from(self.printed(), what, wanted)
    }

    /// How many lines there are so far.
    pub fn printed(&self) -> usize {
        self.child.line_count()
    }

    /// The same, from that line on.
    pub fn record_from(
        &self,
        first: usize,
        what: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<(), String> {
        let wanted = |line: &str| record(line).is_some_and(|record| wanted(&record));
        let line = self
            .child
            .wait_for_line_from(first, Stream::Stdout, wanted, DEADLINE);
        self.or_failed(line, what)
    }

    /// What the plugin last counted.
    pub fn latest(&self) -> Stats {
        let lines = self.child.lines_from(0);
        let last = lines.iter().rev().find_map(|line| stats(&line.text, ""));
        last.unwrap_or_default()
    }

    /// Waits until the plugin has said this; see [`matches`].
    pub fn said(&self, pattern: &str) -> Result<(), String> {
        let line = self.child.wait_for_line(
            Stream::Stderr,
            |line| Said::of(line).is_some_and(|said| matches(pattern, &said.text)),
            DEADLINE,
        );
        self.or_failed(line, pattern)
    }

    /// Waits until the host itself has logged this so many times.
    pub fn host_said(&self, text: &str, times: usize) -> Result<(), String> {
        let mut seen = 0;
        let line = self.child.wait_for_line(
            Stream::Stderr,
            |line| {
                seen += usize::from(line.contains(text));
                seen == times
            },
            DEADLINE,
        );
        self.or_failed(line, text)
    }

    /// Waits until the last metrics that were printed say that the kubelet is up, or down.
    pub fn is_up(&self, up: u8) -> Result<(), String> {
        if !metrics::wanted() {
            return Ok(());
        }
        let what = format!("kubeletstats_up {up}");
        let waited = wait::until(&what, DEADLINE, || {
            let lines = self.child.lines(Stream::Stdout);
            metrics::last_up(lines.iter().map(String::as_str)) == Some(up)
        });
        waited.map_err(|error| self.failed(&error.to_string()))
    }

    /// One more record of `dummy`, from now on.
    pub fn dummy_goes_on(&self) -> Result<(), String> {
        let line = self.child.wait_for_line_from(
            self.child.line_count(),
            Stream::Stdout,
            is_dummy,
            DEADLINE,
        );
        self.or_failed(line, "one more record of dummy")
    }

    /// A figure of `/proc/PID/status` such as `VmHWM`, in MiB.
    pub fn memory_mib(&self, figure: &str) -> Result<f64, String> {
        let path = format!("/proc/{}/status", self.child.pid());
        let status = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(figure));
        let kib = line.and_then(|rest| {
            let number = rest.trim_start_matches(':').trim().strip_suffix("kB")?;
            number.trim().parse::<f64>().ok()
        });
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| format!("no {figure} in {path}"))
    }

    /// From now on a new descriptor of the process has to be less than this; returns
    /// what held before.
    pub fn limit_open_files(&self, to: u64) -> Result<u64, String> {
        let mut limits = [libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        }; 2];
        let [old, new] = &mut limits;
        let pid = self.child.pid() as libc::pid_t;
        let done = |result| match result {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().to_string()),
        };
        // SAFETY: the id is that of our own child, and `old` outlives the call.
        done(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, ptr::null(), old) })?;
        *new = libc::rlimit {
            rlim_cur: to,
            ..*old
        };
        // SAFETY: as above, and so does `new`.
        done(unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, new, ptr::null_mut()) })?;
        Ok(old.rlim_cur)
    }

    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.pid()));
        stat.is_ok_and(|stat| stat.contains(") Z "))
    }

    fn or_failed(&self, waited: testkit::Result<String>, what: &str) -> Result<(), String> {
        let failed = |_| self.failed(&format!("waited in vain for: {what}"));
        waited.map(drop).map_err(failed)
    }

    /// With the last lines but those of `dummy`.
    fn failed(&self, why: &str) -> String {
        let lines = self.child.lines_from(0);
        let told = lines.iter().filter(|line| !is_dummy(&line.text));
        let mut last: Vec<String> = told
            .rev()
            .take(16)
            .map(|line| line.text.chars().take(300).collect())
            .collect();
        last.push(why.to_owned());
        last.reverse();
        last.join("\n")
    }

    /// SIGTERM, and what holds for every run: a prompt end with 0, output and
    /// log whole, no token in them, and `dummy` never kept waiting.
    pub fn stop(self, site: &Site) -> Result<Ended, String> {
        let ended = self.stop_with_repeats(site)?;
        truth::unique(&ended.records)?;
        Ok(ended)
    }

    /// The same where the time of a sample may come twice: the kubelet's clock goes
    /// back, or a container starts anew before its next sample.
    pub fn stop_with_repeats(mut self, site: &Site) -> Result<Ended, String> {
        let asked = Instant::now();
        let ended = self.child.terminate(DEADLINE);
        if ended.killed || !ended.status.success() {
            return Err(self.failed(&format!("SIGTERM ended it with {}", ended.status)));
        }
        let allowed = site.dummy_stop + MORE;
        if ended.took > allowed {
            let (took, alone) = (ended.took, site.dummy_stop);
            return Err(self.failed(&format!(
                "stopped in {took:.2?}, dummy alone in {alone:.2?}"
            )));
        }
        let lines = self.child.lines_from(0);
        let dummy = lines.iter().filter(|line| is_dummy(&line.text));
        let mut last = None;
        for at in dummy.map(|line| line.at).chain([asked]) {
            let gap = last.map_or(Duration::ZERO, |last| at.duration_since(last));
            if gap > SILENCE {
                return Err(self.failed(&format!("dummy was silent for {gap:.2?}")));
            }
            last = Some(at.min(asked));
        }
        if lines.iter().any(|line| line.text.contains(TOKEN)) {
            return Err(self.failed("the token is in the output"));
        }
        let mut records = Vec::new();
        let printed = self.child.lines(Stream::Stdout);
        for line in &printed {
            if let Some(record) = whole(line).map_err(|error| self.failed(&error))? {
                records.push(record);
            }
        }
        let printed = printed.iter().map(String::as_str);
        let metrics = Printed::of(printed, self.inputs).map_err(|error| self.failed(&error))?;
        let log = self.child.lines(Stream::Stderr);
        if let Some(broken) = log.iter().find(|line| line.contains(char::is_control)) {
            return Err(format!("not one clean line: {broken:?}"));
        }
        Ok(Ended {
            said: log.iter().filter_map(|line| Said::of(line)).collect(),
            records,
            stats: self.latest(),
            metrics,
            stop: ended.took,
        })
    }
}

fn is_dummy(line: &str) -> bool {
    line.starts_with(r#"{"message":"dummy""#)
}

fn stats(line: &str, input: &str) -> Option<Stats> {
    if !line.starts_with('{') || !line.contains(r#""scrapes":"#) {
        return None;
    }
    let record: Value = serde_json::from_str(line).ok()?;
    if !input.is_empty() && record["input"] != input {
        return None;
    }
    Some(Stats {
        scrapes: record["scrapes"].as_u64()?,
        failures: record["failures"].as_u64()?,
        records: record["records"].as_u64()?,
    })
}

/// A record of a container.
fn record(line: &str) -> Option<Value> {
    whole(line).ok().flatten()
}

/// The same, or why it is no JSON.
fn whole(line: &str) -> Result<Option<Value>, String> {
    if !line.starts_with('{') || is_dummy(line) {
        return Ok(None);
    }
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("no json: {error}: {line:?}"))?;
    Ok(Some(value).filter(|record| record.get("scrapes").is_none()))
}

/// Whether the whole text is this; `*` stands for anything.
pub fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(rest) = text.strip_prefix(head) else {
        return false;
    };
    (0..=rest.len())
        .filter(|at| rest.is_char_boundary(*at))
        .any(|at| matches(tail, &rest[at..]))
}
