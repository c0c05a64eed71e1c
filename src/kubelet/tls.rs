//! Whom to trust, which name to expect, and which certificate to show.
//!
//! The files are looked at again before every new connection, so a rotated
//! bundle or client certificate is taken up without a restart.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use once_cell::sync::Lazy;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject},
};

use super::trace::Trace;
use crate::{
    error::{Error, Result},
    options::{Config, FilePath},
};

/// Stateless and the same for every instance.
static PROVIDER: Lazy<Arc<CryptoProvider>> =
    Lazy::new(|| Arc::new(rustls::crypto::ring::default_provider()));

#[derive(Debug)]
pub struct Tls {
    files: Files,
    name: ServerName<'static>,
    insecure: bool,
    stamps: Vec<Stamp>,
    client: Arc<ClientConfig>,
}

#[derive(Debug)]
struct Files {
    ca: FilePath,
    client_cert: Option<(PathBuf, PathBuf)>,
    trace: Trace,
}

/// Changes when a file is replaced or rewritten; `None` while it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

impl Tls {
    pub fn new(config: &Config, trace: &Trace) -> Result<Self> {
        let name = config.server_name.as_ref().unwrap_or(&config.url.host);
        let name = ServerName::try_from(name.clone())
            .map_err(|_| Error::option("server_name", name, "a host name or an IP address"))?;
        let files = Files {
            ca: config.ca_file.clone(),
            client_cert: config.client_cert.clone(),
            trace: trace.clone(),
        };
        let stamps = files.stamps();
        let client = files.load(config.allow_insecure_tls)?;
        Ok(Self {
            files,
            name,
            insecure: config.allow_insecure_tls,
            stamps,
            client,
        })
    }

    pub fn name(&self) -> &ServerName<'static> {
        &self.name
    }

    /// What the files say now.
    pub fn client(&mut self) -> Result<Arc<ClientConfig>> {
        let stamps = self.files.stamps();
        if stamps != self.stamps {
            self.client = self.files.load(self.insecure)?;
            self.stamps = stamps;
        }
        Ok(Arc::clone(&self.client))
    }
}

impl Files {
    fn stamps(&self) -> Vec<Stamp> {
        let client_cert = self.client_cert.iter().flat_map(|(cert, key)| [cert, key]);
        [self.ca.path()]
            .into_iter()
            .chain(client_cert.map(PathBuf::as_path))
            .map(|path| {
                let meta = fs::metadata(path).ok()?;
                Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
            })
            .collect()
    }

    fn load(&self, insecure: bool) -> Result<Arc<ClientConfig>> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::host(format!("tls cannot be set up: {error}")))?;
        let roots = self.roots()?;
        let judge = match (insecure, self.trace.make_verifier()) {
            (true, _) => Some(Judge::AcceptAny),
            (false, None) => None,
            (false, Some(make)) => Some(make(roots.clone()).map_or(Judge::TrustNone, Judge::Check)),
        };
        let builder = match judge {
            Some(judge) => builder
                .dangerous()
                .with_custom_certificate_verifier(Verifier::new(judge, &self.trace)),
            None => builder.with_root_certificates(roots),
        };
        let mut client = match &self.client_cert {
            None => builder.with_no_client_auth(),
            Some((cert_file, key_file)) => {
                let chain = certificates("cert_file", cert_file)?;
                let key = PrivateKeyDer::from_pem_slice(&read("key_file", key_file)?)
                    .map_err(|_| Error::unusable("key_file", key_file, "it holds no PEM key"))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    Error::unusable("cert_file", cert_file, format!("with key_file: {error}"))
                })?
            }
        };
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(client))
    }

    fn roots(&self) -> Result<RootCertStore> {
        let mut roots = RootCertStore::empty();
        let trusted = trusted(&self.ca)?;
        let (added, _) = roots.add_parsable_certificates(trusted.certificates);
        match trusted.file {
            Some(file) if added == 0 => {
                let why = "it holds no usable certificate";
                Err(Error::unusable("kube_ca_file", file, why))
            }
            _ => Ok(roots),
        }
    }
}

/// The CAs that may sign the kubelet's certificate.
#[derive(Debug)]
pub struct Trusted<'a> {
    /// `None`: they are the platform's.
    pub file: Option<&'a Path>,
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Those of the given file, else of the service account, else the platform's.
pub fn trusted(ca: &FilePath) -> Result<Trusted<'_>> {
    let path = ca.path();
    let file = matches!(ca, FilePath::Given(_)) || path.exists();
    Ok(match file {
        true => Trusted {
            file: Some(path),
            certificates: certificates("kube_ca_file", path)?,
        },
        false => Trusted {
            file: None,
            certificates: rustls_native_certs::load_native_certs().certs,
        },
    })
}

fn read(option: &str, path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| Error::unreadable(option, path, error))
}

/// Every certificate of a PEM file, the first one first.
pub fn certificates(option: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(option, path)?)
        .collect::<std::result::Result<_, pem::Error>>()
        .map_err(|error| Error::unusable(option, path, error))?;
    match found.is_empty() {
        true => Err(Error::unusable(option, path, "it holds no PEM certificate")),
        false => Ok(found),
    }
}

/// A failed handshake, by what the operator has to change.
pub fn explain(error: &rustls::Error, url: &str) -> Error {
    use CertificateError as Certificate;
    let rustls::Error::InvalidCertificate(problem) = error else {
        return Error::tls(url, error.clone());
    };
    match problem {
        // A CA that was made anew under its old name fails by signature.
        Certificate::UnknownIssuer | Certificate::BadSignature => {
            Error::tls_unknown_issuer(url, error.clone())
        }
        Certificate::NotValidForNameContext {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            Error::tls_wrong_name(url, &expected.to_str(), &names, error.clone())
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            Error::tls_expired(url, "has expired", error.clone())
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            Error::tls_expired(url, "is not valid yet", error.clone())
        }
        _ => Error::tls(url, error.clone()),
    }
}

/// The verifier writes `DnsName("vm")`; an operator reads `vm`.
fn plain_name(presented: &str) -> String {
    presented
        .split_once('(')
        .and_then(|(_, rest)| rest.strip_suffix(')'))
        .unwrap_or(presented)
        .trim_matches('"')
        .to_owned()
}

/// What checks certificates against these CAs as rustls does by itself; `None`
/// when there is no CA at all.
pub type MakeVerifier = fn(RootCertStore) -> Option<Arc<dyn ServerCertVerifier>>;

pub fn verifier(roots: RootCertStore) -> Option<Arc<dyn ServerCertVerifier>> {
    let builder =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER));
    match builder.build() {
        Ok(verifier) => Some(verifier),
        Err(_) => None,
    }
}

/// For `allow_insecure_tls`, where any certificate will do but the peer still has
/// to hold its key; and to note the certificates of a peer that is turned away.
#[derive(Debug)]
struct Verifier {
    judge: Judge,
    trace: Trace,
    algorithms: WebPkiSupportedAlgorithms,
}

#[derive(Debug)]
enum Judge {
    AcceptAny,
    /// There is no CA to trust.
    TrustNone,
    Check(Arc<dyn ServerCertVerifier>),
}

impl Verifier {
    fn new(judge: Judge, trace: &Trace) -> Arc<Self> {
        Arc::new(Self {
            judge,
            trace: trace.clone(),
            algorithms: PROVIDER.signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        self.trace.note(|notes| {
            let chain = [end_entity].into_iter().chain(intermediates);
            notes.certificates = chain.map(|cert| cert.clone().into_owned()).collect();
        });
        match &self.judge {
            Judge::AcceptAny => Ok(ServerCertVerified::assertion()),
            Judge::TrustNone => Err(CertificateError::UnknownIssuer.into()),
            Judge::Check(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, name, ocsp, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
