//! An allow-list of labels or annotations, as an option has it.

use super::selector::is_key;
use crate::text::printable;

const EXPECTED: &str = "names such as app or app.kubernetes.io/*, with commas between them";

/// Which labels or annotations are recorded. A `*` in a name matches any number of characters,
/// including `/`. An empty list allows none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Box<str>>);

impl Patterns {
    /// Returns the names in the list. The error says what is accepted, and what is wrong with the
    /// name that is not. An empty item is skipped, because an unset variable leaves one.
    pub fn parse(list: &str) -> Result<Self, String> {
        let items = list.split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(|item| match wrong(item) {
                None => Ok(item.into()),
                Some(why) => {
                    let shown = printable(item, 80);
                    Err(format!("{EXPECTED}: '{shown}' can match nothing: {why}"))
                }
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Returns these patterns and these keys.
    pub fn with(&self, keys: &[&str]) -> Self {
        let keys = keys.iter().map(|key| Box::from(*key));
        Self(self.0.iter().cloned().chain(keys).collect())
    }

    /// Whether nothing is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of the patterns matches this key.
    pub fn allows(&self, key: &str) -> bool {
        self.0.iter().any(|pattern| matches(pattern, key))
    }
}

/// Why no key of a label or annotation can match this pattern, if none can.
fn wrong(pattern: &str) -> Option<&'static str> {
    let is_of_a_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if pattern.contains('#') {
        Some("a comment needs a line of its own")
    } else if pattern.contains(['[', ']', '{', '}', '(', ')']) {
        Some("leave the brackets out")
    } else if pattern.contains(['\'', '"', '`', '‘', '’', '“', '”']) {
        Some("leave the quotes out")
    } else if pattern.contains(['=', '!', '<', '>']) {
        Some("only names, values are for label_selector")
    } else if pattern.contains(char::is_whitespace) || pattern.contains([';', ':']) {
        Some("separate with commas")
    } else if pattern.contains(['?', '|', '^', '$', '\\', '+']) {
        Some("of patterns only '*' is understood")
    } else if !pattern.chars().all(|c| is_of_a_key(c) || c == '*') {
        Some("names are of A-Z, a-z, 0-9, '-', '_', '.' and '/'")
    } else if pattern.matches('/').count() > 1 {
        Some("a name has one '/' at most")
    // An annotation may have capital letters before its `/`, a label may not.
    } else if !pattern.contains('*') && !is_key(&pattern.to_ascii_lowercase()) {
        Some("a name is [prefix/]name, each beginning and ending with a letter or a digit")
    } else {
        None
    }
}

/// Each piece between stars is searched after the match of the previous piece. The first match is
/// as good as any later one, so the search never goes back.
fn matches(pattern: &str, key: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == key;
    };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut key) = key
        .strip_prefix(first)
        .and_then(|key| key.strip_suffix(last))
    else {
        return false;
    };
    middle.split('*').all(|piece| {
        let found = key.find(piece);
        found.is_some_and(|at| {
            key = &key[at + piece.len()..];
            true
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, allowed, not_allowed) in [
            ("app", vec!["app"], vec!["ap", "apps", "App", "x/app", ""]),
            (
                "app.kubernetes.io/*",
                vec!["app.kubernetes.io/name", "app.kubernetes.io/"],
                vec!["app", "x.app.kubernetes.io/name", "app-kubernetes.io/name"],
            ),
            ("*", vec!["", "app", "example.com/a"], vec![]),
            (
                "*/name",
                vec!["a/name", "b.c/name"],
                vec!["name", "a/names"],
            ),
            ("a*a", vec!["aa", "aba"], vec!["a", "ab", "ba"]),
            (
                "a*b*c",
                vec!["abc", "aXbYc", "abbc"],
                vec!["ac", "acb", "bc"],
            ),
            ("*b*", vec!["b", "abc"], vec!["", "ac"]),
            ("a**b", vec!["ab", "axb"], vec!["a", "b"]),
            ("*ab*ab", vec!["abab", "xabyab"], vec!["ab", "aba", "bab"]),
        ] {
            let patterns = Patterns::parse(pattern).expect(pattern);
            for key in allowed {
                assert!(patterns.allows(key), "{pattern} {key}");
            }
            for key in not_allowed {
                assert!(!patterns.allows(key), "{pattern} {key}");
            }
        }
    }

    #[test]
    fn any_of_a_list_allows_and_an_empty_one_allows_none() {
        let patterns = Patterns::parse(" app, ,tier,Example.com/Annotation,").expect("names");
        assert!(patterns.allows("app") && patterns.allows("tier"));
        assert!(patterns.allows("Example.com/Annotation"));
        assert!(!patterns.allows("ap") && !patterns.allows("") && !patterns.is_empty());
        for empty in ["", " ", ",,"] {
            let none = Patterns::parse(empty).expect("nothing");
            assert!(none.is_empty() && !none.allows("") && !none.allows("app"));
            assert_eq!(none, Patterns::default());
        }
    }

    #[test]
    fn what_can_match_nothing_is_refused() {
        for (list, piece, why) in [
            ("app;tier", "app;tier", "separate with commas"),
            ("a,b c", "b c", "separate with commas"),
            (
                "app # mine",
                "app # mine",
                "a comment needs a line of its own",
            ),
            ("'app'", "'app'", "leave the quotes out"),
            ("[app]", "[app]", "leave the brackets out"),
            (
                "app=web",
                "app=web",
                "only names, values are for label_selector",
            ),
            ("app.*|x", "app.*|x", "of patterns only '*' is understood"),
            (
                "größe",
                "größe",
                "names are of A-Z, a-z, 0-9, '-', '_', '.' and '/'",
            ),
            ("a/b/*", "a/b/*", "a name has one '/' at most"),
            (
                "-app",
                "-app",
                "a name is [prefix/]name, each beginning and ending with a letter or a digit",
            ),
        ] {
            let expected = format!("{EXPECTED}: '{piece}' can match nothing: {why}");
            assert_eq!(Patterns::parse(list), Err(expected), "{list}");
        }
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let pattern = "a*".repeat(2_000) + "b";
        let key = "a".repeat(200_000);
        let patterns = Patterns::parse(&pattern).expect("a pattern");
        assert!(!patterns.allows(&key));
        assert!(patterns.allows(&(key + "b")));
    }
}
