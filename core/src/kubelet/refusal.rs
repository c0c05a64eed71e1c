//! Explains a reply that is neither a 200 nor a redirect: who refused whom, and why. If the body
//! says something about the user, that overrides what was sent. This module is pure: it knows no
//! socket and no file.

use std::path::PathBuf;

use serde::Deserialize;

use super::Endpoint;
use crate::{error::Error, text::printable};

/// The user of a request whose credentials the kubelet or the API server did not use.
pub const ANONYMOUS: &str = "system:anonymous";

const MAX_MESSAGE: usize = 300;

const HEADER_DROPPED: &str = "check that nothing in between drops it";

/// Where a request was sent, and with which credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestInfo {
    /// The requested endpoint.
    pub endpoint: Endpoint,
    /// Whether the request was sent over HTTPS. Plain HTTP carries no credentials.
    pub https: bool,
    /// Whether the request went through the API server's path of the node.
    pub node_proxy: bool,
    /// The credentials of the last attempt.
    pub credentials: SentCredentials,
}

/// The credentials of a request. With a token and a client certificate, it is the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentCredentials {
    /// The token in this file.
    Token(PathBuf),
    /// A client certificate in the handshake, and no token.
    ClientCertificate,
    /// Neither of them. The request is anonymous.
    Nothing,
}

/// The cause of a refusal, according to what has to be changed. Each cause has a line in the log
/// and advice in the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The kubelet or the API server did not accept the credentials.
    Credentials,
    /// The user is [`ANONYMOUS`], whichever credentials were sent.
    Anonymous,
    /// Behind the proxy, the kubelet did not accept the API server's credentials.
    ApiServerCredentials,
    /// Behind the proxy, the kubelet knows the API server, but the API server lacks the permission.
    ApiServerPermission,
    /// The user lacks the permission.
    MissingPermission,
    /// An API server answered instead of a kubelet.
    ApiServer,
    /// The API server does not know the node.
    NoSuchNode,
    /// The API server cannot reach the kubelet.
    NodeUnreachable,
    /// The API server's TLS handshake with the kubelet fails.
    NodeTls,
    /// The kubelet got no answer from the API server about the user.
    ApiServerUnavailable,
    /// The kubelet got no answer from its container runtime.
    ContainerRuntime,
    /// HTTP was sent to a port for HTTPS.
    PlainHttpToTls,
    /// There is no such endpoint at this address.
    NotFound,
    /// Too many requests.
    TooManyRequests,
    /// A proxy in between answered.
    Gateway,
    /// The kubelet or the API server has an internal error.
    InternalError,
    /// No kubelet sends such a reply.
    NotAKubelet,
}

/// A reply with a status other than 200, and its cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub code: u16,
    /// The cause, which decides the log line and the command's advice.
    pub cause: Cause,
    /// Who was refused, if the reply says so.
    pub user: Option<String>,
    /// The body, or the message of the API server's `Status`, fit for one line.
    pub message: String,
    /// Whether the API server answered.
    pub from_api_server: bool,
    request: RequestInfo,
}

/// The form of the API server's errors.
#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    /// Reads a refusal. `body` may be cut, because the first few KiB are enough. `request` is what
    /// was sent.
    pub fn read(code: u16, body: &[u8], request: RequestInfo) -> Self {
        let text = String::from_utf8_lossy(body);
        let status = serde_json::from_str(&text).ok();
        let status = status.filter(|status: &Status| status.kind == "Status");
        let from_api_server = status.is_some();
        let text = status.map_or_else(|| text.into_owned(), |status| status.message);
        let text = text.trim();
        let user = user(text);
        Self {
            code,
            cause: cause(code, text, user, from_api_server, &request),
            user: user.map(|user| printable(user, 253)),
            message: printable(&redact_bearer(text), MAX_MESSAGE),
            from_api_server,
            request,
        }
    }

    /// Makes the line for the log: the status, the reason, and the remedy.
    pub fn error(&self, url: &str) -> Error {
        let why = self.why();
        match self.code {
            401 => Error::unauthorized(url, &why),
            403 => Error::forbidden(url, &why),
            code => Error::status(code, url, &self.message, &why),
        }
    }

    fn why(&self) -> String {
        let responder = match self.from_api_server {
            true => "the api server",
            false => "the kubelet",
        };
        let user = self.user.as_deref().unwrap_or_default();
        let plain = match self.cause {
            Cause::Credentials => return self.credentials_rejected(responder),
            Cause::Anonymous => return self.counted_as_anonymous(responder),
            Cause::MissingPermission => return self.missing_permission(),
            Cause::ApiServerCredentials => {
                "the kubelet does not accept the api server: check the api server's kubelet-client-certificate"
            }
            Cause::ApiServerPermission => {
                return format!(
                    "the kubelet refuses the api server, its user {user}: bind that to clusterrole system:kubelet-api-admin"
                );
            }
            Cause::ApiServer => {
                "this is the api server, not a kubelet: set kubelet_url to https://NODE_IP:10250, or give it the path /api/v1/nodes/NODE/proxy"
            }
            Cause::NoSuchNode => "the path of kubelet_url must have the node's name",
            Cause::NodeUnreachable => {
                "the api server does not reach the kubelet: check the node and its port 10250"
            }
            Cause::NodeTls => {
                "the api server does not accept the kubelet's certificate, or there is none yet: see kubectl get csr"
            }
            Cause::ApiServerUnavailable => {
                "the kubelet cannot ask the api server about the user: wait until that is back"
            }
            Cause::ContainerRuntime => "check the container runtime on the node",
            Cause::PlainHttpToTls => "that port speaks tls: set kubelet_url to https",
            Cause::NotFound => match self.request.endpoint {
                Endpoint::Summary => {
                    "it has no summary at this path: set kubelet_url to https://NODE_IP:10250"
                }
                Endpoint::Pods => {
                    "it has no list of pods at this path: set kubelet_url to https://NODE_IP:10250, or pod_facts to false"
                }
            },
            Cause::TooManyRequests => "it limits requests: raise interval",
            Cause::Gateway => {
                "a proxy answers, not the kubelet: set kubelet_url to https://NODE_IP:10250"
            }
            Cause::InternalError => return format!("see the log of {responder}"),
            Cause::NotAKubelet if matches!(self.code, 401 | 403) => {
                return format!(
                    "it said '{}', which no kubelet says: check that kubelet_url is a kubelet",
                    self.message
                );
            }
            Cause::NotAKubelet => "check that kubelet_url is a kubelet",
        };
        plain.to_owned()
    }

    fn credentials_rejected(&self, responder: &str) -> String {
        let it = match responder {
            "the kubelet" => "it",
            server => server,
        };
        match &self.request.credentials {
            SentCredentials::Token(path) if self.from_api_server => format!(
                "{it} did not accept the token in {}: check that it is of this cluster and has not expired",
                path.display()
            ),
            SentCredentials::Token(path) => format!(
                "{it} did not accept the token in {}: check the token and the kubelet's authentication.webhook, \
                 or wait: a kubelet that cannot reach the api server says the same",
                path.display()
            ),
            SentCredentials::ClientCertificate => format!(
                "{it} did not accept the client certificate: check that {responder}'s client CA signed it and that it has not expired"
            ),
            SentCredentials::Nothing => format!("{it} did not accept {}", self.no_credentials()),
        }
    }

    fn counted_as_anonymous(&self, responder: &str) -> String {
        let took = format!("{responder} treated the request as {ANONYMOUS}");
        match &self.request.credentials {
            SentCredentials::Token(path) => format!(
                "{took}, so it ignored the token in {}: {}",
                path.display(),
                match self.from_api_server {
                    true => HEADER_DROPPED,
                    false => "set authentication.webhook.enabled in the kubelet's configuration",
                }
            ),
            SentCredentials::ClientCertificate => format!(
                "{took}, so it ignored the client certificate: {}",
                match self.from_api_server {
                    true => HEADER_DROPPED,
                    false => "set authentication.x509.clientCAFile in the kubelet's configuration",
                }
            ),
            SentCredentials::Nothing => format!("{took}, because it was {}", self.no_credentials()),
        }
    }

    fn no_credentials(&self) -> &'static str {
        match self.request.https {
            true => "a request without credentials: set kube_token_file",
            false => {
                "a request without credentials, which are never sent over http: set kubelet_url to https"
            }
        }
    }

    /// The resource on which the user needs the verb `get`, if the cause is
    /// [`Cause::MissingPermission`]. A kubelet names the resources that it accepts. `nodes/pods`
    /// exists since 1.33; an older kubelet names only `nodes/proxy`.
    pub fn missing_resource(&self) -> &'static str {
        let before_1_33 = self.message.contains("subresource(s)=[proxy]");
        match self.request.endpoint {
            _ if self.request.node_proxy => "nodes/proxy",
            Endpoint::Summary => "nodes/stats",
            Endpoint::Pods if before_1_33 => "nodes/proxy",
            Endpoint::Pods => "nodes/pods",
        }
    }

    fn missing_permission(&self) -> String {
        let user = match (&self.user, &self.request.credentials) {
            (Some(user), _) => user,
            (None, SentCredentials::Token(_)) => "the service account",
            (None, SentCredentials::ClientCertificate) => "the user of the client certificate",
            (None, SentCredentials::Nothing) => {
                return format!("it did not allow {}", self.no_credentials());
            }
        };
        match self.missing_resource() {
            "nodes/proxy"
                if self.request.endpoint == Endpoint::Pods && !self.request.node_proxy =>
            {
                format!(
                    "{user} needs verb get on nodes/proxy, because this kubelet is older than 1.33; later ones need only nodes/pods"
                )
            }
            // This permission allows much more than is needed here.
            "nodes/proxy" => format!(
                "{user} needs verb get on nodes/proxy: better set kubelet_url to https://NODE_IP:10250, which needs only nodes/stats"
            ),
            resource => format!("{user} needs verb get on {resource}"),
        }
    }
}

fn cause(
    code: u16,
    text: &str,
    user: Option<&str>,
    from_api_server: bool,
    request: &RequestInfo,
) -> Cause {
    let contains = |part: &str| text.contains(part);
    match code {
        // With the node proxy, the API server's own errors have the same form, so there this is not
        // a wrong address.
        _ if from_api_server && !request.node_proxy => Cause::ApiServer,
        401 if request.node_proxy && !from_api_server => Cause::ApiServerCredentials,
        401 => Cause::Credentials,
        403 => match user {
            Some(ANONYMOUS) if request.node_proxy && !from_api_server => {
                Cause::ApiServerCredentials
            }
            Some(_) if request.node_proxy && !from_api_server => Cause::ApiServerPermission,
            Some(ANONYMOUS) => Cause::Anonymous,
            Some(_) => Cause::MissingPermission,
            None if from_api_server || text.is_empty() || text == "Forbidden" => {
                Cause::MissingPermission
            }
            None => Cause::NotAKubelet,
        },
        400 if !request.https && contains("HTTPS server") => Cause::PlainHttpToTls,
        404 if from_api_server => Cause::NoSuchNode,
        404 => Cause::NotFound,
        429 => Cause::TooManyRequests,
        500.. if request.node_proxy && (contains("x509:") || contains("tls:")) => Cause::NodeTls,
        500..
            if request.node_proxy
                && (contains("trying to reach service") || contains("dial tcp")) =>
        {
            Cause::NodeUnreachable
        }
        500 if contains("Authorization error") => Cause::ApiServerUnavailable,
        500 if contains("rpc error:") => Cause::ContainerRuntime,
        502 | 504 => Cause::Gateway,
        500.. => Cause::InternalError,
        _ => Cause::NotAKubelet,
    }
}

/// Returns the user that a refusal of the kubelet or the API server names.
fn user(text: &str) -> Option<&str> {
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        Some(rest.split_once(end)?.0)
    };
    between("(user=", ", verb=")
        .or_else(|| between("User \"", "\" cannot "))
        .filter(|user| !user.is_empty())
}

/// Masks bearer tokens, because a server may repeat the request in its reply.
fn redact_bearer(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find("bearer ") {
        let (before, after) = rest.split_at(at + "bearer ".len());
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '<');
        let end = after.find(is_end).unwrap_or(after.len());
        out.push_str(before);
        out.push_str("***");
        rest = &after[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "URL";

    fn request(node_proxy: bool) -> RequestInfo {
        RequestInfo {
            endpoint: Endpoint::Summary,
            https: true,
            node_proxy,
            credentials: SentCredentials::Token("FILE".into()),
        }
    }

    /// Returns each reply in a file of captured replies, with its status: `HTTP/1.1 403 Forbidden`.
    fn captured(file: &str) -> Vec<(u16, &str)> {
        let refused = file.split("HTTP/1.1 ").skip(1).filter_map(|reply| {
            let (head, body) = reply.split_once("\r\n\r\n")?;
            let code = head[..3].parse().ok()?;
            let length = head.split("Content-Length: ").nth(1)?.lines().next()?;
            Some((code, &body[..length.trim().parse().ok()?]))
        });
        // A 405 is about methods that this client never uses.
        refused
            .filter(|(code, _)| !matches!(code, 200 | 405))
            .collect()
    }

    #[test]
    fn what_a_real_kubelet_says_is_understood() {
        let rbac = include_str!("../../../tests/fixtures/auth/webhook-rbac.txt");
        let anonymous =
            include_str!("../../../tests/fixtures/auth/webhook-rbac-anonymous-enabled.txt");
        let away = include_str!("../../../tests/fixtures/auth/webhook-apiserver-down.txt");
        let x509 = include_str!("../../../tests/fixtures/auth/x509-anonymous-off.txt");
        let runtime = include_str!("../../../tests/fixtures/auth/runtime-down.txt");
        let powerless = Some("system:serviceaccount:default:powerless");
        let mut seen = 0;
        for file in [rbac, anonymous, away, x509, runtime] {
            for (code, body) in captured(file) {
                let refusal = Refusal::read(code, body.as_bytes(), request(false));
                let user = refusal.user.as_deref();
                let right = match (refusal.cause, code) {
                    (Cause::Credentials, 401) => user.is_none(),
                    (Cause::MissingPermission, 403) => user.is_some() && user != Some(ANONYMOUS),
                    (Cause::Anonymous, 403) => user == Some(ANONYMOUS),
                    (Cause::ApiServerUnavailable, 500) => user.is_some(),
                    (Cause::ContainerRuntime, 500) => user.is_none(),
                    (Cause::NotFound, 404) => user.is_none(),
                    _ => false,
                };
                assert!(right, "{code} {body}: {refusal:?}");
                seen += 1;
            }
        }
        assert!(seen >= 25, "only {seen}");
        let (_, body) = captured(rbac)[5];
        assert_eq!(
            Refusal::read(403, body.as_bytes(), request(false))
                .user
                .as_deref(),
            powerless
        );
    }

    /// The kubelet's own text, from 1.33 with fine-grained authorization and from older versions.
    #[test]
    fn the_right_for_the_pods_is_the_one_that_the_kubelet_knows() {
        for (subresources, resource) in [("[pods proxy]", "nodes/pods"), ("[proxy]", "nodes/proxy")]
        {
            let body = format!(
                "Forbidden (user=system:serviceaccount:n:sa, verb=get, resource=nodes, subresource(s)={subresources})\n"
            );
            let mut request = request(false);
            request.endpoint = Endpoint::Pods;
            let refusal = Refusal::read(403, body.as_bytes(), request);
            assert_eq!(refusal.missing_resource(), resource);
            let line = refusal.error(URL).to_string();
            assert!(
                line.contains(&format!(
                    "system:serviceaccount:n:sa needs verb get on {resource}"
                )),
                "{line}"
            );
        }
    }

    #[test]
    fn a_token_in_a_reply_is_left_out() {
        let echo = "GET /\nAuthorization: Bearer ey.Jh.x\n\"bearer abc\"";
        let refusal = Refusal::read(404, echo.as_bytes(), request(false));
        assert_eq!(
            refusal.error(URL).to_string(),
            "unexpected status 404 from URL: it said 'GET /?Authorization: Bearer ***?\"bearer ***\"': \
             it has no summary at this path: set kubelet_url to https://NODE_IP:10250"
        );
    }
}
