//! Budgets that are counts, so that no machine is too noisy for them. Those that
//! are ratios are `make bench`'s.

use std::hint::black_box;

use allocation_counter::{AllocationInfo, measure};
use kubeletstats_core::{options::Config, scrape::Pipeline};
use sim_kubelet::captured;

fn pipeline(prefix: &str) -> Pipeline {
    let config = Config::read(|name| (name == "pod_prefix").then(|| prefix.to_owned()));
    Pipeline::new(&config.expect("valid options"))
}

/// Parse, select and encode: 2 pods wanted of 110, all buffers in place.
#[test]
fn heap_allocations_of_a_scrape() {
    let mut pipeline = pipeline("log-generator");
    let mut memory = Vec::new();
    for sample in 0..8 {
        let body = captured::of_node(110, sample);
        let mut batch = None;
        let used = measure(|| batch = pipeline.run(&body, memory).ok());
        let batch = batch.expect("a summary");
        assert_eq!(batch.records(), 2);
        memory = batch.into_buffer();
        assert!(
            sample == 0 || used.count_total <= 16,
            "{} allocations",
            used.count_total
        );
    }
}

const MIB: usize = 1 << 20;

/// As many of `part` as fill `size` bytes, between `head` and `tail`.
fn filled(head: &str, part: &str, separator: &str, tail: &str, size: usize) -> Vec<u8> {
    let count = (size - head.len() - tail.len()) / (part.len() + separator.len());
    let parts = vec![part; count.max(1)].join(separator);
    format!("{head}{parts}{tail}").into_bytes()
}

/// What somebody writes who wants memory filled. Each gives a peak that is bounded by what
/// a node can have, not a multiple of its bytes. With `KUBELETSTATS_SOAK=1` the replies are as
/// large as a reply may be; `--nocapture` prints the table.
#[test]
fn peak_memory_of_hostile_replies() {
    let size = match std::env::var_os("KUBELETSTATS_SOAK") {
        Some(_) => 63 * MIB,
        None => 5 * MIB,
    };
    const POD: &str = r#"{"pods":[{"podRef":{"name":"p","namespace":"n","uid":"u"},"#;
    let long = format!(r#""{}""#, "x".repeat(253));
    let escaped = "\\u00e4".repeat(126);
    let sample = r#""cpu":{"time":"2026-11-21T09:30:40Z","usageNanoCores":1},"memory":{"time":"2026-11-21T09:30:40Z","workingSetBytes":1}"#;
    let sampled = format!(r#"{{"name":"c",{sample}}}"#);
    let one = format!(r#"{{"podRef":{{"name":"p"}},"containers":[{sampled}]}}"#);
    let named = format!(
        r#"{{"podRef":{{"name":{long},"namespace":{long},"uid":{long}}},"containers":[{{"name":{long},{sample}}},{sampled}]}}"#
    );
    let in_escapes =
        format!(r#"{{"podRef":{{"name":"{escaped}","namespace":"{escaped}"}},"containers":[]}}"#);
    let containers = (&*format!("{POD}\"containers\":["), ",", "]}]}");
    let interfaces = (
        &*format!("{POD}\"network\":{{\"interfaces\":["),
        ",",
        "]}}]}",
    );
    let pods = ("{\"pods\":[", ",", "]}");
    let of_a_pod = (&*format!("{POD}\"x\":"), "", "");
    let text = (&*format!("{POD}\"x\":\""), "", "\"}]}");
    let node = ("{\"node\":{", ",", "},\"pods\":[]}");
    let shapes = [
        ("containers {}", containers, "{}"),
        ("containers with a name", containers, r#"{"name":"c"}"#),
        ("containers null", containers, "null"),
        ("containers with samples", containers, &sampled),
        ("pods {}", pods, "{}"),
        ("pods null", pods, "null"),
        ("pods podRef {}", pods, r#"{"podRef":{}}"#),
        ("pods with one container", pods, &one),
        ("pods with long names", pods, &named),
        ("names in escapes", pods, &in_escapes),
        ("interfaces {}", interfaces, "{}"),
        ("interfaces with names", interfaces, r#"{"name":"veth"}"#),
        ("brackets", ("{\"x\":", "", ""), "["),
        ("brackets in a pod", of_a_pod, "["),
        ("keys of the node", node, r#""a":1"#),
        ("one long string", text, "y"),
    ];
    println!(
        "{:<26} {:>9} {:>12}  outcome",
        "reply", "bytes", "peak bytes"
    );
    for (shape, (head, separator, tail), part) in shapes {
        let body = filled(head, part, separator, tail, size);
        let mut pipeline = pipeline("");
        let mut outcome = String::new();
        let used = measure(|| {
            outcome = match pipeline.run(&body, Vec::new()) {
                Ok(batch) => format!(
                    "{} records, {} unreadable",
                    batch.records(),
                    batch.pods_unreadable
                ),
                Err(error) => error.to_string(),
            };
        });
        println!(
            "{shape:<26} {:>9} {:>12}  {outcome}",
            body.len(),
            used.bytes_max
        );
        assert!(
            used.bytes_max < 48 * MIB as u64,
            "{shape}: {} bytes",
            used.bytes_max
        );
    }
}

/// Every reply has containers that nobody has seen before.
#[test]
fn state_is_bounded_by_number_as_well_as_by_age() {
    let scrapes = match std::env::var_os("KUBELETSTATS_SOAK") {
        Some(_) => 1_000,
        None => 60,
    };
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
