//! The kubelet's base URL.

use ureq::http::Uri;

use crate::kubelet::{Endpoint, name::Name};

/// A validated base URL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KubeletUrl {
    /// Else plain HTTP, over which no credentials go.
    pub https: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// As written, or 443 and 80.
    pub port: u16,
    /// The whole URL of `/stats/summary`, to request and to print.
    pub summary: String,
    /// The same of the pods' specifications and states.
    pub pods: String,
    /// The URL leads through the API server's node proxy.
    pub node_proxy: bool,
}

/// What an error says is accepted.
pub const EXPECTED: &str = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";

impl KubeletUrl {
    /// Where something is to be had.
    pub fn of(&self, endpoint: Endpoint) -> &str {
        match endpoint {
            Endpoint::Summary => &self.summary,
            Endpoint::Pods => &self.pods,
        }
    }
}

/// `None` for all that is not of that form.
pub fn parse(value: &str) -> Option<KubeletUrl> {
    // What else a URL may hold has to be percent-encoded.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let uri: Uri = value.parse().ok()?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return None,
    };
    let authority = uri.authority()?;
    let bracketed = authority.host();
    let host = bracketed.trim_start_matches('[').trim_end_matches(']');
    // The parser of `Uri` drops a fragment in silence.
    let extras = authority.as_str().contains('@') || uri.query().is_some() || value.contains('#');
    // Resolvers take digits and dots for an address (10.1 is 10.0.0.1), not the one meant.
    let is_number = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let is_name = match Name::parse(host) {
        Some(Name::Host(name)) => !is_number(&name),
        Some(Name::Address(_)) => true,
        None => false,
    };
    if !is_name || extras {
        return None;
    }
    let port = match authority.as_str().strip_prefix(bracketed) {
        Some("") => None,
        Some(_) => Some(authority.port_u16().filter(|port| *port != 0)?),
        None => return None,
    };
    let path = uri.path().trim_end_matches('/');
    let scheme = if https { "https" } else { "http" };
    Some(KubeletUrl {
        https,
        host: host.to_owned(),
        port: port.unwrap_or(if https { 443 } else { 80 }),
        summary: format!("{scheme}://{authority}{path}{}", Endpoint::Summary.path()),
        pods: format!("{scheme}://{authority}{path}{}", Endpoint::Pods.path()),
        node_proxy: path.ends_with("/proxy"),
    })
}
