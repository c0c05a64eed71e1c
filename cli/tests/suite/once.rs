//! `once`: the records, as a table and as Fluent Bit would show them.

use std::{
    process::{Command, Stdio},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet};

use crate::command::run_with;

const STEADY: &[u8] = include_bytes!("../../../tests/fixtures/02-steady-open.summary.json");

/// Serves a captured reply, so that every number is known.
fn captured() -> SimKubelet {
    at_the_time_of_the_captures(0, STEADY.to_vec())
}

/// By its clock it is so many seconds after the newest sample of `STEADY`.
pub fn at_the_time_of_the_captures(later: i64, body: Vec<u8>) -> SimKubelet {
    let newest = 1_795_253_442 + later;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_millis() as i64;
    let kubelet = SimKubelet::builder().clock_ahead_ms(newest * 1_000 - now);
    kubelet.replay(vec![body]).started()
}

#[test]
fn a_record_is_the_line_that_fluent_bit_shows() {
    let options = [
        ("pod_prefix", "log-generator-a"),
        ("region", "k\u{f6}ln"),
        ("--output", "json"),
    ];
    let run = run_with(&captured(), "once", &options);
    let expected = concat!(
        r#"{"timestamp":1795253440000,"timestamp_iso":"2026-11-21T09:30:40Z","service":"log-generator","#,
        r#""podName":"log-generator-a-vm","namespace":"default","podUid":"842b456923e3341688f005d8cc2df2ca","#,
        r#""containerName":"log-generator","nodeName":"vm","cpu":30.0228182,"cpu_cores":0.300228182,"#,
        r#""memory":20.26171875,"memory_bytes":21245952,"disk":0.01953125,"disk_bytes":20480,"#,
        r#""network_in":5236,"network_out":752,"metadata":{"region":"k\u00f6ln","node":"vm","namespace":"default"}}"#,
        "\n"
    );
    assert_eq!(run.out, expected);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
}

#[test]
fn the_table_is_aligned_and_sorted() {
    let run = run_with(&captured(), "once", &[("namespace", "default")]);
    let lines: Vec<_> = run.out.lines().collect();
    let widths = "NAMESPACE  POD                  CONTAINER      CPU %  MEMORY MiB  DISK MiB  NET IN KiB  NET OUT KiB";
    assert!(
        lines[0].starts_with(widths) && lines[0].ends_with("AGE"),
        "{}",
        run.out
    );
    assert!(
        lines[2].starts_with("default    log-generator-a-vm   log-generator   30.0        20.3       0.0         5.1          0.7  "),
        "{}",
        run.out
    );
    let mut sorted = lines[1..].to_vec();
    sorted.sort();
    assert_eq!(sorted, lines[1..]);
    assert_eq!(run.code, Some(0));
}

#[test]
fn json_is_valid_whatever_the_names() {
    let kubelet = SimKubelet::builder().fault(Fault::HostilePodName).started();
    let run = run_with(&kubelet, "once", &[("--output", "json")]);
    let mut count = 0;
    for line in run.out.lines() {
        let record: Value = serde_json::from_str(line).expect(line);
        assert!(record["cpu"].is_number(), "{line}");
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn containers_without_a_value_are_counted() {
    let kubelet = SimKubelet::builder().started();
    kubelet
        .add_pod("default/ended", 0)
        .expect("a name with a namespace");
    let run = run_with(&kubelet, "once", &[("pod_prefix", "ended,log-generator")]);
    assert_eq!(
        run.err,
        "kubeletstats: 1 of 3 selected containers have no CPU value\n"
    );
    assert_eq!((run.code, run.out.lines().count()), (Some(0), 3));
}

#[test]
fn errors_are_the_plugins() {
    let kubelet = SimKubelet::builder().token("another").started();
    #[rustfmt::skip]
    let rows = [
        (("kubelet_url", "https://127.0.0.1:1"), 1,
            "connection refused by 127.0.0.1:1 for https://127.0.0.1:1/stats/summary: \
             check kubelet_url and that the kubelet is running\n"),
        (("namespace", "no-such"), 1, "none of the node's 7 pods is selected: check namespace, pod_prefix, label_selector and the exclude options\n"),
        (("interval", "soon"), 2, "option interval: bad value 'soon'"),
    ];
    for (option, code, line) in rows {
        let run = run_with(&kubelet, "once", &[option]);
        let line = format!("kubeletstats: {line}");
        assert!(run.err.starts_with(&line), "{}", run.err);
        assert_eq!(run.code, Some(code));
        // A table without a row is one all the same.
        assert_eq!(run.out.is_empty(), option.0 != "namespace", "{}", run.out);
    }
}

/// A reader that leaves is no panic, and does not change the exit status.
#[test]
fn a_closed_pipe_is_no_error() {
    let kubelet = SimKubelet::builder().pods(2_000).started();
    for command in ["once", "check"] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kubeletstats"))
            .arg(command)
            .args(["-p", &format!("kubelet_url={}", kubelet.url())])
            .args([
                "-p",
                &format!("kube_ca_file={}", kubelet.ca_file().display()),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        drop(child.stdout.take());
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{command}");
        assert_eq!(ended.status.code(), Some(0), "{command}");
    }
}
