//! Owns the table of options, and how the user's text becomes a [`Config`]. It does no I/O.
//!
//! A row of [`OPTIONS`] declares everything about an option except its field in [`Config`]: the
//! name, type, default and help, and how its text becomes that field. The host's `-h`, the flags of
//! the command and `docs/options.md` follow from the rows.

mod names;
mod url;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

pub use self::url::KubeletUrl;
use crate::{
    catalogue::{Level, Plan},
    duration,
    error::{Error, Result},
    facts::{LabelSelector, Patterns},
    jitter,
    kubelet::name::Name,
    sink::{
        metrics::{Naming, families::Dialect},
        record,
    },
    text::printable,
};

/// The type of the option that the host shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// `true` or `false`.
    Bool,
    /// A duration.
    Time,
}

/// One row of the table.
#[derive(Debug)]
pub struct OptionSpec {
    /// The name in the configuration, in lower case.
    pub name: &'static str,
    /// The type that the host's `-h` shows.
    pub kind: Kind,
    /// The default as the user would write it, or `None` if the option is not set by default.
    pub default: Option<&'static str>,
    /// The help, in one sentence.
    pub help: &'static str,
    /// Reads the value and sets its field.
    set: fn(&mut Config, &Value) -> Result<()>,
}

const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const SERVICE_ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// `"name": Kind = "default", "help", |config, value| …`. A row without a default omits it.
macro_rules! options {
    ($($name:literal: $kind:ident $(= $default:expr)?, $help:literal, |$config:ident, $value:ident| $set:expr;)*) => {
        &[$(OptionSpec {
            name: $name,
            kind: Kind::$kind,
            default: options!(@default $($default)?),
            help: $help,
            set: |$config, $value| { $set; Ok(()) },
        }),*]
    };
    (@default) => { None };
    (@default $default:expr) => { Some($default) };
}

/// All options of the input.
pub const OPTIONS: &[OptionSpec] = options! {
    "kubelet_url": Text = "https://127.0.0.1:10250",
        "Base URL of the kubelet, or of the API server's node proxy with its path.",
        |config, value| config.url = value.url()?;
    "interval": Time = "10s",
        "Time between scrapes: 500ms, 10s, 1m; a bare number is seconds.",
        |config, value| config.interval = value.duration()?;
    "timeout": Time = "5s",
        "Time for one whole scrape: resolve, connect, TLS and body.",
        |config, value| config.timeout = value.duration()?;
    "namespace": Text,
        "Namespaces to select, separated by commas; all when not set.",
        |config, value| config.namespaces = value.read(names::namespaces)?;
    "pod_prefix": Text,
        "Prefixes of pod names to select, separated by commas; all when not set.",
        |config, value| config.pod_prefixes = value.read(names::pod_prefixes)?;
    "kube_token_file": Text = SERVICE_ACCOUNT_TOKEN,
        "File with the bearer token, read again for every scrape.",
        |config, value| config.token_file = value.file();
    "kube_ca_file": Text = SERVICE_ACCOUNT_CA,
        "PEM file with the CAs that may sign the kubelet's certificate.",
        |config, value| config.ca_file = value.file();
    "server_name": Text,
        "Name the kubelet's certificate must carry; the URL's host when not set.",
        |config, value| config.server_name = value.server_name()?;
    "cert_file": Text,
        "PEM file with the client certificate; needs key_file.",
        |config, value| config.cert_file = value.path();
    "key_file": Text,
        "PEM file with the client certificate's key; needs cert_file.",
        |config, value| config.key_file = value.path();
    "allow_insecure_tls": Bool = "false",
        "Do not check the kubelet's certificate.",
        |config, value| config.allow_insecure_tls = value.boolean()?;
    "service": Text,
        "The record's 'service'; the container's name when not set.",
        |config, value| config.service = value.single_line()?;
    "region": Text,
        "The record's 'metadata.region'; absent when not set.",
        |config, value| config.region = value.single_line()?;
    "node_name": Text,
        "The record's 'nodeName'; the kubelet's own when not set.",
        |config, value| config.node_name = value.single_line()?;
    "repeat_samples": Bool = "false",
        "Append a record per scrape even if the kubelet has no new sample.",
        |config, value| config.repeat_samples = value.boolean()?;
    "cpu_source": Text = "auto",
        "auto: the kubelet's rate, limited by its counter; counter or instant: only one of the two.",
        |config, value| config.cpu_source = value.one_of(CPU_SOURCES)?;
    "stats_tag": Text,
        "Tag of one record per scrape about the plugin itself; no such record when not set.",
        |config, value| config.stats_tag = value.single_line()?;
    "format": Text = "records",
        "records (logs), metrics (needs Fluent Bit 2.0 or later), or both.",
        |config, value| config.format = value.one_of(FORMATS)?;
    "metric_names": Text = "prometheus",
        "Metric names: prometheus (kubelet and cAdvisor) or opentelemetry (the kubeletstats receiver).",
        |config, value| config.metric_names = value.one_of(NAMINGS)?;
    "kube_state_metrics": Bool = "false",
        "Also metrics about pods under the names of kube-state-metrics; needs pod_facts.",
        |config, value| config.kube_state_metrics = value.boolean()?;
    "skip_processors": Bool = "false",
        "Metrics skip this input's processors, which saves most of their cost.",
        |config, value| config.skip_processors = value.boolean()?;
    "metric_groups": Text = "container",
        "What to collect: container, pod, node, volume, system_container, interface, or all.",
        |config, value| config.plan = value.groups()?;
    "fields": Text = "basic",
        "basic: the values that most users need; all: every value that the kubelet has.",
        |config, value| config.plan.level = value.one_of(LEVELS)?;
    "pod_facts": Bool = "false",
        "Also ask the kubelet for /pods: workload, state, limits and labels of each pod.",
        |config, value| config.pod_facts = value.boolean()?;
    "pod_facts_interval": Time = "60s",
        "Time between requests for /pods; a new pod causes one sooner.",
        |config, value| config.pod_facts_interval = value.duration()?;
    "pod_labels": Text,
        "Labels to record, separated by commas, with * as wildcard; needs pod_facts.",
        |config, value| config.pod_labels = value.read(Patterns::parse)?;
    "pod_annotations": Text,
        "Annotations to record, separated by commas, with * as wildcard; needs pod_facts.",
        |config, value| config.pod_annotations = value.read(Patterns::parse)?;
    "label_selector": Text,
        "Selects pods by label, in the syntax of kubectl -l; needs pod_facts.",
        |config, value| config.label_selector = value.selector()?;
    "exclude_namespace": Text,
        "Namespaces to drop, separated by commas; overrides what is selected.",
        |config, value| config.exclude.namespaces = value.read(names::namespaces)?;
    "exclude_pod_prefix": Text,
        "Prefixes of pod names to drop, separated by commas; overrides what is selected.",
        |config, value| config.exclude.pod_prefixes = value.read(names::pod_prefixes)?;
    "exclude_container": Text,
        "Names of containers to drop, separated by commas; overrides what is selected.",
        |config, value| config.exclude.containers = value.read(names::containers)?;
    "cluster": Text,
        "The record's 'cluster'; absent when not set.",
        |config, value| config.cluster = value.single_line()?;
    "jitter": Time = "0s",
        "Each node delays its scrapes by a fixed part of this time, chosen by its name.",
        |config, value| config.jitter = value.duration_or_zero()?;
};

/// What a record's CPU value is computed from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum CpuSource {
    /// `usageNanoCores`, limited by the bounds that `usageCoreNanoSeconds` of two samples gives.
    #[default]
    Auto,
    /// Only `usageCoreNanoSeconds` of two samples.
    Counter,
    /// Only `usageNanoCores`.
    Instant,
}

const CPU_SOURCES: &[(&str, CpuSource)] = &[
    ("auto", CpuSource::Auto),
    ("counter", CpuSource::Counter),
    ("instant", CpuSource::Instant),
];

/// What a scrape produces.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Events.
    #[default]
    Records,
    /// Native metrics.
    Metrics,
    /// Both, from one scrape.
    Both,
}

impl Format {
    /// Whether there are events.
    pub fn has_records(self) -> bool {
        self != Self::Metrics
    }

    /// Whether there are metrics.
    pub fn has_metrics(self) -> bool {
        self != Self::Records
    }
}

const FORMATS: &[(&str, Format)] = &[
    ("records", Format::Records),
    ("metrics", Format::Metrics),
    ("both", Format::Both),
];

const NAMINGS: &[(&str, Naming)] = &[
    ("prometheus", Naming::Prometheus),
    ("opentelemetry", Naming::OpenTelemetry),
];

const LEVELS: &[(&str, Level)] = &[("basic", Level::Basic), ("all", Level::All)];

/// A name that `metric_groups` can have, and the switch that it sets.
type Group = (
    &'static str,
    for<'p> fn(&'p mut Plan<'static>) -> &'p mut bool,
);
const GROUPS: &[Group] = &[
    (record::Kind::Container.as_str(), |plan| {
        &mut plan.containers
    }),
    (record::Kind::Pod.as_str(), |plan| &mut plan.pods),
    (record::Kind::Node.as_str(), |plan| &mut plan.node),
    (record::Kind::Volume.as_str(), |plan| &mut plan.volumes),
    (record::Kind::SystemContainer.as_str(), |plan| {
        &mut plan.system_containers
    }),
    (record::Kind::Interface.as_str(), |plan| {
        &mut plan.interfaces
    }),
];

/// What is dropped. This overrides what is selected.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Exclude {
    /// Whole names of namespaces.
    pub namespaces: Vec<String>,
    /// Prefixes of pod names.
    pub pod_prefixes: Vec<String>,
    /// Whole names of containers.
    pub containers: Vec<String>,
}

/// The path of a file. A file that the user named must exist, a file at a default path need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePath {
    /// The default path of [`OPTIONS`].
    Default(PathBuf),
    /// A path that the user named.
    Given(PathBuf),
}

impl FilePath {
    /// Returns the path in both cases.
    pub fn path(&self) -> &Path {
        match self {
            FilePath::Default(path) | FilePath::Given(path) => path,
        }
    }
}

impl Default for FilePath {
    fn default() -> Self {
        Self::Default(PathBuf::new())
    }
}

/// The options of one input. Every value is checked, and every default is applied.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Config {
    /// `kubelet_url`
    pub url: KubeletUrl,
    /// From 1 ms to 7 days, like `timeout`.
    pub interval: Duration,
    /// The time for one whole scrape. It may be longer than `interval`.
    pub timeout: Duration,
    /// If this is empty, pods of all namespaces are selected.
    pub namespaces: Vec<String>,
    /// If this is empty, pods of any name are selected.
    pub pod_prefixes: Vec<String>,
    /// `kube_token_file`
    pub token_file: FilePath,
    /// `kube_ca_file`
    pub ca_file: FilePath,
    /// The name that the certificate must have. Without it, that is the host of `url`.
    pub server_name: Option<String>,
    /// Both of these or none are set; see [`Config::client_cert`].
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    /// Whether the certificate is not checked.
    pub allow_insecure_tls: bool,
    /// The record's `service`. Without it, that is the container's name.
    pub service: Option<String>,
    /// The record's `metadata.region`. Without it, the field is absent.
    pub region: Option<String>,
    /// The record's `nodeName`. Without it, that is the name in the summary.
    pub node_name: Option<String>,
    /// Whether each scrape gives a record, even if the sample was recorded before.
    pub repeat_samples: bool,
    /// Which of the kubelet's two values `cpu` is computed from.
    pub cpu_source: CpuSource,
    /// The tag of the records about the plugin itself. Without it, there are none.
    pub stats_tag: Option<String>,
    /// Records, metrics or both.
    pub format: Format,
    /// Which names metrics have.
    pub metric_names: Naming,
    /// Whether there are `kube_pod_…` metrics.
    pub kube_state_metrics: bool,
    /// Whether metrics skip the input's processors. The host would have to decode the metrics for
    /// them.
    pub skip_processors: bool,
    /// What the host understands. This is not an option; the plugin sets it.
    pub dialect: Dialect,
    /// `metric_groups` and `fields`
    pub plan: Plan<'static>,
    /// Whether `/pods` is requested too.
    pub pod_facts: bool,
    /// The time between requests for `/pods`.
    pub pod_facts_interval: Duration,
    /// Which labels are recorded.
    pub pod_labels: Patterns,
    /// Which annotations are recorded.
    pub pod_annotations: Patterns,
    /// The selector of pods by their labels. Without it, the labels do not matter.
    pub label_selector: Option<LabelSelector>,
    /// The `exclude_…` options.
    pub exclude: Exclude,
    /// The record's `cluster`. Without it, the field is absent.
    pub cluster: Option<String>,
    /// The time over which the scrapes of all nodes are spread, or zero.
    pub jitter: Duration,
}

impl Config {
    /// Reads every option of the table through `given`, which returns the user's text. An unset
    /// `${VARIABLE}` leaves an empty text, so an empty text counts as not set.
    pub fn read(given: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut config = Self::default();
        for option in OPTIONS {
            let given = given(option.name).map(|text| text.trim().to_owned());
            let given = given.filter(|text| !text.is_empty());
            (option.set)(&mut config, &Value { option, given })?;
        }
        // Records of containers alone need only the lowest level. Metrics also need the time of the
        // network's sample.
        let is_least = !config.plan.wants_other_kinds() && !config.format.has_metrics();
        if config.plan.level < Level::All && is_least {
            config.plan.level = Level::Least;
        }
        // The rest of the interval is for the scrape itself, so that it has ended before the next
        // one is due.
        let most = config.interval.mul_f64(0.9);
        if config.jitter > most {
            let jitter = format!("{:?}", config.jitter);
            let expected = format!("a time up to nine tenths of the interval, {most:?}");
            return Err(Error::option("jitter", &jitter, &expected));
        }
        let needs_facts = [
            ("pod_labels", !config.pod_labels.is_empty()),
            ("pod_annotations", !config.pod_annotations.is_empty()),
            ("label_selector", config.label_selector.is_some()),
            ("kube_state_metrics", config.kube_state_metrics),
        ];
        let needing = needs_facts
            .iter()
            .find(|(_, is_set)| *is_set && !config.pod_facts);
        if let Some((option, _)) = needing {
            return Err(Error::option_needs(option, "pod_facts"));
        }
        match (&config.cert_file, &config.key_file) {
            (Some(_), None) => Err(Error::option_pair("cert_file", "key_file")),
            (None, Some(_)) => Err(Error::option_pair("key_file", "cert_file")),
            _ => Ok(config),
        }
    }

    /// The files of the client certificate and of its key, if there is one.
    pub fn client_cert(&self) -> Option<(&Path, &Path)> {
        self.cert_file.as_deref().zip(self.key_file.as_deref())
    }

    /// The delay of this node's scrapes.
    pub fn delay(&self) -> Duration {
        if self.jitter.is_zero() {
            return Duration::ZERO;
        }
        let name = self.node_name.clone().unwrap_or_else(jitter::machine);
        jitter::delay(self.jitter, &name)
    }

    /// The line at start that shows the options in force.
    pub fn announcement(&self) -> String {
        let chosen = |list: &[String]| match list {
            [] => "all".to_owned(),
            some => printable(&some.join(","), 200),
        };
        let mut line = format!(
            "scraping {} every {:?}, timeout {:?}, namespaces {}, pod prefixes {}",
            self.url.summary,
            self.interval,
            self.timeout,
            chosen(&self.namespaces),
            chosen(&self.pod_prefixes),
        );
        if self.label_selector.is_some() {
            line.push_str(", selected by label_selector");
        }
        for (what, names) in [
            ("namespaces", &self.exclude.namespaces),
            ("pod prefixes", &self.exclude.pod_prefixes),
            ("containers", &self.exclude.containers),
        ] {
            if !names.is_empty() {
                line.push_str(&format!(", without {what} {}", chosen(names)));
            }
        }
        if self.format != Format::Records {
            let name = |choices: &[(&'static str, Format)]| {
                let chosen = choices.iter().find(|(_, format)| *format == self.format);
                chosen.map_or("", |(name, _)| name)
            };
            line.push_str(&format!(", format {}", name(FORMATS)));
        }
        if self.plan.wants_other_kinds() {
            let groups: Vec<_> = self.groups().collect();
            line.push_str(&format!(", groups {}", groups.join(",")));
        }
        if self.pod_facts && self.plan.wants_pods() {
            let every = self.pod_facts_interval;
            line.push_str(&format!(", facts of pods every {every:?}"));
        }
        if !self.jitter.is_zero() {
            line.push_str(&format!(", each delayed {:.1?} by jitter", self.delay()));
        }
        line
    }

    /// The names that `metric_groups` has.
    pub fn groups(&self) -> impl Iterator<Item = &'static str> {
        let mut plan = self.plan;
        GROUPS
            .iter()
            .filter(move |(_, switch)| *switch(&mut plan))
            .map(|(name, _)| *name)
    }

    /// The lines at start about options that are unsafe or have no effect.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.url.https && self.allow_insecure_tls {
            warnings.push("the kubelet's certificate is not checked: allow_insecure_tls is on");
        }
        if !self.url.https && matches!(self.token_file, FilePath::Given(_)) {
            warnings.push("kube_token_file is not used: a token is never sent over http");
        }
        if self.pod_facts && !self.plan.wants_pods() {
            warnings.push("pod_facts has no effect: metric_groups names nothing of pods");
        }
        let has_states = self.format.has_metrics() && self.metric_names == Naming::Prometheus;
        if self.kube_state_metrics && !has_states {
            warnings.push("kube_state_metrics has no effect: it needs format metrics or both, and metric_names prometheus");
        }
        if self.skip_processors && !self.format.has_metrics() {
            warnings.push("skip_processors has no effect: it needs format metrics or both");
        }
        warnings
    }
}

/// The text that the user wrote for an option, if any. Each method reads it in one form. If it
/// cannot, it returns an error of one line.
struct Value<'a> {
    option: &'a OptionSpec,
    given: Option<String>,
}

impl Value<'_> {
    /// The user's text, or the default of the table.
    fn text(&self) -> &str {
        let given = self.given.as_deref();
        given.or(self.option.default).unwrap_or_default()
    }

    fn bad_value(&self, expected: &str) -> Error {
        Error::option(self.option.name, self.text(), expected)
    }

    fn url(&self) -> Result<KubeletUrl> {
        url::parse(self.text()).ok_or_else(|| self.bad_value(url::EXPECTED))
    }

    /// If a variable is not set, `${VARIABLE}ms` becomes a unit without a number. This counts as
    /// not set.
    fn time(&self) -> &str {
        match self.text() {
            "ms" | "s" | "m" | "h" => self.option.default.unwrap_or_default(),
            text => text,
        }
    }

    fn duration(&self) -> Result<Duration> {
        let text = self.time();
        let duration = duration::parse(text).filter(|time| DURATION_RANGE.contains(time));
        duration.ok_or_else(|| {
            let expected = duration::EXPECTED;
            self.bad_value(&format!("a time from 1ms to 7 days such as {expected}"))
        })
    }

    fn duration_or_zero(&self) -> Result<Duration> {
        let text = self.time();
        match duration::parse(text) {
            Some(Duration::ZERO) => Ok(Duration::ZERO),
            _ => self.duration(),
        }
    }

    /// An empty item is skipped, as in a list of names, because an unset variable leaves one.
    fn groups(&self) -> Result<Plan<'static>> {
        let mut plan = Plan::default();
        let items = self.text().split(',').map(str::trim);
        for item in items.filter(|item| !item.is_empty()) {
            let item = item.to_ascii_lowercase();
            match GROUPS.iter().find(|(name, _)| *name == item) {
                Some((_, switch)) => *switch(&mut plan) = true,
                None if item == "all" => plan = Plan::ALL,
                None => {
                    let names: Vec<_> = GROUPS.iter().map(|(name, _)| *name).collect();
                    let item = printable(&item, 80);
                    let expected = format!(
                        "all, or some of {} with commas between them: '{item}' is none of them",
                        names.join(", ")
                    );
                    return Err(self.bad_value(&expected));
                }
            }
        }
        plan.containers |= plan == Plan::default();
        Ok(plan)
    }

    /// Reads the text with a parser whose error says what is accepted.
    fn read<T>(&self, parse: fn(&str) -> std::result::Result<T, String>) -> Result<T> {
        parse(self.text()).map_err(|expected| self.bad_value(&expected))
    }

    fn selector(&self) -> Result<Option<LabelSelector>> {
        let given = self.given.as_ref();
        given.map(|_| self.read(LabelSelector::parse)).transpose()
    }

    fn file(&self) -> FilePath {
        match self.path() {
            Some(path) => FilePath::Given(path),
            None => FilePath::Default(self.text().into()),
        }
    }

    fn path(&self) -> Option<PathBuf> {
        self.given.as_ref().map(PathBuf::from)
    }

    fn server_name(&self) -> Result<Option<String>> {
        match self
            .given
            .as_deref()
            .is_none_or(|name| Name::parse(name).is_some())
        {
            true => Ok(self.given.clone()),
            false => Err(self.bad_value("a host name or an IP address")),
        }
    }

    /// Reads a text for every record, or a tag. It must be a single line.
    fn single_line(&self) -> Result<Option<String>> {
        match self.text().contains(char::is_control) {
            true => Err(self.bad_value("text without line breaks and other control characters")),
            false => Ok(self.given.clone()),
        }
    }

    fn boolean(&self) -> Result<bool> {
        match self.text().to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(self.bad_value("true or false")),
        }
    }

    fn one_of<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T> {
        let text = self.text().to_ascii_lowercase();
        let chosen = choices.iter().find(|(name, _)| *name == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            let (last, others) = names.split_last().expect("there is a choice");
            self.bad_value(&format!("{} or {last}", others.join(", ")))
        })
    }
}

const DURATION_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(7 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::redact_url;

    fn read(given: &[(&str, &str)]) -> Result<Config> {
        Config::read(|name| {
            given
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    }

    fn message(given: &[(&str, &str)]) -> String {
        read(given)
            .expect_err("the options are refused")
            .to_string()
    }

    #[test]
    fn defaults_are_those_of_the_table() {
        let config = read(&[]).expect("defaults are valid");
        assert_eq!(config.url.summary, "https://127.0.0.1:10250/stats/summary");
        assert_eq!(config.interval, Duration::from_secs(10));
        assert_eq!(config.timeout, Duration::from_secs(5));
        assert_eq!(
            config.token_file,
            FilePath::Default(SERVICE_ACCOUNT_TOKEN.into())
        );
        assert_eq!(config.cpu_source, CpuSource::Auto);
        assert!(!config.allow_insecure_tls && !config.repeat_samples);
        assert!(config.namespaces.is_empty() && config.pod_prefixes.is_empty());
    }

    #[test]
    fn durations() {
        let ok = [
            ("500ms", 500),
            ("10s", 10_000),
            ("10", 10_000),
            ("1m", 60_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("10 s", 10_000),
            ("0.25", 250),
        ];
        for (text, millis) in ok {
            let config = read(&[("interval", text)]).expect(text);
            assert_eq!(config.interval, Duration::from_millis(millis), "{text}");
        }
        for text in [
            "0",
            "0s",
            "-1s",
            "1e3",
            "inf",
            "nan",
            "1.2.3s",
            "10x",
            "ten",
            "8000h",
            "1d",
            ".",
            "99999999999999999999s",
        ] {
            assert_eq!(
                message(&[("timeout", text)]),
                format!(
                    "option timeout: bad value '{text}': expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h"
                )
            );
        }
    }

    #[test]
    fn what_an_unset_variable_leaves_counts_as_not_set() {
        let config = read(&[
            ("interval", "ms"),
            ("timeout", ""),
            ("namespace", "  "),
            ("allow_insecure_tls", ""),
            ("kubelet_url", ""),
            ("kube_ca_file", ""),
        ])
        .expect("the options are valid");
        assert_eq!(config, read(&[]).expect("the options are valid"));
    }

    #[test]
    fn lists_are_split_at_commas() {
        let config = read(&[("namespace", "default, other,,"), ("pod_prefix", "log-")])
            .expect("the options are valid");
        assert_eq!(config.namespaces, ["default", "other"]);
        assert_eq!(config.pod_prefixes, ["log-"]);
    }

    #[test]
    fn a_name_that_no_cluster_has_is_refused_with_what_was_meant() {
        const OTHER: &str = "names hold nothing else, and begin and end with a letter or a digit";
        let (label, pod) = ("n".repeat(64), "p".repeat(254));
        let cases = [
            (
                "namespace",
                "shop  # both",
                "a comment needs a line of its own",
            ),
            ("namespace", "'shop'", "leave the quotes out"),
            ("namespace", "“shop”", "leave the quotes out"),
            ("namespace", "[default", "leave the brackets out"),
            ("namespace", "kube-*", "patterns are not understood"),
            ("namespace", "default shop", "separate with commas"),
            ("namespace", "Shop", "names are in lower case, write shop"),
            ("namespace", &label, "no such name is longer than 63"),
            ("namespace", "a.b", OTHER),
            ("namespace", "shop-", OTHER),
            (
                "pod_prefix",
                "web # all",
                "a comment needs a line of its own",
            ),
            ("pod_prefix", "\"web\"", "leave the quotes out"),
            (
                "pod_prefix",
                "web-*",
                "a prefix is taken as it stands, write web-",
            ),
            ("pod_prefix", "*-web", "patterns are not understood"),
            ("pod_prefix", "Web-", "names are in lower case, write web-"),
            ("pod_prefix", &pod, "no such name is longer than 253"),
            ("pod_prefix", "a_b", OTHER),
            ("pod_prefix", "-web", OTHER),
            ("pod_prefix", "a..b", OTHER),
        ];
        for (name, item, remedy) in cases {
            let value = format!("default,{item}");
            let line = message(&[(name, &value)]);
            let start = format!(
                "option {name}: bad value '{}': expected ",
                printable(&value, 150)
            );
            let end = format!(": '{}' can match nothing: {remedy}", printable(item, 80));
            assert!(line.starts_with(&start) && line.ends_with(&end), "{line}");
        }
    }

    #[test]
    fn what_stands_in_a_record_is_one_line() {
        for name in ["service", "region", "node_name", "stats_tag"] {
            let expected = "text without line breaks and other control characters";
            assert_eq!(
                message(&[(name, "one\ntwo")]),
                format!("option {name}: bad value 'one?two': expected {expected}")
            );
            assert!(read(&[(name, "one two ü")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn urls() {
        let proxy = "https://kubernetes.default.svc/api/v1/nodes/n1/proxy";
        let ok = [
            (
                "https://10.0.0.7:10250",
                "https://10.0.0.7:10250/stats/summary",
                10250,
            ),
            (
                "https://10.0.0.7:10250/",
                "https://10.0.0.7:10250/stats/summary",
                10250,
            ),
            ("http://localhost", "http://localhost/stats/summary", 80),
            (
                "https://worker.01:10250",
                "https://worker.01:10250/stats/summary",
                10250,
            ),
            (
                "https://[::1]:10250",
                "https://[::1]:10250/stats/summary",
                10250,
            ),
            (proxy, &format!("{proxy}/stats/summary"), 443),
        ];
        for (text, summary, port) in ok {
            let url = read(&[("kubelet_url", text)]).expect(text).url;
            assert_eq!((url.summary.as_str(), url.port), (summary, port), "{text}");
            assert_eq!(url.node_proxy, text == proxy);
        }
        assert_eq!(
            read(&[("kubelet_url", "https://[::1]:1")])
                .expect("the options are valid")
                .url
                .host,
            "::1"
        );
        for text in [
            "10.0.0.7:10250",
            "ftp://x",
            "https://",
            "https://:10250",
            "https://x:0",
            "https://x:70000",
            "https://x:",
            "https://user@x",
            "https://x/?q=1",
            "https://x/#f",
            "https://a b",
            "https://12345:10250",
            "https://10.1:10250",
            "https://x/ä",
            "not a url",
        ] {
            assert_eq!(
                message(&[("kubelet_url", text)]),
                format!(
                    "option kubelet_url: bad value '{}': expected {}",
                    redact_url(text),
                    url::EXPECTED
                )
            );
        }
    }

    #[test]
    fn other_bad_values() {
        assert_eq!(
            message(&[("allow_insecure_tls", "maybe")]),
            "option allow_insecure_tls: bad value 'maybe': expected true or false"
        );
        assert_eq!(
            message(&[("cpu_source", "both")]),
            "option cpu_source: bad value 'both': expected auto, counter or instant"
        );
        assert_eq!(
            message(&[("server_name", "a b")]),
            "option server_name: bad value 'a b': expected a host name or an IP address"
        );
        assert_eq!(
            message(&[("key_file", "/k")]),
            "option key_file is set but cert_file is not: a client certificate needs both"
        );
    }

    #[test]
    fn every_option_is_explained() {
        for option in OPTIONS {
            assert!(option.help.ends_with('.'), "{}", option.name);
        }
    }
}
