//! A whole number that a kubelet writes.

use std::{fmt, num::NonZero};

/// A whole number that the kubelet wrote, up to 2^64 − 2.
///
/// 2^64 − 1 is never a measurement, so it represents an absent number. Thus an `Option` of this
/// type takes eight bytes. A node has about ten thousand of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Number(NonZero<u64>);

impl Number {
    /// Returns `None` for 2^64 − 1.
    pub const fn new(value: u64) -> Option<Self> {
        match NonZero::new(!value) {
            Some(inverse) => Some(Self(inverse)),
            None => None,
        }
    }

    /// Returns the number as it was written.
    pub const fn get(self) -> u64 {
        !self.0.get()
    }

    /// Does the same as [`Number::parse`] with bytes of a reply. It is fast for plain digits, which
    /// is all that a kubelet writes.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        const SURELY_FIT: usize = 18;
        let is_plain = bytes.len() <= SURELY_FIT
            && bytes.iter().all(u8::is_ascii_digit)
            && (bytes.len() == 1 || bytes.first().is_some_and(|first| *first != b'0'));
        match is_plain {
            true => Self::new(
                bytes
                    .iter()
                    .fold(0, |number, digit| number * 10 + u64::from(digit - b'0')),
            ),
            false => Self::parse(str::from_utf8(bytes).ok()?),
        }
    }

    /// Returns `None` for anything but a whole number from 0 to 2^64 − 2.
    pub fn parse(text: &str) -> Option<Self> {
        // Rust accepts these, but JSON has no such numbers.
        if text.starts_with('+')
            || text.starts_with('0') && text.len() > 1 && !text.contains(['.', 'e', 'E'])
        {
            return None;
        }
        let value = text.parse().ok().or_else(|| rewritten(text));
        value.and_then(Self::new)
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// Go writes integers in full, but a proxy in between may change them to `1e9` or `1.0`. This reads
/// digit by digit. A double would round a fraction or a long number to a number that nobody sent.
fn rewritten(text: &str) -> Option<u64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    let point = usize::try_from(exponent.checked_add(whole.len() as i64)?).ok()?;
    if point > digits.len() {
        const LONGEST: usize = 20; // of 64 bits
        let missing = point - digits.len();
        digits.push_str(&"0".repeat(missing.min(LONGEST + 1)));
    }
    let (value, rest) = digits.split_at(point.min(digits.len()));
    let is_whole = rest.bytes().all(|digit| digit == b'0');
    is_whole.then(|| value.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_absent() {
        for (text, value) in [
            ("0", Some(0)),
            ("18446744073709551614", Some(u64::MAX - 1)),
            ("18446744073709551615", None),
            ("18446744073709551616", None),
            ("-1", None),
            ("+1", None),
            ("01", None),
            ("1.0", Some(1)),
            ("1e9", Some(1_000_000_000)),
            ("1.5E+3", Some(1_500)),
            ("1200e-2", Some(12)),
            ("9007199254740993.0", Some(9_007_199_254_740_993)),
            ("0.99999999999999999999", None),
            ("1e-400", None),
            ("1.5", None),
            ("-1.0", None),
            ("1e19", Some(10_000_000_000_000_000_000)),
            ("1e20", None),
            ("1e999999999999", None),
            ("\"1\"", None),
            ("null", None),
        ] {
            assert_eq!(Number::parse(text).map(Number::get), value, "{text}");
        }
    }

    #[test]
    fn absence_takes_no_room() {
        assert_eq!(size_of::<Option<Number>>(), 8);
    }
}
