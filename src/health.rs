//! What the log says about failing and recovering, and how often. Pure: time
//! comes in as an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::error::{Error, Reason};

/// A failure that lasts is repeated this often, with a count.
const REPEAT: Duration = Duration::from_secs(60);

/// Changes of state are logged at once, but no more than this many in [`REPEAT`]:
/// a kubelet that comes and goes with every scrape must not fill the log.
const CHANGES: usize = 6;

#[derive(Debug, Default)]
pub struct Health {
    outage: Option<Outage>,
    /// When changes were logged of late.
    changes: VecDeque<Instant>,
    /// Failures that no line has spoken of yet.
    unlogged: u64,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    failures: u64,
    reason: Reason,
    /// When it was last logged, if it was.
    logged: Option<Instant>,
}

impl Health {
    /// A scrape failed; returns the line to log, if one is due.
    pub fn failed(&mut self, now: Instant, error: &Error) -> Option<String> {
        let room = self.room_for_change(now);
        let outage = self.outage.get_or_insert(Outage {
            since: now,
            failures: 0,
            reason: error.reason(),
            logged: None,
        });
        outage.failures += 1;
        let changed = outage.reason != error.reason() || outage.logged.is_none();
        outage.reason = error.reason();
        let due = match outage.logged {
            _ if changed => room,
            Some(logged) => now.duration_since(logged) >= REPEAT,
            None => false,
        };
        if !due {
            self.unlogged += 1;
            return None;
        }
        outage.logged = Some(now);
        if changed {
            self.changes.push_back(now);
        }
        Some(match std::mem::take(&mut self.unlogged) {
            0 => error.to_string(),
            1 => format!("{error} (and 1 failure since the last such line)"),
            more => format!("{error} (and {more} failures since the last such line)"),
        })
    }

    /// A scrape succeeded; returns the line to log, if one is due.
    pub fn succeeded(&mut self, now: Instant) -> Option<String> {
        let outage = self.outage.take()?;
        outage.logged?;
        self.changes.push_back(now);
        self.unlogged = 0;
        let lasted = now.duration_since(outage.since).as_secs_f64();
        let scrapes = match outage.failures {
            1 => "1 scrape".to_owned(),
            more => format!("{more} scrapes"),
        };
        Some(format!(
            "scraping works again: it failed for {lasted:.1}s, {scrapes}"
        ))
    }

    fn room_for_change(&mut self, now: Instant) -> bool {
        while self
            .changes
            .front()
            .is_some_and(|logged| now.duration_since(*logged) >= REPEAT)
        {
            self.changes.pop_front();
        }
        self.changes.len() < CHANGES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
                health.failed(start + Duration::from_secs(10 * scrape), &forbidden())
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
        assert!(health.failed(now, &forbidden()).is_some());
        assert!(health.failed(now, &forbidden()).is_none());
        assert_eq!(
            health.failed(now, &Error::empty(URL)).as_deref(),
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
        health.failed(start, &forbidden());
        health.failed(start + Duration::from_secs(10), &forbidden());
        assert_eq!(
            health
                .succeeded(start + Duration::from_millis(20_500))
                .as_deref(),
            Some("scraping works again: it failed for 20.5s, 2 scrapes")
        );
        assert_eq!(health.succeeded(start + Duration::from_secs(30)), None);
    }

    #[test]
    fn flapping_does_not_fill_the_log() {
        let start = Instant::now();
        let mut health = Health::default();
        let mut lines = 0;
        for scrape in 0..600 {
            let now = start + Duration::from_millis(100 * scrape);
            let line = match scrape % 2 {
                0 => health.failed(now, &forbidden()),
                _ => health.succeeded(now),
            };
            lines += usize::from(line.is_some());
        }
        assert!(lines <= CHANGES, "{lines} lines in one minute");
        let later = start + Duration::from_secs(90);
        let line = health.failed(later, &forbidden()).expect("a minute later");
        assert!(
            line.ends_with("(and 297 failures since the last such line)"),
            "{line}"
        );
    }
}
