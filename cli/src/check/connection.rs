//! The steps up to an encrypted connection: name, address, TLS.

use std::{error::Error as _, net::IpAddr};

use kubeletstats_core::{
    error::{Error, Phase, Reason},
    kubelet::{observer::Notes, tls},
    options::Config,
    text::printable,
};
use rustls::{AlertDescription, ProtocolVersion, pki_types::CertificateDer};

use super::{
    credentials::{self, Credential, CredentialKind},
    timed_out,
};
use crate::{
    certificate::{self, Certificate},
    humanize,
    scrape::Scrape,
    screen::Report,
};

/// The kubelet writes this file if it signs its serving certificate itself.
const KUBELET_OWN_CA: &str = "/var/lib/kubelet/pki/kubelet.crt";

pub fn resolve(
    config: &Config,
    notes: &Notes,
    error: Option<&Error>,
    report: &mut Report,
) -> Option<()> {
    let host = &config.url.host;
    if let Some(error) = error {
        let cause = match error.reason() {
            Reason::Timeout => timed_out(config, Phase::Resolve),
            _ => format!("the name {host} cannot be resolved"),
        };
        report.fail("resolve", &error.to_string(), &cause);
        report.advise(
            "give kubelet_url the node's address: in a pod, status.hostIP from the downward API",
        );
        return None;
    }
    if host.parse::<IpAddr>().is_ok() {
        report.ok("resolve", &format!("{host} is an address"));
    } else {
        let addresses: Vec<_> = notes
            .addresses
            .iter()
            .map(|one| one.ip().to_string())
            .collect();
        let (list, time) = (
            humanize::list(&addresses, 8),
            humanize::elapsed(notes.resolved_in),
        );
        report.ok("resolve", &format!("{host} is {list}, looked up in {time}"));
    }
    Some(())
}

pub fn connect(
    config: &Config,
    notes: &Notes,
    error: Option<&Error>,
    report: &mut Report,
) -> Option<()> {
    let failed = notes.attempts.iter().filter_map(|attempt| {
        let failure = attempt.failure.as_ref()?;
        Some((attempt.address, failure))
    });
    if let Some(error) = error {
        let mut text = error.to_string();
        for (address, failure) in failed {
            if *failure != text {
                text.push_str(&format!("\n{address}: {failure}"));
            }
        }
        let cause = match error.reason() {
            Reason::Timeout => timed_out(config, Phase::Connect),
            Reason::Refused => "nothing listens at the kubelet's address".to_owned(),
            _ => "the kubelet's address cannot be reached".to_owned(),
        };
        report.fail("connect", &text, &cause);
        if ["127.0.0.1", "::1", "localhost"].contains(&config.url.host.as_str()) {
            report.advise(
                "in a pod without hostNetwork, 127.0.0.1 is the pod itself: set kubelet_url to \
                 https://NODE_IP:10250 (status.hostIP from the downward API), or set hostNetwork: true",
            );
        } else {
            report.advise("the kubelet listens on port 10250: check the address, and that no network policy forbids it");
        }
        return None;
    }
    let connected = notes
        .attempts
        .iter()
        .find(|attempt| attempt.failure.is_none());
    let address = connected.map_or("?".to_owned(), |one| one.address.to_string());
    let time = connected.map_or_else(String::new, |one| humanize::elapsed(one.took));
    let text = format!("{address} in {time}");
    match failed
        .map(|(_, failure)| failure.as_str())
        .collect::<Vec<_>>()
        .join("\n")
    {
        none if none.is_empty() => report.ok("connect", &text),
        some => report.warn("connect", &format!("{text}, after\n{some}")),
    }
    Some(())
}

pub fn tls(
    config: &Config,
    credential: &Credential,
    notes: &Notes,
    error: Option<&Error>,
    report: &mut Report,
) -> Option<()> {
    let first = notes.certificates.first();
    let cert = first.and_then(|der| Certificate::read(der));
    let about = cert.as_ref().map_or_else(String::new, describe);
    if let Some(error) = error {
        let text = format!("{error}{about}");
        // Before TLS 1.3, a server that refuses the client certificate reports it here.
        let client = credential.expired(&[CredentialKind::ClientCertificate]);
        if let Some((cause, remedies)) = client.filter(|_| is_client_cert_alert(error)) {
            report.fail("tls", &text, &cause);
            remedies.iter().for_each(|remedy| report.advise(*remedy));
            return None;
        }
        report.fail("tls", &text, &cause(config, error));
        advise(config, error, first, cert.as_ref(), report);
        return None;
    }
    let handshake = notes.handshake.as_ref();
    let version = match handshake.and_then(|handshake| handshake.version) {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        _ => "TLS",
    };
    let time = handshake.map_or_else(String::new, |handshake| humanize::elapsed(handshake.took));
    let name = expected_name(config);
    match config.allow_insecure_tls {
        false => {
            let text = format!("{version} in {time}, certificate verified as {name}{about}");
            report.ok("tls", &text);
        }
        true => {
            let would = would_verify(config);
            report.ok(
                "tls",
                &format!("{version} in {time}, certificate not checked{about}\n{would}"),
            );
        }
    }
    Some(())
}

fn expected_name(config: &Config) -> &str {
    config.server_name.as_deref().unwrap_or(&config.url.host)
}

/// Does another scrape to find out whether the certificate is valid without
/// `allow_insecure_tls`.
fn would_verify(config: &Config) -> String {
    let mut strict = config.clone();
    strict.allow_insecure_tls = false;
    strict.pod_facts = false;
    let failure = match Scrape::run(&strict) {
        // The certificate is not the cause of an error after the handshake.
        Ok(scrape) if scrape.notes.handshake.is_some() => None,
        // The certificate need not be the cause of an error before the handshake either.
        Ok(scrape) => scrape.result.err(),
        Err(error) => Some(error),
    };
    match failure {
        Some(error) => format!("without allow_insecure_tls: {error}"),
        None => "it would pass: allow_insecure_tls is not needed".to_owned(),
    }
}

fn describe(cert: &Certificate) -> String {
    let subject = printable(&cert.subject, 253);
    let issuer = printable(&cert.issuer, 253);
    let names = match cert.names.as_slice() {
        [] => "none".to_owned(),
        some => humanize::list(some, 10),
    };
    let validity = cert.validity();
    format!("\nsubject {subject}, issuer {issuer}\nnames {names}\n{validity}")
}

fn cause(config: &Config, error: &Error) -> String {
    match error.reason() {
        Reason::Timeout => timed_out(config, Phase::Tls),
        Reason::TlsUnknownIssuer => {
            "the kubelet's certificate is signed by a CA that is not trusted here".to_owned()
        }
        Reason::TlsWrongName => {
            format!(
                "the kubelet's certificate does not carry the name {}",
                expected_name(config)
            )
        }
        Reason::TlsExpired => "the kubelet's certificate is not valid at this time".to_owned(),
        _ => match rustls_error(error) {
            Some(error) if tls::speaks_no_tls(error) => {
                "kubelet_url says https, but that port speaks no TLS"
            }
            Some(rustls::Error::AlertReceived(AlertDescription::InternalError)) => {
                "the kubelet has no serving certificate"
            }
            Some(rustls::Error::AlertReceived(_)) => "the other side ends the TLS handshake",
            Some(rustls::Error::InvalidCertificate(_)) => {
                "the kubelet's certificate cannot be used"
            }
            _ => "the TLS handshake fails",
        }
        .to_owned(),
    }
}

fn speaks_no_tls(error: &Error) -> bool {
    rustls_error(error).is_some_and(tls::speaks_no_tls)
}

/// Whether the server ended the handshake because of the client certificate.
fn is_client_cert_alert(error: &Error) -> bool {
    use AlertDescription as Alert;
    let Some(rustls::Error::AlertReceived(alert)) = rustls_error(error) else {
        return false;
    };
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRevoked
            | Alert::CertificateUnknown
            | Alert::UnsupportedCertificate
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

fn rustls_error(error: &Error) -> Option<&rustls::Error> {
    error.source()?.downcast_ref()
}

fn advise(
    config: &Config,
    error: &Error,
    der: Option<&CertificateDer<'_>>,
    cert: Option<&Certificate>,
    report: &mut Report,
) {
    match (error.reason(), cert) {
        (Reason::TlsUnknownIssuer, Some(cert)) => {
            report.advise(ca_advice(config, cert));
            if !der.is_some_and(|der| certificate::is_valid_for(der, expected_name(config))) {
                report.advise(server_name_advice(config, cert));
            }
        }
        (Reason::TlsWrongName, Some(cert)) => report.advise(server_name_advice(config, cert)),
        (Reason::TlsExpired, Some(cert)) => {
            let today = humanize::date(humanize::unix_now() as i64);
            let renew = match cert.is_signed_by_kubelet_ca() {
                true => {
                    "remove /var/lib/kubelet/pki/kubelet.crt and kubelet.key on the node and restart the kubelet"
                }
                false => "see whether the kubelet's request waits: kubectl get csr",
            };
            report.advise(format!(
                "today is {today} by this machine's clock; if that is right, {renew}"
            ));
        }
        (Reason::Timeout, _) => report.advise(
            "raise timeout, check that kubelet_url is a kubelet's address and port, which is 10250, \
             and see the kubelet's log on the node: journalctl -u kubelet",
        ),
        _ if speaks_no_tls(error) => {
            let url = super::url_with_scheme(config, "http");
            report.advise(format!(
                "check the port, which is 10250 on a kubelet, or set kubelet_url={url}"
            ));
        }
        _ => {
            if let Some(remedy) = error.remedy() {
                report.advise(remedy);
            }
        }
    }
}

fn ca_advice(config: &Config, cert: &Certificate) -> String {
    let trusted = credentials::trusted_certificates(config);
    let same_name = trusted
        .map(|trusted| trusted.certificates)
        .unwrap_or_default()
        .iter()
        .any(|der| Certificate::read(der).is_some_and(|ca| ca.subject == cert.issuer));
    let issuer = printable(&cert.issuer, 253);
    let path = config.ca_file.path();
    if credentials::is_stale_mount(config, path) {
        return format!("{}: {}", path.display(), credentials::STALE_MOUNT);
    }
    let path = path.display();
    if same_name {
        return format!(
            "{path} has a CA named {issuer}, but with another key: it is an old one, replace the file"
        );
    }
    if cert.is_signed_by_kubelet_ca() {
        return format!(
            "the kubelet signed its certificate itself: mount its folder /var/lib/kubelet/pki from the node and set \
             kube_ca_file={KUBELET_OWN_CA}"
        );
    }
    let clusters = match credentials::is_default(&config.ca_file) {
        true => String::new(),
        false => ": if that is the cluster's, leave kube_ca_file out".to_owned(),
    };
    format!("set kube_ca_file to a PEM file with the CA {issuer}{clusters}")
}

fn server_name_advice(config: &Config, cert: &Certificate) -> String {
    let is_address = |name: &&String| name.parse::<IpAddr>().is_ok();
    let names = &cert.names;
    let name = names
        .iter()
        .find(|name| !is_address(name))
        .or(names.first());
    match name {
        Some(name) => format!(
            "set server_name={} if that is this node",
            printable(name, 253)
        ),
        None => format!(
            "the certificate has no alternative name, so none can match {}: renew it with one",
            expected_name(config)
        ),
    }
}
