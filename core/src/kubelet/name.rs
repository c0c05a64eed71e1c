//! The expected name of a kubelet, and whether its certificate has this name.
//!
//! Kubernetes gives nodes names that no host on the internet has (`12345`, `worker.01`), and writes
//! them into certificates. The TLS library does not accept them as names, so names are compared
//! here. The comparison is as strict as the stricter of openssl and Go, with one exception: a dot
//! at the end of the expected name is ignored, as in Go.

use std::{fmt, net::IpAddr};

use rustls::pki_types::ServerName;

/// A host name or an address, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// The host name as it was written, in upper or lower case, with or without a dot at the end.
    Host(String),
    /// An address. IPv6 has no brackets.
    Address(IpAddr),
}

impl Name {
    /// Returns `None` for a text that is neither a host name nor an address, such as a pattern or a
    /// URL.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(address) => Some(Self::Address(address)),
            Err(_) => is_host(text).then(|| Self::Host(text.to_owned())),
        }
    }

    /// Returns the server name for rustls, which sends it as SNI. rustls sends no SNI for an
    /// address and does not accept a name that is invalid in DNS. For such a name, `0.0.0.0` is
    /// used.
    pub fn sni(&self) -> ServerName<'static> {
        match self {
            Self::Host(host) => {
                ServerName::try_from(host.clone()).unwrap_or_else(|_| IpAddr::from([0; 4]).into())
            }
            Self::Address(address) => (*address).into(),
        }
    }

    /// Whether an alternative name of a certificate (`presented`) is this name, or is a wildcard
    /// for it. An address matches only an address, and a host only a host name.
    pub fn matches(&self, presented: &Self) -> bool {
        match (self, presented) {
            (Self::Address(expected), Self::Address(presented)) => expected == presented,
            (Self::Host(expected), Self::Host(presented)) => {
                // Only the expected name may end with a dot.
                let expected = expected.strip_suffix('.').unwrap_or(expected);
                expected.eq_ignore_ascii_case(presented) || matches_wildcard(expected, presented)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => out.write_str(host),
            Self::Address(address) => address.fmt(out),
        }
    }
}

/// `*.a.b` matches exactly one more label. A `*` in any other place is not a wildcard, and at least
/// two labels must follow it.
fn matches_wildcard(host: &str, pattern: &str) -> bool {
    let (Some(domain), Some((label, rest))) = (pattern.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(domain)
}

/// Whether this is a host name: labels of letters, digits, `-` and `_`, separated by dots, with an
/// optional dot at the end.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let edge = |byte: Option<&u8>| byte.is_some_and(|byte| *byte != b'-');
        let bytes = label.as_bytes();
        bytes.len() <= 63
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().copied().all(allowed)
    };
    let relative = text.strip_suffix('.').unwrap_or(text);
    relative.len() <= 253 && relative.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(expected: &str, presented: &str) -> bool {
        let presented = match presented.parse() {
            Ok(address) => Name::Address(address),
            Err(_) => Name::Host(presented.to_owned()),
        };
        Name::parse(expected).expect(expected).matches(&presented)
    }

    #[test]
    fn names_of_nodes_are_names() {
        for name in [
            "vm",
            "12345",
            "worker.01",
            "my_node",
            "ip-10-0-0-7.ec2.internal.",
            "::1",
        ] {
            assert!(Name::parse(name).is_some(), "{name}");
            assert!(is_match(name, name.trim_end_matches('.')), "{name}");
        }
        for text in [
            "", ".", "a..b", "-a", "a-", "a b", "a\0", "*.a.b", "ä", "a/b", "[::1]",
        ] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
        assert_eq!(Name::parse(&"a.".repeat(200)), None);
        assert_eq!(Name::parse(&"a".repeat(64)), None);
    }

    #[test]
    fn only_what_dns_can_hold_is_announced() {
        let sni = |name: &str| Name::parse(name).expect(name).sni();
        assert_eq!(sni("vm.local").to_str(), "vm.local");
        for name in ["12345", "worker.01", "10.0.0.7"] {
            assert!(matches!(sni(name), ServerName::IpAddress(_)), "{name}");
        }
    }

    /// Each of these was checked with Go's `VerifyHostname` and with `openssl x509 -checkhost`.
    /// What is refused here is refused by at least one of them.
    #[test]
    fn which_names_match() {
        for (expected, presented) in [
            ("VM", "vm"),
            ("vm.", "vm"),
            ("worker.01", "Worker.01"),
            ("a.b.c", "*.b.c"),
            ("10.0.0.7", "10.0.0.7"),
        ] {
            assert!(is_match(expected, presented), "{expected} {presented}");
        }
        for (expected, presented) in [
            ("vm", "vm2"),
            ("vm", "vm."),
            ("vm", "*"),
            ("vm", ""),
            ("b.c", "*.c"),
            ("b.c", "*.b.c"),
            ("a.b.c.d", "*.c.d"),
            ("a.b.c", "a.*.c"),
            ("a.b.c", "a*.b.c"),
            ("10.0.0.7", "10.0.0.8"),
            ("1.0.0.7", "*.0.0.7"),
            ("vm", "vm\0.example"),
        ] {
            assert!(!is_match(expected, presented), "{expected} {presented}");
        }
        let text = Name::Host("10.0.0.7".to_owned());
        assert!(
            !Name::parse("10.0.0.7")
                .expect("the text is an address")
                .matches(&text)
        );
    }
}
