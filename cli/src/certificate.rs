//! The contents of a certificate. Whether it is trusted is decided in `kubelet/trust.rs` of
//! core.

use kubeletstats_core::kubelet::{name::Name, trust};
use rustls::pki_types::CertificateDer;
use x509_parser::{prelude::FromDer, x509::X509Name};

use crate::humanize;

#[derive(Debug)]
pub struct Certificate {
    /// The common name. If there is none, it is the whole name.
    pub subject: String,
    pub issuer: String,
    /// Host names and addresses for which it is valid.
    pub names: Vec<String>,
    /// Seconds since the epoch.
    pub not_before: i64,
    pub not_after: i64,
}

impl Certificate {
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, cert) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let names = trust::names_of(der);
        Some(Self {
            subject: common_name(cert.subject()),
            issuer: common_name(cert.issuer()),
            names: names.iter().map(ToString::to_string).collect(),
            not_before: cert.validity().not_before.timestamp(),
            not_after: cert.validity().not_after.timestamp(),
        })
    }

    /// Whether the kubelet issued this certificate itself. Without `serverTLSBootstrap` it
    /// makes a CA named `NODE-ca@SECONDS`, and signs a certificate named `NODE@SECONDS` with
    /// it.
    pub fn is_signed_by_kubelet_ca(&self) -> bool {
        let node = self.subject.split('@').next().unwrap_or_default();
        let own = self.issuer.split_once("-ca@");
        own.is_some_and(|(name, seconds)| {
            name == node && !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit())
        })
    }

    pub fn validity(&self) -> String {
        let (from, to) = (
            humanize::date(self.not_before),
            humanize::date(self.not_after),
        );
        format!("valid from {from} to {to}")
    }
}

/// Whether the certificate is valid for this name.
pub fn is_valid_for(cert: &CertificateDer<'_>, name: &str) -> bool {
    let names = trust::names_of(cert);
    Name::parse(name).is_some_and(|name| names.iter().any(|one| name.matches(one)))
}

fn common_name(name: &X509Name<'_>) -> String {
    let common = name.iter_common_name().next();
    match common.and_then(|common| common.as_str().ok()) {
        Some(common) => common.to_owned(),
        None => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject;
    use sim_kubelet::SimKubelet;

    use super::*;

    fn serving_certificate() -> CertificateDer<'static> {
        let kubelet = SimKubelet::builder()
            .start()
            .expect("the simulated kubelet starts");
        CertificateDer::from_pem_file(kubelet.chain_file())
            .expect("its chain file holds a certificate")
    }

    #[test]
    fn a_kubelets_own_certificate() {
        let der = serving_certificate();
        let cert = Certificate::read(&der).expect("the certificate can be decoded");
        assert_eq!(cert.subject, "vm");
        assert_eq!(cert.names, ["vm", "localhost", "127.0.0.1"]);
        assert!(cert.is_signed_by_kubelet_ca(), "{}", cert.issuer);
        assert!(is_valid_for(&der, "vm") && is_valid_for(&der, "127.0.0.1"));
        assert!(!is_valid_for(&der, "node-7") && !is_valid_for(&der, "a b"));
    }

    #[test]
    fn damage_is_no_panic() {
        let der = serving_certificate();
        for at in 0..der.len() {
            let _ = Certificate::read(&der[..at]);
            for bit in 0..8 {
                let mut damaged = der.to_vec();
                damaged[at] ^= 1 << bit;
                if let Some(cert) = Certificate::read(&damaged) {
                    let _ = (cert.validity(), cert.is_signed_by_kubelet_ca());
                }
                let _ = is_valid_for(&CertificateDer::from(damaged), "vm");
            }
        }
    }
}
