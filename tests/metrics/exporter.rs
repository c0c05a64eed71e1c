//! The page of `prometheus_exporter`: what it says, and what it no longer says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sim_kubelet::{Fault, SimKubelet};
use testkit::{Child, Host};

use crate::{
    client,
    common::{
        proc::free_port,
        run::{Line, stop},
    },
    exposition::Page,
    scene::{self, ALL, METRICS, each_exporter, eventually, kubelet, real_hosts, with},
    truth::{self, Expected, is_equal},
};

/// A host with an exporter, and its page.
pub struct Exporter {
    pub child: Child,
    pub port: u16,
}

impl Exporter {
    pub fn start(host: &Host, kubelet: &SimKubelet, options: &[(&str, &str)]) -> Self {
        let port = free_port();
        let text = port.to_string();
        let of_output = [("host", "127.0.0.1"), ("port", text.as_str())];
        let child = scene::start(host, kubelet, options, "prometheus_exporter", &of_output);
        Self { child, port }
    }

    fn text(&self) -> Result<String, String> {
        let text = client::get_text(self.port, "/metrics");
        text.map_err(|error| error.to_string())
    }

    /// One that breaks the format for good fails the test: see [`ALL`] for one that does so
    /// for once.
    pub fn page(&self) -> Result<Page, String> {
        Page::parse(&self.text()?)
    }

    /// What there is of several inputs, which is one behind the other, each with its families.
    pub fn pages(&self) -> Result<Vec<Page>, String> {
        let text = self.text()?;
        let first = text.split_inclusive('\n').next().unwrap_or("\n");
        let others = text.split(first).skip(1);
        others
            .map(|rest| Page::parse(&format!("{first}{rest}")))
            .collect()
    }

    pub fn page_now(&self) -> Page {
        eventually(&self.child, "a page", || self.page())
    }

    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Page) -> bool) -> Page {
        eventually(&self.child, what, || {
            let page = self.page()?;
            match wanted(&page) {
                true => Ok(page),
                false => Err("not yet".to_owned()),
            }
        })
    }
}

/// What the page has otherwise.
fn complaints(page: &Page, expected: &[Expected]) -> Vec<String> {
    let wrong = expected.iter().filter_map(|expected| {
        let labels: Vec<_> = expected
            .labels
            .iter()
            .map(|(key, value)| (&**key, &**value))
            .collect();
        let found = page.value(&expected.name, &labels);
        let is_right = found.is_some_and(|found| is_equal(found, expected.value));
        (!is_right).then(|| format!("{expected:?}, and the page has {found:?}"))
    });
    wrong.collect()
}

/// The page and all that it has to have, with these labels, both of one moment.
pub fn settled(
    exporter: &Exporter,
    kubelet: &SimKubelet,
    labels: &[(&str, &str)],
) -> (Page, Vec<Expected>) {
    settled_by(exporter, kubelet, labels, || exporter.page())
}

pub fn settled_by(
    exporter: &Exporter,
    kubelet: &SimKubelet,
    labels: &[(&str, &str)],
    page: impl Fn() -> Result<Page, String>,
) -> (Page, Vec<Expected>) {
    eventually(&exporter.child, "a page of the kubelet's reply", || {
        let mut expected = truth::of_summary(&truth::page(kubelet, "/stats/summary"));
        expected.extend(truth::of_pods(&truth::page(kubelet, "/pods")));
        for (key, value) in labels {
            let all = expected.iter_mut().map(|expected| &mut expected.labels);
            all.for_each(|all| drop(all.insert((*key).to_owned(), (*value).to_owned())));
        }
        let page = page()?;
        let complaints = complaints(&page, &expected);
        match complaints.first() {
            None => Ok((page, expected)),
            Some(first) => Err(format!("{} values, first {first}", complaints.len())),
        }
    })
}

#[test]
fn the_page_has_every_value_of_the_kubelets_reply() {
    each_exporter(|host| {
        let kubelet = kubelet();
        let exporter = Exporter::start(host, &kubelet, &ALL);
        let (page, expected) = settled(&exporter, &kubelet, &[]);
        let families: std::collections::BTreeSet<_> =
            expected.iter().map(|expected| &*expected.name).collect();
        println!(
            "{}: {} series of {} families, {} values of {} families compared",
            host.name,
            page.series.len(),
            page.types.len(),
            expected.len(),
            families.len(),
        );
        assert!(expected.len() > 500 && families.len() >= 45, "{families:?}");
        for family in families {
            let kind = match family.ends_with("_total") && family != "container_fs_inodes_total" {
                true => "counter",
                false => "gauge",
            };
            assert_eq!(page.types[family], kind, "{family}");
            assert!(page.helps.contains_key(family), "{family} has no help");
        }
        assert_eq!(page.value("kubeletstats_up", &[]), Some(1.0));
        let pods = page.value("kubeletstats_pods", &[("state", "selected")]);
        assert_eq!(pods, Some(kubelet.pod_names().len() as f64));
        assert!(
            page.series
                .iter()
                .all(|series| series.labels["node"] == "vm")
        );
        counters_keep_to_the_truth(&exporter, &kubelet);
        stop(exporter.child);
    });
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_millis() as u64
}

/// A counter is what was burned up to some moment that is no older than a sample and a
/// scrape can be.
fn counters_keep_to_the_truth(exporter: &Exporter, kubelet: &SimKubelet) {
    const OLDEST_MS: u64 = 22_000;
    let before = now_ms() - OLDEST_MS;
    let page = exporter.page_now();
    let now = now_ms();
    let mut count = 0;
    for pod in ["default/log-generator-a-vm", "default/log-generator-b-vm"] {
        let truth = kubelet.truth(pod).expect("it is there");
        let (namespace, name) = pod.split_once('/').expect("a namespace");
        for container in truth.containers {
            let labels = [
                ("namespace", namespace),
                ("pod", name),
                ("container", &*container.name),
            ];
            let found = page.value("container_cpu_usage_seconds_total", &labels);
            let found = found.expect("it is on the page");
            let burned = |ms: u64| {
                let lived = ms.saturating_sub(container.start_ms) as f64 / 1e3;
                lived * container.nanocores as f64 / 1e9
            };
            assert!(
                (burned(before)..=burned(now)).contains(&found),
                "{pod}: {found} s, not {} to {}",
                burned(before),
                burned(now)
            );
            count += 1;
        }
    }
    assert!(count >= 2);
}

/// Names that promtool does not like, and that are the kubelet's own.
const THE_KUBELETS_OWN: [&str; 1] =
    ["container_fs_inodes_total non-counter metrics should not have \"_total\" suffix"];

#[test]
fn promtool_finds_nothing_wrong_with_what_is_ours() {
    let is_there = std::process::Command::new("promtool")
        .arg("--version")
        .output();
    if is_there.is_err() {
        return scene::not_run("there is no promtool (Debian package prometheus)");
    }
    each_exporter(|host| {
        let kubelet = kubelet();
        let options = with(&ALL, &[("pod_labels", "*")]);
        let exporter = Exporter::start(host, &kubelet, &options);
        exporter.wait_for("facts", |page| page.types.contains_key("kube_pod_labels"));
        let text = exporter.text().expect("a page");
        let mut promtool = std::process::Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .expect("promtool");
        let mut input = promtool.stdin.take().expect("its input");
        std::io::Write::write_all(&mut input, text.as_bytes()).expect("it reads");
        drop(input);
        let said = promtool.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&said.stderr).into_owned();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines, THE_KUBELETS_OWN, "{}", host.name);
        stop(exporter.child);
    });
}

/// Nothing of the kubelet's is left.
pub fn is_own(page: &Page) -> bool {
    let names = page.series.iter().map(|series| &*series.name);
    const OWN: [&str; 5] = [
        "kubeletstats_up",
        "kubeletstats_build_info",
        "kubeletstats_scrapes_total",
        "kubeletstats_scrape_failures_total",
        "kubeletstats_overruns_total",
    ];
    names.clone().all(|name| OWN.contains(&name)) && names.count() >= 3
}

pub fn up(page: &Page) -> Option<f64> {
    page.value("kubeletstats_up", &[])
}

/// Every series of that pod on the page.
fn series_of(page: &Page, pod: &str) -> usize {
    let of_it = page.series.iter();
    of_it
        .filter(|series| series.labels.get("pod").is_some_and(|name| name == pod))
        .count()
}

#[test]
fn a_pod_that_ends_leaves_the_page_with_the_next_scrape() {
    const POD: &str = "limited-vm";
    each_exporter(|host| {
        let kubelet = kubelet();
        let exporter = Exporter::start(host, &kubelet, &ALL);
        let of_facts = [("pod", POD)];
        let page = exporter.wait_for("the pod and its facts", |page| {
            page.find("kube_pod_info", &of_facts).count() == 1
                && page.find("pod_cpu_usage_seconds_total", &of_facts).count() == 1
        });
        let scrapes = |page: &Page| page.value("kubeletstats_scrapes_total", &[]);
        let others = page.series.len() - series_of(&page, POD);
        assert_eq!(kubelet.remove_pod("default/limited-vm"), 1);
        // What is on its way may have it still: from the reply after the next request on
        // it is gone.
        let requests = kubelet.requests_of("/stats/summary");
        assert!(kubelet.wait_for_requests_of(
            "/stats/summary",
            requests + 2,
            Duration::from_secs(10)
        ));
        let first = scrapes(&exporter.page_now());
        let page = exporter.wait_for("a page without it", |page| {
            let is_next = scrapes(page) > first;
            assert!(
                !is_next || series_of(page, POD) == 0,
                "{}: a scrape later it is still there",
                host.name
            );
            series_of(page, POD) == 0
        });
        assert!(page.series.len() + 40 > others, "others left as well");
        stop(exporter.child);
    });
}

#[test]
fn a_kubelet_that_dies_leaves_nothing_behind_and_comes_back() {
    each_exporter(|host| {
        let kubelet = kubelet();
        let exporter = Exporter::start(host, &kubelet, &ALL);
        let page = exporter.wait_for("a scrape", |page| up(page) == Some(1.0));
        assert!(!is_own(&page));
        assert_eq!(
            page.find("kubeletstats_scrape_failures_total", &[]).count(),
            0
        );
        kubelet.set_fault(Fault::Status(503, "no".to_owned()));
        let page = exporter.wait_for("up 0", |page| up(page) == Some(0.0));
        assert!(is_own(&page), "stale: {:?}", page.series);
        // The same series as before, and no other without the node.
        assert_eq!(page.value("kubeletstats_up", &[("node", "vm")]), Some(0.0));
        // Of one kind, and of another, counted apart.
        let failures = |page: &Page, reason: &str| {
            let labels = [("reason", reason)];
            page.value("kubeletstats_scrape_failures_total", &labels)
        };
        let page = exporter.wait_for("two failures", |page| {
            page.series.iter().any(|series| {
                series.name == "kubeletstats_scrape_failures_total" && series.value >= 2.0
            })
        });
        let first = page.find("kubeletstats_scrape_failures_total", &[]);
        let first: Vec<_> = first
            .map(|series| series.labels["reason"].clone())
            .collect();
        assert_eq!(first.len(), 1, "{first:?}");
        kubelet.set_fault(Fault::EmptyBody);
        let page = exporter.wait_for("another reason", |page| {
            failures(page, "not_summary") >= Some(1.0)
        });
        assert!(failures(&page, &first[0]) >= Some(2.0));
        assert!(is_own(&page), "stale: {:?}", page.series);
        kubelet.clear_fault();
        let page = exporter.wait_for("up 1", |page| up(page) == Some(1.0));
        assert!(page.find("container_memory_rss", &[]).count() > 10);
        assert!(failures(&page, &first[0]) >= Some(2.0), "counters go on");
        println!("{}: failures by {first:?} and not_summary", host.name);
        stop(exporter.child);
    });
}

#[test]
fn a_host_without_metrics_is_refused_in_one_line() {
    let old: Vec<_> = real_hosts()
        .into_iter()
        .filter(|host| host.version < Some(METRICS))
        .collect();
    if old.is_empty() {
        scene::say_not_run("no Fluent Bit of 1.x was found");
        return;
    }
    let line = "this host has no metrics for plugins: format metrics and both need Fluent Bit 2.0 or later";
    for host in old {
        let kubelet = kubelet();
        for format in ["metrics", "both"] {
            let options = [("format", format)];
            let child = Line::new()
                .scraping(&kubelet, &options)
                .printing()
                .start(&host);
            let said = scene::refused(child);
            assert_eq!(said, [line], "{}", host.name);
        }
        let child = Line::new().scraping(&kubelet, &[]).printing().start(&host);
        crate::common::run::wait_for_record(&child, |record| record["cpu"].is_number());
        stop(child);
    }
}
