//! Finds where the values of a JSON text begin and end. It also decodes the few values that are
//! needed here: texts and times.
//!
//! A scrape usually needs few of the pods in a reply. The others are skipped by their brackets and
//! quotes. A pod that cannot be decoded affects only itself, because its end is found without
//! decoding it.
//!
//! A skipped value must have balanced brackets and complete strings. Other errors in it (a bad
//! number, a missing comma, bytes that are not UTF-8) are not detected. `json-skip` describes how
//! this is done.

use std::{borrow::Cow, fmt};

use crate::timestamp::Timestamp;

/// Why a text cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The text ends in the middle of a value.
    Cut,
    /// The byte at this offset is not valid JSON.
    At(usize),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Broken::Cut => f.write_str("it ends in the middle of a value"),
            Broken::At(offset) => write!(f, "byte {offset} is not json"),
        }
    }
}

/// What a byte means outside a string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Quote,
    Open,
    Close,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    classes[b'"' as usize] = Class::Quote;
    classes[b'{' as usize] = Class::Open;
    classes[b'[' as usize] = Class::Open;
    classes[b'}' as usize] = Class::Close;
    classes[b']' as usize] = Class::Close;
    classes
};

/// The bytes of numbers, `true`, `false` and `null`.
const OF_SCALARS: [bool; 256] = {
    let mut of_scalars = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        of_scalars[byte] =
            matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'+' | b'-' | b'.' | b'E');
        byte += 1;
    }
    of_scalars
};

const QUOTES: u64 = all(b'"');
const BACKSLASHES: u64 = all(b'\\');

/// Repeats this byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Sets the highest bit of the lowest byte that is 0. Because of a carry, the bits of higher bytes
/// can be wrong. That does not matter to a caller that looks for the first byte.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(all(0x01)) & !word & all(0x80)
}

/// Returns the place of the first byte whose highest bit `marks` sets. It looks at eight bytes at a
/// time.
#[inline(always)]
fn find(text: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(index * 8 + marked.trailing_zeros() as usize / 8);
        }
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let marked = marks(u64::from_le_bytes(last));
    (marked != 0).then(|| words.len() * 8 + marked.trailing_zeros() as usize / 8)
}

/// A position in a text.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// The text from here to the end.
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// Returns the next byte that is not white space, without consuming it.
    pub fn peek(&mut self) -> Result<u8, Broken> {
        while let Some(byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\n' | b'\r' | b'\t' => self.at += 1,
                _ => return Ok(*byte),
            }
        }
        Err(Broken::Cut)
    }

    pub fn expect(&mut self, wanted: u8) -> Result<(), Broken> {
        match self.peek()? {
            byte if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            _ => Err(self.broken()),
        }
    }

    /// Goes on after a value in an array or object that ends with `close`. Returns `true` if
    /// another value follows.
    pub fn another(&mut self, close: u8) -> Result<bool, Broken> {
        match self.peek()? {
            b',' => {
                self.at += 1;
                Ok(true)
            }
            byte if byte == close => {
                self.at += 1;
                Ok(false)
            }
            _ => Err(self.broken()),
        }
    }

    /// Enters the array or object that begins here. Returns `true` if it has values.
    pub fn enter(&mut self, open: u8, close: u8) -> Result<bool, Broken> {
        self.expect(open)?;
        if self.peek()? != close {
            return Ok(true);
        }
        self.at += 1;
        Ok(false)
    }

    /// Returns the key of a member, without its quotes and as it was written, and moves to its
    /// value.
    pub fn key(&mut self) -> Result<&'a [u8], Broken> {
        if self.peek()? != b'"' {
            return Err(self.broken());
        }
        // Keys are short, so looking at eight bytes at a time would take longer.
        let rest = &self.text[self.at + 1..];
        let key = match rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
            Some(end) if rest[end] == b'"' => {
                self.at += end + 2;
                &rest[..end]
            }
            _ => {
                let key = self.value()?;
                &key[1..key.len() - 1]
            }
        };
        self.expect(b':')?;
        self.peek()?;
        Ok(key)
    }

    /// Skips `null`, if that is the next value. Returns whether it was.
    pub fn null(&mut self) -> Result<bool, Broken> {
        self.peek()?;
        let is_null = self.rest().starts_with(b"null");
        self.at += if is_null { 4 } else { 0 };
        Ok(is_null)
    }

    /// Returns the text that begins here. It is borrowed if it has no escapes. Another value is an
    /// error.
    pub fn text(&mut self) -> Result<Cow<'a, str>, Broken> {
        if self.peek()? != b'"' {
            return Err(self.broken());
        }
        let broken = self.broken();
        let quoted = self.value()?;
        let inside = &quoted[1..quoted.len() - 1];
        if inside.iter().all(|byte| *byte >= b' ' && *byte != b'\\') {
            let text = str::from_utf8(inside).map_err(|_| broken)?;
            return Ok(Cow::Borrowed(text));
        }
        let text = serde_json::from_slice(quoted).map_err(|_| broken)?;
        Ok(Cow::Owned(text))
    }

    /// Returns the time that begins here, or `None` for `null` and for a value that is not a time.
    pub fn time(&mut self) -> Result<Option<Timestamp>, Broken> {
        match self.peek()? {
            b'"' => {
                // The form that a kubelet writes, with the closing quote.
                let [time @ .., quote] = self.rest()[1..].first_chunk::<21>().unwrap_or(&[0; 21]);
                if let (Some(time), b'"') = (Timestamp::of_kubelet(time), quote) {
                    self.at += 22;
                    return Ok(Some(time));
                }
                Ok(Timestamp::parse(&self.text()?))
            }
            b'{' | b'[' => Err(self.broken()),
            _ => self.value().map(|_| None),
        }
    }

    /// Skips the value that begins here.
    pub fn skip(&mut self) -> Result<(), Broken> {
        self.value().map(drop)
    }

    /// The error for a byte that is not valid here.
    pub fn broken(&self) -> Broken {
        Broken::At(self.at)
    }

    /// Returns the value that begins here, and skips it.
    pub fn value(&mut self) -> Result<&'a [u8], Broken> {
        let first = self.peek()?;
        let start = self.at;
        match CLASSES[usize::from(first)] {
            Class::Quote => self.string()?,
            Class::Open => self.nested()?,
            Class::Close => return Err(Broken::At(start)),
            Class::Plain => self.scalar()?,
        }
        Ok(&self.text[start..self.at])
    }

    /// Checks that only white space follows.
    pub fn end(&mut self) -> Result<(), Broken> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(self.broken()),
        }
    }

    /// Skips a number, `true`, `false` or `null`. It only checks the bytes that these are made of.
    fn scalar(&mut self) -> Result<(), Broken> {
        let rest = self.rest();
        let is_of_it = |byte: &u8| OF_SCALARS[usize::from(*byte)];
        let length = rest.iter().position(|byte| !is_of_it(byte));
        let length = length.unwrap_or(rest.len());
        if length == 0 {
            return Err(self.broken());
        }
        self.at += length;
        Ok(())
    }

    /// Skips a string, from the opening quote to the closing one.
    fn string(&mut self) -> Result<(), Broken> {
        self.at += 1;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let stop = find(rest, |word| {
                zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES)
            });
            let stop = stop.ok_or(Broken::Cut)?;
            if rest[stop] == b'"' {
                self.at += stop + 1;
                return Ok(());
            }
            self.at += stop + 2;
        }
    }

    /// Skips an array or object, from the opening bracket to the closing one.
    fn nested(&mut self) -> Result<(), Broken> {
        let length = json_skip::nested(self.rest()).map_err(|broken| match broken {
            json_skip::Broken::Cut => Broken::Cut,
            json_skip::Broken::At(offset) => Broken::At(self.at + offset),
        })?;
        self.at += length;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<&str, Broken> {
        let value = Walk::new(text.as_bytes()).value()?;
        Ok(str::from_utf8(value).expect("cut between characters"))
    }

    #[test]
    fn values_end_where_they_end() {
        for (text, expected) in [
            (r#" "a\"b\\" ,"#, r#""a\"b\\""#),
            (r#"{"}":["]",{}]}x"#, r#"{"}":["]",{}]}"#),
            ("-1.5e+3]", "-1.5e+3"),
            ("null\n", "null"),
            ("[[],[]],", "[[],[]]"),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_unbalanced_is_an_error() {
        for text in ["", "  ", "\"a", "\"a\\", "\"a\\\"", "{", "[{}", r#"{"a":"#] {
            assert_eq!(value(text), Err(Broken::Cut), "{text}");
        }
        for (text, at) in [("[}", 1), ("{\"a\":[1}]", 7), ("]", 0), (",", 0), ("?", 0)] {
            assert_eq!(value(text), Err(Broken::At(at)), "{text}");
        }
        for depth in [128, 129, 10_000] {
            let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(value(&deep), Ok(deep.as_str()));
            let (cut, _) = deep.split_at(2 * depth - 1);
            assert_eq!(value(cut), Err(Broken::Cut));
        }
    }
}
