//! The three ways in which the guide of the old stack had its readers look whether metrics
//! arrive: at the agent's output, at the topic, at the table. With the plugin in every host
//! that is found, the shipped configuration, and a simulated kubelet.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use kubeletstats_consumer::{Metric, Row};
use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, hosts, wait};

use crate::{
    Outcome,
    postgres::Database,
    scene::{DEADLINE, Stage, topic},
};

const PODS: [&str; 2] = ["log-generator-a-vm", "log-generator-b-vm"];
/// Of each pod, before a look is taken.
const ENOUGH: usize = 3;

/// The agent at work: records go to its stdout and into a topic.
struct Pipeline {
    host: Host,
    topic: String,
    agent: Child,
    folder: PathBuf,
    _kubelet: SimKubelet,
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Pipeline {
    fn start(stage: &Stage, host: Host) -> Self {
        let kubelet = SimKubelet::builder()
            .token("a-token-of-the-test")
            .sample_period(Duration::from_millis(300))
            .server_names(&["vm"])
            .burn("default/log-generator-b-vm", 250)
            .start()
            .expect("a kubelet on loopback");
        let topic = topic();
        let folder = std::env::temp_dir().join(&topic);
        fs::create_dir_all(&folder).expect("a folder");
        // A topic of the test's own, and the plugin where this build put it.
        let shipped = fs::read_to_string(hosts::workspace_root().join("fluent-bit.conf"));
        let mut changed = 0;
        let own = |line: &str| match line.trim_start().starts_with("Topics ") {
            true => {
                changed += 1;
                format!("    Topics {topic}\n")
            }
            false => format!("{line}\n"),
        };
        let conf: String = shipped.expect("fluent-bit.conf").lines().map(own).collect();
        assert_eq!(changed, 1, "one topic in fluent-bit.conf");
        fs::write(folder.join("fluent-bit.conf"), conf).expect("written");
        let plugins = format!("[PLUGINS]\n    Path {}\n", hosts::plugin_path().display());
        fs::write(folder.join("plugins.conf"), plugins).expect("written");

        let mut command = host.command(["-c", "fluent-bit.conf"]);
        command
            .current_dir(&folder)
            .env("KUBELET_URL", kubelet.url())
            .env("KUBELET_CA_FILE", kubelet.ca_file())
            .env("KUBELET_TOKEN_FILE", kubelet.token_file())
            .env("KUBELET_SERVER_NAME", "vm")
            .env("SCRAPE_INTERVAL_MS", "300")
            .env("TARGET_NAMESPACE", "default")
            .env("TARGET_POD_PREFIX", "log-generator")
            .env("SERVICE_NAME", "log-generator")
            .env("METRICS_REGION", "eu-1")
            .env("KAFKA_BROKERS", stage.brokers())
            .env("KUBELETSTATS_TOPIC", &topic);
        for unset in ["KUBELET_TIMEOUT_MS", "ALLOW_INSECURE_TLS", "NODE_NAME"] {
            command.env_remove(unset);
        }
        let agent = Child::spawn(command).expect("the host starts");
        Self {
            host,
            topic,
            agent,
            folder,
            _kubelet: kubelet,
        }
    }

    /// Method a: the records on the agent's stdout.
    fn on_stdout(&self) -> Vec<String> {
        let lines = self.agent.lines(Stream::Stdout);
        lines
            .into_iter()
            .filter(|line| line.starts_with('{'))
            .collect()
    }

    fn metrics(&self) -> Vec<Metric> {
        let read = |line: &String| Metric::from_json(line);
        let metrics: Result<_, _> = self.on_stdout().iter().map(read).collect();
        metrics.unwrap_or_else(|error| panic!("{}: {error}", self.host.name))
    }

    fn wait_for_enough(&self) {
        let what = format!("records of {PODS:?} from {}", self.host.name);
        let enough = || {
            let seen = self.metrics();
            PODS.iter()
                .all(|pod| seen.iter().filter(|metric| metric.pod == **pod).count() >= ENOUGH)
        };
        wait::until(&what, DEADLINE, enough)
            .unwrap_or_else(|error| panic!("{error}: {}", self.agent.tail()));
    }

    /// Ends the agent, which delivers what it has; the result is all it has printed.
    fn stop(&mut self) -> Vec<Metric> {
        let ended = self.agent.terminate(DEADLINE);
        assert!(
            ended.status.success(),
            "{}: {}",
            ended.status,
            self.agent.tail()
        );
        self.metrics()
    }
}

/// On all hosts at once: they wait most of the time.
fn each_host(test: impl Fn(Host) -> String + Sync) -> Outcome {
    let hosts = hosts::all().expect("hosts that run");
    let saw = thread::scope(|scope| {
        let run = |host: Host| {
            let name = host.describe();
            let test = &test;
            (name, scope.spawn(move || test(host)))
        };
        let running: Vec<_> = hosts.into_iter().map(run).collect();
        let ended = running.into_iter().map(|(name, test)| {
            let seen = test.join().unwrap_or_else(|_| panic!("on {name}"));
            let seen: String = seen.lines().map(|line| format!("    {line}\n")).collect();
            format!("  on {name}\n{seen}")
        });
        ended.collect()
    });
    Ok(saw)
}

/// Look at the output of the agent.
pub fn method_a(stage: &Stage) -> Outcome {
    each_host(|host| {
        let mut pipeline = Pipeline::start(stage, host);
        pipeline.wait_for_enough();
        let metrics = pipeline.stop();
        for metric in &metrics {
            assert!(PODS.contains(&metric.pod.as_str()), "{metric}");
            assert_eq!(metric.service, "log-generator");
            assert_eq!(metric.namespace.as_deref(), Some("default"));
            if metric.pod == PODS[1] {
                assert!((metric.cpu - 25.0).abs() <= 0.1, "{metric}");
            }
        }
        pipeline.on_stdout().first().cloned().unwrap_or_default()
    })
}

/// Read the topic.
pub fn method_b(stage: &Stage) -> Outcome {
    each_host(|host| {
        let mut pipeline = Pipeline::start(stage, host);
        let consumer = stage.consumer(&pipeline.topic, None, &[]);
        pipeline.wait_for_enough();
        let mut expected: Vec<String> = pipeline.stop().iter().map(ToString::to_string).collect();
        let mut lines = consumer.wait_for_printed(expected.len());
        let first = lines.first().cloned().unwrap_or_default();
        assert!(
            first.starts_with("[METRIC] service=log-generator pod=log-generator-"),
            "{first}"
        );
        lines.sort();
        expected.sort();
        assert_eq!(lines, expected, "on {}", pipeline.host.name);
        let last = consumer.stop();
        assert_eq!(
            last,
            format!("ended: {} records, 0 skipped", expected.len())
        );
        first
    })
}

/// Select from the table; every row is exactly the record that the agent has printed.
pub fn method_c(stage: &Stage) -> Outcome {
    each_host(|host| {
        let database = stage.cluster.database();
        let mut pipeline = Pipeline::start(stage, host);
        let consumer = stage.consumer(&pipeline.topic, Some(&database), &[]);
        pipeline.wait_for_enough();
        let metrics = pipeline.stop();
        crate::scene::wait_for_rows(&database, metrics.len(), &consumer);
        let mut expected: Vec<String> = metrics.into_iter().map(as_psql_shows_it).collect();
        expected.sort();
        assert_eq!(all_rows(&database), expected, "on {}", pipeline.host.name);
        let last = consumer.stop();
        let count = expected.len();
        assert_eq!(
            last,
            format!("ended: {count} records, {count} rows stored, 0 known before, 0 skipped")
        );
        let newest = database.table(
            "SELECT time, service, pod_name, cpu, memory FROM system_metrics \
             ORDER BY time DESC LIMIT 10;",
        );
        let average = database.table(
            "SELECT pod_name, count(*), round(avg(cpu)::numeric, 2) AS avg_cpu, \
             round(avg(memory)::numeric, 2) AS avg_memory, max(time) AS newest \
             FROM system_metrics GROUP BY pod_name ORDER BY pod_name;",
        );
        let averages = database.rows(
            "SELECT pod_name, abs(avg(cpu) - 25) <= 0.1 FROM system_metrics \
             WHERE pod_name = 'log-generator-b-vm' GROUP BY pod_name",
        );
        assert_eq!(averages, ["log-generator-b-vm|t"]);
        format!("{newest}{average}")
    })
}

/// All columns, with times in microseconds and numbers in the shortest form that is exact.
fn all_rows(database: &Database<'_>) -> Vec<String> {
    let mut rows = database.rows(
        "SELECT (extract(epoch FROM time) * 1000000)::bigint, service, pod_name, cpu, memory, \
         namespace, node_name, container_name, network_in, network_out FROM system_metrics",
    );
    for row in &mut rows {
        let fields: Vec<&str> = row.split('|').collect();
        let number = |text: &str| {
            text.parse::<f64>()
                .map_or(text.to_owned(), |value| format!("{value:?}"))
        };
        let mut fields: Vec<String> = fields.into_iter().map(str::to_owned).collect();
        for index in [3, 4] {
            fields[index] = number(&fields[index]);
        }
        *row = fields.join("|");
    }
    rows.sort();
    rows
}

fn as_psql_shows_it(metric: Metric) -> String {
    let row = Row::try_from(metric).expect("a row");
    let micros = row
        .time
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_micros();
    let memory = row
        .memory
        .map_or(String::new(), |value| format!("{value:?}"));
    let whole = |value: Option<i64>| value.map_or(String::new(), |value| value.to_string());
    let (network_in, network_out) = (whole(row.network_in), whole(row.network_out));
    format!(
        "{micros}|{}|{}|{:?}|{memory}|{}|{}|{}|{network_in}|{network_out}",
        row.service, row.pod_name, row.cpu, row.namespace, row.node_name, row.container_name
    )
}
