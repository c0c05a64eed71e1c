//! A kubelet that hangs costs the other inputs nothing.

use std::time::Duration;

use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet};
use testkit::{Child, Host, Stream};

use crate::{
    proc::{Table, alone, sized, soak, some_hosts, until},
    run::{DEADLINE, Line},
};

const RATE: usize = 100;

/// A run is repeated this often before it counts as slowed down: the machine
/// itself may have been busy.
const TRIES: usize = 3;

/// What another input did in a while.
#[derive(Debug, Clone, Copy)]
struct Beat {
    records: usize,
    /// The longest time between two of its records.
    gap: Duration,
}

/// The times of the dummy input's records, as it took them.
fn beats(child: &Child) -> Vec<f64> {
    let lines = child.lines(Stream::Stdout);
    let records = lines.iter().filter(|line| line.contains("\"dummy\""));
    let date = |line: &String| serde_json::from_str::<Value>(line).ok()?["date"].as_f64();
    records.filter_map(date).collect()
}

/// Lets the dummy input run for `seconds` beside whatever else the line has.
fn beat(host: &Host, beside: impl Fn(Line) -> Line, ready: impl Fn(&Child), seconds: f64) -> Beat {
    let rate = RATE.to_string();
    let line = beside(Line::new().dummy(&rate)).printing_dummy();
    let child = line.start(host);
    until(&child, "the first record", DEADLINE, || {
        !beats(&child).is_empty()
    });
    ready(&child);
    let first = *beats(&child).last().expect("there is one");
    let within = DEADLINE + Duration::from_secs_f64(seconds);
    until(&child, "the time to pass", within, || {
        beats(&child)
            .last()
            .is_some_and(|last| *last >= first + seconds)
    });
    let all = beats(&child);
    let seen = all
        .iter()
        .filter(|at| (first..first + seconds).contains(at));
    let gaps = all.windows(2).filter(|pair| pair[0] >= first);
    let gap = gaps.map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    Beat {
        records: seen.count(),
        gap: Duration::from_secs_f64(gap),
    }
}

fn alone_on(host: &Host, seconds: f64) -> Beat {
    beat(host, |line| line, |_| (), seconds)
}

/// Beside an input whose kubelet is in this state.
fn beside(host: &Host, fault: Fault, seconds: f64) -> Beat {
    let kubelet = SimKubelet::builder().pods(110).fault(fault).started();
    let options = [("interval", "100ms"), ("timeout", "1h")];
    let asked = |child: &Child| {
        until(child, "a request", DEADLINE, || kubelet.requests() > 0);
    };
    beat(
        host,
        |line| line.scraping(&kubelet, &options),
        asked,
        seconds,
    )
}

#[test]
fn a_hanging_kubelet_delays_no_other_input() {
    let _alone = alone();
    let seconds = sized(1.5, 10.0);
    let mut table = Table::new(
        &format!("dummy at {RATE} records/s for {seconds} s: records and largest gap"),
        &["host", "alone", "kubelet answers", "kubelet hangs"],
    );
    let cell = |beat: Beat| format!("{}, {:.0} ms", beat.records, beat.gap.as_secs_f64() * 1e3);
    for host in some_hosts() {
        let mut tries = 0;
        loop {
            tries += 1;
            let without = alone_on(&host, seconds);
            // The usual case is of interest for its numbers only.
            let answers = soak().then(|| beside(&host, Fault::None, seconds));
            let hangs = beside(&host, Fault::HangBeforeHeaders, seconds);
            let good = |with: Beat| {
                with.records * 100 >= without.records * 95
                    && with.gap <= without.gap + Duration::from_millis(100)
            };
            if good(hangs) && answers.is_none_or(good) {
                table.row(&[
                    &host.name,
                    &cell(without),
                    &answers.map_or("-".to_owned(), cell),
                    &cell(hangs),
                ]);
                break;
            }
            assert!(
                tries < TRIES,
                "{}: {without:?} alone, {answers:?} and {hangs:?} beside the plugin",
                host.name
            );
        }
    }
}
