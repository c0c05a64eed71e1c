//! What holds for any input: generated options, replies and outages, and the
//! captured replies after deterministic damage. `fuzz/` looks further, with the
//! same assertions.

use kubeletstats_core::{
    error::Error,
    kubelet::{
        Endpoint,
        refusal::{Refusal, RequestInfo, SentCredentials},
    },
    text,
};
use proptest::prelude::*;

#[path = "../../../fuzz/fuzz_targets/check.rs"]
pub mod check;
mod credentials;
mod damage;
mod health;
mod options;
mod replies;
#[path = "../../../fuzz/fuzz_targets/seeds.rs"]
mod seeds;
mod summary;

use crate::{contexts, events};

/// A failing case is printed whole; no file is kept of it.
fn cases(number: u32) -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(number)
    }
}

fn refusal(code: u16, body: &[u8], url: &str) -> Error {
    let asked = RequestInfo {
        endpoint: Endpoint::Summary,
        https: true,
        node_proxy: code.is_multiple_of(2),
        credentials: SentCredentials::Token("/token".into()),
    };
    Refusal::read(code, body, asked).error(url)
}

/// Characters that break a line, turn its direction or cannot be seen.
fn is_hidden(c: char) -> bool {
    let ranges = [
        '\u{ad}'..='\u{ad}',
        '\u{61c}'..='\u{61c}',
        '\u{180e}'..='\u{180e}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{2064}',
        '\u{2066}'..='\u{206f}',
        '\u{feff}'..='\u{feff}',
        '\u{fff9}'..='\u{fffb}',
        '\u{e0000}'..='\u{e007f}',
    ];
    c.is_control() || ranges.iter().any(|range| range.contains(&c))
}

/// Any text, and text with more of what matters in a log line.
fn text() -> impl Strategy<Value = String> {
    let nasty = prop::sample::select(vec![
        "\n",
        "\r",
        "\0",
        "\u{1b}[31m",
        "\u{85}",
        "\u{2028}",
        "\u{202e}",
        "\u{200b}",
        "\u{feff}",
        "\u{e0041}",
        "\t",
        "é",
        "%s",
        "'",
        "…",
    ]);
    prop_oneof![
        any::<String>(),
        ".*",
        prop::collection::vec(prop_oneof![nasty.prop_map(str::to_owned), ".{0,40}"], 0..12)
            .prop_map(|parts| parts.concat()),
    ]
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn printable_text_is_one_line_of_bounded_length(text in text(), most in 0_usize..400) {
        let shown = text::printable(&text, most);
        prop_assert!(shown.chars().count() <= most + 1);
        let cut = text.chars().count() > most;
        prop_assert_eq!(shown.chars().count(), most.min(text.chars().count()) + usize::from(cut));
        for (shown, given) in shown.chars().zip(text.chars()).take(most) {
            let expected = if is_hidden(given) { '?' } else { given };
            prop_assert_eq!(shown, expected);
        }
    }

    /// Whatever a peer sends, the log gets one line of it.
    #[test]
    fn foreign_text_in_an_error_is_one_line(
        text in text(),
        body in prop::collection::vec(any::<u8>(), 0..600),
        names in prop::collection::vec(text(), 0..5),
        code in 100_u16..1000,
    ) {
        let url = "https://10.0.0.7:10250/stats/summary";
        let source = || Box::<dyn std::error::Error + Send + Sync>::from("why");
        for error in [
            Error::option("interval", &text, "a time"),
            refusal(code, &body, url),
            refusal(code, text.as_bytes(), url),
            refusal(code, format!("Forbidden (user={text}, verb=get)").as_bytes(), url),
            refusal(code, format!("Bearer {text}").as_bytes(), url),
            Error::encoded(url, &text),
            Error::not_summary(url, &text),
            Error::tls_wrong_name(url, "vm", &names, source()),
            Error::panic("the worker", &text, "src/lib.rs:1:1"),
        ] {
            let line = error.to_string();
            check::assert_one_line(&line);
            prop_assert!(line.chars().count() < 700, "{} characters", line.chars().count());
        }
    }
}
