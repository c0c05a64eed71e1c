//! Option values: any text is taken or refused, and what is taken means what it says.

use kubeletstats_core::options::{Config, OPTIONS};
use proptest::{collection::vec, prelude::*};

use super::{cases, check, text};

fn read(name: &'static str, value: &str) -> Option<Config> {
    check::option_values(&[(name, value)])
}

/// Text that looks like a time, more or less.
fn time_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9]{0,22}(\\.[0-9]{0,12})? ?(ms|s|m|h|d|µs|)",
        "[-+]?[0-9.eE]{1,8}(ms|s|m|h)?",
        "(inf|nan|NaN|infinity|0x10|1_000)s?",
        text(),
    ]
}

/// Text that looks like a URL, more or less.
fn url_like() -> impl Strategy<Value = String> {
    prop_oneof![
        "(https?|ftp|)(://|:/|)[a-z0-9.@:%\\[\\]-]{0,20}(:[0-9]{0,6})?(/[ -~]{0,20})?",
        "https?://[ -~]{0,40}",
        ("https?://[a-z]{1,9}/", text()).prop_map(|(start, path)| start + &path),
        text(),
    ]
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn any_text_for_any_option_is_taken_or_refused_in_one_line(
        given in vec((0..OPTIONS.len(), text()), 0..6),
    ) {
        let given: Vec<_> = given.iter().map(|(row, value)| (OPTIONS[*row].name, value.as_str())).collect();
        check::option_values(&given);
    }

    #[test]
    fn a_time_that_is_taken_reads_the_same_when_written_again(text in time_like()) {
        if let Some(config) = read("interval", &text) {
            let written = format!("{:?}", config.interval);
            let again = read("interval", &written).expect("its own form");
            prop_assert_eq!(again.interval, config.interval, "{}", written);
        }
    }

    /// What is taken is a name, or becomes one by a letter more.
    #[test]
    fn no_name_that_cannot_be_is_taken(
        text in prop_oneof!["[a-zA-Z0-9.'*#_ -]{1,8}", "[a-z.-]{1,8}", "[a-z]{60,66}", "[a-z.-]{250,256}"],
    ) {
        let is_label = |label: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            label.chars().all(allowed) && !label.is_empty() && label.trim_matches('-') == label
        };
        let is_pod = |name: &str| name.len() <= 253 && name.split('.').all(is_label);
        let text = text.trim();
        if !text.is_empty() {
            let namespace = read("namespace", text).is_some();
            prop_assert_eq!(namespace, text.len() <= 63 && is_label(text), "{}", text);
            let can_begin = is_pod(text) || is_pod(&format!("{text}x"));
            prop_assert_eq!(read("pod_prefix", text).is_some(), can_begin, "{}", text);
        }
    }

    #[test]
    fn a_url_is_taken_whole_or_refused(text in url_like()) {
        // What has to hold of one that is taken is asserted in there.
        if let Some(config) = read("kubelet_url", &text) {
            let base = config.url.summary.strip_suffix("/stats/summary").expect("the path");
            let again = read("kubelet_url", base).expect("its own form");
            prop_assert_eq!(again.url, config.url);
        }
    }

}

/// A line quotes a value, and of a selector the part that is wrong as well.
#[test]
fn a_line_about_a_long_value_is_not_long() {
    for value in [
        "k".repeat(400),
        format!("{},=,", "k=v,".repeat(100)),
        "\u{ff}".repeat(400),
        format!("{0}/k {0}", "k".repeat(150)),
    ] {
        for option in OPTIONS {
            read(option.name, &value);
        }
    }
}

/// `Uri` takes bytes above ASCII in a path, and so the control characters of
/// Latin-1: none of them may get into the log.
#[test]
fn a_url_holds_no_control_character() {
    for text in [
        "https://x/a\u{85}b",
        "https://x/\u{9b}31m",
        "https://x/\u{7f}",
    ] {
        assert!(read("kubelet_url", text).is_none(), "{text:?}");
    }
}
