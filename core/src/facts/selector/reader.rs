//! Reads the text of a selector. An error says what is wrong, and names the piece of the text.

use std::{iter::Peekable, vec};

use super::{Condition, Requirement, is_key, is_value};
use crate::text::printable;

pub(super) const KEY: &str = "is no key of a label: that is [prefix/]name, a name of at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', a letter or a digit at both ends";
pub(super) const VALUE: &str = "is no value of a label: that is at most 63 of A-Z, a-z, 0-9, '-', '_' and '.', a letter or a digit at both ends";

/// Returns all requirements of a selector.
pub(super) fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let tokens = tokens(text).into_iter().peekable();
    Reader { tokens }.requirements()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Comma,
    Open,
    Close,
    /// One of the signs `==`, `!=`, `=`, `!`, `<` and `>`.
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
                // Two signs can follow each other without a space, as in `a=!b`. The longest sign
                // that fits is taken.
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

/// Makes requirements from tokens.
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

    /// Reads a value. If there is none, it is the empty value.
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

    /// Reads the values in parentheses. A comma without a value before or after it means the empty
    /// value.
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
