//! `check` and the files of credentials, the kubelet's certificate, and how a
//! handshake can end.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use sim_kubelet::{Fault, SimKubelet};

use crate::command::{
    after, assert_failure, assert_good, failure, failure_with, kubelet, masked, path, run_with,
    service_account_token, write,
};

/// A certificate that is its own CA, as `openssl req -x509` makes it, and its key.
fn own_ca(names: &[&str]) -> [String; 2] {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let cert = params.self_signed(&key).expect("a certificate");
    [cert.pem(), key.serialize_pem()]
}

#[test]
fn names_of_nodes_that_are_no_names_of_hosts() {
    for name in ["12345", "worker.01", "my_node"] {
        let kubelet = SimKubelet::builder().server_names(&[name]).started();
        assert_good(&kubelet, &[("server_name", name)]);
        let said = failure(&kubelet, &[("server_name", "12346")]);
        assert!(
            said.contains(&format!("is not valid for 12346, it names {name}: ")),
            "{said}"
        );
        assert!(said.ends_with(&format!(
            "to do:   set server_name={name} if that is this node\n"
        )));
    }
}

#[test]
fn alerts_say_what_to_do() {
    const ENDS: &str = "the other side ends the TLS handshake";
    #[rustfmt::skip]
    let rows = [
        (80, "the kubelet has no serving certificate to show, as while its request waits (alert internal_error)",
            "the kubelet has no serving certificate",
            "approve this node's pending request, which is listed by: kubectl get csr"),
        (40, "the kubelet has no protocol, cipher or signature in common with this side (alert handshake_failure)", ENDS,
            "the kubelet's key has to be RSA, ECDSA P-256 or P-384, or Ed25519, and its tlsCipherSuites and tlsMinVersion have to leave TLS 1.2 or 1.3"),
        (70, "the kubelet speaks neither TLS 1.2 nor 1.3 (alert protocol_version)", ENDS,
            "see its tlsMinVersion, and whether kubelet_url is a kubelet"),
        (116, "the kubelet wants a client certificate, and none was shown (alert certificate_required)", ENDS,
            "cert_file and key_file have to name a certificate that the kubelet's clientCAFile signed"),
    ];
    for (number, why, verdict, remedy) in rows {
        let kubelet = SimKubelet::builder()
            .fault(Fault::TlsAlert(number))
            .started();
        let url = "https://127.0.0.1:PORT/stats/summary";
        let step = format!("FAIL  tls      tls with {url} failed: {why}: {remedy}");
        let expected = format!("{step}\n\nverdict: no metrics: {verdict}\nto do:   {remedy}\n");
        assert_failure(&kubelet, &[], &expected);
    }
}

/// With TLS 1.3 the alert comes when the handshake is over on this side.
#[test]
fn a_client_certificate_that_is_demanded() {
    let kubelet = SimKubelet::builder().client_auth_required(true).started();
    let said = failure(&kubelet, &[]);
    assert!(
        said.starts_with(
            "FAIL  tls      tls with https://127.0.0.1:PORT/stats/summary failed: the kubelet wants \
             a client certificate, and none was shown (alert certificate_required): "
        ),
        "{said}"
    );
    let files = [kubelet.client_cert_file(), kubelet.client_key_file()].map(|file| path(&file));
    let options = [("cert_file", files[0].as_str()), ("key_file", &files[1])];
    assert_good(&kubelet, &options);
}

/// The file goes on being there under its path, but in no folder.
#[test]
fn a_mounted_file_that_has_been_replaced() {
    let kubelet = kubelet();
    let file = kubelet.dir().join("mounted.crt");
    fs::copy(kubelet.ca_file(), &file).expect("a copy");
    let open = File::open(&file).expect("the copy");
    fs::remove_file(&file).expect("removed");
    let mounted = format!("/proc/{}/fd/{}", std::process::id(), open.as_raw_fd());
    let replaced = "this file has been replaced or removed where it was mounted from, and the mount \
                    goes on showing the old one: mount its directory instead";
    // As long as it is the right one, it is a warning.
    let run = run_with(&kubelet, "check", &[("kube_ca_file", &mounted)]);
    assert_eq!(run.code, Some(0), "{}", run.out);
    assert!(
        after(&run.out, "warn").starts_with(&format!("warn  ca       {mounted}: 1 certificate: ")),
        "{}",
        run.out
    );
    assert!(run.out.contains(&format!("\n               {replaced}\n")));
    // After the kubelet got a new one, it is the cause.
    kubelet.rotate_ca().expect("a new CA");
    let said = failure(&kubelet, &[("kube_ca_file", &mounted)]);
    assert!(said.contains("is signed by an unknown issuer"), "{said}");
    assert!(
        said.ends_with(&format!("\nto do:   {mounted}: {replaced}\n")),
        "{said}"
    );
}

#[test]
fn client_files_that_cannot_be_used() {
    let kubelet = SimKubelet::builder().client_auth_ca(true).started();
    let read = |file| fs::read_to_string(file).expect("a file");
    let (cert, key) = (
        read(kubelet.client_cert_file()),
        read(kubelet.client_key_file()),
    );
    let [_, foreign] = own_ca(&["x"]);
    let exchanged = "are cert_file and key_file exchanged?";
    let no_certificate = format!("it holds a private key, no certificate: {exchanged}");
    let no_key = format!("it holds a certificate, no private key: {exchanged}");
    let foreign_key = "the key does not belong to the first certificate of cert_file";
    for (cert, key, file, why) in [
        (&*cert, &*foreign, "key_file DIR/k.pem", foreign_key),
        (&key, &cert, "cert_file DIR/c.pem", &no_certificate),
        (&cert, &cert, "key_file DIR/k.pem", &no_key),
        (&cert, "", "key_file DIR/k.pem", "it is empty"),
    ] {
        let cert = write(&kubelet, "c.pem", cert);
        let key = write(&kubelet, "k.pem", key);
        let said = failure_with(2, &kubelet, &[("cert_file", &cert), ("key_file", &key)]);
        let expected = format!(
            "FAIL  cert     cannot use {file}: {why}\n\nverdict: no metrics: the client \
             certificate cannot be used\nto do:   cert_file and key_file are PEM files"
        );
        assert!(said.starts_with(&expected), "{said}");
    }
    // One file with both, as the kubelet writes its own.
    let both = write(&kubelet, "both.pem", &format!("{cert}{key}"));
    let options = [("cert_file", both.as_str()), ("key_file", &both)];
    assert_good(&kubelet, &options);
}

/// Whoever runs the tests as root may read everything.
#[test]
fn a_token_that_this_user_may_not_read() {
    let kubelet = kubelet();
    fs::set_permissions(kubelet.token_file(), fs::Permissions::from_mode(0o000)).expect("a mode");
    let run = run_with(&kubelet, "check", &[]);
    if fs::read(kubelet.token_file()).is_ok() {
        assert_eq!(run.code, Some(0), "{}", run.out);
        return;
    }
    let said = failure(&kubelet, &[]);
    assert!(
        said.starts_with(
            "FAIL  token    cannot read kube_token_file DIR/token: permission denied\n"
        )
    );
    assert!(said.contains("securityContext.fsGroup"), "{said}");
}

/// Somebody wrote the secret where the name of its file belongs.
#[test]
fn a_secret_in_place_of_its_file_is_not_shown() {
    let kubelet = kubelet();
    let [_, key] = own_ca(&["vm"]);
    let token = service_account_token(-600, 3000);
    for options in [
        [("kube_ca_file", &*key), ("timeout", "5s")],
        [("cert_file", &key), ("key_file", &key)],
        [("kube_token_file", &token), ("timeout", "5s")],
    ] {
        for command in ["check", "once"] {
            let run = run_with(&kubelet, command, &options);
            let shown = masked(&format!("{}{}", run.out, run.err), &kubelet);
            // The token alone is read when Fluent Bit runs.
            let code = if options[0].0 == "kube_token_file" {
                1
            } else {
                2
            };
            assert_eq!(run.code, Some(code), "{shown}");
            assert!(
                shown.contains("(its value is a secret, where the name of a file belongs)"),
                "{shown}"
            );
            let hidden = options[0]
                .1
                .trim()
                .lines()
                .all(|line| !shown.contains(line));
            assert!(hidden, "{shown}");
        }
    }
}
