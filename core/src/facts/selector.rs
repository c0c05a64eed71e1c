//! Which pods are wanted by their labels, in the syntax of `kubectl get --selector`.

use std::{iter::Peekable, vec};

use crate::text::printable;

const EXPECTED: &str = "labels such as app=web,tier!=x,env in (a,b)";
const KEY: &str = "is no key of a label: that is [prefix/]name, a name of at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', a letter or a digit at both ends";
const VALUE: &str = "is no value of a label: that is at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', a letter or a digit at both ends";

/// A choice of pods by their labels. All that it asks for has to hold.
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
    /// `=`, `==` and `in`.
    In(Vec<Box<str>>),
    /// `!=` and `notin`.
    NotIn(Vec<Box<str>>),
    GreaterThan(i64),
    LessThan(i64),
}

impl LabelSelector {
    /// As kubectl reads it; else what is accepted, and which piece of the text is not. An
    /// empty text asks for nothing, and so chooses all.
    pub fn parse(text: &str) -> Result<Self, String> {
        let reader = Reader {
            tokens: tokens(text).into_iter().peekable(),
        };
        let requirements = reader.requirements();
        requirements
            .map(Self)
            .map_err(|why| format!("{EXPECTED}: {why}"))
    }

    /// Whether a pod is chosen, of whose labels `label` gives the values. One that a pod
    /// does not have is not equal to anything, as with kubectl.
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

/// Whether a label or annotation can be called so.
pub(super) fn is_key(key: &str) -> bool {
    /// A DNS-1123 subdomain.
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

/// The name part of a key is like a value, but not empty.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Comma,
    Open,
    Close,
    /// One of the signs that compare, or what is made of their characters.
    Sign(&'a str),
    Word(&'a str),
}

impl<'a> Token<'a> {
    fn text(self) -> &'a str {
        match self {
            Token::Comma => ",",
            Token::Open => "(",
            Token::Close => ")",
            Token::Sign(text) | Token::Word(text) => text,
        }
    }
}

fn is_sign(c: char) -> bool {
    matches!(c, '=' | '!' | '<' | '>')
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while let Some(first) = rest.chars().next() {
        let until = |ends: fn(char) -> bool| rest.find(ends).unwrap_or(rest.len());
        let (token, length) = match first {
            ',' => (Token::Comma, 1),
            '(' => (Token::Open, 1),
            ')' => (Token::Close, 1),
            c if is_sign(c) => {
                // Two signs can touch, as in `a=!b`; what they are is said by the longest.
                let signs = ["==", "!=", "=", "!", "<", ">"];
                let sign = signs.into_iter().find(|sign| rest.starts_with(sign));
                let length = sign.map_or(1, str::len);
                (Token::Sign(&rest[..length]), length)
            }
            _ => {
                let length = until(|c| is_sign(c) || is_space(c) || matches!(c, ',' | '(' | ')'));
                (Token::Word(&rest[..length]), length)
            }
        };
        tokens.push(token);
        rest = rest[length..].trim_start_matches(is_space);
    }
    tokens
}

/// From tokens to requirements. An error is what is wrong, with the piece that is.
struct Reader<'a> {
    tokens: Peekable<vec::IntoIter<Token<'a>>>,
}

impl<'a> Reader<'a> {
    fn requirements(mut self) -> Result<Vec<Requirement>, String> {
        let mut requirements = Vec::new();
        if self.tokens.peek().is_none() {
            return Ok(requirements);
        }
        loop {
            requirements.push(self.requirement()?);
            match self.tokens.next() {
                None => return Ok(requirements),
                Some(Token::Comma) => {}
                Some(other) => return Err(format!("a ',' is missing before {}", quoted(other))),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let is_not = self.tokens.next_if_eq(&Token::Sign("!")).is_some();
        let key = match self.tokens.next() {
            Some(Token::Word(key)) if is_key(key) => key,
            Some(Token::Word(key)) => return Err(format!("{} {KEY}", shown(key))),
            Some(other) => return Err(format!("a key is missing before {}", quoted(other))),
            None => return Err("a key is missing at the end".to_owned()),
        };
        let condition = match self.tokens.peek() {
            _ if is_not => Condition::DoesNotExist,
            None | Some(Token::Comma) => Condition::Exists,
            Some(_) => self.condition(key)?,
        };
        Ok(Requirement {
            key: key.into(),
            condition,
        })
    }

    fn condition(&mut self, key: &str) -> Result<Condition, String> {
        let Some(operator) = self.tokens.next() else {
            return Ok(Condition::Exists);
        };
        match operator.text() {
            "=" | "==" => Ok(Condition::In(vec![self.value()?.into()])),
            "!=" => Ok(Condition::NotIn(vec![self.value()?.into()])),
            ">" => Ok(Condition::GreaterThan(self.number(">")?)),
            "<" => Ok(Condition::LessThan(self.number("<")?)),
            "in" => Ok(Condition::In(self.values("in")?)),
            "notin" => Ok(Condition::NotIn(self.values("notin")?)),
            _ => Err(format!(
                "after {} no {} can stand, only =, ==, !=, in, notin, >, < or a comma",
                shown(key),
                quoted(operator)
            )),
        }
    }

    /// Nothing at all is the empty value.
    fn value(&mut self) -> Result<&'a str, String> {
        match self.tokens.peek().copied() {
            None | Some(Token::Comma) => Ok(""),
            Some(Token::Word(value)) => {
                self.tokens.next();
                checked(value)
            }
            Some(other) => Err(format!("{} {VALUE}", quoted(other))),
        }
    }

    fn number(&mut self, operator: &str) -> Result<i64, String> {
        let value = self.value()?;
        let number = value.parse();
        number.map_err(|_| {
            let shown = shown(value);
            format!("{shown} is no whole number of 64 bits, which '{operator}' needs")
        })
    }

    /// A comma without a value before or behind it stands for the empty value too.
    fn values(&mut self, operator: &str) -> Result<Vec<Box<str>>, String> {
        if self.tokens.next_if_eq(&Token::Open).is_none() {
            return Err(format!(
                "'{operator}' needs its values in parentheses, as in env {operator} (a,b)"
            ));
        }
        if self.tokens.next_if_eq(&Token::Close).is_some() {
            return Err(format!("'{operator} ()' has no value in its parentheses"));
        }
        let mut values: Vec<Box<str>> = Vec::new();
        loop {
            let value = match self.tokens.peek() {
                Some(Token::Close) => "",
                _ => self.value()?,
            };
            if !values.iter().any(|known| **known == *value) {
                values.push(value.into());
            }
            match self.tokens.next() {
                Some(Token::Comma) => {}
                Some(Token::Close) => return Ok(values),
                Some(other) => {
                    return Err(format!("a ',' or ')' is missing before {}", quoted(other)));
                }
                None => return Err(format!("the ')' of '{operator}' is missing")),
            }
        }
    }
}

fn checked(value: &str) -> Result<&str, String> {
    match is_value(value) {
        true => Ok(value),
        false => Err(format!("{} {VALUE}", shown(value))),
    }
}

fn shown(text: &str) -> String {
    format!("'{}'", printable(text, 80))
}

fn quoted(token: Token) -> String {
    shown(token.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(text: &str) -> LabelSelector {
        LabelSelector::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"))
    }

    /// Of a pod with these labels.
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
