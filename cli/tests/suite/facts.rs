//! Records of other kinds, and the facts of pods: what `check` says of them, and what
//! `once` shows.

use std::time::Instant;

use kubeletstats_core::{
    options::Config,
    scrape::{Memory, Pipeline, PodsReply},
    timestamp::Timestamp,
};
use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet};

use crate::{
    command::{after, kubelet, masked, path, run, run_with, write},
    once::at_the_time_of_the_captures,
    paste,
};

const STEADY: &[u8] = include_bytes!("../../../tests/fixtures/02-steady-open.summary.json");
const PODS: &[u8] = include_bytes!("../../../tests/fixtures/02-steady-open.pods.json");

const WITH_FACTS: (&str, &str) = ("pod_facts", "true");
const TWO: (&str, &str) = ("pod_prefix", "log-generator");

/// From this line on, to the next step.
fn step(kubelet: &SimKubelet, out: &str, begin: &str) -> String {
    let out = masked(out, kubelet);
    let mut lines = after(&out, begin).lines();
    let first = lines.next().unwrap_or_default();
    let rest = lines.take_while(|line| line.starts_with(' '));
    [first]
        .into_iter()
        .chain(rest)
        .map(|line| line.to_owned() + "\n")
        .collect()
}

#[test]
fn the_facts_of_the_wanted_pods_are_counted() {
    let kubelet = kubelet();
    let run = run_with(&kubelet, "check", &[WITH_FACTS, TWO]);
    assert_eq!(
        step(&kubelet, &run.out, "ok    facts"),
        "\
ok    facts    /pods: 200, N bytes after TIME: facts of 2 of 2 selected pods, of 2 of 2 containers
               rights needed: get on nodes/stats, and nodes/pods for pod_facts
"
    );
    // What was noted of the summary is not covered by the second request.
    assert!(
        run.out.contains("\nok    clock    the kubelet's clock"),
        "{}",
        run.out
    );
    assert!(
        run.out
            .ends_with("\nverdict: metrics arrive: 2 records in the first scrape\n")
    );
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_eq!(kubelet.requests_of("/pods"), 1);

    kubelet.set_pods_body(Some(br#"{"items":[]}"#.to_vec()));
    let run = run_with(&kubelet, "check", &[WITH_FACTS, TWO]);
    assert_eq!(
        step(&kubelet, &run.out, "warn  facts"),
        "\
warn  facts    /pods: 200, N bytes after TIME: facts of 0 of 2 selected pods, of 0 of 2 containers
               rights needed: get on nodes/stats, and nodes/pods for pod_facts
               no facts of default/log-generator-a-vm, default/log-generator-b-vm: what has just started gets them with a later scrape
"
    );
    assert_eq!(run.code, Some(0), "{}", run.out);
}

#[test]
fn nobody_asks_for_facts_unless_they_are_wanted() {
    let kubelet = kubelet();
    let run = run_with(&kubelet, "check", &[]);
    assert!(!run.out.contains("facts"), "{}", run.out);
    assert_eq!(kubelet.requests_of("/pods"), 0);
}

/// By whether the kubelet has the right of 1.33.
#[test]
fn without_the_right_to_the_pods_only_facts_are_missing() {
    for (fine, missing, needed, careful) in [
        (true, "pods", r#""nodes/stats", "nodes/pods""#, ""),
        (
            false,
            "proxy",
            r#""nodes/stats", "nodes/proxy""#,
            " (it can do much more: its holder can run commands in every pod)",
        ),
    ] {
        let kubelet = kubelet();
        kubelet.allow_pods(false);
        kubelet.set_fine_rights(fine);
        let run = run_with(&kubelet, "check", &[WITH_FACTS, TWO]);
        let said = step(&kubelet, &run.out, "warn  facts");
        let refused = "403 forbidden by https://127.0.0.1:PORT/pods: \
                       system:serviceaccount:default:powerless needs verb get on nodes/";
        assert!(said.contains(&format!("{refused}{missing}")), "{said}");
        assert!(
            said.contains("\n               it said: Forbidden (user="),
            "{said}"
        );
        assert!(
            said.ends_with("\n               records come without facts until it answers\n"),
            "{said}"
        );
        let end = after(&run.out, "verdict:");
        let expected = format!(
            "\
verdict: metrics arrive: 2 records in the first scrape (but see the warning above)
to do:   grant nodes/{missing} to system:serviceaccount:default:powerless, unless it has that already, beside nodes/stats{careful}:
"
        );
        assert!(end.starts_with(&expected), "{end}");
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""));

        let [command] = paste::commands(&run.out).try_into().expect("one command");
        let granted = paste::paste(&command, false);
        let question = format!(
            "kubectl auth can-i get nodes --subresource={missing} --as=system:serviceaccount:default:powerless"
        );
        assert_eq!(granted.calls, [question.as_str(), "kubectl apply -f -"]);
        let applied = granted.applied.expect("a manifest");
        let resources = format!("resources: [{needed}]");
        assert!(applied.contains(&resources), "{applied}");

        let run = run_with(&kubelet, "once", &[WITH_FACTS, TWO]);
        let line = format!("kubeletstats: no new facts of pods: {refused}{missing}");
        assert!(masked(&run.err, &kubelet).starts_with(&line), "{}", run.err);
        assert_eq!((run.err.lines().count(), run.out.lines().count()), (1, 3));
        assert_eq!(run.code, Some(0));
    }
}

/// Of a user who has no right at all, all that the options need is granted at once.
#[test]
fn one_role_holds_what_the_options_need() {
    let said = "Forbidden (user=alice, verb=get, resource=nodes, subresource(s)=[stats])";
    let kubelet = SimKubelet::builder()
        .fault(Fault::Status(403, said.to_owned()))
        .started();
    let run = run_with(&kubelet, "check", &[WITH_FACTS]);
    let advice = "to do:   grant nodes/stats to alice, unless it has that already, and nodes/pods for pod_facts:\n";
    assert!(run.out.contains(advice), "{}", run.out);
    assert!(
        run.out
            .contains(r#"resources: ["nodes/stats", "nodes/pods"]"#),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(1));
}

#[test]
fn labels_that_nobody_tells_keep_no_pod() {
    let kubelet = kubelet();
    let options = [WITH_FACTS, ("label_selector", "app=log-generator")];
    let run = run_with(&kubelet, "check", &options);
    assert_eq!(
        step(&kubelet, &run.out, "ok    pods"),
        "\
ok    pods     2 of 7 selected: default/log-generator-a-vm, default/log-generator-b-vm
               not selected: default/limited-vm, default/web-with-sidecar-vm, kube-system/host-agent-vm, other/guaranteed-vm, other/other-app-vm
"
    );
    assert_eq!(run.code, Some(0), "{}", run.out);

    kubelet.allow_pods(false);
    for (fault, cause) in [
        (Fault::None, "the right to get nodes/pods is missing"),
        (Fault::NotJson, "the kubelet does not tell of its pods"),
    ] {
        kubelet.allow_pods(fault != Fault::None);
        kubelet.set_pods_fault(fault);
        let run = run_with(&kubelet, "check", &options);
        let verdict = format!(
            "verdict: no metrics: {cause}, and label_selector selects no pod without facts\n"
        );
        assert!(run.out.contains(&verdict), "{}", run.out);
        assert!(run.out.contains("\nFAIL  facts    "), "{}", run.out);
        assert!(!run.out.contains("  pods     "), "{}", run.out);
        assert_eq!((run.code, run.err.as_str()), (Some(1), ""));

        let run = run_with(&kubelet, "once", &options);
        let line =
            "kubeletstats: no new facts of pods, and label_selector selects no pod without facts: ";
        assert!(run.err.starts_with(line), "{}", run.err);
        assert_eq!((run.code, run.err.lines().count()), (Some(1), 1));
    }
}

#[test]
fn what_drops_the_pods_is_named() {
    const EXCLUDE: &str = "kubeletstats.io/exclude";
    let kubelet = kubelet();
    assert!(kubelet.set_annotation("other/other-app-vm", EXCLUDE, "true"));
    let labels = "label_selector does not choose default/log-generator-a-vm, default/log-generator-b-vm: of its labels they have app=log-generator";
    for (options, hint) in [
        (
            vec![TWO, ("exclude_namespace", "default")],
            "exclude_namespace drops default/log-generator-a-vm, default/log-generator-b-vm",
        ),
        (
            vec![("pod_prefix", "other"), ("exclude_pod_prefix", "other-")],
            "exclude_pod_prefix drops other/other-app-vm",
        ),
        (
            vec![("pod_prefix", "other"), WITH_FACTS],
            "the annotation kubeletstats.io/exclude drops other/other-app-vm",
        ),
        (
            vec![TWO, WITH_FACTS, ("label_selector", "app=checkout,tier")],
            labels,
        ),
        (
            vec![TWO, WITH_FACTS, ("label_selector", "tier")],
            "label_selector does not choose default/log-generator-a-vm, default/log-generator-b-vm: of its labels they have none",
        ),
    ] {
        let run = run_with(&kubelet, "check", &options);
        let expected = format!(
            "\
verdict: no metrics: the options select none of the pods on this node
to do:   {hint}
to do:   if the pods run on another node, this is as it should be: check there
"
        );
        assert_eq!(after(&run.out, "verdict:"), expected, "{}", run.out);
        assert_eq!(run.code, Some(1));
    }
    // Nobody knows the annotation without facts.
    let run = run_with(&kubelet, "check", &[("pod_prefix", "other")]);
    assert_eq!(run.code, Some(0), "{}", run.out);
}

#[test]
fn every_kind_has_its_rows() {
    let kubelet = kubelet();
    let options = [("metric_groups", "all"), ("namespace", "default,other")];
    let run = run_with(&kubelet, "once", &options);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let rows: Vec<Vec<_>> = run
        .out
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        run.out.lines().next().map(|line| line
            .split("  ")
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .collect::<Vec<_>>()),
        Some(vec![
            "KIND",
            "NAMESPACE",
            "POD",
            "NAME",
            "CPU %",
            "MEMORY MiB",
            "USED MiB",
            "NET IN KiB",
            "NET OUT KiB",
            "AGE"
        ])
    );
    let of = |kind: &str| rows.iter().filter(|row| row[0] == kind).collect::<Vec<_>>();
    for (kind, count) in [
        ("container", 8),
        ("pod", 6),
        ("node", 1),
        ("system_container", 1),
        ("volume", 2),
    ] {
        assert_eq!(of(kind).len(), count, "{kind}:\n{}", run.out);
    }
    let node = of("node")[0];
    assert_eq!(node[1..4], ["-", "-", "vm"], "{}", run.out);
    assert!(node[4..9].iter().all(|cell| *cell != "-"), "{}", run.out);
    let volume = of("volume")[0];
    assert_eq!(
        volume[1..6],
        ["default", "web-with-sidecar-vm", "cache", "-", "-"]
    );
    assert_ne!(volume[6], "-");
    let pod = of("pod")[0];
    assert_eq!(pod[1..4], ["default", "limited-vm", "-"], "{}", run.out);
    let place = |row: &Vec<_>| -> [String; 4] {
        [row[1], row[2], row[0], row[3]].map(|cell: &str| cell.replace('-', ""))
    };
    assert!(rows[1..].is_sorted_by_key(place), "{}", run.out);

    let run = run_with(&kubelet, "check", &options);
    let interfaces = of("interface").len();
    let all = rows.len() - 1;
    let line = format!(
        "ok    records  {all} records: 8 container, 6 pod, 1 node, 2 volume, 1 system_container, {interfaces} interface\n"
    );
    assert_eq!(step(&kubelet, &run.out, "ok    records"), line);
    assert_eq!(run.code, Some(0), "{}", run.out);
}

/// The same bytes through the plugin's own pipeline.
#[test]
fn json_holds_what_the_records_hold() {
    let kubelet = at_the_time_of_the_captures(0, STEADY.to_vec());
    kubelet.set_pods_body(Some(PODS.to_vec()));
    let options = [
        WITH_FACTS,
        ("metric_groups", "container,volume"),
        ("fields", "all"),
        ("pod_labels", "*"),
        ("pod_annotations", "*"),
        ("cluster", "c"),
    ];
    let run = run_with(
        &kubelet,
        "once",
        &[&options[..], &[("--output", "json")]].concat(),
    );
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let mut shown: Vec<Value> = run
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();

    let given = |name: &str| options.iter().find(|(key, _)| *key == name);
    let config = Config::read(|name| given(name).map(|(_, value)| value.to_string()));
    let mut pipeline = Pipeline::new(&config.expect("valid options"));
    let summary = pipeline.decode(STEADY).expect("a summary");
    let now = Instant::now();
    assert!(pipeline.wants_facts(&summary, now));
    let reply = PodsReply {
        body: PODS,
        url: "",
        came: Timestamp::default(),
    };
    pipeline.learn(&summary, now, Ok(reply)).expect("facts");
    let batch = pipeline.encode(summary, Memory::default(), None);
    let mut events = batch.events();
    let mut expected = Vec::new();
    while !events.is_empty() {
        let event = rmpv::decode::read_value(&mut events).expect("an event");
        expected.push(as_json(&event[1]));
    }
    let place = |record: &Value| {
        ["podName", "kind", "containerName", "volumeName"].map(|key| record[key].to_string())
    };
    expected.sort_by_key(place);
    shown.sort_by_key(place);
    assert_eq!(shown.len(), expected.len());
    assert!(shown.iter().any(|record| record["labels"].is_object()));
    for (shown, expected) in shown.iter().zip(&expected) {
        assert_same(shown, expected, expected);
    }
}

fn as_json(value: &rmpv::Value) -> Value {
    match value {
        rmpv::Value::Map(entries) => Value::Object(
            entries
                .iter()
                .map(|(key, value)| (key.as_str().expect("a key").to_owned(), as_json(value)))
                .collect(),
        ),
        rmpv::Value::String(text) => text.as_str().expect("utf-8").into(),
        rmpv::Value::F64(number) => (*number).into(),
        rmpv::Value::Integer(number) => match number.as_u64() {
            Some(number) => number.into(),
            None => number.as_i64().expect("a whole number").into(),
        },
        other => panic!("no record holds {other}"),
    }
}

/// But for the last digit of a float, which Fluent Bit does not print.
fn assert_same(shown: &Value, expected: &Value, record: &Value) {
    match (shown, expected) {
        (Value::Object(shown), Value::Object(expected)) => {
            assert!(shown.keys().eq(expected.keys()), "{record}");
            for (key, value) in shown {
                assert_same(value, &expected[key], record);
            }
        }
        (Value::Number(shown), Value::Number(expected)) if expected.is_f64() => {
            let [shown, expected] = [shown, expected].map(|one| one.as_f64().expect("a float"));
            assert!(
                (shown - expected).abs() <= expected.abs() * 1e-15,
                "{shown} in {record}"
            );
        }
        _ => assert_eq!(shown, expected, "{record}"),
    }
}

/// What was asked for counts, not what there is besides.
#[test]
fn nothing_of_another_kind_is_no_success() {
    let kubelet = kubelet();
    let volumes = ("metric_groups", "volume");
    let nothing = "the kubelet reports nothing that metric_groups selects: volume";
    let excluded = "exclude_container drops every container of the selected pods";
    for (options, counted, cause) in [
        ([TWO, volumes], "0 records: 0 volume", nothing),
        (
            [TWO, ("exclude_container", "log-generator")],
            "0 records from 0 containers",
            excluded,
        ),
    ] {
        let run = run_with(&kubelet, "check", &options);
        assert!(
            run.out.contains(&format!("\nFAIL  records  {counted}\n")),
            "{}",
            run.out
        );
        assert!(
            run.out
                .contains(&format!("\nverdict: no metrics: {cause}\n")),
            "{}",
            run.out
        );
        assert_eq!(run.code, Some(1));
        let run = run_with(&kubelet, "once", &options);
        assert_eq!(run.err, format!("kubeletstats: {cause}\n"));
        assert_eq!((run.code, run.out.lines().count()), (Some(1), 1));
    }
    let run = run_with(&kubelet, "check", &[volumes]);
    assert!(
        run.out.contains("\nok    records  2 records: 2 volume\n"),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(0));
}

/// The node's own records come, whichever pods it has.
#[test]
fn a_node_needs_no_pods() {
    let kubelet = kubelet();
    let nowhere = ("namespace", "nowhere");
    let run = run_with(&kubelet, "check", &[nowhere, ("metric_groups", "node")]);
    assert!(!run.out.contains("  pods     "), "{}", run.out);
    let verdict = "\nverdict: metrics arrive: 1 record in the first scrape\n";
    assert!(run.out.ends_with(verdict), "{}", run.out);
    let run = run_with(
        &kubelet,
        "check",
        &[nowhere, ("metric_groups", "container,node")],
    );
    assert!(
        run.out
            .contains("\nwarn  pods     none of the node's 7 pods is selected\n"),
        "{}",
        run.out
    );
    assert!(
        run.out
            .contains("\nok    records  1 record: 0 container, 1 node\n"),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(0));
    let run = run_with(
        &kubelet,
        "once",
        &[nowhere, ("metric_groups", "container,node")],
    );
    assert_eq!(
        (run.code, run.out.lines().count()),
        (Some(0), 2),
        "{}",
        run.out
    );
}

/// Or else it would not end before the test's deadline.
#[test]
fn nobody_waits_for_jitter() {
    let kubelet = kubelet();
    let node = ("node_name", "a-node-that-waits");
    let options = [("interval", "168h"), ("jitter", "144h"), node];
    for command in ["check", "once"] {
        let run = run_with(&kubelet, command, &options);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    }
}

#[test]
fn a_file_and_arguments_choose_facts() {
    let kubelet = kubelet();
    let file = write(
        &kubelet,
        "fluent-bit.conf",
        "[INPUT]\n    Name kubeletstats\n    Kubelet_URL ${TEST_URL}\n    Kube_CA_File ${TEST_CA}\n    \
         Metric_Groups container,pod\n    Pod_Facts on\n    Pod_Labels app,role\n    Exclude_Container reader\n",
    );
    let (url, ca) = (kubelet.url(), path(&kubelet.ca_file()));
    let selector = "label_selector=app in (log-generator, web)";
    let arguments = ["once", "-c", &file, "-p", selector, "-o", "json"];
    let run = run(&arguments, &[("TEST_URL", &url), ("TEST_CA", &ca)]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    let records: Vec<Value> = run
        .out
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    let of = |kind: &str| records.iter().filter(|one| one["kind"] == kind).count();
    assert_eq!((of("container"), of("pod")), (4, 3), "{}", run.out);
    assert!(
        records.iter().all(|one| one["labels"]["app"].is_string()),
        "{}",
        run.out
    );
}
