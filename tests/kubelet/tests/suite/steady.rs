//! Replies of a healthy kubelet: shape, samples, counters.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::Value;
use sim_kubelet::{SimKubelet, parse_rfc3339};

use crate::client::{Client, PATIENCE, pod, pods};

const A: &str = "log-generator-a-vm";
const B: &str = "log-generator-b-vm";

fn ms(value: &Value) -> u64 {
    parse_rfc3339(value.as_str().expect("a time")).expect("an RFC 3339 time")
}

#[test]
fn a_reply_has_the_headers_and_the_form_of_a_real_one() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let reply = client.get("/stats/summary");
    assert!(
        reply.head.starts_with("HTTP/1.1 200 OK\r\n"),
        "{}",
        reply.head
    );
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    assert_eq!(reply.header("content-length"), None);
    assert!(
        reply
            .header("date")
            .is_some_and(|date| date.ends_with(" GMT"))
    );
    assert!(
        reply
            .text()
            .starts_with("{\n \"node\": {\n  \"nodeName\": \"vm\",")
    );
    assert!(reply.text().ends_with("\n ]\n}"));
    assert_eq!(pods(&reply.json()).len(), 7);
}

#[test]
fn one_connection_carries_many_requests_in_changing_order() {
    let kubelet = SimKubelet::builder().pods(40).start().expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let mut orders = HashSet::new();
    for _ in 0..10 {
        let summary = client.summary();
        let names = pods(&summary)
            .iter()
            .map(|pod| pod["podRef"]["name"].to_string());
        orders.insert(names.collect::<Vec<_>>());
    }
    assert_eq!(orders.len(), 10);
    assert_eq!((kubelet.connections(), kubelet.handshakes()), (1, 1));
    assert_eq!(kubelet.requests(), 10);
    let last = kubelet.recorded_requests().pop().expect("a request");
    assert_eq!(
        (last.method.as_str(), last.target.as_str()),
        ("GET", "/stats/summary")
    );
    assert!(!last.had_authorization);
    assert_eq!(last.connection, 1);
}

#[test]
fn counters_are_exact_for_the_time_they_carry() {
    let kubelet = SimKubelet::builder()
        .sample_period(Duration::from_millis(50))
        .burn("default/log-generator-a-vm", 1_234)
        .burn("default/web-with-sidecar-vm", 77)
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let deadline = Instant::now() + PATIENCE;
    let mut samples = HashSet::new();
    while samples.len() < 5 {
        assert!(Instant::now() < deadline, "no new samples");
        let summary = client.summary();
        let cases = [(A, 1_234), (B, 250), ("web-with-sidecar-vm", 77)];
        for (name, millicores) in cases {
            for container in pod(&summary, name)["containers"]
                .as_array()
                .expect("containers")
            {
                let cpu = &container["cpu"];
                let elapsed = ms(&cpu["time"]) - ms(&container["startTime"]);
                assert_eq!(cpu["usageNanoCores"], millicores * 1_000_000);
                assert_eq!(cpu["usageCoreNanoSeconds"], millicores * 1_000 * elapsed);
                if name == A {
                    samples.insert(ms(&cpu["time"]));
                }
            }
        }
    }
    let truth = kubelet
        .truth("default/log-generator-a-vm")
        .expect("the pod");
    assert_eq!(
        (truth.millicores(), truth.nanocores()),
        (1_234, 1_234_000_000)
    );
    assert!(kubelet.truth("default/absent").is_none());
}

#[test]
fn a_sample_stays_until_the_next_one() {
    // So long a period cannot end by chance between two requests more than once.
    let kubelet = SimKubelet::builder()
        .sample_period(Duration::from_secs(3_600))
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let mut container = || pod(&client.summary(), A)["containers"][0].clone();
    let (one, two, three) = (container(), container(), container());
    assert!(one == two || two == three, "{one:#} {two:#} {three:#}");
    assert_eq!(one["cpu"]["time"].as_str().map(str::len), Some(20));
}

#[test]
fn the_short_form_leaves_everything_else_out() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let full = client.get("/stats/summary");
    let short = client.get("/stats/summary?only_cpu_and_memory=true");
    assert!(short.body.len() * 2 < full.body.len());
    let text = short.text();
    for key in [
        "network",
        "rootfs",
        "logs",
        "volume",
        "ephemeral-storage",
        "process_stats",
    ] {
        assert!(full.text().contains(key) && !text.contains(key), "{key}");
    }
    assert_eq!(pods(&short.json()).len(), 7);
    let neither = client.get("/stats/summary?only_cpu_and_memory=perhaps");
    assert!(neither.text().contains("network"));
}

#[test]
fn memory_and_network_are_plausible() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let summary = Client::new(&kubelet).summary();
    for (name, mib) in [(A, 512), (B, 64)] {
        let bytes = &pod(&summary, name)["containers"][0]["memory"]["workingSetBytes"];
        let bytes = bytes.as_u64().expect("bytes");
        let nominal = mib << 20;
        assert!(bytes.abs_diff(nominal) <= nominal / 30, "{name}: {bytes}");
        assert_eq!(bytes % 4_096, 0);
    }
    let network = &pod(&summary, A)["network"];
    assert_eq!(network["rxBytes"], network["interfaces"][0]["rxBytes"]);
    let limited = &pod(&summary, "limited-vm")["containers"][0]["memory"];
    assert!(limited["availableBytes"].is_u64());
}

#[test]
fn bodies_given_are_served_as_they_are() {
    let bodies = vec![b"one".to_vec(), b"two".to_vec()];
    let kubelet = SimKubelet::builder()
        .replay(bodies)
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    for expected in ["one", "two", "two"] {
        assert_eq!(client.get("/stats/summary").text(), expected);
    }
}

#[test]
fn plain_http_without_tls() {
    let kubelet = SimKubelet::builder()
        .plain_http(true)
        .start()
        .expect("a kubelet");
    assert!(kubelet.url().starts_with("http://127.0.0.1:"));
    let mut client = Client::plain(&kubelet, PATIENCE);
    assert_eq!(pods(&client.summary()).len(), 7);
    assert_eq!(kubelet.handshakes(), 0);
}

#[test]
fn paths_and_methods_are_answered_in_the_kubelets_words() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let proxied = client.get("/api/v1/nodes/vm/proxy/stats/summary");
    assert_eq!(proxied.status, 200);
    assert_eq!(client.get("/healthz").text(), "ok");
    let unknown = client.get("/metrics/unknown");
    assert_eq!(
        (unknown.status, unknown.text()),
        (404, "404 page not found\n")
    );
    let below = client.get("/stats/");
    assert_eq!((below.status, below.text()), (404, "404: Page Not Found"));
    assert_eq!(
        client
            .ask("POST", "/stats/summary", &[("Content-Length", "0")])
            .status,
        200
    );
    let deleted = client.ask("DELETE", "/stats/summary", &[]);
    assert_eq!(
        (deleted.status, deleted.header("allow")),
        (405, Some("GET, POST"))
    );
}
