//! Certificates, good and bad, and what is said to a client that speaks no TLS.

use std::io::{Read, Write};

use rustls::{CertificateError, Error};
use sim_kubelet::{Fault, SimKubelet};

use crate::client::{Client, PATIENCE, Setup, certificates, tcp};

/// The reason a client gives for breaking off the handshake.
fn refusal(kubelet: &SimKubelet, server_name: &'static str) -> Option<CertificateError> {
    let setup = Setup {
        server_name,
        ..Setup::default()
    };
    let err = Client::connect(kubelet, &setup).err()?;
    match err.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(reason) => Some(reason.clone()),
        other => panic!("another TLS error: {other}"),
    }
}

#[test]
fn both_versions_and_http_1_by_alpn() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let setup = Setup {
            versions: vec![version],
            ..Setup::default()
        };
        let mut client = Client::connect(&kubelet, &setup).expect("a connection");
        assert_eq!(client.protocol, Some(version.version));
        assert_eq!(client.alpn.as_deref(), Some(b"http/1.1".as_slice()));
        assert_eq!(client.get("/healthz").text(), "ok");
    }
    assert_eq!(kubelet.handshakes(), 2);
}

#[test]
fn names_are_those_asked_for() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    for name in ["vm", "localhost", "127.0.0.1"] {
        assert_eq!(refusal(&kubelet, name), None, "{name}");
    }
    let only_node = SimKubelet::builder()
        .server_names(&["node-7"])
        .start()
        .expect("a kubelet");
    assert_eq!(refusal(&only_node, "node-7"), None);
    assert!(refusal(&only_node, "127.0.0.1").is_some());
    let address = "127.0.0.1".parse().expect("an address");
    let both = SimKubelet::builder()
        .server_names(&["node-7"])
        .server_ips(&[address])
        .start()
        .expect("a kubelet");
    assert_eq!(refusal(&both, "127.0.0.1"), None);
    assert_eq!(certificates(&both.chain_file()).len(), 2);
}

#[test]
fn bad_certificates_are_refused_for_their_own_reason() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    kubelet.set_fault(Fault::ExpiredCertificate);
    assert!(matches!(
        refusal(&kubelet, "vm"),
        Some(CertificateError::Expired | CertificateError::ExpiredContext { .. })
    ));
    kubelet.set_fault(Fault::WrongName);
    assert!(matches!(
        refusal(&kubelet, "vm"),
        Some(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. })
    ));
    kubelet.set_fault(Fault::UnknownCa);
    assert_eq!(
        refusal(&kubelet, "vm"),
        Some(CertificateError::UnknownIssuer)
    );
    kubelet.set_fault_for(Fault::UnknownCa, 1);
    assert!(refusal(&kubelet, "vm").is_some());
    assert_eq!(refusal(&kubelet, "vm"), None);
}

#[test]
fn rotation_changes_the_certificate_and_with_a_new_ca_its_file() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let chain = || certificates(&kubelet.chain_file());
    let before = chain();
    kubelet.rotate_certificate().expect("a new certificate");
    let after = chain();
    assert!(before[0] != after[0] && before[1] == after[1]);
    assert_eq!(refusal(&kubelet, "vm"), None);
    kubelet.rotate_ca().expect("a new CA");
    assert!(after[1] != chain()[1]);
    assert_eq!(refusal(&kubelet, "vm"), None);
}

#[test]
fn plain_http_on_the_tls_port_gets_gos_answer() {
    let kubelet = SimKubelet::builder().start().expect("a kubelet");
    let mut stream = tcp(&kubelet, PATIENCE);
    stream
        .write_all(b"GET /stats/summary HTTP/1.1\r\nHost: vm\r\n\r\n")
        .expect("a sent request");
    stream.shutdown(std::net::Shutdown::Write).expect("an end");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(
        answer,
        "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
    );
    assert_eq!((kubelet.handshakes(), kubelet.requests()), (0, 0));
}
