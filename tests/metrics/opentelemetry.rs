//! What the `opentelemetry` output sends of metrics with OpenTelemetry's names.

use std::collections::{BTreeMap, BTreeSet};

use testkit::Host;

use crate::{
    common::run::{Line, stop},
    otlp::{self, Attributes, Resource},
    scene::{self, ALL, METRICS, POINTS, each_since, eventually, kubelet, real_hosts, with},
    server::Server,
    truth::{self, Expected, is_equal},
};

const NAMES: (&str, &str) = ("metric_names", "opentelemetry");

/// Resources of a request, found by name and by all that is said of a point.
struct Points {
    by_name: BTreeMap<String, Vec<(Attributes, f64)>>,
}

impl Points {
    fn of(resources: &[Resource]) -> Self {
        let mut by_name: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for resource in resources {
            for metric in &resource.metrics {
                for point in &metric.points {
                    let mut labels = resource.attributes.clone();
                    labels.extend(point.attributes.clone());
                    let known = by_name.entry(metric.name.clone()).or_default();
                    known.push((labels, point.value));
                }
            }
        }
        Self { by_name }
    }

    fn value(&self, expected: &Expected) -> Option<f64> {
        let mut found = self
            .by_name
            .get(&expected.name)?
            .iter()
            .filter(|(labels, _)| {
                // A pod's own numbers are those of no container and no volume.
                let has = |key: &str| expected.labels.contains_key(key) == labels.contains_key(key);
                expected
                    .labels
                    .iter()
                    .all(|(key, value)| labels.get(key) == Some(value))
                    && has("k8s.pod.name")
                    && has("k8s.container.name")
                    && has("k8s.volume.name")
            });
        let first = found.next()?;
        assert!(found.next().is_none(), "several of {expected:?}");
        Some(first.1)
    }
}

fn complaints(resources: &[Resource], expected: &[Expected]) -> Vec<String> {
    let points = Points::of(resources);
    let wrong = expected.iter().filter_map(|expected| {
        let found = points.value(expected);
        let is_right = found.is_some_and(|found| is_equal(found, expected.value));
        (!is_right).then(|| format!("{expected:?}, and there is {found:?}"))
    });
    wrong.collect()
}

fn of_output(server: &Server) -> [(&'static str, String); 3] {
    [
        ("host", "127.0.0.1".to_owned()),
        ("port", server.port.to_string()),
        ("metrics_uri", "/v1/metrics".to_owned()),
    ]
}

fn start(host: &Host, kubelet: &sim_kubelet::SimKubelet, server: &Server) -> testkit::Child {
    let output = of_output(server);
    let output: Vec<_> = output.iter().map(|(key, value)| (*key, &**value)).collect();
    scene::start(
        host,
        kubelet,
        &with(&ALL, &[NAMES]),
        "opentelemetry",
        &output,
    )
}

/// The last request, if it is of one scrape: a host that is behind sends two at once.
fn last(server: &Server) -> Result<Vec<Resource>, String> {
    let requests = server.requests();
    let last = requests.last().ok_or("no request yet")?;
    assert_eq!(last.header("content-type"), Some("application/x-protobuf"));
    let resources = otlp::decode(&last.body).unwrap_or_else(|error| panic!("{error}"));
    let metrics = resources.iter().flat_map(|one| &one.metrics);
    match metrics.filter(|one| one.name == "kubeletstats_up").count() {
        1 => Ok(resources),
        scrapes => Err(format!("{scrapes} scrapes in one request")),
    }
}

#[test]
fn the_request_has_a_resource_each_and_every_value() {
    each_since(POINTS, |host| {
        let (kubelet, server) = (kubelet(), Server::start("{}"));
        let child = start(host, &kubelet, &server);
        let (resources, expected) = eventually(&child, "the kubelet's values", || {
            let summary = truth::page(&kubelet, "/stats/summary");
            let expected = truth::points_of_summary(&summary);
            let resources = last(&server)?;
            let complaints = complaints(&resources, &expected);
            match complaints.first() {
                None => Ok((resources, expected)),
                Some(first) => Err(format!("{} values, first {first}", complaints.len())),
            }
        });
        let names: BTreeSet<_> = expected.iter().map(|one| one.name.clone()).collect();
        println!(
            "{}: {} resources, {} values of {} names compared",
            host.name,
            resources.len(),
            expected.len(),
            names.len()
        );
        assert!(expected.len() > 300 && names.len() >= 20, "{names:?}");
        shapes(host, &resources);
        one_request_a_scrape(&kubelet, &server);
        stop(child);
    });
}

/// Every resource once, and each metric of its kind.
fn shapes(host: &Host, resources: &[Resource]) {
    let has_units = host.version >= Some((5, 0, 1));
    let mut seen = BTreeSet::new();
    for resource in resources {
        assert_eq!(
            resource.scope.0, "kubeletstats",
            "{:?}",
            resource.attributes
        );
        assert!(!resource.scope.1.is_empty());
        assert_eq!(resource.attributes["k8s.node.name"], "vm");
        let names: Vec<_> = resource
            .metrics
            .iter()
            .map(|metric| &*metric.name)
            .collect();
        assert!(
            seen.insert(resource.attributes.clone()),
            "twice: {:?} {names:?}",
            resource.attributes
        );
        let unique: BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "{names:?}");
        for metric in &resource.metrics {
            let name = &*metric.name;
            let is_counter = [".time", "page_faults", ".io", ".errors"]
                .iter()
                .any(|end| name.ends_with(end));
            if is_counter || metric.is_sum {
                assert!(metric.is_sum && metric.is_monotonic, "{name}");
                assert_eq!(metric.temporality, 2, "{name} is not cumulative");
            }
            if has_units {
                assert!(!metric.unit.is_empty(), "{name} has no unit");
                for (end, unit) in [
                    ("cpu.time", "s"),
                    ("cpu.usage", "{cpu}"),
                    ("memory.working_set", "By"),
                    ("network.io", "By"),
                    ("uptime", "s"),
                ] {
                    if name.ends_with(end) {
                        assert_eq!(metric.unit, unit, "{name}");
                    }
                }
            }
            assert!(!metric.description.is_empty(), "{name}");
            for point in &metric.points {
                assert!(point.time > 1_600_000_000_000_000_000, "{name}");
                let has_start =
                    has_units && metric.is_sum && resource.attributes.contains_key("k8s.pod.name");
                if has_start {
                    assert!(
                        point.start > 0 && point.start <= point.time,
                        "{name} {point:?}"
                    );
                }
            }
        }
    }
    let of = |key: &str| {
        let with = resources
            .iter()
            .filter(|one| one.attributes.contains_key(key));
        with.count()
    };
    assert!(of("k8s.container.name") >= 20 && of("k8s.volume.name") >= 10);
}

/// As many requests as the kubelet had, but for those on their way.
fn one_request_a_scrape(kubelet: &sim_kubelet::SimKubelet, server: &Server) {
    const SCRAPES: u64 = 12;
    let before = (kubelet.requests_of("/stats/summary"), server.count() as u64);
    assert!(kubelet.wait_for_requests_of(
        "/stats/summary",
        before.0 + SCRAPES,
        std::time::Duration::from_secs(30)
    ));
    let scraped = kubelet.requests_of("/stats/summary") - before.0;
    let sent = server.count() as u64 - before.1;
    // A flush may be under way on either side of the count.
    assert!(
        sent.abs_diff(scraped) <= 4,
        "{scraped} scrapes, {sent} requests"
    );
}

#[test]
fn a_host_that_cannot_take_points_is_refused_in_one_line() {
    let hosts = real_hosts().into_iter();
    let old: Vec<_> = hosts
        .filter(|host| host.version >= Some(METRICS) && host.version < Some(POINTS))
        .collect();
    if old.is_empty() {
        scene::say_not_run("no Fluent Bit of 2.0 to 3.1 was found");
        return;
    }
    for host in old {
        let kubelet = kubelet();
        let options = with(&ALL, &[NAMES]);
        let child = Line::new()
            .scraping(&kubelet, &options)
            .printing()
            .start(&host);
        let line = "this host cannot take opentelemetry's names: metric_names opentelemetry needs Fluent Bit 3.2 or later";
        assert_eq!(scene::refused(child), [line], "{}", host.name);
    }
}

/// Records and metrics are of the same scrape, and a scrape is one request to the kubelet.
#[test]
fn both_forms_come_from_one_scrape() {
    each_since(METRICS, |host| {
        let (kubelet, server) = (kubelet(), Server::start("{}"));
        let options = with(
            &ALL,
            &[
                ("format", "both"),
                ("repeat_samples", "true"),
                ("stats_tag", "self"),
            ],
        );
        let output = of_output(&server);
        let output: Vec<_> = output.iter().map(|(key, value)| (*key, &**value)).collect();
        let line = Line::new().scraping(&kubelet, &options);
        let line = line.args(["-t", "kubelet"]);
        let line = line
            .args(["-o", "opentelemetry", "-m", "kubelet"])
            .options(&output);
        let child = line
            .args(["-o", "stdout", "-m", "*", "-p", "format=json_lines"])
            .start(host);
        let record = crate::common::run::wait_for_record(&child, |record| {
            record["podName"] == "log-generator-a-vm" && record["cpu"].is_number()
        });
        assert_eq!(record["namespace"], "default");
        let counted = eventually(&child, "metrics beside the records", || {
            let requests = server.requests();
            let metrics = requests.iter().filter(|one| one.path == "/v1/metrics");
            let resources = metrics.map(|one| otlp::decode(&one.body).expect("a request"));
            let with_pod = resources.filter(|all| {
                let metrics = all.iter().flat_map(|one| &one.metrics);
                let mut named =
                    metrics.filter(|one| one.name == "container_memory_working_set_bytes");
                named.any(|one| {
                    one.points.iter().any(|point| {
                        point.attributes.get("pod").map(String::as_str)
                            == Some("log-generator-a-vm")
                    })
                })
            });
            let count = with_pod.count();
            if count >= 3 {
                Ok(count)
            } else {
                Err(format!("{count} with the pod"))
            }
        });
        let own = crate::common::run::wait_for_record(&child, |record| {
            record["scrapes"].as_u64() >= Some(3) && record["failures"] == 0
        });
        println!("{}: {counted} requests of metrics, {own}", host.name);
        let child = stop(child);
        let scrapes = kubelet.requests_of("/stats/summary") as usize;
        let requests = server.requests();
        let metrics = requests
            .iter()
            .filter(|one| one.path == "/v1/metrics")
            .count();
        assert!(
            metrics <= scrapes,
            "{metrics} requests of metrics, {scrapes} scrapes"
        );
        let records = crate::common::run::record_lines(&child);
        assert!(records.len() > 20, "{} records", records.len());
    });
}
