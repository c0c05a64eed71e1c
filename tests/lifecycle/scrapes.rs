//! Very many scrapes of a full node: what they cost in memory, threads and files.

use std::time::{Duration, Instant};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host};

use crate::{
    proc::{Table, Usage, alone, sized, some_hosts, until},
    run::{DEADLINE, Line, stop, wait_for_record},
};

const PODS: usize = 110;

/// What the plugin may add to a host, in MiB.
const BUDGET_MIB: f64 = 4.0;

/// What may come on top in the long run: the host's own chunks come and go.
const NOISE_MIB: f64 = 1.0;

/// The same outputs for all, for each has threads of its own.
pub fn quiet(line: Line) -> Line {
    line.args(["-o", "null", "-m", "*"]).printing_dummy()
}

/// A host that has been running for as long with a `dummy` input in the plugin's place.
fn with_dummy(host: &Host) -> Usage {
    let child = quiet(Line::new().dummy("50")).start(host);
    let began = Instant::now();
    // As many records as an input of the plugin's pace has printed after a while.
    wait_for_record(&child, |_| began.elapsed() > Duration::from_secs(1));
    Usage::of(&child)
}

pub fn after(child: &Child, kubelet: &SimKubelet, scrapes: u64) -> Usage {
    let within = DEADLINE + Duration::from_millis(200) * scrapes as u32;
    until(child, "enough scrapes", within, || {
        kubelet.replies() >= scrapes
    });
    Usage::of(child)
}

#[test]
fn many_scrapes_cost_what_few_do() {
    let _alone = alone();
    let (few, many) = sized((100, 300), (1_000, 10_000));
    let mut table = Table::new(
        &format!("scrapes of {PODS} pods every 3 ms, beside the same host with dummy"),
        &[
            "host",
            "dummy RSS",
            &format!("RSS at {few}"),
            &format!("at {many}"),
            "plugin adds",
            "growth",
            "threads",
            "fds",
            "handshakes",
            "scrapes/s",
        ],
    );
    for host in some_hosts() {
        let dummy = with_dummy(&host);
        let kubelet = SimKubelet::builder()
            .pods(PODS)
            .sample_period(Duration::from_millis(500))
            .started();
        let child = quiet(Line::new().scraping(&kubelet, &[("interval", "3ms")])).start(&host);
        let early = after(&child, &kubelet, few);
        let began = Instant::now();
        let late = after(&child, &kubelet, many);
        let rate = (many - few) as f64 / began.elapsed().as_secs_f64();
        let handshakes = kubelet.handshakes();
        stop(child);
        let (adds, growth) = (early.gained_mib(&dummy), late.gained_mib(&early));
        table.row(&[
            &host.name,
            &format!("{:.1} MiB", dummy.rss_mib()),
            &format!("{:.1} MiB", early.rss_mib()),
            &format!("{:.1} MiB", late.rss_mib()),
            &format!("{adds:.1} MiB"),
            &format!("{growth:.1} MiB"),
            &format!("{} → {}", early.threads, late.threads),
            &format!("{} → {}", early.fds, late.fds),
            &handshakes,
            &format!("{rate:.0}"),
        ]);
        assert_eq!(handshakes, 1, "{}", host.name);
        assert_eq!(early.threads, late.threads, "{}", host.name);
        assert!(
            late.fds <= early.fds + 2,
            "{}: {early:?}, then {late:?}",
            host.name
        );
        assert!(
            growth <= NOISE_MIB,
            "{}: {early:?}, then {late:?}",
            host.name
        );
        assert!(
            adds <= BUDGET_MIB,
            "{}: {adds:.1} MiB more than {dummy:?}",
            host.name
        );
    }
}
