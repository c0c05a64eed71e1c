//! The option table, and the way from the user's text to a [`Config`]. No I/O.
//!
//! [`OPTIONS`] is the only place that knows an option's name, type, default and
//! help: the host's `-h`, the parser below and the README's table follow it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ureq::http::Uri;

use crate::{
    error::{Error, Result, printable},
    kubelet::name::Name,
};

mod names;

/// How the host shows the option's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Bool,
    Time,
}

/// One row of the table.
#[derive(Debug)]
pub struct OptionSpec {
    pub name: &'static str,
    pub kind: Kind,
    /// As the user would write it; `None` where the option is simply not set.
    pub default: Option<&'static str>,
    pub help: &'static str,
}

const fn option(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
) -> OptionSpec {
    OptionSpec {
        name,
        kind,
        default,
        help,
    }
}

const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
const SERVICE_ACCOUNT_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

pub const OPTIONS: &[OptionSpec] = &[
    option(
        "kubelet_url",
        Kind::Text,
        Some("https://127.0.0.1:10250"),
        "Base URL of the kubelet, or of the API server's node proxy with its path.",
    ),
    option(
        "interval",
        Kind::Time,
        Some("10s"),
        "Time between scrapes: 500ms, 10s, 1m; a bare number is seconds.",
    ),
    option(
        "timeout",
        Kind::Time,
        Some("5s"),
        "Time for one whole scrape: resolve, connect, TLS and body.",
    ),
    option(
        "namespace",
        Kind::Text,
        None,
        "Namespaces to keep, separated by commas; all when not set.",
    ),
    option(
        "pod_prefix",
        Kind::Text,
        None,
        "Prefixes of pod names to keep, separated by commas; all when not set.",
    ),
    option(
        "kube_token_file",
        Kind::Text,
        Some(SERVICE_ACCOUNT_TOKEN),
        "File with the bearer token, read again for every scrape.",
    ),
    option(
        "kube_ca_file",
        Kind::Text,
        Some(SERVICE_ACCOUNT_CA),
        "PEM file with the CAs that may sign the kubelet's certificate.",
    ),
    option(
        "server_name",
        Kind::Text,
        None,
        "Name the kubelet's certificate must carry; the URL's host when not set.",
    ),
    option(
        "cert_file",
        Kind::Text,
        None,
        "PEM file with the client certificate; needs key_file.",
    ),
    option(
        "key_file",
        Kind::Text,
        None,
        "PEM file with the client certificate's key; needs cert_file.",
    ),
    option(
        "allow_insecure_tls",
        Kind::Bool,
        Some("false"),
        "Do not check the kubelet's certificate.",
    ),
    option(
        "service",
        Kind::Text,
        None,
        "The record's 'service'; the container's name when not set.",
    ),
    option(
        "region",
        Kind::Text,
        None,
        "The record's 'metadata.region'; left out when not set.",
    ),
    option(
        "node_name",
        Kind::Text,
        None,
        "The record's 'nodeName'; the kubelet's own when not set.",
    ),
    option(
        "repeat_samples",
        Kind::Bool,
        Some("false"),
        "A record per scrape even where the kubelet has no new sample.",
    ),
    option(
        "cpu_source",
        Kind::Text,
        Some("auto"),
        "auto: the kubelet's rate, held to what its counter proves; or only 'counter' or 'instant'.",
    ),
    option(
        "stats_tag",
        Kind::Text,
        None,
        "Tag for a record per scrape about the plugin itself; none when not set.",
    ),
];

/// Where a record's CPU value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CpuSource {
    /// `usageNanoCores` within what `usageCoreNanoSeconds` of two samples proves.
    Auto,
    /// `usageCoreNanoSeconds` of two samples or nothing.
    Counter,
    /// `usageNanoCores` or nothing.
    Instant,
}

/// A file the user named must be there; one at a default path need not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePath {
    Default(PathBuf),
    Given(PathBuf),
}

impl FilePath {
    pub fn path(&self) -> &Path {
        match self {
            FilePath::Default(path) | FilePath::Given(path) => path,
        }
    }
}

/// A validated base URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletUrl {
    pub https: bool,
    /// Without the brackets of an IPv6 address.
    pub host: String,
    pub port: u16,
    /// `base` and the path of the summary, ready to request and to print.
    pub summary: String,
    /// The URL leads through the API server's node proxy.
    pub node_proxy: bool,
}

/// What the plugin runs on: every value checked, every default applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub url: KubeletUrl,
    pub interval: Duration,
    pub timeout: Duration,
    /// Empty: all.
    pub namespaces: Vec<String>,
    /// Empty: all.
    pub pod_prefixes: Vec<String>,
    pub token_file: FilePath,
    pub ca_file: FilePath,
    pub server_name: Option<String>,
    /// Certificate and key.
    pub client_cert: Option<(PathBuf, PathBuf)>,
    pub allow_insecure_tls: bool,
    pub service: Option<String>,
    pub region: Option<String>,
    pub node_name: Option<String>,
    pub repeat_samples: bool,
    pub cpu_source: CpuSource,
    /// Not set: no record about the plugin itself.
    pub stats_tag: Option<String>,
}

impl Config {
    /// Reads every option of the table through `given`, which returns the
    /// user's text. Empty text is what an unset `${VARIABLE}` leaves behind, so
    /// it counts as not set.
    pub fn read(given: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let given = |name: &str| {
            let value = given(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let text = |name: &str| given(name).or_else(|| default_of(name).map(str::to_owned));

        let server_name = given("server_name");
        if let Some(name) = &server_name {
            Name::parse(name).ok_or_else(|| {
                Error::option("server_name", name, "a host name or an IP address")
            })?;
        }
        let client_cert = match (given("cert_file"), given("key_file")) {
            (Some(cert), Some(key)) => Some((cert.into(), key.into())),
            (None, None) => None,
            (Some(_), None) => return Err(Error::option_pair("cert_file", "key_file")),
            (None, Some(_)) => return Err(Error::option_pair("key_file", "cert_file")),
        };

        Ok(Self {
            url: url("kubelet_url", &text("kubelet_url").unwrap_or_default())?,
            interval: duration("interval", given("interval"))?,
            timeout: duration("timeout", given("timeout"))?,
            namespaces: names::namespaces("namespace", given("namespace"))?,
            pod_prefixes: names::pod_prefixes("pod_prefix", given("pod_prefix"))?,
            token_file: file("kube_token_file", given("kube_token_file")),
            ca_file: file("kube_ca_file", given("kube_ca_file")),
            server_name,
            client_cert,
            allow_insecure_tls: boolean("allow_insecure_tls", text("allow_insecure_tls"))?,
            service: plain("service", given("service"))?,
            region: plain("region", given("region"))?,
            node_name: plain("node_name", given("node_name"))?,
            repeat_samples: boolean("repeat_samples", text("repeat_samples"))?,
            cpu_source: cpu_source("cpu_source", &text("cpu_source").unwrap_or_default())?,
            stats_tag: plain("stats_tag", given("stats_tag"))?,
        })
    }
}

impl Config {
    /// What is in force, for the log at start.
    pub fn announcement(&self) -> String {
        let chosen = |list: &[String]| match list {
            [] => "all".to_owned(),
            some => printable(&some.join(","), 200),
        };
        format!(
            "scraping {} every {:?}, timeout {:?}, namespaces {}, pod prefixes {}",
            self.url.summary,
            self.interval,
            self.timeout,
            chosen(&self.namespaces),
            chosen(&self.pod_prefixes),
        )
    }

    /// What an operator should not do without knowing.
    pub fn warnings(&self) -> Vec<&'static str> {
        let mut warnings = Vec::new();
        if self.url.https && self.allow_insecure_tls {
            warnings.push("the kubelet's certificate is not checked: allow_insecure_tls is on");
        }
        if !self.url.https && matches!(self.token_file, FilePath::Given(_)) {
            warnings.push("kube_token_file is not used: a token is never sent over http");
        }
        warnings
    }
}

fn default_of(name: &str) -> Option<&'static str> {
    OPTIONS
        .iter()
        .find(|option| option.name == name)
        .and_then(|option| option.default)
}

fn file(name: &str, given: Option<String>) -> FilePath {
    match given {
        Some(path) => FilePath::Given(path.into()),
        None => FilePath::Default(default_of(name).unwrap_or_default().into()),
    }
}

/// What stands in every record, or is a tag: one line of text.
fn plain(name: &str, given: Option<String>) -> Result<Option<String>> {
    match given {
        Some(text) if text.contains(char::is_control) => {
            let form = "text without line breaks and other control characters";
            Err(Error::option(name, &text, form))
        }
        given => Ok(given),
    }
}

fn boolean(name: &str, value: Option<String>) -> Result<bool> {
    let value = value.unwrap_or_default();
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Error::option(name, &value, "true or false")),
    }
}

fn cpu_source(name: &str, value: &str) -> Result<CpuSource> {
    match value.to_ascii_lowercase().as_str() {
        "auto" => Ok(CpuSource::Auto),
        "counter" => Ok(CpuSource::Counter),
        "instant" => Ok(CpuSource::Instant),
        _ => Err(Error::option(name, value, "auto, counter or instant")),
    }
}

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// `500ms`, `10s`, `1.5m`; a bare number is seconds. A unit without a number is
/// what `${VARIABLE}ms` becomes when the variable is not set: not set either.
fn duration(name: &str, given: Option<String>) -> Result<Duration> {
    let default = default_of(name).unwrap_or_default();
    let value = match given.as_deref() {
        None | Some("ms" | "s" | "m" | "h") => default,
        Some(value) => value,
    };
    parse_duration(value).ok_or_else(|| {
        Error::option(
            name,
            value,
            "a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h",
        )
    })
}

fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit.trim_start() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // Digits and points only, so no sign, exponent, infinity or NaN gets here.
    let seconds = number.parse::<f64>().ok()? * seconds_per_unit;
    let value = Duration::try_from_secs_f64(seconds).ok()?;
    (SHORTEST..=LONGEST).contains(&value).then_some(value)
}

const URL_FORM: &str = "http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";

fn url(name: &str, value: &str) -> Result<KubeletUrl> {
    let bad = || Error::option(name, value, URL_FORM);
    // What else a URL may hold has to be percent-encoded.
    if !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(bad());
    }
    let uri: Uri = value.parse().map_err(|_| bad())?;
    let https = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => return Err(bad()),
    };
    let authority = uri.authority().ok_or_else(bad)?;
    let bracketed = authority.host();
    let host = bracketed.trim_start_matches('[').trim_end_matches(']');
    // The parser of `Uri` drops a fragment in silence.
    let extras = authority.as_str().contains('@') || uri.query().is_some() || value.contains('#');
    // What is only digits a resolver takes for an address, and not for the one meant.
    let is_number = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    };
    let is_name = match Name::parse(host) {
        Some(Name::Host(name)) => !is_number(&name),
        Some(Name::Address(_)) => true,
        None => false,
    };
    if !is_name || extras {
        return Err(bad());
    }
    let port = match authority.as_str().strip_prefix(bracketed) {
        Some("") => None,
        Some(_) => Some(
            authority
                .port_u16()
                .filter(|port| *port != 0)
                .ok_or_else(bad)?,
        ),
        None => return Err(bad()),
    };
    let path = uri.path().trim_end_matches('/');
    let scheme = if https { "https" } else { "http" };
    Ok(KubeletUrl {
        https,
        host: host.to_owned(),
        port: port.unwrap_or(if https { 443 } else { 80 }),
        summary: format!("{scheme}://{authority}{path}/stats/summary"),
        node_proxy: path.ends_with("/proxy"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::without_secrets;

    fn read(given: &[(&str, &str)]) -> Result<Config> {
        Config::read(|name| {
            given
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_string())
        })
    }

    fn message(given: &[(&str, &str)]) -> String {
        read(given).expect_err("refused").to_string()
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
        .expect("valid");
        assert_eq!(config, read(&[]).expect("valid"));
    }

    #[test]
    fn lists_are_split_at_commas() {
        let config =
            read(&[("namespace", "default, other,,"), ("pod_prefix", "log-")]).expect("ok");
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
                printable(&value, 200)
            );
            let end = format!(": '{}' can match nothing: {remedy}", printable(item, 80));
            assert!(line.starts_with(&start) && line.ends_with(&end), "{line}");
        }
    }

    #[test]
    fn what_stands_in_a_record_is_one_line() {
        for name in ["service", "region", "node_name", "stats_tag"] {
            let form = "text without line breaks and other control characters";
            assert_eq!(
                message(&[(name, "one\ntwo")]),
                format!("option {name}: bad value 'one?two': expected {form}")
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
                .expect("ok")
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
                    "option kubelet_url: bad value '{}': expected {URL_FORM}",
                    without_secrets(text)
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
