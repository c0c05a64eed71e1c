//! Owns the log lines about states that begin and end (scraping fails, the host accepts no records,
//! no pod is selected), and how often they are logged. This module is pure: time is an argument.
//!
//! A state is logged when it begins, and when it ends, with its duration. While it lasts, it is
//! logged once per `REPEAT_AFTER`, with the number of events in between. All lines of an input
//! together obey the limit `MAX_LINES`.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Reason},
    scrape::Batch,
    text::count,
};

/// A failure that lasts is logged again after this time, with a count.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// A change of state is logged at once, but there are at most this many lines in any
/// [`REPEAT_AFTER`], about whatever state: a kubelet that fails at every second scrape must not
/// fill the log. A line above the limit is logged later, if it is still true.
const MAX_LINES: usize = 6;

/// This is logged if the reply has no pod at all, so that no option can be the cause. A kubelet
/// that has just started lists no pods for some seconds. Later, its source of statistics does not
/// see the running containers. The command prints the same line.
pub const NO_PODS: &str = "the kubelet lists no pods: if it has not just started, \
     see its log: it may not reach its container runtime";

/// This is logged if the kubelet lists `all` pods and the options select none of them. The command
/// prints the same line.
pub fn none_wanted(all: usize) -> String {
    format!(
        "none of the node's {all} pods is selected: check namespace, pod_prefix, label_selector and the exclude options"
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Selection {
    /// The kubelet lists no pods.
    NoPodsOnNode,
    NoneWanted,
    SomeWanted,
}

/// Knows which states have been logged, and how many lines were logged recently. Each method takes
/// one event and returns a line if one is due.
#[derive(Debug, Default)]
pub struct Health {
    lines: LineBudget,
    only_metrics: bool,
    /// Whether it was logged that pods cannot be read, and this still lasts.
    unreadable_logged: bool,
    scraping: Condition,
    appending: Condition,
    metrics: Condition,
    recording: Condition,
    learning: Condition,
    /// Since when there has been no record although pods are selected.
    no_records_since: Option<Instant>,
    /// The number of dropped records that no line has reported yet.
    given_up: u64,
    /// The result of the selection of pods that was logged last.
    selection: Option<Selection>,
    /// Since when no pod has been selected, although the node has pods.
    none_wanted_since: Option<Instant>,
    /// Whether it was logged that pods in `/pods` cannot be read, and this still lasts.
    facts_unreadable_logged: bool,
}

/// If successful scrapes give no record for this time, or for three intervals if that is longer, it
/// is logged. The kubelet takes a sample every 10 to 20 s, so at least three samples are missing
/// then.
const NO_RECORDS_AFTER: Duration = Duration::from_secs(60);

/// If some pods were selected before, it is logged that none is after this time.
const NONE_WANTED_AFTER: Duration = Duration::from_secs(600);

/// The same time if only volumes are recorded. The kubelet measures them every one to two minutes.
const NO_VOLUMES_AFTER: Duration = Duration::from_secs(300);

/// Why a successful scrape gave no record of the selected pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The selected pods have no containers.
    Containers,
    /// The selected pods have only containers that `exclude_container` drops.
    ContainersExcluded,
    /// Their containers have no CPU value above 0, neither a rate nor a counter.
    Cpu {
        /// The number of containers of all selected pods, without those that have ended.
        containers: usize,
    },
    /// Their containers have CPU values, but every sample was recorded before.
    Samples {
        /// The same number as in [`Missing::Cpu`].
        containers: usize,
    },
    /// `metric_groups` does not name containers, and there is nothing of what it names, or nothing
    /// new.
    Others {
        /// How much there is, new or not.
        found: usize,
        /// Whether `metric_groups` names only volumes.
        only_volumes: bool,
    },
}

impl Missing {
    /// Returns what a reply lacks, if anything. If containers are recorded and pods are selected,
    /// it is about containers. If containers are not recorded, it is about all other kinds.
    pub fn of(batch: &Batch) -> Option<Self> {
        let containers = batch.containers;
        if !batch.plan.containers {
            let found = batch.others;
            let only_volumes = batch.plan.wants_only_volumes();
            return (batch.news == 0).then_some(Self::Others {
                found,
                only_volumes,
            });
        }
        match (containers, batch.with_cpu) {
            _ if batch.new_containers > 0 || batch.pods_wanted == 0 => None,
            (0, _) if batch.ended > 0 => None,
            (0, _) if batch.excludes_containers => Some(Self::ContainersExcluded),
            (0, _) => Some(Self::Containers),
            (_, 0) => Some(Self::Cpu { containers }),
            _ => Some(Self::Samples { containers }),
        }
    }

    fn line(self) -> String {
        match self {
            Self::Containers => "the kubelet names no container of the selected pods: look at them with kubectl describe, and at the node's container runtime".to_owned(),
            Self::ContainersExcluded => {
                "the kubelet names no container of the selected pods that exclude_container does not drop: check that option".to_owned()
            }
            Self::Cpu { containers } => format!(
                "the kubelet has no cpu value of the selected pods' {}: look at its own log, and at the node's cgroups",
                count(containers as u64, "container", "containers")
            ),
            Self::Samples { containers } => format!(
                "the kubelet repeats old samples of the selected pods' {}: look at its own log, it takes no new ones",
                count(containers as u64, "container", "containers")
            ),
            Self::Others { found: 0, .. } => {
                "the kubelet reports nothing that metric_groups selects: check whether the pods have it".to_owned()
            }
            Self::Others { .. } => {
                "the kubelet repeats old samples of what metric_groups selects: look at its own log, it takes no new ones".to_owned()
            }
        }
    }
}

impl Health {
    /// Without records, there are only metrics, and new samples count instead of records.
    pub fn new(has_records: bool) -> Self {
        Self {
            only_metrics: !has_records,
            ..Self::default()
        }
    }

    /// A scrape succeeded without a record. `missing` says why. It is `None` if there is nothing to
    /// report, for example if no pod is selected.
    pub fn no_records(
        &mut self,
        now: Instant,
        interval: Duration,
        missing: Option<Missing>,
    ) -> Option<String> {
        let Some(missing) = missing else {
            self.no_records_since = None;
            self.recording = Condition::default();
            return None;
        };
        let since = *self.no_records_since.get_or_insert(now);
        let after = match missing {
            Missing::Others {
                only_volumes: true, ..
            } => NO_VOLUMES_AFTER,
            _ => NO_RECORDS_AFTER,
        };
        if now.duration_since(since) < after.max(3 * interval) {
            return None;
        }
        // All these are one state, because what is missing may change from scrape to scrape.
        let reason = Reason::NotSummary;
        let unlogged = self.recording.failed(since, now, reason, &mut self.lines)?;
        let seconds = now.duration_since(since).as_secs();
        let what = match self.only_metrics {
            true => "new sample",
            false => "record",
        };
        let line = format!("no {what} for {seconds}s: {}", missing.line());
        Some(with_unlogged(line, unlogged, "scrape", "scrapes"))
    }

    /// A scrape gave records, or new samples if there are only metrics.
    pub fn recorded(&mut self, now: Instant) -> Option<String> {
        self.no_records_since = None;
        let outage = self.recording.worked(now, &mut self.lines)?;
        let what = match self.only_metrics {
            true => "new samples",
            false => "records",
        };
        let length = outage.length();
        Some(format!("{what} arrive again: there were none {length}"))
    }

    /// A scrape or a callback failed. For a callback, `took` is zero. The outage counts from the
    /// beginning of the scrape, because nothing has worked since then.
    pub fn failed(&mut self, now: Instant, took: Duration, error: &Error) -> Option<String> {
        let since = now.checked_sub(took).unwrap_or(now);
        self.no_records_since = None;
        let lines = &mut self.lines;
        let unlogged = self.scraping.failed(since, now, error.reason(), lines)?;
        let line = error.to_string();
        Some(with_unlogged(line, unlogged, "failure", "failures"))
    }

    /// A scrape succeeded, with or without records.
    pub fn succeeded(&mut self, now: Instant) -> Option<String> {
        let outage = self.scraping.worked(now, &mut self.lines)?;
        Some(format!(
            "scraping works again: it failed {}, {}",
            outage.length(),
            count(outage.failures, "scrape", "scrapes")
        ))
    }

    /// The request for the facts of pods failed. Records are then without new facts. But with
    /// `label_selector`, a pod without facts is not selected.
    pub fn facts_failed(&mut self, now: Instant, error: &Error, selects: bool) -> Option<String> {
        if error.is_stopped() {
            return None;
        }
        let lines = &mut self.lines;
        let unlogged = self.learning.failed(now, now, error.reason(), lines)?;
        let cost = match selects {
            true => "no new facts of pods, and label_selector selects no pod without facts",
            false => "no new facts of pods",
        };
        let line = format!("{cost}: {error}");
        Some(with_unlogged(line, unlogged, "failure", "failures"))
    }

    /// The facts of pods have arrived.
    pub fn facts_came(&mut self, now: Instant) -> Option<String> {
        let outage = self.learning.worked(now, &mut self.lines)?;
        Some(format!(
            "facts of pods arrive again: there were no new ones {}",
            outage.length()
        ))
    }

    /// The host refused records, and this many are kept.
    pub fn refused(&mut self, now: Instant, records: usize) -> Option<String> {
        let lines = &mut self.lines;
        let unlogged = self.appending.failed(now, now, Reason::Host, lines)?;
        let kept = count(records as u64, "record is", "records are");
        let line = format!(
            "fluent bit accepts no records now: {kept} kept, and scraping waits: see its own lines about storage"
        );
        Some(with_unlogged(line, unlogged, "try", "tries"))
    }

    /// The host accepted records.
    pub fn accepted(&mut self, now: Instant) -> Option<String> {
        let outage = self.appending.worked(now, &mut self.lines)?;
        Some(format!(
            "fluent bit accepts records again: it accepted none {}, {}",
            outage.length(),
            count(outage.failures, "try", "tries")
        ))
    }

    /// The host did not accept the metrics of a scrape.
    pub fn metrics_refused(&mut self, now: Instant) -> Option<String> {
        let lines = &mut self.lines;
        let unlogged = self.metrics.failed(now, now, Reason::Host, lines)?;
        let line =
            "fluent bit accepts no metrics now: the next scrape's replace them: see its own lines";
        Some(with_unlogged(line.to_owned(), unlogged, "try", "tries"))
    }

    /// The host accepted metrics.
    pub fn metrics_accepted(&mut self, now: Instant) -> Option<String> {
        let outage = self.metrics.worked(now, &mut self.lines)?;
        Some(format!(
            "fluent bit accepts metrics again: it accepted none {}, {}",
            outage.length(),
            count(outage.failures, "try", "tries")
        ))
    }

    /// The host accepts less at once than one scrape gives. This is called at most once per input.
    pub fn split(&mut self, now: Instant) -> Option<String> {
        let line = "fluent bit does not accept the records of one scrape at once, and gets them in parts: \
                    raise the output's storage.total_limit_size";
        self.lines.add(now, false).then(|| line.to_owned())
    }

    /// Records were dropped. If no line is due, the next line counts them too.
    pub fn given_up(&mut self, now: Instant, records: usize) -> Option<String> {
        self.given_up += records as u64;
        if !self.lines.add(now, false) {
            return None;
        }
        let lost = count(std::mem::take(&mut self.given_up), "record", "records");
        Some(format!(
            "dropped {lost} that fluent bit did not accept for a minute or more: scraping goes on: see its own lines about storage"
        ))
    }

    /// The input ends while records are still kept. A line is due if the refusal was logged. It
    /// does not count towards the limit, because it is the last line.
    pub fn lost(&self, records: usize) -> Option<String> {
        let outage = self.appending.outage.as_ref()?;
        outage.logged?;
        let lost = count(records as u64, "record", "records");
        Some(format!(
            "lost {lost} that fluent bit had not accepted when this input ended"
        ))
    }

    /// `wanted` of the node's `all` pods are selected. A change between none and some is logged,
    /// because a plugin whose options match nothing looks like a plugin that does not work.
    pub fn wanted(&mut self, now: Instant, wanted: usize, all: usize) -> Option<String> {
        let selection = match (wanted, all) {
            (0, 0) => Selection::NoPodsOnNode,
            (0, _) => Selection::NoneWanted,
            _ => Selection::SomeWanted,
        };
        // Pods start and end. The pods of jobs do so more often than the log should report.
        let is_none = selection == Selection::NoneWanted;
        let since = is_none.then(|| *self.none_wanted_since.get_or_insert(now));
        self.none_wanted_since = since;
        let is_brief = since.is_some_and(|since| now.duration_since(since) < NONE_WANTED_AFTER);
        if self.selection == Some(Selection::SomeWanted) && is_brief {
            return None;
        }
        if self.selection == Some(selection)
            || !self.lines.add(now, selection != Selection::SomeWanted)
        {
            return None;
        }
        self.selection = Some(selection);
        Some(match selection {
            Selection::NoPodsOnNode => NO_PODS.to_owned(),
            Selection::NoneWanted => none_wanted(all),
            Selection::SomeWanted => format!("{wanted} of the node's {all} pods are selected"),
        })
    }

    /// The facts of this many pods cannot be read.
    pub fn facts_unreadable(&mut self, now: Instant, unreadable: usize) -> Option<String> {
        let any = unreadable > 0;
        if !any || self.facts_unreadable_logged {
            self.facts_unreadable_logged &= any;
            return None;
        }
        self.facts_unreadable_logged = self.lines.add(now, false);
        let pods = count(unreadable as u64, "pod", "pods");
        self.facts_unreadable_logged.then(|| {
            format!("facts of {pods} cannot be read: their entries in /pods are not valid")
        })
    }

    /// This many of the node's pods could not be decoded. No line reports the end of this state,
    /// because the records of these pods show it.
    pub fn unreadable(&mut self, now: Instant, unreadable: usize, all: usize) -> Option<String> {
        let any = unreadable > 0;
        if !any || self.unreadable_logged {
            self.unreadable_logged &= any;
            return None;
        }
        self.unreadable_logged = self.lines.add(now, false);
        self.unreadable_logged.then(|| {
            format!(
                "{unreadable} of the node's {all} pods cannot be read and are dropped: their entries in the kubelet's reply are not valid"
            )
        })
    }
}

/// Adds to the line how many of these events no line has counted yet.
fn with_unlogged(line: String, unlogged: u64, one: &str, many: &str) -> String {
    match unlogged {
        0 => line,
        _ => format!(
            "{line} (and {} since the last such line)",
            count(unlogged, one, many)
        ),
    }
}

/// The times of the lines that were logged within the last [`REPEAT_AFTER`].
#[derive(Debug, Default)]
struct LineBudget(VecDeque<Instant>);

impl LineBudget {
    /// Counts one more line, if there is room for it. With `needs_end`, there must also be room for
    /// the line about the end of the state. Otherwise the log would look as if the state still
    /// lasted.
    fn add(&mut self, now: Instant, needs_end: bool) -> bool {
        let old = |logged: &Instant| now.duration_since(*logged) >= REPEAT_AFTER;
        while self.0.front().is_some_and(old) {
            self.0.pop_front();
        }
        let room = self.0.len() + usize::from(needs_end) < MAX_LINES;
        if room {
            self.0.push_back(now);
        }
        room
    }
}

/// Something that either works or fails.
#[derive(Debug, Default)]
struct Condition {
    outage: Option<Outage>,
    /// The number of failures that no line has counted yet.
    unlogged: u64,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// When it worked again. It is kept until that is logged.
    recovered: Option<Instant>,
    /// Whether it worked in between, without a line about it.
    flapping: bool,
    failures: u64,
    /// When it was last logged, and with which reason.
    logged: Option<(Instant, Reason)>,
}

impl Condition {
    /// Returns, if a line is due, the number of failures since the last line. If this failure
    /// begins an outage, the outage began at `since`.
    fn failed(
        &mut self,
        since: Instant,
        now: Instant,
        reason: Reason,
        lines: &mut LineBudget,
    ) -> Option<u64> {
        let outage = self.outage.get_or_insert(Outage {
            since,
            recovered: None,
            flapping: false,
            failures: 0,
            logged: None,
        });
        outage.flapping |= outage.recovered.take().is_some();
        outage.failures += 1;
        let due = outage
            .logged
            .is_none_or(|(at, logged)| logged != reason || now.duration_since(at) >= REPEAT_AFTER);
        if !due || !lines.add(now, true) {
            self.unlogged += 1;
            return None;
        }
        outage.logged = Some((now, reason));
        Some(std::mem::take(&mut self.unlogged))
    }

    /// Returns the outage that has ended, if a line about its end is due.
    fn worked(&mut self, now: Instant, lines: &mut LineBudget) -> Option<Outage> {
        let outage = self.outage.as_mut()?;
        outage.recovered.get_or_insert(now);
        if outage.logged.is_none() {
            // The beginning was never logged, so the end is not logged either.
            self.outage = None;
        } else if lines.add(now, false) {
            self.unlogged = 0;
            return self.outage.take();
        }
        None
    }
}

impl Outage {
    fn length(&self) -> String {
        let recovered = self.recovered.unwrap_or(self.since);
        let seconds = recovered.duration_since(self.since).as_secs_f64();
        let how = if self.flapping { "on and off " } else { "" };
        format!("{how}for {seconds:.1}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Plan;

    const URL: &str = "https://k/stats/summary";

    fn forbidden() -> Error {
        Error::forbidden(URL, "nodes/stats")
    }

    #[test]
    fn a_lasting_failure_is_logged_once_and_then_once_a_minute() {
        let start = Instant::now();
        let mut health = Health::default();
        let lines: Vec<_> = (0..13)
            .filter_map(|scrape| {
                health.failed(
                    start + Duration::from_secs(10 * scrape),
                    Duration::ZERO,
                    &forbidden(),
                )
            })
            .collect();
        let text = forbidden().to_string();
        let repeated = format!("{text} (and 5 failures since the last such line)");
        assert_eq!(lines, [text, repeated.clone(), repeated]);
    }

    #[test]
    fn another_reason_is_logged_at_once() {
        let now = Instant::now();
        let mut health = Health::default();
        assert!(health.failed(now, Duration::ZERO, &forbidden()).is_some());
        assert!(health.failed(now, Duration::ZERO, &forbidden()).is_none());
        assert_eq!(
            health
                .failed(now, Duration::ZERO, &Error::empty(URL))
                .as_deref(),
            Some(
                "reply of https://k/stats/summary is empty (and 1 failure since the last such line)"
            )
        );
    }

    #[test]
    fn recovery_is_logged_with_its_duration() {
        let start = Instant::now();
        let mut health = Health::default();
        assert_eq!(health.succeeded(start), None);
        health.failed(start, Duration::ZERO, &forbidden());
        health.failed(
            start + Duration::from_secs(10),
            Duration::ZERO,
            &forbidden(),
        );
        assert_eq!(
            health
                .succeeded(start + Duration::from_millis(20_500))
                .as_deref(),
            Some("scraping works again: it failed for 20.5s, 2 scrapes")
        );
        assert_eq!(health.succeeded(start + Duration::from_secs(30)), None);
    }

    /// The outage counts from the beginning of the scrape, so a single timeout is not an outage of
    /// length zero.
    #[test]
    fn an_outage_begins_with_the_scrape_that_failed() {
        let start = Instant::now();
        let mut health = Health::default();
        let took = Duration::from_secs(5);
        health.failed(start + took, took, &forbidden());
        assert_eq!(
            health.succeeded(start + Duration::from_secs(10)).as_deref(),
            Some("scraping works again: it failed for 10.0s, 1 scrape")
        );
    }

    #[test]
    fn flapping_does_not_fill_the_log() {
        let start = Instant::now();
        let mut health = Health::default();
        let mut lines = 0;
        for scrape in 0..600 {
            let now = start + Duration::from_millis(100 * scrape);
            let line = match scrape % 2 {
                0 => health.failed(now, Duration::ZERO, &forbidden()),
                _ => health.succeeded(now),
            };
            lines += usize::from(line.is_some());
        }
        assert_eq!(lines, MAX_LINES, "in one minute");
        let later = start + Duration::from_secs(90);
        let line = health
            .failed(later, Duration::ZERO, &forbidden())
            .expect("a line is due after a minute");
        assert!(
            line.ends_with("(and 297 failures since the last such line)"),
            "{line}"
        );
    }

    /// Too many lines were due before the kubelet worked again.
    #[test]
    fn an_end_that_found_no_room_is_told_later() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let mut health = Health::default();
        assert!(
            health
                .failed(second(0), Duration::ZERO, &forbidden())
                .is_some()
        );
        assert!(
            health
                .failed(second(1), Duration::ZERO, &Error::empty(URL))
                .is_some()
        );
        assert!(
            health
                .failed(second(2), Duration::ZERO, &forbidden())
                .is_some()
        );
        assert!(health.refused(second(3), 1).is_some());
        assert!(health.wanted(second(4), 0, 9).is_some());
        assert!(health.accepted(second(5)).is_some());
        assert_eq!(health.succeeded(second(6)), None);
        assert!(
            health
                .failed(second(7), Duration::ZERO, &forbidden())
                .is_none()
        );
        assert_eq!(health.succeeded(second(8)), None);
        assert_eq!(health.succeeded(second(59)), None);
        assert_eq!(
            health.succeeded(second(60)).as_deref(),
            Some("scraping works again: it failed on and off for 8.0s, 4 scrapes")
        );
        assert_eq!(health.wanted(second(60), 3, 9), None);
        let wanted = health.wanted(second(61), 3, 9);
        assert_eq!(
            wanted.as_deref(),
            Some("3 of the node's 9 pods are selected")
        );
    }

    #[test]
    fn pods_without_records_are_told_of_after_three_sample_periods() {
        let start = Instant::now();
        let mut health = Health::default();
        let missing = Some(Missing::Cpu { containers: 2 });
        let lines: Vec<_> = (0..=18)
            .map(|scrape| start + Duration::from_secs(10 * scrape))
            .filter_map(|now| health.no_records(now, Duration::from_secs(10), missing))
            .collect();
        let why = "the kubelet has no cpu value of the selected pods' 2 containers: \
                   look at its own log, and at the node's cgroups";
        let more = "(and 5 scrapes since the last such line)";
        assert_eq!(
            lines,
            [
                format!("no record for 60s: {why}"),
                format!("no record for 120s: {why} {more}"),
                format!("no record for 180s: {why} {more}"),
            ]
        );
        let end = start + Duration::from_secs(190);
        assert_eq!(
            health.recorded(end).as_deref(),
            Some("records arrive again: there were none for 190.0s")
        );
        assert_eq!(health.recorded(end), None);
    }

    #[test]
    fn a_long_interval_failures_and_pods_that_have_ended_are_no_silence() {
        let start = Instant::now();
        let second = |seconds| start + Duration::from_secs(seconds);
        let missing = Some(Missing::Containers);
        let mut health = Health::default();
        let hour = Duration::from_secs(3600);
        for hours in 0..3 {
            assert_eq!(health.no_records(second(3600 * hours), hour, missing), None);
        }
        assert!(health.no_records(second(3 * 3600), hour, missing).is_some());
        let (interval, mut health) = (Duration::from_secs(10), Health::default());
        for at in (0..600).step_by(50) {
            assert_eq!(health.no_records(second(at), interval, missing), None);
            match at % 100 {
                0 => drop(health.failed(second(at + 10), Duration::ZERO, &forbidden())),
                _ => assert_eq!(health.no_records(second(at + 10), interval, None), None),
            }
        }
        let ended = Batch {
            pods_wanted: 1,
            ended: 2,
            plan: Plan::CONTAINERS,
            ..Batch::default()
        };
        assert_eq!(Missing::of(&ended), None);
        let none = Batch {
            pods_wanted: 1,
            plan: Plan::CONTAINERS,
            ..Batch::default()
        };
        assert_eq!(Missing::of(&none), Some(Missing::Containers));
    }

    #[test]
    fn a_host_that_takes_no_records_is_told_of_like_a_failure() {
        let start = Instant::now();
        let mut health = Health::default();
        let line = "fluent bit accepts no records now: 24 records are kept, and scraping waits: \
                    see its own lines about storage";
        let lines: Vec<_> = (0..9)
            .filter_map(|tries| health.refused(start + Duration::from_secs(10 * tries), 24))
            .collect();
        let repeated = format!("{line} (and 5 tries since the last such line)");
        assert_eq!(lines, [line.to_owned(), repeated]);
        assert_eq!(
            health.lost(24).as_deref(),
            Some("lost 24 records that fluent bit had not accepted when this input ended")
        );
        assert_eq!(
            health
                .accepted(start + Duration::from_millis(90_250))
                .as_deref(),
            Some("fluent bit accepts records again: it accepted none for 90.2s, 9 tries")
        );
        assert_eq!(health.accepted(start + Duration::from_secs(100)), None);
        assert_eq!(health.lost(24), None);

        let mut health = Health::new(false);
        let line = health.metrics_refused(start);
        let refused =
            "fluent bit accepts no metrics now: the next scrape's replace them: see its own lines";
        assert_eq!(line.as_deref(), Some(refused));
        assert_eq!(health.metrics_refused(start), None);
        let line = health.metrics_accepted(start + Duration::from_secs(10));
        let taken = "fluent bit accepts metrics again: it accepted none for 10.0s, 2 tries";
        assert_eq!(line.as_deref(), Some(taken));
    }
}
