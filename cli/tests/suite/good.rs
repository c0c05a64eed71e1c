//! `check` where all is well, or nearly.

use sim_kubelet::SimKubelet;

use crate::command::{after, kubelet, masked, run_with, service_account_token};

const TOKEN_STEP: &str = "\
ok    token    DIR/token: service account logging/fluent-bit
               audience https://kubernetes.default.svc
               issued 10 min ago, expires in 50 min
";

#[test]
fn every_step_is_said() {
    let token = service_account_token(-600, 3000);
    let kubelet = SimKubelet::builder().token(&token).started();
    let run = run_with(&kubelet, "check", &[("pod_prefix", "log-generator")]);
    let expected = format!(
        "\
ok    options  scraping https://127.0.0.1:PORT/stats/summary every 10s, timeout 5s, namespaces all, pod prefixes log-generator
               from: command line
{TOKEN_STEP}\
ok    ca       DIR/ca.crt: 1 certificate: vm-ca@N (until DATE)
ok    resolve  127.0.0.1 is an address
ok    connect  127.0.0.1:PORT in TIME
ok    tls      TLS 1.3 in TIME, certificate verified as 127.0.0.1
               subject vm, issuer vm-ca@N
               names vm, localhost, 127.0.0.1
               valid from DATE to DATE
ok    reply    200, N bytes after TIME in all: node vm, 7 pods
ok    clock    the kubelet's clock and this machine's agree
               the newest sample is TIME old
ok    pods     2 of 7 selected: default/log-generator-a-vm, default/log-generator-b-vm
               not selected: default/limited-vm, default/web-with-sidecar-vm, kube-system/host-agent-vm, other/guaranteed-vm, other/other-app-vm
ok    records  2 records from 2 containers

verdict: metrics arrive: 2 records in the first scrape
"
    );
    assert_eq!(masked(&run.out, &kubelet), expected);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    assert_eq!((kubelet.requests(), kubelet.handshakes()), (1, 1));
    assert!(!run.out.contains(&token), "the token is shown");
}

/// It may stand for ::1 as well, where nothing listens: that is a warning.
#[test]
fn a_name_is_looked_up() {
    let kubelet = kubelet();
    let url = format!("https://localhost:{}", kubelet.port());
    let run = run_with(&kubelet, "check", &[("kubelet_url", &url)]);
    let out = masked(&run.out, &kubelet);
    let looked_up = after(&out, "ok    resolve  localhost is ");
    let (line, _) = looked_up.split_once('\n').expect("a line");
    assert!(
        line.contains("127.0.0.1") && line.ends_with(", looked up in TIME"),
        "{out}"
    );
    assert!(out.contains("connect  127.0.0.1:PORT in TIME"), "{out}");
    assert!(
        out.contains(", certificate verified as localhost\n"),
        "{out}"
    );
    assert_eq!(run.code, Some(0));
}

#[test]
fn over_plain_http_no_token_is_sent() {
    let kubelet = SimKubelet::builder().plain_http(true).started();
    let options = [("kube_token_file", ""), ("kube_ca_file", "")];
    let run = run_with(&kubelet, "check", &options);
    let out = masked(&run.out, &kubelet);
    assert!(
        out.contains("\nok    token    none is sent: the URL is http, and a token never travels unencrypted\nok    resolve  127.0.0.1 is an address\n"),
        "{out}"
    );
    assert!(
        out.ends_with("\nverdict: metrics arrive: 9 records in the first scrape\n"),
        "{out}"
    );
    assert_eq!(run.code, Some(0));
    let request = kubelet.recorded_requests().pop().expect("a request");
    assert!(!request.had_authorization);
}

#[test]
fn an_unchecked_certificate_is_judged_all_the_same() {
    let kubelet = kubelet();
    let options = [("allow_insecure_tls", "on"), ("server_name", "another")];
    let run = run_with(&kubelet, "check", &options);
    let out = masked(&run.out, &kubelet);
    for line in [
        "warn  options  the kubelet's certificate is not checked: allow_insecure_tls is on\n",
        "ok    tls      TLS 1.3 in TIME, certificate not checked\n",
        "               without allow_insecure_tls: certificate of https://127.0.0.1:PORT/stats/summary is not valid for another, it names vm, localhost, 127.0.0.1: set server_name to one of its names\n",
        "\nverdict: metrics arrive: 9 records in the first scrape (but see the warning above)\n",
    ] {
        assert!(out.contains(line), "no {line:?} in:\n{out}");
    }
    let run = run_with(&kubelet, "check", &[("allow_insecure_tls", "on")]);
    assert!(
        run.out
            .contains("it would pass: allow_insecure_tls is not needed\n"),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(0));
}

#[test]
fn a_container_without_a_cpu_value_is_named() {
    let kubelet = kubelet();
    kubelet
        .add_pod("default/ended", 0)
        .expect("a name with a namespace");
    let run = run_with(&kubelet, "check", &[("pod_prefix", "ended")]);
    assert_eq!(
        after(&run.out, "FAIL  records"),
        "\
FAIL  records  0 records from 1 container, no CPU value: default/ended/log-generator

verdict: no metrics: the kubelet has no CPU value of the selected containers
to do:   containers that have ended, or started this second, have none: see the pods
to do:   if they run, the kubelet cannot read their cgroups: look for the reason on the node:

journalctl -u kubelet
"
    );
    assert_eq!(run.code, Some(1));
    let run = run_with(&kubelet, "check", &[("pod_prefix", "ended,log-gen")]);
    assert_eq!(
        after(&run.out, "warn  records"),
        "\
warn  records  2 records from 3 containers, no CPU value: default/ended/log-generator
               a container that has ended has none: no record is made of it

verdict: metrics arrive: 2 records in the first scrape (but see the warning above)
"
    );
    assert_eq!(run.code, Some(0));
    let options = [("pod_prefix", "log-"), ("cpu_source", "counter")];
    let run = run_with(&kubelet, "check", &options);
    let out = after(&run.out, "ok    records");
    assert!(
        out.contains("\n               cpu_source counter needs two samples\n"),
        "{out}"
    );
    assert!(
        out.ends_with("\nverdict: metrics arrive: records from the second sample on\n"),
        "{out}"
    );
}

#[test]
fn a_client_certificate_is_described() {
    let kubelet = SimKubelet::builder().client_auth_ca(true).started();
    let (cert, key) = (kubelet.client_cert_file(), kubelet.client_key_file());
    let options = [
        ("kube_token_file", ""),
        ("cert_file", cert.to_str().expect("utf-8")),
        ("key_file", key.to_str().expect("utf-8")),
    ];
    let run = run_with(&kubelet, "check", &options);
    let out = masked(&run.out, &kubelet);
    assert!(
        out.contains("\nok    cert     DIR/client.crt: user scraper, valid from DATE to DATE\n"),
        "{out}"
    );
    assert_eq!(run.code, Some(0), "{out}");
}
