//! Rows: what the reply says, and what may become of it.

use sim_kubelet::{Fault, rfc3339};

use super::{
    row::{AGAIN, Row, Seen, fails, only, own, silent, works},
    run::{Run, Site},
    scene::{Scene, Setting},
    truth::{Truth, near, sound, text},
};
use crate::common::run::Line;

const UNREADABLE: &str = "* of the node's * pods cannot be read and are dropped: \
                          their entries in the kubelet's reply are not valid";

/// Each sample on its own: numbers that change at random make no rate.
const INSTANT: &[(&str, &str)] = &[("cpu_source", "instant")];

/// More than a scrape of a large node should leave behind, in MiB.
const GROWTH: f64 = 64.0;

pub fn rows() -> Vec<Row> {
    let mut rows = numbers();
    rows.extend(shapes());
    rows.extend(names());
    rows
}

fn numbers() -> Vec<Row> {
    vec![
        silent("time-null", "").by(Fault::TimeNull),
        silent("negative-numbers", "").by(Fault::NegativeNumbers),
        silent("string-numbers", "").by(Fault::StringNumbers),
        // What fits 64 bits is more than a node can use, the rest fits nothing.
        silent("huge-numbers", "").by(Fault::HugeNumbers),
        works("float-numbers", "whole ones are kept, others left out")
            .by(Fault::FloatNumbers)
            .options(INSTANT),
        silent("nan", UNREADABLE).by(Fault::NanText),
        own(
            "counter-falls",
            "no negative or absurd cpu where counter or clock go back",
            counter_falls,
        ),
    ]
}

fn shapes() -> Vec<Row> {
    vec![
        works("duplicate-pods", "the one that started later").by(Fault::DuplicatePods),
        silent("empty-pods", kubeletstats_core::health::NO_PODS).by(Fault::EmptyPods),
        fails(
            "no-pods",
            "reply of {url} is not a stats summary: it has no 'pods'*: \
             check that kubelet_url is a kubelet",
        )
        .by(Fault::NoPods),
        fails(
            "top-level-array",
            "reply of {url} is not a stats summary: it has no 'pods': \
             check that kubelet_url is a kubelet",
        )
        .by(Fault::TopLevelArray),
        works("deep-nesting", "a key that nobody knows is stepped over")
            .by(Fault::DeepNesting(10_000)),
        own(
            "5000-pods",
            "records of the two that are wanted, and memory that stops growing",
            many_pods,
        ),
    ]
}

fn names() -> Vec<Row> {
    vec![
        silent("invalid-utf8", UNREADABLE).by(Fault::InvalidUtf8),
        own(
            "hostile-pod-names",
            "whole lines of JSON, a clean log, and not the name of a megabyte",
            hostile_names,
        ),
    ]
}

/// One container, of which a counter is reported at a time, both in seconds.
fn sample(time: u64, used: f64) -> Vec<u8> {
    let at = rfc3339(1_795_253_440_000 + time * 1_000, false);
    let nanos = (used * 1e9) as u64;
    format!(
        r#"{{"node": {{"nodeName": "vm"}}, "pods": [{{
            "podRef": {{"name": "log-generator-c", "namespace": "default", "uid": "c"}},
            "startTime": "2026-11-21T09:00:00Z",
            "containers": [{{"name": "c", "startTime": "2026-11-21T09:00:00Z",
                "cpu": {{"time": "{at}", "usageNanoCores": 1000000000,
                    "usageCoreNanoSeconds": {nanos}}},
                "memory": {{"time": "{at}", "workingSetBytes": 1048576}}}}]}}]}}"#
    )
    .into_bytes()
}

fn counter_falls(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        kubelet: |kubelet| {
            kubelet.replay(vec![
                sample(0, 100.0),
                sample(10, 105.0),
                // It falls: only the instantaneous value is left.
                sample(20, 2.5),
                sample(30, 5.0),
                // The clock goes back, then on.
                sample(10, 6.0),
                sample(40, 9.0),
                // Stands still.
                sample(50, 9.0),
            ])
        },
        ..Setting::default()
    })?;
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("every sample", |stats| stats.scrapes >= 8)?;
    // The sample at 10 is there twice, before and after the clock went back.
    let ended = run.stop_with_repeats(site)?;
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    ended.records.iter().try_for_each(sound)?;
    let cpu = ended.records.iter();
    let cpu: Vec<f64> = cpu.filter_map(|record| record["cpu"].as_f64()).collect();
    // The kubelet says 100 each time; the counter proves less, within a second in ten.
    let most = |used: f64| 100.0 * used / 9.0;
    let expected = [100.0, most(5.0), 100.0, most(2.5), 100.0, most(4.0), 0.0];
    let same = cpu.len() == expected.len()
        && std::iter::zip(&cpu, expected).all(|(cpu, expected)| near(*cpu, expected));
    match same {
        true => Ok((ended, format!("{cpu:?}"))),
        false => Err(format!("cpu {cpu:?} instead of {expected:?}")),
    }
}

fn many_pods(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        kubelet: |kubelet| kubelet.pods(5000),
        options: &[("interval", "300ms")],
        plain: true,
        ..Setting::default()
    })?;
    scene
        .kubelet
        .set_fault(Fault::Status(503, "not yet".to_owned()));
    let run = Run::start(site, scene.input(Line::new()))?;
    run.said("unexpected status 503 from *")?;
    let base = run.memory_mib("VmRSS")?;
    scene.kubelet.clear_fault();
    let first = run.stats("three replies", |stats| stats.replies() >= 3)?;
    let three = run.memory_mib("VmRSS")?;
    run.stats("five more", |stats| stats.replies() >= first.replies() + 5)?;
    let eight = run.memory_mib("VmRSS")?;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    only(
        &ended.said,
        &[("error", "unexpected status 503 from *"), ("info", AGAIN)],
    )?;
    ended.metrics.ups_are(&[0, 1])?;
    let pods = ["default/log-generator-a-vm", "default/log-generator-b-vm"];
    let truth = Truth::of_pods(&scene.kubelet, &pods);
    truth.check_all(&ended.records)?;
    if three - base > GROWTH || eight - three > 4.0 {
        return Err(format!(
            "{base:.1} MiB before, {three:.1} after three replies, {eight:.1} after eight"
        ));
    }
    let (records, more, then) = (ended.records.len(), three - base, eight - three);
    let seen = format!("{records} records, {more:.0} MiB more, then {then:.1}");
    Ok((ended, seen))
}

fn hostile_names(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[("pod_prefix", ""), ("namespace", "")])?;
    let truth = Truth::of([&scene.kubelet]);
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records before", |stats| stats.records > 0)?;
    scene.kubelet.set_fault(Fault::HostilePodName);
    let hostile = [
        "bell\u{7} and null\u{0} and escape \u{1b}[31m",
        "quote\" backslash\\ newline\n tab\t return\r",
        "right-to-left \u{202e} and \u{1f4a5}",
    ];
    for name in hostile {
        run.record(&format!("record of {name:?}"), |record| {
            record["podName"] == name
        })?;
    }
    scene.kubelet.clear_fault();
    let now = run.latest();
    run.stats("records again", |stats| stats.records > now.records)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    for record in &ended.records {
        truth.check(record)?;
        let length = text(record, "podName")?.len();
        if length > 253 {
            return Err(format!("a name of {length} bytes"));
        }
    }
    let (records, names) = (ended.records.len(), hostile.len());
    Ok((ended, format!("{records} records, {names} hostile names")))
}
