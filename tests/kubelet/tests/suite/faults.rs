//! Each fault, seen at the level of bytes.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use sim_kubelet::{Fault, SimKubelet};

use crate::client::{Client, Ending, PATIENCE, Setup, pods, tcp};

const SUMMARY: &str = "/stats/summary";
/// How long silence is listened to before it counts as silence.
const SILENCE: Duration = Duration::from_millis(300);

fn kubelet(fault: Fault) -> SimKubelet {
    SimKubelet::builder()
        .fault(fault)
        .start()
        .expect("a kubelet")
}

fn impatient(kubelet: &SimKubelet) -> Client {
    let setup = Setup {
        patience: SILENCE,
        ..Setup::default()
    };
    Client::connect(kubelet, &setup).expect("a connection")
}

/// All bytes of the first reply and how the connection ended.
fn raw(kubelet: &SimKubelet, patience: Duration) -> (String, Ending) {
    let setup = Setup {
        patience,
        ..Setup::default()
    };
    let mut client = Client::connect(kubelet, &setup).expect("a connection");
    client.send("GET", SUMMARY, &[]);
    let (bytes, ending) = client.rest();
    (String::from_utf8_lossy(&bytes).into_owned(), ending)
}

#[test]
fn hangs_before_a_request() {
    for fault in [Fault::HangAfterAccept, Fault::HangInTls] {
        let kubelet = kubelet(fault.clone());
        let setup = Setup {
            patience: SILENCE,
            ..Setup::default()
        };
        let err = Client::connect(&kubelet, &setup)
            .err()
            .expect("no handshake");
        assert_eq!(err.kind(), io::ErrorKind::WouldBlock, "{fault}");
        kubelet.clear_fault();
        assert_eq!(pods(&Client::new(&kubelet).summary()).len(), 7);
    }
}

#[test]
fn a_connection_fault_reaches_clients_that_keep_connections() {
    let kubelet = kubelet(Fault::None);
    let mut client = Client::new(&kubelet);
    client.summary();
    kubelet.set_fault_for(Fault::HangAfterAccept, 1);
    assert!(client.reply().is_err(), "the old connection is still there");
    assert!(
        Client::connect(
            &kubelet,
            &Setup {
                patience: SILENCE,
                ..Setup::default()
            }
        )
        .is_err()
    );
    assert_eq!(pods(&Client::new(&kubelet).summary()).len(), 7);
}

#[test]
fn hangs_after_a_request() {
    let kubelet = kubelet(Fault::HangBeforeHeaders);
    assert_eq!(raw(&kubelet, SILENCE), (String::new(), Ending::Silent));
    kubelet.set_fault(Fault::HangInBody);
    let (text, ending) = raw(&kubelet, SILENCE);
    assert_eq!(ending, Ending::Silent);
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.contains("usageNanoCores"));
    assert!(!text.ends_with("0\r\n\r\n"));
    assert_eq!(kubelet.requests(), 2);
    assert_eq!(kubelet.replies(), 0);
}

#[test]
fn slow_replies_come_byte_by_byte() {
    let kubelet = kubelet(Fault::SlowHeaders);
    let mut client = Client::new(&kubelet);
    let begun = Instant::now();
    client.send("GET", SUMMARY, &[]);
    assert_eq!(client.take(3).expect("three bytes"), b"HTT");
    assert!(begun.elapsed() >= Duration::from_millis(1_900));

    kubelet.set_fault(Fault::SlowBody);
    let mut client = impatient(&kubelet);
    client.send("GET", SUMMARY, &[]);
    let (bytes, ending) = client.rest();
    let text = String::from_utf8_lossy(&bytes);
    let (_, body) = text.split_once("\r\n\r\n").expect("a whole head");
    assert_eq!((body.len(), ending), (1, Ending::Silent));
}

#[test]
fn bodies_that_end_early() {
    let kubelet = kubelet(Fault::ResetMidBody);
    let (text, ending) = raw(&kubelet, PATIENCE);
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("usageNanoCores"));
    assert_eq!(ending, Ending::Reset);

    kubelet.set_fault(Fault::CutBody);
    let (text, ending) = raw(&kubelet, PATIENCE);
    let (_, body) = text.split_once("\r\n\r\n").expect("a head");
    let (size, chunk) = body.split_once("\r\n").expect("a chunk");
    let announced = usize::from_str_radix(size, 16).expect("a size");
    assert!(!chunk.is_empty() && chunk.len() < announced);
    assert_eq!(ending, Ending::Closed);

    kubelet.set_fault(Fault::WrongContentLength);
    let (text, ending) = raw(&kubelet, PATIENCE);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let length = head.split("Content-Length: ").nth(1).expect("a length");
    let length: usize = length.trim().parse().expect("a number");
    assert_eq!((body.len() + 1_000, ending), (length, Ending::Closed));

    kubelet.set_fault(Fault::ChunkedGarbage);
    let (text, ending) = raw(&kubelet, PATIENCE);
    assert!(text.contains("\r\nzz-not-a-size\r\n"));
    assert_eq!(ending, Ending::Closed);
}

#[test]
fn replies_that_are_complete_and_wrong() {
    let kubelet = kubelet(Fault::EmptyBody);
    let mut client = Client::new(&kubelet);
    let mut with = |fault: Fault| {
        kubelet.set_fault(fault);
        client.get(SUMMARY)
    };
    let empty = with(Fault::EmptyBody);
    assert_eq!(
        (empty.status, empty.header("content-length")),
        (200, Some("0"))
    );
    let page = with(Fault::NotJson);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(page.text().starts_with("<!DOCTYPE html>"));
    let moved = with(Fault::Redirect("https://127.0.0.1:1/x".to_owned()));
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, Some("https://127.0.0.1:1/x"))
    );
    for status in [429, 500, 503] {
        let refused = with(Fault::Status(status, "not now".to_owned()));
        assert_eq!((refused.status, refused.text()), (status, "not now"));
    }
    let zipped = with(Fault::Gzip);
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.body[..3], [0x1f, 0x8b, 8]);
    assert_eq!(with(Fault::None).status, 200);
}

#[test]
fn connections_that_end_after_a_reply() {
    let kubelet = kubelet(Fault::Http10);
    let (text, ending) = raw(&kubelet, PATIENCE);
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n") && text.ends_with("\n}"));
    assert!(!text.contains("Transfer-Encoding") && !text.contains("Content-Length"));
    assert_eq!(ending, Ending::Closed);

    kubelet.set_fault(Fault::CloseAfterReply);
    let mut client = Client::new(&kubelet);
    let reply = client.get(SUMMARY);
    assert_eq!((reply.status, reply.header("connection")), (200, None));
    assert_eq!(client.rest(), (Vec::new(), Ending::Closed));
}

#[test]
fn huge_bodies_are_valid_and_of_the_size_asked_for() {
    for bytes in [100, 30_000, 5_000_000] {
        let kubelet = kubelet(Fault::HugeBody(bytes));
        let reply = Client::new(&kubelet).get(SUMMARY);
        let pods = pods(&reply.json()).len();
        if bytes > 30_000 {
            assert_eq!(reply.body.len() as u64, bytes);
            assert!(pods > 100);
        }
    }
}

#[test]
fn flapping_and_counted_faults() {
    let kubelet = kubelet(Fault::Flap);
    let mut client = Client::new(&kubelet);
    let mut statuses = || [(); 4].map(|()| client.get(SUMMARY).status);
    assert_eq!(statuses(), [200, 503, 200, 503]);
    kubelet.set_fault_for(Fault::Status(500, String::new()), 2);
    assert_eq!(statuses(), [500, 500, 200, 200]);
    kubelet.set_fault_for(Fault::Status(500, String::new()), 1);
    assert_eq!(client.get("/healthz").status, 200);
    assert_eq!(client.get(SUMMARY).status, 500);
}

#[test]
fn bodies_are_corrupted_as_named() {
    let kubelet = kubelet(Fault::None);
    let mut client = Client::new(&kubelet);
    let mut body = |fault: Fault| {
        kubelet.set_fault(fault);
        client.get(SUMMARY).body
    };
    let has = |body: &[u8], part: &str| String::from_utf8_lossy(body).contains(part);
    assert!(has(&body(Fault::TimeNull), "\"time\": null,"));
    assert!(has(&body(Fault::HugeNumbers), ": 18446744073709551616,"));
    assert!(has(
        &body(Fault::NegativeNumbers),
        ": -9223372036854775808,"
    ));
    for fraction in [".0,", "e0,", ".5,"] {
        assert!(has(&body(Fault::FloatNumbers), fraction), "{fraction}");
    }
    assert!(has(&body(Fault::StringNumbers), "\"rxErrors\": \"0\","));
    assert!(has(&body(Fault::NanText), "\"usageNanoCores\": NaN,"));
    assert!(has(&body(Fault::DeepNesting(64)), &"[".repeat(64)));
    assert!(has(&body(Fault::EmptyPods), "\"pods\": []"));
    assert!(!has(&body(Fault::NoPods), "\"podRef\""));
    assert!(body(Fault::TopLevelArray).starts_with(b"[\n{"));
    assert!(std::str::from_utf8(&body(Fault::InvalidUtf8)).is_err());
    assert!(body(Fault::HostilePodName).len() > 1 << 20);
    let twice = body(Fault::DuplicatePods);
    assert_eq!(
        String::from_utf8_lossy(&twice)
            .matches("\"podRef\"")
            .count(),
        14
    );
}

#[test]
fn requests_that_break_the_rules_end_the_connection() {
    let kubelet = SimKubelet::builder()
        .plain_http(true)
        .start()
        .expect("a kubelet");
    let mut stream = tcp(&kubelet, PATIENCE);
    stream.write_all(b"GARBAGE\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
}
