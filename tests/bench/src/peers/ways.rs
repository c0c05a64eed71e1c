//! The ways to get a kubelet's numbers that are compared, and what each needs to run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sim_kubelet::SimKubelet;
use testkit::{Child, Error, Host, Result, hosts};

use crate::process::{self, NOWHERE, Part, fluent_bit};

const PATIENCE: Duration = Duration::from_secs(20);
const SUMMARY: &str = "/stats/summary";
pub const WANTED: &str = "log-generator";
pub const COLLECTOR: &str = "OTel Collector";
/// The plugin's records are bytes when it has made them, and this one's metrics are too.
pub const ENCODING_COLLECTOR: &str = "OTel Collector, OTLP";
/// Another build of the plugin, to be compared with this one.
const BEFORE: &str = "PLUGIN_BEFORE";
/// Together about what a Fluent Bit with the plugin takes before it does anything with a reply. It is no lower
/// limit: two processes wake up twice.
pub const REQUEST: &str = "the request alone";
pub const IDLE: &str = "Fluent Bit + dummy";

/// What one of them is started with.
pub struct Setup<'a> {
    pub host: &'a Host,
    pub kubelet: &'a SimKubelet,
    /// Only the pods whose names begin with [`WANTED`], or all.
    pub two: bool,
}

pub struct Way {
    pub name: &'static str,
    /// What it asks for once a scrape; one without counts as one scrape a second.
    pub path: Option<&'static str>,
    /// What is not equal to the plugin in it.
    pub unequal: &'static str,
    pub start: fn(&Setup) -> Result<Vec<Child>>,
    /// Its version, or what is missing.
    pub version: fn(&Host) -> std::result::Result<String, String>,
}

/// The first is what the others are compared with; the second shows the noise.
pub const WAYS: [Way; 12] = [
    Way {
        name: "Fluent Bit + plugin",
        path: Some(SUMMARY),
        unequal: "a record per container every scrape, with CPU, memory, disk, network; nothing of the node",
        start: plugin,
        version: |host| Ok(host.name.clone()),
    },
    Way {
        name: "the same again",
        path: Some(SUMMARY),
        unequal: "",
        start: plugin,
        version: |host| Ok(host.name.clone()),
    },
    Way {
        name: "with another build",
        path: Some(SUMMARY),
        unequal: "the plugin that PLUGIN_BEFORE names",
        start: before,
        version: |_| match env::var_os(BEFORE) {
            Some(path) => Ok(shown(Path::new(&path))),
            None => Err(format!("{BEFORE} names none")),
        },
    },
    Way {
        name: COLLECTOR,
        path: Some(SUMMARY),
        unequal: "metrics of the node and of whole pods too; shows a client certificate instead of a token; decodes all pods, then filters; throws its metrics away",
        start: |setup| collector(setup, "nop", ""),
        version: collector_version,
    },
    Way {
        name: ENCODING_COLLECTOR,
        path: Some(SUMMARY),
        unequal: "the same, but it makes bytes of its metrics, and throws those away",
        start: |setup| collector(setup, "file", "path: /dev/null, format: proto"),
        version: collector_version,
    },
    Way {
        name: "plugin, JSON to a file",
        path: Some(SUMMARY),
        unequal: "the plugin's records as Fluent Bit's output file writes them",
        start: plugin_to_file,
        version: |host| Ok(host.name.clone()),
    },
    Way {
        name: "Collector, JSON to a file",
        path: Some(SUMMARY),
        unequal: "the Collector's metrics as its file exporter writes them",
        start: |setup| {
            let path = setup.kubelet.dir().join("metrics.json");
            collector(setup, "file", &format!("path: {}", path.display()))
        },
        version: collector_version,
    },
    Way {
        name: "Telegraf",
        path: Some(SUMMARY),
        unequal: "asks for /pods too, every time, for labels and images; volumes and the node too; decodes all pods, then filters",
        start: telegraf,
        version: |_| built("telegraf", "influxdata/telegraf"),
    },
    Way {
        name: "Node sidecar + tail",
        path: Some(SUMMARY),
        unequal: "two processes, both counted; fewer fields; what it has no number for is 0; the file is never rotated",
        start: sidecar,
        version: |_| {
            let mut node = Command::new("node");
            let said = node.arg("--version").output();
            let said = said.map_err(|_| "there is no node on PATH".to_owned())?;
            Ok(format!(
                "Node {}",
                String::from_utf8_lossy(&said.stdout).trim()
            ))
        },
    },
    Way {
        name: "prometheus_scrape",
        path: Some("/metrics/resource"),
        unequal: "a page without network and disk, of a quarter of the bytes; it cannot choose pods, so two wanted are all",
        start: prometheus,
        version: |host| {
            let help = host.command(["-i", "prometheus_scrape", "-h"]).output();
            match help.is_ok_and(|help| help.status.success()) {
                true => Ok(host.name.clone()),
                false => Err(format!("{} has no such input", host.name)),
            }
        },
    },
    Way {
        name: REQUEST,
        path: Some(SUMMARY),
        unequal: "receives the reply through the plugin's TLS and HTTP, and does nothing with it",
        start: request,
        version: |_| match scrapes().exists() {
            true => Ok("of core".to_owned()),
            false => Err(format!("there is no {}", scrapes().display())),
        },
    },
    Way {
        name: IDLE,
        path: None,
        unequal: "asks nobody: one small record a second",
        start: |setup| Ok(vec![fluent_bit(setup.host, &[], ("dummy", &[]), NOWHERE)?]),
        version: |host| Ok(host.name.clone()),
    },
];

fn folder(name: &str) -> PathBuf {
    hosts::workspace_root().join("tests/bench/peers").join(name)
}

fn program(name: &str) -> PathBuf {
    hosts::workspace_root().join("target/peers").join(name)
}

/// The version of a module that was built in, as its go.mod pins it.
fn built(name: &str, module: &str) -> std::result::Result<String, String> {
    let path = program(name);
    if !path.exists() {
        return Err(format!("there is no {}", path.display()));
    }
    let pins = fs::read_to_string(folder(name).join("go.mod")).unwrap_or_default();
    let pin = pins.lines().find(|line| line.contains(module));
    let version = pin.and_then(|line| {
        line.split_whitespace()
            .find(|word| word.starts_with("v0") || word.starts_with("v1"))
    });
    Ok(version.unwrap_or("of no known version").to_owned())
}

/// A file beside those of the kubelet, which is gone with them.
fn file(setup: &Setup, name: &str, text: &str) -> Result<String> {
    let path = setup.kubelet.dir().join(name);
    let failed = |error| Error::new(format!("{}: {error}", path.display()));
    fs::write(&path, text).map_err(failed)?;
    Ok(path.display().to_string())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// An example of core, in the profile of the plugin.
fn scrapes() -> PathBuf {
    hosts::workspace_root().join("target/release/examples/scrapes")
}

fn request(setup: &Setup) -> Result<Vec<Child>> {
    let [url, ca, token] = setup.kubelet.access();
    let mut command = Command::new(scrapes());
    command.args([&*url, &ca, &token, "1000000", "request", "1s"]);
    Ok(vec![Child::spawn(command)?])
}

fn plugin(setup: &Setup) -> Result<Vec<Child>> {
    with_plugin(setup, &hosts::plugin_path(), NOWHERE)
}

fn plugin_to_file(setup: &Setup) -> Result<Vec<Child>> {
    let folder = shown(setup.kubelet.dir());
    let options = [("path", &*folder), ("file", "records"), ("format", "plain")];
    with_plugin(setup, &hosts::plugin_path(), ("file", &options))
}

fn before(setup: &Setup) -> Result<Vec<Child>> {
    let path = env::var_os(BEFORE).unwrap_or_default();
    with_plugin(setup, Path::new(&path), NOWHERE)
}

fn with_plugin(setup: &Setup, plugin: &Path, output: Part) -> Result<Vec<Child>> {
    // The others send every number every time, whether its sample is new or not.
    let mut options = vec![("interval", "1s"), ("repeat_samples", "on")];
    if setup.two {
        options.push(("pod_prefix", WANTED));
    }
    let child = process::scraping(setup.host, setup.kubelet, plugin, &[], &options, output)?;
    Ok(vec![child])
}

fn collector_version(_: &Host) -> std::result::Result<String, String> {
    built(
        "otelcol",
        "opentelemetry-collector-contrib/receiver/kubeletstatsreceiver",
    )
}

fn collector(setup: &Setup, exporter: &str, options: &str) -> Result<Vec<Child>> {
    let [url, ca, _] = setup.kubelet.access();
    let (certificate, key) = (
        shown(&setup.kubelet.client_cert_file()),
        shown(&setup.kubelet.client_key_file()),
    );
    let endpoint = url.trim_start_matches("https://");
    let (filter, processors) = match setup.two {
        true => (
            format!(
                "processors:\n  filter:\n    metric_conditions:\n      - 'resource.attributes[\"k8s.pod.name\"] == nil or not IsMatch(resource.attributes[\"k8s.pod.name\"], \"^{WANTED}\")'\n"
            ),
            "[filter]",
        ),
        false => (String::new(), "[]"),
    };
    let config = format!(
        "\
receivers:
  kubeletstats:
    collection_interval: 1s
    initial_delay: 0s
    endpoint: {endpoint}
    auth_type: tls
    ca_file: {ca}
    cert_file: {certificate}
    key_file: {key}
{filter}exporters:
  {exporter}: {{{options}}}
service:
  telemetry:
    logs:
      level: warn
    metrics:
      level: none
  pipelines:
    metrics:
      receivers: [kubeletstats]
      processors: {processors}
      exporters: [{exporter}]
"
    );
    let config = file(setup, "otelcol.yaml", &config)?;
    let mut command = Command::new(program("otelcol"));
    command.args(["--config", &config]);
    Ok(vec![Child::spawn(command)?])
}

fn telegraf(setup: &Setup) -> Result<Vec<Child>> {
    let [url, ca, token] = setup.kubelet.access();
    let filter = match setup.two {
        true => format!("  [inputs.kubernetes.tagpass]\n    pod_name = [\"{WANTED}*\"]\n"),
        false => String::new(),
    };
    let config = format!(
        "\
[agent]
  interval = \"1s\"
  round_interval = false
  flush_interval = \"1s\"
  quiet = true
  omit_hostname = true
  skip_processors_after_aggregators = true
[[outputs.discard]]
[[inputs.kubernetes]]
  url = \"{url}\"
  bearer_token = \"{token}\"
  tls_ca = \"{ca}\"
{filter}"
    );
    let config = file(setup, "telegraf.conf", &config)?;
    let mut command = Command::new(program("telegraf"));
    command.arg(config);
    Ok(vec![Child::spawn(command)?])
}

fn sidecar(setup: &Setup) -> Result<Vec<Child>> {
    let [url, ca, token] = setup.kubelet.access();
    let records = shown(&setup.kubelet.dir().join("records.log"));
    let mut command = Command::new("node");
    command.arg(folder("sidecar").join("sidecar.mjs"));
    command.args([&*url, &ca, &token, &records, "1000"]);
    if setup.two {
        command.arg(WANTED);
    }
    let node = Child::spawn(command)?;
    // `tail` looks for new files but seldom.
    testkit::wait::until("the sidecar's file", PATIENCE, || {
        Path::new(&records).exists()
    })?;
    let parsers = "[PARSER]\n    Name json\n    Format json\n";
    let parsers = file(setup, "parsers.conf", parsers)?;
    let options = [
        ("path", &*records),
        ("parser", "json"),
        ("read_from_head", "on"),
    ];
    let tail = fluent_bit(setup.host, &["-R", &parsers], ("tail", &options), NOWHERE)?;
    Ok(vec![node, tail])
}

fn prometheus(setup: &Setup) -> Result<Vec<Child>> {
    let [_, ca, token] = setup.kubelet.access();
    let failed = |error| Error::new(format!("{token}: {error}"));
    let token = fs::read_to_string(&token).map_err(failed)?;
    let port = setup.kubelet.port().to_string();
    let options = [
        ("host", "127.0.0.1"),
        ("port", &*port),
        ("tls", "on"),
        ("tls.verify", "on"),
        ("tls.ca_file", &ca),
        ("bearer_token", &token),
        ("metrics_path", "/metrics/resource"),
        ("scrape_interval", "1s"),
    ];
    let child = fluent_bit(setup.host, &[], ("prometheus_scrape", &options), NOWHERE)?;
    Ok(vec![child])
}
