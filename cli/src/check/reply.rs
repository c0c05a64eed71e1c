//! Reports the kubelet's reply: whether it accepted the request, or why it refused.

use kubeletstats_core::{
    catalogue::Plan,
    error::{Error, Reason},
    kubelet::{
        observer::Notes,
        refusal::{Cause, Refusal},
    },
    options::Config,
    select::Selector,
    summary::Summary,
};

use super::{
    credentials::{Credential, CredentialKind},
    permissions, timed_out,
};
use crate::{humanize, scrape::Scrape, screen::Report};

/// Checks a 200 reply. Returns all pods of the node, or `None` if the body is no summary.
pub fn check_summary<'b>(
    config: &Config,
    credential: &Credential,
    notes: &Notes,
    body: &'b [u8],
    report: &mut Report,
) -> Option<Summary<'b>> {
    let summary = match Selector::default().parse(body, Plan::CONTAINERS) {
        Ok(summary) => summary,
        Err(error) => {
            let error = Error::unparsable(&config.url.summary, body.len(), &error);
            report.fail(
                "reply",
                &error.to_string(),
                "what answers is not a kubelet's summary",
            );
            advise_kubelet_url(report);
            return None;
        }
    };
    let node = match &summary.node.name {
        Some(name) => format!("node {}", humanize::list(&[name], 1)),
        None => "a node without a name".to_owned(),
    };
    let (bytes, pods) = (body.len(), humanize::count(summary.pods_on_node, "pod"));
    let took = notes.reply.as_ref().map(|reply| reply.took);
    let time = humanize::elapsed(took.unwrap_or_default());
    let mut text = format!("200, {bytes} bytes after {time} in all: {node}, {pods}");
    for expired in &credential.expired {
        let what = expired.what;
        text.push_str(&format!(
            "\n{what} has expired by this machine's clock, but the request was accepted"
        ));
    }
    match summary.pods_unreadable {
        0 => report.ok("reply", &text),
        unreadable => {
            let unreadable = humanize::count(unreadable, "pod");
            text.push_str(&format!(
                "\n{unreadable} cannot be read and are dropped: their entries in the kubelet's reply \
                 are not valid"
            ));
            report.warn("reply", &text);
        }
    }
    Some(summary)
}

/// Reports all other results of a request after the connection was made.
pub fn report_failure(
    config: &Config,
    credential: &Credential,
    scrape: &Scrape,
    error: &Error,
    report: &mut Report,
) {
    let reply = scrape.notes.reply.as_ref();
    let text = error.to_string();
    if let Some(refusal) = reply.and_then(|reply| reply.refusal.as_ref()) {
        return report_refusal(refusal, config, credential, &text, report);
    }
    match error.reason() {
        Reason::Timeout => {
            report.fail("reply", &text, &timed_out(config, scrape.phase));
            report.advise("raise timeout, or look for the reason on the node:");
            report.command(KUBELET_LOG);
        }
        Reason::Status | Reason::Http | Reason::NotSummary | Reason::TooLarge => {
            report.fail("reply", &text, "what answers is not a kubelet's summary");
            advise_kubelet_url(report);
        }
        Reason::Tls => {
            if report_expired(
                credential,
                &[CredentialKind::ClientCertificate],
                &text,
                report,
            ) {
                return;
            }
            report.fail("reply", &text, "the kubelet ends the encrypted connection");
            if credential.client.is_some() {
                report.advise("check that the kubelet accepts the client certificate in cert_file");
            }
        }
        _ => report.fail("reply", &text, "the connection ended before the reply did"),
    }
}

/// A command that shows the kubelet's log. It has to run on the node.
pub const KUBELET_LOG: &str = "journalctl -u kubelet";

/// Reports a reply other than 200. The cause is from the text of the reply, not from the
/// request.
fn report_refusal(
    refusal: &Refusal,
    config: &Config,
    credential: &Credential,
    text: &str,
    report: &mut Report,
) {
    // The error line of a 403 does not quote the reply.
    let full_text = match (refusal.code, refusal.cause) {
        (401, _) | (_, Cause::NotAKubelet) => text.to_owned(),
        (403, _) if !refusal.message.is_empty() => format!("{text}\nit said: {}", refusal.message),
        _ => text.to_owned(),
    };
    let mut fail = |cause: &str| report.fail("reply", &full_text, cause);
    match refusal.cause {
        Cause::Credentials => report_unauthorized(refusal, config, credential, &full_text, report),
        Cause::Anonymous => {
            fail("the request counts as system:anonymous, whom no role should allow this");
            advise_anonymous(refusal, config, credential, report);
        }
        Cause::MissingPermission => {
            let resource = refusal.missing_resource();
            fail(&format!("the right to get {resource} is missing"));
            permissions::advise(refusal, config, credential, report);
        }
        Cause::ApiServerCredentials => {
            fail("the kubelet does not accept the API server");
            report.advise(
                "check --kubelet-client-certificate of the API server, and that the CA in the kubelet's \
                 authentication.x509.clientCAFile signed that certificate",
            );
            permissions::advise_direct_url(report);
        }
        Cause::ApiServerPermission => {
            fail("the kubelet refuses the API server, not you: no right of yours changes that");
            report.advise(format!(
                "bind the API server's user, {}, to the cluster role system:kubelet-api-admin; an API \
                 server that has just started may pass by itself: its rules are still loading",
                refusal.user.as_deref().unwrap_or("whom it does not name"),
            ));
            permissions::advise_direct_url(report);
        }
        Cause::ApiServer => {
            fail("kubelet_url leads to the API server, not to a kubelet");
            advise_kubelet_url(report);
        }
        Cause::NoSuchNode => {
            fail("the API server knows no such node");
            report.advise("put the node's name into the path of kubelet_url:");
            report.command("kubectl get nodes -o wide");
        }
        Cause::NodeUnreachable => {
            fail("the API server does not reach the kubelet");
            report.advise(
                "check that the node is up, and that the API server may connect to its port 10250:",
            );
            report.command("kubectl get nodes -o wide");
        }
        Cause::NodeTls => {
            fail("the API server does not get through the TLS handshake with the kubelet");
            report.advise(
                "see whether the kubelet's request for a certificate waits, and approve it with \
                 kubectl's certificate approve:",
            );
            report.command("kubectl get csr");
        }
        Cause::ApiServerUnavailable => {
            fail("the kubelet gets no answer of the API server about the user");
            report.advise(
                "it may be temporary: scraping goes on when the API server answers the node again",
            );
        }
        Cause::ContainerRuntime => {
            fail("the kubelet gets no answer of its container runtime");
            report.advise("look at the runtime on the node, which may have another name there:");
            report.command("systemctl status containerd");
        }
        Cause::PlainHttpToTls => {
            fail("kubelet_url says http, but that port speaks TLS");
            let url = super::url_with_scheme(config, "https");
            report.advise(format!("set kubelet_url={url}"));
        }
        Cause::TooManyRequests => {
            fail("the other side limits requests");
            report.advise("raise interval, or see who else asks");
        }
        Cause::Gateway => {
            fail("a proxy answers, and has no kubelet behind it");
            permissions::advise_direct_url(report);
        }
        Cause::InternalError if refusal.from_api_server => {
            fail("the API server answers with an error of its own");
            report.advise("it may be temporary; else see the API server's log");
        }
        Cause::InternalError => {
            fail("the kubelet answers with an error of its own");
            report.advise("look for the reason on the node:");
            report.command(KUBELET_LOG);
        }
        Cause::NotFound | Cause::NotAKubelet => {
            fail("what answers is not a kubelet's summary");
            advise_kubelet_url(report);
        }
    }
}

/// Reports expired credentials, if they explain the refusal. Returns whether they do.
fn report_expired(
    credential: &Credential,
    kinds: &[CredentialKind],
    text: &str,
    report: &mut Report,
) -> bool {
    let Some((cause, remedies)) = credential.expired(kinds) else {
        return false;
    };
    report.fail("reply", text, &cause);
    for remedy in remedies {
        report.advise(remedy);
    }
    true
}

fn report_unauthorized(
    refusal: &Refusal,
    config: &Config,
    credential: &Credential,
    text: &str,
    report: &mut Report,
) {
    let any = [CredentialKind::Token, CredentialKind::ClientCertificate];
    if report_expired(credential, &any, text, report) {
        return;
    }
    let who = match refusal.from_api_server {
        true => "the API server",
        false => "the kubelet",
    };
    report.fail(
        "reply",
        text,
        &format!("{who} does not accept the credentials"),
    );
    match (credential.token, refusal.from_api_server) {
        (true, true) => {
            report.advise(
                "check that the token is of this cluster, and that its audience is the API server's",
            );
        }
        (true, false) => {
            report.advise(
                "check that the token is of this cluster, that its audience is the API server's, and that \
                 the kubelet asks it (authentication.webhook.enabled: true in the kubelet's configuration)",
            );
            report.advise(
                "it may be temporary: a kubelet that cannot reach the API server accepts no token at all",
            );
        }
        (false, _) => advise_anonymous(refusal, config, credential, report),
    }
}

/// Advises what to do if the server treated the request as anonymous, whatever
/// credentials it had.
fn advise_anonymous(
    refusal: &Refusal,
    config: &Config,
    credential: &Credential,
    report: &mut Report,
) {
    if refusal.code == 403
        && refusal.from_api_server
        && (credential.token || credential.client.is_some())
    {
        report.advise(
            "something between here and the API server drops the credentials: dial that itself",
        );
    } else if credential.token {
        report.advise(
            "set authentication.webhook.enabled: true in the kubelet's configuration and restart it: it \
             does not look at tokens, so no role helps",
        );
    } else if credential.client.is_some() {
        report.advise(
            "check that the kubelet has a clientCAFile, and that it signed the client certificate",
        );
    } else if config.url.https {
        report.advise("no credentials were sent: set kube_token_file");
    } else {
        let url = super::url_with_scheme(config, "https");
        report.advise(format!(
            "no credentials were sent, as they never travel unencrypted: set kubelet_url={url}"
        ));
    }
}

fn advise_kubelet_url(report: &mut Report) {
    report.advise(
        "set kubelet_url to https://NODE_IP:10250; the way through the API server, \
         https://kubernetes.default.svc/api/v1/nodes/NODE/proxy, needs a right that can do much more",
    );
}
