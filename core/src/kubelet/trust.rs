//! Decides which certificate of a kubelet is trusted.
//!
//! A certificate is trusted if it is valid now, has the expected name, and either
//!
//! - is itself in the CA file, byte for byte. Then exactly this certificate is trusted, whoever
//!   signed it, and whether or not it is a CA certificate; or
//! - is signed by a CA of that file, directly or through certificates that the kubelet sends.
//!
//! openssl (with partial chains) and Go decide in the same way. rustls with webpki knows only the
//! second way. It takes every certificate of the file as a CA, and refuses a server's certificate
//! that is a CA certificate. In both ways, the kubelet has to prove that it has the key.

use std::{fmt, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, x509::X509Version,
};

use super::{name::Name, observer::Observer};

type VerifyResult = std::result::Result<(), rustls::Error>;

/// The certificates of the CA file. By default there are none, so no kubelet is trusted.
#[derive(Debug)]
pub(crate) struct TrustStore {
    certificates: Vec<CertificateDer<'static>>,
    /// Those certificates that may sign others.
    cas: RootCertStore,
}

impl TrustStore {
    /// Returns `None` if none of them can be decoded.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Option<Self> {
        let mut cas = RootCertStore::empty();
        let mut decoded = 0;
        for der in &certificates {
            let Ok((_, cert)) = X509Certificate::from_der(der) else {
                continue;
            };
            decoded += 1;
            if is_ca(&cert) {
                // A certificate that the library does not accept as an anchor cannot sign others
                // here.
                let _ = cas.add(der.clone());
            }
        }
        (decoded > 0).then_some(Self { certificates, cas })
    }

    fn contains(&self, der: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|known| known == der)
    }
}

impl Default for TrustStore {
    fn default() -> Self {
        Self {
            certificates: Vec::new(),
            cas: RootCertStore::empty(),
        }
    }
}

/// Whether it may sign others. X.509 version 1 has no extension that says this.
fn is_ca(cert: &X509Certificate<'_>) -> bool {
    let (Ok(constraints), Ok(usage)) = (cert.basic_constraints(), cert.key_usage()) else {
        return false;
    };
    let signs = usage.map(|usage| usage.value.key_cert_sign());
    match constraints {
        Some(constraints) => constraints.value.ca && signs != Some(false),
        None => signs == Some(true) || signs.is_none() && cert.version() != X509Version::V3,
    }
}

/// Checks the certificates that a kubelet sends.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// The trusted certificates, or `None` with `allow_insecure_tls`.
    trusted: Option<TrustStore>,
    expected: Name,
    algorithms: WebPkiSupportedAlgorithms,
    observer: Observer,
}

impl Verifier {
    /// `trusted` is `None` with `allow_insecure_tls`. The `observer` gets every chain, accepted or
    /// not.
    pub fn new(
        trusted: Option<TrustStore>,
        expected: Name,
        algorithms: WebPkiSupportedAlgorithms,
        observer: Observer,
    ) -> Self {
        Self {
            trusted,
            expected,
            algorithms,
            observer,
        }
    }

    fn verify(
        &self,
        trusted: &TrustStore,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> VerifyResult {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let (_, cert) =
            X509Certificate::from_der(end_entity).map_err(|_| CertificateError::BadEncoding)?;
        match trusted.contains(end_entity) {
            true => check_pinned(&cert, now)?,
            false => verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &trusted.cas,
                intermediates,
                now,
                self.algorithms.all,
            )?,
        }
        match names(&cert).iter().any(|name| self.expected.matches(name)) {
            true => Ok(()),
            false => Err(Distrust::WrongName {
                expected: self.expected.clone(),
                presented: names(&cert),
            }
            .into()),
        }
    }
}

/// Checks a certificate that is itself in the CA file. Its signature does not matter. Everything
/// else that webpki checks in a server's certificate is checked here.
fn check_pinned(cert: &X509Certificate<'_>, now: UnixTime) -> VerifyResult {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now < cert.validity().not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > cert.validity().not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    match cert.extended_key_usage() {
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(()),
        Ok(Some(_)) => Err(CertificateError::InvalidPurpose.into()),
        Err(_) => Err(CertificateError::BadEncoding.into()),
    }
}

/// Returns the names of a certificate. The common name is ignored, as in Go and in every browser:
/// kubelets' certificates have always had alternative names.
fn names(cert: &X509Certificate<'_>) -> Vec<Name> {
    let Ok(Some(extension)) = cert.subject_alternative_name() else {
        return Vec::new();
    };
    let to_name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(host) => Some(Name::Host((*host).to_owned())),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let address = four.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            Some(Name::Address(address.ok()?))
        }
        _ => None,
    };
    extension
        .value
        .general_names
        .iter()
        .filter_map(to_name)
        .collect()
}

/// Returns the alternative names of a certificate. There are none if it cannot be decoded.
pub fn names_of(der: &[u8]) -> Vec<Name> {
    X509Certificate::from_der(der).map_or_else(|_| Vec::new(), |(_, cert)| names(&cert))
}

/// Why a certificate is not trusted, for causes without an error in rustls.
#[derive(Debug)]
pub(crate) enum Distrust {
    /// Only the name is wrong.
    WrongName {
        /// `server_name`, or the host of `kubelet_url`.
        expected: Name,
        /// The alternative names of the certificate.
        presented: Vec<Name>,
    },
    /// The handshake is not signed with the key of the certificate.
    KeyNotProven,
}

impl fmt::Display for Distrust {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::WrongName { .. } => "wrong name",
            Self::KeyNotProven => "no proof of the key",
        })
    }
}

impl std::error::Error for Distrust {}

impl From<Distrust> for rustls::Error {
    fn from(distrust: Distrust) -> Self {
        CertificateError::Other(OtherError(Arc::new(distrust))).into()
    }
}

/// rustls returns `BadSignature` both for the handshake's signature and for a certificate's. The
/// remedies differ, so they are told apart here.
fn as_distrust(
    result: std::result::Result<HandshakeSignatureValid, rustls::Error>,
) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
    result.map_err(|error| match error {
        rustls::Error::InvalidCertificate(CertificateError::BadSignature) => {
            Distrust::KeyNotProven.into()
        }
        other => other,
    })
}

impl ServerCertVerifier for Verifier {
    /// The server name here is only that of SNI. [`Verifier::expected`] is the name that is
    /// checked.
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        self.observer.note(|notes| {
            let chain = [end_entity].into_iter().chain(intermediates);
            notes.certificates = chain.map(|cert| cert.clone().into_owned()).collect();
        });
        if let Some(trusted) = &self.trusted {
            self.verify(trusted, end_entity, intermediates, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.algorithms;
        as_distrust(rustls::crypto::verify_tls12_signature(
            message, cert, signature, algorithms,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.algorithms;
        as_distrust(rustls::crypto::verify_tls13_signature(
            message, cert, signature, algorithms,
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer,
        KeyPair, KeyUsagePurpose, date_time_ymd,
    };
    use rustls::{
        ClientConfig, ClientConnection, ServerConfig, ServerConnection,
        pki_types::PrivatePkcs8KeyDer,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    };

    use super::*;

    /// 2030-01-01. The certificates made here are valid from 2025 to 2035 by default.
    const NOW: u64 = 1_893_456_000;

    struct Issued {
        der: CertificateDer<'static>,
        issuer: Issuer<'static, KeyPair>,
    }

    /// Issues a certificate for `vm`, with a change. It is signed by itself if `by` is `None`.
    fn issue(change: impl FnOnce(&mut CertificateParams), by: Option<&Issued>) -> Issued {
        with_key(KeyPair::generate().expect("the key is usable"), change, by)
    }

    fn with_key(
        key: KeyPair,
        change: impl FnOnce(&mut CertificateParams),
        by: Option<&Issued>,
    ) -> Issued {
        let mut params = CertificateParams::new(["vm".to_owned()]).expect("the name is valid");
        params.not_before = date_time_ymd(2025, 1, 1);
        params.not_after = date_time_ymd(2035, 1, 1);
        change(&mut params);
        let cert = match by {
            Some(by) => params.signed_by(&key, &by.issuer),
            None => params.self_signed(&key),
        };
        Issued {
            der: cert.expect("the certificate can be signed").der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    fn named(params: &mut CertificateParams, name: &str) {
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
    }

    fn a_ca(params: &mut CertificateParams) {
        named(params, "ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.subject_alt_names.clear();
    }

    fn own_ca(params: &mut CertificateParams) {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }

    /// Returns what is logged about a chain, given the trusted certificates.
    fn verdict(trusted: &[&Issued], end_entity: &[&Issued], name: &str, now: u64) -> String {
        let ders = |certs: &[&Issued]| certs.iter().map(|one| one.der.clone()).collect::<Vec<_>>();
        let verifier = Verifier::new(
            Some(TrustStore::new(ders(trusted)).expect("the certificates can be decoded")),
            Name::parse(name).expect("the name is valid"),
            rustls::crypto::ring::default_provider().signature_verification_algorithms,
            Observer::default(),
        );
        let end_entity = ders(end_entity);
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        let announced = ServerName::from(IpAddr::from([0; 4]));
        match verifier.verify_server_cert(&end_entity[0], &end_entity[1..], &announced, &[], now) {
            Ok(_) => "trusted".to_owned(),
            Err(error) => super::super::handshake::explain(&error, "URL").to_string(),
        }
    }

    const UNKNOWN: &str = "certificate of URL is signed by an unknown issuer";

    fn assert_verdict(expected: &str, trusted: &[&Issued], end_entity: &[&Issued]) {
        let said = verdict(trusted, end_entity, "vm", NOW);
        assert!(said.starts_with(expected), "{expected}: {said}");
    }

    #[test]
    fn a_chain_to_a_ca() {
        let ca = issue(a_ca, None);
        let middle = issue(
            |params| {
                a_ca(params);
                named(params, "middle");
            },
            Some(&ca),
        );
        let leaf = issue(|_| {}, Some(&ca));
        let lower = issue(|_| {}, Some(&middle));
        assert_verdict("trusted", &[&ca], &[&leaf]);
        assert_verdict("trusted", &[&ca], &[&lower, &middle]);
        assert_verdict("trusted", &[&middle], &[&lower]);
        assert_verdict(UNKNOWN, &[&ca], &[&lower]);
        assert_verdict(UNKNOWN, &[&issue(a_ca, None)], &[&leaf]);
    }

    #[test]
    fn the_very_certificate() {
        let ca = issue(a_ca, None);
        for end_entity in [
            issue(own_ca, None),
            issue(|_| {}, None),
            issue(|_| {}, Some(&ca)),
        ] {
            assert_verdict("trusted", &[&end_entity], &[&end_entity]);
            assert_verdict(
                "trusted",
                &[&issue(a_ca, None), &end_entity],
                &[&end_entity],
            );
        }
    }

    #[test]
    fn name_time_and_purpose_count_in_both_ways() {
        let ca = issue(a_ca, None);
        for by in [None, Some(&ca)] {
            let end_entity = issue(|_| {}, by);
            let trusted = [by.unwrap_or(&end_entity)];
            let said = |name: &str, now| verdict(&trusted, &[&end_entity], name, now);
            assert!(said("node-7", NOW).contains("is not valid for node-7, it names vm"));
            assert!(said("10.0.0.7", NOW).contains("is not valid for 10.0.0.7, it names vm"));
            assert!(said("vm", NOW - 6 * 31_536_000).contains("is not valid yet"));
            assert!(said("vm", NOW + 6 * 31_536_000).contains("has expired"));
            // The certificate is still valid in its last second, and not in the next one.
            let end = 2_051_222_400;
            assert_eq!(said("vm", end), "trusted");
            assert!(said("vm", end + 1).contains("has expired"));

            let client = |params: &mut CertificateParams| {
                params.extended_key_usages = vec![Purpose::ClientAuth];
            };
            let end_entity = issue(client, by);
            let trusted = [by.unwrap_or(&end_entity)];
            assert_verdict(
                "certificate of URL is not one for servers",
                &trusted,
                &[&end_entity],
            );
            let nameless = issue(|params| params.subject_alt_names.clear(), by);
            let trusted = [by.unwrap_or(&nameless)];
            assert!(verdict(&trusted, &[&nameless], "vm", NOW).contains("it names no name at all"));
        }
    }

    /// The library does not accept these as names.
    #[test]
    fn names_that_kubernetes_gives() {
        let ca = issue(a_ca, None);
        for name in ["12345", "worker.01", "my_node", "WORKER.01."] {
            let presented = name.trim_end_matches('.').to_lowercase();
            let san =
                rcgen::SanType::DnsName(presented.as_str().try_into().expect("the name is ascii"));
            let with_name = |params: &mut CertificateParams| params.subject_alt_names = vec![san];
            let end_entity = issue(with_name, Some(&ca));
            assert_eq!(verdict(&[&ca], &[&end_entity], name, NOW), "trusted");
            assert_eq!(
                verdict(&[&end_entity], &[&end_entity], name, NOW),
                "trusted"
            );
            let other = verdict(&[&ca], &[&end_entity], "12346", NOW);
            assert!(
                other.contains(&format!("is not valid for 12346, it names {presented}")),
                "{other}"
            );
        }
    }

    #[test]
    fn what_is_like_the_trusted_one_is_another() {
        let key = KeyPair::generate().expect("the key is usable");
        let again = KeyPair::from_pem(&key.serialize_pem()).expect("the key reads back");
        let trusted = with_key(key, |_| {}, None);
        let later = |params: &mut CertificateParams| params.not_after = date_time_ymd(2036, 1, 1);
        assert_verdict(UNKNOWN, &[&trusted], &[&with_key(again, later, None)]);
        let own = "certificate of URL is a CA certificate and is not trusted itself";
        assert_verdict(own, &[&issue(own_ca, None)], &[&issue(own_ca, None)]);
        // This is so even if a trusted CA has signed it.
        let ca = issue(a_ca, None);
        assert_verdict(own, &[&ca], &[&issue(own_ca, Some(&ca))]);
    }

    #[test]
    fn only_a_ca_signs() {
        let leaf = issue(|params| named(params, "a leaf"), None);
        let under = issue(|_| {}, Some(&leaf));
        assert_verdict("trusted", &[&leaf], &[&leaf]);
        assert_verdict(UNKNOWN, &[&leaf], &[&under]);
        let may_not = "certificate of URL is signed by one that may not sign it";
        assert_verdict(may_not, &[&leaf], &[&under, &leaf]);
        // A certificate that says it is no CA does not sign either, nor one whose key has another
        // purpose.
        let no_ca = issue(
            |params| {
                named(params, "no ca");
                params.is_ca = IsCa::ExplicitNoCa;
            },
            None,
        );
        assert_verdict(UNKNOWN, &[&no_ca], &[&issue(|_| {}, Some(&no_ca))]);
        let signs_lists = issue(
            |params| {
                a_ca(params);
                params.key_usages = vec![KeyUsagePurpose::CrlSign];
            },
            None,
        );
        assert_verdict(
            UNKNOWN,
            &[&signs_lists],
            &[&issue(|_| {}, Some(&signs_lists))],
        );
        // A leaf that a real CA has signed is still not a CA.
        let ca = issue(a_ca, None);
        let leaf = issue(|params| named(params, "a leaf"), Some(&ca));
        assert_verdict(may_not, &[&ca], &[&issue(|_| {}, Some(&leaf)), &leaf]);
    }

    /// Sends this certificate, and signs with this key.
    #[derive(Debug)]
    struct FixedResolver(Arc<CertifiedKey>);

    impl ResolvesServerCert for FixedResolver {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            Some(Arc::clone(&self.0))
        }
    }

    /// A certificate can be copied, but its key cannot.
    #[test]
    fn whoever_shows_the_certificate_has_to_hold_its_key() {
        let [key, other] = [(); 2].map(|()| KeyPair::generate().expect("the key is usable"));
        let keys = [&key, &other].map(|key| PrivatePkcs8KeyDer::from(key.serialize_der()));
        let end_entity = with_key(
            key,
            |params| {
                params.not_before = date_time_ymd(2000, 1, 1);
                params.not_after = date_time_ymd(2100, 1, 1);
            },
            None,
        );
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let handshake = |key: &PrivatePkcs8KeyDer<'_>| {
                let key = provider
                    .key_provider
                    .load_private_key(key.clone_key().into());
                let chain = vec![end_entity.der.clone()];
                let shows = CertifiedKey::new(chain, key.expect("the key is usable"));
                let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
                    .with_protocol_versions(&[version])
                    .expect("the version is supported")
                    .with_no_client_auth()
                    .with_cert_resolver(Arc::new(FixedResolver(Arc::new(shows))));
                let verifier = Verifier::new(
                    TrustStore::new(vec![end_entity.der.clone()]),
                    Name::parse("vm").expect("the name is valid"),
                    provider.signature_verification_algorithms,
                    Observer::default(),
                );
                let client = ClientConfig::builder_with_provider(Arc::clone(&provider))
                    .with_protocol_versions(&[version])
                    .expect("the version is supported")
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(verifier))
                    .with_no_client_auth();
                let name = ServerName::from(IpAddr::from([0; 4]));
                handshake_result(
                    ClientConnection::new(Arc::new(client), name).expect("the client can be made"),
                    ServerConnection::new(Arc::new(server)).expect("the server can be made"),
                )
            };
            assert_eq!(handshake(&keys[0]), Ok(()));
            let error = handshake(&keys[1]).expect_err("the key is another one");
            let said = super::super::handshake::explain(&error, "URL").to_string();
            assert!(
                said.contains("does not fit the key that the kubelet signs with"),
                "{said}"
            );
        }
    }

    /// Returns the client's result of the handshake.
    fn handshake_result(
        mut client: ClientConnection,
        mut server: ServerConnection,
    ) -> VerifyResult {
        let mut wire = Vec::new();
        while client.is_handshaking() {
            client
                .write_tls(&mut wire)
                .expect("memory can be read and written");
            server
                .read_tls(&mut wire.as_slice())
                .expect("memory can be read and written");
            // Whether the server accepts the client's alert does not matter here.
            let _ = server.process_new_packets();
            wire.clear();
            server
                .write_tls(&mut wire)
                .expect("memory can be read and written");
            client
                .read_tls(&mut wire.as_slice())
                .expect("memory can be read and written");
            client.process_new_packets()?;
            wire.clear();
        }
        Ok(())
    }

    #[test]
    fn whoever_trusts_nobody_accepts_nothing() {
        let end_entity = issue(own_ca, None);
        let verifier = |trusted| {
            Verifier::new(
                trusted,
                Name::parse("vm").expect("the name is valid"),
                rustls::crypto::ring::default_provider().signature_verification_algorithms,
                Observer::default(),
            )
        };
        let name = ServerName::from(IpAddr::from([0; 4]));
        let now = UnixTime::since_unix_epoch(Duration::from_secs(NOW));
        let accepted = |by: Verifier| {
            by.verify_server_cert(&end_entity.der, &[], &name, &[], now)
                .is_ok()
        };
        assert!(!accepted(verifier(Some(TrustStore::default()))));
        assert!(accepted(verifier(None)), "allow_insecure_tls");
        assert!(TrustStore::new(vec![CertificateDer::from(vec![0x30, 0])]).is_none());
    }
}
