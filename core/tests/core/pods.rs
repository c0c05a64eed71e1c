//! Facts of pods, from a kubelet that answers `/pods` or does not, into records.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use kubeletstats_core::{
    counters::Counters,
    error::Result,
    kubelet::{Client, deadline},
    scrape::{Batch, Memory},
    scraper::Scraper,
};
use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet};
use testkit::wait;

use crate::{events, replay::config_for};

const DEADLINE: Duration = Duration::from_secs(30);
const WEB: &str = "default/web-with-sidecar-vm";

/// Scrapes when it is told to, and gives what is known already once more.
struct Plugin {
    scraper: Scraper,
    _stop: deadline::Stop,
}

impl Plugin {
    fn of(kubelet: &SimKubelet, options: &[(&str, &str)]) -> Self {
        let usual = [("pod_facts", "on"), ("repeat_samples", "on")];
        let config = config_for(kubelet, &[options, &usual].concat());
        let (stop, signal) = deadline::stop_pair().expect("a socket pair");
        let client = Client::new(&config, signal).expect("readable files");
        Self {
            scraper: Scraper::new(&config, client),
            _stop: stop,
        }
    }

    fn scrape(&mut self) -> (Option<Result<usize>>, Vec<Value>) {
        let batch: Batch = self
            .scraper
            .scrape(Memory::default(), Counters::default())
            .expect("a summary");
        let events = events::decode(batch.events());
        (
            batch.facts,
            events.into_iter().map(|(_, record)| record).collect(),
        )
    }

    fn records(&mut self) -> Vec<Value> {
        self.scrape().1
    }

    /// Scrapes until the records are as wanted.
    fn until(&mut self, what: &str, are_right: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let mut records = Vec::new();
        let right = wait::until(what, DEADLINE, || {
            records = self.records();
            are_right(&records)
        });
        right.unwrap_or_else(|error| panic!("{error}"));
        records
    }
}

fn kubelet() -> SimKubelet {
    SimKubelet::builder().plain_http(true).started()
}

fn have_facts(records: &[Value]) -> bool {
    !records.is_empty() && records.iter().all(|record| record["qos_class"].is_string())
}

fn pods(records: &[Value]) -> BTreeSet<String> {
    let name = |record: &Value| record["podName"].as_str().expect("a name").to_owned();
    records.iter().map(name).collect()
}

#[test]
fn a_right_that_comes_later_brings_the_facts() {
    for (is_fine, right) in [(true, "nodes/pods"), (false, "nodes/proxy")] {
        let kubelet = SimKubelet::builder()
            .token("t")
            .pods_forbidden(true)
            .started();
        kubelet.set_fine_rights(is_fine);
        let mut plugin = Plugin::of(&kubelet, &[]);
        let (facts, records) = plugin.scrape();
        let line = facts.expect("asked").expect_err("forbidden").to_string();
        assert!(
            line.contains(&format!("needs verb get on {right}")),
            "{line}"
        );
        assert!(records.len() > 5 && records.iter().all(|record| record["phase"].is_null()));
        kubelet.allow_pods(true);
        plugin.until("facts", have_facts);
    }
}

/// One request for all scrapes within the interval; one more for what is new.
#[test]
fn the_kubelet_is_asked_again_for_what_is_new() {
    let kubelet = kubelet();
    let mut plugin = Plugin::of(&kubelet, &[]);
    let asked = || kubelet.requests_of("/pods");
    for _ in 0..20 {
        assert!(have_facts(&plugin.records()));
    }
    assert_eq!(asked(), 1);
    kubelet
        .add_job_pod("default/job-1", 100, "report")
        .expect("a pod");
    let has_job = |records: &[Value]| records.iter().any(|record| record["podName"] == "job-1");
    plugin.until("the job", has_job);
    assert!(have_facts(&plugin.records()));
    assert_eq!(asked(), 2);
    kubelet.restart_container(WEB, "app");
    let is_told = |records: &[Value]| {
        let mut of_app = records.iter().filter(|one| one["containerName"] == "app");
        of_app.any(|record| record["restart_count"] == 1)
    };
    plugin.until("a restart", is_told);
    assert_eq!(asked(), 3);
}

/// A quarter of the timeout, and then not at every scrape.
#[test]
fn pods_that_hang_hold_up_no_record_for_long() {
    let kubelet = kubelet();
    kubelet.set_pods_fault(Fault::HangBeforeHeaders);
    let mut plugin = Plugin::of(&kubelet, &[("timeout", "2s")]);
    let began = Instant::now();
    let (facts, records) = plugin.scrape();
    let took = began.elapsed();
    let line = facts.expect("asked").expect_err("nothing came").to_string();
    assert!(
        line.starts_with("timed out after 500ms waiting for the reply of http://"),
        "{line}"
    );
    assert!(line.contains("/pods"), "{line}");
    assert!(
        records.len() > 5 && took < Duration::from_millis(1_500),
        "{took:?}"
    );
    assert!(plugin.scrape().0.is_none(), "it is not asked again at once");
    kubelet.set_pods_fault(Fault::None);
    plugin.until("facts", have_facts);
}

#[test]
fn whatever_pods_answers_the_records_go_on() {
    let kubelet = kubelet();
    for fault in [
        Fault::Status(404, String::new()),
        Fault::Status(500, "no".to_owned()),
        Fault::NotJson,
        Fault::EmptyBody,
        Fault::Gzip,
        Fault::WrongContentLength,
        Fault::HangInBody,
    ] {
        let name = format!("{fault:?}");
        kubelet.set_pods_fault(fault);
        let (facts, records) = Plugin::of(&kubelet, &[("timeout", "1s")]).scrape();
        assert!(facts.expect("asked").is_err(), "{name}");
        assert!(records.len() > 5, "{name}");
    }
}

#[test]
fn labels_choose_and_an_annotation_opts_out() {
    let kubelet = kubelet();
    kubelet
        .add_job_pod("default/job-1", 100, "report")
        .expect("a pod");
    kubelet
        .add_job_pod("default/job-2", 100, "import")
        .expect("a pod");
    kubelet.set_label(WEB, "job_type", "report");
    let options = [
        ("label_selector", "job_type in (report)"),
        ("pod_labels", "job_*"),
        ("metric_groups", "all"),
    ];
    let mut plugin = Plugin::of(&kubelet, &options);
    let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let of_pods = |records: Vec<Value>| -> Vec<_> {
        let is_of_pod = |record: &Value| record["podName"].is_string();
        records.into_iter().filter(is_of_pod).collect()
    };
    let records = of_pods(plugin.records());
    assert_eq!(pods(&records), expected(&["job-1", "web-with-sidecar-vm"]));
    let kinds: BTreeSet<_> = records.iter().map(|one| one["kind"].as_str()).collect();
    assert_eq!(kinds.len(), 4, "{kinds:?}");
    for record in records.iter().filter(|one| one["kind"] != "interface") {
        assert_eq!(record["labels"], serde_json::json!({"job_type": "report"}));
    }
    kubelet.set_annotation(WEB, "kubeletstats.io/exclude", "true");
    let options = [
        ("label_selector", "job_type=report"),
        ("metric_groups", "all"),
    ];
    let records = of_pods(Plugin::of(&kubelet, &options).records());
    assert_eq!(pods(&records), expected(&["job-1"]));
    let without_selector = pods(&Plugin::of(&kubelet, &[]).records());
    assert!(!without_selector.contains("web-with-sidecar-vm"));
    assert!(without_selector.contains("job-2"));

    // Who does not know a pod's labels keeps it out.
    kubelet.set_pods_fault(Fault::Status(500, "no".to_owned()));
    let options = [("label_selector", "job_type=report")];
    assert!(pods(&Plugin::of(&kubelet, &options).records()).is_empty());
}

#[test]
fn pods_without_statistics_have_their_record() {
    let kubelet = kubelet();
    kubelet
        .add_pending("default/late", "ImagePullBackOff")
        .expect("a pod");
    let options = [("metric_groups", "pod"), ("pod_facts_interval", "1s")];
    let mut plugin = Plugin::of(&kubelet, &options);
    let of_late = |records: &[Value]| -> Vec<Value> {
        let late = records.iter().filter(|record| record["podName"] == "late");
        late.cloned().collect()
    };
    let records = plugin.records();
    let late = of_late(&records);
    assert_eq!(
        (late.len(), late[0]["phase"].as_str()),
        (1, Some("Pending"))
    );
    assert!(late[0]["cpu"].is_null() && late[0]["timestamp"].is_u64());
    let phases: BTreeSet<_> = records.iter().map(|one| one["phase"].as_str()).collect();
    assert!(phases.contains(&Some("Succeeded")) && phases.contains(&Some("Running")));
    let names = records.iter().map(|record| record["podName"].as_str());
    assert_eq!(
        names.collect::<BTreeSet<_>>().len(),
        records.len(),
        "one each"
    );
    // Not once more with every scrape, but with the next reply for the pods.
    assert!(of_late(&plugin.records()).is_empty());
    plugin.until("the next", |records| of_late(records).len() == 1);
}

/// The API's uid of a static pod is not the summary's.
#[test]
fn a_mirror_pod_is_known() {
    let kubelet = kubelet();
    kubelet.mirror_pod(WEB).expect("a pod");
    let records = Plugin::of(&kubelet, &[]).records();
    let of_web = |record: &&Value| record["podName"] == "web-with-sidecar-vm";
    let types = records
        .iter()
        .filter(of_web)
        .map(|one| one["container_type"].as_str());
    let types: BTreeSet<_> = types.collect();
    assert_eq!(types, BTreeSet::from([Some("app"), Some("sidecar")]));
}

#[test]
fn what_is_used_of_a_limit_is_told() {
    let kubelet = kubelet();
    let records = Plugin::of(&kubelet, &[]).records();
    let mut compared = 0;
    for record in &records {
        for (used, limit, part) in [
            ("cpu_cores", "cpu_limit_cores", "cpu_limit_utilization"),
            ("cpu_cores", "cpu_request_cores", "cpu_request_utilization"),
            (
                "memory_bytes",
                "memory_limit_bytes",
                "memory_limit_utilization",
            ),
            (
                "memory_bytes",
                "memory_request_bytes",
                "memory_request_utilization",
            ),
        ] {
            let [used, limit, part] = [used, limit, part].map(|field| record[field].as_f64());
            assert_eq!(
                part,
                limit.map(|limit| used.expect("measured") / limit),
                "{record}"
            );
            compared += usize::from(part.is_some());
        }
    }
    assert!(compared >= 4, "{compared}");
}

/// Of the run before, and of nothing that has ended since.
#[test]
fn what_ended_a_run_is_told_of_the_next() {
    let kubelet = kubelet();
    kubelet.set_annotation(WEB, "example.com/team", "a");
    let options = [("pod_annotations", "example.com/*")];
    let mut plugin = Plugin::of(&kubelet, &options);
    let of_app = |records: &[Value]| -> Option<Value> {
        let mut of_app = records.iter().filter(|one| one["containerName"] == "app");
        of_app.next().cloned()
    };
    let before = of_app(&plugin.records()).expect("a record");
    assert_eq!(
        before["annotations"],
        serde_json::json!({"example.com/team": "a"})
    );
    assert_eq!(
        (&before["state"], &before["restart_count"]),
        (&"running".into(), &0.into())
    );
    assert!(before["last_exit_code"].is_null() && before["state_reason"].is_null());
    kubelet.kill_container(WEB, "app", "OOMKilled", 137);
    let records = plugin.until("the new run", |records| {
        of_app(records).is_some_and(|record| record["restart_count"] == 1)
    });
    let after = of_app(&records).expect("a record");
    assert_eq!(after["last_termination_reason"], "OOMKilled");
    assert_eq!(after["last_exit_code"], 137);
    assert_ne!(after["container_id"], before["container_id"]);
}

/// The kubelet's own pages of one moment: the summary has the new run, `/pods` not yet.
#[test]
fn the_facts_of_a_run_before_are_not_those_of_the_next() {
    let read = |what| {
        let name = format!("03c-just-after-restart.{what}.json");
        std::fs::read(crate::replay::fixtures().join(name)).expect("a capture")
    };
    let (summary, pods) = (read("summary"), read("pods"));
    let mut pipeline = crate::replay::pipeline(&[("pod_facts", "on")]);
    let decoded = pipeline.decode(&summary).expect("a summary");
    let reply = kubeletstats_core::scrape::PodsReply {
        body: &pods,
        url: "",
        came: kubeletstats_core::timestamp::Timestamp::default(),
    };
    pipeline
        .learn(&decoded, Instant::now(), Ok(reply))
        .expect("a list");
    let batch = pipeline.encode(decoded, Memory::default(), None);
    let events = events::decode(batch.events());
    let of_b = |record: &&Value| record["podName"] == "log-generator-b-vm";
    let records: Vec<Value> = events.into_iter().map(|(_, record)| record).collect();
    let record = records.iter().find(of_b).expect("a record");
    assert_eq!(record["container_type"], "app");
    for field in ["state", "state_reason", "container_id", "restart_count"] {
        assert!(record[field].is_null(), "{field}: {record}");
    }
}
