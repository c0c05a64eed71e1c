//! Rows: pods and containers that come and go, inputs beside one another, and
//! faults of the plugin itself.

use std::{env, fs, path::Path, process, thread, time::Duration};

use serde_json::Value;
use sim_kubelet::Fault;
use testkit::{Host, held::Held, wait};

use super::{
    row::{AGAIN, Row, Seen, only, own},
    run::{DEADLINE, Ended, Run, Said, Site},
    scene::Scene,
    truth::Truth,
};
use crate::common::run::Line;

const POD_A: &str = "default/log-generator-a-vm";
const POD_B: &str = "default/log-generator-b-vm";

pub fn rows() -> Vec<Row> {
    vec![
        own(
            "restarted-container",
            "the same rate before and after, and none in between",
            restarted_container,
        ),
        own("pod-vanishes", "the other one goes on", pod_vanishes),
        own(
            "pod-back-with-new-uid",
            "the same rate under the new uid",
            pod_back,
        ),
        own(
            "pod-replaced",
            "the old one until the new one is there, then the new one",
            pod_replaced,
        ),
        own(
            "two-inputs-one-failing",
            "one line of the one, and records of the other without a pause",
            two_inputs,
        ),
        own("token-file-hangs", HANGING_FILE, token_hangs).unless(cannot_hold, NO_HOLD),
        own("ca-file-hangs-at-start", HANGING_FILE, ca_hangs).unless(cannot_hold, NO_HOLD),
        own(
            "stop-while-files-hang",
            "forty inputs that hang stop as fast as dummy alone",
            many_hang,
        )
        .unless(cannot_hold, NO_HOLD),
        own("panic-in-the-worker", PANIC, |site| {
            panics(site, "the worker")
        }),
        own("panic-in-the-timer", PANIC, |site| {
            panics(site, "the timer")
        }),
        own("panic-in-the-collector", PANIC, |site| {
            panics(site, "the collector")
        }),
        own(
            "panic-in-pause",
            "one line, and it stops all the same",
            panic_in_pause,
        ),
        own(
            "mem-buf-limit",
            "paused and resumed by the host, records go on, no line",
            mem_buf_limit,
        ),
    ]
}

const HANGING_FILE: &str = "one line, the host goes on, and records as soon as the file answers";
const NO_HOLD: &str = "it takes root, and a kernel that asks before a file is opened";

fn cannot_hold(_: &Host) -> bool {
    let file = env::temp_dir().join(format!(
        "held-{}-{:?}",
        process::id(),
        thread::current().id()
    ));
    let held = fs::write(&file, "").and_then(|()| Held::new(&file));
    let _ = fs::remove_file(&file);
    held.is_err()
}

fn hold(file: &Path) -> Result<Held, String> {
    Held::new(file).map_err(|error| error.to_string())
}

fn token_hangs(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[("timeout", "300ms")])?;
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records before", |stats| stats.records > 0)?;
    let held = hold(&scene.kubelet.token_file())?;
    run.is_up(1)?;
    let file = "kube_token_file {token}";
    answers_again(site, &scene, run, held, file, &[1, 0, 1])
}

fn ca_hangs(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[("timeout", "300ms")])?;
    let held = hold(&scene.kubelet.ca_file())?;
    let run = Run::start(site, scene.input(Line::new()))?;
    answers_again(site, &scene, run, held, "kube_ca_file {ca}", &[0, 1])
}

fn answers_again(
    site: &Site,
    scene: &Scene,
    run: Run,
    held: Held,
    file: &str,
    ups: &[u8],
) -> Result<Seen, String> {
    let line = format!(
        "timed out after 300ms reading {}: its file system does not answer: \
         check its mount",
        scene.named(file)
    );
    run.said(&line)?;
    let failed = run.stats("failures", |stats| stats.failures >= 3)?;
    run.dummy_goes_on()?;
    run.is_up(0)?;
    drop(held);
    run.said(AGAIN)?;
    run.stats("records again", |stats| stats.records > failed.records)?;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[("error", &line), ("info", AGAIN)])?;
    ended.metrics.ups_are(ups)?;
    let truth = Truth::of([&scene.kubelet]);
    truth.check_all(&ended.records)?;
    let failures = ended.stats.failures;
    Ok((ended, format!("1 line for {failures} failures, then again")))
}

fn many_hang(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[])?;
    let line = (0..40).fold(Line::new(), |line, _| scene.input(line));
    let run = Run::start(site, line)?;
    for input in 0..40 {
        let input = format!("kubeletstats.{input}");
        run.stats_of(&input, "records", |stats| stats.records > 0)?;
    }
    let held = hold(&scene.kubelet.token_file())?;
    let requests = || scene.kubelet.requests();
    let mut seen = requests();
    // Each asks ten times a second: in such a silence none does any more.
    wait::until("all to hang", DEADLINE, || {
        let before = std::mem::replace(&mut seen, requests());
        before == seen
            && !scene
                .kubelet
                .wait_for_requests(seen + 1, Duration::from_millis(500))
    })
    .map_err(|error| error.to_string())?;
    run.dummy_goes_on()?;
    // The same samples, forty times.
    let ended = run.stop_with_repeats(site)?;
    drop(held);
    let is_left = |said: &Said| {
        said.text
            .starts_with("the worker thread still waits for a file")
    };
    let (left, others): (Vec<_>, Vec<_>) = ended.said.iter().partition(|said| is_left(said));
    let others = others.into_iter();
    let mut others = others.filter(|said| {
        // Each has its line about the file, and had one about its pods.
        said.level == "warn" || said.level == "error" && !said.text.starts_with("timed out after ")
    });
    if let Some(other) = others.next() {
        return Err(format!("it said: {}", other.text));
    }
    if left.is_empty() {
        return Err("nothing was left behind: no file hung".to_owned());
    }
    let alone = site.dummy_stop.as_secs_f64();
    Ok((ended, format!("dummy alone {alone:.2} s")))
}

const PANIC: &str = "one line, the host goes on, and the next scrape works";

fn pod<'p>(name: &'p str) -> impl Fn(&Value) -> bool + 'p {
    let name = name.trim_start_matches("default/");
    move |record| record["podName"] == name
}

fn uid(scene: &Scene, pod: &str) -> Result<String, String> {
    let truth = scene.kubelet.truth(pod);
    truth
        .map(|truth| truth.uid)
        .ok_or_else(|| format!("no {pod}"))
}

/// Nothing said, and nothing but the truth recorded.
fn clean(truth: &Truth, ended: Ended) -> Result<Seen, String> {
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    truth.check_all(&ended.records)?;
    let seen = format!("{} true records", ended.records.len());
    Ok((ended, seen))
}

fn healthy(site: &Site) -> Result<(Scene, Truth, Run), String> {
    let scene = Scene::with(&[])?;
    let truth = Truth::of([&scene.kubelet]);
    let run = Run::start(site, scene.input(Line::new()))?;
    for name in [POD_A, POD_B] {
        run.record(name, pod(name))?;
    }
    Ok((scene, truth, run))
}

fn restarted_container(site: &Site) -> Result<Seen, String> {
    let (scene, mut truth, run) = healthy(site)?;
    for _ in 0..2 {
        if !scene.kubelet.restart_container(POD_B, "log-generator") {
            return Err("no container to restart".to_owned());
        }
        truth.learn(&scene.kubelet);
        let started = scene.kubelet.truth(POD_B);
        let started = started.and_then(|truth| Some(truth.containers.first()?.start_ms));
        let later = started.ok_or("no container")? + 400;
        // Several samples after the restart: rates of the new counter.
        run.record("record after the restart", |record| {
            pod(POD_B)(record) && record["timestamp"].as_u64() >= Some(later)
        })?;
    }
    clean(&truth, run.stop_with_repeats(site)?)
}

fn pod_vanishes(site: &Site) -> Result<Seen, String> {
    let (scene, truth, run) = healthy(site)?;
    scene.between_scrapes()?;
    scene.kubelet.remove_pod(POD_A);
    let requests = scene.kubelet.requests() + 2;
    let first = run.stats("a scrape", |stats| stats.scrapes >= requests)?;
    let later = run.stats("more records", |stats| stats.records >= first.records + 3)?;
    let ended = run.stop(site)?;
    let of_a = ended.records.iter().filter(|one| pod(POD_A)(one)).count();
    let of_b = ended.records.len() - of_a;
    if of_b < of_a + 3 || later.records as usize > ended.records.len() {
        return Err(format!("{of_a} of the one that went, {of_b} of the other"));
    }
    clean(&truth, ended)
}

fn pod_back(site: &Site) -> Result<Seen, String> {
    let (scene, mut truth, run) = healthy(site)?;
    scene.kubelet.remove_pod(POD_B);
    let new = scene.kubelet.add_pod(POD_B, 250).ok_or("no new pod")?;
    truth.learn(&scene.kubelet);
    for _ in 0..2 {
        run.next_record("record of the new pod", |record| record["podUid"] == *new)?;
    }
    clean(&truth, run.stop(site)?)
}

fn pod_replaced(site: &Site) -> Result<Seen, String> {
    let (scene, mut truth, run) = healthy(site)?;
    let old = uid(&scene, POD_B)?;
    let new = scene.kubelet.add_duplicate_pod(POD_B).ok_or("no pod")?;
    truth.learn(&scene.kubelet);
    for _ in 0..3 {
        run.next_record("record of the new pod", |record| record["podUid"] == *new)?;
    }
    scene.kubelet.remove_pod_uid(&old);
    run.next_record("record of the only one", |record| record["podUid"] == *new)?;
    let ended = run.stop(site)?;
    let uids = ended.records.iter().filter(|one| pod(POD_B)(one));
    let mut uids: Vec<&Value> = uids.map(|record| &record["podUid"]).collect();
    uids.dedup();
    if uids != [&Value::from(old), &Value::from(new)] {
        return Err(format!("not one after the other: {uids:?}"));
    }
    clean(&truth, ended)
}

fn two_inputs(site: &Site) -> Result<Seen, String> {
    let good = Scene::with(&[])?;
    let bad = Scene::with(&[("service", "of-the-bad-one")])?;
    bad.kubelet
        .set_fault(Fault::Status(503, "Service Unavailable".to_owned()));
    let run = Run::start(site, bad.input(good.input(Line::new())))?;
    let (one, two) = ("kubeletstats.0", "kubeletstats.1");
    run.stats_of(two, "failures", |stats| stats.failures >= 4)?;
    let before = run.stats_of(one, "the other", |stats| stats.records > 0)?;
    let during = run.stats_of(one, "more", |stats| stats.records >= before.records + 4)?;
    if during.failures > 0 {
        return Err(format!("the other one failed as well: {during:?}"));
    }
    bad.kubelet.clear_fault();
    let again = run.stats_of(two, "records again", |stats| stats.records > 0)?;
    let ended = run.stop(site)?;
    let of = |input: &str| -> Vec<Said> {
        let own = ended.said.iter().filter(|said| said.input == input);
        own.cloned().collect()
    };
    only(&of(one), &[])?;
    let line = format!(
        "unexpected status 503 from {}: it said 'Service Unavailable': see the log of the kubelet",
        bad.url
    );
    only(&of(two), &[("error", &line), ("info", AGAIN)])?;
    let truth = Truth::of([&good.kubelet, &bad.kubelet]);
    truth.check_all(&ended.records)?;
    let (failures, records) = (again.failures, during.records);
    let seen = format!("{failures} failures of one, {records} records of the other");
    Ok((ended, seen))
}

fn panicking(site: &Site, place: &str) -> Result<(Scene, Run, String), String> {
    let scene = Scene::with(&[])?;
    let mut command = Run::command(site, scene.input(Line::panicking()));
    command.env("KUBELETSTATS_PANIC", place);
    let run = Run::start_command(command)?;
    let line = format!(
        "internal error in {place}: injected into {place} (core/src/panics.rs:*): please report it"
    );
    Ok((scene, run, line))
}

fn panics(site: &Site, place: &str) -> Result<Seen, String> {
    let (scene, run, line) = panicking(site, place)?;
    run.said(&line)?;
    run.said(AGAIN)?;
    run.stats("records", |stats| stats.records > 2)?;
    run.dummy_goes_on()?;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[("error", &line), ("info", AGAIN)])?;
    // A scrape may have worked before.
    ended
        .metrics
        .ups_are(&[0, 1])
        .or_else(|_| ended.metrics.ups_are(&[1, 0, 1]))?;
    let truth = Truth::of([&scene.kubelet]);
    truth.check_all(&ended.records)?;
    let seen = format!("1 line, then {} records", ended.records.len());
    Ok((ended, seen))
}

fn panic_in_pause(site: &Site) -> Result<Seen, String> {
    let (scene, run, line) = panicking(site, "pause")?;
    run.stats("records", |stats| stats.records > 2)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[("error", &line)])?;
    // It counts as a scrape that failed, the last one.
    ended.metrics.ups_are(&[1, 0])?;
    let truth = Truth::of([&scene.kubelet]);
    truth.check_all(&ended.records)?;
    Ok((ended, "1 line".to_owned()))
}

fn mem_buf_limit(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[("mem_buf_limit", "500")])?;
    let truth = Truth::of([&scene.kubelet]);
    let run = Run::start(site, scene.input(Line::new()))?;
    run.host_said("(mem buf overlimit", 3)?;
    for name in [POD_A, POD_B] {
        run.next_record(name, pod(name))?;
    }
    clean(&truth, run.stop(site)?)
}
