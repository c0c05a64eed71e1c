//! A point in time as a kubelet states it.

use std::time::Duration;

use time::{Date, Month, OffsetDateTime, Time, format_description::well_known::Rfc3339};

/// A point in time as the kubelet stated it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp {
    /// Since the epoch; a kubelet's sample is never before it.
    pub seconds: u32,
    /// Of the second.
    pub nanos: u32,
}

impl Timestamp {
    /// Since the epoch.
    pub fn as_nanos(self) -> u64 {
        u64::from(self.seconds) * 1_000_000_000 + u64::from(self.nanos)
    }

    /// Since the epoch, cut.
    pub fn as_millis(self) -> u64 {
        self.as_nanos() / 1_000_000
    }

    /// Seconds and nanoseconds since the epoch, as a clock gives them.
    pub fn since_epoch(elapsed: Duration) -> Option<Self> {
        Some(Self {
            seconds: u32::try_from(elapsed.as_secs()).ok()?,
            nanos: elapsed.subsec_nanos(),
        })
    }

    /// RFC 3339; `None` for what no msgpack event time can hold either.
    pub fn parse(text: &str) -> Option<Self> {
        let time = match as_a_kubelet_writes(text) {
            Some(time) => time,
            None => OffsetDateTime::parse(text, &Rfc3339).ok()?,
        };
        Some(Self {
            seconds: u32::try_from(time.unix_timestamp()).ok()?,
            nanos: time.nanosecond(),
        })
    }
}

/// Whole seconds of UTC, `2026-11-27T16:12:15Z`: five of them a container.
fn as_a_kubelet_writes(text: &str) -> Option<OffsetDateTime> {
    let text: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let digits = |at: usize, count: usize| {
        text[at..at + count]
            .iter()
            .try_fold(0_u16, |number, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| number * 10 + u16::from(digit - b'0'))
            })
    };
    let two = |at: usize| digits(at, 2).map(|number| number as u8);
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'Z'),
    ];
    if marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let month = Month::try_from(two(5)?).ok()?;
    let date = Date::from_calendar_date(digits(0, 4)?.into(), month, two(8)?).ok()?;
    let time = Time::from_hms(two(11)?, two(14)?, two(17)?).ok()?;
    Some(date.with_time(time).assume_utc())
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
            "2026-11-27T24:00:00Z",
            "2026-11-27T23:59:60Z",
            "2026-13-27T16:12:15Z",
            "2026-1a-27T16:12:15Z",
            "2026-11-27 16:12:15Z",
            "0000-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ] {
            let long = OffsetDateTime::parse(text, &Rfc3339).ok();
            let short = as_a_kubelet_writes(text);
            assert!(short.is_none() || short == long, "{text}");
        }
        assert!(as_a_kubelet_writes("2026-11-27T16:12:15Z").is_some());
    }
}
