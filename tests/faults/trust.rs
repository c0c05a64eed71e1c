//! Rows: certificates, tokens, and their files while they change.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use sim_kubelet::{Fault, SimKubelet};
use testkit::wait;

use super::{
    row::{Act, Row, fails, text, works},
    run::{DEADLINE, Ended, TOKEN},
    scene::Scene,
};
use crate::common::gate::Mode;

/// Long enough to do something between two scrapes.
const UNHURRIED: &[(&str, &str)] = &[("interval", "300ms")];

const NEXT: &str = "the-next-token";

pub fn rows() -> Vec<Row> {
    let mut rows = certificates();
    rows.extend(handshakes());
    rows.extend(token_files());
    rows.extend(rights());
    rows
}

/// The CA that is to come.
fn next_ca(scene: &Scene) -> PathBuf {
    scene.kubelet.dir().join("next-ca.crt")
}

fn mend_ca(scene: &Scene) -> Result<(), String> {
    text(fs::rename(next_ca(scene), scene.kubelet.ca_file()))
}

fn write_token(scene: &Scene, token: &str) -> Result<(), String> {
    text(scene.kubelet.write_token_file(token))
}

fn mend_token(scene: &Scene) -> Result<(), String> {
    write_token(scene, TOKEN)
}

/// The token file is this at once: no scrape finds none in between.
fn replace_token<T>(scene: &Scene, make: fn(&Path) -> io::Result<T>) -> Result<(), String> {
    let next = scene.kubelet.dir().join("next");
    text(make(&next))?;
    text(fs::rename(next, scene.kubelet.token_file()))
}

fn two_handshakes(scene: &Scene, _: &Ended) -> Result<(), String> {
    match scene.kubelet.handshakes() {
        2 => Ok(()),
        seen => Err(format!("{seen} handshakes instead of two")),
    }
}

/// No line of the plugin holds it.
fn secret(token: &str, ended: &Ended) -> Result<(), String> {
    match ended.said.iter().find(|said| said.text.contains(token)) {
        Some(said) => Err(format!("a token is in the log: {}", said.text)),
        None => Ok(()),
    }
}

fn certificates() -> Vec<Row> {
    const UNKNOWN: &str = "certificate of {url} is signed by an unknown issuer: \
                           set kube_ca_file to the CA that signed it";
    vec![
        fails(
            "expired-certificate",
            "certificate of {url} has expired: renew the kubelet's serving certificate, \
             or check the node's clock",
        )
        .by(Fault::ExpiredCertificate),
        fails("unknown-ca", UNKNOWN).by(Fault::UnknownCa),
        works(
            "own-ca-certificate",
            "the very certificate that is trusted, a CA's or not",
        )
        .at_start()
        .breaking(|scene| {
            let cert = serve_own_ca(scene)?;
            text(fs::write(scene.kubelet.ca_file(), cert))
        }),
        works(
            "served-certificate-as-ca",
            "the same, signed by somebody else",
        )
        .at_start()
        .breaking(|scene| {
            let chain = fs::read_to_string(scene.kubelet.chain_file());
            let chain = chain.map_err(|error| error.to_string())?;
            let (leaf, _) = chain.split_once(END).ok_or("no certificate")?;
            text(fs::write(scene.kubelet.ca_file(), format!("{leaf}{END}")))
        }),
        fails(
            "ca-certificate-not-trusted",
            "certificate of {url} is a CA certificate and is not trusted itself: \
             set kube_ca_file to this certificate",
        )
        .at_start()
        .breaking(|scene| serve_own_ca(scene).map(drop))
        .mending(|scene| text(scene.kubelet.rotate_ca())),
        works("node-name-of-digits", "a name that DNS does not have")
            .kubelet(|kubelet| kubelet.server_names(&["12345"]))
            .options(&[("server_name", "12345")]),
        works("node-name-with-a-number", "the same")
            .kubelet(|kubelet| kubelet.server_names(&["worker.01"]))
            .options(&[("server_name", "worker.01")]),
        fails(
            "wrong-name",
            "certificate of {url} is not valid for 127.0.0.1, it names another-node, 192.0.2.1: \
             set server_name to one of its names",
        )
        .by(Fault::WrongName),
        works("certificate-rotated", "the new one, at the next connection")
            .options(UNHURRIED)
            .breaking(|scene| {
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_certificate())?;
                alter(scene, SimKubelet::close_connections)
            })
            .check(two_handshakes),
        works("ca-bundle-replaced", "the new CA, at the next connection")
            .options(UNHURRIED)
            .breaking(|scene| {
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_ca())?;
                alter(scene, SimKubelet::close_connections)
            })
            .check(two_handshakes),
        works(
            "ca-replaced-under-a-kept-connection",
            "the new CA, at the next scrape",
        )
        .options(UNHURRIED)
        .breaking(|scene| {
            scene.between_scrapes()?;
            text(scene.kubelet.rotate_ca())
        })
        .check(two_handshakes),
        works(
            "ca-gone-under-a-kept-connection",
            "what nobody has replaced stays trusted",
        )
        .options(UNHURRIED)
        .breaking(|scene| {
            scene.between_scrapes()?;
            text(fs::rename(scene.kubelet.ca_file(), next_ca(scene)))
        })
        .check(|scene, _| match scene.kubelet.handshakes() {
            1 => Ok(()),
            seen => Err(format!("{seen} handshakes instead of one")),
        }),
        fails("ca-bundle-replaced-late", UNKNOWN)
            .options(UNHURRIED)
            .breaking(|scene| {
                let old = fs::read(scene.kubelet.ca_file()).map_err(|error| error.to_string())?;
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_ca())?;
                text(fs::rename(scene.kubelet.ca_file(), next_ca(scene)))?;
                text(fs::write(scene.kubelet.ca_file(), old))?;
                alter(scene, SimKubelet::close_connections)
            })
            .mending(mend_ca),
        fails(
            "ca-file-missing",
            "cannot read kube_ca_file {ca}: no such file or directory",
        )
        .options(UNHURRIED)
        .breaking(|scene| {
            scene.between_scrapes()?;
            text(fs::rename(scene.kubelet.ca_file(), next_ca(scene)))?;
            alter(scene, SimKubelet::close_connections)
        })
        .mending(mend_ca),
        fails(
            "ca-file-run-together",
            "cannot use kube_ca_file {ca}: the lines of a PEM block are run together: write it \
             with real line breaks, which an environment variable or a template has lost",
        )
        .options(UNHURRIED)
        .breaking(|scene| replace_ca(scene, |ca| ca.replace('\n', "\\n")))
        .mending(mend_ca),
        fails(
            "ca-file-cut-short",
            "cannot use kube_ca_file {ca}: a PEM block has no end: the file is cut short",
        )
        .options(UNHURRIED)
        .breaking(|scene| replace_ca(scene, |ca| ca[..ca.len() / 2].to_owned()))
        .mending(mend_ca),
    ]
}

const END: &str = "-----END CERTIFICATE-----\n";

/// The kubelet shows a certificate as `openssl req -x509` makes it, and this is it.
fn serve_own_ca(scene: &Scene) -> Result<String, String> {
    let made = || {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        Ok::<_, rcgen::Error>((params.self_signed(&key)?.pem(), key.serialize_pem()))
    };
    let (cert, key) = made().map_err(|error| error.to_string())?;
    text(scene.kubelet.serve_certificate(&cert, &key))?;
    Ok(cert)
}

/// The CA file gets this in its place, and the good one is kept for later.
fn replace_ca(scene: &Scene, change: fn(&str) -> String) -> Result<(), String> {
    let ca = fs::read_to_string(scene.kubelet.ca_file()).map_err(|error| error.to_string())?;
    scene.between_scrapes()?;
    text(fs::rename(scene.kubelet.ca_file(), next_ca(scene)))?;
    text(fs::write(scene.kubelet.ca_file(), change(&ca)))
}

fn handshakes() -> Vec<Row> {
    #[rustfmt::skip]
    let rows = [
        ("no-serving-certificate", 80,
            "tls with {url} failed: the kubelet has no serving certificate to show, as while its \
             request waits (alert internal_error): approve this node's pending request, which is \
             listed by: kubectl get csr"),
        ("nothing-in-common", 40,
            "tls with {url} failed: the kubelet has no protocol, cipher or signature in common \
             with this side (alert handshake_failure): the kubelet's key has to be RSA, ECDSA \
             P-256 or P-384, or Ed25519, and its tlsCipherSuites and tlsMinVersion have to leave \
             TLS 1.2 or 1.3"),
        ("client-certificate-not-accepted", 42,
            "tls with {url} failed: the kubelet does not accept the client certificate, or wants \
             one (alert bad_certificate): cert_file and key_file have to name a certificate that \
             the kubelet's clientCAFile signed"),
        ("an-alert-without-a-name", 200,
            "tls with {url} failed: the other side could not read what it was sent (alert number \
             200): check that kubelet_url is a kubelet, and that nothing in between alters TLS"),
    ];
    let row = |(name, number, line)| fails(name, line).by(Fault::TlsAlert(number));
    rows.into_iter().map(row).collect()
}

fn token_files() -> Vec<Row> {
    let mut rows = vec![
        works(
            "token-rotated",
            "the new token with the next scrape, no 401",
        )
        .options(UNHURRIED)
        .breaking(|scene| {
            scene.kubelet.set_tokens(&[TOKEN, NEXT]);
            scene.between_scrapes()?;
            text(scene.kubelet.write_token_file(NEXT))?;
            scene.between_scrapes()?;
            scene.kubelet.set_tokens(&[NEXT]);
            Ok(())
        })
        .check(|scene, ended| {
            scene.one_request_a_scrape(&ended.stats)?;
            secret(NEXT, ended)
        }),
        works("token-rotated-under-way", "one 401, then the new token")
            .gated()
            .breaking(|scene| {
                // A request with the old token is on its way when that ends.
                scene.gate.set_mode(Mode::Hold);
                wait::until("a request under way", DEADLINE, || scene.gate.held() > 0)
                    .map_err(|error| error.to_string())?;
                scene.kubelet.set_tokens(&[NEXT]);
                text(scene.kubelet.write_token_file(NEXT))?;
                scene.gate.set_mode(Mode::Pass);
                Ok(())
            })
            .check(|scene, ended| {
                let more = scene.kubelet.requests() - ended.stats.scrapes;
                match more {
                    1 | 2 => secret(NEXT, ended),
                    _ => Err(format!("{more} requests more than scrapes")),
                }
            }),
        fails(
            "token-file-garbled",
            "cannot use kube_token_file {token}: there is a blank in it: name a file with the \
             token alone",
        )
        .breaking(|scene| write_token(scene, "two words\u{7}"))
        .mending(mend_token)
        .check(|_, ended| secret("words", ended)),
    ];
    #[rustfmt::skip]
    let bad: [(&str, Act, &str); 8] = [
        ("token-file-missing", |scene| text(fs::remove_file(scene.kubelet.token_file())),
            "cannot read kube_token_file {token}: no such file or directory"),
        ("token-file-empty", |scene| write_token(scene, "\n"),
            "cannot use kube_token_file {token}: it is empty"),
        ("token-file-is-a-pipe",
            |scene| replace_token(scene, |pipe| Command::new("mkfifo").arg(pipe).status()),
            "cannot use kube_token_file {token}: it is a named pipe: name a regular file, since \
             nobody waits for a writer here"),
        ("token-file-is-a-device", |scene| replace_token(scene, |link| symlink("/dev/zero", link)),
            "cannot use kube_token_file {token}: it is a device: name a regular file"),
        ("token-file-of-a-gibibyte",
            |scene| replace_token(scene, |file| File::create(file)?.set_len(1 << 30)),
            "cannot use kube_token_file {token}: it is larger than 4 MiB"),
        ("token-too-long-to-send", |scene| write_token(scene, &"t".repeat((16 << 10) + 1)),
            "cannot use kube_token_file {token}: it is larger than 16 KiB, so it holds no token"),
        ("token-just-short-enough", |scene| write_token(scene, &"t".repeat(16 << 10)), TOKEN_REFUSED),
        ("token-file-of-another-kind",
            |scene| {
                let key = fs::read_to_string(scene.kubelet.client_key_file());
                write_token(scene, &key.map_err(|error| error.to_string())?)
            },
            "cannot use kube_token_file {token}: it holds PEM, no token: is that meant for \
             another option?"),
    ];
    let row = |(name, act, line)| fails(name, line).breaking(act).mending(mend_token);
    rows.extend(bad.map(row));
    rows
}

/// Also of a kubelet that cannot ask whose it is.
pub const TOKEN_REFUSED: &str = "401 unauthorized by {url}: it did not accept the token in {token}: \
     check the token and the kubelet's authentication.webhook, \
     or wait: a kubelet that cannot reach the api server says the same";

/// What cannot fail.
fn alter(scene: &Scene, change: fn(&SimKubelet)) -> Result<(), String> {
    change(&scene.kubelet);
    Ok(())
}

fn rights() -> Vec<Row> {
    vec![
        fails(
            "token-not-looked-at",
            "403 forbidden by {url}: the kubelet treated the request as system:anonymous, \
             so it ignored the token in {token}: \
             set authentication.webhook.enabled in the kubelet's configuration",
        )
        .breaking(|scene| alter(scene, |kubelet| kubelet.set_webhook(false)))
        .mending(|scene| alter(scene, |kubelet| kubelet.set_webhook(true))),
        fails("api-server-away", TOKEN_REFUSED)
            .breaking(|scene| alter(scene, |kubelet| kubelet.set_api_server_away(true)))
            .mending(|scene| alter(scene, |kubelet| kubelet.set_api_server_away(false))),
        fails(
            "api-server-away-and-no-token",
            "unexpected status 500 from {url}: it said 'Authorization error \
             (user=system:anonymous, verb=get, resource=nodes, subresource=stats)': \
             the kubelet cannot ask the api server about the user: wait until that is back",
        )
        .plain()
        .breaking(|scene| alter(scene, |kubelet| kubelet.set_api_server_away(true)))
        .mending(|scene| alter(scene, |kubelet| kubelet.set_api_server_away(false))),
        fails("token-not-accepted", TOKEN_REFUSED)
            .breaking(|scene| alter(scene, |kubelet| kubelet.set_tokens(&[NEXT])))
            .mending(|scene| text(scene.kubelet.write_token_file(NEXT)))
            .check(|scene, ended| {
                secret(NEXT, ended)?;
                // Twice for each failure, not oftener; and what the end cut short, or
                // a retry that found the file replaced in between.
                let asked = ended.stats.scrapes + ended.stats.failures;
                match scene.kubelet.requests().checked_sub(asked) {
                    Some(0..=2) => Ok(()),
                    _ => Err(format!(
                        "{} requests, not {asked}",
                        scene.kubelet.requests()
                    )),
                }
            }),
        fails(
            "token-without-the-right",
            "403 forbidden by {url}: \
             system:serviceaccount:default:powerless needs verb get on nodes/stats",
        )
        .kubelet(|kubelet| kubelet.forbidden_token("a-token-without-rights"))
        .breaking(|scene| text(scene.kubelet.write_token_file("a-token-without-rights")))
        .mending(mend_token)
        .check(|_, ended| secret("a-token-without-rights", ended)),
        works(
            "anonymous",
            "no token file, no token, and a kubelet that lets anybody in",
        )
        .options(&[("kube_token_file", "")])
        .at_start()
        .breaking(|scene| alter(scene, |kubelet| kubelet.set_tokens(&[])))
        .check(|scene, _| {
            let requests = scene.kubelet.recorded_requests();
            match requests.iter().any(|request| request.had_authorization) {
                true => Err("a token was sent that nobody gave".to_owned()),
                false => Ok(()),
            }
        }),
    ]
}
