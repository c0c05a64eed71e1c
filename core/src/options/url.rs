//! The kubelet's base URL.

use ureq::http::Uri;

use crate::kubelet::{Endpoint, name::Name};

/// A validated base URL.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct KubeletUrl {
    /// Whether it is HTTPS. Otherwise it is plain HTTP, over which no credentials are sent.
    pub https: bool,
    /// The host. An IPv6 address has no brackets here.
    pub host: String,
    /// The port as written, or 443 for HTTPS and 80 for HTTP.
    pub port: u16,
    /// The whole URL of `/stats/summary`, for requests and for messages.
    pub summary: String,
    /// The whole URL of `/pods`, for the same purposes.
    pub pods: String,
    /// Whether the URL leads through the API server's node proxy.
    pub node_proxy: bool,
}

/// The accepted form, for errors.
pub const EXPECTED: &str = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";

impl KubeletUrl {
    /// The URL of this endpoint.
    pub fn of(&self, endpoint: Endpoint) -> &str {
        match endpoint {
            Endpoint::Summary => &self.summary,
            Endpoint::Pods => &self.pods,
        }
    }
}

/// Returns `None` for anything that does not have this form.
pub fn parse(value: &str) -> Option<KubeletUrl> {
    // All other characters in a URL must be percent-encoded.
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
    // The parser of `Uri` drops a fragment without an error.
    let extras = authority.as_str().contains('@') || uri.query().is_some() || value.contains('#');
    // Resolvers read digits and dots as an address (10.1 is 10.0.0.1), which is not what the user
    // meant.
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
