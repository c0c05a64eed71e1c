//! Explains why a handshake failed: what rustls or the kubelet found wrong, and what to do about
//! it. The text of rustls is never shown.

use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, InvalidMessage, OtherError,
    PeerIncompatible,
};

use super::trust::Distrust;
use crate::error::Error;

const CHECK_URL: &str = "check that kubelet_url is a kubelet";
const CHECK_PATH: &str =
    "check that kubelet_url is a kubelet, and that nothing in between alters TLS";
const CHECK_CLIENT_CERT: &str = "cert_file and key_file have to name a certificate that the kubelet's \
                      clientCAFile signed";
const CHECK_ALGORITHMS: &str = "the kubelet's key has to be RSA, ECDSA P-256 or P-384, or Ed25519, and its \
                     tlsCipherSuites and tlsMinVersion have to leave TLS 1.2 or 1.3";
const SIGN_ANEW: &str = "have it signed with SHA-256 or SHA-384, or set kube_ca_file to this \
                      certificate";
const RENEW: &str = "renew the kubelet's serving certificate";

/// Returns the error to log, according to what the operator has to change.
pub fn explain(error: &rustls::Error, url: &str) -> Error {
    use rustls::Error as Tls;
    let (why, remedy) = match error {
        Tls::InvalidCertificate(problem) => return certificate(problem, error, url),
        Tls::AlertReceived(alert) => {
            let (why, remedy) = alert_reason(*alert);
            let why = format!("{why} (alert {})", alert_name(*alert));
            return Error::tls(url, &why, remedy, error.clone());
        }
        Tls::InvalidMessage(_) if speaks_no_tls(error) => (
            "what answers there speaks no TLS",
            "check the port of kubelet_url, which is 10250 on a kubelet",
        ),
        Tls::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13) => (
            "the kubelet speaks neither TLS 1.2 nor 1.3",
            "see its tlsMinVersion, and whether kubelet_url is a kubelet",
        ),
        Tls::PeerIncompatible(_) => (
            "the kubelet has no protocol, cipher or signature in common with this side",
            CHECK_ALGORITHMS,
        ),
        Tls::NoCertificatesPresented => ("the kubelet shows no certificate", RENEW),
        Tls::InvalidMessage(_)
        | Tls::InappropriateMessage { .. }
        | Tls::InappropriateHandshakeMessage { .. }
        | Tls::PeerMisbehaved(_) => ("what came is not what TLS has at this point", CHECK_PATH),
        Tls::DecryptError | Tls::PeerSentOversizedRecord => {
            ("what came was altered on the way", CHECK_PATH)
        }
        Tls::NoApplicationProtocol => ("the other side speaks no HTTP/1.1", CHECK_URL),
        Tls::FailedToGetCurrentTime | Tls::FailedToGetRandomBytes => (
            "this machine gives no time or no random numbers",
            "look at its clock and its /dev/urandom",
        ),
        _ => ("for a reason that was not foreseen", "please report it"),
    };
    Error::tls(url, why, remedy, error.clone())
}

/// Whether the server answered in another protocol. Otherwise it spoke TLS, with an error in it.
pub fn speaks_no_tls(error: &rustls::Error) -> bool {
    use InvalidMessage as Message;
    matches!(
        error,
        rustls::Error::InvalidMessage(
            Message::InvalidContentType
                | Message::UnknownProtocolVersion
                | Message::InvalidEmptyPayload
                | Message::MessageTooLarge
        )
    )
}

fn certificate(problem: &Certificate, error: &rustls::Error, url: &str) -> Error {
    let source = error.clone();
    let (why, remedy) = match problem {
        // If a CA was made again under its old name, the signature fails.
        Certificate::UnknownIssuer | Certificate::BadSignature => {
            return Error::tls_unknown_issuer(url, source);
        }
        Certificate::Expired | Certificate::ExpiredContext { .. } => {
            return Error::tls_expired(url, "has expired", source);
        }
        Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
            return Error::tls_expired(url, "is not valid yet", source);
        }
        Certificate::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: id,
            ..
        } => {
            let with = algorithm(id);
            let why = format!("is signed with {with}, which cannot be checked here");
            return Error::certificate(url, &why, SIGN_ANEW, source);
        }
        Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: id,
            public_key_algorithm_id: key,
        } => {
            let (with, of) = (algorithm(id), key_kind(key));
            let why = format!("is signed with {with} by {of}, which cannot be checked here");
            return Error::certificate(url, &why, SIGN_ANEW, source);
        }
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => (
            "is not one for servers",
            "have it issued with the extended key usage serverAuth",
        ),
        Certificate::BadEncoding => ("cannot be decoded", RENEW),
        Certificate::Other(OtherError(inner)) => {
            if let Some(distrust) = inner.downcast_ref() {
                return distrusted(distrust, source, url);
            }
            match inner.downcast_ref() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    return Error::tls_ca_as_server(url, source);
                }
                Some(webpki::Error::UnsupportedCertVersion) => (
                    "is of X.509 version 1, which has no names",
                    "issue it as version 3, with subjectAltName",
                ),
                Some(webpki::Error::UnsupportedCriticalExtension) => (
                    "has a critical extension that is not known here",
                    "issue it without",
                ),
                Some(
                    webpki::Error::EndEntityUsedAsCa
                    | webpki::Error::PathLenConstraintViolated
                    | webpki::Error::NameConstraintViolation,
                ) => (
                    "is signed by one that may not sign it",
                    "see basicConstraints and nameConstraints of the CAs in between",
                ),
                _ => ("cannot be used", RENEW),
            }
        }
        _ => ("cannot be used", RENEW),
    };
    Error::certificate(url, why, remedy, source)
}

fn distrusted(distrust: &Distrust, source: rustls::Error, url: &str) -> Error {
    match distrust {
        Distrust::WrongName {
            expected,
            presented,
        } => {
            let names: Vec<_> = presented.iter().map(ToString::to_string).collect();
            Error::tls_wrong_name(url, &expected.to_string(), &names, source)
        }
        Distrust::KeyNotProven => Error::certificate(
            url,
            "does not fit the key that the kubelet signs with, or has an RSA key below 2048 bits",
            RENEW,
            source,
        ),
    }
}

/// Returns why a kubelet ends the handshake with this alert, and what to do.
fn alert_reason(alert: Alert) -> (&'static str, &'static str) {
    match alert {
        Alert::InternalError => (
            "the kubelet has no serving certificate to show, as while its request waits",
            "approve this node's pending request, which is listed by: kubectl get csr",
        ),
        Alert::HandshakeFailure | Alert::InsufficientSecurity => (
            "the kubelet has no protocol, cipher or signature in common with this side",
            CHECK_ALGORITHMS,
        ),
        Alert::ProtocolVersion | Alert::InappropriateFallback => (
            "the kubelet speaks neither TLS 1.2 nor 1.3",
            "see its tlsMinVersion, and whether kubelet_url is a kubelet",
        ),
        Alert::CertificateRequired | Alert::NoCertificate => (
            "the kubelet wants a client certificate, and none was shown",
            CHECK_CLIENT_CERT,
        ),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::DecryptError
        | Alert::CertificateUnobtainable
        | Alert::BadCertificateHashValue
        | Alert::BadCertificateStatusResponse => (
            "the kubelet does not accept the client certificate, or wants one",
            CHECK_CLIENT_CERT,
        ),
        Alert::CertificateExpired | Alert::CertificateRevoked => (
            "the kubelet takes the client certificate for expired or revoked",
            "renew the one in cert_file, and compare the clocks",
        ),
        Alert::UnrecognisedName => (
            "the other side has no certificate for the name it was asked for",
            "set server_name to a name it has",
        ),
        Alert::NoApplicationProtocol => ("the other side speaks no HTTP/1.1", CHECK_URL),
        Alert::CloseNotify | Alert::UserCanceled | Alert::NoRenegotiation => {
            ("the other side ended it and said no reason", CHECK_URL)
        }
        _ => ("the other side could not read what it was sent", CHECK_PATH),
    }
}

/// The alert's name in the standards, which is also its name in the kubelet's log.
fn alert_name(alert: Alert) -> String {
    match alert {
        Alert::CloseNotify => "close_notify",
        Alert::UnexpectedMessage => "unexpected_message",
        Alert::BadRecordMac => "bad_record_mac",
        Alert::DecryptionFailed => "decryption_failed",
        Alert::RecordOverflow => "record_overflow",
        Alert::DecompressionFailure => "decompression_failure",
        Alert::HandshakeFailure => "handshake_failure",
        Alert::NoCertificate => "no_certificate",
        Alert::BadCertificate => "bad_certificate",
        Alert::UnsupportedCertificate => "unsupported_certificate",
        Alert::CertificateRevoked => "certificate_revoked",
        Alert::CertificateExpired => "certificate_expired",
        Alert::CertificateUnknown => "certificate_unknown",
        Alert::IllegalParameter => "illegal_parameter",
        Alert::UnknownCA => "unknown_ca",
        Alert::AccessDenied => "access_denied",
        Alert::DecodeError => "decode_error",
        Alert::DecryptError => "decrypt_error",
        Alert::ExportRestriction => "export_restriction",
        Alert::ProtocolVersion => "protocol_version",
        Alert::InsufficientSecurity => "insufficient_security",
        Alert::InternalError => "internal_error",
        Alert::InappropriateFallback => "inappropriate_fallback",
        Alert::UserCanceled => "user_canceled",
        Alert::NoRenegotiation => "no_renegotiation",
        Alert::MissingExtension => "missing_extension",
        Alert::UnsupportedExtension => "unsupported_extension",
        Alert::CertificateUnobtainable => "certificate_unobtainable",
        Alert::UnrecognisedName => "unrecognized_name",
        Alert::BadCertificateStatusResponse => "bad_certificate_status_response",
        Alert::BadCertificateHashValue => "bad_certificate_hash_value",
        Alert::UnknownPSKIdentity => "unknown_psk_identity",
        Alert::CertificateRequired => "certificate_required",
        Alert::NoApplicationProtocol => "no_application_protocol",
        Alert::EncryptedClientHelloRequired => "ech_required",
        other => return format!("number {}", u8::from(other)),
    }
    .to_owned()
}

/// The name of an algorithm, from its object identifier in DER. Unknown identifiers have no name:
/// their bytes would not help the reader.
fn algorithm(id: &[u8]) -> &'static str {
    /// 1.2.840.10045.4: ECDSA.
    const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04];
    /// 1.2.840.113549.1.1: RSA.
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];
    // The identifier begins with its tag and its length.
    let oid = match id {
        [0x06, length, rest @ ..] => rest.get(..usize::from(*length)).unwrap_or(rest),
        other => other,
    };
    match (oid.strip_prefix(ECDSA), oid.strip_prefix(RSA)) {
        (Some([0x01]), _) => "ECDSA and SHA-1",
        (Some([0x03, 0x01]), _) => "ECDSA and SHA-224",
        (Some([0x03, 0x02]), _) => "ECDSA and SHA-256",
        (Some([0x03, 0x03]), _) => "ECDSA and SHA-384",
        (Some([0x03, 0x04]), _) => "ECDSA and SHA-512",
        (_, Some([0x04])) => "RSA and MD5",
        (_, Some([0x05])) => "RSA and SHA-1",
        (_, Some([0x0a])) => "RSA-PSS with unusual parameters",
        (_, Some([0x0b])) => "RSA and SHA-256",
        (_, Some([0x0c])) => "RSA and SHA-384",
        (_, Some([0x0d])) => "RSA and SHA-512",
        (_, Some([0x0e])) => "RSA and SHA-224",
        _ => "an algorithm",
    }
}

fn key_kind(id: &[u8]) -> &'static str {
    /// The ends of the identifiers of secp521r1, secp384r1 and prime256v1.
    const P521: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
    const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
    const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    match () {
        () if id.ends_with(P521) => "a P-521 key",
        () if id.ends_with(P384) => "a P-384 key",
        () if id.ends_with(P256) => "a P-256 key",
        () => "a key of its kind",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{Error as Tls, PeerMisbehaved};

    use super::*;
    use crate::error::Reason;

    /// The identifier with its tag, as the library passes it.
    const ECDSA_SHA512: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 4];
    const P384: [u8; 16] = [
        6, 7, 0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1, 6, 5, 0x2b, 0x81, 4, 0, 0x22,
    ];

    fn webpki(error: webpki::Error) -> Tls {
        Certificate::Other(OtherError(Arc::new(error))).into()
    }

    #[test]
    fn every_kind_has_its_own_words() {
        let with_sha512 = Certificate::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: ECDSA_SHA512.to_vec(),
            supported_algorithms: Vec::new(),
        };
        let by_p384 = Certificate::UnsupportedSignatureAlgorithmForPublicKeyContext {
            signature_algorithm_id: ECDSA_SHA512.to_vec(),
            public_key_algorithm_id: P384.to_vec(),
        };
        let unknown = Certificate::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![6, 200, 1],
            supported_algorithms: Vec::new(),
        };
        let cases = [
            (
                with_sha512.into(),
                "is signed with ECDSA and SHA-512, which",
            ),
            (
                by_p384.into(),
                "is signed with ECDSA and SHA-512 by a P-384 key, which",
            ),
            (unknown.into(), "is signed with an algorithm, which"),
            (Certificate::InvalidPurpose.into(), "is not one for servers"),
            (Certificate::BadEncoding.into(), "cannot be decoded"),
            (
                Certificate::UnknownIssuer.into(),
                "is signed by an unknown issuer",
            ),
            (
                Certificate::BadSignature.into(),
                "is signed by an unknown issuer",
            ),
            (Certificate::Expired.into(), "has expired"),
            (Certificate::NotValidYet.into(), "is not valid yet"),
            (Distrust::KeyNotProven.into(), "does not fit the key"),
            (
                webpki(webpki::Error::CaUsedAsEndEntity),
                "is a CA certificate",
            ),
            (
                webpki(webpki::Error::UnsupportedCertVersion),
                "is of X.509 version 1",
            ),
            (
                webpki(webpki::Error::UnsupportedCriticalExtension),
                "has a critical extension",
            ),
            (
                webpki(webpki::Error::PathLenConstraintViolated),
                "is signed by one that may not",
            ),
            (
                webpki(webpki::Error::MaximumPathDepthExceeded),
                "cannot be used",
            ),
            (
                Tls::InvalidMessage(InvalidMessage::InvalidContentType),
                "speaks no TLS",
            ),
            (
                Tls::InvalidMessage(InvalidMessage::TrailingData("x")),
                "is not what TLS has",
            ),
            (
                Tls::PeerMisbehaved(PeerMisbehaved::IncorrectBinder),
                "is not what TLS has",
            ),
            (
                Tls::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
                "speaks neither TLS 1.2 nor 1.3",
            ),
            (Tls::DecryptError, "was altered on the way"),
            (
                Tls::General("a library's words".to_owned()),
                "for a reason that was not foreseen",
            ),
        ];
        for (error, expected) in cases {
            let line = explain(&error, "URL").to_string();
            assert!(line.contains(expected), "{expected}: {line}");
            let foreign = ["[", "{", "Error", "Context", "library's", "06"];
            assert!(!foreign.iter().any(|text| line.contains(text)), "{line}");
        }
    }

    #[test]
    fn reasons_are_those_of_the_record() {
        let reason = |error: Tls| explain(&error, "URL").reason();
        assert_eq!(
            reason(Certificate::UnknownIssuer.into()),
            Reason::TlsUnknownIssuer
        );
        assert_eq!(
            reason(webpki(webpki::Error::CaUsedAsEndEntity)),
            Reason::TlsUnknownIssuer
        );
        assert_eq!(reason(Certificate::Expired.into()), Reason::TlsExpired);
        assert_eq!(
            reason(Tls::AlertReceived(Alert::InternalError)),
            Reason::Tls
        );
    }
}
