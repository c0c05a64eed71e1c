//! What changes while it runs, and how it ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use sim_kubelet::{Fault, SimKubelet, parse_rfc3339};

use crate::client::{Client, PATIENCE, Setup, pod, pods};

const A: &str = "default/log-generator-a-vm";

#[test]
fn containers_restart_and_pods_come_and_go() {
    let kubelet = SimKubelet::builder().pods(9).start().expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let start = |summary: &serde_json::Value| {
        let start = &pod(summary, "log-generator-a-vm")["containers"][0]["startTime"];
        parse_rfc3339(start.as_str().expect("a time")).expect("a time")
    };
    let before = start(&client.summary());
    assert!(kubelet.restart_container(A, "log-generator"));
    assert!(!kubelet.restart_container(A, "absent"));
    assert!(start(&client.summary()) > before);

    let older = kubelet.truth(A).expect("the pod").uid;
    let newer = kubelet.add_duplicate_pod(A).expect("a duplicate");
    assert_ne!(older, newer);
    assert_eq!(kubelet.truth(A).expect("the newer").uid, newer);
    let starts = || {
        let summary = Client::new(&kubelet).summary();
        let mut starts: Vec<(String, String)> = pods(&summary)
            .iter()
            .filter(|pod| pod["podRef"]["name"] == "log-generator-a-vm")
            .map(|pod| {
                (
                    pod["startTime"].to_string(),
                    pod["podRef"]["uid"].to_string(),
                )
            })
            .collect();
        starts.sort();
        starts
    };
    let both = starts();
    assert_eq!(both.len(), 2);
    assert_eq!(both[1].1, format!("\"{newer}\""));
    assert_eq!(kubelet.remove_pod_uid(&older), 1);
    assert_eq!(starts().len(), 1);

    assert!(kubelet.add_pod("payments/extra", 333).is_some());
    assert_eq!(
        kubelet.truth("payments/extra").expect("it").millicores(),
        333
    );
    assert_eq!(pods(&client.summary()).len(), 10);
    assert_eq!(kubelet.remove_pod("payments/extra"), 1);
    assert_eq!(kubelet.remove_pod("payments/extra"), 0);
    assert_eq!(kubelet.pod_names().len(), 9);
}

#[test]
fn requests_can_be_waited_for() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    assert!(!kubelet.wait_for_requests(1, Duration::from_millis(20)));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::new(&kubelet);
            client.ask("GET", "/stats/summary", &[("X-Trace", "7")]);
            client.summary();
        });
        assert!(kubelet.wait_for_requests(2, PATIENCE));
    });
    let first = kubelet.recorded_requests().remove(0);
    assert!(
        first
            .headers
            .contains(&("X-Trace".to_owned(), "7".to_owned()))
    );
    assert!(kubelet.last_request_headers().is_some());
}

#[test]
fn the_end_is_prompt_whatever_hangs() {
    for fault in [
        Fault::None,
        Fault::HangAfterAccept,
        Fault::HangInTls,
        Fault::HangBeforeHeaders,
        Fault::HangInBody,
        Fault::SlowHeaders,
        Fault::HugeBody(1 << 40),
    ] {
        let kubelet = SimKubelet::builder()
            .fault(fault.clone())
            .start()
            .expect("a kubelet");
        let (dir, port) = (kubelet.dir().to_owned(), kubelet.port());
        let setup = Setup {
            patience: Duration::from_millis(100),
            ..Setup::default()
        };
        // An open connection that never reads, so that the server is stuck writing too.
        let client = Client::connect(&kubelet, &setup);
        let waiting = client.map(|mut client| {
            client.send("GET", "/stats/summary", &[]);
            assert!(kubelet.wait_for_requests(1, PATIENCE));
            client
        });
        assert!(dir.join("ca.crt").exists());
        let begun = Instant::now();
        drop(kubelet);
        assert!(begun.elapsed() < Duration::from_secs(2), "{fault}");
        assert!(!dir.exists(), "{fault}");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "{fault}");
        drop(waiting);
    }
}

#[test]
fn many_clients_at_once() {
    let kubelet = SimKubelet::builder().pods(30).start().expect("a kubelet");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::new(&kubelet);
                for _ in 0..5 {
                    assert_eq!(pods(&client.summary()).len(), 30);
                }
            });
        }
    });
    assert_eq!((kubelet.requests(), kubelet.handshakes()), (40, 8));
}

#[test]
fn settings_that_cannot_be_are_errors() {
    let unknown = SimKubelet::builder().burn("default/absent", 1).start();
    let err = unknown.err().expect("an error");
    assert!(err.to_string().contains("default/absent"), "{err}");
    let first = SimKubelet::builder().start().expect("a kubelet");
    let second = SimKubelet::builder().port(first.port()).start();
    assert_eq!(
        second.err().map(|err| err.kind()),
        Some(std::io::ErrorKind::AddrInUse)
    );
}
