//! `kubeletstats check`: does one scrape, with the plugin's own code, and reports each step
//! of it. The steps are in the modules below, in the order of [`report_steps`].

pub mod clock;
mod connection;
mod credentials;
mod permissions;
mod pods;
mod reply;

use std::time::{Duration, Instant};

use kubeletstats_core::{
    error::{Error, Phase, Reason},
    kubelet::{
        Client, deadline,
        observer::{Notes, Observer},
    },
    options::Config,
};

use self::credentials::Credential;
use crate::{
    inputs::Input,
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

/// One scrape: what happened, and the kubelet's body or the error.
struct Scrape {
    notes: Notes,
    took: Duration,
    phase: Phase,
    result: Result<Vec<u8>, Error>,
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

/// Whether the files let the plugin start. It reads certificates and keys then, and the
/// token with each scrape.
pub fn plugin_would_start(config: &Config) -> bool {
    let signal = deadline::stop_pair().map(|(_, signal)| signal);
    watchdog::watch(config, || {
        signal.is_ok_and(|signal| Client::new(config, signal).is_ok())
    })
}

/// Every step from the token to the records; returns the verdict if none failed.
fn run_steps(config: &Config, report: &mut Report) -> Option<String> {
    let credential = credentials::check(config, report)?;
    let scrape = match scrape(config) {
        Ok(scrape) => scrape,
        Err(error) => {
            // Files were looked at before: one has changed since, or the key
            // does not belong to its certificate.
            report.fail("files", &error.to_string(), "a file cannot be used");
            return None;
        }
    };
    let body = report_steps(config, &credential, &scrape, report)?;
    pods::check(config, body, clock::kubelet_now(&scrape.notes), report)
}

fn scrape(config: &Config) -> Result<Scrape, Error> {
    watchdog::watch(config, || scrape_once(config))
}

fn scrape_once(config: &Config) -> Result<Scrape, Error> {
    let (_stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
    let observer = Observer::enabled();
    let mut client = Client::with_observer(config, signal, observer.clone())?;
    let began = Instant::now();
    let result = client.summary();
    Ok(Scrape {
        took: began.elapsed(),
        notes: observer.notes(),
        phase: client.phase(),
        result,
    })
}

/// Reports every step that the scrape reached; returns the body if it got one.
fn report_steps<'s>(
    config: &Config,
    credential: &Credential,
    scrape: &'s Scrape,
    report: &mut Report,
) -> Option<&'s [u8]> {
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
        // A client certificate may be judged only after the handshake.
        let error = at(&[Phase::Tls]).or_else(|| error.filter(|error| error.is_tls()));
        connection::tls(config, credential, &scrape.notes, error, report)?;
    }
    match &scrape.result {
        Ok(body) => {
            reply::check_summary(config, credential, scrape.took, body, report)?;
            clock::check(&scrape.notes, body, report);
            Some(body)
        }
        Err(error) => {
            reply::report_failure(config, credential, scrape, error, report);
            None
        }
    }
}

/// The verdict on a timeout in this phase.
fn timed_out(config: &Config, phase: Phase) -> String {
    let doing = match phase {
        Phase::Queued => "waiting for a turn",
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

/// `kubelet_url` with another scheme.
fn url_with_scheme(config: &Config, scheme: &str) -> String {
    let url = &config.url.summary;
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let rest = rest.strip_suffix("/stats/summary").unwrap_or(rest);
    format!("{scheme}://{rest}")
}
