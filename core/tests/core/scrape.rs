//! The worker against a kubelet, without a host: what it sends, what it makes
//! of every kind of reply, and that it stops at once.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    thread,
    time::{Duration, Instant, SystemTime},
};

use kubeletstats_core::{counters::Counters, worker::Worker};
use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet, SimKubeletBuilder};
use testkit::held::Held;

use crate::{events, replay::config_for};

const DEADLINE: Duration = Duration::from_secs(30);
const TOKEN: &str = "a-token-of-the-test";

/// A plugin's worker with these options.
struct Plugin {
    scraper: Worker,
}

impl Plugin {
    /// With what the kubelet wants to see, and `more`.
    fn of(kubelet: &SimKubelet, more: &[(&str, &str)]) -> Self {
        let config = config_for(kubelet, more);
        let scraper = Worker::start(&config).expect("readable files");
        Self { scraper }
    }

    /// One scrape, to its records or the line an operator would read.
    fn scrape(&mut self) -> Result<Vec<Value>, String> {
        assert!(
            self.scraper.scrape(&Counters::default()),
            "the last scrape is done"
        );
        self.picked_up()
    }

    fn picked_up(&mut self) -> Result<Vec<Value>, String> {
        let began = Instant::now();
        loop {
            if let Some(outcome) = self.scraper.outcome() {
                let batch = outcome.result.map_err(|error| error.to_string())?;
                let records = events::decode(batch.events());
                return Ok(records.into_iter().map(|(_, record)| record).collect());
            }
            assert!(began.elapsed() < DEADLINE, "no outcome");
            thread::yield_now();
        }
    }

    fn error(&mut self) -> String {
        self.scrape().expect_err("a failure")
    }
}

fn kubelet() -> SimKubeletBuilder {
    SimKubelet::builder().token(TOKEN)
}

#[test]
fn keeps_one_connection_and_sends_what_a_kubelet_expects() {
    let kubelet = kubelet().started();
    let mut plugin = Plugin::of(&kubelet, &[("pod_prefix", "log-generator")]);
    for _ in 0..20 {
        plugin.scrape().expect("records or nothing new");
    }
    assert_eq!((kubelet.requests(), kubelet.handshakes()), (20, 1));
    let request = kubelet.recorded_requests().pop().expect("a request");
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("GET", "/stats/summary")
    );
    let headers: BTreeMap<_, _> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_ascii_lowercase(), value.as_str()))
        .collect();
    assert_eq!(headers["authorization"], format!("Bearer {TOKEN}"));
    assert_eq!(headers["accept"], "application/json");
    assert!(!headers.contains_key("accept-encoding"));
}

#[test]
fn certificates_and_names() {
    let kubelet = kubelet().server_names(&["vm"]).started();
    let url = format!("{}/stats/summary", kubelet.url());
    assert_eq!(
        Plugin::of(&kubelet, &[]).error(),
        format!(
            "certificate of {url} is not valid for 127.0.0.1, it names vm: \
             set server_name to one of its names"
        )
    );
    Plugin::of(&kubelet, &[("server_name", "vm")])
        .scrape()
        .expect("the right name");

    let other = SimKubelet::builder().started();
    let other_ca = other.ca_file();
    let ca = [
        ("kube_ca_file", other_ca.to_str().expect("utf-8")),
        ("server_name", "vm"),
    ];
    assert_eq!(
        Plugin::of(&kubelet, &ca).error(),
        format!(
            "certificate of {url} is signed by an unknown issuer: \
             set kube_ca_file to the CA that signed it"
        )
    );
    let insecure = [ca[0], ("allow_insecure_tls", "true")];
    Plugin::of(&kubelet, &insecure)
        .scrape()
        .expect("no verification");

    kubelet.set_fault(Fault::ExpiredCertificate);
    assert_eq!(
        Plugin::of(&kubelet, &[("server_name", "vm")]).error(),
        format!(
            "certificate of {url} has expired: renew the kubelet's serving certificate, \
             or check the node's clock"
        )
    );
}

/// Nothing tells by its looks that it is another file now.
#[test]
fn files_are_read_again_after_a_failure() {
    let kubelet = kubelet().started();
    let good = fs::read_to_string(kubelet.ca_file()).expect("the CA");
    let other = SimKubelet::builder().started();
    let wrong = fs::read_to_string(other.ca_file()).expect("another CA");
    let length = good.len().max(wrong.len());
    let file = kubelet.dir().join("trusted.crt");
    let write = |text: &str| {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        fs::write(&file, format!("{text:\n<length$}")).expect("written");
        let open = File::options().write(true).open(&file).expect("the file");
        open.set_modified(at).expect("a time");
    };
    write(&wrong);
    let ca = [("kube_ca_file", file.to_str().expect("utf-8"))];
    let mut plugin = Plugin::of(&kubelet, &ca);
    assert!(plugin.error().contains("unknown issuer"));
    write(&good);
    plugin.scrape().expect("the CA that is there now");
}

/// The kubelet asks for it once a connection: a kept one would go on with the old.
#[test]
fn a_renewed_client_certificate_is_shown_at_once() {
    let kubelet = SimKubelet::builder().client_auth_ca(true).started();
    let (cert, key) = (kubelet.client_cert_file(), kubelet.client_key_file());
    let options = [
        ("cert_file", cert.to_str().expect("utf-8")),
        ("key_file", key.to_str().expect("utf-8")),
    ];
    let mut plugin = Plugin::of(&kubelet, &options);
    plugin.scrape().expect("the first certificate");
    plugin.scrape().expect("the same");
    assert_eq!(kubelet.handshakes(), 1);
    let (new_cert, new_key) = kubelet.issue_client_certificate("next").expect("another");
    fs::rename(new_cert, &cert).expect("replaced");
    fs::rename(new_key, &key).expect("replaced");
    plugin.scrape().expect("the next certificate");
    assert_eq!(kubelet.handshakes(), 2);
    assert!(Plugin::of(&kubelet, &[]).error().starts_with("401 "));
}

#[test]
fn a_token_is_never_sent_over_http_or_to_another_host() {
    let plain = SimKubelet::builder().plain_http(true).started();
    let mut plugin = Plugin::of(&plain, &[]);
    plugin.scrape().expect("anonymous is enough here");
    assert!(!plain.recorded_requests()[0].had_authorization);

    let elsewhere = SimKubelet::builder().started();
    let to = format!("{}/stats/summary", elsewhere.url());
    let kubelet = kubelet().fault(Fault::Redirect(to)).started();
    assert_eq!(
        Plugin::of(&kubelet, &[]).error(),
        format!(
            "unexpected status 302 from {}/stats/summary: redirects are not followed, \
             set kubelet_url to where it leads",
            kubelet.url()
        )
    );
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn numbers_that_are_none_are_left_out() {
    let kubelet = kubelet().sample_period(Duration::from_secs(30)).started();
    let fields = |fault: Option<Fault>| {
        match fault {
            Some(fault) => kubelet.set_fault(fault),
            None => kubelet.clear_fault(),
        }
        Plugin::of(&kubelet, &[("pod_prefix", "log-generator-a")]).scrape()
    };
    let whole = fields(None).expect("records");
    assert_eq!(whole[0]["cpu"].as_f64(), Some(78.5));
    for fault in [
        Fault::NegativeNumbers,
        Fault::StringNumbers,
        Fault::TimeNull,
    ] {
        assert_eq!(fields(Some(fault.clone())), Ok(vec![]), "{fault:?}");
    }
    // What is still a whole number is kept, the rest is absent, nothing is 0.
    for fault in [Fault::HugeNumbers, Fault::FloatNumbers] {
        for record in fields(Some(fault.clone())).expect("a summary") {
            for (name, value) in record.as_object().expect("a map") {
                assert_ne!(value.as_f64(), Some(0.0), "{fault:?}: {name}");
            }
        }
    }
    let twice = fields(Some(Fault::DuplicatePods)).expect("records");
    assert_eq!(twice, whole, "the pod that started later stays");
}

#[test]
fn a_timeout_names_what_was_waited_for() {
    let kubelet = kubelet().started();
    let url = format!("{}/stats/summary", kubelet.url());
    for (fault, doing) in [
        (Fault::HangAfterAccept, "in the TLS handshake with"),
        (Fault::HangBeforeHeaders, "waiting for the reply of"),
        (Fault::SlowHeaders, "waiting for the reply of"),
        (Fault::HangInBody, "reading the reply of"),
        (Fault::SlowBody, "reading the reply of"),
        (Fault::TinyChunks, "reading the reply of"),
        (Fault::EndlessTrailers, "reading the reply of"),
    ] {
        kubelet.set_fault(fault);
        assert_eq!(
            Plugin::of(&kubelet, &[("timeout", "300ms")]).error(),
            format!(
                "timed out after 300ms {doing} {url}: the kubelet is slow or stuck, or raise timeout"
            )
        );
    }
}

/// With time enough, what never ends becomes too much.
#[test]
fn trailers_without_end_are_a_reply_that_is_too_large() {
    let kubelet = kubelet().fault(Fault::EndlessTrailers).started();
    let error = Plugin::of(&kubelet, &[]).error();
    assert!(error.contains(" is larger than 64 MiB: "), "{error}");
}

/// A token file on a mount that has gone. The worker cannot say so: whoever watches it can.
#[test]
fn whoever_watches_sees_what_a_scrape_hangs_in() {
    let kubelet = kubelet().started();
    let mut plugin = Plugin::of(&kubelet, &[("timeout", "200ms")]);
    plugin.scrape().expect("records");
    let token = kubelet.token_file();
    let Some(held) = Held::or_not_run(&token) else {
        return;
    };
    assert!(plugin.scraper.scrape(&Counters::default()));
    let began = Instant::now();
    let (error, took) = loop {
        if let Some(overdue) = plugin.scraper.overdue(Instant::now()) {
            break overdue;
        }
        assert!(began.elapsed() < DEADLINE, "nobody noticed");
        thread::yield_now();
    };
    assert_eq!(
        error.to_string(),
        format!(
            "timed out after 200ms reading kube_token_file {}: \
             its file system does not answer: check its mount",
            token.display()
        )
    );
    assert!(took >= Duration::from_millis(200) && plugin.scraper.outcome().is_none());
    drop(held);
    // It was told already, and so is told no more; then it works.
    while !plugin.scraper.scrape(&Counters::default()) {
        assert!(plugin.scraper.outcome().is_none());
        assert!(began.elapsed() < DEADLINE, "it does not come back");
        thread::yield_now();
    }
    plugin.picked_up().expect("records or nothing new");
}

/// Files that do not answer: the start goes on without, and many stops take one grace.
#[test]
fn many_that_hang_start_and_stop_soon() {
    let kubelet = kubelet().started();
    let Some(held) = Held::or_not_run(&kubelet.ca_file()) else {
        return;
    };
    let began = Instant::now();
    let starting: Vec<_> = thread::scope(|scope| {
        let starts: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| Plugin::of(&kubelet, &[])))
            .collect();
        let started = starts.into_iter().map(|start| start.join());
        started.map(|plugin| plugin.expect("no panic")).collect()
    });
    let took = began.elapsed();
    assert!(took < Duration::from_secs(5), "20 starts took {took:?}");
    let began = Instant::now();
    drop(starting);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "20 stops took {took:?}");
    drop(held);
}
