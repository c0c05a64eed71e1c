//! The log of a scrape that fails and works in any order at any pace.

use std::time::{Duration, Instant};

use flb_in_kubeletstats::{
    error::{Error, Phase},
    health::Health,
};
use proptest::{collection::vec, prelude::*};

use super::{cases, check};

const MINUTE: Duration = Duration::from_secs(60);

/// Six changes of state, the recovery from the last of them, and the repetition
/// of a failure that lasts.
const MOST_LINES: usize = 8;

const URL: &str = "https://k/stats/summary";

fn error(kind: u8) -> Error {
    match kind {
        1 => Error::forbidden(URL, "nodes/stats"),
        2 => Error::timeout(Phase::Connect, MINUTE, URL),
        3 => Error::empty(URL),
        _ => Error::cut_short(URL, 7),
    }
}

proptest! {
    #![proptest_config(cases(500))]

    /// `kind` 0 is a scrape that works, the others fail in their own ways.
    #[test]
    fn lines_are_few_and_tell_the_state(
        steps in vec((0_u64..120_000, 0_u8..5), 0..400),
        pace in prop::sample::select(vec![1_u64, 10, 100, 1000, 100_000]),
    ) {
        let mut health = Health::default();
        let mut now = Instant::now();
        let mut logged: Vec<Instant> = Vec::new();
        let mut told_failing = false;
        for (millis, kind) in steps {
            now += Duration::from_millis(millis / pace);
            let line = match kind {
                0 => health.succeeded(now),
                kind => health.failed(now, &error(kind)),
            };
            let Some(line) = line else { continue };
            check::assert_one_line(&line);
            let recovered = line.starts_with("scraping works again");
            prop_assert_eq!(recovered, kind == 0, "{}", line);
            prop_assert!(told_failing || !recovered, "recovered from nothing: {}", line);
            told_failing = !recovered;
            if kind != 0 {
                let text = error(kind).to_string();
                prop_assert!(line.starts_with(&text), "{}", line);
            }
            logged.push(now);
            let lately = logged.iter().filter(|at| now - **at < MINUTE).count();
            prop_assert!(lately <= MOST_LINES, "{} lines in a minute", lately);
        }
    }

    /// A failure that lasts is heard of at least every minute and an interval.
    #[test]
    fn a_lasting_failure_is_not_forgotten(
        before in vec((0_u64..2_000, 0_u8..5), 0..60),
        interval in 100_u64..30_000,
    ) {
        let mut health = Health::default();
        let mut now = Instant::now();
        for (millis, kind) in before {
            now += Duration::from_millis(millis);
            match kind {
                0 => health.succeeded(now),
                kind => health.failed(now, &error(kind)),
            };
        }
        let interval = Duration::from_millis(interval);
        let mut heard = now;
        for _ in 0..2_000 {
            now += interval;
            if health.failed(now, &error(1)).is_some() {
                heard = now;
            }
            prop_assert!(now - heard <= MINUTE + interval, "silent for {:?}", now - heard);
        }
    }
}
