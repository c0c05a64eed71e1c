//! Processors on the input, in YAML: what they do to metrics with Prometheus' names, which
//! are appended decoded, and that they do not see those with OpenTelemetry's.

use std::collections::BTreeSet;

use sim_kubelet::SimKubelet;
use testkit::{Child, Host};

use crate::{
    client,
    common::{
        proc::{Scratch, free_port},
        run::stop,
    },
    exposition::Page,
    otlp::{self, Resource},
    scene::{self, POINTS, each_since, eventually, kubelet},
    server::Server,
};

/// Lines that stand under `processors: metrics:`.
fn configuration(
    kubelet: &SimKubelet,
    names: &str,
    processors: &str,
    output: &str,
    port: u16,
    more: &str,
) -> String {
    let url = kubelet.url();
    let token = kubelet.token_file().display().to_string();
    let processors: String = processors
        .lines()
        .map(|line| format!("          {line}\n"))
        .collect();
    format!(
        "service:\n  flush: 0.2\npipeline:\n  inputs:\n    - name: kubeletstats\n      \
         kubelet_url: {url}\n      kube_token_file: {token}\n      interval: 500ms\n      \
         format: metrics\n      metric_names: {names}\n      metric_groups: all\n      \
         fields: all\n      processors:\n        metrics:\n{processors}  outputs:\n    \
         - name: {output}\n      match: '*'\n      host: 127.0.0.1\n      port: {port}\n{more}"
    )
}

/// The page of an exporter behind these processors, once it is `wanted`.
fn page(host: &Host, processors: &str, wanted: impl Fn(&Page) -> bool) -> Page {
    let (kubelet, folder, port) = (kubelet(), Scratch::new("processors"), free_port());
    let text = configuration(
        &kubelet,
        "prometheus",
        processors,
        "prometheus_exporter",
        port,
        "",
    );
    let command = scene::command(host, &folder, "fluent-bit.yaml", &text);
    let child = Child::spawn(command).expect("the host starts");
    let page = eventually(&child, processors, || {
        let text = client::get_text(port, "/metrics").map_err(|error| error.to_string())?;
        let page = Page::parse(&text)?;
        match wanted(&page) {
            true => Ok(page),
            false => Err(format!("{} series", page.series.len())),
        }
    });
    stop(child);
    page
}

/// What a collector gets that is behind these processors, once it is `wanted`.
fn request(
    host: &Host,
    names: &str,
    processors: &str,
    wanted: impl Fn(&[Resource]) -> bool,
) -> Vec<Resource> {
    let (kubelet, folder, server) = (kubelet(), Scratch::new("processors"), Server::start("{}"));
    let more = "      metrics_uri: /v1/metrics\n";
    let text = configuration(
        &kubelet,
        names,
        processors,
        "opentelemetry",
        server.port,
        more,
    );
    let command = scene::command(host, &folder, "fluent-bit.yaml", &text);
    let child = Child::spawn(command).expect("the host starts");
    let mut looked_at = 0;
    let found = eventually(&child, processors, || {
        let requests = server.requests();
        let next = requests.get(looked_at).ok_or("no such request yet")?;
        looked_at += 1;
        let resources = otlp::decode(&next.body).unwrap_or_else(|error| panic!("{error}"));
        match wanted(&resources) {
            true => Ok(resources),
            false => Err(format!(
                "{looked_at} requests, {} resources",
                resources.len()
            )),
        }
    });
    stop(child);
    found
}

fn names(page: &Page) -> BTreeSet<&str> {
    page.series.iter().map(|series| &*series.name).collect()
}

const CPU: &str = "container_cpu_usage_seconds_total";

#[test]
fn labels() {
    const PROCESSORS: &str = "- name: labels\n  insert: env test\n  upsert: scope other\n  \
                              delete: cpu\n  hash: pod";
    each_since((2, 2, 0), |host| {
        let page = page(host, PROCESSORS, |page| names(page).contains(CPU));
        let all = page.series.iter();
        assert!(all.clone().all(|series| series.labels["env"] == "test"));
        assert!(all.clone().all(|series| series.labels["node"] == "vm"));
        assert!(all.clone().all(|series| series.labels["scope"] == "other"));
        let cpu: Vec<_> = page.find(CPU, &[]).collect();
        assert!(
            cpu.iter().all(|series| !series.labels.contains_key("cpu")),
            "{cpu:?}"
        );
        let is_hash = |pod: &String| pod.len() == 64 && pod.bytes().all(|b| b.is_ascii_hexdigit());
        let pods = cpu.iter().filter_map(|series| series.labels.get("pod"));
        // The root series has no pod.
        assert!(
            pods.clone().filter(|pod| is_hash(pod)).count() >= 20,
            "{cpu:?}"
        );
    });
}

#[test]
fn the_selector_keeps_or_drops_and_loses_no_label() {
    each_since(POINTS, |host| {
        let include =
            "- name: metrics_selector\n  metric_name: /^container_cpu/\n  action: include";
        let page_of = page(host, include, |page| !page.series.is_empty());
        assert_eq!(names(&page_of), BTreeSet::from([CPU]));
        assert!(
            page_of
                .series
                .iter()
                .all(|series| series.labels["node"] == "vm")
        );
        let by_name = format!("- name: metrics_selector\n  metric_name: {CPU}\n  action: include");
        let page_of = page(host, &by_name, |page| !page.series.is_empty());
        assert_eq!(names(&page_of), BTreeSet::from([CPU]));
        let exclude = "- name: metrics_selector\n  metric_name: /^container_/\n  action: exclude";
        let page_of = page(host, exclude, |page| !page.series.is_empty());
        assert!(
            names(&page_of)
                .iter()
                .all(|name| !name.starts_with("container_"))
        );
        assert!(names(&page_of).contains("kubeletstats_up"));
        assert!(
            page_of
                .series
                .iter()
                .all(|series| series.labels["node"] == "vm")
        );
    });
}

const MODIFIER: &str = "- name: content_modifier\n  context: otel_resource_attributes\n  action: upsert\n  key: region\n  value: eu";

#[test]
fn the_modifier_adds_to_the_resource() {
    each_since(POINTS, |host| {
        // A host that is behind sends two scrapes at once.
        let is_one = |resources: &[Resource]| resources.len() == 1;
        let found = request(host, "prometheus", MODIFIER, is_one);
        assert_eq!(found[0].attributes["region"], "eu");
        assert_eq!(found[0].attributes["k8s.node.name"], "vm");
        assert!(found[0].metrics.iter().any(|metric| metric.name == CPU));
    });
}

/// Deltas come with the second sample, so there has to be one.
#[test]
fn cumulative_to_delta() {
    each_since((5, 0, 0), |host| {
        let found = request(
            host,
            "prometheus",
            "- name: cumulative_to_delta",
            |resources| {
                let mut metrics = resources.iter().flat_map(|one| &one.metrics);
                metrics.any(|metric| metric.name == CPU && !metric.points.is_empty())
            },
        );
        let mut metrics = found.iter().flat_map(|one| &one.metrics);
        let cpu = metrics
            .find(|metric| metric.name == CPU)
            .expect("it was there");
        assert!(cpu.is_sum && cpu.is_monotonic);
        assert_eq!(cpu.temporality, 1, "delta");
        // Twenty seconds of a core and a half at most lie between two samples.
        assert!(
            cpu.points
                .iter()
                .all(|point| (0.0..100.0).contains(&point.value)),
            "{cpu:?}"
        );
    });
}

/// They are appended as they are, a context for each resource, past the input's processors.
#[test]
fn processors_of_the_input_do_not_see_opentelemetrys_names() {
    each_since(POINTS, |host| {
        for processors in [
            "- name: labels\n  insert: env test",
            "- name: metrics_selector\n  metric_name: /^nothing/\n  action: include",
            MODIFIER,
        ] {
            let found = request(host, "opentelemetry", processors, |resources| {
                resources.len() > 20
            });
            let attributes = found.iter().map(|one| &one.attributes);
            assert!(attributes.clone().all(|all| !all.contains_key("region")));
            let points = found
                .iter()
                .flat_map(|one| &one.metrics)
                .flat_map(|one| &one.points);
            assert!(points.clone().count() > 500);
            assert!(
                points
                    .clone()
                    .all(|point| !point.attributes.contains_key("env"))
            );
        }
    });
}
