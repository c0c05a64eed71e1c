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

    /// Does the same as [`Number::parse`] with bytes of a reply.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        Self::parse(str::from_utf8(bytes).ok()?)
    }

    /// Does the same with the digits at the beginning of these bytes, and returns how many they are.
    /// Returns `None` for another form and for 16 digits and more, which a counter of CPU time has
    /// after twelve days of one core. The caller checks the byte after the digits.
    #[inline]
    pub(crate) fn of_kubelet(text: &[u8; 16]) -> Option<(Self, usize)> {
        let length = digits(text);
        let is_plain = length == 1 || text[0] != b'0';
        if !is_plain || length == 0 || length == text.len() {
            return None;
        }
        // The last digit goes to the highest byte, and zeros come before the first.
        let values = u128::from_le_bytes(*text) ^ ZEROS;
        let values = values << (8 * (text.len() - length));
        let (high, low) = (of_eight(values as u64), of_eight((values >> 64) as u64));
        Some((Self::new(high * 100_000_000 + low)?, length))
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

const ZEROS: u128 = u128::from_le_bytes([b'0'; 16]);

/// Returns how many digits these bytes begin with.
#[inline]
pub(crate) const fn digits(text: &[u8; 16]) -> usize {
    let values = u128::from_le_bytes(*text) ^ ZEROS;
    // The highest bit of each byte above 9. A carry can only set those of later bytes.
    let above_nine = values.wrapping_add(u128::from_le_bytes([0x80 - 10; 16])) | values;
    let others = above_nine & u128::from_le_bytes([0x80; 16]);
    others.trailing_zeros() as usize / 8
}

/// Returns the number of these eight decimal digits, one in each byte. The lowest byte comes first.
const fn of_eight(digits: u64) -> u64 {
    // Each step makes one number of two that are side by side.
    let pairs = (digits * 10) + (digits >> 8);
    let pairs = pairs & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100) + (pairs >> 16);
    let fours = fours & 0x0000_ffff_0000_ffff;
    (fours * 10_000 + (fours >> 32)) & 0xffff_ffff
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

    /// Each byte in each place, between digits.
    #[test]
    fn digits_end_at_every_other_byte() {
        for place in 0..16 {
            for byte in 0..=255 {
                let mut text = *b"7294105836729410";
                text[place] = byte;
                let others = text.iter().position(|byte| !byte.is_ascii_digit());
                assert_eq!(digits(&text), others.unwrap_or(16), "{text:?}");
            }
        }
    }

    #[test]
    fn absence_takes_no_room() {
        assert_eq!(size_of::<Option<Number>>(), 8);
    }
}
