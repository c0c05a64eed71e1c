//! Both replies of a running kubelet: that they fit each other, and what the truth says.

use std::{
    collections::{HashMap, HashSet},
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use serde_json::Value;
use sim_kubelet::{Fault, NetworkTruth, Offline, SimKubelet, Stall, parse_rfc3339};

const SUMMARY: &str = "/stats/summary";
const PODS: &str = "/pods";
const BUSY: &str = "default/log-generator-a-vm";

/// Status and body; whatever the body has when nothing comes any more.
fn ask(kubelet: &SimKubelet, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, kubelet.port())).expect("a port");
    let patience = Some(Duration::from_secs(2));
    stream.set_read_timeout(patience).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: vm\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut reply = Vec::new();
    // An end that is none is what some faults are about.
    let _ = stream.read_to_end(&mut reply);
    let Some(end) = reply.windows(4).position(|four| four == b"\r\n\r\n") else {
        return (0, Vec::new());
    };
    let head = String::from_utf8_lossy(&reply[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = reply.split_off(end + 4);
    match head.contains("chunked") {
        true => (status.unwrap_or(0), dechunked(&body)),
        false => (status.unwrap_or(0), body),
    }
}

fn dechunked(mut body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let line = std::str::from_utf8(&body[..end]).unwrap_or_default();
        let size = usize::from_str_radix(line, 16).unwrap_or(0);
        let chunk = &body[end + 2..];
        if size == 0 || chunk.len() < size + 2 {
            break;
        }
        out.extend_from_slice(&chunk[..size]);
        body = &chunk[size + 2..];
    }
    out
}

fn json(kubelet: &SimKubelet, path: &str) -> Value {
    let (status, body) = ask(kubelet, path);
    assert_eq!(status, 200, "{path}");
    serde_json::from_slice(&body).expect("JSON")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

fn statuses(item: &Value) -> impl Iterator<Item = &Value> {
    [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ]
    .into_iter()
    .flat_map(|key| list(&item["status"][key]))
}

fn item<'a>(pods: &'a Value, pod: &str) -> &'a Value {
    let (namespace, name) = pod.split_once('/').expect("a namespace");
    list(&pods["items"])
        .iter()
        .find(|item| item["metadata"]["name"] == name && item["metadata"]["namespace"] == namespace)
        .unwrap_or(&Value::Null)
}

fn in_summary<'a>(summary: &'a Value, pod: &str) -> &'a Value {
    let (namespace, name) = pod.split_once('/').expect("a namespace");
    list(&summary["pods"])
        .iter()
        .find(|one| one["podRef"]["name"] == name && one["podRef"]["namespace"] == namespace)
        .unwrap_or(&Value::Null)
}

#[test]
fn what_runs_is_in_both_replies() {
    let small = || SimKubelet::builder().plain_http(true);
    for kubelet in [
        small().started(),
        small().full(true).started(),
        small().full(true).pods(90).started(),
    ] {
        let (summary, pods) = (json(&kubelet, SUMMARY), json(&kubelet, PODS));
        let mut ids = HashSet::new();
        let mut owners = HashSet::new();
        for stats in list(&summary["pods"]) {
            let pod_ref = &stats["podRef"];
            let name = format!("{}/{}", text(&pod_ref["namespace"]), text(&pod_ref["name"]));
            let item = item(&pods, &name);
            assert_eq!(item["metadata"]["uid"], pod_ref["uid"], "{name}");
            assert_eq!(item["status"]["startTime"], stats["startTime"], "{name}");
            assert_eq!(item["status"]["phase"], "Running");
            owners.extend(
                list(&item["metadata"]["ownerReferences"])
                    .iter()
                    .map(|one| {
                        assert_eq!(one["controller"], true);
                        text(&one["kind"]).to_owned()
                    }),
            );
            let by_name: HashMap<&str, &Value> = statuses(item)
                .map(|one| (text(&one["name"]), one))
                .collect();
            for container in list(&stats["containers"]) {
                let status = by_name[text(&container["name"])];
                assert_eq!(
                    status["state"]["running"]["startedAt"], container["startTime"],
                    "{name}"
                );
                assert!(text(&status["containerID"]).len() == "containerd://".len() + 64);
                assert!(ids.insert(status["containerID"].clone()), "{name}: twice");
            }
            let running = by_name
                .values()
                .filter(|one| one["state"].get("running").is_some());
            assert_eq!(running.count(), list(&stats["containers"]).len(), "{name}");
            let volumes: HashSet<&str> = list(&item["spec"]["volumes"])
                .iter()
                .map(|one| text(&one["name"]))
                .collect();
            for volume in list(&stats["volume"]) {
                assert!(volumes.contains(text(&volume["name"])), "{name}");
            }
        }
        let idle = list(&pods["items"]).len() - list(&summary["pods"]).len();
        assert_eq!(
            idle, 5,
            "completed, failed, crashing twice, and without an image"
        );
        if list(&summary["pods"]).len() > 7 {
            assert_eq!(owners.len(), 4, "{owners:?}");
            let debugged = list(&pods["items"])
                .iter()
                .filter(|one| one["status"].get("ephemeralContainerStatuses").is_some());
            assert!(debugged.count() > 0);
            let whole = list(&pods["items"])
                .iter()
                .filter(|one| one["spec"]["resources"]["limits"].is_object());
            assert!(whole.count() > 0);
        }
    }
}

/// Times apart, in which only the moment differs.
fn without_times(value: &mut Value) {
    match value {
        Value::String(text) if text.starts_with("20") && text.ends_with('Z') => text.clear(),
        Value::Array(items) => items.iter_mut().for_each(without_times),
        Value::Object(fields) => fields.values_mut().for_each(without_times),
        _ => {}
    }
}

#[test]
fn captured_pods_keep_what_was_captured() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let mut served = json(&kubelet, PODS);
    let mut captured: Value =
        serde_json::from_str(include_str!("../../fixtures/02-steady-open.pods.json"))
            .expect("the captured list");
    without_times(&mut served);
    without_times(&mut captured);
    assert_eq!(list(&captured["items"]).len(), list(&served["items"]).len());
    for captured in list(&captured["items"]) {
        let name = format!(
            "{}/{}",
            text(&captured["metadata"]["namespace"]),
            text(&captured["metadata"]["name"])
        );
        assert_eq!(item(&served, &name), captured, "{name}");
    }
}

#[test]
fn what_happens_to_a_pod_is_in_pods() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let job = "default/report-29384720-x7k2p";
    let uid = kubelet.add_job_pod(job, 100, "report").expect("a name");
    assert!(
        kubelet
            .add_pending("default/new", "ImagePullBackOff")
            .is_some()
    );
    assert!(
        kubelet.set_label(BUSY, "tier", "gold") && kubelet.set_annotation(BUSY, "note", "\"x\"")
    );
    assert!(kubelet.set_label("default/new", "tier", "none"));
    assert!(!kubelet.set_label("default/nobody", "a", "b"));
    let before = json(&kubelet, PODS);
    assert!(kubelet.kill_container(BUSY, "log-generator", "OOMKilled", 137));
    let (summary, pods) = (json(&kubelet, SUMMARY), json(&kubelet, PODS));

    let busy = item(&pods, BUSY);
    assert_eq!(busy["metadata"]["labels"]["tier"], "gold");
    assert_eq!(busy["metadata"]["labels"]["role"], "busy");
    assert_eq!(busy["metadata"]["annotations"]["note"], "\"x\"");
    let status = &busy["status"]["containerStatuses"][0];
    let earlier = &item(&before, BUSY)["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1);
    let ended = &status["lastState"]["terminated"];
    assert_eq!(
        (&ended["reason"], &ended["exitCode"]),
        (&"OOMKilled".into(), &137.into())
    );
    assert_eq!(ended["containerID"], earlier["containerID"]);
    assert_eq!(ended["startedAt"], earlier["state"]["running"]["startedAt"]);
    assert_ne!(status["containerID"], earlier["containerID"]);
    assert_eq!(
        status["state"]["running"]["startedAt"],
        in_summary(&summary, BUSY)["containers"][0]["startTime"]
    );

    let owned = item(&pods, job);
    assert_eq!(owned["metadata"]["uid"], uid.as_str());
    assert_eq!(owned["metadata"]["labels"]["job_type"], "report");
    let owner = &owned["metadata"]["ownerReferences"][0];
    assert_eq!(
        (&owner["kind"], &owner["name"]),
        (&"Job".into(), &"report-29384720".into())
    );
    assert_eq!(in_summary(&summary, job)["podRef"]["uid"], uid.as_str());

    let pending = item(&pods, "default/new");
    assert_eq!(pending["status"]["phase"], "Pending");
    assert_eq!(pending["metadata"]["labels"]["tier"], "none");
    let state = &pending["status"]["containerStatuses"][0]["state"];
    assert_eq!(state["waiting"]["reason"], "ImagePullBackOff");
    assert!(in_summary(&summary, "default/new").is_null());
    let pending = pending.clone();
    assert!(kubelet.start_pending("default/new", 10));
    assert!(!kubelet.start_pending("default/new", 10));
    let (summary, pods) = (json(&kubelet, SUMMARY), json(&kubelet, PODS));
    let started = &item(&pods, "default/new");
    assert_eq!(started["status"]["phase"], "Running");
    assert_eq!(started["metadata"]["labels"]["tier"], "none");
    let uid = &in_summary(&summary, "default/new")["podRef"]["uid"];
    assert_eq!(started["metadata"]["uid"], *uid);
    assert_eq!(pending["metadata"]["uid"], *uid);

    assert!(kubelet.complete(job) && !kubelet.complete(job));
    let (summary, pods) = (json(&kubelet, SUMMARY), json(&kubelet, PODS));
    assert!(in_summary(&summary, job).is_null());
    let ended = item(&pods, job);
    assert_eq!(ended["status"]["phase"], "Succeeded");
    let state = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(
        (&state["reason"], &state["exitCode"]),
        (&"Completed".into(), &0.into())
    );
    assert_eq!(kubelet.remove_idle(job), 1);
    assert!(item(&json(&kubelet, PODS), job).is_null());
}

#[test]
fn a_mirror_has_a_uid_of_its_own() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let uid = kubelet.mirror_pod(BUSY).expect("a pod");
    let (summary, pods) = (json(&kubelet, SUMMARY), json(&kubelet, PODS));
    let own = &in_summary(&summary, BUSY)["podRef"]["uid"];
    let metadata = &item(&pods, BUSY)["metadata"];
    assert_eq!(metadata["uid"], uid.as_str());
    assert_ne!(metadata["uid"], *own);
    assert_eq!(metadata["annotations"]["kubernetes.io/config.mirror"], *own);
    assert_eq!(metadata["ownerReferences"][0]["kind"], "Node");
    assert_eq!(kubelet.mirror_pod("default/nobody"), None);
}

#[test]
fn faults_and_rights_of_pods_are_theirs_alone() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    kubelet.set_pods_fault(Fault::Status(503, "later".to_owned()));
    assert_eq!(ask(&kubelet, PODS), (503, b"later".to_vec()));
    assert_eq!(ask(&kubelet, SUMMARY).0, 200);
    kubelet.set_pods_fault(Fault::None);
    kubelet.set_fault(Fault::NotJson);
    json(&kubelet, PODS);
    assert!(ask(&kubelet, SUMMARY).1.starts_with(b"<!DOCTYPE"));
    kubelet.clear_fault();
    let whole = ask(&kubelet, PODS).1;
    for fault in [Fault::CutBody, Fault::HangInBody, Fault::ChunkedGarbage] {
        kubelet.set_pods_fault(fault.clone());
        assert!(ask(&kubelet, PODS).1.len() < whole.len(), "{fault}");
    }
    kubelet.set_pods_fault(Fault::EmptyPods);
    assert_eq!(
        ask(&kubelet, PODS).1,
        b"{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":null}\n"
    );
    kubelet.set_pods_fault(Fault::TimeNull);
    let pods = json(&kubelet, PODS);
    let state = &item(&pods, BUSY)["status"]["containerStatuses"][0]["state"];
    assert!(state["running"]["startedAt"].is_null() && state["running"].is_object());
    kubelet.set_pods_fault(Fault::HugeNumbers);
    assert!(
        ask(&kubelet, PODS)
            .1
            .windows(5)
            .any(|five| five == b"1e400")
    );
    kubelet.set_pods_fault(Fault::None);
    kubelet.allow_pods(false);
    assert_eq!(
        (ask(&kubelet, PODS).0, ask(&kubelet, SUMMARY).0),
        (403, 200)
    );
    kubelet.allow_pods(true);
    kubelet.set_pods_body(Some(b"{}".to_vec()));
    assert_eq!(ask(&kubelet, PODS), (200, b"{}".to_vec()));
    kubelet.set_pods_body(None);
    let asked = kubelet.requests_of(PODS);
    json(&kubelet, "/api/v1/nodes/vm/proxy/pods");
    assert_eq!(kubelet.requests_of(PODS), asked + 1);
    assert_eq!(
        kubelet.requests_of(PODS) + kubelet.requests_of(SUMMARY),
        kubelet.requests()
    );
}

/// A counter, when it was read, in milliseconds.
type Sample = (u64, u64);

/// Every counter of a reply, and how much of it a second is right.
fn counters(kubelet: &SimKubelet, summary: &Value) -> HashMap<String, (Sample, u64)> {
    let mut out = HashMap::new();
    let mut put = |name: String, counter: &Value, time: &Value, rate: u64| {
        let at = parse_rfc3339(text(time)).expect("a time");
        assert!(out.insert(name, ((number(counter), at), rate)).is_none());
    };
    let mut part = |name: &str, of: &Value, nanocores: u64, stalls: [Stall; 3]| {
        let cpu = &of["cpu"];
        put(
            format!("{name} cpu"),
            &cpu["usageCoreNanoSeconds"],
            &cpu["time"],
            nanocores,
        );
        assert_eq!(number(&cpu["usageNanoCores"]), nanocores, "{name}");
        for (key, stall) in ["cpu", "memory", "io"].into_iter().zip(stalls) {
            for (line, rate) in [("some", stall.some), ("full", stall.full)] {
                let psi = &of[key]["psi"][line];
                put(
                    format!("{name} {key} {line}"),
                    &psi["total"],
                    &of[key]["time"],
                    rate,
                );
                let near = rate as f64 / 10_000.0;
                for window in ["avg10", "avg60", "avg300"] {
                    let share = psi[window].as_f64().expect("a share");
                    assert!(
                        (share - near).abs() <= near / 4.0,
                        "{name} {key} {share} {near}"
                    );
                }
            }
        }
        assert!(of["swap"]["swapUsageBytes"].is_u64(), "{name}");
    };
    let three = |pressure: sim_kubelet::Pressure| [pressure.cpu, pressure.memory, pressure.io];
    let node = kubelet.node_truth().expect("a full kubelet");
    part(
        "node",
        &summary["node"],
        node.nanocores,
        three(node.pressure),
    );
    assert_eq!(
        list(&summary["node"]["systemContainers"]).len(),
        node.system_containers.len()
    );
    for stats in list(&summary["node"]["systemContainers"]) {
        let mut all = node.system_containers.iter();
        let truth = all
            .find(|one| one.name == text(&stats["name"]))
            .expect("it");
        part(&truth.name, stats, truth.nanocores, three(truth.pressure));
    }
    for stats in list(&summary["pods"]) {
        let pod_ref = &stats["podRef"];
        let name = format!("{}/{}", text(&pod_ref["namespace"]), text(&pod_ref["name"]));
        let truth = kubelet.truth(&name).expect("a pod");
        part(&name, stats, truth.nanocores, three(truth.pressure));
        for stats in list(&stats["containers"]) {
            let mut all = truth.containers.iter();
            let truth = all
                .find(|one| one.name == text(&stats["name"]))
                .expect("it");
            part(
                &format!("{name}/{}", truth.name),
                stats,
                truth.nanocores,
                three(truth.pressure),
            );
        }
    }
    let mut network = |name: &str, of: &Value, truth: NetworkTruth| {
        let of = &of["network"];
        put(
            format!("{name} rx"),
            &of["rxBytes"],
            &of["time"],
            truth.rx_bytes_per_second,
        );
        put(
            format!("{name} tx"),
            &of["txBytes"],
            &of["time"],
            truth.tx_bytes_per_second,
        );
    };
    network("node", &summary["node"], node.network);
    for stats in list(&summary["pods"]) {
        let pod_ref = &stats["podRef"];
        let name = format!("{}/{}", text(&pod_ref["namespace"]), text(&pod_ref["name"]));
        let truth = kubelet.truth(&name).expect("a pod");
        network(&name, stats, truth.network);
    }
    out
}

#[test]
fn every_counter_of_a_full_kubelet_moves_at_its_true_rate() {
    // So short a period has times in milliseconds, and all is exact.
    let kubelet = SimKubelet::builder()
        .plain_http(true)
        .full(true)
        .burn(BUSY, 785)
        .sample_period(Duration::from_millis(150))
        .started();
    let first = counters(&kubelet, &json(&kubelet, SUMMARY));
    std::thread::sleep(Duration::from_millis(600));
    let second = counters(&kubelet, &json(&kubelet, SUMMARY));
    assert_eq!(first.len(), second.len());
    let mut stood_still = 0;
    for (name, ((before, from), rate)) in &first {
        let ((after, to), _) = second[name];
        assert!(to > *from, "{name}");
        let moved = after.checked_sub(*before).expect(name);
        let right = u128::from(*rate) * u128::from(to - from) / 1_000;
        assert!(
            u128::from(moved).abs_diff(right) <= 1,
            "{name}: {moved} instead of {right}"
        );
        stood_still += usize::from(moved == 0);
    }
    assert!(
        stood_still * 2 < first.len(),
        "{stood_still} of {}",
        first.len()
    );
}

#[test]
fn the_node_and_a_pod_keep_what_ended_in_them() {
    let kubelet = SimKubelet::builder()
        .plain_http(true)
        .full(true)
        .sample_period(Duration::from_millis(150))
        .started();
    let of_node = |summary: &Value| number(&summary["node"]["cpu"]["usageCoreNanoSeconds"]);
    let of_pod =
        |summary: &Value| number(&in_summary(summary, BUSY)["cpu"]["usageCoreNanoSeconds"]);
    let mut last = json(&kubelet, SUMMARY);
    for step in 0..12 {
        match step {
            2 => assert!(kubelet.restart_container(BUSY, "log-generator")),
            4 => assert!(kubelet.add_pod("default/more", 2_000).is_some()),
            6 => assert!(kubelet.complete("default/limited-vm")),
            8 => assert_eq!(kubelet.remove_pod("default/more"), 1),
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(50));
        let summary = json(&kubelet, SUMMARY);
        assert!(of_node(&summary) >= of_node(&last), "step {step}");
        assert!(of_pod(&summary) >= of_pod(&last), "step {step}");
        last = summary;
    }
}

#[test]
fn parts_of_a_full_reply_are_sampled_at_moments_of_their_own() {
    const NOW: u64 = 1_800_000_000_000;
    let mut node = Offline::full(15, Duration::from_secs(15), NOW);
    let summary: Value = serde_json::from_slice(&node.reply(NOW + 60_000)).expect("JSON");
    let mut times = HashSet::new();
    for part in list(&summary["pods"]).iter().chain([&summary["node"]]) {
        for key in ["cpu", "network"] {
            let time = text(&part[key]["time"]);
            let at = parse_rfc3339(time).expect("a time");
            assert!(time.len() == "2026-11-21T09:30:56Z".len(), "whole seconds");
            assert!((NOW + 39_000..=NOW + 60_000).contains(&at), "{time}");
            times.insert(at);
        }
    }
    assert!(times.len() > 8, "{times:?}");
    let of = |name: &str| {
        list(&summary["pods"])
            .iter()
            .filter(|pod| text(&pod["podRef"]["name"]).starts_with(name))
            .map(|pod| pod["volume"].clone())
            .next()
    };
    let claimed = of("ledger-").expect("a pod of the StatefulSet");
    let claim = list(&claimed)
        .iter()
        .find(|one| one["name"] == "data")
        .expect("a claim");
    assert_eq!(claim["pvcRef"]["name"], "data-ledger-1");
    assert!(claim["volumeHealthStats"]["abnormal"].is_boolean());
}

#[test]
fn without_eth0_the_nodes_interfaces_are_a_list() {
    for full in [false, true] {
        let kubelet = SimKubelet::builder()
            .plain_http(true)
            .full(full)
            .without_eth0(true)
            .started();
        let summary = json(&kubelet, SUMMARY);
        let host = in_summary(&summary, "kube-system/host-agent-vm");
        for network in [&summary["node"]["network"], &host["network"]] {
            assert_eq!(network["name"], "");
            assert!(network.get("rxBytes").is_none() && network.get("txErrors").is_none());
            let names: Vec<&str> = list(&network["interfaces"])
                .iter()
                .map(|one| text(&one["name"]))
                .collect();
            assert!(names.contains(&"ens5") && names.len() == 3, "{names:?}");
        }
        assert_eq!(in_summary(&summary, BUSY)["network"]["name"], "eth0");
    }
}
