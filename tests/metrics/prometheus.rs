//! A real Prometheus: once it scrapes Fluent Bit's exporter, once Fluent Bit writes to it. Its
//! answers to PromQL beside the truth of the simulated kubelet.

use std::{process::Command, time::Duration};

use serde_json::Value;
use sim_kubelet::{SimKubelet, Truth};
use testkit::{Child, Host};

use crate::{
    client,
    common::{
        proc::{Scratch, Table, free_port},
        run::stop,
    },
    scene::{self, ALL, METRICS, each_since, eventually, with},
};

/// Ends with the test, and its folder with it.
pub struct Prometheus {
    pub port: u16,
    _child: Child,
    _folder: Scratch,
}

impl Prometheus {
    /// `None`, and a line about it, where there is none.
    pub fn start(target: Option<u16>) -> Option<Self> {
        if Command::new("prometheus")
            .arg("--version")
            .output()
            .is_err()
        {
            scene::not_run("there is no prometheus (Debian package prometheus)");
            return None;
        }
        let (folder, port) = (Scratch::new("prometheus"), free_port());
        let scrapes = target.map_or_else(String::new, |target| {
            format!(
                "scrape_configs:\n  - job_name: fluent-bit\n    static_configs:\n      \
                 - targets: ['127.0.0.1:{target}']\n"
            )
        });
        let text = format!("global:\n  scrape_interval: 1s\n{scrapes}");
        let file = folder.write("prometheus.yml", &text);
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-remote-write-receiver");
        let child = Child::spawn(command).expect("Prometheus starts");
        eventually(&child, "Prometheus", || {
            client::get_text(port, "/-/ready").map_err(|error| error.to_string())
        });
        Some(Self {
            port,
            _child: child,
            _folder: folder,
        })
    }

    /// The one value that a query has; `None` where it has none.
    pub fn query(&self, query: &str) -> Option<f64> {
        let path = format!("/api/v1/query?query={}", client::escaped(query));
        let reply = client::get_json(self.port, &path);
        let reply = reply.unwrap_or_else(|error| panic!("{query}: {error}"));
        let found = reply["data"]["result"].as_array().expect("a vector");
        assert!(found.len() <= 1, "{query}: {found:?}");
        let value = found.first()?["value"][1].as_str().map(str::to_owned);
        value.and_then(|text| text.parse().ok())
    }
}

/// What PromQL has to say, and by how much it may be wrong.
struct Asked {
    query: String,
    expected: f64,
    /// Of the expected value.
    within: f64,
}

const EXACT: f64 = 1e-9;
/// Of rates over some seconds of samples whose moments are uneven.
const RATE: f64 = 0.1;

fn truth(kubelet: &SimKubelet, pod: &str) -> Truth {
    kubelet.truth(pod).expect("the pod is there")
}

fn questions(kubelet: &SimKubelet) -> Vec<Asked> {
    let mut all = Vec::new();
    let mut ask = |query: String, expected: f64, within: f64| {
        all.push(Asked {
            query,
            expected,
            within,
        });
    };
    let pods = kubelet.pod_names().len() as f64;
    let node = kubelet.node_truth().expect("the kubelet is full");
    for pod in ["log-generator-a-vm", "log-generator-b-vm", "limited-vm"] {
        let truth = truth(kubelet, &format!("default/{pod}"));
        let cores = truth.nanocores as f64 / 1e9;
        ask(
            format!("sum(rate(container_cpu_usage_seconds_total{{pod=\"{pod}\"}}[12s]))"),
            cores,
            RATE,
        );
        ask(
            format!("rate(pod_cpu_usage_seconds_total{{pod=\"{pod}\"}}[12s])"),
            cores,
            RATE,
        );
        ask(
            format!("container_start_time_seconds{{pod=\"{pod}\"}}"),
            // The reply has it cut to seconds.
            (truth.containers[0].start_ms / 1000) as f64,
            EXACT,
        );
        let received = truth.network.rx_bytes_per_second as f64;
        ask(
            format!(
                "sum(rate(container_network_receive_bytes_total{{pod=\"{pod}\",interface=\"eth0\"}}[12s]))"
            ),
            received,
            RATE,
        );
        let sent = truth.network.tx_bytes_per_second as f64;
        ask(
            format!(
                "sum(rate(container_network_transmit_bytes_total{{pod=\"{pod}\",interface=\"eth0\"}}[12s]))"
            ),
            sent,
            RATE,
        );
    }
    let cores = node.nanocores as f64 / 1e9;
    ask(
        "rate(node_cpu_usage_seconds_total[12s])".to_owned(),
        cores,
        RATE,
    );
    ask(
        "rate(container_cpu_usage_seconds_total{id=\"/\"}[12s])".to_owned(),
        cores,
        RATE,
    );
    ask(
        "count(pod_memory_working_set_bytes)".to_owned(),
        pods,
        EXACT,
    );
    ask(
        "kubeletstats_pods{state=\"on_node\"}".to_owned(),
        pods,
        EXACT,
    );
    ask("kubeletstats_up".to_owned(), 1.0, EXACT);
    ask(
        "machine_memory_bytes".to_owned(),
        8.0 * 1024.0 * 1024.0 * 1024.0,
        EXACT,
    );
    // What /pods says.
    let listed = crate::truth::of_pods(&crate::truth::page(kubelet, "/pods"));
    let sum = |name: &str, label: &str, value: &str| -> f64 {
        let of_it = listed.iter().filter(|one| one.name == name);
        let with = of_it.filter(|one| one.labels.get(label).map_or("", String::as_str) == value);
        with.map(|one| one.value).sum()
    };
    for phase in ["Running", "Succeeded", "Failed"] {
        ask(
            format!("sum(kube_pod_status_phase{{phase=\"{phase}\"}})"),
            sum("kube_pod_status_phase", "phase", phase),
            EXACT,
        );
    }
    ask(
        "sum(kube_pod_container_status_restarts_total)".to_owned(),
        sum("kube_pod_container_status_restarts_total", "", ""),
        EXACT,
    );
    for resource in ["cpu", "memory"] {
        for of in ["requests", "limits"] {
            let name = format!("kube_pod_container_resource_{of}");
            ask(
                format!("sum({name}{{resource=\"{resource}\"}})"),
                sum(&name, "resource", resource),
                EXACT,
            );
        }
    }
    // As the dashboards of others join them.
    ask(
        "count(container_memory_working_set_bytes{container!=\"\"} * on(namespace,pod) group_left() \
         sum by(namespace,pod)(kube_pod_status_phase{phase=\"Running\"} == 1))"
            .to_owned(),
        kubelet_containers(kubelet),
        EXACT,
    );
    all
}

fn kubelet_containers(kubelet: &SimKubelet) -> f64 {
    let summary = crate::truth::page(kubelet, "/stats/summary");
    let pods = summary["pods"].as_array().cloned().unwrap_or_default();
    let containers = pods.iter().filter_map(|pod| pod["containers"].as_array());
    containers.map(Vec::len).sum::<usize>() as f64
}

fn agree(host: &Host, kubelet: &SimKubelet, prometheus: &Prometheus, child: &Child) {
    let questions = questions(kubelet);
    assert!(questions.len() >= 20);
    let answers = eventually(child, "answers as the kubelet's truth", || {
        let mut answers = Vec::new();
        for asked in &questions {
            let found = prometheus.query(&asked.query);
            let is_right = found.is_some_and(|found| {
                (found - asked.expected).abs() <= asked.expected.abs() * asked.within
            });
            if !is_right {
                return Err(format!(
                    "{}: {found:?}, not {} within {}",
                    asked.query, asked.expected, asked.within
                ));
            }
            answers.push(found.unwrap_or_default());
        }
        Ok(answers)
    });
    let mut table = Table::new(&host.name, &["truth", "answer", "query"]);
    for (asked, answer) in questions.iter().zip(answers) {
        table.row(&[&asked.expected, &answer, &asked.query]);
    }
}

/// Samples every second, so that some seconds have a rate.
fn kubelet() -> SimKubelet {
    let kubelet = SimKubelet::builder().full(true).plain_http(true);
    kubelet.sample_period(Duration::from_secs(1)).started()
}

fn series_of(prometheus: &Prometheus, pod: &str) -> f64 {
    let query = format!("count({{pod=\"{pod}\",__name__=~\"container_.*\"}})");
    prometheus.query(&query).unwrap_or_default()
}

#[test]
fn prometheus_scrapes_the_exporter() {
    each_since(METRICS, |host| {
        let (kubelet, port) = (kubelet(), free_port());
        let Some(prometheus) = Prometheus::start(Some(port)) else {
            return;
        };
        let text = port.to_string();
        let output = [("host", "127.0.0.1"), ("port", text.as_str())];
        let child = scene::start(host, &kubelet, &ALL, "prometheus_exporter", &output);
        agree(host, &kubelet, &prometheus, &child);
        // What ends is stale at the next scrape: not after the five minutes that Prometheus
        // looks back.
        assert!(series_of(&prometheus, "limited-vm") > 0.0);
        kubelet.remove_pod("default/limited-vm");
        eventually(&child, "the end of a pod's series", || {
            match series_of(&prometheus, "limited-vm") {
                0.0 => Ok(()),
                count => Err(format!("{count} are left")),
            }
        });
        stop(child);
    });
}

#[test]
fn fluent_bit_writes_to_prometheus() {
    each_since(METRICS, |host| {
        let kubelet = kubelet();
        let Some(prometheus) = Prometheus::start(None) else {
            return;
        };
        let text = prometheus.port.to_string();
        let output = [
            ("host", "127.0.0.1"),
            ("port", text.as_str()),
            ("uri", "/api/v1/write"),
        ];
        let options = with(&ALL, &[("interval", "1s")]);
        let child = scene::start(host, &kubelet, &options, "prometheus_remote_write", &output);
        agree(host, &kubelet, &prometheus, &child);
        let lines = child.lines(testkit::Stream::Any);
        let refused: Vec<_> = lines
            .iter()
            .filter(|line| line.contains("HTTP status=4"))
            .collect();
        assert!(refused.is_empty(), "{refused:?}");
        // Nothing tells Prometheus that a series has ended: it shows the last sample until
        // that is five minutes old.
        kubelet.remove_pod("default/limited-vm");
        let gone = "kubeletstats_pods{state=\"on_node\"}";
        let left = kubelet.pod_names().len() as f64;
        eventually(&child, "a scrape without the pod", || {
            match prometheus.query(gone) {
                Some(count) if count == left => Ok(()),
                other => Err(format!("{other:?} pods, not {left}")),
            }
        });
        let stale = series_of(&prometheus, "limited-vm");
        println!("{}: {stale} series of a pod that is gone", host.name);
        assert!(
            stale > 0.0,
            "remote write had no way to end a series so far"
        );
        // A kubelet that is down: the same, but there is `up` to ask.
        drop(kubelet);
        eventually(&child, "up 0", || {
            match prometheus.query("kubeletstats_up{node=\"vm\"}") {
                Some(0.0) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        const OLD: &str = "count(container_memory_working_set_bytes{container!=\"\"})";
        const NOW: &str = "count(container_memory_working_set_bytes{container!=\"\"} and on(node) kubeletstats_up == 1)";
        assert!(prometheus.query(OLD) > Some(10.0), "they have ended");
        assert_eq!(prometheus.query(NOW), None);
        stop(child);
    });
}

/// Only for the shape of a reply.
#[test]
fn a_query_that_is_wrong_is_an_error() {
    let Some(prometheus) = Prometheus::start(None) else {
        return;
    };
    let wrong = client::get_json(prometheus.port, "/api/v1/query?query=%7B");
    assert!(wrong.is_err(), "{wrong:?}");
    let right: Value = client::get_json(prometheus.port, "/api/v1/query?query=1").expect("1");
    assert_eq!(right["data"]["resultType"], "scalar");
}
