//! The configurations of `deploy/outputs`, each started as it is but for where the kubelet and
//! the server are, and what comes out at the other end.

use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::Value;
use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Kafka, hosts, kafka};

use crate::{
    client,
    common::{
        proc::{Scratch, free_port},
        run::stop,
    },
    exposition::Page,
    otlp,
    prometheus::Prometheus,
    scene::{self, METRICS, POINTS, each_since, eventually},
    server::Server,
};

const JOB: &str = "default/report-29384720-x7k2p";

/// From here on a body of several frames of HTTP/2 is sent as it is.
const WHOLE_FRAMES: (u32, u32, u32) = (4, 0, 3);

/// A host that runs a shipped configuration.
struct Shipped {
    kubelet: SimKubelet,
    child: Child,
    _folder: Scratch,
}

impl Shipped {
    /// `led` are the lines that lead elsewhere here. Each has to be there.
    fn start(host: &Host, file: &str, led: &[(&str, String)]) -> Self {
        let path = hosts::workspace_root().join("deploy/outputs").join(file);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
        let kubelet = SimKubelet::builder()
            .full(true)
            .server_names(&["vm"])
            .started();
        kubelet.add_job_pod(JOB, 100, "report");
        let [url, ca, token] = kubelet.access();
        let files = match file.ends_with(".conf") {
            true => {
                format!("    Kube_CA_File {ca}\n    Kube_Token_File {token}\n    Interval 1s\n")
            }
            false => format!(
                "      kube_ca_file: {ca}\n      kube_token_file: {token}\n      interval: 1s\n"
            ),
        };
        let mut text = text.replace("https://${NODE_IP}:10250", &url);
        assert!(text.contains(&url), "{file} leads to no kubelet");
        for (from, to) in led {
            assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
            text = text.replace(from, to);
        }
        // Behind the name of the only input.
        let name = text.find("kubeletstats\n").expect("an input") + "kubeletstats\n".len();
        text.insert_str(name, &files);
        let folder = Scratch::new("outputs");
        let mut command = scene::command(host, &folder, file, &text);
        command.env("NODE_NAME", "vm").args(["-f", "0.2"]);
        let child = Child::spawn(command).expect("the host starts");
        Self {
            kubelet,
            child,
            _folder: folder,
        }
    }

    /// The first of what arrives that is as it should be.
    fn arrives<T>(&self, what: &str, attempt: impl FnMut() -> Result<T, String>) -> T {
        eventually(&self.child, what, attempt)
    }

    fn stop(self) {
        stop(self.child);
    }
}

fn of_metrics(host: &Host) -> &'static [&'static str] {
    // Classic for all, YAML as well.
    match host.version < Some(POINTS) {
        true => &["conf", "yaml"],
        false => &["yaml", "conf"],
    }
}

#[test]
fn prometheus_exporter() {
    each_since(METRICS, |host| {
        for form in of_metrics(host) {
            let port = free_port();
            let (from, to) = match *form {
                "yaml" => ("port: 2021", format!("port: {port}")),
                _ => ("Port   2021", format!("Port {port}")),
            };
            let file = format!("prometheus-exporter.{form}");
            let shipped = Shipped::start(host, &file, &[(from, to)]);
            let page = shipped.arrives("a page", || {
                let text = client::get_text(port, "/metrics").map_err(|error| error.to_string())?;
                let page = Page::parse(&text)?;
                match page.value("kubeletstats_up", &[("node", "vm")]) {
                    Some(1.0) => Ok(page),
                    other => Err(format!("up {other:?}")),
                }
            });
            let labels = [("pod", "report-29384720-x7k2p"), ("namespace", "default")];
            assert_eq!(
                page.find("container_cpu_usage_seconds_total", &labels)
                    .count(),
                1
            );
            assert_eq!(page.find("node_cpu_usage_seconds_total", &[]).count(), 1);
            assert!(
                page.find("kubeletstats_volume_used_bytes", &[]).count() > 5,
                "volumes"
            );
            shipped.stop();
        }
    });
}

#[test]
fn prometheus_remote_write() {
    each_since(METRICS, |host| {
        for form in of_metrics(host) {
            let Some(prometheus) = Prometheus::start(None) else {
                return;
            };
            let port = prometheus.port;
            let led = match *form {
                "yaml" => [
                    ("host: prometheus", "host: 127.0.0.1".to_owned()),
                    ("port: 9090", format!("port: {port}")),
                ],
                _ => [
                    ("Host   prometheus", "Host 127.0.0.1".to_owned()),
                    ("Port   9090", format!("Port {port}")),
                ],
            };
            let file = format!("prometheus-remote-write.{form}");
            let shipped = Shipped::start(host, &file, &led);
            shipped.arrives("the pods in Prometheus", || {
                let pods = shipped.kubelet.pod_names().len() as f64;
                match prometheus.query("count(pod_memory_working_set_bytes{node=\"vm\"})") {
                    Some(found) if found == pods => Ok(()),
                    other => Err(format!("{other:?}, not {pods}")),
                }
            });
            // A kubelet that is down is told of under the node's name from the start on.
            assert_eq!(prometheus.query("kubeletstats_up{node=\"vm\"}"), Some(1.0));
            shipped.stop();
        }
    });
}

fn collector(port: u16, given: &'static str) -> [(&'static str, String); 2] {
    [
        ("host: otel-collector", "host: 127.0.0.1".to_owned()),
        (given, format!("port: {port}")),
    ]
}

#[test]
fn otlp_http() {
    each_since(POINTS, |host| {
        let server = Server::start("{}");
        let shipped = Shipped::start(
            host,
            "otlp-http.yaml",
            &collector(server.port, "port: 4318"),
        );
        let resources = shipped.arrives("a request", || {
            let requests = server.requests();
            let first = requests.first().ok_or("none yet")?;
            assert_eq!((&*first.method, &*first.path), ("POST", "/v1/metrics"));
            otlp::decode(&first.body)
        });
        has_the_job(&resources);
        shipped.stop();
    });
}

/// Releases before this one send of a body of more than one frame the first frame again and
/// again: fluent-bit's commit 0ae7e15fe. So of what they send only the size can be looked at.
#[test]
fn otlp_grpc() {
    each_since(POINTS, |host| {
        let server = Server::start("");
        let led = collector(server.port, "port: 4317");
        let shipped = Shipped::start(host, "otlp-grpc.yaml", &led);
        let is_whole = host.version >= Some(WHOLE_FRAMES);
        let resources = shipped.arrives("two calls", || {
            let requests = server.requests();
            let second = requests.get(1).ok_or(format!("{} calls", requests.len()))?;
            assert!(second.is_http2);
            match otlp::of_grpc(&second.body) {
                Err(_) if !is_whole => Ok(Vec::new()),
                decoded => decoded,
            }
        });
        match is_whole {
            true => has_the_job(&resources),
            false => assert!(resources.is_empty(), "{} is mended: say so", host.name),
        }
        shipped.stop();
    });
}

fn has_the_job(resources: &[otlp::Resource]) {
    let of_job = resources.iter().find(|one| {
        let has = |key: &str, value: &str| one.attributes.get(key).is_some_and(|is| is == value);
        has("k8s.pod.name", "report-29384720-x7k2p")
            && one.attributes.contains_key("k8s.container.name")
    });
    let names: Vec<_> = of_job
        .iter()
        .flat_map(|one| &one.metrics)
        .map(|one| &*one.name)
        .collect();
    assert!(names.contains(&"container.cpu.time"), "{names:?}");
}

/// The values are as a record of the plugin has them.
fn is_record(record: &Value) -> bool {
    record["cpu"].is_number() && record["memory_bytes"].is_u64() && record["nodeName"] == "vm"
}

#[test]
fn loki() {
    each_since(METRICS, |host| {
        let server = Server::start("");
        let led = [
            ("host: loki", "host: 127.0.0.1".to_owned()),
            ("port: 3100", format!("port: {}", server.port)),
        ];
        let shipped = Shipped::start(host, "loki.yaml", &led);
        let (stream, line) = shipped.arrives("the job's stream", || {
            let requests = server.requests();
            let pushes = requests
                .iter()
                .filter(|one| one.path == "/loki/api/v1/push");
            let streams = pushes.flat_map(|one| {
                one.json()["streams"]
                    .as_array()
                    .cloned()
                    .unwrap_or_default()
            });
            let mut of_job = streams.filter(|one| one["stream"]["job_type"] == "report");
            let found = of_job.next().ok_or("none yet")?;
            let line = found["values"][0][1].as_str().expect("a line").to_owned();
            Ok((found["stream"].clone(), line))
        });
        assert_eq!(stream["job"], "kubeletstats");
        assert_eq!(stream["namespace"], "default");
        assert_eq!(stream["pod"], "report-29384720-x7k2p");
        assert_eq!(stream["container"], "log-generator");
        let record: Value = serde_json::from_str(&line).expect("json");
        assert!(is_record(&record), "{line}");
        shipped.stop();
    });
}

#[test]
fn datadog() {
    each_since(METRICS, |host| {
        let server = Server::start("{}");
        let led = [
            (
                "host: http-intake.logs.datadoghq.com",
                "host: 127.0.0.1".to_owned(),
            ),
            ("tls: on", format!("port: {}\n      tls: off", server.port)),
            ("${DD_API_KEY}", "key".to_owned()),
            // Read without a decoder of gzip.
            ("compress: gzip", "compress: off".to_owned()),
        ];
        let shipped = Shipped::start(host, "datadog.yaml", &led);
        let request = shipped.arrives("a request", || {
            server
                .requests()
                .first()
                .cloned()
                .ok_or_else(|| "none yet".to_owned())
        });
        assert!(request.path.ends_with("/logs"), "{}", request.path);
        assert_eq!(request.header("dd-api-key"), Some("key"));
        let entries = request.json();
        let entries = entries.as_array().expect("a list");
        assert!(entries.len() > 10);
        for entry in entries {
            assert_eq!(entry["ddsource"], "kubelet");
            assert!(is_record(entry), "{entry}");
        }
        shipped.stop();
    });
}

/// What both speak.
fn bulk(host: &Host, file: &str, led: &[(&str, String)], server: &Server) {
    let shipped = Shipped::start(host, file, led);
    let request = shipped.arrives("a bulk", || {
        let requests = server.requests();
        let bulk = requests.iter().find(|one| one.path == "/_bulk");
        bulk.cloned()
            .ok_or_else(|| format!("{} requests", requests.len()))
    });
    let text = String::from_utf8(request.body).expect("utf-8");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    assert!(
        lines.len() > 20 && lines.len().is_multiple_of(2),
        "{} lines",
        lines.len()
    );
    for pair in lines.chunks(2) {
        assert_eq!(pair[0]["create"]["_index"], "kubeletstats");
        assert!(pair[0]["create"].get("_type").is_none());
        assert!(pair[1]["@timestamp"].is_string());
        assert!(is_record(&pair[1]), "{}", pair[1]);
    }
    shipped.stop();
}

#[test]
fn elasticsearch() {
    each_since(METRICS, |host| {
        let server = Server::start("{\"errors\":false,\"items\":[]}");
        let led = [
            ("host: elasticsearch", "host: 127.0.0.1".to_owned()),
            ("port: 9200", format!("port: {}", server.port)),
        ];
        bulk(host, "elasticsearch.yaml", &led, &server);
    });
}

#[test]
fn opensearch() {
    each_since(METRICS, |host| {
        let server = Server::start("{\"errors\":false,\"items\":[]}");
        let led = [
            ("host: opensearch", "host: 127.0.0.1".to_owned()),
            ("port: 9200", format!("port: {}", server.port)),
        ];
        bulk(host, "opensearch.yaml", &led, &server);
    });
}

#[test]
fn kafka_otlp_json() {
    let first = (5, 0, 1);
    let hosts = scene::real_hosts();
    if !hosts.iter().any(|host| host.version >= Some(first)) {
        scene::say_not_run("no Fluent Bit of 5.0.1 or later was found");
        return;
    }
    let broker = Kafka::find_or_start().expect("a Kafka");
    println!("into {}", broker.describe());
    each_since(first, |host| {
        let topic = kafka::unique_topic("otlp");
        let led = [
            ("kafka:9092", broker.brokers().to_owned()),
            ("topics: metrics", format!("topics: {topic}")),
        ];
        let shipped = Shipped::start(host, "kafka-otlp-json.yaml", &led);
        let read = kafka::consume(broker.brokers(), &topic, 1, Duration::from_secs(30));
        let read = read.unwrap_or_else(|error| panic!("{error}: {}", shipped.child.tail()));
        let message: Value = serde_json::from_str(&read[0]).expect("json");
        let records = &message["resourceLogs"][0]["scopeLogs"][0]["logRecords"];
        let records = records.as_array().unwrap_or_else(|| panic!("{message}"));
        let keys: BTreeSet<_> = records
            .iter()
            .flat_map(|record| record["body"]["kvlistValue"]["values"].as_array().cloned())
            .flatten()
            .filter_map(|pair| pair["key"].as_str().map(str::to_owned))
            .collect();
        for key in [
            "podName",
            "namespace",
            "containerName",
            "cpu",
            "memory_bytes",
            "workload_kind",
        ] {
            assert!(keys.contains(key), "{key} is not among {keys:?}");
        }
        shipped.stop();
    });
}

/// A configuration of a Kubernetes component, with the variables that its pod has.
fn component(
    host: &Host,
    kubelet: &SimKubelet,
    name: &str,
    led: &[(&str, String)],
) -> (Child, Scratch) {
    let file = format!("deploy/kubernetes/components/{name}/fluent-bit.yaml");
    let mut text = fs::read_to_string(hosts::workspace_root().join(&file)).expect("a file");
    let folder = Scratch::new("component");
    let here = [
        // The command line loads it.
        (
            "plugins:\n  - /fluent-bit/plugins/flb-in_kubeletstats.so\n",
            String::new(),
        ),
        ("http_port: 2020", format!("http_port: {}", free_port())),
    ];
    for (from, to) in here.iter().chain(led) {
        assert_eq!(text.matches(from).count(), 1, "{file}: {from}");
        text = text.replace(from, to);
    }
    let mut command = scene::command(host, &folder, "fluent-bit.yaml", &text);
    let [url, ca, token] = kubelet.access();
    for (key, value) in [
        ("KUBELET_URL", url.as_str()),
        ("KUBELET_CA_FILE", &ca),
        ("KUBELET_TOKEN_FILE", &token),
        ("KUBELET_SERVER_NAME", "vm"),
        ("NODE_NAME", "vm"),
        ("POD_IP", "127.0.0.1"),
        ("SCRAPE_INTERVAL_MS", "2000"),
        ("KUBELET_TIMEOUT_MS", "5000"),
        ("ALLOW_INSECURE_TLS", "false"),
        ("POD_FACTS", "false"),
        ("OTLP_HOST", "127.0.0.1"),
    ] {
        command.env(key, value);
    }
    for empty in [
        "TARGET_NAMESPACE",
        "TARGET_POD_PREFIX",
        "POD_LABELS",
        "LABEL_SELECTOR",
        "SERVICE_NAME",
        "METRICS_REGION",
    ] {
        command.env(empty, "");
    }
    (Child::spawn(command).expect("the host starts"), folder)
}

#[test]
fn the_component_for_prometheus() {
    each_since(POINTS, |host| {
        let kubelet = SimKubelet::builder()
            .full(true)
            .server_names(&["vm"])
            .started();
        let port = free_port();
        let led = [("port: 2021", format!("port: {port}"))];
        let (child, _folder) = component(host, &kubelet, "prometheus", &led);
        let page = eventually(&child, "a page", || {
            let text = client::get_text(port, "/metrics").map_err(|error| error.to_string())?;
            let page = Page::parse(&text)?;
            match page.value("kubeletstats_up", &[("node", "vm")]) {
                Some(1.0) => Ok(page),
                other => Err(format!("up {other:?}")),
            }
        });
        let pods = page.find("pod_cpu_usage_seconds_total", &[]).count();
        assert_eq!(pods, kubelet.pod_names().len());
        stop(child);
    });
}

#[test]
fn the_component_for_otlp() {
    each_since(POINTS, |host| {
        let kubelet = SimKubelet::builder()
            .full(true)
            .server_names(&["vm"])
            .started();
        let server = Server::start("{}");
        let storage = Scratch::new("storage");
        let led = [
            ("${OTLP_PORT}", server.port.to_string()),
            ("/fluent-bit/storage", storage.path().display().to_string()),
        ];
        let (child, _folder) = component(host, &kubelet, "otlp", &led);
        let resources = eventually(&child, "a request", || {
            let requests = server.requests();
            otlp::decode(&requests.first().ok_or("none yet")?.body)
        });
        let pods: BTreeSet<_> = resources
            .iter()
            .filter_map(|one| one.attributes.get("k8s.pod.name"))
            .collect();
        assert_eq!(pods.len(), kubelet.pod_names().len());
        stop(child);
    });
}

/// The README's table has each file, and no other.
#[test]
fn the_readme_has_every_file() {
    let folder = hosts::workspace_root().join("deploy/outputs");
    let readme = fs::read_to_string(folder.join("README.md")).expect("a README");
    let files = fs::read_dir(&folder).expect("a folder").flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut count = 0;
    for name in names.filter(|name| name != "README.md") {
        assert!(
            readme.contains(&format!("({name})")),
            "{name} is not in the README"
        );
        count += 1;
    }
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| ["))
        .collect::<String>();
    let named = rows.matches("](").count() - rows.matches("](../").count();
    assert_eq!(named, count, "{rows}");
}
