//! Budgets that are counts, so that no machine is too noisy for them. Those that
//! are ratios are `make bench`'s.

use std::{
    env,
    hint::black_box,
    time::{Duration, Instant},
};

use allocation_counter::{AllocationInfo, measure};
use kubeletstats_core::{
    catalogue::Plan,
    counters::Counters,
    facts::{self, LabelSelector, Patterns, Want},
    options::Config,
    scrape::{About, Batch, Memory, Pipeline},
    select::Selector,
    summary::Malformed,
    timestamp::Timestamp,
};
use sim_kubelet::{Offline, captured};

fn pipeline(prefix: &str) -> Pipeline {
    let config = Config::read(|name| (name == "pod_prefix").then(|| prefix.to_owned()));
    Pipeline::new(&config.expect("valid options"))
}

/// Parse, select and encode: 2 pods wanted of 110, all buffers in place.
#[test]
fn heap_allocations_of_a_scrape() {
    for (prefix, pods, records, most) in [
        ("log-generator", 110, 2, 5),
        // No more for more pods: but for a list that grew, each is in memory of before.
        ("", 30, 40, 24),
        ("", 500, 698, 24),
    ] {
        let mut pipeline = pipeline(prefix);
        let mut memory = Vec::new();
        let mut counts = Vec::new();
        for sample in 0..16 {
            let body = captured::of_node(pods, sample);
            let mut batch = None;
            let used = measure(|| batch = pipeline.run(&body, memory).ok());
            let batch = batch.expect("a summary");
            assert_eq!(batch.records(), records);
            memory = batch.into_memory().logs;
            counts.push(used.count_total);
        }
        let steady = &counts[8..];
        println!("{records} of {pods} pods: {counts:?} allocations");
        assert!(steady.iter().all(|count| *count <= most), "{counts:?}");
    }
}

fn pipeline_of(options: &[(&str, &str)]) -> Pipeline {
    let config = Config::read(|name| {
        let given = options.iter().find(|(key, _)| *key == name);
        given.map(|(_, value)| (*value).to_owned())
    });
    Pipeline::new(&config.expect("valid options"))
}

/// With its metrics, if there are any.
fn scrape(pipeline: &mut Pipeline, body: &[u8], memory: Memory) -> Result<Batch, Malformed> {
    let summary = pipeline.decode(body)?;
    let about = About {
        counters: Counters::default(),
        began: Instant::now(),
        now: Timestamp::default(),
        reply_bytes: body.len(),
    };
    Ok(pipeline.encode(summary, memory, Some(about)))
}

/// What metrics cost beside records of the same reply, which brings a new sample of everything.
/// Decoding allocates for each container, pod and volume; telling of them must not.
#[test]
fn heap_allocations_of_metrics() {
    const PODS: usize = 110;
    let second = |number: u64| 1_800_000_000_000 + number * 1_000;
    let mut node = Offline::full(PODS, Duration::from_secs(15), second(0));
    let bodies: Vec<_> = (4..12)
        .map(|sample| node.reply(second(sample * 21)))
        .collect();
    let all = [("metric_groups", "all"), ("fields", "all")];
    let least_of = |format: &[(&str, &str)]| {
        let mut pipeline = pipeline_of(&[&all[..], format].concat());
        let mut memory = Memory::default();
        let mut counts = Vec::new();
        for body in bodies.iter().chain(&bodies) {
            let mut batch = None;
            let used = measure(|| batch = scrape(&mut pipeline, body, memory).ok());
            memory = batch.expect("a summary").into_memory();
            counts.push(used.count_total);
        }
        counts.split_off(bodies.len()).into_iter().max()
    };
    let records = least_of(&[]).expect("a count");
    let names = ("metric_names", "opentelemetry");
    for format in [
        &[("format", "metrics")][..],
        &[("format", "metrics"), names],
        &[("format", "both")],
    ] {
        let metrics = least_of(format).expect("a count");
        println!("{format:?}: {metrics} allocations, records {records}");
        assert!(metrics <= records + 16, "{format:?}: {metrics}, {records}");
    }
}

const MIB: usize = 1 << 20;

/// `1`, as of the other suites.
fn soak() -> bool {
    env::var("KUBELETSTATS_SOAK").is_ok_and(|value| value == "1")
}

/// As many of `part` as fill `size` bytes, between `head` and `tail`.
fn filled(head: &str, part: &str, separator: &str, tail: &str, size: usize) -> String {
    let count = (size - head.len() - tail.len()) / (part.len() + separator.len());
    let parts = vec![part; count.max(1)].join(separator);
    format!("{head}{parts}{tail}")
}

/// Something that stands many times in one pod: how it begins, what stands there, how it ends.
struct InPod {
    what: &'static str,
    head: &'static str,
    part: String,
    tail: &'static str,
    /// Whether such a pod can be read, for its records and for everything.
    readable: [bool; 2],
}

/// A reply, and what has to come of it.
struct Hostile {
    what: String,
    body: String,
    outcomes: [String; 2],
}

const PRESSED: &str = "pressure under long names";
const REFERENCE: &str = r#"{"podRef":{"name":"p","namespace":"n","uid":"u"},"#;
const CPU: &str = r#""cpu":{"time":"2026-11-21T09:30:40Z","usageNanoCores":1}"#;
const TIME: &str = r#""time":"2026-11-21T09:30:40Z""#;
const MEMORY: &str = r#""memory":{"time":"2026-11-21T09:30:40Z","workingSetBytes":1}"#;

fn in_pod() -> Vec<InPod> {
    let sampled = format!(r#"{{"name":"c",{CPU},{MEMORY}}}"#);
    let shape = |what, head, part: &str, tail, readable| InPod {
        what,
        head,
        part: part.to_owned(),
        tail,
        readable,
    };
    let (containers, list) = (r#""containers":["#, "]}");
    let (interfaces, of_network) = (r#""network":{"interfaces":["#, "]}}");
    let (yes, no) = (true, false);
    vec![
        // What has no name is left out and not kept.
        shape("containers {}", containers, "{}", list, [yes, yes]),
        shape(
            "containers with a name",
            containers,
            r#"{"name":"c"}"#,
            list,
            [no, no],
        ),
        shape("containers null", containers, "null", list, [no, no]),
        shape(
            "containers with samples",
            containers,
            &sampled,
            list,
            [no, no],
        ),
        shape("interfaces {}", interfaces, "{}", of_network, [no, no]),
        shape(
            "interfaces with names",
            interfaces,
            r#"{"name":"veth"}"#,
            of_network,
            [no, no],
        ),
        shape(
            "volumes with names",
            r#""volume":["#,
            r#"{"name":"v"}"#,
            list,
            [yes, no],
        ),
        shape(
            "keys with pressure",
            r#""x":0,"#,
            r#""cpu":{"psi":{"some":{}}}"#,
            "}",
            [yes, yes],
        ),
        shape("one long string", r#""x":""#, "y", r#""}"#, [yes, yes]),
    ]
}

/// What somebody writes who wants memory filled, in replies of about this size.
fn hostile(size: usize) -> Vec<Hostile> {
    let mut all = Vec::new();
    for shape in in_pod() {
        let separator = if shape.part == "y" { "" } else { "," };
        let pod = |size| {
            let head = format!("{REFERENCE}{}", shape.head);
            filled(&head, &shape.part, separator, shape.tail, size)
        };
        let outcome = |readable, pods| match readable {
            true => "0 unreadable".to_owned(),
            false => format!("{pods} unreadable"),
        };
        // As large as a pod may be in a reply of any size, and one that is a whole reply.
        let (one, other) = (pod(MIB - 64), pod(4 * MIB - 64));
        let body = filled("{\"pods\":[", &one, ",", "]}", size);
        let pods = body.matches("podRef").count();
        all.push(Hostile {
            what: format!("{}, pods of 1 MiB", shape.what),
            body,
            outcomes: shape.readable.map(|readable| outcome(readable, pods)),
        });
        all.push(Hostile {
            what: format!("{}, a pod of 4 MiB", shape.what),
            body: format!("{{\"pods\":[{other}]}}"),
            outcomes: shape.readable.map(|readable| outcome(readable, 1)),
        });
    }
    let long = format!(r#""{}""#, "x".repeat(253));
    let escaped = "\\u00e4".repeat(126);
    let one =
        format!(r#"{{"podRef":{{"name":"p"}},"containers":[{{"name":"c",{CPU},{MEMORY}}}]}}"#);
    let named = format!(
        r#"{{"podRef":{{"name":{long},"namespace":{long},"uid":{long}}},"containers":[{{"name":{long},{CPU}}},{{"name":"c",{MEMORY}}}]}}"#
    );
    let in_escapes =
        format!(r#"{{"podRef":{{"name":"{escaped}","namespace":"{escaped}"}},"containers":[]}}"#);
    let containers: Vec<_> = (0..1_000)
        .map(|at| format!(r#"{{"name":"c{at}",{CPU},{MEMORY}}}"#))
        .collect();
    let full = format!("{REFERENCE}\"containers\":[{}]}}", containers.join(","));
    // The labels of a sample are many times its number's bytes.
    let pressure = r#"{"total":1,"avg10":1,"avg60":1,"avg300":1}"#;
    let pressure = format!(r#""psi":{{"some":{pressure},"full":{pressure}}}"#);
    let containers: Vec<_> = (0..10)
        .map(|at| {
            format!(
                r#"{{"name":"{at:0>253}","cpu":{{{TIME},{pressure}}},"memory":{{{pressure}}},"io":{{{pressure}}}}}"#
            )
        })
        .collect();
    let containers = containers.join(",");
    let pressed = |at: usize| {
        format!(
            r#"{{"podRef":{{"name":"{at:0>253}","namespace":{long},"uid":"{at}"}},"containers":[{containers}]}}"#
        )
    };
    // No more than a reply may have of containers.
    let count = (size / pressed(0).len()).min(2_000);
    let pressed: Vec<_> = (0..count).map(pressed).collect();
    all.push(Hostile {
        what: PRESSED.to_owned(),
        body: format!("{{\"pods\":[{}]}}", pressed.join(",")),
        outcomes: ["0 unreadable", "0 unreadable"].map(str::to_owned),
    });
    let pods = ("{\"pods\":[", ",", "]}");
    let (many, plenty) = (
        "it has more than 10000 pods",
        "it has more than 20000 containers",
    );
    for (what, (head, separator, tail), part, outcome) in [
        ("pods {}", pods, "{}", many),
        ("pods null", pods, "null", many),
        ("pods podRef {}", pods, r#"{"podRef":{}}"#, many),
        ("pods with one container", pods, &*one, many),
        ("pods with long names", pods, &named, "0 unreadable"),
        ("names in escapes", pods, &in_escapes, "0 unreadable"),
        ("pods full of containers", pods, &full, plenty),
        (
            "brackets",
            ("{\"x\":", "", ""),
            "[",
            "it ends in the middle",
        ),
        (
            "keys of the node",
            ("{\"node\":{", ",", "},\"pods\":[]}"),
            r#""a":1"#,
            "0 unreadable",
        ),
    ] {
        // As many as are needed, whatever the others' size.
        let size = if outcome == plenty {
            size.max(full.len() * 22)
        } else {
            size
        };
        all.push(Hostile {
            what: what.to_owned(),
            body: filled(head, part, separator, tail, size),
            outcomes: [outcome, outcome].map(str::to_owned),
        });
    }
    all
}

/// Each gives a peak that is bounded by what a node can have, not a multiple of its bytes;
/// with the default plan, which a scrape uses, with everything decoded, and with everything
/// decoded and told as metrics. With
/// `KUBELETSTATS_SOAK=1` the replies are as large as a reply may be; `--nocapture` prints the
/// table.
#[test]
fn peak_memory_of_hostile_replies() {
    let size = if soak() { 63 * MIB } else { 5 * MIB };
    println!(
        "{:<40} {:>9} {:>12} {:>12} {:>12} {:>14}  outcome",
        "reply", "bytes", "peak", "of all", "prometheus", "opentelemetry"
    );
    for Hostile {
        what,
        body,
        outcomes,
    } in hostile(size)
    {
        let body = body.as_bytes();
        let (mut found, mut peaks) = ([String::new(), String::new()], [0; 4]);
        let tell = |unreadable: Result<usize, Malformed>| match unreadable {
            Ok(unreadable) => format!("{unreadable} unreadable"),
            Err(error) => error.to_string(),
        };
        let mut pipeline = pipeline("");
        let used = measure(|| {
            let batch = pipeline.run(body, Vec::new());
            found[0] = tell(batch.map(|batch| batch.pods_unreadable));
        });
        peaks[0] = used.bytes_max;
        let used = measure(|| {
            let summary = Selector::default().parse(body, Plan::ALL);
            found[1] = tell(summary.map(|summary| summary.pods_unreadable));
        });
        peaks[1] = used.bytes_max;
        for (peak, names) in peaks[2..].iter_mut().zip(["prometheus", "opentelemetry"]) {
            let mut pipeline = pipeline_of(&[
                ("format", "metrics"),
                ("metric_names", names),
                ("metric_groups", "all"),
                ("fields", "all"),
            ]);
            let used = measure(|| {
                let batch = scrape(&mut pipeline, body, Memory::default());
                assert_eq!(tell(batch.map(|batch| batch.pods_unreadable)), found[1]);
            });
            *peak = used.bytes_max;
        }
        let length = body.len();
        println!(
            "{what:<40} {length:>9} {:>12} {:>12} {:>12} {:>14}  {}",
            peaks[0], peaks[1], peaks[2], peaks[3], found[1]
        );
        assert_eq!(found, outcomes, "{what}");
        // It has a thousand pods and more that are wanted, and 20,000 containers in all.
        let factor = if soak() && what == PRESSED { 2 } else { 1 };
        assert!(
            peaks[0] < factor * 12 * MIB as u64,
            "{what}: {peaks:?} bytes"
        );
        assert!(
            peaks[1] < factor * 12 * MIB as u64,
            "{what}: {peaks:?} bytes"
        );
        // The samples, and what they are put together in: in Prometheus' names each has 12 MiB
        // at most, in OpenTelemetry's only the latter has much, 24 MiB, which grows by copying.
        for (peak, bound) in peaks[2..].iter().zip([32, 48]) {
            let of_metrics = peak.saturating_sub(peaks[1]);
            assert!(of_metrics < bound * MIB as u64, "{what}: {peaks:?} bytes");
        }
    }
}

/// The same of lists of pods, with all labels and annotations.
#[test]
fn peak_memory_of_hostile_lists_of_pods() {
    let size = if soak() { 63 * MIB } else { 5 * MIB };
    let metadata = r#""metadata":{"name":"p","namespace":"n","#;
    let long = "x".repeat(253);
    let image = "x".repeat(4096);
    let names =
        format!(r#"{{"metadata":{{"name":"{long}","namespace":"{long}","uid":"{long}"}}}}"#);
    let images = format!(
        r#"{{"metadata":{{"name":"p"}},"spec":{{"containers":[{{"name":"c","image":"{image}"}}]}}}}"#
    );
    let containers: Vec<_> = (0..1_000)
        .map(|at| format!(r#"{{"name":"c{at}"}}"#))
        .collect();
    let containers = containers.join(",");
    let full = format!(
        r#"{{{metadata}"uid":"u"}},"spec":{{"containers":[{containers}]}},"status":{{"containerStatuses":[{containers}]}}}}"#
    );
    // As the one above, but each of them broken at its end.
    let broken = full.replace("]}}", "],\"phase\":1}}");
    let in_pod = |head: &str, part: &str, tail: &str| {
        let one = |size| filled(&format!("{{{metadata}{head}"), part, ",", tail, size);
        [one(MIB - 64), one(4 * MIB - 64)]
    };
    let labels = in_pod("\"labels\":{", r#""a":"""#, "}}}");
    let owners = in_pod("\"ownerReferences\":[", "{}", "]}}");
    let spec = in_pod("\"uid\":\"u\"},\"spec\":{\"containers\":[", "{}", "]}}");
    let statuses = in_pod(
        "\"uid\":\"u\"},\"status\":{\"containerStatuses\":[",
        "{}",
        "]}}",
    );
    let escapes = in_pod("\"annotations\":{\"a\":\"\\u00e4", "x", "\"}}}");
    let (text, plenty) = (
        "it has more than 8 MiB of names, labels and annotations",
        "it has more than 20000 containers",
    );
    let of_pods = |part: &str| filled("{\"items\":[", part, ",", "]}", size);
    // As many as are needed, whatever the others' size.
    let of_full = |part: &str| {
        let size = size.max(part.len() * 22);
        filled("{\"items\":[", part, ",", "]}", size)
    };
    let of_one = |part: &str| format!("{{\"items\":[{part}]}}");
    let rows = [
        ("pods {}", of_pods("{}"), "it has more than 10000 pods"),
        (
            "pods with long names",
            of_pods(&names),
            if soak() { text } else { "0" },
        ),
        (
            "pods with long images",
            of_pods(&images),
            if soak() { text } else { "0" },
        ),
        ("pods full of containers", of_full(&full), plenty),
        ("broken pods full of containers", of_full(&broken), plenty),
        ("labels, pods of 1 MiB", of_pods(&labels[0]), "0"),
        ("labels, a pod of 4 MiB", of_one(&labels[1]), "0"),
        ("owners, a pod of 4 MiB", of_one(&owners[1]), "0"),
        ("containers {}, pods of 1 MiB", of_pods(&spec[0]), "0"),
        ("containers {}, a pod of 4 MiB", of_one(&spec[1]), "0"),
        ("statuses {}, pods of 1 MiB", of_pods(&statuses[0]), "all"),
        ("escapes, a pod of 4 MiB", of_one(&escapes[1]), "0"),
        (
            "brackets",
            filled("{\"x\":", "[", "", "", size),
            "it ends in the middle",
        ),
    ];
    let all = Patterns::parse("*").expect("a pattern");
    let selector = LabelSelector::parse("a,b!=c").expect("a selector");
    let want = Want {
        labels: &all,
        annotations: &all,
        selector: Some(&selector),
    };
    println!("{:<40} {:>9} {:>12}  outcome", "list", "bytes", "peak");
    for (what, body, expected) in rows {
        let mut found = String::new();
        let used = measure(|| {
            found = match facts::parse(body.as_bytes(), &want, |_, _| true) {
                Ok(pods) if pods.unreadable == pods.on_node => "all".to_owned(),
                Ok(pods) => pods.unreadable.to_string(),
                Err(error) => error.to_string(),
            };
        });
        println!(
            "{what:<40} {:>9} {:>12}  {found}",
            body.len(),
            used.bytes_max
        );
        assert_eq!(found, expected, "{what}");
        assert!(
            used.bytes_max < 16 * MIB as u64,
            "{what}: {} bytes",
            used.bytes_max
        );
    }
}

/// Every reply has containers that nobody has seen before.
#[test]
fn state_is_bounded_by_number_as_well_as_by_age() {
    let scrapes = if soak() { 1_000 } else { 60 };
    let reply = |scrape: usize| {
        let pods: Vec<String> = (0..2_000)
            .map(|pod| {
                format!(
                    r#"{{"podRef":{{"name":"p{pod}","namespace":"n","uid":"{scrape}-{pod}"}},"containers":[{{"name":"c",
                    "cpu":{{"time":"2026-11-21T09:30:40Z","usageNanoCores":1,"usageCoreNanoSeconds":1}}}}]}}"#
                )
            })
            .collect();
        format!("{{\"pods\":[{}]}}", pods.join(",")).into_bytes()
    };
    let mut pipeline = pipeline("");
    let mut held = 0_i64;
    let mut most = [0_i64; 2];
    for scrape in 0..scrapes {
        let body = reply(scrape);
        let used: AllocationInfo = measure(|| {
            let batch = pipeline.run(&body, Vec::new()).expect("a summary");
            assert_eq!(batch.records(), 2_000);
            black_box(batch);
        });
        held += used.bytes_current;
        let half = usize::from(scrape >= scrapes / 2);
        most[half] = most[half].max(held);
    }
    println!(
        "most state in the first half {} bytes, in the second {}",
        most[0], most[1]
    );
    assert!(most[1] <= most[0] + most[0] / 10, "{most:?}");
    assert!(most[1] < 16 * MIB as i64, "{most:?}");
}
