//! Native metrics beside the replies that they are made of, which are read here a second time
//! in another way.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs, ptr,
    time::Instant,
};

use kubeletstats_core::{
    catalogue::{Kind, Part, Unit, Value as Row},
    counters::Counters,
    error::Reason,
    options::Config,
    scrape::{About, Batch, Memory, Pipeline, PodsReply},
    sink::metrics::{
        self, KUBE_STATE, Naming, SELF, Scope,
        names::{self, ESTABLISHED, Named},
        shared_labels,
    },
    timestamp::Timestamp,
};
use serde_json::{Value, json};
use sim_kubelet::{Offline, parse_rfc3339};

use crate::{
    catalogue::{Entity, entities, is_pending, leaves, replies},
    contexts::{self, Context, Family, Sample},
    receiver::{METRICS, Ours, Type},
    replay::{config, fixtures},
};

const NOW: Timestamp = Timestamp {
    seconds: 1_800_000_000,
    nanos: 0,
};
pub const ALL: [(&str, &str); 3] = [
    ("format", "metrics"),
    ("metric_groups", "all"),
    ("fields", "all"),
];
pub const RECEIVERS_NAMES: (&str, &str) = ("metric_names", "opentelemetry");

fn about(body: &[u8]) -> About {
    About {
        counters: Counters::default(),
        began: Instant::now(),
        now: NOW,
        reply_bytes: body.len(),
    }
}

pub fn scrape(pipeline: &mut Pipeline, body: &[u8], pods: Option<&[u8]>) -> Batch {
    let summary = pipeline.decode(body).expect("a summary");
    if let Some(body) = pods {
        let now = Instant::now();
        assert!(pipeline.wants_facts(&summary, now));
        let reply = PodsReply {
            body,
            url: "",
            came: NOW,
        };
        let learnt = pipeline.learn(&summary, now, Ok(reply));
        learnt.expect("a list of pods");
    }
    pipeline.encode(summary, Memory::default(), Some(about(body)))
}

pub fn decoded(config: &Config, batch: &Batch) -> Vec<Context> {
    let metrics = batch.metrics().expect("metrics");
    contexts::decode(&metrics.bytes, metrics.count, config.dialect.has_units)
}

/// The contexts of one reply, for a host that knows units.
fn of_reply(options: &[(&str, &str)], body: &[u8], pods: Option<&[u8]>) -> Vec<Context> {
    let mut config = config(options);
    config.dialect.has_units = true;
    let batch = scrape(&mut Pipeline::new(&config), body, pods);
    decoded(&config, &batch)
}

/// The families of the only context.
fn families(options: &[(&str, &str)], body: &[u8], pods: Option<&[u8]>) -> Vec<Family> {
    let [context] = <[_; 1]>::try_from(of_reply(options, body, pods)).expect("one context");
    assert_eq!(context.attributes, None);
    context.families
}

fn family<'f>(families: &'f [Family], name: &str) -> Option<&'f Family> {
    families.iter().find(|family| family.name == name)
}

/// A node of 12 pods that writes everything, in its second sample, and its pods.
pub fn full_node() -> [Vec<u8>; 3] {
    let second = |number: u64| 1_800_000_000_000 + number * 1_000;
    let mut node = Offline::full(12, std::time::Duration::from_secs(15), second(0));
    let first = node.reply(second(60));
    [first, node.reply(second(90)), node.pods_reply()]
}

fn scope(entity: &Entity) -> Scope {
    let of_pod = entity.identity.iter().any(|(_, value)| value.is_string());
    match entity.kind {
        "container" => Scope::Container,
        "pod" => Scope::Pod,
        "node" => Scope::Node,
        "system_container" => Scope::SystemContainer,
        "volume" if entity.json["pvcRef"]["name"].is_string() => Scope::Claim,
        "volume" => Scope::Volume,
        "interface" if entity.identity[0].1.is_string() && of_pod => Scope::PodNetwork,
        "interface" => Scope::NodeNetwork,
        other => panic!("{other}"),
    }
}

/// The part of a scope that has these rows at this place.
fn part_of(scope: Scope, json: &str, rows: &'static [Row]) -> &'static Part {
    let parts = scope.parts();
    let keys = |rows: &[Row]| {
        rows.iter()
            .map(|row| (row.json, row.metric))
            .collect::<Vec<_>>()
    };
    let same = parts
        .into_iter()
        .filter(|part| keys(part.values) == keys(rows));
    let same: Vec<_> = same.collect();
    match same.as_slice() {
        [only] => only,
        several => several
            .iter()
            .find(|part| json.ends_with(part.json))
            .unwrap_or_else(|| panic!("{json} of {scope:?}")),
    }
}

/// One number of a reply that has a metric.
struct Number {
    scope: Scope,
    part: &'static Part,
    row: &'static Row,
    /// In the metric's unit.
    value: f64,
    /// In seconds.
    time: Option<u64>,
}

/// What the reply has of it that has a metric.
fn numbers(entity: &Entity, wants: impl Fn(&str) -> bool) -> Vec<Number> {
    let scope = scope(entity);
    let mut found = BTreeMap::new();
    leaves(&entity.json, "", &mut found);
    let mut numbers = Vec::new();
    for (json, _, rows) in entity.parts.iter().filter(|(json, ..)| wants(json)) {
        // What stands inline is that of one interface.
        let scope = match (json.as_str(), scope) {
            ("network", Scope::Pod) => Scope::PodNetwork,
            ("network", Scope::Node) => Scope::NodeNetwork,
            _ => scope,
        };
        let part = part_of(scope, json, rows);
        let place = match json.as_str() {
            "" => String::new(),
            json => format!("{json}."),
        };
        let own_time = found.get(&format!("{place}time"));
        let time = own_time.and_then(|time| parse_rfc3339(time.as_str()?));
        let time = time.map(|millis| millis / 1_000).filter(|time| *time > 0);
        for row in *rows {
            let Some(number) = found.get(&format!("{place}{}", row.json)) else {
                continue;
            };
            let number = number.as_f64().expect("a number");
            let is_use = row.json == "usedBytes" || row.json == "inodesUsed";
            let filesystem = &entity.json[json.as_str()];
            if is_use && ["rootfs", "logs"].contains(&json.as_str()) && is_pending(filesystem) {
                continue;
            }
            numbers.push(Number {
                scope,
                part,
                row,
                value: match row.unit {
                    Unit::CoreNanoseconds | Unit::NanoCores => number / 1e9,
                    Unit::Microseconds => number / 1e6,
                    _ => number,
                },
                time,
            });
        }
    }
    if let Some(is_abnormal) = found.get("volumeHealthStats.abnormal") {
        let parts = scope.parts();
        let part = parts.into_iter().find(|part| part.prefix == "health");
        let part = part.expect("of a volume");
        numbers.push(Number {
            scope,
            part,
            row: &part.values[0],
            value: f64::from(u8::from(is_abnormal.as_bool().expect("a switch"))),
            time: None,
        });
    }
    numbers
}

/// Whether there is any sample of it.
fn has_sample(entity: &Entity) -> bool {
    let json = &entity.json;
    let times = [
        &json["cpu"]["time"],
        &json["memory"]["time"],
        &json["network"]["time"],
        &json["ephemeral-storage"]["time"],
        &json["fs"]["time"],
        &json["time"],
    ];
    let few = if entity.kind == "container" { 2 } else { 6 };
    let is_pending = entity.kind == "volume" && is_pending(json);
    times[..few].iter().any(|time| time.is_string()) && !is_pending
}

fn identity<'e>(entity: &'e Entity, field: &str) -> Option<&'e str> {
    let found = entity.identity.iter().find(|(name, _)| *name == field);
    found.and_then(|(_, value)| value.as_str())
}

fn labels(pairs: &[Label]) -> BTreeMap<String, String> {
    let given = pairs.iter().filter_map(|(key, value)| {
        let value = (*value)?;
        Some(((*key).to_owned(), value.to_owned()))
    });
    given.filter(|(_, value)| !value.is_empty()).collect()
}

/// The labels of an entity's samples in Prometheus' way, but for the metric's own.
fn prometheus_labels(
    entity: &Entity,
    namespaces: &BTreeMap<String, String>,
) -> Vec<(&'static str, Option<String>)> {
    let claim = entity.json["pvcRef"]["name"].as_str().map(str::to_owned);
    // A claim's series do not say which pod has it.
    let of_claim = ["podName", "volumeName"];
    let owned = |field: &str| {
        let is_told = claim.is_none() || !of_claim.contains(&field);
        let value = identity(entity, field).filter(|_| is_told);
        value.map(str::to_owned)
    };
    let uid = identity(entity, "podUid");
    vec![
        (
            "namespace",
            uid.and_then(|uid| namespaces.get(uid).cloned()),
        ),
        ("pod", owned("podName")),
        ("container", owned("containerName")),
        ("volume", owned("volumeName")),
        ("interface", owned("interface")),
        ("persistentvolumeclaim", claim.clone()),
    ]
}

fn namespaces(reply: &Value) -> BTreeMap<String, String> {
    let pods = reply["pods"].as_array().into_iter().flatten();
    let pods = pods.map(|pod| &pod["podRef"]);
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    pods.map(|pod| (text(&pod["uid"]), text(&pod["namespace"])))
        .collect()
}

/// Finds the sample, which nobody else is to find.
fn take<'f>(
    families: &'f [Family],
    named: &Named,
    expected: &BTreeMap<String, String>,
    used: &mut BTreeSet<*const Sample>,
) -> (&'f Family, &'f Sample) {
    let family =
        family(families, &named.name).unwrap_or_else(|| panic!("{} is missing", named.name));
    let found = family.samples.iter().find(|one| one.labels == *expected);
    let sample = found.unwrap_or_else(|| panic!("{}: no {expected:?}", named.name));
    assert!(used.insert(sample), "{}{expected:?} twice", named.name);
    (family, sample)
}

fn check(number: &Number, named: &Named, family: &Family, sample: &Sample) {
    let what = format!("{} {:?}", family.name, sample.labels);
    assert_eq!(sample.value, number.value, "{what}");
    assert_eq!(
        family.is_counter,
        number.row.kind == Kind::Counter,
        "{what}"
    );
    assert_eq!(family.unit.as_deref(), Some(named.unit), "{what}");
    if let Some(time) = number.time {
        assert_eq!(sample.time, time * 1_000_000_000, "{what}");
    }
}

/// Each number of each reply is a sample of the name, type, labels, value and time that it has
/// to be; and but for those that are made of several numbers there is no other sample.
#[test]
fn every_number_of_every_reply_is_a_sample() {
    let only_whole = |json: &str| json == "network";
    let without_whole = |json: &str| json != "network";
    let mut compared = 0;
    for (groups, wants) in [
        ("all", &without_whole as &dyn Fn(&str) -> bool),
        ("container,pod,node", &only_whole),
    ] {
        let options = [
            ("format", "metrics"),
            ("metric_groups", groups),
            ("fields", "all"),
        ];
        for (name, body) in replies() {
            let reply: Value = serde_json::from_slice(&body).expect("json");
            let namespaces = namespaces(&reply);
            let families = families(&options, &body, None);
            let mut used = BTreeSet::new();
            for entity in entities(&reply).iter().filter(|one| has_sample(one)) {
                if groups != "all" && !["pod", "node"].contains(&entity.kind) {
                    continue;
                }
                let own = prometheus_labels(entity, &namespaces);
                for number in numbers(entity, wants) {
                    let mut own: Vec<_> = own
                        .iter()
                        .map(|(key, value)| (*key, value.as_deref()))
                        .collect();
                    if groups != "all" {
                        own.push(("interface", entity.json["network"]["name"].as_str()));
                    }
                    for named in names::prometheus(number.scope, number.part, number.row) {
                        let mut expected = own.clone();
                        expected
                            .extend(named.labels.iter().map(|(key, value)| (*key, Some(*value))));
                        let expected = labels(&expected);
                        let (family, sample) = take(&families, &named, &expected, &mut used);
                        check(&number, &named, family, sample);
                        compared += 1;
                    }
                }
            }
            if groups == "all" {
                nothing_else(&families, &used, &name);
            }
        }
    }
    assert!(compared > 10_000, "only {compared} samples compared");
}

/// What is made of several numbers, or of none.
fn is_derived(name: &str) -> bool {
    let own = SELF.iter().map(|told| told.name);
    own.chain(["machine_memory_bytes", "container_start_time_seconds"])
        .any(|own| own == name)
        || name.ends_with("_usage_cores")
        || name.ends_with("_start_time_seconds")
        || name.ends_with("_bytes_per_second")
}

fn nothing_else(families: &[Family], used: &BTreeSet<*const Sample>, of: &str) {
    for family in families.iter().filter(|family| !is_derived(&family.name)) {
        for sample in &family.samples {
            assert!(
                used.contains(&ptr::from_ref(sample)),
                "{of}: {} {:?} is of nothing",
                family.name,
                sample.labels
            );
        }
    }
}

/// The same in the receiver's names: each resource has one context, and its attributes are
/// those of the receiver.
#[test]
fn every_number_of_every_reply_is_in_its_resources_context() {
    let options = [&ALL[..], &[RECEIVERS_NAMES, ("cluster", "blue")]].concat();
    let mut compared = 0;
    for (name, body) in replies() {
        let reply: Value = serde_json::from_slice(&body).expect("json");
        let namespaces = namespaces(&reply);
        let contexts = of_reply(&options, &body, None);
        let mut resources = BTreeMap::new();
        for context in &contexts {
            assert!(context.static_labels.is_empty());
            let attributes = context.attributes.clone().expect("a resource");
            let before = resources.insert(attributes, context);
            assert!(before.is_none(), "{name}: {:?} twice", context.attributes);
        }
        let mut used = BTreeSet::new();
        for entity in entities(&reply).iter().filter(|one| has_sample(one)) {
            let uid = identity(entity, "podUid");
            let container = identity(entity, "containerName");
            let attributes = labels(&[
                (
                    "k8s.namespace.name",
                    uid.and_then(|uid| namespaces.get(uid).map(String::as_str)),
                ),
                ("k8s.pod.name", identity(entity, "podName")),
                ("k8s.pod.uid", uid),
                ("k8s.container.name", container.filter(|_| uid.is_some())),
                (
                    "k8s.node.system_container.name",
                    container.filter(|_| uid.is_none()),
                ),
                ("k8s.volume.name", identity(entity, "volumeName")),
                (
                    "k8s.persistentvolumeclaim.name",
                    entity.json["pvcRef"]["name"].as_str(),
                ),
                ("k8s.node.name", reply["node"]["nodeName"].as_str()),
                ("k8s.cluster.name", Some("blue")),
            ]);
            for number in numbers(entity, |json| json != "network") {
                for named in names::opentelemetry(number.scope, number.part, number.row) {
                    let context = resources
                        .get(&attributes)
                        .unwrap_or_else(|| panic!("{name}: no context of {attributes:?}"));
                    let mut expected = vec![("interface", identity(entity, "interface"))];
                    expected.extend(named.labels.iter().map(|(key, value)| (*key, Some(*value))));
                    let expected = labels(&expected);
                    let (family, sample) = take(&context.families, &named, &expected, &mut used);
                    check(&number, &named, family, sample);
                    compared += 1;
                }
            }
        }
        for context in &contexts {
            for family in &context.families {
                let is_derived = [".cpu.usage", ".uptime", ".io.rate"]
                    .iter()
                    .any(|end| family.name.ends_with(end))
                    || SELF.iter().any(|told| told.name == family.name);
                let all_used = family
                    .samples
                    .iter()
                    .all(|sample| used.contains(&ptr::from_ref(sample)));
                assert!(
                    is_derived || all_used,
                    "{name}: {} is of nothing",
                    family.name
                );
            }
        }
    }
    assert!(compared > 10_000, "only {compared} samples compared");
}

/// Prometheus' rules, and that what counts is called so; whatever the options are.
#[test]
fn names_are_as_prometheus_wants_them() {
    let established = |name: &str| ESTABLISHED.iter().any(|one| one.name == name);
    let [_, body, pods] = full_node();
    let facts = [
        &ALL[..],
        &[
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
            ("pod_labels", "*"),
        ],
    ]
    .concat();
    let mut names = BTreeSet::new();
    for family in families(&facts, &body, Some(&pods)) {
        let name = &family.name;
        let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(is_plain) && name.starts_with(|c: char| c.is_ascii_lowercase()));
        assert!(!name.contains("__") && !name.ends_with('_'), "{name}");
        assert!(
            family.is_counter == name.ends_with("_total")
                || (established(name) && !family.is_counter),
            "{name}"
        );
        for key in &family.keys {
            let valid = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            assert!(
                valid && !key.starts_with("__") && !["node", "cluster"].contains(&key.as_str())
            );
        }
        names.insert(family.name);
    }
    for told in SELF.iter().chain(&KUBE_STATE) {
        let seldom = told.name.ends_with("_reason")
            || told.name.contains("_init_")
            || told.name == "kubeletstats_scrape_failures_total";
        assert!(seldom || names.contains(told.name), "{}", told.name);
    }
    assert!(names.len() > 120, "only {}", names.len());
}

/// An entry of the table that no row can ever have would be a metric that nobody gets.
#[test]
fn every_established_name_is_of_a_row() {
    let mut rows: HashMap<(Scope, String), usize> = HashMap::new();
    for scope in Scope::ALL {
        for part in scope.parts() {
            for row in part.values.iter().filter(|row| !row.metric.is_empty()) {
                let tail = format!("{}{}", part.prefix, row.metric);
                let tail = tail.trim_start_matches('_').to_owned();
                *rows.entry((scope, tail)).or_default() += 1;
            }
        }
    }
    for one in ESTABLISHED {
        let count = rows.get(&(one.scope, one.tail.to_owned()));
        assert_eq!(count, Some(&1), "{:?} {}", one.scope, one.tail);
    }
    // No two rows share a name and labels.
    let mut series = BTreeSet::new();
    for scope in Scope::ALL {
        for part in scope.parts() {
            for row in part.values {
                for named in names::prometheus(scope, part, row) {
                    let keys = shared_labels(Naming::Prometheus, scope, true);
                    let new = series.insert((named.name.clone(), keys, named.labels));
                    assert!(new, "{} of {scope:?} twice", named.name);
                }
            }
        }
    }
}

/// A series of a page in Prometheus' text form.
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
    is_counter: bool,
}

/// As far as the captured page needs it: no label there has a blank, a comma or a quote in it.
fn page_series(page: &str) -> Vec<Series> {
    let types: BTreeMap<_, _> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split(' ');
            let series = words.next().expect("a series");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let pairs = labels.trim_end_matches('}').split(',');
            let pairs = pairs.filter_map(|pair| pair.split_once('='));
            Series {
                name: name.to_owned(),
                labels: pairs
                    .map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned()))
                    .collect(),
                value: words.next().expect("a value").parse().expect("a number"),
                is_counter: types[name] == "counter",
            }
        })
        .collect()
}

/// A captured page of the kubelet's own, beside the summary of the same moment: each of its
/// series is one of ours, with the same labels.
#[test]
fn the_kubelets_own_page_is_a_part_of_ours() {
    let page = fs::read_to_string(fixtures().join("02-steady-open.metrics-resource.txt"));
    let body = fs::read(fixtures().join("02-steady-open.summary.json")).expect("a fixture");
    let families = families(&ALL, &body, None);
    let (mut compared, mut equal) = (0, 0);
    for series in page_series(&page.expect("a fixture")) {
        if series.name == "resource_scrape_error" {
            continue;
        }
        let family = family(&families, &series.name);
        let family = family.unwrap_or_else(|| panic!("{} is missing", series.name));
        let ours = family.samples.iter().find(|sample| {
            let mut labels = sample.labels.clone();
            labels.remove("cpu");
            labels == series.labels
        });
        let ours = ours.unwrap_or_else(|| panic!("{}{:?}", series.name, series.labels));
        compared += 1;
        equal += usize::from(ours.value == series.value);
        // The page was read some seconds later.
        let off = (ours.value - series.value).abs();
        assert!(off <= series.value * 0.2 + 1.0, "{} {off}", series.name);
        assert_eq!(series.is_counter, family.is_counter, "{}", series.name);
    }
    assert!(
        compared >= 40 && equal * 2 > compared,
        "{equal} of {compared}"
    );
}

/// Whoever comes from the receiver finds every one of its default metrics. `--nocapture` prints
/// what there is of each.
#[test]
fn the_receivers_metrics_are_there() {
    let [first, body, pods] = full_node();
    let mut config = config(&[&ALL[..], &[RECEIVERS_NAMES, ("pod_facts", "on")]].concat());
    config.dialect.has_units = true;
    let mut pipeline = Pipeline::new(&config);
    scrape(&mut pipeline, &first, Some(&pods));
    let mut ours = BTreeMap::new();
    for context in decoded(&config, &scrape(&mut pipeline, &body, None)) {
        for family in context.families {
            let unit = family.unit.expect("units");
            ours.insert(family.name, (family.is_counter, unit));
        }
    }
    println!("{:<45} {:<8} {:<9} ours", "the receiver's", "type", "unit");
    for metric in METRICS {
        let kind = match metric.ours {
            Ours::Same => metric.kind,
            Ours::As(kind, _) => kind,
            Ours::None(_) => {
                assert!(!metric.is_default && !ours.contains_key(metric.name));
                continue;
            }
        };
        // Requests and limits of a pod as a whole, which no capture has.
        let is_seldom =
            metric.name.starts_with("k8s.pod.") && metric.name.ends_with("_utilization");
        match ours.get(metric.name) {
            Some((is_counter, unit)) => {
                assert_eq!(*is_counter, kind == Type::Counter, "{}", metric.name);
                assert_eq!(unit, metric.unit, "{}", metric.name);
            }
            None => assert!(is_seldom, "{} is missing", metric.name),
        }
        let said = format!("{:?}", metric.ours);
        println!(
            "{:<45} {:<8} {:<9} {said}",
            metric.name,
            format!("{:?}", metric.kind),
            metric.unit
        );
    }
    let known: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    let more: Vec<_> = ours
        .keys()
        .filter(|name| !known.contains(name.as_str()))
        .collect();
    println!("\nnot the receiver's: {more:#?}");
}

/// A host before 5.0 refuses what it does not know.
#[test]
fn units_and_starts_are_only_for_hosts_that_know_them() {
    let [_, body, _] = full_node();
    for names in [("metric_names", "prometheus"), RECEIVERS_NAMES] {
        let options = [&ALL[..], &[names]].concat();
        let mut config = config(&options);
        let batch = scrape(&mut Pipeline::new(&config), &body, None);
        // Panics at a key that is not known.
        decoded(&config, &batch);
        config.dialect.has_units = true;
        let batch = scrape(&mut Pipeline::new(&config), &body, None);
        let contexts = decoded(&config, &batch);
        let families = contexts.iter().flat_map(|context| &context.families);
        let mut samples = families.flat_map(|family| &family.samples);
        assert!(samples.any(|sample| sample.started.is_some()));
    }
}

/// Nothing of the kubelet's; and of whom it is said is the same as before.
#[test]
fn a_failed_scrape_says_that_the_kubelet_is_down() {
    let [_, body, _] = full_node();
    let mut counters = Counters::default();
    counters.scraped(Default::default());
    counters.failed(Reason::Refused);
    for names in [("metric_names", "prometheus"), RECEIVERS_NAMES] {
        let options = [&ALL[..], &[names, ("cluster", "blue")]].concat();
        let config = config(&options);
        let batch = scrape(&mut Pipeline::new(&config), &body, None);
        let node = batch.node.as_deref();
        assert!(node.is_some());
        let before = decoded(&config, &batch).pop().expect("of the node");
        let failed = metrics::failed(&config, node, &counters, NOW);
        let contexts = contexts::decode(&failed.bytes, failed.count, false);
        let [context] = <[_; 1]>::try_from(contexts).expect("one context");
        assert_eq!(context.attributes, before.attributes);
        assert_eq!(context.static_labels, before.static_labels);
        let mut values = BTreeMap::new();
        for family in &context.families {
            assert!(
                SELF.iter().any(|told| told.name == family.name),
                "{}",
                family.name
            );
            values.insert(family.name.as_str(), family.samples[0].value);
        }
        let expected = [
            ("kubeletstats_build_info", 1.0),
            ("kubeletstats_overruns_total", 0.0),
            ("kubeletstats_scrape_failures_total", 1.0),
            ("kubeletstats_scrapes_total", 1.0),
            ("kubeletstats_up", 0.0),
        ];
        assert_eq!(values, BTreeMap::from(expected));
        let up = |context: &Context| {
            family(&context.families, "kubeletstats_up").map(|up| up.samples[0].value)
        };
        assert_eq!((up(&before), up(&context)), (Some(1.0), Some(0.0)));
    }
}

/// What is not decoded is not there either.
#[test]
fn each_group_has_its_own_metrics() {
    let [_, body, _] = full_node();
    let all = families(&ALL, &body, None);
    let starts = |name: &str, starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    let network = ["container_network_", "kubeletstats_pod_network_"];
    for (group, has) in [
        (
            "container",
            &["container_", "kubeletstats_container_", network[1]][..],
        ),
        ("pod", &["pod_", "kubeletstats_pod_", network[0]]),
        (
            "node",
            &["node_", "machine_", "kubeletstats_node_", "container_"],
        ),
        ("volume", &["kubelet_volume_", "kubeletstats_volume_"]),
        ("system_container", &["kubeletstats_system_container_"]),
        (
            "interface",
            &[
                "container_network_",
                "kubeletstats_pod_network_",
                "kubeletstats_node_network_",
            ],
        ),
    ] {
        let options = [
            ("format", "metrics"),
            ("metric_groups", group),
            ("fields", "all"),
        ];
        let found = families(&options, &body, None);
        let mut count = 0;
        for family in &found {
            let is_own = SELF.iter().any(|told| told.name == family.name);
            assert!(
                is_own || starts(&family.name, has),
                "{group}: {}",
                family.name
            );
            count += usize::from(!is_own);
            assert!(all.iter().any(|other| other.name == family.name));
        }
        assert!(count >= 6, "{group}: {count}");
        let age = family(&found, "kubeletstats_newest_sample_age_seconds");
        assert!(
            age.is_some_and(|age| age.samples[0].value >= 0.0),
            "{group}"
        );
        let is_of_node = |sample: &Sample| !sample.labels.contains_key("pod");
        let mixed = found
            .iter()
            .filter(|family| family.name.starts_with("container_"));
        for sample in mixed.flat_map(|family| &family.samples) {
            assert!(
                group == "interface" || is_of_node(sample) == (group == "node"),
                "{group}"
            );
        }
    }
}

/// What comes twice in a reply is one series, as the decoder asserts.
#[test]
fn what_stands_twice_is_one_series() {
    let time = "2026-11-21T09:30:40Z";
    let cgroup = json!({"cpu": {"time": time, "usageCoreNanoSeconds": 7}});
    let mut container = cgroup.clone();
    container["name"] = "c".into();
    let interface = |bytes: u64| json!({"name": "eth1", "rxBytes": bytes, "txBytes": bytes});
    let network = json!({"time": time, "interfaces": [interface(1), interface(2)]});
    let volume = |bytes: u64| json!({"name": "v", "time": time, "usedBytes": bytes});
    let mut pod = cgroup.clone();
    pod["podRef"] = json!({"name": "p", "namespace": "n", "uid": "u"});
    pod["containers"] = json!([container, container]);
    pod["volume"] = json!([volume(3), volume(4)]);
    pod["network"] = network.clone();
    let mut other = pod.clone();
    other["podRef"]["name"] = "q".into();
    let mut node = cgroup;
    node["nodeName"] = "node".into();
    node["network"] = network;
    node["systemContainers"] = json!([container, container]);
    let reply = json!({"node": node, "pods": [pod, pod, other]}).to_string();
    let families = families(&ALL, reply.as_bytes(), None);
    for (name, count) in [
        ("container_cpu_usage_seconds_total", 3),
        ("kubeletstats_system_container_cpu_usage_seconds_total", 1),
        ("container_network_receive_bytes_total", 3),
        ("kubeletstats_volume_used_bytes", 2),
    ] {
        let family = family(&families, name).expect(name);
        assert_eq!(family.samples.len(), count, "{name}");
    }
    let options = [&ALL[..], &[RECEIVERS_NAMES]].concat();
    assert_eq!(
        of_reply(&options, reply.as_bytes(), None).len(),
        2 + 2 + 2 + 1 + 1
    );
}

/// The samples of a scrape have a bound, and what is beyond it is told.
#[test]
fn what_is_too_much_is_left_out_and_told() {
    let long = "x".repeat(253);
    let pressure = json!({"total": 1, "avg10": 1, "avg60": 1, "avg300": 1});
    let cgroup =
        json!({"time": "2026-11-21T09:30:40Z", "psi": {"some": pressure, "full": pressure}});
    let containers: Vec<_> = (0..500)
        .map(|at| json!({"name": format!("{at:0>253}"), "cpu": cgroup, "memory": cgroup, "io": cgroup}))
        .collect();
    let pods: Vec<_> = (0..10)
        .map(|at| {
            let reference = json!({"name": format!("{at:0>253}"), "namespace": long, "uid": "u"});
            json!({"podRef": reference, "containers": containers})
        })
        .collect();
    let reply = json!({"pods": pods}).to_string();
    for names in [("metric_names", "prometheus"), RECEIVERS_NAMES] {
        let options = [&ALL[..], &[names]].concat();
        let config = config(&options);
        let batch = scrape(&mut Pipeline::new(&config), reply.as_bytes(), None);
        let bytes = batch.metrics().expect("metrics").bytes.len();
        assert!(bytes < 25 << 20, "{bytes}");
        let contexts = decoded(&config, &batch);
        let of_plugin = &contexts.last().expect("a context").families;
        let left_out = family(of_plugin, "kubeletstats_left_out_samples").expect("told");
        let left_out = left_out.samples[0].value;
        assert!(left_out > 10_000.0, "{left_out}");
        assert_eq!(batch.containers, 5_000);
    }
}

fn quantity(text: &Value) -> Option<f64> {
    let text = text.as_str()?;
    let factors = [
        ("m", 1e-3),
        ("Ki", 1024.0),
        ("Mi", 1048576.0),
        ("Gi", 1073741824.0),
    ];
    let found = factors
        .iter()
        .find_map(|(end, factor)| Some((text.strip_suffix(end)?, *factor)));
    let (digits, factor) = found.unwrap_or((text, 1.0));
    Some(digits.parse::<f64>().expect("a number") * factor)
}

/// Captured lists of pods, as kube-state-metrics would tell of them.
#[test]
fn captured_pods_as_kube_state_metrics_tells_them() {
    let options = [
        &ALL[..],
        &[
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
            ("pod_labels", "app,tier"),
        ],
    ]
    .concat();
    let (mut lists, mut compared) = (0, BTreeMap::<&str, usize>::new());
    for entry in fs::read_dir(fixtures()).expect("the fixtures") {
        let path = entry.expect("an entry").path();
        let path = path.to_string_lossy().into_owned();
        let Some(start) = path.strip_suffix(".pods.json") else {
            continue;
        };
        let body = fs::read(format!("{start}.summary.json"));
        let body = body.unwrap_or_else(|_| br#"{"pods":[]}"#.to_vec());
        let list = fs::read(&path).expect("a fixture");
        let families = families(&options, &body, Some(&list));
        lists += 1;
        let list: Value = serde_json::from_slice(&list).expect("json");
        let mut expected = BTreeMap::<&str, Vec<(BTreeMap<String, String>, f64)>>::new();
        let mut add = |name, value: f64, pairs: &[Label]| {
            expected
                .entry(name)
                .or_default()
                .push((labels(pairs), value));
        };
        let pods = list["items"].as_array().into_iter().flatten();
        for pod in pods {
            let (metadata, status) = (&pod["metadata"], &pod["status"]);
            let text = |key: &str| metadata[key].as_str();
            let hash = metadata["annotations"]["kubernetes.io/config.hash"].as_str();
            let own = [
                ("namespace", text("namespace")),
                ("pod", text("name")),
                ("uid", hash.or(text("uid"))),
            ];
            assert!(metadata["ownerReferences"].is_null(), "none was captured");
            add("kube_pod_info", 1.0, &own);
            add("kube_pod_owner", 1.0, &own);
            let mut with = own.to_vec();
            for label in ["app", "tier"] {
                let key = ["label_app", "label_tier"][usize::from(label == "tier")];
                with.push((key, metadata["labels"][label].as_str()));
            }
            add("kube_pod_labels", 1.0, &with);
            for phase in ["Pending", "Succeeded", "Failed", "Unknown", "Running"] {
                let is = status["phase"] == phase;
                let labels = [&own[..], &[("phase", Some(phase))]].concat();
                add("kube_pod_status_phase", f64::from(u8::from(is)), &labels);
            }
            for class in ["Guaranteed", "Burstable", "BestEffort"] {
                let is = status["qosClass"] == class;
                let labels = [&own[..], &[("qos_class", Some(class))]].concat();
                add(
                    "kube_pod_status_qos_class",
                    f64::from(u8::from(is)),
                    &labels,
                );
            }
            containers(pod, &own, &mut add);
        }
        let told = KUBE_STATE.iter().map(|told| told.name);
        for name in told {
            let found = family(&families, name).map_or(&[][..], |family| &family.samples);
            let expected = expected.remove(name).unwrap_or_default();
            *compared.entry(name).or_default() += expected.len();
            assert_eq!(found.len(), expected.len(), "{path}: {name}");
            for (labels, value) in expected {
                let sample = found.iter().find(|sample| sample.labels == labels);
                let sample =
                    sample.unwrap_or_else(|| panic!("{path}: {name} {labels:?}: {found:#?}"));
                assert_eq!(sample.value, value, "{path}: {name} {labels:?}");
                assert_eq!(sample.time, NOW.as_nanos());
            }
        }
        assert!(expected.is_empty(), "{expected:?}");
    }
    println!("{compared:#?}");
    assert!(lists >= 11, "only {lists}");
    assert!(compared["kube_pod_container_resource_limits"] > 10);
    assert!(compared["kube_pod_container_status_waiting_reason"] > 0);
    assert!(compared["kube_pod_container_status_last_terminated_reason"] > 0);
}

/// A label that may have no value.
type Label<'l> = (&'l str, Option<&'l str>);

fn containers<'p>(
    pod: &'p Value,
    own: &[Label<'p>],
    add: &mut dyn FnMut(&'static str, f64, &[Label]),
) {
    let list = |json: &'p Value| json.as_array().into_iter().flatten();
    let (spec, status) = (&pod["spec"], &pod["status"]);
    type Names = [&'static str; 6];
    const APP: Names = [
        "kube_pod_container_info",
        "kube_pod_container_resource_requests",
        "kube_pod_container_resource_limits",
        "kube_pod_container_status_restarts_total",
        "kube_pod_container_status_waiting_reason",
        "kube_pod_container_status_last_terminated_reason",
    ];
    const INIT: Names = [
        "kube_pod_init_container_info",
        "kube_pod_init_container_resource_requests",
        "kube_pod_init_container_resource_limits",
        "kube_pod_init_container_status_restarts_total",
        "kube_pod_init_container_status_waiting_reason",
        "kube_pod_init_container_status_last_terminated_reason",
    ];
    for (specs, statuses, names) in [
        (&spec["containers"], &status["containerStatuses"], APP),
        (
            &spec["initContainers"],
            &status["initContainerStatuses"],
            INIT,
        ),
    ] {
        for container in list(specs) {
            let name = container["name"].as_str();
            let status = list(statuses).find(|status| status["name"].as_str() == name);
            let status = status.unwrap_or(&Value::Null);
            let labels = [own, &[("container", name)]].concat();
            let id = status["containerID"]
                .as_str()
                .and_then(|id| id.split("://").nth(1));
            let info = [("image", container["image"].as_str()), ("container_id", id)];
            add(names[0], 1.0, &[&labels[..], &info].concat());
            let in_force = match status["resources"].is_object() {
                true => &status["resources"],
                false => &container["resources"],
            };
            for (which, metric) in [("requests", names[1]), ("limits", names[2])] {
                for (resource, unit) in [("cpu", "core"), ("memory", "byte")] {
                    if let Some(value) = quantity(&in_force[which][resource]) {
                        let more = [("resource", Some(resource)), ("unit", Some(unit))];
                        add(metric, value, &[&labels[..], &more].concat());
                    }
                }
            }
            if let Some(count) = status["restartCount"].as_f64() {
                add(names[3], count, &labels);
            }
            for (metric, reason) in [
                (names[4], &status["state"]["waiting"]["reason"]),
                (names[5], &status["lastState"]["terminated"]["reason"]),
            ] {
                if let Some(reason) = reason.as_str() {
                    add(
                        metric,
                        1.0,
                        &[&labels[..], &[("reason", Some(reason))]].concat(),
                    );
                }
            }
        }
    }
}

/// A label's name may have what a label of Prometheus may not, and two may become one.
#[test]
fn labels_of_pods_become_labels_of_series() {
    let options = [
        &ALL[..],
        &[
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
            ("pod_labels", "*"),
        ],
    ]
    .concat();
    let pod = |name: &str, labels: Value| json!({"metadata": {"name": name, "namespace": "n", "uid": name, "labels": labels}});
    let list = |pods: &[Value]| json!({"items": pods}).to_string();
    let of_list = |pods: &[Value]| {
        let families = families(&options, br#"{"pods":[]}"#, Some(list(pods).as_bytes()));
        let labels = families
            .into_iter()
            .find(|family| family.name == "kube_pod_labels");
        labels.expect("the family")
    };
    let found = of_list(&[
        pod(
            "p",
            json!({"app.kubernetes.io/name": "web", "a.b": "1", "a-b": "2", "a_b": "3"}),
        ),
        pod("q", json!({"a_b": "4", "Tier": "back"})),
        pod("r", json!({})),
    ]);
    let own = ["namespace", "pod", "uid"];
    let more = ["label_Tier", "label_a_b", "label_app_kubernetes_io_name"];
    assert_eq!(found.keys, [own, more].concat());
    let value = |pod: &str, key: &str| {
        let sample = found
            .samples
            .iter()
            .find(|sample| sample.labels["pod"] == pod);
        sample
            .expect(pod)
            .labels
            .get(key)
            .cloned()
            .unwrap_or_default()
    };
    // The first of those that become one, in the order of their names.
    assert_eq!(value("p", "label_a_b"), "2");
    assert_eq!(value("q", "label_a_b"), "4");
    assert_eq!(value("q", "label_Tier"), "back");
    assert_eq!(value("r", "label_a_b"), "");
    assert_eq!(value("p", "label_app_kubernetes_io_name"), "web");

    // Labels that only one pod has each are no reason for a table of millions.
    let pods: Vec<_> = (0..2_000)
        .map(|at| pod(&format!("p{at}"), json!({format!("l{at}"): "v"})))
        .collect();
    assert_eq!(of_list(&pods).keys.len(), 3 + 256);
}

/// Of a pod that is not wanted nothing is told.
#[test]
fn pods_that_are_not_wanted_have_no_metrics() {
    let [_, body, pods] = full_node();
    let options = [
        &ALL[..],
        &[
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
            ("exclude_namespace", "default"),
            ("exclude_container", "main"),
        ],
    ]
    .concat();
    let mut samples = 0;
    for family in families(&options, &body, Some(&pods)) {
        for sample in &family.samples {
            samples += 1;
            let namespace = sample.labels.get("namespace").map(String::as_str);
            assert_ne!(namespace, Some("default"), "{}", family.name);
            let container = sample.labels.get("container").map(String::as_str);
            assert_ne!(container, Some("main"), "{}", family.name);
        }
    }
    assert!(samples > 100);
}

/// Also of `/pods`, which is asked more seldom; a pod that only that list has stays.
#[test]
fn a_pod_that_is_gone_has_no_metrics() {
    let [_, body, pods] = full_node();
    let options = [
        &ALL[..],
        &[("pod_facts", "on"), ("kube_state_metrics", "on")],
    ]
    .concat();
    let config = config(&options);
    let mut pipeline = Pipeline::new(&config);
    let mut names = |body: &[u8], pods: Option<&[u8]>| {
        let mut contexts = decoded(&config, &scrape(&mut pipeline, body, pods));
        let families = contexts.remove(0).families;
        let samples = families.into_iter().flat_map(|family| family.samples);
        let names = samples.filter_map(|mut sample| sample.labels.remove("pod"));
        names.collect::<BTreeSet<String>>()
    };
    let before = names(&body, Some(&pods));
    let mut reply: Value = serde_json::from_slice(&body).expect("json");
    let gone = reply["pods"].as_array_mut().expect("a list").remove(3);
    let gone = gone["podRef"]["name"].as_str().expect("a name").to_owned();
    let mut expected = before.clone();
    assert!(expected.remove(&gone));
    assert_eq!(names(reply.to_string().as_bytes(), None), expected);
    assert_eq!(names(&body, None), before);
    // Some of them have no statistics at all.
    assert!(before.len() > reply["pods"].as_array().map_or(0, Vec::len) + 1);
}

/// A sample that is not new is told again: what is not in a context has ended.
#[test]
fn a_known_sample_stays() {
    let [_, body, _] = full_node();
    let config = config(&ALL);
    let mut pipeline = Pipeline::new(&config);
    let mut of_scrape = || {
        let batch = scrape(&mut pipeline, &body, None);
        let mut contexts = decoded(&config, &batch);
        let families = contexts.remove(0).families;
        let families = families
            .into_iter()
            .filter(|family| !is_derived(&family.name));
        families
            .map(|family| (family.name, family.samples.len()))
            .collect::<BTreeMap<_, _>>()
    };
    let first = of_scrape();
    assert_eq!(first, of_scrape());
}
