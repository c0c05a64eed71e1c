//! The name that a kubelet's certificate has to carry, and whether it does.
//!
//! Kubernetes gives nodes names that no host on the internet has (`12345`,
//! `worker.01`), and puts them into certificates. The TLS library takes none of
//! them for a name, so names are compared here, and as strictly as by the stricter
//! of openssl and Go; but for the dot at the end of a name, which only Go knows.

use std::{fmt, net::IpAddr};

use rustls::pki_types::ServerName;

/// A host name or an address, as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Name {
    /// As it was written, in any case, with or without the dot of the root.
    Host(String),
    /// IPv6 without brackets.
    Address(IpAddr),
}

impl Name {
    /// `None` for text that is neither, such as a pattern or a URL.
    pub fn parse(text: &str) -> Option<Self> {
        match text.parse() {
            Ok(address) => Some(Self::Address(address)),
            Err(_) => is_host(text).then(|| Self::Host(text.to_owned())),
        }
    }

    /// What to give rustls as the server's name, which it sends as SNI. It sends none for an
    /// address, and takes no name that DNS could not hold: `0.0.0.0` is used for those.
    pub fn sni(&self) -> ServerName<'static> {
        match self {
            Self::Host(host) => {
                ServerName::try_from(host.clone()).unwrap_or_else(|_| IpAddr::from([0; 4]).into())
            }
            Self::Address(address) => (*address).into(),
        }
    }

    /// Whether an alternative name of a certificate (`presented`) is this one, or a wildcard
    /// for it. An address only matches an address, a host only a host name.
    pub fn matches(&self, presented: &Self) -> bool {
        match (self, presented) {
            (Self::Address(expected), Self::Address(presented)) => expected == presented,
            (Self::Host(expected), Self::Host(presented)) => {
                // Only what is looked for may end with the dot of the root.
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

/// `*.a.b` covers one more label and nothing else: no other place or part of a name
/// is a wildcard, and at least two labels have to stand behind it.
fn matches_wildcard(host: &str, pattern: &str) -> bool {
    let (Some(domain), Some((label, rest))) = (pattern.strip_prefix("*."), host.split_once('.'))
    else {
        return false;
    };
    !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(domain)
}

/// Labels of letters, digits, `-` and `_`, with dots between them and perhaps one at
/// the end.
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

    /// Go's `VerifyHostname` and `openssl x509 -checkhost` were asked about each of these:
    /// what is not taken here, one of them does not take either.
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
