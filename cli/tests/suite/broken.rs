//! `check` where there is no connection to be had: the lines from the step that
//! fails, and the verdict.

use std::net::TcpListener;

use sim_kubelet::{Fault, SimKubelet};

use crate::command::{
    after, assert_failure, assert_good, failure, failure_with, kubelet, path, run_with,
};

const CERTIFICATE: &str = "               subject vm, issuer vm-ca@N
               names vm, localhost, 127.0.0.1
               valid from DATE to DATE
";

#[test]
fn a_name_that_cannot_be_resolved() {
    let url = "https://no-such-host.invalid:10250";
    let said = failure(&kubelet(), &[("kubelet_url", url), ("timeout", "30s")]);
    // In between stands what the system's resolver says.
    let (start, rest) = said.split_once("/stats/summary: ").expect("a cause");
    let cannot = "FAIL  resolve  cannot resolve no-such-host.invalid for ";
    assert_eq!(start, format!("{cannot}{url}"));
    assert_eq!(
        after(rest, ": check"),
        "\
: check kubelet_url and the node's dns

verdict: no metrics: the name no-such-host.invalid cannot be resolved
to do:   give kubelet_url the node's address: in a pod, status.hostIP from the downward API
"
    );
}

#[test]
fn a_port_where_nothing_listens() {
    assert_failure(
        &kubelet(),
        &[("kubelet_url", "https://127.0.0.1:1")],
        "\
FAIL  connect  connection refused by 127.0.0.1:1 for https://127.0.0.1:1/stats/summary: check kubelet_url and that the kubelet is running

verdict: no metrics: nothing listens at the kubelet's address
to do:   in a pod without hostNetwork, 127.0.0.1 is the pod itself: set kubelet_url to https://NODE_IP:10250 (status.hostIP from the downward API), or set hostNetwork: true
",
    );
}

#[test]
fn a_kubelet_that_hangs_in_any_phase() {
    const TLS: &str = "raise timeout, check that kubelet_url is a kubelet's address and port, which is \
                       10250, and see the kubelet's log on the node: journalctl -u kubelet";
    const REPLY: &str =
        "raise timeout, or look for the reason on the node:\n\njournalctl -u kubelet";
    // Where a handshake comes before, it has to end in time on a busy machine too.
    #[rustfmt::skip]
    let rows = [
        (Fault::HangAfterAccept, "400ms", "tls  ", "in the TLS handshake", "with", TLS),
        (Fault::HangInTls, "400ms", "tls  ", "in the TLS handshake", "with", TLS),
        (Fault::HangBeforeHeaders, "2s", "reply", "waiting for the reply", "of", REPLY),
        (Fault::HangInBody, "2s", "reply", "reading the reply", "of", REPLY),
    ];
    for (fault, timeout, step, verdict, link, advice) in rows {
        let expected = format!(
            "\
FAIL  {step}    timed out after {timeout} {verdict} {link} https://127.0.0.1:PORT/stats/summary: the kubelet is slow or stuck, or raise timeout

verdict: no metrics: timed out after {timeout} {verdict}
to do:   {advice}
"
        );
        let kubelet = SimKubelet::builder().fault(fault).started();
        assert_failure(&kubelet, &[("timeout", timeout)], &expected);
    }
}

#[test]
fn a_certificate_of_a_ca_that_is_not_trusted() {
    let (kubelet, other) = (kubelet(), kubelet());
    assert_failure(
        &kubelet,
        &[("kube_ca_file", &path(&other.ca_file()))],
        &format!(
            "\
FAIL  tls      certificate of https://127.0.0.1:PORT/stats/summary is signed by an unknown issuer: set kube_ca_file to the CA that signed it
{CERTIFICATE}
verdict: no metrics: the kubelet's certificate is signed by a CA that is not trusted here
to do:   the kubelet signed its certificate itself: mount its folder /var/lib/kubelet/pki from the node and set kube_ca_file=/var/lib/kubelet/pki/kubelet.crt
"
        ),
    );
    // One that is not the kubelet's own, and carries another name besides.
    kubelet.set_fault(Fault::UnknownCa);
    let said = failure(&kubelet, &[("server_name", "node-7")]);
    assert_eq!(
        after(&said, "to do:"),
        "\
to do:   set kube_ca_file to a PEM file with the CA stranger-ca@N: if that is the cluster's, leave kube_ca_file out
to do:   set server_name=vm if that is this node
"
    );
}

#[test]
fn a_certificate_for_another_name() {
    let kubelet = SimKubelet::builder()
        .server_names(&["node-7", "node-7.internal"])
        .started();
    assert_failure(
        &kubelet,
        &[],
        "\
FAIL  tls      certificate of https://127.0.0.1:PORT/stats/summary is not valid for 127.0.0.1, it names node-7, node-7.internal: set server_name to one of its names
               subject node-7, issuer node-7-ca@N
               names node-7, node-7.internal
               valid from DATE to DATE

verdict: no metrics: the kubelet's certificate does not carry the name 127.0.0.1
to do:   set server_name=node-7 if that is this node
",
    );
    assert_good(&kubelet, &[("server_name", "node-7")]);
}

#[test]
fn an_expired_certificate() {
    let kubelet = SimKubelet::builder()
        .fault(Fault::ExpiredCertificate)
        .started();
    let run = run_with(&kubelet, "check", &[]);
    let dates = "valid from 2020-01-01 to 2021-01-01\n";
    assert!(run.out.contains(dates), "{}", run.out);
    assert_failure(
        &kubelet,
        &[],
        &format!(
            "\
FAIL  tls      certificate of https://127.0.0.1:PORT/stats/summary has expired: renew the kubelet's serving certificate, or check the node's clock
{CERTIFICATE}
verdict: no metrics: the kubelet's certificate is not valid at this time
to do:   today is DATE by this machine's clock; if that is right, remove /var/lib/kubelet/pki/kubelet.crt and kubelet.key on the node and restart the kubelet
"
        ),
    );
}

#[test]
fn a_token_file_that_is_not_there() {
    let kubelet = kubelet();
    assert_failure(
        &kubelet,
        &[("kube_token_file", "/no/such/token")],
        "\
FAIL  token    cannot read kube_token_file /no/such/token: no such file or directory
ok    ca       DIR/ca.crt: 1 certificate: vm-ca@N (until DATE)

verdict: no metrics: the token file cannot be used
to do:   in a pod the token is at the default path, unless automountServiceAccountToken is false: leave kube_token_file out, or name the file that is mounted
",
    );
    assert_eq!(kubelet.connections(), 0);
}

#[test]
fn a_ca_file_that_holds_no_certificate() {
    let kubelet = kubelet();
    let token = path(&kubelet.token_file());
    assert_eq!(
        failure_with(2, &kubelet, &[("kube_ca_file", &token)]),
        "\
FAIL  ca       cannot use kube_ca_file DIR/token: it holds no PEM block

verdict: no metrics: the CA file cannot be used
to do:   kube_ca_file is a PEM file: in a pod leave it out for the cluster's CA, or mount the kubelet's own from the node, /var/lib/kubelet/pki/kubelet.crt
"
    );
}

#[test]
fn http_where_tls_is_spoken_and_the_other_way_round() {
    let kubelet = kubelet();
    let url = format!("http://127.0.0.1:{}", kubelet.port());
    assert_failure(
        &kubelet,
        &[("kubelet_url", &url), ("kube_token_file", "")],
        "\
FAIL  reply    unexpected status 400 from http://127.0.0.1:PORT/stats/summary: it said 'Client sent an HTTP request to an HTTPS server.': that port speaks tls: set kubelet_url to https

verdict: no metrics: kubelet_url says http, but that port speaks TLS
to do:   set kubelet_url=https://127.0.0.1:PORT
",
    );
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let plain = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let said = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n";
        std::io::Write::write_all(&mut stream, said).expect("sent");
        // Closing with unread bytes would reset the connection.
        let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
    });
    let url = format!("https://127.0.0.1:{port}");
    let said = failure(&kubelet, &[("kubelet_url", &url)]);
    plain.join().expect("no panic");
    assert_eq!(
        said.replace(&port.to_string(), "PORT"),
        "\
FAIL  tls      tls with https://127.0.0.1:PORT/stats/summary failed: what answers there speaks no TLS: check the port of kubelet_url, which is 10250 on a kubelet

verdict: no metrics: kubelet_url says https, but that port speaks no TLS
to do:   check the port, which is 10250 on a kubelet, or set kubelet_url=http://127.0.0.1:PORT
"
    );
}
