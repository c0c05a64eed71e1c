//! Owns the one error type and its wording for operators.
//!
//! Messages are lowercase and one line: cause, then context, then what to do.
//! Text from outside (a reply's body, a certificate's names) passes through [`crate::text`] first,
//! so that a hostile peer cannot write log lines.

use std::{fmt, io::ErrorKind, path::Path, time::Duration};

use crate::{
    facts,
    summary::Malformed,
    text::{credential_path, os_error, printable, redact_url, resolver_error},
};

/// The result of every fallible function of this crate, except those whose error has no message of
/// its own.
pub type Result<T> = std::result::Result<T, Error>;
type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why something failed, as finely as an operator needs it to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The value of an option is bad. This is detected at start.
    Option,
    /// A file cannot be used. An option names it, or it is at the option's default path.
    File,
    /// The name of the kubelet's host has no address.
    Resolve,
    /// The connection was refused: nothing listens there.
    Refused,
    /// `timeout` has passed, in any [`Phase`].
    Timeout,
    /// The peer closed the connection before its reply began.
    ClosedEarly,
    /// The connection failed in any other way.
    Connection,
    /// The certificate is not in `kube_ca_file`, and no CA in that file signed it.
    TlsUnknownIssuer,
    /// The certificate has none of the expected alternative names.
    TlsWrongName,
    /// The certificate has expired, or is not valid yet.
    TlsExpired,
    /// Another failure of certificates or of the handshake.
    Tls,
    /// The status is 401.
    Unauthorized,
    /// The status is 403.
    Forbidden,
    /// The status is anything else but 200.
    Status,
    /// The reply is not valid HTTP, or not HTTP that this client supports.
    Http,
    /// The status is 200, but the body is empty, is not JSON, or is JSON without pods.
    NotSummary,
    /// A header, a body or a number of pods exceeds a limit, or there is not enough memory for it.
    TooLarge,
    /// The body is incomplete: the connection ended, or the JSON is cut.
    CutShort,
    /// The plugin is stopping.
    Stopped,
    /// The host lacks something that the plugin needs.
    Host,
    /// The plugin panicked, and its boundary caught the panic.
    Panic,
}

impl Reason {
    /// Its key in `failures_by_reason`, in the record under `stats_tag`.
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

/// What a scrape is doing, or was doing when its time ran out. `Display` makes the text before the
/// URL: "connecting to https://…".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The scrape was requested, but the worker has not begun it.
    Queued,
    /// Reading the token's file.
    Token,
    /// Reading the files of CA, certificate and key.
    Certificates,
    /// Waiting for the system's resolver.
    Resolve,
    /// Waiting for TCP. The addresses are tried one after the other.
    Connect,
    /// Waiting for the TLS handshake.
    Tls,
    /// Waiting for the end of the reply's header.
    Headers,
    /// Waiting for the reply's body.
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

/// A failure and its log line. `Display` writes the whole line, for the plugin and for the command.
#[derive(Debug)]
pub struct Error {
    reason: Reason,
    message: String,
    remedy: Option<String>,
    source: Option<Source>,
}

impl Error {
    /// The reason that it is counted under.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// Whether the connection was closed before the reply. This can happen with a kept connection,
    /// so the request is sent once more over a new one.
    pub fn is_closed_early(&self) -> bool {
        self.reason == Reason::ClosedEarly
    }

    /// Whether it is about the certificate or the handshake. This includes a TLS 1.3 server that
    /// reports the failure only after the handshake.
    pub fn is_tls(&self) -> bool {
        use Reason::{Tls, TlsExpired, TlsUnknownIssuer, TlsWrongName};
        matches!(
            self.reason,
            Tls | TlsExpired | TlsUnknownIssuer | TlsWrongName
        )
    }

    /// Whether the scrape was ended because the input stops. Such an error is not logged.
    pub fn is_stopped(&self) -> bool {
        self.reason == Reason::Stopped
    }

    /// Whether the file does not exist. That is no error at a default path.
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

    /// Makes an error of `why`, a colon and `remedy`. [`Error::remedy`] returns the latter.
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

    /// The value of an option cannot be used. `accepted` completes "expected …".
    pub fn option(name: &str, value: &str, accepted: &str) -> Self {
        let value = match name == "kubelet_url" || value.contains("://") {
            true => redact_url(value),
            false => value.to_owned(),
        };
        let value = printable(&value, 150);
        Self::new(
            Reason::Option,
            format!("option {name}: bad value '{value}': expected {accepted}"),
        )
    }

    /// One of two options that must be set together is missing.
    pub fn option_pair(given: &str, missing: &str) -> Self {
        Self::new(
            Reason::Option,
            format!("option {given} is set but {missing} is not: a client certificate needs both"),
        )
    }

    /// An option has no effect without another one.
    pub fn option_needs(given: &str, other: &str) -> Self {
        let message = format!("option {given} is set but {other} is not on: {given} needs it");
        Self::new(Reason::Option, message)
    }

    /// The operating system does not return the content of an option's file.
    pub fn unreadable(option: &str, path: &Path, source: std::io::Error) -> Self {
        let message = format!(
            "cannot read {option} {}: {}",
            credential_path(path),
            os_error(&source)
        );
        Self::new(Reason::File, message).with_source(source)
    }

    /// A file was read but does not contain what it should. Its content may be a secret, so `why`
    /// is a constant text and cannot contain any of it.
    pub fn unusable(option: &str, path: &Path, why: &'static str) -> Self {
        let message = format!("cannot use {option} {}: {why}", credential_path(path));
        Self::new(Reason::File, message)
    }

    /// The resolver returned an error or no address.
    pub fn resolve(host: &str, url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "cannot resolve {host} for {url}: {}: check kubelet_url and the node's dns",
            resolver_error(&source)
        );
        Self::new(Reason::Resolve, message).with_source(source)
    }

    /// The lookup needs a thread of its own, and none could be started.
    pub fn lookup_thread(host: &str, source: std::io::Error) -> Self {
        let message = format!(
            "cannot look up {host}: cannot start a thread: {}: raise the limit of processes, open files or memory",
            os_error(&source)
        );
        Self::new(Reason::Host, message).with_source(source)
    }

    /// The connection was refused. `address` is an address of the host, with the port.
    pub fn refused(address: impl fmt::Display, url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "connection refused by {address} for {url}: check kubelet_url and that the kubelet is running"
        );
        Self::new(Reason::Refused, message).with_source(source)
    }

    /// `timeout` has passed in a phase that reads no file. For the others see
    /// [`Error::timeout_reading`].
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

    /// `timeout` has passed in a phase that reads files. `files` lists them, each with its option.
    pub fn timeout_reading(files: &str, after: Duration) -> Self {
        Self::new(
            Reason::Timeout,
            format!(
                "timed out after {after:?} reading {files}: its file system does not answer: check its mount"
            ),
        )
    }

    /// Any other error of the socket.
    pub fn connection(url: &str, source: std::io::Error) -> Self {
        let message = format!("connection to {url} failed: {}", os_error(&source));
        Self::new(Reason::Connection, message).with_source(source)
    }

    /// The connection ended before the first byte of the reply. This happens with a kept connection
    /// that the kubelet has closed in the meantime.
    pub fn closed_early(url: &str) -> Self {
        Self::new(
            Reason::ClosedEarly,
            format!("connection closed by {url} before it replied"),
        )
    }

    /// There is no chain to a trusted CA, or a signature of the chain does not match because a CA
    /// was made again under its old name.
    pub fn tls_unknown_issuer(url: &str, source: impl Into<Source>) -> Self {
        let message = format!(
            "certificate of {url} is signed by an unknown issuer: set kube_ca_file to the CA that signed it"
        );
        Self::new(Reason::TlsUnknownIssuer, message).with_source(source)
    }

    /// The certificate has only these `names`.
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

    /// The handshake ended without an alert, as it does with a server that speaks another protocol.
    pub fn closed_in_handshake(url: &str, source: std::io::Error) -> Self {
        let message = format!(
            "connection closed by {url} in the TLS handshake: check that kubelet_url is a kubelet"
        );
        Self::new(Reason::Tls, message).with_source(source)
    }

    /// The server's certificate is a CA certificate. It would be trusted if it were itself in the
    /// CA file.
    pub fn tls_ca_as_server(url: &str, source: impl Into<Source>) -> Self {
        let message = format!(
            "certificate of {url} is a CA certificate and is not trusted itself: set kube_ca_file to this certificate"
        );
        Self::new(Reason::TlsUnknownIssuer, message).with_source(source)
    }

    /// Any other failure about the kubelet's certificate.
    pub fn certificate(url: &str, why: &str, remedy: &'static str, source: rustls::Error) -> Self {
        let why = format!("certificate of {url} {why}");
        Self::with_remedy(Reason::Tls, &why, remedy).with_source(source)
    }

    /// A failure of the handshake, which [`tls::explain`](crate::kubelet::tls::explain) has mapped.
    pub fn tls(url: &str, why: &str, remedy: &'static str, source: rustls::Error) -> Self {
        let why = format!("tls with {url} failed: {why}");
        Self::with_remedy(Reason::Tls, &why, remedy).with_source(source)
    }

    /// A 401. `why` is the cause and the remedy, from a [refusal](crate::kubelet::refusal).
    pub fn unauthorized(url: &str, why: &str) -> Self {
        let message = format!("401 unauthorized by {url}: {why}");
        Self::new(Reason::Unauthorized, message)
    }

    /// A 403. `why` is as for [`Error::unauthorized`].
    pub fn forbidden(url: &str, why: &str) -> Self {
        let message = format!("403 forbidden by {url}: {why}");
        Self::new(Reason::Forbidden, message)
    }

    /// Another status. `text` is the reply's text, made fit for one line. `why` is as for
    /// [`Error::unauthorized`].
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

    /// A 301, 302, 303, 307 or 308. It is not followed, because the token would be sent to the new
    /// address.
    pub fn redirect(code: u16, url: &str) -> Self {
        Self::new(
            Reason::Status,
            format!(
                "unexpected status {code} from {url}: redirects are not followed, set kubelet_url to where it leads"
            ),
        )
    }

    /// A 304, although the request has no condition.
    pub fn not_modified(url: &str) -> Self {
        Self::new(
            Reason::Status,
            format!(
                "unexpected status 304 from {url}: the request set no condition: is a cache in between?"
            ),
        )
    }

    /// The server sent more than `limit` interim (1xx) replies.
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

    /// The reply is not valid HTTP. `why` is this project's own sentence: the HTTP library's text
    /// would quote the reply.
    pub fn http(url: &str, why: &'static str) -> Self {
        Self::new(
            Reason::Http,
            format!("reply of {url} is not valid http: {why}"),
        )
    }

    /// The reply has a `Content-Encoding`, although the request accepts none.
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

    /// The body is JSON of another kind, or is not JSON. `why` may quote it.
    pub fn not_summary(url: &str, why: impl fmt::Display) -> Self {
        let why = printable(&why.to_string(), 200);
        Self::new(
            Reason::NotSummary,
            format!(
                "reply of {url} is not a stats summary: {why}: check that kubelet_url is a kubelet"
            ),
        )
    }

    /// The body, or its size on the wire, exceeds `limit` bytes.
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

    /// The body is incomplete after `received` bytes: the connection ended, or the JSON is cut.
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

    /// The worker's sockets or its thread could not be created.
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
