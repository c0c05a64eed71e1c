//! The kubelet's answer: accepted, or refused and why.

use std::time::Duration;

use flb_in_kubeletstats::{
    error::{Error, Reason},
    options::Config,
    select::Selector,
    summary,
};

use super::{
    Scrape,
    credentials::{Credential, Kind},
    rights, timed_out,
};
use crate::{
    screen::Report,
    words::{self, took},
};

/// A 200; `None` when it holds no summary.
pub fn accepted(
    config: &Config,
    credential: &Credential,
    time: Duration,
    body: &[u8],
    report: &mut Report,
) -> Option<()> {
    let summary = match summary::parse(body, &Selector::default()) {
        Ok(summary) => summary,
        Err(error) => {
            let error = Error::unparsable(&config.url.summary, body.len(), &error);
            report.fail(
                "reply",
                &error.to_string(),
                "what answers is not a kubelet's summary",
            );
            where_a_kubelet_is(report);
            return None;
        }
    };
    let node = match &summary.node_name {
        Some(name) => format!("node {}", words::list(&[name], 1)),
        None => "a node without a name".to_owned(),
    };
    let (bytes, pods) = (body.len(), words::count(summary.pods_on_node, "pod"));
    let time = took(time);
    let mut text = format!("200, {bytes} bytes after {time} in all: {node}, {pods}");
    for expired in &credential.expired {
        let what = expired.what;
        text.push_str(&format!(
            "\n{what} has expired by this machine's clock, but the request was accepted"
        ));
    }
    report.ok("reply", &text);
    Some(())
}

/// Everything else that can come back once there is a connection.
pub fn refused(
    config: &Config,
    credential: &Credential,
    scrape: &Scrape,
    error: &Error,
    report: &mut Report,
) {
    let reply = scrape.notes.reply.as_ref();
    let said = reply.map_or_else(String::new, |reply| rights::said(&reply.refusal));
    let status = reply.map_or(0, |reply| reply.status);
    let mut text = error.to_string();
    match error.reason() {
        Reason::Unauthorized => unauthorized(config, credential, &text, report),
        Reason::Forbidden => {
            if !said.is_empty() {
                text.push_str(&format!("\nit said: {said}"));
            }
            let resource = rights::resource(config);
            report.fail(
                "reply",
                &text,
                &format!("the right to get {resource} is missing"),
            );
            match rights::user(credential, &said) {
                Some(user) => report.advise(rights::manifest(&user, resource)),
                None if credential.token => report.advise(format!(
                    "grant verb get on {resource} to the user of the token, whom neither the token \
                     nor the refusal names"
                )),
                None => anonymous(config, credential, report),
            }
        }
        Reason::Timeout => {
            report.fail("reply", &text, &timed_out(config, scrape.phase));
            report.advise(
                "raise timeout, or see the kubelet's log on the node: journalctl -u kubelet",
            );
        }
        _ if !config.url.https && status == 400 && said.contains("HTTPS") => {
            let cause = "kubelet_url says http, but that port speaks TLS";
            report.fail("reply", &text, cause);
            let url = super::base_url(config, "https");
            report.advise(format!("set kubelet_url={url}"));
        }
        Reason::Status if status >= 500 => {
            report.fail(
                "reply",
                &text,
                "the kubelet answers with an error of its own",
            );
            report.advise("see the kubelet's log on the node: journalctl -u kubelet");
        }
        Reason::Status | Reason::Http | Reason::NotSummary | Reason::TooLarge => {
            report.fail("reply", &text, "what answers is not a kubelet's summary");
            where_a_kubelet_is(report);
        }
        Reason::Tls => {
            if expired(credential, &[Kind::ClientCertificate], &text, report) {
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

/// Whether the refusal is explained by credentials that have expired.
fn expired(credential: &Credential, kinds: &[Kind], text: &str, report: &mut Report) -> bool {
    let Some((cause, remedies)) = credential.expired(kinds) else {
        return false;
    };
    report.fail("reply", text, &cause);
    for remedy in remedies {
        report.advise(remedy);
    }
    true
}

fn unauthorized(config: &Config, credential: &Credential, text: &str, report: &mut Report) {
    let any = [Kind::Token, Kind::ClientCertificate];
    if expired(credential, &any, text, report) {
        return;
    }
    report.fail("reply", text, "the kubelet does not accept the credentials");
    match credential.token {
        true => report.advise(
            "check that the token is of this cluster, that its audience is the API server's, and that \
             the kubelet asks it (authentication.webhook.enabled: true in the kubelet's configuration)",
        ),
        false => anonymous(config, credential, report),
    }
}

/// No token went with the request, and it did not count as anybody's.
fn anonymous(config: &Config, credential: &Credential, report: &mut Report) {
    if credential.client.is_some() {
        report.advise("check that the client certificate is signed by the kubelet's clientCAFile");
    } else if config.url.https {
        report.advise("no credentials were sent: set kube_token_file");
    } else {
        let url = super::base_url(config, "https");
        report.advise(format!(
            "no credentials were sent, as they never travel unencrypted: set kubelet_url={url}"
        ));
    }
}

fn where_a_kubelet_is(report: &mut Report) {
    report.advise(
        "set kubelet_url to https://NODE_IP:10250, or to the API server's \
         https://kubernetes.default.svc/api/v1/nodes/NODE/proxy",
    );
}
