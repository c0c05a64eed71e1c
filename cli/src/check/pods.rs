//! Reports which pods are selected, which of them have a record, and why none has.

use std::collections::HashSet;

use kubeletstats_core::{
    facts::{LabelSelector, PodFacts},
    health::Missing,
    options::{Config, CpuSource, Exclude},
    scrape::Pipeline,
    select::Selector,
    summary::Pod,
};

use super::{Reply, clock, reply};
use crate::{
    humanize,
    records::{self, MAX_NAMES, Outcome, RecordStatus},
    scrape::Scrape,
    screen::Report,
};

/// The annotation on a pod that opts out of records.
const OPT_OUT: &str = "kubeletstats.io/exclude";

/// Returns the verdict if nothing failed.
pub fn check(
    config: &Config,
    scrape: &Scrape,
    reply: &Reply,
    report: &mut Report,
) -> Option<String> {
    if config.plan.wants_pods() {
        check_wanted(config, scrape.pipeline(), reply, report)?;
    }
    check_records(config, clock::kubelet_now(&scrape.notes), reply, report)
}

/// Returns `None` if there is no record because no pod is selected.
fn check_wanted(
    config: &Config,
    pipeline: &Pipeline,
    reply: &Reply,
    report: &mut Report,
) -> Option<()> {
    let wanted: Vec<_> = reply.wanted.pods.iter().collect();
    let names: HashSet<_> = wanted.iter().map(|pod| records::full_name(pod)).collect();
    let is_wanted = |pod: &&Pod| names.contains(&records::full_name(pod));
    let others: Vec<_> = reply
        .all
        .pods
        .iter()
        .filter(|pod| !is_wanted(pod))
        .collect();
    let total = reply.all.pods_on_node;
    if wanted.is_empty() {
        // The node's own records are made even if no pod is selected.
        let comes_to_nothing = reply.batch.records() == 0;
        report_none_wanted(config, pipeline, &others, total, comes_to_nothing, report);
        return (!comes_to_nothing).then_some(());
    }
    let mut text = format!(
        "{} of {total} selected: {}",
        wanted.len(),
        full_names(&wanted)
    );
    if !others.is_empty() {
        text.push_str(&format!("\nnot selected: {}", full_names(&others)));
    }
    report.ok("pods", &text);
    Some(())
}

/// `now` is the time by the kubelet's clock.
fn check_records(config: &Config, now: f64, reply: &Reply, report: &mut Report) -> Option<String> {
    let outcome = Outcome::of(config, reply.batch, &reply.wanted, reply.body, now);
    let records = humanize::count(outcome.records.len(), "record");
    let mut text = match config.plan.wants_other_kinds() {
        true => format!("{records}: {}", outcome.by_kind(config)),
        false => {
            let containers = humanize::count(outcome.containers, "container");
            format!("{records} from {containers}")
        }
    };
    let without = &outcome.without_cpu;
    if !without.is_empty() {
        let without = humanize::list(without, MAX_NAMES);
        text.push_str(&format!(", no CPU value: {without}"));
    }
    if let Some(cause) = outcome.status.failure(config) {
        report.fail("records", &text, &cause);
        advise_no_records(outcome.status, report);
        return None;
    }
    if outcome.status == RecordStatus::AfterSecondSample {
        let why = match config.cpu_source {
            CpuSource::Counter => "cpu_source counter needs two samples",
            _ => "the kubelet has no rate of its own, and one of its counter needs two samples",
        };
        report.ok("records", &format!("{text}\n{why}"));
        return Some("metrics arrive: records from the second sample on".to_owned());
    }
    match without.is_empty() {
        true => report.ok("records", &text),
        false => {
            let why = "a container that has ended has none: no record is made of it";
            report.warn("records", &format!("{text}\n{why}"));
        }
    }
    Some(format!("metrics arrive: {records} in the first scrape"))
}

/// Advises what to do if pods are selected but have no records.
fn advise_no_records(status: RecordStatus, report: &mut Report) {
    match status {
        RecordStatus::Missing(Missing::Containers) => {
            report.advise("a pod that has just started has none for some seconds: try again");
            report.advise(
                "if it lasts, the pods run in a sandbox whose containers the kubelet does not see \
                 (gVisor, Kata): its runtime has to report them, and until then there is nothing to record",
            );
        }
        RecordStatus::Missing(Missing::Cpu { .. } | Missing::Samples { .. }) => {
            report.advise(
                "containers that have ended, or started this second, have none: see the pods",
            );
            report.advise(
                "if they run, the kubelet cannot read their cgroups: look for the reason on the node:",
            );
            report.command(reply::KUBELET_LOG);
        }
        RecordStatus::Missing(Missing::Others { .. }) => {
            report.advise(
                "volumes are measured once a minute: if it has just started, try again; else see \
                 whether pods have what metric_groups names",
            );
        }
        RecordStatus::ContainersExcluded | RecordStatus::Missing(Missing::ContainersExcluded) => {
            report.advise("take the name out of exclude_container")
        }
        RecordStatus::Ended => {
            report.advise("see the pods: what has ended gives no record until it starts again");
        }
        RecordStatus::Stale(_) => {
            report.advise("look on the node for why it takes no samples:");
            report.command(reply::KUBELET_LOG);
        }
        RecordStatus::Records | RecordStatus::AfterSecondSample => {}
    }
}

fn full_names(pods: &[&Pod]) -> String {
    let mut names: Vec<_> = pods.iter().map(|pod| records::full_name(pod)).collect();
    names.sort();
    humanize::list(&names, MAX_NAMES)
}

fn report_none_wanted(
    config: &Config,
    pipeline: &Pipeline,
    pods: &[&Pod],
    total: usize,
    is_failure: bool,
    report: &mut Report,
) {
    let mut say = |text: &str, cause: &str| match is_failure {
        true => report.fail("pods", text, cause),
        false => report.warn("pods", text),
    };
    if pods.is_empty() {
        say(
            "the kubelet lists no pods, though every pod of its node belongs there",
            "the kubelet lists no pods",
        );
        report.advise("a kubelet that has just started has none yet: try again in a minute");
        report.advise(
            "if pods run on this node, the kubelet does not hear of them from its container runtime, or \
             cannot read their cgroups (containerRuntimeEndpoint, cgroupDriver): look for the reason on \
             the node:",
        );
        report.command(reply::KUBELET_LOG);
        return;
    }
    let mut text = format!(
        "none of the node's {} is selected",
        humanize::count(total, "pod")
    );
    text.push_str(&format!("\nthey are: {}", full_names(pods)));
    say(&text, "the options select none of the pods on this node");
    let mut without_exclusions = config.clone();
    without_exclusions.exclude = Exclude::default();
    let without_exclusions = Selector::new(&without_exclusions);
    let (mut named, others): (Vec<&Pod>, Vec<&Pod>) = pods
        .iter()
        .partition(|pod| without_exclusions.wants(&pod.namespace, &pod.name));
    named.sort_by_key(|pod| records::full_name(pod));
    let hints = match named.is_empty() {
        true => hints(config, &others),
        false => what_drops(config, pipeline, &named),
    };
    for hint in hints {
        report.advise(hint);
    }
    report.advise("if the pods run on another node, this is as it should be: check there");
}

/// Returns which option, or the pod itself, drops pods that match `namespace` and
/// `pod_prefix`.
fn what_drops(config: &Config, pipeline: &Pipeline, pods: &[&Pod]) -> Vec<String> {
    let exclude = &config.exclude;
    let selector = Selector::new(config);
    let mut dropped: Vec<([String; 2], Vec<&Pod>)> = Vec::new();
    for &pod in pods {
        let why = match pipeline.facts_of(pod) {
            _ if exclude.namespaces.iter().any(|one| *one == pod.namespace) => {
                ["exclude_namespace drops".to_owned(), String::new()]
            }
            _ if !selector.wants(&pod.namespace, &pod.name) => {
                ["exclude_pod_prefix drops".to_owned(), String::new()]
            }
            Some(facts) if facts.opted_out => {
                [format!("the annotation {OPT_OUT} drops"), String::new()]
            }
            Some(facts) => match &config.label_selector {
                Some(selector) => [
                    "label_selector does not choose".to_owned(),
                    format!(
                        ": of its labels they have {}",
                        labels_instead(selector, facts)
                    ),
                ],
                None => continue,
            },
            None => [
                "label_selector selects no pod without facts, and /pods does not tell of"
                    .to_owned(),
                String::new(),
            ],
        };
        match dropped.iter_mut().find(|(other, _)| *other == why) {
            Some((_, pods)) => pods.push(pod),
            None => dropped.push((why, vec![pod])),
        }
    }
    let hint = |([before, behind], pods): &([String; 2], Vec<&Pod>)| {
        format!("{before} {}{behind}", full_names(pods))
    };
    dropped.iter().take(MAX_NAMES).map(hint).collect()
}

/// Returns the pod's labels with the keys of the selector.
fn labels_instead(selector: &LabelSelector, facts: &PodFacts) -> String {
    let label = |key: &str| {
        let (_, value) = facts.labels.iter().find(|(name, _)| **name == *key)?;
        Some(format!("{key}={value}"))
    };
    let labels: Vec<_> = selector.keys().into_iter().filter_map(label).collect();
    match labels.is_empty() {
        true => "none".to_owned(),
        false => humanize::list(&labels, MAX_NAMES),
    }
}

/// Suggests which namespace or prefix the user may have meant.
fn hints(config: &Config, pods: &[&Pod]) -> Vec<String> {
    let (namespaces, prefixes) = (&config.namespaces, &config.pod_prefixes);
    let starts = |pod: &&&Pod| {
        prefixes.is_empty()
            || prefixes
                .iter()
                .any(|prefix| pod.name.starts_with(prefix.as_str()))
    };
    let mut hints = Vec::new();
    let by_prefix: Vec<_> = pods.iter().copied().filter(|pod| starts(&pod)).collect();
    let present = unique(pods.iter().map(|pod| pod.namespace.as_ref()));
    if !prefixes.is_empty() && !by_prefix.is_empty() {
        let elsewhere = unique(by_prefix.iter().map(|pod| pod.namespace.as_ref()));
        let elsewhere = humanize::list(&elsewhere, MAX_NAMES);
        hints.push(format!(
            "pods of that prefix are in namespace {elsewhere}: set namespace to it"
        ));
    }
    for namespace in namespaces
        .iter()
        .filter(|name| !present.contains(&name.as_str()))
    {
        let like: Vec<_> = present
            .iter()
            .filter(|one| is_similar(one, namespace))
            .collect();
        let shown = humanize::list(&[namespace], 1);
        hints.push(match like.first() {
            Some(like) => format!(
                "there is no namespace {shown} here, but {}",
                humanize::list(&[like], 1)
            ),
            None => format!(
                "there is no namespace {shown} here: there are {}",
                humanize::list(&present, MAX_NAMES)
            ),
        });
    }
    let in_namespace = |pod: &&&Pod| {
        namespaces.is_empty() || namespaces.iter().any(|wanted| *wanted == pod.namespace)
    };
    let candidates: Vec<_> = pods
        .iter()
        .copied()
        .filter(|pod| in_namespace(&pod))
        .collect();
    if !candidates.is_empty() && by_prefix.is_empty() {
        hints.extend(
            prefixes
                .iter()
                .map(|prefix| prefix_hint(prefix, &candidates)),
        );
    }
    hints
}

fn prefix_hint(prefix: &str, pods: &[&Pod]) -> String {
    let shown = humanize::list(&[prefix], 1);
    let near = pods.iter().find(|pod| {
        let start: String = pod.name.chars().take(prefix.chars().count()).collect();
        pod.name.contains(prefix) || is_similar(&start, prefix)
    });
    match near {
        Some(pod) => format!(
            "no pod's name starts with {shown}, but there is {}",
            humanize::list(&[records::full_name(pod)], 1)
        ),
        None => format!(
            "no pod's name starts with {shown}: prefixes are compared from the name's start"
        ),
    }
}

fn unique<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether the names differ in at most two letters. Names of four letters or less are never
/// similar.
fn is_similar(a: &str, b: &str) -> bool {
    a.len().min(b.len()) > 4 && distance(a, b) <= 2
}

/// The Levenshtein distance: how many letters to insert, delete or change.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(253).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().take(253).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses() {
        for (a, b) in [("default", "defualt"), ("payments", "payment")] {
            assert!(is_similar(a, b), "{a} {b}");
        }
        for (a, b) in [("default", "other"), ("dev", "prd"), ("", "abc")] {
            assert!(!is_similar(a, b), "{a} {b}");
        }
    }
}
