//! The one error type, and its phrasing for the person who reads it at night.
//!
//! Messages are lowercase and one line: cause, then context, then what to do.
//! Text that comes from outside (a reply's body, a certificate's names) passes
//! through [`crate::text`] first, so a hostile peer cannot write log lines.

use std::{fmt, io::ErrorKind, path::Path, time::Duration};

use crate::{
    facts,
    summary::Malformed,
    text::{credential_path, os_error, printable, redact_url, resolver_error},
};

/// What every fallible function of this crate returns, but those whose error has no
/// message of its own.
pub type Result<T> = std::result::Result<T, Error>;
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something failed, in the granularity that an operator acts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// An option's value, at start.
    Option,
    /// A file named by an option or found at its default path.
    File,
    /// The name of the kubelet's host has no address.
    Resolve,
    /// The connection was refused: nothing listens there.
    Refused,
    /// `timeout` has passed, in whatever [`Phase`].
    Timeout,
    /// The peer closed the connection before its reply began.
    ClosedEarly,
    /// The connection failed in any other way.
    Connection,
    /// The certificate is not in `kube_ca_file`, and no CA in there signed it.
    TlsUnknownIssuer,
    /// The certificate has no alternative name that is expected.
    TlsWrongName,
    /// The certificate has expired, or is not valid yet.
    TlsExpired,
    /// Anything else about certificates or the handshake.
    Tls,
    /// A 401.
    Unauthorized,
    /// A 403.
    Forbidden,
    /// Any other status but 200.
    Status,
    /// The reply is not HTTP that can be followed.
    Http,
    /// A 200 whose body is empty, no JSON, or JSON without pods.
    NotSummary,
    /// A header, a body or a number of pods above a limit, or more than there is memory
    /// for.
    TooLarge,
    /// The connection ended within the body.
    CutShort,
    /// The plugin is stopping.
    Stopped,
    /// The host lacks something the plugin needs.
    Host,
    /// A panic inside the plugin, caught at its boundary.
    Panic,
}

impl Reason {
    /// Its key in `failures_by_reason` of the record that `stats_tag` asks for.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Option => "option",
            Reason::File => "file",
            Reason::Resolve => "resolve",
            Reason::Refused => "refused",
            Reason::Timeout => "timeout",
            Reason::ClosedEarly => "closed_early",
            Reason::Connection => "connection",
            Reason::TlsUnknownIssuer => "tls_unknown_issuer",
            Reason::TlsWrongName => "tls_wrong_name",
            Reason::TlsExpired => "tls_expired",
            Reason::Tls => "tls",
            Reason::Unauthorized => "unauthorized",
            Reason::Forbidden => "forbidden",
            Reason::Status => "status",
            Reason::Http => "http",
            Reason::NotSummary => "not_summary",
            Reason::TooLarge => "too_large",
            Reason::CutShort => "cut_short",
            Reason::Stopped => "stopped",
            Reason::Host => "host",
            Reason::Panic => "panic",
        }
    }
}

/// What a scrape is doing, and so what it was doing when its time ran out. `Display` goes
/// before the URL: "connecting to https://…".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Asked for, and not begun: the worker has not run yet.
    Queued,
    /// Reading the token's file.
    Token,
    /// Reading the files of CA, certificate and key.
    Certificates,
    /// Waiting for the system's resolver.
    Resolve,
    /// Waiting for TCP, one address after the other.
    Connect,
    /// In the handshake.
    Tls,
    /// From the request to the end of the reply's header.
    Headers,
    /// From there on.
    Body,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Queued => "waiting for cpu time to ask",
            Phase::Token => "reading the token for",
            Phase::Certificates => "reading the certificates for",
            Phase::Resolve => "resolving the name of",
            Phase::Connect => "connecting to",
            Phase::Tls => "in the TLS handshake with",
            Phase::Headers => "waiting for the reply of",
            Phase::Body => "reading the reply of",
        })
    }
}

/// A failure, with the line that is logged of it. `Display` is that whole line, for the
/// plugin and the command alike.
#[derive(Debug)]
pub struct Error {
    reason: Reason,
    message: String,
    remedy: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// What it is counted under.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// A kept connection may end like this: worth one try on a fresh one.
    pub fn is_closed_early(&self) -> bool {
        self.reason == Reason::ClosedEarly
    }

    /// About the certificate or the handshake, also when a TLS 1.3 server says so only
    /// after it.
    pub fn is_tls(&self) -> bool {
        use Reason::{Tls, TlsExpired, TlsUnknownIssuer, TlsWrongName};
        matches!(
            self.reason,
            Tls | TlsExpired | TlsUnknownIssuer | TlsWrongName
        )
    }

    /// The scrape was ended because the input stops: not to be logged.
    pub fn is_stopped(&self) -> bool {
        self.reason == Reason::Stopped
    }

    /// A file that does not exist, which is no error at a default path.
    pub fn is_not_found(&self) -> bool {
        let source = self.source.as_ref().and_then(|s| s.downcast_ref());
        source.is_some_and(|error: &std::io::Error| error.kind() == ErrorKind::NotFound)
    }

    /// The part of the line that says what to do, if the line ends with it.
    pub fn remedy(&self) -> Option<&str> {
        self.remedy.as_deref()
    }

    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
            remedy: None,
            source: None,
        }
    }

    /// `why`, a colon, and `remedy`, which [`Error::remedy`] returns as well.
    fn with_remedy(reason: Reason, why: &str, remedy: &str) -> Self {
        Self {
            remedy: Some(remedy.to_owned()),
            ..Self::new(reason, format!("{why}: {remedy}"))
        }
    }

    fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// An option's value that cannot be used; `accepted` completes "expected …".
    pub fn option(name: &str, value: &str, accepted: &str) -> Self {
        let value = match name == "kubelet_url" || value.contains("://") {
            true => redact_url(value),
            false => value.to_owned(),
        };
        let value = printable(&value, 200);
        Self::new(
            Reason::Option,
            format!("option {name}: bad value '{value}': expected {accepted}"),
        )
    }

    /// Two options that only make sense together.
    pub fn option_pair(given: &str, missing: &str) -> Self {
        Self::new(
            Reason::Option,
            format!("option {given} is set but {missing} is not: a client certificate needs both"),
        )
    }

    /// An option that has no effect without another.
    pub fn option_needs(given: &str, other: &str) -> Self {
        let message = format!("option {given} is set but {other} is not on: {given} needs it");
        Self::new(Reason::Option, message)
    }

    /// The operating system does not give the content of an option's file.
    pub fn unreadable(option: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!(
            "cannot read {option} {}: {}",
            credential_path(path),
            os_error(&source)
        );
        Self::new(Reason::File, message).with_source(source)
    }

    /// A file that was read but does not hold what it should. What it does hold may be
    /// a secret: `why` cannot be made of it.
    pub fn unusable(option: &str, path: &Path, why: &'static str) -> Self {
        let message = format!("cannot use {option} {}: {why}", credential_path(path));
        Self::new(Reason::File, message)
    }

    /// The resolver's own error, or no address at all.
    pub fn resolve(host: &str, url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "cannot resolve {host} for {url}: {}: check kubelet_url and the node's dns",
            resolver_error(&source)
        );
        Self::new(Reason::Resolve, message).with_source(source)
    }

    /// The system's resolver needs a thread of its own, and there was none to be had.
    pub fn lookup_thread(host: &str, source: std::io::Error) -> Self {
        let message = format!(
            "cannot look up {host}: cannot start a thread: {}: raise the limit of processes, open files or memory",
            os_error(&source)
        );
        Self::new(Reason::Host, message).with_source(source)
    }

    /// `address` is one of the host's, with the port.
    pub fn refused(address: impl fmt::Display, url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "connection refused by {address} for {url}: check kubelet_url and that the kubelet is running"
        );
        Self::new(Reason::Refused, message).with_source(source)
    }

    /// After `timeout`, in a phase that reads no file: see [`Error::timeout_reading`].
    pub fn timeout(phase: Phase, after: Duration, url: &str) -> Self {
        let hint = match phase {
            Phase::Queued => "the machine or the container is out of cpu time",
            Phase::Token | Phase::Certificates => "check the file system behind it",
            Phase::Resolve => "check the node's dns",
            Phase::Connect => "check kubelet_url and network policies",
            Phase::Tls | Phase::Headers | Phase::Body => {
                "the kubelet is slow or stuck, or raise timeout"
            }
        };
        Self::new(
            Reason::Timeout,
            format!("timed out after {after:?} {phase} {url}: {hint}"),
        )
    }

    /// After `timeout`, in a phase that reads files: `files`, each with its option.
    pub fn timeout_reading(files: &str, after: Duration) -> Self {
        Self::new(
            Reason::Timeout,
            format!(
                "timed out after {after:?} reading {files}: its file system does not answer: check its mount"
            ),
        )
    }

    /// An error of the socket that is none of the others here.
    pub fn connection(url: &str, source: std::io::Error) -> Self {
        let message = format!("connection to {url} failed: {}", os_error(&source));
        Self::new(Reason::Connection, message).with_source(source)
    }

    /// An end before the first byte of the reply, as of a kept connection that the
    /// kubelet has closed meanwhile.
    pub fn closed_early(url: &str) -> Self {
        Self::new(
            Reason::ClosedEarly,
            format!("connection closed by {url} before it replied"),
        )
    }

    /// No chain to a CA that is trusted, or one with a signature that does not fit: a
    /// CA that was made anew under its old name.
    pub fn tls_unknown_issuer(url: &str, source: impl Into<Source>) -> Self {
        let message = format!(
            "certificate of {url} is signed by an unknown issuer: set kube_ca_file to the CA that signed it"
        );
        Self::new(Reason::TlsUnknownIssuer, message).with_source(source)
    }

    /// `names` are those the certificate carries.
    pub fn tls_wrong_name(
        url: &str,
        expected: &str,
        names: &[String],
        source: impl Into<Source>,
    ) -> Self {
        let carried = if names.is_empty() {
            "no name at all".to_owned()
        } else {
            printable(&names.join(", "), 300)
        };
        let message = format!(
            "certificate of {url} is not valid for {expected}, it names {carried}: set server_name to one of its names"
        );
        Self::new(Reason::TlsWrongName, message).with_source(source)
    }

    /// `when` is `has expired` or `is not valid yet`.
    pub fn tls_expired(url: &str, when: &str, source: impl Into<Source>) -> Self {
        let message = format!(
            "certificate of {url} {when}: renew the kubelet's serving certificate, or check the node's clock"
        );
        Self::new(Reason::TlsExpired, message).with_source(source)
    }

    /// An end without an alert, as of a server that speaks another protocol.
    pub fn closed_in_handshake(url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "connection closed by {url} in the TLS handshake: check that kubelet_url is a kubelet"
        );
        Self::new(Reason::Tls, message).with_source(source)
    }

    /// The certificate is one of a CA. It would be trusted if it were itself in the CA file.
    pub fn tls_ca_as_server(url: &str, source: impl Into<Source>) -> Self {
        let message = format!(
            "certificate of {url} is a CA certificate and is not trusted itself: set kube_ca_file to this certificate"
        );
        Self::new(Reason::TlsUnknownIssuer, message).with_source(source)
    }

    /// Anything else about the kubelet's certificate.
    pub fn certificate(url: &str, why: &str, remedy: &'static str, source: rustls::Error) -> Self {
        let why = format!("certificate of {url} {why}");
        Self::with_remedy(Reason::Tls, &why, remedy).with_source(source)
    }

    /// Something about the handshake, mapped in
    /// [`tls::explain`](crate::kubelet::tls::explain).
    pub fn tls(url: &str, why: &str, remedy: &'static str, source: rustls::Error) -> Self {
        let why = format!("tls with {url} failed: {why}");
        Self::with_remedy(Reason::Tls, &why, remedy).with_source(source)
    }

    /// `why` is the cause and what to do, as a [refusal](crate::kubelet::refusal) tells them.
    pub fn unauthorized(url: &str, why: &str) -> Self {
        let message = format!("401 unauthorized by {url}: {why}");
        Self::new(Reason::Unauthorized, message)
    }

    /// `why` as of [`Error::unauthorized`].
    pub fn forbidden(url: &str, why: &str) -> Self {
        let message = format!("403 forbidden by {url}: {why}");
        Self::new(Reason::Forbidden, message)
    }

    /// `text` is the reply's, fit for one line; `why` as of [`Error::unauthorized`].
    pub fn status(code: u16, url: &str, text: &str, why: &str) -> Self {
        let text = match text {
            "" => String::new(),
            text => format!(" it said '{text}':"),
        };
        Self::new(
            Reason::Status,
            format!("unexpected status {code} from {url}:{text} {why}"),
        )
    }

    /// 301 to 303, 307 and 308. Not followed: the token would go to wherever it leads.
    pub fn redirect(code: u16, url: &str) -> Self {
        Self::new(
            Reason::Status,
            format!(
                "unexpected status {code} from {url}: redirects are not followed, set kubelet_url to where it leads"
            ),
        )
    }

    /// A 304, which nobody asked for.
    pub fn not_modified(url: &str) -> Self {
        Self::new(
            Reason::Status,
            format!(
                "unexpected status 304 from {url}: the request set no condition: is a cache in between?"
            ),
        )
    }

    /// More than `limit` replies 1xx.
    pub fn many_interim(url: &str, limit: u32) -> Self {
        Self::new(
            Reason::Http,
            format!(
                "reply of {url} does not begin: more than {limit} interim replies (status 1xx): check that kubelet_url is a kubelet"
            ),
        )
    }

    /// The header does not fit into `limit` bytes.
    pub fn large_header(url: &str, limit: usize) -> Self {
        let kib = limit >> 10;
        Self::new(
            Reason::TooLarge,
            format!(
                "reply of {url} has a header of {kib} KiB or more: check that kubelet_url is a kubelet"
            ),
        )
    }

    /// The header has more than `limit` fields.
    pub fn many_headers(url: &str, limit: usize) -> Self {
        Self::new(
            Reason::TooLarge,
            format!(
                "reply of {url} has more than {limit} header fields: check that kubelet_url is a kubelet"
            ),
        )
    }

    /// A line between two chunks of the body has `limit` bytes or more.
    pub fn endless_line(url: &str, limit: usize) -> Self {
        let kib = limit >> 10;
        Self::new(
            Reason::Http,
            format!(
                "reply of {url} is not valid http: a line of {kib} KiB or more between two chunks"
            ),
        )
    }

    /// `why` is one of our own sentences: the HTTP library's would quote the reply.
    pub fn http(url: &str, why: &'static str) -> Self {
        Self::new(
            Reason::Http,
            format!("reply of {url} is not valid http: {why}"),
        )
    }

    /// A `Content-Encoding`, though the request accepts none.
    pub fn encoded(url: &str, encoding: &str) -> Self {
        let encoding = printable(encoding, 40);
        Self::new(
            Reason::Http,
            format!(
                "reply of {url} is encoded as '{encoding}', which was not asked for: is a proxy in between?"
            ),
        )
    }

    /// A 200 without a body.
    pub fn empty(url: &str) -> Self {
        Self::new(Reason::NotSummary, format!("reply of {url} is empty"))
    }

    /// A body that is JSON of something else, or no JSON; `why` may quote it.
    pub fn not_summary(url: &str, why: impl fmt::Display) -> Self {
        let why = printable(&why.to_string(), 200);
        Self::new(
            Reason::NotSummary,
            format!(
                "reply of {url} is not a stats summary: {why}: check that kubelet_url is a kubelet"
            ),
        )
    }

    /// The body, or what it takes on the wire, is above `limit` bytes.
    pub fn too_large(url: &str, limit: usize) -> Self {
        let mib = limit >> 20;
        Self::new(
            Reason::TooLarge,
            format!("reply of {url} is larger than {mib} MiB: check that kubelet_url is a kubelet"),
        )
    }

    /// The operating system gives no more memory after `received` bytes of the body.
    pub fn no_memory(url: &str, received: usize) -> Self {
        Self::new(
            Reason::TooLarge,
            format!(
                "no memory for the reply of {url} after {received} bytes: raise the memory limit of fluent bit, or check that kubelet_url is a kubelet"
            ),
        )
    }

    /// The body ended after `received` bytes, by the connection or by its JSON.
    pub fn cut_short(url: &str, received: usize) -> Self {
        Self::new(
            Reason::CutShort,
            format!("reply of {url} was cut short after {received} bytes"),
        )
    }

    /// The body cannot be parsed.
    pub fn unparsable(url: &str, received: usize, why: &Malformed) -> Self {
        match why {
            Malformed::Cut => Self::cut_short(url, received),
            Malformed::TooMany(..) => Self::new(
                Reason::TooLarge,
                format!("reply of {url} is too large: {why}: check that kubelet_url is a kubelet"),
            ),
            Malformed::NotJson(_) | Malformed::NoPods => Self::not_summary(url, why),
        }
    }

    /// The reply for the pods cannot be read.
    pub fn unparsable_pods(url: &str, received: usize, why: &facts::Malformed) -> Self {
        use facts::Malformed;
        match why {
            Malformed::Cut => Self::cut_short(url, received),
            Malformed::TooMany(..) | Malformed::TooMuchText(_) => Self::new(
                Reason::TooLarge,
                format!("reply of {url} is too large: {why}: check that kubelet_url is a kubelet"),
            ),
            Malformed::NotJson(_) | Malformed::NoItems => Self::new(
                Reason::NotSummary,
                format!(
                    "reply of {url} is not a list of pods: {why}: check that kubelet_url is a kubelet"
                ),
            ),
        }
    }

    /// For a wait that ends because the input stops; see [`Error::is_stopped`].
    pub fn stopped() -> Self {
        Self::new(Reason::Stopped, "the plugin is stopping")
    }

    /// A whole line about what the host lacks or does not accept.
    pub fn host(message: impl Into<String>) -> Self {
        Self::new(Reason::Host, message)
    }

    /// The worker, its sockets or its thread could not be made.
    pub fn thread(source: std::io::Error) -> Self {
        let message = format!("cannot start the worker thread: {}", os_error(&source));
        Self::new(Reason::Host, message).with_source(source)
    }

    /// A panic inside the plugin: `place` is the callback or thread that caught it, `text` its
    /// message, `origin` the line of source where it began.
    pub fn panic(place: &str, text: &str, origin: &str) -> Self {
        let text = printable(text, 300);
        Self::new(
            Reason::Panic,
            format!("internal error in {place}: {text} ({origin}): please report it"),
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| s.as_ref() as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_says_what_was_seen_and_what_to_do() {
        let error = Error::status(
            400,
            "http://k/stats/summary",
            "HTTP to HTTPS",
            "set kubelet_url",
        );
        assert_eq!(
            error.to_string(),
            "unexpected status 400 from http://k/stats/summary: it said 'HTTP to HTTPS': set kubelet_url"
        );
    }
}
