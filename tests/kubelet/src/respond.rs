//! Owns the replies: the paths, who may read them, and the words of a real kubelet's
//! refusals. It does not know how a reply is sent.

use crate::{
    access::Verdict,
    corrupt::{corrupt_bytes, corrupt_list, corrupt_model},
    fault::Fault,
    http::{Framing, Reply, Request},
    model::Summary,
    resource,
    server::Shared,
    sync::lock,
};

const FORBIDDEN_USER: &str = "system:serviceaccount:default:powerless";
const ANONYMOUS: &str = "system:anonymous";
pub const PODS: &str = "/pods";
const SUMMARY: &str = "/stats/summary";
const RESOURCE: &str = "/metrics/resource";
/// The content type of a page for Prometheus.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
const HTML: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title></head>\n<body><h1>Sign in to continue</h1></body></html>\n";
/// The announced length is larger than the body by this much. It is less than the read
/// buffer of a client.
const MISSING_BYTES: usize = 1_000;

/// For example `/stats/summary` of `/api/v1/nodes/NODE/proxy/stats/summary`.
pub fn below_proxy(path: &str) -> &str {
    path.strip_prefix("/api/v1/nodes/")
        .and_then(|rest| rest.split_once('/'))
        .and_then(|(_, rest)| rest.strip_prefix("proxy"))
        .filter(|rest| rest.starts_with('/'))
        .unwrap_or(path)
}

pub fn reply(shared: &Shared, request: &Request, known_client: bool, fault: &Fault) -> Reply {
    match fault {
        Fault::Status(status, body) => return Reply::text(*status, body),
        Fault::Redirect(url) => {
            return Reply::text(302, &format!("<a href=\"{url}\">Found</a>.\n\n"))
                .with_header("Location", url);
        }
        _ => {}
    }
    let path = below_proxy(request.path());
    let (verdict, rights) = {
        let access = lock(&shared.access);
        let verdict = access.judge(request.header("authorization"), known_client);
        let verdict = match verdict {
            Verdict::Allowed if path == PODS && access.pods_forbidden => Verdict::Forbidden,
            verdict => verdict,
        };
        (verdict, rights_of(path, access.coarse_rights))
    };
    match verdict {
        Verdict::Allowed => {}
        // Behind its proxy, the API server is asked first. It refuses in its own form.
        Verdict::Unauthorized if is_proxied(request) => {
            return status(401, "Unauthorized", "Unauthorized");
        }
        Verdict::Unauthorized => return Reply::text(401, "Unauthorized"),
        Verdict::Forbidden if is_proxied(request) => {
            let message = format!(
                "nodes \"vm\" is forbidden: User \"{FORBIDDEN_USER}\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope"
            );
            return status(403, "Forbidden", &message);
        }
        Verdict::Forbidden => return forbidden(FORBIDDEN_USER, rights),
        Verdict::Anonymous => return forbidden(ANONYMOUS, rights),
        Verdict::Undecided => {
            // If several rights are sufficient, the error names the first one.
            let right = rights.split(' ').next().unwrap_or_default();
            let text = format!(
                "Authorization error (user={ANONYMOUS}, verb=get, resource=nodes, subresource={right})"
            );
            return Reply::text(500, &text);
        }
    }
    match path {
        SUMMARY => dressed(summary_body(shared, fault), fault),
        PODS => dressed(pods_body(shared, fault), fault),
        RESOURCE => {
            let mut reply = dressed(resource_body(shared, fault), fault);
            if *fault == Fault::None {
                reply.headers = vec![("Content-Type", EXPOSITION.to_owned())];
            }
            reply
        }
        _ => Reply::text(404, "404 page not found\n"),
    }
}

/// Any of these rights is sufficient. The kubelet names all of them when it refuses.
fn rights_of(path: &str, coarse: bool) -> &'static str {
    match (path, coarse) {
        (PODS, false) => "pods proxy",
        (PODS, true) => "proxy",
        (RESOURCE, _) => "metrics",
        _ => "stats",
    }
}

fn is_proxied(request: &Request) -> bool {
    below_proxy(request.path()) != request.path()
}

/// A refusal in the form of the API server.
fn status(code: u16, reason: &str, message: &str) -> Reply {
    let message = message.replace('"', "\\\"");
    let mut reply = Reply::text(
        code,
        &format!(
            "{{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{{}},\"status\":\"Failure\",\"message\":\"{message}\",\"reason\":\"{reason}\",\"code\":{code}}}\n"
        ),
    );
    reply.headers = vec![("Content-Type", "application/json".to_owned())];
    reply
}

fn forbidden(user: &str, rights: &str) -> Reply {
    let asked = format!("verb=get, resource=nodes, subresource(s)=[{rights}]");
    Reply::text(403, &format!("Forbidden (user={user}, {asked})\n"))
}

fn pods_body(shared: &Shared, fault: &Fault) -> Vec<u8> {
    if let Some(body) = &*lock(&shared.pods_body) {
        return corrupt_bytes(body.clone(), fault);
    }
    let mut list = {
        let node = lock(&shared.node);
        node.list(&mut lock(&shared.order))
    };
    corrupt_list(&mut list, fault);
    corrupt_bytes(list.to_bytes(), fault)
}

fn summary_now(shared: &Shared) -> Summary {
    let node = lock(&shared.node);
    node.summary(shared.now_ms(), &mut lock(&shared.order))
}

fn resource_body(shared: &Shared, fault: &Fault) -> Vec<u8> {
    corrupt_bytes(resource::page(&summary_now(shared)).into_bytes(), fault)
}

fn summary_body(shared: &Shared, fault: &Fault) -> Vec<u8> {
    if let Some(body) = shared.next_replay() {
        return corrupt_bytes(body.clone(), fault);
    }
    let mut summary = summary_now(shared);
    corrupt_model(&mut summary, fault);
    corrupt_bytes(summary.to_bytes(), fault)
}

/// A 200 reply with that body, in the form that the fault requires.
fn dressed(body: Vec<u8>, fault: &Fault) -> Reply {
    let mut reply = Reply::json(body);
    match fault {
        Fault::Gzip => reply = reply.with_header("Content-Encoding", "gzip"),
        Fault::EmptyBody => {
            reply.body.clear();
            reply.framing = Framing::Length(0);
        }
        Fault::NotJson => {
            reply = Reply::text(200, HTML);
            reply.headers = vec![("Content-Type", "text/html; charset=utf-8".to_owned())];
        }
        Fault::WrongContentLength => {
            reply.framing = Framing::Length(reply.body.len() + MISSING_BYTES);
        }
        Fault::Http10 => {
            reply.http10 = true;
            reply.framing = Framing::UntilClose;
        }
        _ => {}
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::Access,
        population::{Kind, populate},
        tls::Tls,
    };

    const RBAC: &str = include_str!("../../fixtures/auth/webhook-rbac.txt");
    const ANONYMOUS: &str = include_str!("../../fixtures/auth/webhook-rbac-anonymous-enabled.txt");
    const AWAY: &str = include_str!("../../fixtures/auth/webhook-apiserver-down.txt");

    type Change = fn(&mut Access);

    /// The texts of a real kubelet's refusals, word for word.
    #[test]
    fn refusals_read_as_captured() {
        let tls = Tls::new(vec!["vm".to_owned()], None, false).expect("certificates");
        let shared = Shared::new(
            populate(None, Kind::default(), 15_000, 1_800_000_000_123),
            Access::default(),
            tls,
        );
        let no_webhook = |access: &mut Access| access.no_webhook = true;
        let away = |access: &mut Access| access.server_away = true;
        let rows: [(&str, Change, u16, &str); 7] = [
            ("good", |_| {}, 200, "HTTP/1.1 200"),
            ("weak", |_| {}, 403, RBAC),
            ("bad", |_| {}, 401, AWAY),
            ("", |_| {}, 401, AWAY),
            ("good", no_webhook, 403, ANONYMOUS),
            ("good", away, 401, AWAY),
            ("", away, 500, AWAY),
        ];
        for (token, change, status, captured) in rows {
            let mut access = Access {
                tokens: vec!["good".to_owned()],
                forbidden: vec!["weak".to_owned()],
                ..Access::default()
            };
            change(&mut access);
            *lock(&shared.access) = access;
            let bearer = ("Authorization".to_owned(), format!("Bearer {token}"));
            let request = Request {
                method: "GET".to_owned(),
                target: SUMMARY.to_owned(),
                version: "HTTP/1.1".to_owned(),
                headers: [bearer].into_iter().filter(|_| !token.is_empty()).collect(),
            };
            let reply = reply(&shared, &request, false, &Fault::None);
            assert_eq!(reply.status, status, "{token:?}");
            let text = String::from_utf8(reply.body).expect("text");
            let as_captured = captured.contains(&format!("\r\n\r\n{text}"));
            assert!(status == 200 || as_captured, "{token:?}: {text}");
        }
    }

    #[test]
    fn a_right_to_pods_is_one_of_its_own() {
        let node = populate(None, Kind::default(), 15_000, 1_800_000_000_123);
        let tls = Tls::new(vec!["vm".to_owned()], None, false).expect("certificates");
        let shared = Shared::new(node, Access::default(), tls);
        let ask = |target: &str| {
            let request = Request {
                method: "GET".to_owned(),
                target: target.to_owned(),
                version: "HTTP/1.1".to_owned(),
                headers: Vec::new(),
            };
            let reply = reply(&shared, &request, false, &Fault::None);
            let text = String::from_utf8(reply.body).expect("text");
            (reply.status, text)
        };
        for target in ["/pods", "/api/v1/nodes/vm/proxy/pods?x=1"] {
            assert_eq!(ask(target).0, 200);
        }
        lock(&shared.access).pods_forbidden = true;
        let (status, text) = ask("/pods");
        assert_eq!(status, 403);
        assert!(RBAC.contains(&format!("\r\n\r\n{text}")), "{text}");
        assert_eq!(ask("/api/v1/nodes/vm/proxy/pods").0, 403);
        assert_eq!(ask(SUMMARY).0, 200);
        lock(&shared.access).coarse_rights = true;
        assert!(ask("/pods").1.ends_with("subresource(s)=[proxy])\n"));
    }
}
