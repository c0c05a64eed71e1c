//! Owns `/metrics/resource`: the summary's CPU, memory and swap, as a kubelet writes them
//! for Prometheus. This module is pure. It knows no clock and no socket.

use std::fmt::Write;

use crate::{
    clock::parse_rfc3339,
    model::{ContainerStats, CpuStats, MemoryStats, PodStats, Summary, SwapStats},
};

/// Returns the families in the order of their names, and in each the series in the order
/// of their labels.
pub fn page(summary: &Summary) -> String {
    let node = summary.node.value();
    let pods: Vec<&PodStats> = summary.pods.iter().flatten().collect();
    let containers: Vec<(&PodStats, &ContainerStats)> = pods
        .iter()
        .flat_map(|pod| pod.containers.iter().map(|container| (*pod, container)))
        .collect();
    let of_containers = |value: &dyn Fn(&ContainerStats) -> String| -> Vec<String> {
        let line = |(pod, one): &(&PodStats, &ContainerStats)| {
            let value = value(one);
            format!("{{container=\"{}\",{}}} {value}", one.name, labels(pod))
        };
        containers.iter().map(line).collect()
    };
    let of_pods = |value: &dyn Fn(&PodStats) -> String| -> Vec<String> {
        let line = |pod: &&PodStats| format!("{{{}}} {}", labels(pod), value(pod));
        pods.iter().map(line).collect()
    };
    let of_node = |value: Option<String>| value.map(|value| format!(" {value}"));

    let mut out = String::with_capacity(256 * (containers.len() + pods.len()) + 2_048);
    let mut family = |name: &str, help: &str, kind: &str, mut lines: Vec<String>| {
        if lines.is_empty() {
            return;
        }
        lines.sort_unstable();
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for line in lines {
            let _ = writeln!(out, "{name}{line}");
        }
    };
    family(
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        "counter",
        of_containers(&|one| cpu(&one.cpu)),
    );
    family(
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        "gauge",
        of_containers(&|one| memory(&one.memory)),
    );
    family(
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        "gauge",
        of_containers(&|one| number(ms(&one.start_time) as f64 / 1e3)),
    );
    family(
        "node_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        "counter",
        Vec::from_iter(of_node(node.cpu.as_ref().map(cpu))),
    );
    family(
        "node_memory_working_set_bytes",
        "[STABLE] Current working set of the node in bytes",
        "gauge",
        Vec::from_iter(of_node(node.memory.as_ref().map(memory))),
    );
    family(
        "node_swap_usage_bytes",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        "gauge",
        Vec::from_iter(of_node(node.swap.as_ref().and_then(swap))),
    );
    family(
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        "counter",
        of_pods(&|pod| cpu(&pod.cpu.value())),
    );
    family(
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        "gauge",
        of_pods(&|pod| memory(&pod.memory.value())),
    );
    family(
        "resource_scrape_error",
        "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise",
        "gauge",
        vec![" 0".to_owned()],
    );
    out
}

fn labels(pod: &PodStats) -> String {
    let pod = &pod.pod_ref;
    format!("namespace=\"{}\",pod=\"{}\"", pod.namespace, pod.name)
}

fn cpu(stats: &CpuStats) -> String {
    at(stats.usage_core_nano_seconds as f64 / 1e9, &stats.time)
}

fn memory(stats: &MemoryStats) -> String {
    at(stats.working_set_bytes as f64, &stats.time)
}

fn swap(stats: &SwapStats) -> Option<String> {
    Some(at(stats.swap_usage_bytes? as f64, &stats.time))
}

fn at(value: f64, time: &str) -> String {
    format!("{} {}", number(value), ms(time))
}

fn ms(time: &str) -> u64 {
    parse_rfc3339(time).unwrap_or_default()
}

/// Writes a number in the shortest form of Go. From a million on, and below a ten
/// thousandth, it has an exponent of two digits.
fn number(value: f64) -> String {
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or_default() {
        -4..=20 if value.abs() < 1e6 => value.to_string(),
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUMMARY: &[u8] = include_bytes!("../../fixtures/02-steady-open.summary.json");
    const PAGE: &str = include_str!("../../fixtures/02-steady-open.metrics-resource.txt");

    /// The times in a summary are rounded down to whole seconds, but those of the page
    /// are not.
    fn in_seconds(line: &str) -> String {
        let started = line.starts_with("container_start_time_seconds{");
        match line.rsplit_once(' ') {
            Some((start, value)) if started => {
                let value: f64 = value.parse().expect("a number");
                format!("{start} {}", value as u64)
            }
            Some((start, time)) if line.contains(' ') && time.len() == 13 => {
                let time: u64 = time.parse().expect("milliseconds");
                format!("{start} {}", time / 1_000)
            }
            _ => line.to_owned(),
        }
    }

    #[test]
    fn the_page_of_a_captured_summary_is_the_captured_page() {
        let summary: Summary = serde_json::from_slice(SUMMARY).expect("a summary");
        let page = page(&summary);
        for (made, captured) in page.lines().zip(PAGE.lines()) {
            assert_eq!(in_seconds(made), in_seconds(captured));
        }
        assert_eq!(page.lines().count(), PAGE.lines().count());
        assert_eq!(page.ends_with('\n'), PAGE.ends_with('\n'));
    }

    #[test]
    fn numbers_as_go_writes_them() {
        let rows = [
            (0.0, "0"),
            (503_808.0, "503808"),
            (1_273_856.0, "1.273856e+06"),
            (1_676.068152486, "1676.068152486"),
            (0.00005, "5e-05"),
            (0.0001, "0.0001"),
            (1_795_253_377.0, "1.795253377e+09"),
        ];
        for (value, text) in rows {
            assert_eq!(number(value), text);
        }
    }
}
