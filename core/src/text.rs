//! Foreign text made fit for a line of the log. What a kubelet, a user, a library or the
//! system says comes through here before it is shown: on one line, visible as it stands,
//! not longer than it is worth, and without what may be a secret. Numbers of things are put
//! into words here as well.

use std::path::Path;

/// An operating system error in its own words, without Rust's "(os error 2)"; of
/// another one only its kind, since its text is a library's.
pub fn os_error(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(_) => error.to_string(),
        None => error.kind().to_string(),
    };
    lower_first(text.split(" (os error").next().unwrap_or_default())
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// An error of `getaddrinfo`, which has a text of its own but no number of the system's.
pub fn resolver_error(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(_) => os_error(error),
        None => error.to_string(),
    };
    let text = text.trim_start_matches("failed to lookup address information: ");
    printable(&lower_first(text), 100)
}

/// The path of a credential file, unless somebody wrote the secret itself where its
/// file belongs.
pub fn credential_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.contains("-----") || text.trim_start().starts_with("eyJ") {
        true => "(its value is a secret, where the name of a file belongs)".to_owned(),
        false => printable(&text, 300),
    }
}

/// Masks what may be a password or a key in text that is meant to be a URL: all before its
/// last `@`, and its query. In a malformed one more is masked rather than less.
pub fn redact_url(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + "://".len()),
        None => ("", url),
    };
    // A `?` in a password comes with an `@` behind it, as does one in a query.
    match (rest.rsplit_once('@'), rest.split_once('?')) {
        (Some(_), Some(_)) => format!("{scheme}***"),
        (Some((_, rest)), None) => format!("{scheme}***@{rest}"),
        (None, Some((rest, _))) => format!("{scheme}{rest}?***"),
        (None, None) => url.to_owned(),
    }
}

/// `1 try`, `2 tries`
pub fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Foreign text made fit for one log line: every character can be seen, stands
/// where it was written, and there are `max_chars` of them at most. The rest is `…`.
pub fn printable(text: &str, max_chars: usize) -> String {
    let mut out: String = text
        .chars()
        .take(max_chars)
        .map(|c| if is_misleading(c) { '?' } else { c })
        .collect();
    if text.chars().nth(max_chars).is_some() {
        out.push('…');
    }
    out
}

/// Control characters drive a terminal or begin a line. The others mislead whoever reads
/// the log elsewhere: they break lines, turn the direction of what follows, so that it
/// reads as something else, or cannot be seen, so that two different texts look the same.
fn is_misleading(c: char) -> bool {
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    let turns = matches!(
        c,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}'
    ) || matches!(c, '\u{2066}'..='\u{2069}');
    let hides = matches!(
        c,
        '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200d}' | '\u{feff}'
    ) || matches!(c, '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    c.is_control() || breaks || turns || hides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_a_url_are_masked() {
        for (url, shown) in [
            ("https://user:pass@node:10250", "https://***@node:10250"),
            ("https://pass@node", "https://***@node"),
            ("user:pass@node:10250", "***@node:10250"),
            ("https://u:p/a@ss@node/x", "https://***@node/x"),
            ("https://u:p?ss@node/x", "https://***"),
            ("https:/u:pass@node", "***@node"),
            ("https://node/?token=pass", "https://node/?***"),
            ("https://node/?token=a@pass", "https://***"),
            ("10.0.0.7:10250", "10.0.0.7:10250"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn foreign_text_stays_on_one_line() {
        assert_eq!(printable("a\nb\u{1b}[31mc", 80), "a?b?[31mc");
        assert_eq!(printable("äöü", 2), "äö…");
    }

    #[test]
    fn foreign_text_cannot_hide_or_turn_around() {
        // Shown backwards, and so as "allowed".
        assert_eq!(printable("a\u{202e}dewolla\u{202c}", 80), "a?dewolla?");
        assert_eq!(
            printable("ad\u{200b}min \u{2066}x\u{2069}", 80),
            "ad?min ?x?"
        );
        assert_eq!(printable("one\u{2028}two\u{85}", 80), "one?two?");
        // What people write stays: letters of all kinds, their marks, spaces.
        let plain = "pod-ü Ж 漢字 e\u{301} 🦀\u{a0}שלום";
        assert_eq!(printable(plain, 80), plain);
    }

    #[test]
    fn operating_system_errors_are_plain() {
        let error = std::io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(os_error(&error), "no such file or directory");
    }
}
