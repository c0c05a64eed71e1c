//! A host that takes no records for a while: the input is paused and goes on, and
//! of what was scraped nothing is lost and nothing comes twice.

use std::{fs, time::Duration};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, hosts};

use crate::{
    proc::{Scratch, Table, alone, sized, soak, some_hosts, until},
    run::{DEADLINE, Line, record_lines, section, stop},
    samples::{INTERVAL, SAMPLES, SILENCE, assert_whole, kubelet, wait_for},
    sink::Sink,
};

/// By which limit the host is made to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Memory,
    /// The same with the input on a thread of its own.
    Threaded,
    Chunks,
}

fn configuration(kubelet: &SimKubelet, sink: &Sink, limit: Limit) -> String {
    let (service, input) = match limit {
        Limit::Memory => ("", "mem_buf_limit 40k"),
        Limit::Threaded => ("", "mem_buf_limit 40k\n    threaded on"),
        Limit::Chunks => (
            "    storage.path storage\n    storage.max_chunks_up 3\n",
            "storage.type filesystem\n    storage.pause_on_chunks_overlimit on",
        ),
    };
    format!(
        "[SERVICE]\n    flush 0.2\n    grace 5\n    plugins_file plugins.conf\n    \
         scheduler.base 1\n    scheduler.cap 1\n{service}\
         [INPUT]\n{}    interval {}ms\n    {input}\n\
         [OUTPUT]\n    name http\n    match *\n    host 127.0.0.1\n    port {}\n    \
         format json_lines\n    json_date_key false\n    retry_limit no_limits\n",
        section(kubelet),
        INTERVAL.as_millis(),
        sink.port,
    )
}

/// Requests a second over the latest `span`.
fn rate(kubelet: &SimKubelet, span: Duration) -> f64 {
    let requests = kubelet.recorded_requests();
    let last = requests.last().map_or(0, |request| request.at_ms);
    let since = last.saturating_sub(span.as_millis() as u64);
    let seen = requests
        .iter()
        .filter(|request| request.at_ms > since)
        .count();
    seen as f64 / span.as_secs_f64()
}

/// The host's own line, whatever its numbers, is on the page that an operator looks it up in.
fn explained(line: &str) {
    let page = hosts::workspace_root().join("docs/troubleshooting.md");
    let page = fs::read_to_string(page).expect("a page");
    let shape = |text: &str| -> String {
        let mut shape = text.replace(|c: char| c.is_ascii_digit(), "0");
        while shape.contains("00") {
            shape = shape.replace("00", "0");
        }
        shape
    };
    let said = &line[line.find("[input] ").expect("a line of the host")..];
    assert!(
        shape(&page).contains(&format!("`{}`", shape(said.trim_end()))),
        "{said}"
    );
}

fn pauses(host: &Host, limit: Limit, times: usize, table: &mut Table) {
    let (kubelet, sink, folder) = (kubelet(), Sink::start(), Scratch::new("pause"));
    sink.set_open(true);
    let configuration = configuration(&kubelet, &sink, limit);
    let child = Child::spawn(folder.command(host, &configuration)).expect("the host starts");
    let span = Duration::from_secs(1);
    let warm = span.as_millis() / INTERVAL.as_millis() + 5;
    assert!(
        kubelet.wait_for_requests(warm as u64, DEADLINE),
        "{}",
        child.tail()
    );
    let before = rate(&kubelet, span);
    let mut after = before;
    for _ in 0..times {
        let seen = child.line_count();
        sink.set_open(false);
        explained(&wait_for(&child, seen, "paused ("));
        // One scrape can be on its way when the pause begins.
        let paused = kubelet.requests();
        kubelet.wait_for_requests(paused + 2, SILENCE);
        let during = kubelet.requests() - paused;
        assert!(
            during <= 1,
            "{} {limit:?}: {during} scrapes in a pause",
            host.name
        );
        sink.set_open(true);
        explained(&wait_for(&child, seen, "resume ("));
        let going = kubelet.requests() + warm as u64;
        until(&child, "scrapes as before", DEADLINE, || {
            kubelet.requests() >= going
        });
        after = rate(&kubelet, span);
        assert!(
            after <= before * 1.2 && after >= before * 0.6,
            "{} {limit:?}: {before} requests a second before, {after} after",
            host.name
        );
    }
    let log = child.lines(Stream::Stderr).join("\n");
    let kept = log.matches("does not take records now").count();
    let child = stop(child);
    let scrapes = kubelet.replies();
    assert!(
        scrapes < SAMPLES as u64,
        "{scrapes} scrapes: too many for the samples there are"
    );
    let last = assert_whole(host, &sink.records(), scrapes);
    drop(child);
    table.row(&[
        &host.name,
        &format!("{limit:?}"),
        &times,
        &format!("{before:.1}"),
        &format!("{after:.1}"),
        &scrapes,
        &(last + 1),
        &kept,
    ]);
}

/// The embedded host has no output that can refuse; it pauses between two flushes.
fn pauses_between_flushes(host: &Host, table: &mut Table) {
    let kubelet = kubelet();
    let options = [("interval", "50ms"), ("mem_buf_limit", "20k")];
    let line = Line::new()
        .args(["-f", "1"])
        .scraping(&kubelet, &options)
        .printing();
    let child = line.start(host);
    let times = 3;
    for _ in 0..times {
        let seen = child.line_count();
        wait_for(&child, seen, "paused (");
        wait_for(&child, seen, "resume");
    }
    let log = child.lines(Stream::Stderr).join("\n");
    let kept = log.matches("does not take records now").count();
    let child = stop(child);
    let last = assert_whole(host, &record_lines(&child), kubelet.replies());
    let scrapes = kubelet.replies();
    table.row(&[
        &host.name,
        &"Memory",
        &times,
        &"-",
        &"-",
        &scrapes,
        &(last + 1),
        &kept,
    ]);
}

#[test]
fn a_paused_input_loses_nothing_it_has_scraped() {
    let _alone = alone();
    let times = sized(1, 4);
    if !soak() {
        println!("by other limits than memory only with KUBELETSTATS_SOAK=1");
    }
    let mut table = Table::new(
        "paused while the output could not deliver, and resumed",
        &[
            "host",
            "limit",
            "pauses",
            "requests/s before",
            "after",
            "scrapes",
            "delivered",
            "kept by the plugin",
        ],
    );
    for host in some_hosts() {
        if host.embedded {
            pauses_between_flushes(&host, &mut table);
            continue;
        }
        for limit in [Limit::Memory, Limit::Threaded, Limit::Chunks] {
            if limit != Limit::Memory && !soak() {
                continue;
            }
            if limit == Limit::Threaded && host.version < Some((2, 0, 0)) {
                println!("{} has no threads for inputs", host.name);
                continue;
            }
            pauses(&host, limit, times, &mut table);
        }
    }
}
