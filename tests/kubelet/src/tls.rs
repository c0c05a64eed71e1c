//! Owns certificates: the CA of the serving certificate, the CA of client certificates, the
//! certificates that they sign, and the rustls configuration. It knows no HTTP.

use std::{io, sync::Arc};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use time::{Duration, OffsetDateTime};

use crate::{fault::Fault, random::unique};

/// A certificate with its chain and key, as PEM for files and as DER for rustls.
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// A certificate authority of the simulated kubelet.
pub struct Authority {
    pub pem: String,
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Clone, Copy)]
enum Role {
    Server,
    Client,
}

impl Authority {
    pub fn new(name: &str) -> io::Result<Self> {
        let mut params = CertificateParams::default();
        // The name differs from that of any other CA, so a client reports "unknown issuer" for
        // the certificate of another CA.
        let common_name = format!("{name}@{}", unique() as u32);
        params.distinguished_name = named(&common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        set_validity(&mut params, false);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        Ok(Self {
            pem: certificate.pem(),
            der: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        })
    }

    /// A client certificate for `common_name`.
    pub fn client(&self, common_name: &str) -> io::Result<Identity> {
        self.sign(common_name, &[], Role::Client, false)
    }

    fn sign(
        &self,
        common_name: &str,
        names: &[String],
        role: Role,
        expired: bool,
    ) -> io::Result<Identity> {
        let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
        params.distinguished_name = named(common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match role {
            Role::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Role::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        set_validity(&mut params, expired);
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(io::Error::other)?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            chain: vec![certificate.der().clone(), self.der.clone()],
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }
}

fn named(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn set_validity(params: &mut CertificateParams, expired: bool) {
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        return;
    }
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = params.not_before + Duration::days(365);
}

/// Everything that the server needs for TLS. A rotation replaces parts of it.
pub struct Tls {
    pub authority: Authority,
    pub serving: Identity,
    clients: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// `names` are DNS names and addresses. With `clients`, the server asks for a client
    /// certificate. With `required`, a client without one is refused, as by a proxy in front.
    pub fn new(
        names: Vec<String>,
        clients: Option<&Authority>,
        required: bool,
    ) -> io::Result<Self> {
        let authority = Authority::new(&format!("{}-ca", common_name(&names)))?;
        let clients = client_verifier(clients, required)?;
        let serving = authority.sign(&common_name(&names), &names, Role::Server, false)?;
        let config = server_config(&serving, &clients)?;
        Ok(Self {
            authority,
            serving,
            clients,
            names,
            config,
        })
    }

    /// Returns the serving certificate and the CA in one PEM text.
    pub fn serving_chain_pem(&self) -> String {
        format!("{}{}", self.serving.certificate_pem, self.authority.pem)
    }

    /// Makes a new serving certificate, of the same CA or of a new one.
    pub fn rotate(&mut self, new_authority: bool) -> io::Result<()> {
        let name = common_name(&self.names);
        if new_authority {
            self.authority = Authority::new(&format!("{name}-ca"))?;
        }
        self.serving = self
            .authority
            .sign(&name, &self.names, Role::Server, false)?;
        self.config = server_config(&self.serving, &self.clients)?;
        Ok(())
    }

    /// Uses this certificate from now on. The key is in PKCS #8.
    pub fn serve(&mut self, chain: &str, key: &str) -> io::Result<()> {
        let certificates = CertificateDer::pem_slice_iter(chain.as_bytes());
        let serving = Identity {
            certificate_pem: chain.to_owned(),
            key_pem: key.to_owned(),
            chain: certificates
                .collect::<Result<_, _>>()
                .map_err(io::Error::other)?,
            key: PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(io::Error::other)?,
        };
        self.config = server_config(&serving, &self.clients)?;
        self.serving = serving;
        Ok(())
    }

    /// Returns the configuration for a connection with `fault`.
    pub fn config_for(&self, fault: &Fault) -> io::Result<Arc<ServerConfig>> {
        let name = common_name(&self.names);
        let identity = match fault {
            Fault::ExpiredCertificate => {
                self.authority
                    .sign(&name, &self.names, Role::Server, true)?
            }
            Fault::WrongName => {
                let others = ["another-node".to_owned(), "192.0.2.1".to_owned()];
                self.authority
                    .sign("another-node", &others, Role::Server, false)?
            }
            Fault::UnknownCa => {
                Authority::new("stranger-ca")?.sign(&name, &self.names, Role::Server, false)?
            }
            _ => return Ok(Arc::clone(&self.config)),
        };
        server_config(&identity, &self.clients)
    }
}

fn common_name(names: &[String]) -> String {
    names.first().cloned().unwrap_or_else(|| "node".to_owned())
}

fn server_config(
    identity: &Identity,
    clients: &Arc<dyn ClientCertVerifier>,
) -> io::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(io::Error::other)?
        .with_client_cert_verifier(Arc::clone(clients))
        .with_single_cert(identity.chain.clone(), identity.key.clone_key().into())
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Asks for a certificate of this authority, or for none if there is no authority.
fn client_verifier(
    authority: Option<&Authority>,
    required: bool,
) -> io::Result<Arc<dyn ClientCertVerifier>> {
    let Some(authority) = authority else {
        return Ok(WebPkiClientVerifier::no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    roots.add(authority.der.clone()).map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match required {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(io::Error::other)
}
