//! Rows: what `/pods` answers, and what the records lack for it.

use serde_json::Value;
use sim_kubelet::Fault;

use super::{
    row::{FACTS, Row, Seen, degrades, only, own, works},
    run::{Run, Site},
    scene::{Scene, Setting},
};
use crate::common::run::Line;

/// All a kubelet has, with facts.
const ALL: &[(&str, &str)] = &[
    ("metric_groups", "all"),
    ("fields", "all"),
    ("pod_facts", "on"),
    ("pod_facts_interval", "150ms"),
    ("namespace", ""),
    ("pod_prefix", ""),
];

/// A long time for the scrape, of which the pods have a quarter.
const PATIENT: &[(&str, &str)] = &[
    ("pod_facts", "on"),
    ("pod_facts_interval", "150ms"),
    ("timeout", "2s"),
];

pub fn rows() -> Vec<Row> {
    let mut rows = answers();
    rows.extend([
        own(
            "pods-and-labels",
            "no record while labels are not known, then those of the pods that are chosen",
            labels,
        ),
        own(
            "pods-all-groups",
            "records of every kind, and no line",
            all_groups,
        ),
        own(
            "pods-come-and-go",
            "a pod in back-off, one that is new, one that has ended",
            lives,
        ),
        own(
            "2000-pods-start-and-end",
            "memory that does not grow from the first thousand to the second",
            many_lives,
        ),
    ]);
    rows
}

fn answers() -> Vec<Row> {
    let of = |name, line, act: fn(&Scene) -> Result<(), String>| {
        degrades(name, line).breaking(act).mending(mend)
    };
    vec![
        degrades(
            "pods-forbidden",
            "no new facts of pods: 403 forbidden by *: * needs verb get on nodes/pods",
        )
        .kubelet(|kubelet| kubelet.pods_forbidden(true))
        .at_start()
        .mending(mend),
        of(
            "pods-forbidden-before-1.33",
            "no new facts of pods: 403 forbidden by *: * needs verb get on nodes/proxy, *",
            |scene| {
                scene.kubelet.set_fine_rights(false);
                scene.kubelet.allow_pods(false);
                Ok(())
            },
        ),
        of(
            "pods-404",
            "no new facts of pods: unexpected status 404 from *",
            |scene| fault(scene, Fault::Status(404, "404 page not found".to_owned())),
        ),
        of(
            "pods-500",
            "no new facts of pods: unexpected status 500 from *",
            |scene| fault(scene, Fault::Status(500, "no".to_owned())),
        ),
        of(
            "pods-hang",
            "no new facts of pods: timed out after 500ms waiting for the reply of *",
            |scene| fault(scene, Fault::HangBeforeHeaders),
        )
        .options(PATIENT),
        of(
            "pods-hang-in-body",
            "no new facts of pods: timed out after 500ms reading the reply of *",
            |scene| fault(scene, Fault::HangInBody),
        )
        .options(PATIENT),
        of(
            "pods-not-json",
            "no new facts of pods: reply of * is not a list of pods: *",
            |scene| fault(scene, Fault::NotJson),
        ),
        of(
            "pods-empty-body",
            "no new facts of pods: reply of * is empty",
            |scene| fault(scene, Fault::EmptyBody),
        ),
        of(
            "pods-cut-short",
            "no new facts of pods: reply of * was cut short *",
            |scene| fault(scene, Fault::WrongContentLength),
        ),
        works(
            "pods-null",
            "no facts, and no line: a kubelet that has just started",
        )
        .options(FACTS)
        .breaking(|scene| {
            let body = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":null}"#;
            scene.kubelet.set_pods_body(Some(body.to_vec()));
            Ok(())
        })
        .mending(|scene| {
            scene.kubelet.set_pods_body(None);
            Ok(())
        }),
    ]
}

fn fault(scene: &Scene, fault: Fault) -> Result<(), String> {
    scene.kubelet.set_pods_fault(fault);
    Ok(())
}

fn mend(scene: &Scene) -> Result<(), String> {
    scene.kubelet.set_pods_fault(Fault::None);
    scene.kubelet.allow_pods(true);
    Ok(())
}

fn has(record: &Value, field: &str, value: &str) -> bool {
    record[field] == value
}

fn labels(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        options: &[
            ("pod_facts", "on"),
            ("pod_facts_interval", "150ms"),
            ("label_selector", "job_type=report"),
            ("pod_labels", "job_type"),
            ("pod_prefix", ""),
        ],
        kubelet: |kubelet| kubelet.pods_forbidden(true),
        ..Setting::default()
    })?;
    scene.kubelet.add_job_pod("default/job-1", 100, "report");
    scene.kubelet.add_job_pod("default/job-2", 100, "import");
    let run = Run::start(site, scene.input(Line::new()))?;
    let line =
        "no new facts of pods, and label_selector selects no pod without facts: 403 forbidden by *";
    run.said(line)?;
    let before = run.stats("some scrapes", |stats| stats.scrapes > 3)?;
    if before.records > 0 {
        return Err(format!(
            "{} records of pods that nobody knows",
            before.records
        ));
    }
    scene.kubelet.allow_pods(true);
    run.stats("records", |stats| stats.records > 3)?;
    let ended = run.stop(site)?;
    only(
        &ended.said,
        &[
            ("warn", line),
            ("warn", "none of the node's * pods is selected: *"),
            ("info", "facts of pods arrive again: *"),
        ],
    )
    .or_else(|_| {
        only(
            &ended.said,
            &[
                ("warn", "none of the node's * pods is selected: *"),
                ("warn", line),
                ("info", "facts of pods arrive again: *"),
            ],
        )
    })?;
    ended.metrics.ups_are(&[1])?;
    if let Some(other) = ended
        .records
        .iter()
        .find(|record| !has(record, "podName", "job-1") || record["labels"]["job_type"] != "report")
    {
        return Err(format!("not chosen: {other}"));
    }
    let seen = format!(
        "none of {} scrapes, then {} records of job-1",
        before.scrapes,
        ended.records.len()
    );
    Ok((ended, seen))
}

fn all_groups(site: &Site) -> Result<Seen, String> {
    const KINDS: [&str; 6] = [
        "container",
        "pod",
        "node",
        "system_container",
        "volume",
        "interface",
    ];
    let scene = Scene::new(Setting {
        options: ALL,
        ..Setting::default()
    })?;
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records", |stats| stats.records > 200)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    let count = |kind: &str| {
        ended
            .records
            .iter()
            .filter(|one| has(one, "kind", kind))
            .count()
    };
    let counts = KINDS.map(|kind| (kind, count(kind)));
    if counts.iter().any(|(_, count)| *count == 0)
        || counts.iter().map(|(_, count)| count).sum::<usize>() != ended.records.len()
    {
        return Err(format!("{counts:?} of {}", ended.records.len()));
    }
    let counts: Vec<_> = counts
        .iter()
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    Ok((ended, counts.join(", ")))
}

fn lives(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        options: &[
            ("pod_facts", "on"),
            ("pod_facts_interval", "150ms"),
            ("metric_groups", "container,pod"),
            ("pod_prefix", ""),
        ],
        ..Setting::default()
    })?;
    scene
        .kubelet
        .add_pending("default/late", "ImagePullBackOff");
    let run = Run::start(site, scene.input(Line::new()))?;
    let seen = |what: &str, is_seen: &dyn Fn(&Value) -> bool| run.record(what, is_seen);
    seen("the pod that waits", &|record| {
        has(record, "podName", "late") && has(record, "phase", "Pending")
    })?;
    scene.kubelet.add_job_pod("default/job-1", 100, "report");
    seen("the new pod", &|record| {
        has(record, "podName", "job-1") && has(record, "container_type", "app")
    })?;
    scene.kubelet.end_pod("default/job-1", 3);
    seen("its end", &|record| {
        has(record, "podName", "job-1") && has(record, "phase", "Failed")
    })?;
    let ended = run.stop(site)?;
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    Ok((ended, "Pending, Running, Failed".to_owned()))
}

/// In waves of a hundred, each there for some scrapes. No more than that is recorded, so that
/// the suite keeps up with what the hosts print.
fn many_lives(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        options: &[
            ("pod_facts", "on"),
            ("pod_facts_interval", "10s"),
            ("interval", "300ms"),
            ("pod_prefix", "job-"),
            ("metric_groups", "container,volume"),
            // The same of metrics.
            ("fields", "basic"),
            ("kube_state_metrics", "off"),
        ],
        ..Setting::default()
    })?;
    // Without one that stays, a scrape between two waves or before the first finds none, and says so.
    scene.kubelet.add_job_pod("default/job-stays", 10, "report");
    let run = Run::start(site, scene.input(Line::new()))?;
    let mut after_wave = Vec::new();
    for wave in 0..20 {
        let names: Vec<_> = (0..100)
            .map(|pod| format!("default/job-{wave}-{pod}"))
            .collect();
        let printed = run.printed();
        for name in &names {
            scene.kubelet.add_job_pod(name, 10, "report");
        }
        let last = format!("job-{wave}-99");
        run.record_from(printed, "the wave's last pod", |record| {
            has(record, "podName", &last) && has(record, "container_type", "app")
        })?;
        for name in &names {
            scene.kubelet.remove_pod(name);
        }
        after_wave.push(run.memory_mib("VmRSS")?);
    }
    let ended = run.stop(site)?;
    only(&ended.said, &[])?;
    ended.metrics.ups_are(&[1])?;
    let (first, second) = (after_wave[9], after_wave[19]);
    // What the host keeps of its chunks comes and goes by more than the plugin's own state.
    match second - first < 8.0 {
        true => Ok((
            ended,
            format!("{first:.1} MiB after 1000 pods, {second:.1} after 2000"),
        )),
        false => Err(format!("it grew: {after_wave:.1?}")),
    }
}
