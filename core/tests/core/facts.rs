//! Captured lists of pods, read by the plugin and, from what the Kubernetes API says of each
//! field, by `serde_json`.

use std::{collections::BTreeMap, fs, path::PathBuf};

use kubeletstats_core::{
    facts::{
        self, ContainerFacts, FactStore, LabelSelector, Patterns, PodFacts, Resources, Want,
        sightings,
    },
    select::Selector,
    summary,
    timestamp::Timestamp,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::replay::{Random, config, fixtures};

fn lists() -> Vec<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(fixtures())
        .expect("the fixtures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".pods.json"))
        .collect();
    found.sort();
    assert!(found.len() >= 11, "only {} lists", found.len());
    found
}

/// The pods of a list, with all labels and annotations.
fn read(body: &[u8]) -> Result<facts::Pods, facts::Malformed> {
    let all = Patterns::parse("*").expect("a pattern");
    let selector = LabelSelector::parse("app").expect("a selector");
    let want = Want {
        labels: &all,
        annotations: &all,
        selector: Some(&selector),
    };
    facts::parse(body, &want, |_, _| true)
}

/// What no capture has, each with where it is looked at instead.
const NEVER_CAPTURED: [(&str, &str); 6] = [
    (
        "workload",
        "static pods have none; unit tests of pods.rs and owner.rs",
    ),
    ("reason", "nothing was evicted; unit tests of pods.rs"),
    ("opted_out", "an annotation of ours; unit tests of pods.rs"),
    (
        "pod resources",
        "kubelets before 1.34; unit tests of pods.rs",
    ),
    (
        "ephemeral containers",
        "nobody debugged; unit tests of pods.rs",
    ),
    (
        "mirror pods",
        "a kubelet lists the static pod itself; unit tests of pods.rs",
    ),
];

/// Of each field how often it has a value, and how often both readings agree.
#[derive(Default)]
struct Table(BTreeMap<&'static str, (usize, usize, usize)>);

impl Table {
    fn row(&mut self, field: &'static str, expected: Value, found: Value, of: &str) {
        assert_eq!(found, expected, "{field} of {of}");
        let (looked_at, values, equal) = self.0.entry(field).or_default();
        let is_value =
            !matches!(expected, Value::Null | Value::Bool(false)) && expected != json!({});
        *looked_at += 1;
        *values += usize::from(is_value);
        *equal += usize::from(is_value && found == expected);
    }
}

/// Seconds since the epoch.
fn seconds(time: &Value) -> Value {
    let parsed = time
        .as_str()
        .map(|text| OffsetDateTime::parse(text, &Rfc3339));
    parsed.map_or(Value::Null, |time| {
        json!(time.expect("a time").unix_timestamp())
    })
}

fn stamp(time: Option<Timestamp>) -> Value {
    json!(time.map(|time| time.seconds))
}

/// The few forms that the captures have.
fn cores(text: &Value) -> Value {
    let Some(text) = text.as_str() else {
        return Value::Null;
    };
    match text.strip_suffix('m') {
        Some(thousandths) => json!(thousandths.parse::<f64>().expect("a number") / 1000.0),
        None => json!(text.parse::<f64>().expect("a number")),
    }
}

fn bytes(text: &Value) -> Value {
    let Some(text) = text.as_str() else {
        return Value::Null;
    };
    let (digits, factor) = match (text.strip_suffix("Mi"), text.strip_suffix("Gi")) {
        (Some(digits), _) => (digits, 1_u64 << 20),
        (_, Some(digits)) => (digits, 1 << 30),
        _ => (text, 1),
    };
    json!(digits.parse::<u64>().expect("a number") * factor)
}

fn resources(table: &mut Table, expected: &Value, found: &Resources, of: &str) {
    let (requests, limits) = (&expected["requests"], &expected["limits"]);
    table.row(
        "cpu_request",
        cores(&requests["cpu"]),
        json!(found.cpu_request),
        of,
    );
    table.row(
        "cpu_limit",
        cores(&limits["cpu"]),
        json!(found.cpu_limit),
        of,
    );
    table.row(
        "memory_request",
        bytes(&requests["memory"]),
        json!(found.memory_request),
        of,
    );
    table.row(
        "memory_limit",
        bytes(&limits["memory"]),
        json!(found.memory_limit),
        of,
    );
}

/// `null` for an empty map as well as for none.
fn map(expected: &Value) -> Value {
    match expected {
        Value::Object(map) => map
            .iter()
            .filter(|(_, value)| value.as_str().is_some_and(|text| text.len() <= 4096))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
        _ => json!({}),
    }
}

fn kept(pairs: &[(Box<str>, Box<str>)]) -> Value {
    assert!(pairs.is_sorted(), "{pairs:?}");
    let pairs = pairs
        .iter()
        .map(|(key, value)| (key.to_string(), json!(value)));
    Value::Object(pairs.collect())
}

fn pod(table: &mut Table, expected: &Value, found: &PodFacts) {
    let (metadata, spec, status) = (
        &expected["metadata"],
        &expected["spec"],
        &expected["status"],
    );
    let annotations = &metadata["annotations"];
    let of = format!("{}/{}", found.namespace, found.name);
    table.row(
        "namespace",
        metadata["namespace"].clone(),
        json!(found.namespace),
        &of,
    );
    table.row("name", metadata["name"].clone(), json!(found.name), &of);
    table.row("uid", metadata["uid"].clone(), json!(found.uid), &of);
    let hash = annotations["kubernetes.io/config.hash"].clone();
    table.row("config_hash", hash, json!(found.config_hash), &of);
    let mirrored = annotations["kubernetes.io/config.mirror"].clone();
    table.row("mirror pods", mirrored, Value::Null, &of);
    let owner = metadata["ownerReferences"][0]["name"].clone();
    let workload = found.workload.as_ref();
    table.row("workload", owner, json!(workload.map(|of| &of.name)), &of);
    table.row(
        "qos_class",
        status["qosClass"].clone(),
        json!(found.qos_class),
        &of,
    );
    table.row("phase", status["phase"].clone(), json!(found.phase), &of);
    table.row("reason", status["reason"].clone(), json!(found.reason), &of);
    table.row(
        "start_time",
        seconds(&status["startTime"]),
        stamp(found.start_time),
        &of,
    );
    table.row("labels", map(&metadata["labels"]), kept(&found.labels), &of);
    table.row(
        "annotations",
        map(annotations),
        kept(&found.annotations),
        &of,
    );
    let has_app = metadata["labels"].get("app").is_some();
    table.row("is_selected", json!(has_app), json!(found.is_selected), &of);
    let excluded = annotations["kubeletstats.io/exclude"] == "true";
    table.row("opted_out", json!(excluded), json!(found.opted_out), &of);
    let nothing = found.resources == Resources::default();
    let none = spec["resources"].is_null();
    table.row("pod resources", json!(!none), json!(!nothing), &of);
    for uid in [&found.uid, found.config_hash.as_ref().unwrap_or(&found.uid)] {
        assert!(found.is_of(uid) && !found.is_of("another"), "{of}");
    }

    let mut expected_containers = Vec::new();
    for (spec_list, status_list, kind) in [
        ("initContainers", "initContainerStatuses", "init"),
        ("containers", "containerStatuses", "app"),
        (
            "ephemeralContainers",
            "ephemeralContainerStatuses",
            "ephemeral",
        ),
    ] {
        for container in spec[spec_list].as_array().into_iter().flatten() {
            let statuses = status[status_list].as_array();
            let mut statuses = statuses.into_iter().flatten();
            let status = statuses.find(|status| status["name"] == container["name"]);
            let kind = match container["restartPolicy"].as_str() {
                Some("Always") if kind == "init" => "sidecar",
                _ => kind,
            };
            expected_containers.push((container, status.unwrap_or(&Value::Null), kind));
        }
    }
    let has_ephemeral = spec["ephemeralContainers"].is_array();
    table.row(
        "ephemeral containers",
        json!(has_ephemeral),
        json!(false),
        &of,
    );
    assert_eq!(found.containers.len(), expected_containers.len(), "{of}");
    for ((spec, status, kind), found) in expected_containers.iter().zip(&found.containers) {
        container(table, spec, status, kind, found, &of);
    }
}

fn container(
    table: &mut Table,
    spec: &Value,
    status: &Value,
    kind: &str,
    found: &ContainerFacts,
    pod: &str,
) {
    let of = format!("{pod}/{}", found.name);
    table.row(
        "container name",
        spec["name"].clone(),
        json!(found.name),
        &of,
    );
    table.row(
        "container_type",
        json!(kind),
        json!(found.kind.as_str()),
        &of,
    );
    table.row("image", spec["image"].clone(), json!(found.image), &of);
    let id = status["containerID"].as_str();
    let id = id.map(|id| id.trim_start_matches("containerd://"));
    table.row("container_id", json!(id), json!(found.container_id), &of);
    let count = status["restartCount"].clone();
    table.row("restart_count", count, json!(found.restart_count), &of);

    let state = &status["state"];
    let name = state.as_object().and_then(|state| state.keys().next());
    let (now, last) = (
        &state[name.map_or("", |name| name)],
        &status["lastState"]["terminated"],
    );
    table.row(
        "state",
        json!(name),
        json!(found.state.map(|state| state.as_str())),
        &of,
    );
    table.row(
        "state_reason",
        now["reason"].clone(),
        json!(found.state_reason),
        &of,
    );
    let started = seconds(&state["running"]["startedAt"]);
    table.row("started_at", started, stamp(found.started_at), &of);
    let exit_code = state["terminated"]["exitCode"].clone();
    table.row("exit_code", exit_code, json!(found.exit_code), &of);
    let reason = json!(found.last_termination_reason);
    table.row(
        "last_termination_reason",
        last["reason"].clone(),
        reason,
        &of,
    );
    table.row(
        "last_exit_code",
        last["exitCode"].clone(),
        json!(found.last_exit_code),
        &of,
    );

    let in_force = &status["resources"];
    let says_nothing = in_force.as_object().is_none_or(|object| object.is_empty());
    let expected = if says_nothing {
        &spec["resources"]
    } else {
        in_force
    };
    resources(table, expected, &found.resources, &of);
}

#[test]
fn captured_pods_are_as_the_api_means_them() {
    let mut table = Table::default();
    for path in lists() {
        let body = fs::read(&path).expect("a fixture");
        let found = read(&body).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let expected: Value = serde_json::from_slice(&body).expect("json");
        let expected = expected["items"].as_array().cloned().unwrap_or_default();
        assert_eq!(found.on_node, expected.len());
        assert_eq!(found.pods.len(), expected.len());
        assert_eq!(found.unreadable, 0);
        for (expected, found) in expected.iter().zip(&found.pods) {
            pod(&mut table, expected, found);
        }
    }
    println!("field | looked at | with a value | equal");
    for (field, (looked_at, values, equal)) in &table.0 {
        let why = NEVER_CAPTURED.iter().find(|(name, _)| name == field);
        let why = why.map_or("", |(_, why)| why);
        println!("{field} | {looked_at} | {values} | {equal} | {why}");
        assert_eq!(values, equal, "{field}");
        assert_eq!(*values == 0, !why.is_empty(), "{field}");
    }
    for (field, _) in NEVER_CAPTURED {
        assert!(table.0.contains_key(field), "{field}");
    }
}

/// Summaries beside the lists of the same moment: what lacks its facts, and nothing else.
#[test]
fn facts_fit_the_summary_they_were_taken_with() {
    let lists_and_lacks: [(&str, &[&str]); 6] = [
        // The kubelet has not yet seen that these run.
        (
            "01b-start-1.5s-cri-fallback-only",
            &[
                "completed-vm/job",
                "guaranteed-vm/main",
                "limited-vm/main",
                "log-generator-a-vm/log-generator",
                "log-generator-b-vm/log-generator",
                "oom-vm/leak",
                "other-app-vm/other-app",
            ],
        ),
        ("01h-start-32s", &[]),
        ("02-steady-open", &[]),
        // Started again; the list still has the run before.
        (
            "03c-just-after-restart",
            &["log-generator-b-vm/log-generator"],
        ),
        ("03d-after-restart-settled", &[]),
        ("21-k136-cgroup2-psi", &[]),
    ];
    for (moment, lacks) in lists_and_lacks {
        let file = |what: &str| fs::read(fixtures().join(format!("{moment}.{what}.json")));
        let (summary, pods) = (file("summary").expect("one"), file("pods").expect("one"));
        let plan = kubeletstats_core::catalogue::Plan::CONTAINERS;
        let summary: summary::Summary = Selector::new(&config(&[]))
            .parse(&summary, plan)
            .expect("a summary");
        let now = std::time::Instant::now();
        let mut store = FactStore::new(std::time::Duration::from_secs(60));
        assert!(sightings(&summary.pods).all(|one| store.has_no_facts(&one)));
        let found = read(&pods).expect("a list").pods;
        store.replace(now, found, sightings(&summary.pods));
        let mut without: Vec<_> = sightings(&summary.pods)
            .filter(|one| store.has_no_facts(one))
            .map(|one| {
                format!(
                    "{}/{}",
                    one.name,
                    one.container.map_or("", |(name, _)| name)
                )
            })
            .collect();
        without.sort();
        assert_eq!(without, lacks, "{moment}");
        assert!(!store.is_due(now, sightings(&summary.pods)), "{moment}");
    }
}

/// A damaged list is read as far as it can be, or not at all.
#[test]
fn damaged_lists_are_no_panic() {
    let bodies: Vec<_> = lists()
        .iter()
        .map(|path| fs::read(path).expect("one"))
        .collect();
    let mut random = Random(0x5eed);
    let mut below = |limit: usize| random.below(limit as u64) as usize;
    let (mut read_whole, mut broken_pods, mut refused) = (0, 0, 0);
    for _ in 0..3_000 {
        let mut body = bodies[below(bodies.len())].clone();
        for _ in 0..=below(4) {
            if body.is_empty() {
                break;
            }
            let at = below(body.len());
            match below(6) {
                0 => body.truncate(at),
                1 => body[at] ^= 1 << below(8),
                2 => body[at] = below(256) as u8,
                3 => drop(body.drain(below(at + 1)..at)),
                4 => {
                    let words = [
                        "null",
                        "{}",
                        "[]",
                        "-1",
                        "\"",
                        "1e400",
                        "\"\\ud800\"",
                        "]",
                        "}",
                    ];
                    let word = words[below(words.len())].as_bytes();
                    drop(body.splice(at..at, word.iter().copied()));
                }
                _ => {
                    let piece = body[below(at + 1)..at].to_vec();
                    drop(body.splice(at..at, piece));
                }
            }
        }
        match read(&body) {
            Ok(found) => {
                assert!(found.pods.len() + found.unreadable <= found.on_node);
                read_whole += usize::from(found.unreadable == 0);
                broken_pods += usize::from(found.unreadable > 0);
            }
            Err(_) => refused += 1,
        }
    }
    // Or else this looks at nothing.
    assert!(
        read_whole > 300 && broken_pods > 100 && refused > 300,
        "{read_whole} {broken_pods} {refused}"
    );
}

/// Any text, and text made of what these grammars know.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "([a-z./*-]{0,3}|[=!<>(), \n]| in | notin |é){0,12}",
        "[+-]?[0-9]{0,30}[.]?[0-9]{0,30}([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{0,20})?",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    })]

    #[test]
    fn any_text_is_read_or_refused_in_one_line(text in text(), key in text()) {
        let selector = LabelSelector::parse(&text);
        let patterns = Patterns::parse(&text);
        for refusal in [selector.as_ref().err(), patterns.as_ref().err()].into_iter().flatten() {
            prop_assert!(!refusal.chars().any(char::is_control), "{refusal:?}");
            prop_assert!(refusal.chars().count() < 400, "{refusal:?}");
        }
        if let Ok(selector) = selector {
            selector.matches(|_| Some(&key));
            selector.matches(|_| None::<&str>);
        }
        if let Ok(patterns) = patterns {
            patterns.allows(&key);
        }
        let (cores, bytes) = (facts::quantity::cores(&text), facts::quantity::bytes(&text));
        prop_assert_eq!(cores.is_some(), bytes.is_some());
        if let (Some(cores), Some(bytes)) = (cores, bytes) {
            // Bytes are rounded up, and a float has 53 bits of them.
            let bytes = bytes as f64;
            prop_assert!(bytes >= cores * (1.0 - 1e-15) && bytes - cores <= 1.0 + bytes * 1e-15);
        }
    }
}
