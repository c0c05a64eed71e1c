//! `kubeletstats check`: does one scrape with the plugin's own code, and reports each step
//! of it. The steps are in the modules below, in the order of [`report_steps`].

pub mod clock;
mod connection;
mod credentials;
mod facts;
mod permissions;
mod pods;
mod reply;

use kubeletstats_core::{
    error::{Phase, Reason},
    kubelet::{Client, deadline},
    options::Config,
    scrape::Batch,
    summary::Summary,
};

use self::credentials::Credential;
use crate::{
    inputs::Input,
    scrape::Scrape,
    screen::{Report, Screen},
    watchdog,
};

/// What `check` or `once` found for an input, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Arrives,
    Fails,
    /// Fluent Bit would refuse the configuration.
    Refused,
}

/// The reply of a complete scrape.
struct Reply<'s> {
    /// All pods of the node.
    all: Summary<'s>,
    /// The selected pods, and the node.
    wanted: Summary<'s>,
    batch: &'s Batch,
    body: &'s [u8],
}

pub fn run(input: &Input, screen: &mut Screen) -> Verdict {
    let mut report = Report::new(screen);
    let config = match input.config() {
        Ok(config) => config,
        Err(why) => {
            let text = format!("{why}\nfrom: {}", input.origin);
            report.fail(
                "options",
                &text,
                "Fluent Bit does not start with these options",
            );
            report.conclude("");
            return Verdict::Refused;
        }
    };
    let announcement = config.announcement();
    report.ok(
        "options",
        &format!("{announcement}\nfrom: {}", input.origin),
    );
    for warning in config.warnings() {
        report.warn("options", warning);
    }
    for warning in &input.warnings {
        report.warn("options", warning);
    }
    let arrives = run_steps(&config, &mut report).unwrap_or_default();
    match report.conclude(&arrives) {
        true => Verdict::Arrives,
        false if !plugin_would_start(&config) => Verdict::Refused,
        false => Verdict::Fails,
    }
}

/// Whether the plugin would start with these files. It reads certificates and keys at start,
/// and the token at each scrape.
pub fn plugin_would_start(config: &Config) -> bool {
    let signal = deadline::stop_pair().map(|(_, signal)| signal);
    watchdog::watch(config, || {
        signal.is_ok_and(|signal| Client::new(config, signal).is_ok())
    })
}

/// Does every step from the token to the records. Returns the verdict if none failed.
fn run_steps(config: &Config, report: &mut Report) -> Option<String> {
    let credential = credentials::check(config, report)?;
    let scrape = match Scrape::run(&with_labels_of_the_selector(config)) {
        Ok(scrape) => scrape,
        Err(error) => {
            // The files were checked before. Either one has changed since, or the key does
            // not belong to its certificate.
            report.fail("files", &error.to_string(), "a file cannot be used");
            return None;
        }
    };
    let reply = report_steps(config, &credential, &scrape, report)?;
    facts::check(config, &credential, &scrape, &reply, report)?;
    pods::check(config, &scrape, &reply, report)
}

/// Adds the label keys of the selector to `pod_labels`, so that a report can show the labels
/// that a pod has instead.
fn with_labels_of_the_selector(config: &Config) -> Config {
    let mut config = config.clone();
    if let Some(selector) = &config.label_selector {
        config.pod_labels = config.pod_labels.with(&selector.keys());
    }
    config
}

/// Reports every step that the scrape reached. Returns the reply if the scrape was complete.
fn report_steps<'s>(
    config: &Config,
    credential: &Credential,
    scrape: &'s Scrape,
    report: &mut Report,
) -> Option<Reply<'s>> {
    let error = scrape.result.as_ref().err();
    let files = |phase| matches!(phase, Phase::Token | Phase::Certificates);
    if let Some(error) = error.filter(|error| error.reason() == Reason::File || files(scrape.phase))
    {
        report.fail("files", &error.to_string(), "a file cannot be used");
        return None;
    }
    // The error belongs to the step at which the scrape ended.
    let at = |phases: &[Phase]| error.filter(|_| phases.contains(&scrape.phase));
    connection::resolve(config, &scrape.notes, at(&[Phase::Resolve]), report)?;
    connection::connect(config, &scrape.notes, at(&[Phase::Connect]), report)?;
    if config.url.https {
        // A server may check a client certificate only after the handshake.
        let error = at(&[Phase::Tls]).or_else(|| error.filter(|error| error.is_tls()));
        connection::tls(config, credential, &scrape.notes, error, report)?;
    }
    let Some(body) = scrape.body() else {
        if let Some(error) = error {
            reply::report_failure(config, credential, scrape, error, report);
        }
        return None;
    };
    let all = reply::check_summary(config, credential, &scrape.notes, body, report)?;
    clock::check(&scrape.notes, body, report);
    match (&scrape.result, scrape.wanted()) {
        (Ok(batch), Some(wanted)) => Some(Reply {
            all,
            wanted,
            batch,
            body,
        }),
        // The selected part of the reply is larger than any node can have.
        _ => {
            if let Some(error) = error {
                reply::report_failure(config, credential, scrape, error, report);
            }
            None
        }
    }
}

/// Returns the verdict for a timeout in this phase.
fn timed_out(config: &Config, phase: Phase) -> String {
    let doing = match phase {
        Phase::Queued => "waiting for cpu time",
        Phase::Token => "reading the token",
        Phase::Certificates => "reading the certificates",
        Phase::Resolve => "resolving the kubelet's name",
        Phase::Connect => "connecting",
        Phase::Tls => "in the TLS handshake",
        Phase::Headers => "waiting for the reply",
        Phase::Body => "reading the reply",
    };
    format!("timed out after {:?} {doing}", config.timeout)
}

/// Returns `kubelet_url` with another scheme.
fn url_with_scheme(config: &Config, scheme: &str) -> String {
    let url = &config.url.summary;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let rest = rest.strip_suffix("/stats/summary").unwrap_or(rest);
    format!("{scheme}://{rest}")
}
