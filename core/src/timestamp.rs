//! A point in time as a kubelet writes it.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time as the kubelet wrote it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since the epoch. A kubelet's sample is never before it.
    pub seconds: u32,
    /// Nanoseconds of the second.
    pub nanos: u32,
}

impl Timestamp {
    /// Nanoseconds since the epoch.
    pub fn as_nanos(self) -> u64 {
        u64::from(self.seconds) * 1_000_000_000 + u64::from(self.nanos)
    }

    /// Milliseconds since the epoch, rounded down.
    pub fn as_millis(self) -> u64 {
        self.as_nanos() / 1_000_000
    }

    /// Makes a time from the seconds and nanoseconds since the epoch that a clock returns.
    pub fn since_epoch(elapsed: Duration) -> Option<Self> {
        Some(Self {
            seconds: u32::try_from(elapsed.as_secs()).ok()?,
            nanos: elapsed.subsec_nanos(),
        })
    }

    /// Parses RFC 3339. Returns `None` for a time that does not fit in an event time of msgpack.
    pub fn parse(text: &str) -> Option<Self> {
        let short = text.as_bytes().try_into().ok().and_then(Self::of_kubelet);
        short.or_else(|| {
            let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
            Some(Self {
                seconds: u32::try_from(time.unix_timestamp()).ok()?,
                nanos: time.nanosecond(),
            })
        })
    }

    /// Parses whole seconds in UTC, such as `2026-11-27T16:12:15Z`. A reply has five of them per
    /// container. Returns `None` for another form, or if there is no such time.
    pub(crate) fn of_kubelet(text: &[u8; 20]) -> Option<Self> {
        const FORM: &[u8; 20] = b"0000-00-00T00:00:00Z";
        const LARGEST: [u8; 20] = {
            let mut largest = [0; 20];
            let mut at = 0;
            while at < 20 {
                largest[at] = if FORM[at] == b'0' { 9 } else { 0 };
                at += 1;
            }
            largest
        };
        // All bytes are compared, without a branch for each, so that several are compared at once.
        let digits: [u8; 20] = std::array::from_fn(|at| text[at] ^ FORM[at]);
        let is_other = |at: usize| digits[at] > LARGEST[at];
        if (0..20).fold(false, |other, at| other | is_other(at)) {
            return None;
        }
        let digit = |at: usize| u32::from(digits[at]);
        let two = |at: usize| digit(at) * 10 + digit(at + 1);
        let (year, month, day) = (two(0) * 100 + two(2), two(5), two(8));
        let (hour, minute, second) = (two(11), two(14), two(17));
        let is_leap =
            year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let leap_day = u32::from(is_leap);
        // The days of a year in this many whole months.
        const DAYS_IN: [u32; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];
        let days_in =
            |months: u32| DAYS_IN[months as usize] + if months > 1 { leap_day } else { 0 };
        // In these years, the seconds fit.
        let is_time = (1970..2106).contains(&year)
            && (1..=12).contains(&month)
            && (1..=days_in(month) - days_in(month - 1)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        if !is_time {
            return None;
        }
        let leap_days = |year: u32| year / 4 - year / 100 + year / 400;
        let days =
            (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969) + days_in(month - 1) + day
                - 1;
        Some(Self {
            seconds: ((days * 24 + hour) * 60 + minute) * 60 + second,
            nanos: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_and_the_long_one_agree() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2026-11-27T16:12:15Z",
            "2024-02-29T23:59:59Z",
            "2026-02-29T23:59:59Z",
            "2100-02-29T00:00:00Z",
            "2105-12-31T23:59:59Z",
            "2106-01-01T00:00:00Z",
            "2026-11-27T24:00:00Z",
            "2026-11-27T23:59:60Z",
            "2026-13-27T16:12:15Z",
            "2026-00-27T16:12:15Z",
            "2026-11-00T16:12:15Z",
            "2026-1a-27T16:12:15Z",
            "2026-11-27 16:12:15Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            agree(text);
        }
        // This tests each possible day, with one second of it.
        for day in 0..49_670_u64 {
            let second = day * 86_400 + day * 7_919 % 86_400;
            let time = OffsetDateTime::from_unix_timestamp(second as i64).expect("a time");
            let text = time.format(&Rfc3339).expect("text");
            assert_eq!(
                agree(&text).map(|time| u64::from(time.seconds)),
                Some(second)
            );
        }
    }

    /// Each byte in each place.
    #[test]
    fn no_other_byte_is_taken_for_a_digit() {
        for (place, byte) in (0..20).flat_map(|place| (0..128).map(move |byte| (place, byte))) {
            let mut text = *b"2026-11-27T16:12:15Z";
            text[place] = byte;
            let text = str::from_utf8(&text).expect("it is ASCII");
            let long = OffsetDateTime::parse(text, &Rfc3339).ok();
            let long = long.and_then(|time| u32::try_from(time.unix_timestamp()).ok());
            // Rfc3339 also takes forms that a kubelet does not write: another byte instead of the T,
            // and a small z.
            let is_another_form = place == 10 && byte != b'T' || byte == b'z';
            let expected = long.filter(|_| !is_another_form);
            assert_eq!(agree(text).map(|time| time.seconds), expected, "{text}");
        }
        for byte in 128..=255 {
            assert_eq!(Timestamp::of_kubelet(&[byte; 20]), None);
        }
    }

    fn agree(text: &str) -> Option<Timestamp> {
        let long = OffsetDateTime::parse(text, &Rfc3339).ok();
        let long = long.and_then(|time| u32::try_from(time.unix_timestamp()).ok());
        let short = Timestamp::of_kubelet(text.as_bytes().try_into().expect("20 bytes"));
        assert!(
            short.is_none() || short.map(|time| time.seconds) == long,
            "{text}"
        );
        short
    }
}
