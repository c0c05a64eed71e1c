//! Makes foreign text fit for a line of the log. Text from a kubelet, a user, a library or the
//! system passes through here before it is shown. The result is one line, has only visible
//! characters, is not too long, and does not contain what may be a secret. This module also writes
//! numbers with their nouns.

use std::path::Path;

/// The text of an operating system's error, without Rust's "(os error 2)". Of another error only
/// the kind is shown, because its text is from a library.
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

/// The text of an error of `getaddrinfo`. It has its own text, but no number of the operating
/// system.
pub fn resolver_error(error: &std::io::Error) -> String {
    let text = match error.raw_os_error() {
        Some(_) => os_error(error),
        None => error.to_string(),
    };
    let text = text.trim_start_matches("failed to lookup address information: ");
    printable(&lower_first(text), 100)
}

/// The path of a credential file. If somebody wrote the secret itself in place of the path, it is
/// not shown.
pub fn credential_path(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.contains("-----") || text.trim_start().starts_with("eyJ") {
        true => "(its value is a secret, where the name of a file belongs)".to_owned(),
        false => printable(&text, 300),
    }
}

/// Masks what may be a password or a key in a text that should be a URL: everything before the last
/// `@`, and the query. In a malformed URL, it masks too much rather than too little.
pub fn redact_url(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + "://".len()),
        None => ("", url),
    };
    // If there is both an `@` and a `?`, either may be part of the password or of the query, so all
    // is masked.
    match (rest.rsplit_once('@'), rest.split_once('?')) {
        (Some(_), Some(_)) => format!("{scheme}***"),
        (Some((_, rest)), None) => format!("{scheme}***@{rest}"),
        (None, Some((rest, _))) => format!("{scheme}{rest}?***"),
        (None, None) => url.to_owned(),
    }
}

/// For example `1 try` or `2 tries`.
pub fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// Makes foreign text fit for one line of the log. Every character is visible and in the place
/// where it was written. There are at most `max_chars` characters. The rest is replaced by `…`.
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

/// Control characters control a terminal or begin a line. The other characters mislead a reader of
/// the log: they break lines; they change the direction of the text, so that it reads as something
/// else; or they are invisible, so that two different texts look the same.
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
        // This would be shown backwards, as "allowed".
        assert_eq!(printable("a\u{202e}dewolla\u{202c}", 80), "a?dewolla?");
        assert_eq!(
            printable("ad\u{200b}min \u{2066}x\u{2069}", 80),
            "ad?min ?x?"
        );
        assert_eq!(printable("one\u{2028}two\u{85}", 80), "one?two?");
        // Normal text does not change: letters of all kinds, their marks, and spaces.
        let plain = "pod-ü Ж 漢字 e\u{301} 🦀\u{a0}שלום";
        assert_eq!(printable(plain, 80), plain);
    }

    #[test]
    fn operating_system_errors_are_plain() {
        let error = std::io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(os_error(&error), "no such file or directory");
    }
}
