//! Which pods are wanted, which of them give a record, and why none is.

use kubeletstats_core::{
    catalogue::Plan, options::Config, scrape::Pipeline, select::Selector, summary::Pod,
};

use super::reply;
use crate::{
    containers::{self, RecordStatus},
    humanize,
    screen::Report,
};

/// Names in one line: nobody reads more.
const MAX_NAMES: usize = 10;

/// The verdict, if nothing failed.
pub fn check(config: &Config, body: &[u8], now: f64, report: &mut Report) -> Option<String> {
    let all = Selector::default().parse(body, Plan::CONTAINERS).ok()?;
    let selector = Selector::new(config);
    let (wanted, others): (Vec<_>, Vec<_>) = all
        .pods
        .iter()
        .partition(|pod| selector.wants(&pod.namespace, &pod.name));
    let total = all.pods_on_node;
    if wanted.is_empty() {
        report_none_wanted(config, &others, total, report);
        return None;
    }
    let mut text = format!(
        "{} of {total} wanted: {}",
        wanted.len(),
        full_names(&wanted)
    );
    if !others.is_empty() {
        text.push_str(&format!("\nnot wanted: {}", full_names(&others)));
    }
    report.ok("pods", &text);
    check_records(config, body, now, report)
}

/// `now` is by the kubelet's clock.
fn check_records(config: &Config, body: &[u8], now: f64, report: &mut Report) -> Option<String> {
    let containers = containers::wanted_containers(config, body).ok()?;
    let without: Vec<_> = containers
        .iter()
        .filter(|container| !container.has_cpu)
        .map(|container| container.name.as_str())
        .collect();
    // What the plugin's own first scrape makes of the same bytes.
    let batch = Pipeline::new(config).run(body, Vec::new()).ok()?;
    let (count, all) = (batch.records(), containers.len());
    let records = humanize::count(count, "record");
    let mut text = format!("{records} from {}", humanize::count(all, "container"));
    if !without.is_empty() {
        let without = humanize::list(&without, MAX_NAMES);
        text.push_str(&format!(", no CPU value: {without}"));
    }
    let status = RecordStatus::of(config, &containers, now);
    if let Some(cause) = status.failure() {
        report.fail("records", &text, &cause);
        advise_no_records(status, report);
        return None;
    }
    if status == RecordStatus::AfterSecondSample {
        let why = "cpu_source counter needs two samples";
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

/// Pods are wanted, and nothing comes of them.
fn advise_no_records(status: RecordStatus, report: &mut Report) {
    match status {
        RecordStatus::NoContainers => {
            report.advise("a pod that has just started has none for some seconds: try again");
            report.advise(
                "if it lasts, the pods run in a sandbox whose containers the kubelet does not see \
                 (gVisor, Kata): its runtime has to report them, and until then there is nothing to record",
            );
        }
        RecordStatus::NoCpu => {
            report.advise(
                "containers that have ended, or started this second, have none: see the pods",
            );
            report.advise(
                "if they run, the kubelet cannot read their cgroups: look for the reason on the node:",
            );
            report.command(reply::KUBELET_LOG);
        }
        _ => {
            report.advise("look on the node for why it takes no samples:");
            report.command(reply::KUBELET_LOG);
        }
    }
}

fn full_names(pods: &[&Pod]) -> String {
    let mut names: Vec<_> = pods.iter().map(|pod| containers::full_name(pod)).collect();
    names.sort();
    humanize::list(&names, MAX_NAMES)
}

fn report_none_wanted(config: &Config, pods: &[&Pod], total: usize, report: &mut Report) {
    if pods.is_empty() {
        report.fail(
            "pods",
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
        "none of the node's {} is wanted",
        humanize::count(total, "pod")
    );
    text.push_str(&format!("\nthey are: {}", full_names(pods)));
    report.fail(
        "pods",
        &text,
        "the options want none of the pods on this node",
    );
    for hint in hints(config, pods) {
        report.advise(hint);
    }
    report.advise("if the pods run on another node, this is as it should be: check there");
}

/// Which namespace or prefix may have been meant.
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
            humanize::list(&[containers::full_name(pod)], 1)
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

/// The same but for two letters, in names that are longer than four.
fn is_similar(a: &str, b: &str) -> bool {
    a.len().min(b.len()) > 4 && distance(a, b) <= 2
}

/// Letters to insert, leave out or change, by Levenshtein.
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
