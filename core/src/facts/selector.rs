//! Selects pods by their labels, in the syntax of `kubectl get --selector`.

mod reader;

const EXPECTED: &str = "labels such as app=web,tier!=x,env in (a,b)";
/// A condition on the labels of pods. A pod is selected if all requirements hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LabelSelector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: Box<str>,
    condition: Condition,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Exists,
    DoesNotExist,
    /// The operators `=`, `==` and `in`.
    In(Vec<Box<str>>),
    /// The operators `!=` and `notin`.
    NotIn(Vec<Box<str>>),
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// Parses a selector as kubectl does. The error says what is accepted, and which piece of the
    /// text is wrong. An empty text has no requirement, so it selects all pods.
    pub fn parse(text: &str) -> Result<Self, String> {
        let requirements = reader::requirements(text);
        requirements
            .map(Self)
            .map_err(|why| format!("{EXPECTED}: {why}"))
    }

    /// Returns the keys of the labels in the requirements, each once.
    pub fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<_> = self.0.iter().map(|one| &*one.key).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Whether a pod is selected. `label` returns the values of its labels. A label that the pod
    /// does not have is unequal to every value, as in kubectl.
    pub fn matches<V: AsRef<str>>(&self, label: impl Fn(&str) -> Option<V>) -> bool {
        self.0.iter().all(|requirement| {
            let value = label(&requirement.key);
            requirement.condition.holds(value.as_ref().map(V::as_ref))
        })
    }
}

impl Condition {
    fn holds(&self, value: Option<&str>) -> bool {
        let is_one_of = |values: &[Box<str>]| {
            value.is_some_and(|value| values.iter().any(|one| **one == *value))
        };
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match self {
            Condition::Exists => value.is_some(),
            Condition::DoesNotExist => value.is_none(),
            Condition::In(values) => is_one_of(values),
            Condition::NotIn(values) => !is_one_of(values),
            Condition::GreaterThan(limit) => number().is_some_and(|number| number > *limit),
            Condition::LessThan(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

/// Whether this is a valid key of a label or annotation.
pub(super) fn is_key(key: &str) -> bool {
    /// The prefix is a DNS-1123 subdomain.
    const LONGEST_PREFIX: usize = 253;
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let is_label = |label: &str| {
        let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        label.chars().all(is_inner) && has_plain_ends(label)
    };
    let is_subdomain = |text: &str| text.len() <= LONGEST_PREFIX && text.split('.').all(is_label);
    prefix.is_none_or(is_subdomain) && !name.is_empty() && is_value(name)
}

/// Whether this is a valid value. The name part of a key has the same form, but is not empty.
fn is_value(value: &str) -> bool {
    const LONGEST: usize = 63;
    let is_inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fits = value.len() <= LONGEST && value.chars().all(is_inner);
    fits && (value.is_empty() || has_plain_ends(value))
}

fn has_plain_ends(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(is_plain) && text.ends_with(is_plain)
}

#[cfg(test)]
mod tests {
    use super::{
        reader::{KEY, VALUE},
        *,
    };

    fn selector(text: &str) -> LabelSelector {
        LabelSelector::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    /// Whether the selector matches a pod with these labels.
    fn matches(text: &str, labels: &[(&str, &str)]) -> bool {
        let find = |key: &str| labels.iter().find(|(name, _)| *name == key);
        selector(text).matches(|key| find(key).map(|(_, value)| *value))
    }

    #[test]
    fn pods_are_chosen_as_kubectl_chooses_them() {
        let web: &[_] = &[
            ("app", "web"),
            ("tier", "front"),
            ("gen", "7"),
            ("none", ""),
        ];
        for (text, of_web, of_a_pod_without_labels) in [
            ("", true, true),
            ("app=web", true, false),
            ("app==web", true, false),
            ("app=Web", false, false),
            ("app!=web", false, true),
            ("app!=db", true, true),
            ("app in (web,db)", true, false),
            ("app in (db)", false, false),
            ("app notin (web,db)", false, true),
            ("app notin (db)", true, true),
            ("app", true, false),
            ("!app", false, true),
            ("owner", false, false),
            ("!owner", true, true),
            ("gen>6", true, false),
            ("gen>7", false, false),
            ("gen<8", true, false),
            ("gen<7", false, false),
            ("app>1", false, false),
            ("none=", true, false),
            ("none", true, false),
            ("none!=", false, true),
            ("app=", false, false),
            ("none in (,a)", true, false),
            ("none in (a,)", true, false),
            ("app=web,tier=front", true, false),
            ("app=web,tier=back", false, false),
            ("app=web,!owner,tier notin (back)", true, false),
        ] {
            assert_eq!(matches(text, web), of_web, "{text}");
            assert_eq!(matches(text, &[]), of_a_pod_without_labels, "{text}");
        }
    }

    #[test]
    fn one_selector_can_be_written_in_many_ways() {
        for (one, other) in [
            ("app=web", "app==web"),
            ("app=web", " app =\tweb "),
            ("app=web", "app in (web)"),
            ("app=web", "app in ( web, web )"),
            ("app!=web", "app notin (web)"),
            ("app!=web", "app != web"),
            ("!app", "! app"),
            ("a,b", " a , b "),
            ("a in (x,y)", "a in(x,y)"),
            ("a>5", "a > 5"),
            ("a in (,)", "a="),
            ("", " \t"),
        ] {
            assert_eq!(selector(one), selector(other), "{one} {other}");
        }
        let longest = format!("{}.{}/{}", "a".repeat(200), "b".repeat(52), "c".repeat(63));
        for text in [
            "app.kubernetes.io/name=web",
            "in in (in,notin)",
            "notin",
            "in",
            "a_b.C-d=E_f.g-H",
            "0=0",
            longest.as_str(),
        ] {
            selector(text);
        }
    }

    #[test]
    fn a_refusal_names_the_piece_that_is_wrong() {
        let long_value = format!("a={}", "v".repeat(64));
        let long_prefix = format!("{}/a", "p".repeat(254));
        for (text, why) in [
            ("app=b*", format!("'b*' {VALUE}")),
            ("env in (a,-b)", format!("'-b' {VALUE}")),
            ("app='web'", format!("''web'' {VALUE}")),
            ("app=web;tier=x", format!("'web;tier' {VALUE}")),
            (&long_value, format!("'{}' {VALUE}", "v".repeat(64))),
            ("app=(web)", format!("'(' {VALUE}")),
            ("app=!web", format!("'!' {VALUE}")),
            ("app===web", format!("'=' {VALUE}")),
            ("größe", format!("'größe' {KEY}")),
            ("-app=web", format!("'-app' {KEY}")),
            ("a/b/c=web", format!("'a/b/c' {KEY}")),
            ("/name", format!("'/name' {KEY}")),
            ("example.com/", format!("'example.com/' {KEY}")),
            ("Example.com/a", format!("'Example.com/a' {KEY}")),
            ("a..b/c", format!("'a..b/c' {KEY}")),
            (&long_prefix, format!("'{}…' {KEY}", "p".repeat(80))),
            ("app=b c", "a ',' is missing before 'c'".into()),
            ("!app=web", "a ',' is missing before '='".into()),
            ("app in (a) b", "a ',' is missing before 'b'".into()),
            ("a=x,", "a key is missing at the end".into()),
            ("!", "a key is missing at the end".into()),
            (",a", "a key is missing before ','".into()),
            ("=web", "a key is missing before '='".into()),
            ("(a)", "a key is missing before '('".into()),
            ("!!a", "a key is missing before '!'".into()),
            (
                "app web",
                "after 'app' no 'web' can stand, only =, ==, !=, in, notin, >, < or a comma".into(),
            ),
            (
                "app IN (a)",
                "after 'app' no 'IN' can stand, only =, ==, !=, in, notin, >, < or a comma".into(),
            ),
            (
                "env in a",
                "'in' needs its values in parentheses, as in env in (a,b)".into(),
            ),
            (
                "env notin",
                "'notin' needs its values in parentheses, as in env notin (a,b)".into(),
            ),
            (
                "env in ()",
                "'in ()' has no value in its parentheses".into(),
            ),
            ("env in (a", "the ')' of 'in' is missing".into()),
            ("env in (a b)", "a ',' or ')' is missing before 'b'".into()),
            (
                "gen>many",
                "'many' is no whole number of 64 bits, which '>' needs".into(),
            ),
            (
                "gen<",
                "'' is no whole number of 64 bits, which '<' needs".into(),
            ),
            ("gen>-5", format!("'-5' {VALUE}")),
            (
                "gen>9223372036854775808",
                "'9223372036854775808' is no whole number of 64 bits, which '>' needs".into(),
            ),
        ] {
            let expected = Err(format!("{EXPECTED}: {why}"));
            assert_eq!(LabelSelector::parse(text), expected, "{text}");
        }
    }
}
