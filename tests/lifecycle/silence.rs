//! A kubelet that answers and gives no record: one line, after a minute, that says what
//! is missing, and one when records come again.

use std::{fs, thread, time::Duration};

use sim_kubelet::{SimKubelet, captured::of_node};
use testkit::{Child, Host, Stream, hosts};

use crate::run::{Line, Said, stop};

/// The line comes after a minute; then a few scrapes more.
const LONG: Duration = Duration::from_secs(90);
const SCRAPES: usize = 64;

struct Case {
    alias: &'static str,
    options: &'static [(&'static str, &'static str)],
    replies: Vec<Vec<u8>>,
    /// All the warnings of this input, and what it says at the end of them.
    warns: &'static [&'static str],
    ends: Option<&'static str>,
}

fn cases() -> Vec<Case> {
    let steady = String::from_utf8(of_node(10, 0)).expect("utf-8");
    let path = "tests/fixtures/field-reports/06-no-containers.summary.json";
    let no_containers = fs::read(hosts::workspace_root().join(path)).expect("a fixture");
    let no_cpu = steady
        .replace("\"usageNanoCores\"", "\"x\"")
        .replace("\"usageCoreNanoSeconds\"", "\"y\"");
    let mut stuck = vec![steady.clone().into_bytes(); SCRAPES];
    stuck.push(steady.replace("T10:00:", "T10:05:").into_bytes());
    let case = |alias, replies| Case {
        alias,
        options: &[],
        replies,
        warns: &[],
        ends: None,
    };
    vec![
        Case {
            warns: &["the kubelet names no container of the selected pods: "],
            ..case("no-containers", vec![no_containers])
        },
        Case {
            warns: &["the kubelet has no cpu value of the selected pods' "],
            ..case("no-cpu", vec![no_cpu.into_bytes()])
        },
        Case {
            warns: &["the kubelet repeats old samples of the selected pods' "],
            ends: Some("records arrive again: there were none for "),
            ..case("stuck", stuck.clone())
        },
        // Each reply is a record here.
        Case {
            options: &[("repeat_samples", "true")],
            ..case("repeating", stuck)
        },
        // This has its own line, at once.
        Case {
            options: &[("namespace", "elsewhere")],
            warns: &["none of the node's "],
            ..case("unwanted", vec![steady.into_bytes()])
        },
    ]
}

/// The lines of the input of this alias.
fn said(child: &Child, alias: &str) -> Vec<Said> {
    let lines = child.lines(Stream::Stderr);
    let said = lines.iter().filter_map(|line| Said::of(line));
    said.filter(|said| said.input == alias).collect()
}

/// What follows a minute or little more, as a busy machine has it.
fn reason(line: &str) -> &str {
    let rest = line.strip_prefix("no record for 6");
    let reason = rest.and_then(|rest| rest.split_once("s: "));
    reason.map_or(line, |(_, reason)| reason)
}

fn is_told(host: &Host) {
    let cases: Vec<_> = cases()
        .into_iter()
        .map(|case| {
            let kubelet = SimKubelet::builder().replay(case.replies.clone());
            (case, kubelet.started())
        })
        .collect();
    let mut line = Line::new();
    for (case, kubelet) in &cases {
        let mut options = vec![("alias", case.alias), ("interval", "1s")];
        options.extend(case.options);
        line = line.scraping(kubelet, &options);
    }
    let child = line.args(["-o", "null", "-m", "*"]).start(host);
    for (case, kubelet) in &cases {
        assert!(
            kubelet.wait_for_requests(SCRAPES as u64 + 2, LONG),
            "{}: {}",
            case.alias,
            child.tail()
        );
    }
    let child = stop(child);
    for (case, _) in &cases {
        let said = said(&child, case.alias);
        let warns: Vec<_> = said.iter().filter(|said| said.level == "warn").collect();
        let as_expected = warns.len() == case.warns.len()
            && warns
                .iter()
                .zip(case.warns)
                .all(|(said, expected)| reason(&said.text).starts_with(expected));
        assert!(as_expected, "{} {}: {warns:#?}", host.name, case.alias);
        let end = said
            .iter()
            .find(|said| said.text.starts_with("records arrive again"));
        match case.ends {
            Some(text) => {
                let end = end.unwrap_or_else(|| panic!("{} {}", host.name, case.alias));
                assert!(end.level == "info" && end.text.starts_with(text), "{end:?}");
            }
            None => assert_eq!(end, None, "{} {}", host.name, case.alias),
        }
    }
}

/// All hosts at once: it is a minute of waiting for each.
#[test]
fn a_minute_without_a_record_is_told() {
    thread::scope(|scope| {
        for host in hosts::to_test() {
            println!("on {}", host.describe());
            scope.spawn(move || is_told(&host));
        }
    });
}
