//! A reply that is no 200 and no redirect: who refused whom, and why. What the other
//! side says it saw outranks what was sent. Pure: knows no socket and no file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::{error::Error, text::printable};

/// Who a request without accepted credentials comes from.
pub const ANONYMOUS: &str = "system:anonymous";

const SAID: usize = 300;

const DROPPED: &str = "check that nothing in between drops it";

/// Where the request went, and what went with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    pub https: bool,
    /// Through the API server's path of the node.
    pub node_proxy: bool,
    pub sent: Sent,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sent {
    /// The token of this file.
    Token(PathBuf),
    ClientCertificate,
    Nothing,
}

/// What a person has to know to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// What was sent was not accepted, by the kubelet or by the API server.
    Credentials,
    /// What was sent did not count, and nobody in particular was refused.
    Anonymous,
    /// Behind the proxy: the kubelet did not accept the API server.
    ServersCredentials,
    /// Behind the proxy: the kubelet knows the API server, which lacks the right.
    ServersRight,
    /// The user lacks the right.
    Right,
    /// An API server answers where a kubelet was expected.
    ApiServer,
    /// The API server knows no such node.
    NoSuchNode,
    /// The API server does not reach the kubelet.
    NodeUnreachable,
    /// The API server does not get through the TLS handshake with the kubelet.
    NodeTls,
    /// The kubelet got no answer of the API server about the user.
    ServerAway,
    /// The kubelet got no answer of its container runtime.
    Runtime,
    /// HTTP was sent to a port for HTTPS.
    SpeaksTls,
    /// No summary at this address.
    NotThere,
    /// Too many requests.
    Busy,
    /// Something in between answers.
    Gateway,
    /// An error of the other side's own.
    Failed,
    /// What no kubelet says.
    Stranger,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub code: u16,
    pub cause: Cause,
    /// Who was refused, if the reply says so.
    pub user: Option<String>,
    /// The other side's words, fit for one line.
    pub said: String,
    /// It is the API server that answered.
    pub by_server: bool,
    asked: Asked,
}

/// How the API server refuses.
#[derive(Deserialize)]
struct Status {
    kind: String,
    #[serde(default)]
    message: String,
}

impl Refusal {
    pub fn read(code: u16, body: &[u8], asked: Asked) -> Self {
        let text = String::from_utf8_lossy(body);
        let status = serde_json::from_str(&text).ok();
        let status = status.filter(|status: &Status| status.kind == "Status");
        let by_server = status.is_some();
        let text = status.map_or_else(|| text.into_owned(), |status| status.message);
        let text = text.trim();
        let user = user(text);
        Self {
            code,
            cause: cause(code, text, user, by_server, &asked),
            user: user.map(|user| printable(user, 253)),
            said: printable(&without_token(text), SAID),
            by_server,
            asked,
        }
    }

    /// For the log: cause, context, what to do.
    pub fn error(&self, url: &str) -> Error {
        let why = self.why();
        match self.code {
            401 => Error::unauthorized(url, &why),
            403 => Error::forbidden(url, &why),
            code => Error::status(code, url, &self.said, &why),
        }
    }

    fn why(&self) -> String {
        let who = match self.by_server {
            true => "the api server",
            false => "the kubelet",
        };
        let user = self.user.as_deref().unwrap_or_default();
        let plain = match self.cause {
            Cause::Credentials => return self.not_accepted(who),
            Cause::Anonymous => return self.did_not_count(who),
            Cause::Right => return self.lacks_right(),
            Cause::ServersCredentials => {
                "the kubelet does not accept the api server: check the api server's kubelet-client-certificate"
            }
            Cause::ServersRight => {
                return format!(
                    "the kubelet refuses the api server, its user {user}: bind that to clusterrole system:kubelet-api-admin"
                );
            }
            Cause::ApiServer => {
                "this is the api server, not a kubelet: set kubelet_url to https://NODE_IP:10250, or give it the path /api/v1/nodes/NODE/proxy"
            }
            Cause::NoSuchNode => "the path of kubelet_url has to hold the node's name",
            Cause::NodeUnreachable => {
                "the api server does not reach the kubelet: check the node and its port 10250"
            }
            Cause::NodeTls => {
                "the api server does not accept the kubelet's certificate, or there is none yet: see kubectl get csr"
            }
            Cause::ServerAway => {
                "the kubelet cannot ask the api server about the user: wait until that is back"
            }
            Cause::Runtime => "check the container runtime on the node",
            Cause::SpeaksTls => "that port speaks tls: set kubelet_url to https",
            Cause::NotThere => "no summary is there: set kubelet_url to https://NODE_IP:10250",
            Cause::Busy => "it limits requests: raise interval",
            Cause::Gateway => {
                "a proxy answers, not the kubelet: set kubelet_url to https://NODE_IP:10250"
            }
            Cause::Failed => return format!("see the log of {who}"),
            Cause::Stranger if matches!(self.code, 401 | 403) => {
                return format!(
                    "it said '{}', as no kubelet does: check that kubelet_url is a kubelet",
                    self.said
                );
            }
            Cause::Stranger => "check that kubelet_url is a kubelet",
        };
        plain.to_owned()
    }

    fn not_accepted(&self, who: &str) -> String {
        let it = match who {
            "the kubelet" => "it",
            server => server,
        };
        match &self.asked.sent {
            Sent::Token(path) if self.by_server => format!(
                "{it} did not accept the token in {}: check that it is of this cluster and has not expired",
                path.display()
            ),
            Sent::Token(path) => format!(
                "{it} did not accept the token in {}: check the token and the kubelet's authentication.webhook, \
                 or wait: a kubelet that cannot reach the api server says the same",
                path.display()
            ),
            Sent::ClientCertificate => format!(
                "{it} did not accept the client certificate: check that {who}'s client CA signed it and that it has not expired"
            ),
            Sent::Nothing => format!("{it} did not accept {}", self.nothing_sent()),
        }
    }

    fn did_not_count(&self, who: &str) -> String {
        let took = format!("{who} took the request for {ANONYMOUS}");
        match &self.asked.sent {
            Sent::Token(path) => format!(
                "{took}, so the token in {} did not count: {}",
                path.display(),
                match self.by_server {
                    true => DROPPED,
                    false => "set authentication.webhook.enabled in the kubelet's configuration",
                }
            ),
            Sent::ClientCertificate => format!(
                "{took}, so the client certificate did not count: {}",
                match self.by_server {
                    true => DROPPED,
                    false => "set authentication.x509.clientCAFile in the kubelet's configuration",
                }
            ),
            Sent::Nothing => format!("{took}, as it was {}", self.nothing_sent()),
        }
    }

    fn nothing_sent(&self) -> &'static str {
        match self.asked.https {
            true => "a request without credentials: set kube_token_file",
            false => {
                "a request without credentials, which never travel over http: set kubelet_url to https"
            }
        }
    }

    /// The right that is missing, where it is one.
    pub fn resource(&self) -> &'static str {
        match self.asked.node_proxy {
            true => "nodes/proxy",
            false => "nodes/stats",
        }
    }

    fn lacks_right(&self) -> String {
        let user = match (&self.user, &self.asked.sent) {
            (Some(user), _) => user,
            (None, Sent::Token(_)) => "the service account",
            (None, Sent::ClientCertificate) => "the user of the client certificate",
            (None, Sent::Nothing) => return format!("it did not allow {}", self.nothing_sent()),
        };
        match self.resource() {
            // That right can do much more than this needs.
            "nodes/proxy" => format!(
                "{user} needs verb get on nodes/proxy: better set kubelet_url to https://NODE_IP:10250, where nodes/stats is enough"
            ),
            resource => format!("{user} needs verb get on {resource}"),
        }
    }
}

fn cause(code: u16, text: &str, user: Option<&str>, by_server: bool, asked: &Asked) -> Cause {
    let says = |part: &str| text.contains(part);
    match code {
        // Behind its proxy too the API server itself speaks in objects.
        _ if by_server && !asked.node_proxy => Cause::ApiServer,
        401 if asked.node_proxy && !by_server => Cause::ServersCredentials,
        401 => Cause::Credentials,
        403 => match user {
            Some(ANONYMOUS) if asked.node_proxy && !by_server => Cause::ServersCredentials,
            Some(_) if asked.node_proxy && !by_server => Cause::ServersRight,
            Some(ANONYMOUS) => Cause::Anonymous,
            Some(_) => Cause::Right,
            None if by_server || text.is_empty() || text == "Forbidden" => Cause::Right,
            None => Cause::Stranger,
        },
        400 if !asked.https && says("HTTPS server") => Cause::SpeaksTls,
        404 if by_server => Cause::NoSuchNode,
        404 => Cause::NotThere,
        429 => Cause::Busy,
        500.. if asked.node_proxy && (says("x509:") || says("tls:")) => Cause::NodeTls,
        500.. if asked.node_proxy && (says("trying to reach service") || says("dial tcp")) => {
            Cause::NodeUnreachable
        }
        500 if says("Authorization error") => Cause::ServerAway,
        500 if says("rpc error:") => Cause::Runtime,
        502 | 504 => Cause::Gateway,
        500.. => Cause::Failed,
        _ => Cause::Stranger,
    }
}

/// As the kubelet names whom it refused, or the API server.
fn user(text: &str) -> Option<&str> {
    let between = |start: &str, end: &str| {
        let (_, rest) = text.split_once(start)?;
        Some(rest.split_once(end)?.0)
    };
    between("(user=", ", verb=")
        .or_else(|| between("User \"", "\" cannot "))
        .filter(|user| !user.is_empty())
}

/// A server that repeats the request in its reply does not bring the token into the log.
fn without_token(text: &str) -> String {
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

    fn asked(node_proxy: bool) -> Asked {
        Asked {
            https: true,
            node_proxy,
            sent: Sent::Token("FILE".into()),
        }
    }

    /// Each reply in a file of captures, with its status: `HTTP/1.1 403 Forbidden`.
    fn captured(file: &str) -> Vec<(u16, &str)> {
        let refused = file.split("HTTP/1.1 ").skip(1).filter_map(|reply| {
            let (head, body) = reply.split_once("\r\n\r\n")?;
            let code = head[..3].parse().ok()?;
            let length = head.split("Content-Length: ").nth(1)?.lines().next()?;
            Some((code, &body[..length.trim().parse().ok()?]))
        });
        // A 405 is about methods that are never used here.
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
                let refusal = Refusal::read(code, body.as_bytes(), asked(false));
                let user = refusal.user.as_deref();
                let right = match (refusal.cause, code) {
                    (Cause::Credentials, 401) => user.is_none(),
                    (Cause::Right, 403) => user.is_some() && user != Some(ANONYMOUS),
                    (Cause::Anonymous, 403) => user == Some(ANONYMOUS),
                    (Cause::ServerAway, 500) => user.is_some(),
                    (Cause::Runtime, 500) => user.is_none(),
                    (Cause::NotThere, 404) => user.is_none(),
                    _ => false,
                };
                assert!(right, "{code} {body}: {refusal:?}");
                seen += 1;
            }
        }
        assert!(seen >= 25, "only {seen}");
        let (_, body) = captured(rbac)[5];
        assert_eq!(
            Refusal::read(403, body.as_bytes(), asked(false))
                .user
                .as_deref(),
            powerless
        );
    }

    #[test]
    fn a_token_in_a_reply_is_left_out() {
        let echo = "GET /\nAuthorization: Bearer ey.Jh.x\n\"bearer abc\"";
        let refusal = Refusal::read(404, echo.as_bytes(), asked(false));
        assert_eq!(
            refusal.error(URL).to_string(),
            "unexpected status 404 from URL: it said 'GET /?Authorization: Bearer ***?\"bearer ***\"': \
             no summary is there: set kubelet_url to https://NODE_IP:10250"
        );
    }
}
