//! The log of an input whose scrapes, appends and choice of pods go well and badly
//! in any order at any pace.

use std::time::{Duration, Instant};

use kubeletstats_core::{
    error::{Error, Phase},
    health::{Health, Missing},
};
use proptest::{collection::vec, prelude::*};

use super::{cases, check};

const MINUTE: Duration = Duration::from_secs(60);

/// In any minute, of everything together.
const MOST_LINES: usize = 6;

const URL: &str = "https://k/stats/summary";

/// One thing that happens to an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Scraped,
    Failed(u8),
    Taken,
    Refused,
    SomeWanted,
    NoneWanted,
    Recorded,
    Silent,
}

use Event::{Failed, NoneWanted, Recorded, Refused, Scraped, Silent, SomeWanted, Taken};

fn error(kind: u8) -> Error {
    match kind {
        1 => Error::forbidden(URL, "nodes/stats"),
        2 => Error::timeout(Phase::Connect, MINUTE, URL),
        3 => Error::empty(URL),
        _ => Error::cut_short(URL, 7),
    }
}

impl Event {
    /// Of four things an input can do well or badly, which is it?
    fn subject(self) -> usize {
        match self {
            Scraped | Failed(_) => 0,
            Taken | Refused => 1,
            SomeWanted | NoneWanted => 2,
            Recorded | Silent => 3,
        }
    }

    fn is_good(self) -> bool {
        matches!(self, Scraped | Taken | SomeWanted | Recorded)
    }

    /// How a line about it begins.
    fn line(self) -> String {
        match self {
            Scraped => "scraping works again: it failed ".to_owned(),
            Failed(kind) => error(kind).to_string(),
            Taken => "fluent bit accepts records again: it accepted none ".to_owned(),
            Refused => "fluent bit accepts no records now: 7 records are kept, ".to_owned(),
            SomeWanted => "2 of the node's 9 pods are selected".to_owned(),
            NoneWanted => "none of the node's 9 pods is selected: ".to_owned(),
            Recorded => "records arrive again: there were none ".to_owned(),
            Silent => "no record for ".to_owned(),
        }
    }
}

/// An input's health, and what its log says by now.
struct Log {
    health: Health,
    now: Instant,
    logged: Vec<Instant>,
    /// Whether the last line about each subject was a good one.
    told: [Option<bool>; 4],
}

impl Log {
    fn new() -> Self {
        Self {
            health: Health::default(),
            now: Instant::now(),
            logged: Vec::new(),
            told: [None; 4],
        }
    }

    /// Checks the line that comes of it, if any; returns whether one came.
    fn after(&mut self, wait: Duration, event: Event) -> Result<bool, TestCaseError> {
        self.now += wait;
        let (now, health) = (self.now, &mut self.health);
        let line = match event {
            Scraped => health.succeeded(now),
            Failed(kind) => health.failed(now, Duration::ZERO, &error(kind)),
            Taken => health.accepted(now),
            Refused => health.refused(now, 7),
            SomeWanted => health.wanted(now, 2, 9),
            NoneWanted => health.wanted(now, 0, 9),
            Recorded => health.recorded(now),
            Silent => health.no_records(now, MINUTE / 60, Some(Missing::Containers)),
        };
        let Some(line) = line else { return Ok(false) };
        check::assert_one_line(&line);
        prop_assert!(line.starts_with(&event.line()), "{:?}: {}", event, line);
        let told = self.told[event.subject()].replace(event.is_good());
        if event.is_good() && event != SomeWanted {
            prop_assert_eq!(told, Some(false), "the end of nothing: {}", line);
        }
        self.logged.push(now);
        let lately = self.logged.iter().filter(|at| now - **at < MINUTE).count();
        prop_assert!(lately <= MOST_LINES, "{} lines in a minute", lately);
        Ok(true)
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Scraped),
        3 => (1_u8..5).prop_map(Failed),
        1 => Just(Taken),
        1 => Just(Refused),
        1 => Just(SomeWanted),
        1 => Just(NoneWanted),
        1 => Just(Recorded),
        3 => Just(Silent),
    ]
}

/// Events, each a while after the one before; from some in a millisecond to one in
/// two minutes.
fn events(most: usize) -> impl Strategy<Value = Vec<(Duration, Event)>> {
    let pace = prop::sample::select(vec![1_u64, 10, 100, 1000, 100_000]);
    (pace, vec((0_u64..120_000, event()), 0..most)).prop_map(|(pace, steps)| {
        let waits = |(millis, event)| (Duration::from_millis(millis / pace), event);
        steps.into_iter().map(waits).collect()
    })
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn lines_are_few_and_tell_what_happened(events in events(400)) {
        let mut log = Log::new();
        for (wait, event) in events {
            log.after(wait, event)?;
        }
    }

    /// Whatever was before, and however full the log: what stays as it is for a minute
    /// is in the log as it is; that no record comes, a minute after it could be said; that
    /// no pod is wanted any more, after ten minutes.
    #[test]
    fn what_lasts_is_told(
        before in events(200),
        good in any::<[bool; 4]>(),
        interval in 1_000_u64..20_000,
    ) {
        let mut log = Log::new();
        for (wait, event) in before {
            log.after(wait, event)?;
        }
        let pick = |good, yes, no| if good { yes } else { no };
        let mut lasting = vec![
            pick(good[0], Scraped, Failed(1)),
            pick(good[1], Taken, Refused),
            pick(good[2], SomeWanted, NoneWanted),
        ];
        // A scrape that failed says nothing about records.
        lasting.extend(good[0].then(|| pick(good[3], Recorded, Silent)));
        let (begun, interval) = (log.now, Duration::from_millis(interval));
        let minutes = if good[2] { 2 } else { 12 };
        while log.now < begun + minutes * MINUTE + 3 * interval {
            log.after(interval, lasting[0])?;
            for event in &lasting[1..] {
                log.after(Duration::ZERO, *event)?;
            }
        }
        for event in lasting {
            // Of what never failed nobody has to hear that it works.
            let told = log.told[event.subject()].unwrap_or(event != SomeWanted);
            prop_assert_eq!(told, event.is_good(), "{:?}", event);
        }
    }

    /// A failure that lasts is heard of at least every minute and an interval.
    #[test]
    fn a_lasting_failure_is_not_forgotten(
        before in events(60),
        interval in 100_u64..30_000,
    ) {
        let mut log = Log::new();
        for (wait, event) in before {
            log.after(wait, event)?;
        }
        let interval = Duration::from_millis(interval);
        let mut heard = log.now;
        for _ in 0..2_000 {
            if log.after(interval, Failed(1))? {
                heard = log.now;
            }
            let silent = log.now - heard;
            prop_assert!(silent <= MINUTE + interval, "silent for {:?}", silent);
        }
    }
}
