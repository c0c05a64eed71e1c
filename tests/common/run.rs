//! One run of a host with the plugin, and its output for an operator.

use std::{ffi::OsString, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;
use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, hosts, record_reader::Metric};

/// The time limit for everything that must happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Runs the test on each host, and prints which.
pub fn each_host(test: impl Fn(&Host)) {
    for host in hosts::to_test() {
        println!("on {}", host.describe());
        test(&host);
    }
}

/// The command line of a host, up to its outputs.
#[derive(Debug)]
pub struct Line(Vec<OsString>);

impl Line {
    /// Loads the plugin with `-e`, and sets a flush interval that suits a test.
    pub fn new() -> Self {
        Self::loading(hosts::plugin_path())
    }

    /// Does the same with the build that panics at the place that `KUBELETSTATS_PANIC`
    /// names.
    pub fn panicking() -> Self {
        Self::loading(hosts::panicking_plugin_path())
    }

    fn loading(plugin: PathBuf) -> Self {
        let line = Self(vec!["-e".into(), plugin.into()]);
        line.args(["-f", "0.2"])
    }

    pub fn args<S: Into<OsString>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.0.extend(args.into_iter().map(Into::into));
        self
    }

    /// An input with these options.
    pub fn input(self, options: &[(&str, &str)]) -> Self {
        self.args(["-i", "kubeletstats"]).options(options)
    }

    /// An input that scrapes this kubelet often.
    pub fn scraping(self, kubelet: &SimKubelet, options: &[(&str, &str)]) -> Self {
        let [url, ca, token] = kubelet.access();
        let usual = [
            ("kubelet_url", url.as_str()),
            ("kube_ca_file", &ca),
            ("kube_token_file", &token),
            ("interval", "200ms"),
        ];
        let given = |name: &str| options.iter().any(|(key, _)| *key == name);
        let usual: Vec<_> = usual.into_iter().filter(|(name, _)| !given(name)).collect();
        self.input(&usual).options(options)
    }

    pub fn options(self, options: &[(&str, &str)]) -> Self {
        let pairs = options
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        self.args(pairs.flat_map(|pair| ["-p".to_owned(), pair]))
    }

    /// Adds the host's own input, with this number of records per second.
    pub fn dummy(self, rate: &str) -> Self {
        self.args(["-i", "dummy", "-t", "dummy"])
            .options(&[("rate", rate)])
    }

    /// Prints only the records of that input, with their dates.
    pub fn printing_dummy(self) -> Self {
        self.args(["-o", "stdout", "-m", "dummy", "-p", "format=json_lines"])
    }

    pub fn printing(self) -> Self {
        self.args(["-o", "stdout", "-m", "*", "-p", "format=json_lines"])
            .args(["-p", "json_date_key=false"])
    }

    pub fn command(self, host: &Host) -> Command {
        host.command(self.0)
    }

    pub fn start(self, host: &Host) -> Child {
        Child::spawn(self.command(host)).expect("the host starts")
    }
}

/// Returns the lines of an `[INPUT]` section for this kubelet.
pub fn section(kubelet: &SimKubelet) -> String {
    let [url, ca, token] = kubelet.access();
    format!(
        "    name kubeletstats\n    kubelet_url {url}\n    kube_ca_file {ca}\n    \
         kube_token_file {token}\n"
    )
}

/// Waits for the first line from index `first` on that `wanted` accepts.
pub fn wait_for_line(
    child: &Child,
    first: usize,
    stream: Stream,
    wanted: impl Fn(&str) -> bool,
) -> String {
    let line = child.wait_for_line_from(first, stream, wanted, DEADLINE);
    line.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits for the first record on stdout that `wanted` accepts.
pub fn wait_for_record(child: &Child, wanted: impl Fn(&Value) -> bool) -> Value {
    let parse = |line: &str| serde_json::from_str::<Value>(line).ok();
    let line = wait_for_line(child, 0, Stream::Stdout, |line| {
        line.starts_with('{') && parse(line).is_some_and(|record| wanted(&record))
    });
    parse(&line).expect("it was json before")
}

/// Returns every record on stdout so far, as it was printed.
pub fn record_lines(child: &Child) -> Vec<String> {
    let mut lines = child.lines(Stream::Stdout);
    lines.retain(|line| line.starts_with('{'));
    lines
}

/// Returns the records so far, checked as strictly as by a consumer of the old stack.
pub fn records(child: &Child) -> Vec<Value> {
    record_lines(child)
        .iter()
        .map(|line| {
            Metric::from_json(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            serde_json::from_str(line).expect("json")
        })
        .collect()
}

/// One line of the plugin in the host's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub level: String,
    /// For example `kubeletstats.0`.
    pub input: String,
    pub text: String,
}

impl Said {
    /// Reads a line of the log. Returns `None` if it is not the plugin's own line, for
    /// example if the host wrote it about the plugin.
    pub fn of(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once("[input:kubeletstats:")?;
        let (input, text) = rest.split_once("] ")?;
        let by_host = ["initializing", "thread instance initialized"];
        if by_host.contains(&text) || text.starts_with("storage_strategy=") {
            return None;
        }
        let level = head.trim_end().strip_suffix(']')?.rsplit('[').next()?;
        Some(Self {
            level: level.trim().to_owned(),
            input: input.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// Returns the plugin's own log lines, without date and level.
pub fn plugin_lines(child: &Child) -> Vec<String> {
    let lines = child.lines(Stream::Stderr);
    let said = lines.iter().filter_map(|line| Said::of(line));
    said.map(|said| said.text).collect()
}

/// Waits until the plugin has logged this text.
pub fn wait_for_log(child: &Child, text: &str) {
    wait_for_line(child, 0, Stream::Stderr, |line| line.contains(text));
}

/// Stops the host with SIGTERM. It must end with 0, and without the grace period for a
/// stuck input.
pub fn stop(mut child: Child) -> Child {
    let ended = child.terminate(DEADLINE);
    assert!(!ended.killed, "killed: {}", child.tail());
    assert!(ended.status.success(), "{}: {}", ended.status, child.tail());
    child
}
