//! Finds where the values of a JSON text begin and end. It also decodes the few values that are
//! needed here: texts, whole numbers and times.
//!
//! A scrape usually needs few of the pods in a reply. The others are skipped by their brackets and
//! quotes. A pod that cannot be decoded affects only itself, because its end is found without
//! decoding it.
//!
//! A skipped value must have balanced brackets and complete strings. Other errors in it (a bad
//! number, a missing comma, bytes that are not UTF-8) are not detected. `json-skip` describes how
//! this is done.

use std::{borrow::Cow, fmt};

use crate::{
    number::{self, Number},
    timestamp::Timestamp,
};

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
const SPACES: u128 = u128::from_le_bytes([b' '; 16]);

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// Repeats this byte eight times.
const fn all(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// Sets the highest bit of the lowest byte that is 0. Because of a carry, the bits of higher bytes
/// can be wrong. That does not matter to a caller that looks for the first byte.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(all(0x01)) & !word & all(0x80)
}

const fn quotes_and_backslashes(word: u64) -> u64 {
    zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES)
}

/// Marks quotes, backslashes and control characters. As with [`zeros`], only the lowest mark is sure.
const fn ends_plain_text(word: u64) -> u64 {
    let controls = word.wrapping_sub(all(b' ')) & !word & all(0x80);
    quotes_and_backslashes(word) | controls
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
    // Bytes that are not there are 0, which may be marked as well.
    let place = marks(u64::from_le_bytes(last)).trailing_zeros() as usize / 8;
    (place < rest.len()).then_some(words.len() * 8 + place)
}

/// Returns the text up to the next quote, if that is near and not escaped.
///
/// It has no loop: keys differ in length, and a branch that depends on it would often be predicted
/// wrongly.
#[inline]
fn short_key(rest: &[u8]) -> Option<&[u8]> {
    let (words, _) = rest.first_chunk::<24>()?.as_chunks::<8>();
    // In a word without a quote, this is 8.
    let in_word = |index: usize| {
        let quotes = zeros(u64::from_le_bytes(words[index]) ^ QUOTES);
        quotes.trailing_zeros() as usize / 8
    };
    let [first, second, third] = [in_word(0), in_word(1), in_word(2)];
    let in_both = if first < 8 { first } else { 8 + second };
    let end = if in_both < 16 { in_both } else { 16 + third };
    let key = rest.get(..end)?;
    let is_end = rest.get(end) == Some(&b'"') && key.last() != Some(&b'\\');
    is_end.then_some(key)
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
    #[inline]
    pub fn peek(&mut self) -> Result<u8, Broken> {
        match self.text.get(self.at) {
            Some(byte) if !is_space(*byte) => Ok(*byte),
            _ => self.peek_after_space(),
        }
    }

    /// Does the same from white space. A kubelet writes each value on a line of its own, with some
    /// spaces before it.
    #[inline]
    fn peek_after_space(&mut self) -> Result<u8, Broken> {
        let rest = self.text.get(self.at..).unwrap_or_default();
        if let Some((b'\n', rest)) = rest.split_first()
            && let Some(chunk) = rest.first_chunk()
        {
            let others = u128::from_le_bytes(*chunk) ^ SPACES;
            self.at += 1 + others.trailing_zeros() as usize / 8;
        }
        while let Some(byte) = self.text.get(self.at) {
            match is_space(*byte) {
                true => self.at += 1,
                false => return Ok(*byte),
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
        let rest = &self.text[self.at + 1..];
        let key = match short_key(rest) {
            Some(key) => {
                self.at += key.len() + 2;
                key
            }
            None => {
                let key = self.value()?;
                &key[1..key.len() - 1]
            }
        };
        match self.rest().first_chunk() {
            // What a kubelet writes next.
            Some([b':', b' ', value]) if !is_space(*value) => self.at += 2,
            _ => {
                self.expect(b':')?;
                self.peek()?;
            }
        }
        Ok(key)
    }

    /// Moves to the value of this member, if it is next and in the form that a kubelet writes:
    /// `"key": value`. Otherwise it returns `false` and does nothing. It takes the key with its
    /// quotes, the colon and the space, and there may be no white space before it.
    ///
    /// This is faster than [`Walk::key`], because the end of the key need not be found.
    #[inline]
    pub fn at_member(&mut self, key: &'static str) -> bool {
        let is_next = self.rest().starts_with(key.as_bytes());
        self.at += if is_next { key.len() } else { 0 };
        is_next
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
        let inside = &self.text[self.at + 1..];
        if let Some(end) = find(inside, ends_plain_text)
            && inside[end] == b'"'
        {
            let text = str::from_utf8(&inside[..end]).map_err(|_| broken)?;
            self.at += end + 2;
            return Ok(Cow::Borrowed(text));
        }
        let text = serde_json::from_slice(self.value()?).map_err(|_| broken)?;
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

    /// Returns the number that begins here, or `None` for a value that is not such a number.
    pub fn number(&mut self) -> Result<Option<Number>, Broken> {
        self.peek()?;
        if let Some(chunk) = self.rest().first_chunk()
            && let Some((number, length)) = Number::of_kubelet(chunk)
            && !OF_SCALARS[usize::from(chunk[length])]
        {
            self.at += length;
            return Ok(Some(number));
        }
        Ok(Number::read(self.value()?))
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
        let digits = rest.first_chunk().map_or(0, number::digits);
        let others = rest[digits..].iter().position(|byte| !is_of_it(byte));
        let length = others.map_or(rest.len(), |others| digits + others);
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
            let stop = find(rest, quotes_and_backslashes);
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

    /// White space of each kind and length, near the end and far from it.
    #[test]
    fn white_space_is_skipped() {
        for space in ["", " ", "\t", "\n", "\r\n", "\n\n", "\n\t", "\n \n"] {
            for spaces in 0..40 {
                for behind in ["", ", \"and\": \"a text behind it\""] {
                    let text = format!("{space}{}1{behind}", " ".repeat(spaces));
                    let mut walk = Walk::new(text.as_bytes());
                    assert_eq!(walk.peek(), Ok(b'1'), "{text:?}");
                    assert_eq!(walk.rest().len(), 1 + behind.len(), "{text:?}");
                    let cut = &text.as_bytes()[..space.len() + spaces];
                    assert_eq!(Walk::new(cut).peek(), Err(Broken::Cut), "{text:?}");
                }
            }
        }
        // After a text that is cut behind a backslash, too.
        let mut walk = Walk::new(b"\"a\\");
        assert_eq!(walk.value(), Err(Broken::Cut));
        assert_eq!(walk.peek(), Err(Broken::Cut));
    }

    /// Keys of each length, with an escape at each place, before what a kubelet writes and before
    /// other forms.
    #[test]
    fn keys_end_where_they_end() {
        for length in 0..40 {
            let name = "k".repeat(length);
            let mut keys = vec![name.clone()];
            for escape in [r#"\""#, r"\\", r"\n", r#"\\\""#] {
                let escaped = |at| format!("{}{escape}{}", &name[..at], &name[at..]);
                keys.extend((0..=length).map(escaped));
            }
            for key in keys {
                for between in [": ", ":", " : ", ":\n  ", ":  "] {
                    for behind in ["", r#", "next": "a text that is long enough""#] {
                        let text = format!(r#"{{"{key}"{between}17{behind}}}"#);
                        let mut walk = Walk::new(text.as_bytes());
                        assert_eq!(walk.enter(b'{', b'}'), Ok(true));
                        assert_eq!(walk.key(), Ok(key.as_bytes()), "{text}");
                        assert_eq!(walk.value(), Ok(&b"17"[..]), "{text}");
                    }
                }
            }
        }
    }

    /// Numbers of each length, before each byte that may follow, at the end and far from it.
    #[test]
    fn numbers_are_the_same_in_each_way() {
        let digits = (1..=21).flat_map(|length| {
            let digits =
                |first: u8| (0..length).map(move |at| char::from(b'0' + (first + at) % 10));
            [0, 1, 7].map(|first| digits(first).collect::<String>())
        });
        for digits in digits {
            for form in ["", ".0", ".5", "e2", "E-1", "x"] {
                let number = format!("{digits}{form}");
                for behind in [",", "}", "]", "\n", " ", ", \"and\": \"a text behind it\""] {
                    let text = format!("{number}{behind}");
                    let mut walk = Walk::new(text.as_bytes());
                    assert_eq!(walk.number(), Ok(Number::parse(&number)), "{text}");
                    assert_eq!(walk.rest(), behind.as_bytes(), "{text}");
                }
            }
        }
    }

    /// A text of each length, with each byte that must be escaped at each place.
    #[test]
    fn texts_are_what_serde_json_reads() {
        for length in 0..20 {
            for at in 0..=length {
                for inside in [
                    "", "a", "\u{e9}", "\\n", "\\\"", "\n", "\0", "\u{1f}", "\u{7f}",
                ] {
                    let text = format!("\"{}{inside}{}\"", "t".repeat(at), "t".repeat(length - at));
                    let expected = serde_json::from_str::<String>(&text).ok();
                    let found = Walk::new(text.as_bytes()).text().ok();
                    assert_eq!(found.map(Cow::into_owned), expected, "{text:?}");
                    let cut = &text.as_bytes()[..text.len() - 1];
                    assert!(Walk::new(cut).text().is_err(), "{text:?}");
                }
            }
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
