//! Which properties of an `[INPUT]` Fluent Bit handles itself and does not pass to the
//! plugin, as observed on 1.9 to 5.1. This module knows only those options of the plugin
//! that replace such a property.

use kubeletstats_core::text::printable;

/// What Fluent Bit does with a property of an `[INPUT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Handling {
    /// Fluent Bit passes it to the plugin. The plugin refuses an unknown one.
    Plugin,
    /// Fluent Bit uses it.
    FluentBit,
    /// Fluent Bit accepts it for its own connections, but this input does not use those. The
    /// text says what to set instead.
    NoEffect(&'static str),
    /// Fluent Bit does not start. For its own properties this is true of 4.2 and 5.1; 2.2
    /// and 3.2 log an error and continue without most of them.
    Refused(String),
}

const HOST_PROPERTIES: &[&str] = &[
    "name",
    "tag",
    "alias",
    "log_suppress_interval",
    "routable",
    "rate_window",
];
const HOST_PREFIXES: &[&str] = &["storage.", "thread.", "rate_gate"];

const LOG_LEVELS: &[&str] = &["off", "error", "warn", "warning", "info", "debug", "trace"];
const STORAGE_TYPES: &[&str] = &["filesystem", "memory", "memrb"];
const TRUE: &[&str] = &["true", "on", "yes"];
const FALSE: &[&str] = &["false", "off", "no"];

const NO_EFFECT: &[(&str, &str)] = &[
    ("host", "set kubelet_url"),
    ("port", "set kubelet_url"),
    ("listen", "leave it out"),
    ("ipv6", "leave it out"),
    (
        "tls.verify",
        "set kube_ca_file and server_name, or at worst allow_insecure_tls",
    ),
    ("tls.verify_hostname", "set server_name"),
    ("tls.vhost", "set server_name"),
    ("tls.ca_file", "set kube_ca_file"),
    ("tls.ca_path", "set kube_ca_file"),
    ("tls.crt_file", "set cert_file"),
    ("tls.key_file", "set key_file"),
    (
        "tls.key_passwd",
        "set key_file, to a key without a password",
    ),
    ("tls.debug", "set log_level"),
    (
        "tls.min_version",
        "leave it out: TLS 1.2 and 1.3 are spoken",
    ),
    (
        "tls.max_version",
        "leave it out: TLS 1.2 and 1.3 are spoken",
    ),
    ("tls.ciphers", "leave it out"),
    ("tls.verify_client_cert", "leave it out"),
];

/// `name` may be in any case. In `value`, variables are already replaced.
pub fn handling(name: &str, value: &str) -> Handling {
    let name = name.to_ascii_lowercase();
    let is_one_of = |list: &[&str]| list.iter().any(|one| one.eq_ignore_ascii_case(value));
    let refuse_unless = |fits: bool, form: &str| match fits || value.is_empty() {
        true => Handling::FluentBit,
        false => Handling::Refused(format!("{name} is Fluent Bit's own, which expects {form}")),
    };
    match name.as_str() {
        "log_level" => refuse_unless(is_one_of(LOG_LEVELS), &LOG_LEVELS.join(", ")),
        "storage.type" => refuse_unless(is_one_of(STORAGE_TYPES), &STORAGE_TYPES.join(", ")),
        "threaded" => refuse_unless(is_one_of(TRUE) || is_one_of(FALSE), "on or off"),
        "mem_buf_limit" => refuse_unless(is_size(value), "a size such as 5M"),
        "tls" if is_one_of(FALSE) => Handling::NoEffect("leave it out: kubelet_url says https"),
        "tls" => Handling::Refused(
            "tls is for Fluent Bit's own connections, and no input may have it that makes none: \
             leave it out, kubelet_url says https"
                .to_owned(),
        ),
        net if net.starts_with("net.") => Handling::Refused(format!(
            "{} is for Fluent Bit's own connections, and it does not start with it on an input \
             that makes none (4.2 and 5.1 crash): leave it out, timeout bounds a scrape",
            printable(net, 80)
        )),
        _ if HOST_PROPERTIES.contains(&&*name) => Handling::FluentBit,
        _ if HOST_PREFIXES.iter().any(|one| name.starts_with(one)) => Handling::FluentBit,
        _ => match NO_EFFECT.iter().find(|(other, _)| *other == name) {
            Some((_, instead)) => Handling::NoEffect(instead),
            None => Handling::Plugin,
        },
    }
}

/// Whether the text is digits, with an optional unit after the last digit.
fn is_size(text: &str) -> bool {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = text[number.len()..].to_ascii_uppercase();
    let units = ["", "K", "KB", "M", "MB", "G", "GB"];
    text.eq_ignore_ascii_case("false") || (!number.is_empty() && units.contains(&&*unit))
}
