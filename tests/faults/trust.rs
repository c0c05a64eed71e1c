//! Rows: certificates, tokens, and their files while they change.

use std::{fs, path::PathBuf};

use sim_kubelet::Fault;
use testkit::wait;

use super::{
    gate::Mode,
    row::{Row, fails, text, works},
    run::{DEADLINE, Ended, TOKEN},
    scene::Scene,
};

/// Long enough to do something between two scrapes.
const UNHURRIED: &[(&str, &str)] = &[("interval", "300ms")];

const NEXT: &str = "the-next-token";

pub fn rows() -> Vec<Row> {
    let mut rows = certificates();
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

fn mend_token(scene: &Scene) -> Result<(), String> {
    text(scene.kubelet.write_token_file(TOKEN))
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
        fails(
            "wrong-name",
            "certificate of {url} is not valid for 127.0.0.1, it names another-node, 192.0.2.1: \
             set server_name to a name it carries",
        )
        .by(Fault::WrongName),
        works("certificate-rotated", "the new one, at the next connection")
            .options(UNHURRIED)
            .breaking(|scene| {
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_certificate())?;
                scene.kubelet.close_connections();
                Ok(())
            })
            .check(two_handshakes),
        works("ca-bundle-replaced", "the new CA, at the next connection")
            .options(UNHURRIED)
            .breaking(|scene| {
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_ca())?;
                scene.kubelet.close_connections();
                Ok(())
            })
            .check(two_handshakes),
        fails("ca-bundle-replaced-late", UNKNOWN)
            .options(UNHURRIED)
            .breaking(|scene| {
                let old = fs::read(scene.kubelet.ca_file()).map_err(|error| error.to_string())?;
                scene.between_scrapes()?;
                text(scene.kubelet.rotate_ca())?;
                text(fs::rename(scene.kubelet.ca_file(), next_ca(scene)))?;
                text(fs::write(scene.kubelet.ca_file(), old))?;
                scene.kubelet.close_connections();
                Ok(())
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
            scene.kubelet.close_connections();
            Ok(())
        })
        .mending(mend_ca),
    ]
}

fn token_files() -> Vec<Row> {
    vec![
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
            "token-file-missing",
            "cannot read kube_token_file {token}: no such file or directory",
        )
        .breaking(|scene| text(fs::remove_file(scene.kubelet.token_file())))
        .mending(mend_token),
        fails(
            "token-file-empty",
            "cannot use kube_token_file {token}: it is empty",
        )
        .breaking(|scene| text(scene.kubelet.write_token_file("\n")))
        .mending(mend_token),
        fails(
            "token-file-garbled",
            "cannot use kube_token_file {token}: it does not hold a token",
        )
        .breaking(|scene| text(scene.kubelet.write_token_file("two words\u{7}")))
        .mending(mend_token)
        .check(|_, ended| secret("words", ended)),
    ]
}

fn rights() -> Vec<Row> {
    vec![
        fails(
            "token-not-accepted",
            "401 unauthorized by {url}: it did not accept the token in {token}",
        )
        .breaking(|scene| {
            scene.kubelet.set_tokens(&[NEXT]);
            Ok(())
        })
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
            "403 forbidden by {url}: the service account needs verb get on nodes/stats",
        )
        .kubelet(|kubelet| kubelet.forbidden_token("powerless"))
        .breaking(|scene| text(scene.kubelet.write_token_file("powerless")))
        .mending(mend_token)
        .check(|_, ended| secret("powerless", ended)),
        works(
            "anonymous",
            "no token file, no token, and a kubelet that lets anybody in",
        )
        .options(&[("kube_token_file", "")])
        .at_start()
        .breaking(|scene| {
            scene.kubelet.set_tokens(&[]);
            Ok(())
        })
        .check(|scene, _| {
            let requests = scene.kubelet.recorded_requests();
            match requests.iter().any(|request| request.had_authorization) {
                true => Err("a token was sent that nobody gave".to_owned()),
                false => Ok(()),
            }
        }),
    ]
}
