//! Knows whom to trust, which name to expect, and which client certificate to send. It owns the
//! files for these, and decides when they are read again.
//!
//! The files are read before a new connection, if one of them has changed or if the last connection
//! carried no reply. A kept connection is closed when a file has changed.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use once_cell::sync::Lazy;
use rustls::{
    ClientConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
};

pub use super::handshake::{explain, speaks_no_tls};
use super::{
    name::Name,
    observer::Observer,
    pem,
    trust::{TrustStore, Verifier},
};
use crate::{
    error::{Error, Result},
    options::{Config, FilePath},
};

/// All inputs of the process share it, because it has no state.
static PROVIDER: Lazy<Arc<CryptoProvider>> =
    Lazy::new(|| Arc::new(rustls::crypto::ring::default_provider()));

/// The TLS client's configuration, kept up to date with its files.
#[derive(Debug)]
pub struct Tls {
    files: Arc<Files>,
    name: Name,
    insecure: bool,
    observer: Observer,
    loaded: LoadedConfig,
}

/// The configuration from one reading of the files.
#[derive(Debug, Clone)]
pub(crate) struct LoadedConfig {
    /// The configuration of rustls, for a new connection.
    pub client: Arc<ClientConfig>,
    files: Arc<Files>,
    stamps: Vec<FileStamp>,
    /// Whether a connection with this configuration has carried a reply.
    proven: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Files {
    ca: FilePath,
    client_cert: Option<(PathBuf, PathBuf)>,
}

/// Changes when a file is replaced or rewritten. It is `None` while the file does not exist.
type FileStamp = Option<(u64, u64, u64, i64, i64)>;

impl Tls {
    /// Reads all files. An error stops Fluent Bit at start.
    pub fn new(config: &Config, observer: &Observer) -> Result<Self> {
        let name = config.server_name.as_ref().unwrap_or(&config.url.host);
        let name = Name::parse(name)
            .ok_or_else(|| Error::option("server_name", name, "a host name or an IP address"))?;
        let files = Arc::new(Files {
            ca: config.ca_file.clone(),
            client_cert: config
                .client_cert()
                .map(|(cert, key)| (cert.to_owned(), key.to_owned())),
        });
        let loaded = load(&files, &name, config.allow_insecure_tls, observer)?;
        Ok(Self {
            files,
            name,
            insecure: config.allow_insecure_tls,
            observer: observer.clone(),
            loaded,
        })
    }

    /// The server name for the handshake; see [`Name::sni`].
    pub(crate) fn sni(&self) -> ServerName<'static> {
        self.name.sni()
    }

    /// Returns the configuration for a new connection. The files are read again if necessary.
    pub(crate) fn load(&mut self) -> Result<LoadedConfig> {
        // The configuration counts as unproven until the new connection has carried a reply.
        let proven = self.loaded.proven.swap(false, Ordering::Relaxed);
        if !proven || self.loaded.stamps != self.files.stamps() {
            self.loaded = load(&self.files, &self.name, self.insecure, &self.observer)?;
        }
        Ok(self.loaded.clone())
    }
}

impl LoadedConfig {
    /// Whether a file has changed. A missing file counts as unchanged: it is being replaced, and
    /// the connection is kept until then.
    pub fn is_outdated(&self) -> bool {
        let now = self.files.stamps();
        std::iter::zip(&now, &self.stamps).any(|(now, then)| now.is_some() && now != then)
    }

    /// The kubelet has replied on a connection with this configuration, so it has accepted it.
    pub fn mark_proven(&self) {
        self.proven.store(true, Ordering::Relaxed);
    }
}

impl Files {
    fn stamps(&self) -> Vec<FileStamp> {
        let client_cert = self.client_cert.iter().flat_map(|(cert, key)| [cert, key]);
        [self.ca.path()]
            .into_iter()
            .chain(client_cert.map(PathBuf::as_path))
            .map(|path| {
                let meta = fs::metadata(path).ok()?;
                let file = (meta.dev(), meta.ino(), meta.size());
                Some((file.0, file.1, file.2, meta.mtime(), meta.mtime_nsec()))
            })
            .collect()
    }
}

fn load(
    files: &Arc<Files>,
    name: &Name,
    insecure: bool,
    observer: &Observer,
) -> Result<LoadedConfig> {
    // The stamps are taken before the files are read. A file that changes in between is read once
    // more.
    let stamps = files.stamps();
    let found = trusted_certificates(&files.ca)?;
    let file = found.file;
    let trusted = match (TrustStore::new(found.certificates), file) {
        (None, Some(file)) => {
            let why = "what it holds as a certificate cannot be decoded";
            return Err(Error::unusable(CA_OPTION, file, why));
        }
        (trusted, _) => trusted.unwrap_or_default(),
    };
    let verifier = Verifier::new(
        (!insecure).then_some(trusted),
        name.clone(),
        PROVIDER.signature_verification_algorithms,
        observer.clone(),
    );
    let builder = ClientConfig::builder_with_provider(Arc::clone(&PROVIDER))
        .with_safe_default_protocol_versions()
        .map_err(|_| Error::host("tls cannot be set up: no cipher for TLS 1.2 and 1.3"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut client = match &files.client_cert {
        None => builder.with_no_client_auth(),
        Some((cert_file, key_file)) => {
            let chain = pem::certificates("cert_file", cert_file)?;
            let key = pem::key("key_file", key_file)?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|error| client_cert_error(&error, cert_file, key_file))?
        }
    };
    client.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(LoadedConfig {
        client: Arc::new(client),
        files: Arc::clone(files),
        stamps,
        proven: Arc::new(AtomicBool::new(true)),
    })
}

/// Explains why a client certificate and a key that could be read cannot be used together.
fn client_cert_error(error: &rustls::Error, cert_file: &Path, key_file: &Path) -> Error {
    match error {
        rustls::Error::InconsistentKeys(_) => Error::unusable(
            "key_file",
            key_file,
            "the key does not belong to the first certificate of cert_file",
        ),
        rustls::Error::InvalidCertificate(_) => Error::unusable(
            "cert_file",
            cert_file,
            "its first certificate cannot be decoded",
        ),
        _ => Error::unusable(
            "key_file",
            key_file,
            "the key is damaged, or of a kind that is not supported: RSA from 2048 bits, ECDSA \
             P-256 and P-384, and Ed25519 are",
        ),
    }
}

const CA_OPTION: &str = "kube_ca_file";

/// The certificates to trust, and where they come from.
#[derive(Debug)]
pub struct TrustSource<'a> {
    /// The file, or `None` for the certificates of the platform.
    pub file: Option<&'a Path>,
    /// All certificates of the file or the platform. Some of them may not be CAs.
    pub certificates: Vec<CertificateDer<'static>>,
}

/// Returns the certificates of the given file. Without one it returns those of the service account,
/// and if these do not exist, those of the platform.
pub fn trusted_certificates(ca: &FilePath) -> Result<TrustSource<'_>> {
    let path = ca.path();
    let file = matches!(ca, FilePath::Given(_)) || path.exists();
    Ok(match file {
        true => TrustSource {
            file: Some(path),
            certificates: pem::certificates(CA_OPTION, path)?,
        },
        false => TrustSource {
            file: None,
            certificates: rustls_native_certs::load_native_certs().certs,
        },
    })
}
