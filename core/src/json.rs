//! Where the values of a JSON text begin and end, and the few that are read here: names
//! and times.
//!
//! A scrape wants few of the pods in a reply. The others are stepped over by their
//! brackets and quotes, and a pod that cannot be decoded costs only itself, because
//! its end is found without understanding it.
//!
//! What is stepped over has to be balanced, with strings that end. Anything else in
//! there (a bad number, a missing comma, bytes that are no UTF-8) is not looked at; how it
//! is done stands in `json-skip`.

use std::{borrow::Cow, fmt};

use crate::timestamp::Timestamp;

/// Why the text could not be walked any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It ends in the middle of a value.
    Cut,
    /// The byte at this offset cannot stand there.
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

/// What numbers, `true`, `false` and `null` are made of.
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

/// This byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Sets the highest bit of the lowest byte that is 0. Bytes above it can be wrong,
/// through a carry, and do not matter to who looks for the first.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(all(0x01)) & !word & all(0x80)
}

/// Where the first byte stands that `marks` marks by its highest bit, looking at
/// eight bytes at a time.
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

/// A place in a text.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// From here to the end of the text.
    pub fn rest(&self) -> &'a [u8] {
        &self.text[self.at..]
    }

    /// The next byte that is not white space, which is not consumed.
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

    /// After a value in an array or object that ends with `close`: `true` when
    /// another one follows.
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

    /// Steps into the array or object that begins here; `true` when it has values.
    pub fn enter(&mut self, open: u8, close: u8) -> Result<bool, Broken> {
        self.expect(open)?;
        if self.peek()? != close {
            return Ok(true);
        }
        self.at += 1;
        Ok(false)
    }

    /// The key of a member, without its quotes and as it was written, and on to its value.
    pub fn key(&mut self) -> Result<&'a [u8], Broken> {
        if self.peek()? != b'"' {
            return Err(self.broken());
        }
        // Keys are short, and shorter than it takes to look at eight bytes at a time.
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

    /// Steps over `null`, if that stands here.
    pub fn null(&mut self) -> Result<bool, Broken> {
        self.peek()?;
        let is_null = self.rest().starts_with(b"null");
        self.at += if is_null { 4 } else { 0 };
        Ok(is_null)
    }

    /// The text at this place, which has to be one; borrowed if it has no escapes.
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

    /// The time that stands here; `None` for `null` and for what is none.
    pub fn time(&mut self) -> Result<Option<Timestamp>, Broken> {
        match self.peek()? {
            b'"' => {
                // As a kubelet writes it, and the quote behind it.
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

    /// Steps over the value that begins here.
    pub fn skip(&mut self) -> Result<(), Broken> {
        self.value().map(drop)
    }

    /// Something that cannot stand here.
    pub fn broken(&self) -> Broken {
        Broken::At(self.at)
    }

    /// The value that begins here, stepped over.
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

    /// Nothing but white space may follow.
    pub fn end(&mut self) -> Result<(), Broken> {
        match self.peek() {
            Err(_) => Ok(()),
            Ok(_) => Err(self.broken()),
        }
    }

    /// A number, `true`, `false` or `null`, by the bytes they are made of.
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

    /// From an opening quote to behind the closing one.
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

    /// From an opening bracket to behind its closing one.
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
