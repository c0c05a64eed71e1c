//! Checks whether `/pods` answers, and which of the selected pods it has. Records are
//! complete without it except for the facts, so a failure is only a warning, unless
//! labels select the pods.

use kubeletstats_core::{error::Error, kubelet::refusal::Cause, options::Config};

use super::{Reply, credentials::Credential, permissions};
use crate::{
    humanize,
    records::{self, MAX_NAMES},
    scrape::Scrape,
    screen::Report,
};

/// Returns `None` if no pod is selected because there are no facts.
pub fn check(
    config: &Config,
    credential: &Credential,
    scrape: &Scrape,
    reply: &Reply,
    report: &mut Report,
) -> Option<()> {
    let rights = format!("rights needed: get on {}", permissions::rights(config));
    match &reply.batch.facts {
        None => {}
        Some(Ok(_)) => report_found(scrape, reply, &rights, report),
        Some(Err(error)) => {
            return report_failure(config, credential, scrape, error, &rights, report);
        }
    }
    Some(())
}

fn report_found(scrape: &Scrape, reply: &Reply, rights: &str, report: &mut Report) {
    let (mut pods, mut containers, mut all_containers) = (0, 0, 0);
    let mut without = Vec::new();
    for pod in &reply.wanted.pods {
        all_containers += pod.containers.len();
        let Some(facts) = scrape.pipeline().facts_of(pod) else {
            without.push(records::full_name(pod));
            continue;
        };
        pods += 1;
        for container in &pod.containers {
            match facts.container(&container.name) {
                Some(_) => containers += 1,
                None => without.push(format!("{}/{}", records::full_name(pod), container.name)),
            }
        }
    }
    let (size, took) = match &scrape.pods_notes.reply {
        Some(reply) => (reply.size, humanize::elapsed(reply.took)),
        None => Default::default(),
    };
    let mut text = format!("/pods: 200, {size} bytes after {took}: ");
    text.push_str(&match reply.wanted.pods.len() {
        0 => "no pod is selected".to_owned(),
        all => format!(
            "facts of {pods} of {}",
            humanize::count(all, "selected pod")
        ),
    });
    if all_containers > 0 {
        let all_containers = humanize::count(all_containers, "container");
        text.push_str(&format!(", of {containers} of {all_containers}"));
    }
    text.push_str(&format!("\n{rights}"));
    if without.is_empty() {
        return report.ok("facts", &text);
    }
    let without = humanize::list(&without, MAX_NAMES);
    text.push_str(&format!(
        "\nno facts of {without}: what has just started gets them with a later scrape"
    ));
    report.warn("facts", &text);
}

fn report_failure(
    config: &Config,
    credential: &Credential,
    scrape: &Scrape,
    error: &Error,
    rights: &str,
    report: &mut Report,
) -> Option<()> {
    let refusal = scrape.pods_notes.reply.as_ref();
    let refusal = refusal.and_then(|reply| reply.refusal.as_ref());
    let lacks_right = refusal.filter(|refusal| refusal.cause == Cause::MissingPermission);
    let mut text = error.to_string();
    // The error line of a 403 does not quote the reply.
    if let Some(refusal) = lacks_right.filter(|refusal| !refusal.message.is_empty()) {
        text.push_str(&format!("\nit said: {}", refusal.message));
    }
    text.push_str(&format!("\n{rights}"));
    let keeps_none = config.label_selector.is_some() && config.plan.wants_pods();
    if keeps_none {
        let cause = match lacks_right {
            Some(refusal) => format!("the right to get {} is missing", refusal.missing_resource()),
            None => "the kubelet does not tell of its pods".to_owned(),
        };
        let cause = format!("{cause}, and label_selector selects no pod without facts");
        report.fail("facts", &text, &cause);
    } else {
        text.push_str("\nrecords come without facts until it answers");
        report.warn("facts", &text);
    }
    if let Some(refusal) = lacks_right {
        permissions::advise(refusal, config, credential, report);
    }
    (!keeps_none).then_some(())
}
