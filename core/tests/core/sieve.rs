//! Replies that pass the sieve while they arrive, beside the same replies as a whole.

use std::{
    fs,
    time::{Duration, Instant},
};

use allocation_counter::measure;
use kubeletstats_core::{
    counters::Counters,
    kubelet::{
        Client,
        deadline::{self, StopSignal},
    },
    options::Config,
    scrape::Memory,
    scraper::Scraper,
    select::Selector,
    sieve::{PIECE, Sieve},
};
use sim_kubelet::{SimKubelet, captured};

use crate::{metrics, properties::check::Sieved, replay};

const SIZES: [usize; 8] = [1, 2, 3, 63, 1_000, 4_096, PIECE, usize::MAX];

fn sieved(option: (&str, &str)) -> Sieved {
    Sieved::new(&replay::config(&[option]))
}

/// All captured replies, with most, few and no pods dropped.
#[test]
fn the_rest_of_a_reply_gives_the_same() {
    for (option, drops) in [
        (("pod_prefix", "log-generator"), true),
        (("namespace", "default"), true),
        (("exclude_namespace", "kube-system"), true),
        (("exclude_pod_prefix", "other-app,web"), true),
        (("pod_prefix", "limited,host-agent,crasher"), true),
        (("pod_prefix", "no-such-pod"), true),
        (("exclude_container", "sidecar"), false),
    ] {
        let mut sieved = sieved(option);
        for size in SIZES {
            let (mut all, mut left) = (0, 0);
            for path in replay::summaries() {
                let body = fs::read(&path).expect("a fixture");
                all += body.len();
                left += sieved.is_the_same(&body, size);
            }
            assert_eq!(left < all, drops, "{option:?}, pieces of {size}");
        }
    }
}

/// Of 110 pods, two of which are selected.
#[test]
fn little_is_left() {
    let reply = captured::of_node(110, 1);
    let mut sieve = Sieve::new(Selector::new(&replay::config(&[(
        "pod_prefix",
        "log-generator",
    )])));
    let mut rest = Vec::new();
    let body = sieve.pass(&reply, PIECE, &mut rest);
    let (left, dropped) = (body.bytes.len(), body.dropped_pods);
    assert!(left < reply.len() / 8, "{left} bytes are left");
    assert!((105..110).contains(&dropped), "{dropped} pods are dropped");
    // While it arrives, too.
    for end in (PIECE..reply.len()).step_by(PIECE) {
        let left = sieve.pass(&reply[..end], PIECE, &mut rest).bytes.len();
        assert!(left < 4 * PIECE, "{left} of {end} bytes are left");
    }
}

/// A byte that is wrong, at each place in turn: the error names its place in the whole reply, and
/// a broken pod is counted, as without a sieve.
#[test]
fn a_wrong_byte_is_found_where_it_is() {
    let pod = |name: &str| {
        format!(r#"{{"podRef": {{"name": "{name}", "namespace": "n", "uid": "u"}}, "a": [{{}}]}}"#)
    };
    let pods = ["a", "b", "yes", "c", "yes", "yes", "d", "e"]
        .map(pod)
        .join(", ");
    let good = format!(r#"{{"node": {{"nodeName": "n"}}, "pods": [{pods}], "more": [1, 2]}}"#);
    let mut sieved = sieved(("pod_prefix", "yes"));
    for size in [1, 50, usize::MAX] {
        sieved.is_the_same(good.as_bytes(), size);
        for at in 0..good.len() {
            for byte in *b"?\"\\{}[],: 0a\xff" {
                let mut body = good.clone().into_bytes();
                body[at] = byte;
                sieved.is_the_same(&body, size);
            }
            sieved.is_the_same(&good.as_bytes()[..at], size);
        }
    }
}

fn pod(name: &str, more: &str) -> String {
    format!(r#"{{"podRef":{{"name":"{name}"}}{more}}}"#)
}

fn reply(pods: &[String]) -> Vec<u8> {
    format!(r#"{{"pods":[{}]}}"#, pods.join(",")).into_bytes()
}

/// The limits are for the whole reply, dropped pods included.
#[test]
fn limits_are_those_of_the_whole_reply() {
    let mut sieved = sieved(("pod_prefix", "yes"));
    let mut is_the_same = |pods: &[String]| {
        for size in [1_000, PIECE, usize::MAX] {
            sieved.is_the_same(&reply(pods), size);
        }
    };
    for (count, wanted) in [
        (9_999, 0),
        (10_000, 1),
        (10_001, 0),
        (10_001, 2),
        (20_000, 5),
    ] {
        let name = |at| if at < wanted { "yes" } else { "no" };
        let pods: Vec<_> = (0..count).map(|at| pod(name(at), "")).collect();
        is_the_same(&pods);
    }
    // Too many containers, before too many pods.
    let containers: Vec<_> = (0..1_000)
        .map(|at| format!(r#"{{"name":"c{at}"}}"#))
        .collect();
    let full = pod(
        "yes",
        &format!(r#","containers":[{}]"#, containers.join(",")),
    );
    let mut pods = vec![full; 21];
    pods.resize(10_100, pod("no", ""));
    is_the_same(&pods);
    // In a large reply, a large pod is not decoded, unless it is near the end.
    let filled = |name, size| pod(name, &format!(r#","x":"{}""#, "x".repeat(size)));
    let (large, others) = (filled("yes", 2 << 20), filled("no", 900 << 10));
    for before in [0, 3] {
        for behind in [1, 2, 7] {
            let mut pods = vec![others.clone(); before];
            pods.push(large.clone());
            pods.resize(before + 1 + behind, others.clone());
            is_the_same(&pods);
        }
    }
}

/// A reply that is made to leave many gaps.
#[test]
fn memory_for_gaps_is_limited() {
    let pods: Vec<_> = (0..400_000)
        .map(|at| {
            if at % 2 == 0 {
                "{}".to_owned()
            } else {
                pod("no", "")
            }
        })
        .collect();
    let reply = reply(&pods);
    let config = replay::config(&[("pod_prefix", "yes")]);
    let mut sieve = Sieve::new(Selector::new(&config));
    let mut rest = Vec::with_capacity(reply.len());
    let used = measure(|| {
        sieve.pass(&reply, PIECE, &mut rest);
    });
    assert!(used.bytes_max < 1 << 20, "{} bytes", used.bytes_max);
}

/// Values that arrive byte by byte. If each byte cost a look at all before it, this would take
/// minutes.
#[test]
fn many_small_pieces_cost_little() {
    let mut sieved = sieved(("pod_prefix", "yes"));
    let filler = "[1, 2], ".repeat(100_000);
    let dropped = r#"{"podRef": {"name": "no"}}, "#.repeat(9_000);
    let began = Instant::now();
    for body in [
        format!(r#"{{"node": [{filler}1], "pods": [{{}}]}}"#),
        format!(r#"{{"node": [{filler}1], "pods": [{dropped}{{}}]}}"#),
        format!(r#"{{"pods": [{{"podRef": {{}}, "a": [{filler}1]}}, {{}}]}}"#),
        format!(r#"{{"pods": [{{}}], "a": [{filler}1]}}"#),
    ] {
        sieved.is_the_same(body.as_bytes(), 1);
    }
    let took = began.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}

/// One scrape after the other of a kubelet, with a sieve and without.
fn scrapers(config: &Config, signal: &StopSignal) -> [Scraper; 2] {
    let scraper = || {
        let client = Client::new(config, signal.clone()).expect("files that can be read");
        Scraper::new(config, client)
    };
    [scraper(), scraper().keeping_replies()]
}

/// Through the client: what is told of a reply is about all of it, with a sieve as without one.
#[test]
fn what_is_told_of_a_reply_is_about_all_of_it() {
    let kubelet = SimKubelet::builder().pods(110).started();
    let options = [("pod_prefix", "log-generator"), ("format", "both")];
    let config = replay::config_for(&kubelet, &options);
    let (_stop, signal) = deadline::stop_pair().expect("a socket pair");
    let [mut sieved, mut whole] = scrapers(&config, &signal);
    let told = |scraper: &mut Scraper| {
        let batch = scraper.scrape(Memory::default(), Counters::default());
        let batch = batch.expect("a summary");
        let contexts = metrics::decoded(&config, &batch);
        let families = contexts.iter().flat_map(|context| &context.families);
        let reply_bytes = families
            .filter(|family| family.name == "kubeletstats_reply_bytes")
            .map(|family| family.samples[0].value);
        let pods = [batch.pods_on_node, batch.pods_wanted, batch.pods_unreadable];
        (pods, batch.containers, reply_bytes.collect::<Vec<_>>())
    };
    let (pods, containers, reply_bytes) = told(&mut sieved);
    assert_eq!((pods, containers), ([110, 2, 0], 2));
    told(&mut whole);
    let all = whole.body().len();
    // The samples of two replies differ in their digits.
    assert!((reply_bytes[0] - all as f64).abs() < all as f64 / 100.0);
    let left = sieved.body().len();
    assert!(left < all / 8, "{left} of {all} bytes");
}

/// Lines about replies that are broken behind dropped pods.
#[test]
fn an_error_is_about_the_whole_reply() {
    let good = String::from_utf8(captured::of_node(30, 1)).expect("text");
    let end = good.rfind("]").expect("the end of the pods");
    let broken = [
        good[..end].to_owned(),
        format!("{}?{}", &good[..end], &good[end..]),
        format!("{}}}", &good[..end]),
        good[..good.len() / 2].to_owned(),
    ];
    for body in broken {
        let kubelet = SimKubelet::builder().replay(vec![body.into()]).started();
        let config = replay::config_for(&kubelet, &[("pod_prefix", "log-generator")]);
        let (_stop, signal) = deadline::stop_pair().expect("a socket pair");
        let lines = scrapers(&config, &signal).map(|mut scraper| {
            let batch = scraper.scrape(Memory::default(), Counters::default());
            batch.expect_err("it is broken").to_string()
        });
        assert_eq!(lines[0], lines[1]);
    }
}
