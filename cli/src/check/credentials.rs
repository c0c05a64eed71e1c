//! The files of the credentials and of the trusted certificates: token, CAs, client
//! certificate.

use std::{error::Error as _, fmt, fs, io, os::unix::fs::MetadataExt, path::Path};

use kubeletstats_core::{
    error::Error,
    kubelet::{
        observer::Observer,
        pem,
        tls::{self, Tls, TrustSource},
        token::Token,
    },
    options::{Config, FilePath},
    text::printable,
};

use crate::{certificate::Certificate, humanize, screen::Report, token::Claims, watchdog};

/// The credentials of the request, and what they contain.
#[derive(Debug, Default)]
pub struct Credential {
    /// Whether the request has a token.
    pub token: bool,
    pub claims: Option<Claims>,
    /// The common name of the client certificate. It is also the user's name.
    pub client: Option<String>,
    /// The credentials that have expired by this machine's clock. The kubelet's clock may
    /// differ.
    pub expired: Vec<Expired>,
}

#[derive(Debug)]
pub struct Expired {
    pub what: CredentialKind,
    pub advice: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    Token,
    ClientCertificate,
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Token => "the token",
            Self::ClientCertificate => "the client certificate",
        })
    }
}

impl Credential {
    /// Returns the cause and the remedies of a refusal, if a credential of one of these
    /// kinds has expired.
    pub fn expired(&self, kinds: &[CredentialKind]) -> Option<(String, Vec<&str>)> {
        let expired = self.expired.iter();
        let expired: Vec<_> = expired.filter(|one| kinds.contains(&one.what)).collect();
        let cause = format!("{} has expired", expired.first()?.what);
        Some((
            cause,
            expired.iter().map(|one| one.advice.as_str()).collect(),
        ))
    }
}

/// Returns `None` if no request can be made.
pub fn check(config: &Config, report: &mut Report) -> Option<Credential> {
    let mut credential = Credential::default();
    let usable = [
        check_token(config, &mut credential, report),
        !config.url.https || check_ca(config, report),
        !config.url.https || check_client_certificate(config, &mut credential, report),
    ];
    usable.iter().all(|usable| *usable).then_some(credential)
}

fn check_token(config: &Config, credential: &mut Credential, report: &mut Report) -> bool {
    let path = config.token_file.path().display();
    let header = match watchdog::watch(config, || Token::new(config).read()) {
        Ok(Some(header)) => header,
        Ok(None) => {
            report_no_token(config, report);
            return true;
        }
        Err(error) => {
            let cause = "the token file cannot be used";
            report.fail("token", &error.to_string(), cause);
            report.advise(match is_forbidden(&error) {
                true => NOT_READABLE,
                false => {
                    "in a pod the token is at the default path, unless \
                     automountServiceAccountToken is false: leave kube_token_file out, or name \
                     the file that is mounted"
                }
            });
            return false;
        }
    };
    credential.token = true;
    credential.claims = Claims::of_header(header.as_bytes());
    let Some(claims) = &credential.claims else {
        report.ok(
            "token",
            &format!("{path}: not a service account's token, so it says nothing about itself"),
        );
        return true;
    };
    let mut text = format!("{path}: {}", subject(claims));
    if !claims.audiences.is_empty() {
        text.push_str(&format!(
            "\naudience {}",
            humanize::list(&claims.audiences, 5)
        ));
    }
    let now = humanize::unix_now();
    let validity = validity(claims, now);
    let text = format!("{text}\n{validity}");
    if claims.expires.is_some_and(|at| at <= now) {
        report.warn("token", &text);
        credential.expired.push(Expired {
            what: CredentialKind::Token,
            advice: renewal_advice(claims),
        });
    } else if let Some(why) = token_warning(claims, now) {
        report.warn("token", &format!("{text}\n{why}"));
    } else {
        report.ok("token", &text);
    }
    true
}

fn report_no_token(config: &Config, report: &mut Report) {
    if !config.url.https {
        report.ok(
            "token",
            "none is sent: the URL is http, and a token never travels unencrypted",
        );
        return;
    }
    let path = config.token_file.path().display();
    let text = format!("none is sent: {path} does not exist");
    match config.client_cert() {
        Some(_) => report.ok("token", &text),
        None => report.warn("token", &format!("{text}, and kube_token_file is not set")),
    }
}

fn subject(claims: &Claims) -> String {
    match (claims.service_account(), &claims.subject) {
        (Some((namespace, name)), _) => format!("service account {namespace}/{name}"),
        (None, Some(subject)) => format!("subject {}", printable(subject, 253)),
        (None, None) => "it names no subject".to_owned(),
    }
}

fn validity(claims: &Claims, now: f64) -> String {
    let issued = match claims.issued {
        Some(at) if at <= now => format!("issued {} ago, ", humanize::duration(now - at)),
        Some(at) => format!("issued {} from now, ", humanize::duration(at - now)),
        None => String::new(),
    };
    let expires = match claims.expires {
        Some(at) if at <= now => format!("expired {} ago", humanize::duration(now - at)),
        Some(at) => format!("expires in {}", humanize::duration(at - now)),
        None => "does not expire".to_owned(),
    };
    issued + &expires
}

/// Returns why a token that has not expired may still be wrong.
fn token_warning(claims: &Claims, now: f64) -> Option<&'static str> {
    const SLACK: f64 = 5.0;
    let begins = claims.not_before.or(claims.issued)?;
    if begins > now + SLACK {
        return Some("it is not valid yet by this machine's clock: check the time on the node");
    }
    let life = claims.expires? - claims.issued?;
    let age = now - claims.issued?;
    (age > 0.9 * life).then_some(
        "the kubelet renews a mounted token after 80 % of its life: is this file a copy?",
    )
}

fn renewal_advice(claims: &Claims) -> String {
    let new = match claims.service_account() {
        Some((namespace, name)) => {
            format!(", or make one: kubectl create token -n {namespace} {name}")
        }
        None => String::new(),
    };
    format!(
        "the kubelet renews the token it mounts into a pod: name that file, not a copy of it{new}"
    )
}

fn check_ca(config: &Config, report: &mut Report) -> bool {
    let trusted = match trusted_certificates(config) {
        Ok(trusted) => trusted,
        Err(error) => {
            report.fail("ca", &error.to_string(), "the CA file cannot be used");
            report.advise(match is_forbidden(&error) {
                true => NOT_READABLE,
                false => {
                    "kube_ca_file is a PEM file: in a pod leave it out for the cluster's CA, or \
                     mount the kubelet's own from the node, /var/lib/kubelet/pki/kubelet.crt"
                }
            });
            return false;
        }
    };
    let found: Vec<_> = trusted
        .certificates
        .iter()
        .filter_map(|der| Certificate::read(der))
        .collect();
    let many = humanize::count(trusted.certificates.len(), "certificate");
    let Some(file) = trusted.file else {
        let path = config.ca_file.path().display();
        let text = format!(
            "the platform's {many}: {path} does not exist, and kube_ca_file is not set\n\
             a kubelet's certificate is hardly ever signed by one of these"
        );
        match config.allow_insecure_tls {
            true => report.ok("ca", &text),
            false => report.warn("ca", &text),
        }
        return true;
    };
    let described: Vec<_> = found
        .iter()
        .map(|cert| {
            format!(
                "{} (until {})",
                cert.subject,
                humanize::date(cert.not_after)
            )
        })
        .collect();
    let text = format!(
        "{}: {many}: {}",
        file.display(),
        humanize::list(&described, 5)
    );
    let now = humanize::unix_now();
    let over = found
        .iter()
        .filter(|cert| (cert.not_after as f64) < now)
        .count();
    let mut warnings = Vec::new();
    if over > 0 {
        warnings.push(format!("{} expired", humanize::count(over, "certificate")));
    }
    if is_stale_mount(config, file) {
        warnings.push(STALE_MOUNT.to_owned());
    }
    match warnings.is_empty() {
        true => report.ok("ca", &text),
        false => report.warn("ca", &format!("{text}\n{}", warnings.join("\n"))),
    }
    true
}

/// Reads the trusted certificates like the plugin.
pub fn trusted_certificates(config: &Config) -> Result<TrustSource<'_>, Error> {
    watchdog::watch(config, || tls::trusted_certificates(&config.ca_file))
}

const NOT_READABLE: &str = "the file is there, but not for this user: in a pod give the volume a \
                        defaultMode and the pod a securityContext.fsGroup that let it be read";

/// The advice for a file for which [`is_stale_mount`] is true.
pub const STALE_MOUNT: &str = "this file has been replaced or removed where it was mounted from, and \
                            the mount goes on showing the old one: mount its directory instead";

/// Whether the file has no directory entry any more, but can still be opened. That
/// happens if a single file is mounted, and its source is replaced by another file.
pub fn is_stale_mount(config: &Config, file: &Path) -> bool {
    let meta = watchdog::watch(config, || fs::metadata(file));
    meta.is_ok_and(|meta| meta.is_file() && meta.nlink() == 0)
}

/// Whether the file exists, but this user may not read it.
fn is_forbidden(error: &Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref());
    source.is_some_and(|error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied)
}

/// Checks both files like the plugin, and whether key and certificate match.
fn check_client_certificate(
    config: &Config,
    credential: &mut Credential,
    report: &mut Report,
) -> bool {
    let Some((path, key)) = config.client_cert() else {
        return true;
    };
    let read = || {
        let chain = pem::certificates("cert_file", path)?;
        Tls::new(config, &Observer::default()).map(|_| chain)
    };
    let chain = match watchdog::watch(config, read) {
        Ok(chain) => chain,
        Err(error) => {
            report.fail(
                "cert",
                &error.to_string(),
                "the client certificate cannot be used",
            );
            report.advise(match is_forbidden(&error) {
                true => NOT_READABLE,
                false => {
                    "cert_file and key_file are PEM files with one certificate and its key, or \
                     one file with both: or leave both options out and use a token"
                }
            });
            return false;
        }
    };
    for file in [path, key] {
        if is_stale_mount(config, file) {
            report.warn("cert", &format!("{}: {STALE_MOUNT}", file.display()));
        }
    }
    match chain.first().and_then(|der| Certificate::read(der)) {
        Some(cert) => describe_client(path, cert, credential, report),
        None => report.warn("cert", &format!("{}: it cannot be decoded", path.display())),
    }
    true
}

fn describe_client(
    path: &Path,
    cert: Certificate,
    credential: &mut Credential,
    report: &mut Report,
) {
    let subject = printable(&cert.subject, 253);
    let text = format!("{}: user {subject}, {}", path.display(), cert.validity());
    if (cert.not_after as f64) < humanize::unix_now() {
        report.warn("cert", &format!("{text}\nit has expired"));
        credential.expired.push(Expired {
            what: CredentialKind::ClientCertificate,
            advice:
                "renew the client certificate, or leave cert_file and key_file out and use a token"
                    .to_owned(),
        });
    } else {
        report.ok("cert", &text);
    }
    credential.client = Some(cert.subject);
}

/// Whether the user has not set the option.
pub fn is_default(file: &FilePath) -> bool {
    matches!(file, FilePath::Default(_))
}
