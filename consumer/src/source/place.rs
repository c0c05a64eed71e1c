//! Where reading begins in a partition, and what to log about deleted records. This
//! module is pure.

use std::fmt;

/// Records that Kafka deleted before the group read them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The first offset, and below the offset after the last one.
    pub from: i64,
    pub to: i64,
    /// When the last record before them was written, in milliseconds, if known.
    pub since: Option<i64>,
}

impl fmt::Display for Gone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, last, count) = (self.from, self.to - 1, self.to - self.from);
        write!(
            out,
            "records are gone, {count} at most, offset {from} to {last}"
        )?;
        if let Some(since) = self.since {
            write!(out, ", written since {}", utc(since))?;
        }
        let to = self.to;
        write!(
            out,
            ": Kafka deleted them before they were read; reading on from offset {to}; \
             keep records longer, see retention.ms"
        )
    }
}

/// Where a group begins: at its own place, if that still exists.
#[derive(Debug, PartialEq, Eq)]
pub enum Start {
    Place(i64),
    /// The records at its place were deleted.
    Behind(Gone),
    /// The topic ends before the group's place. It was recreated, or its last records
    /// were lost.
    Recreated(i64),
}

impl Start {
    /// `kept` has the first existing offset and the offset after the last one.
    pub fn of(place: i64, since: Option<i64>, kept: (i64, i64)) -> Self {
        let (low, high) = kept;
        match place {
            place if place < low => Self::Behind(Gone {
                from: place,
                to: low,
                since,
            }),
            place if place > high => Self::Recreated(low),
            place => Self::Place(place),
        }
    }

    pub fn offset(&self) -> i64 {
        match self {
            Self::Place(offset) | Self::Recreated(offset) => *offset,
            Self::Behind(gone) => gone.to,
        }
    }
}

/// For example `2026-11-27T09:30:40Z`. It is computed in eras of 400 years that begin in
/// March.
fn utc(milliseconds: i64) -> String {
    let seconds = milliseconds.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (year, month) = match month {
        0..10 => (era * 400 + year, month + 3),
        _ => (era * 400 + year + 1, month - 9),
    };
    let (hour, minute) = (second / 3_600, second / 60 % 60);
    let second = second % 60;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_is_gone_is_told() {
        let gone = |from, to| {
            Start::Behind(Gone {
                from,
                to,
                since: None,
            })
        };
        assert_eq!(Start::of(10, None, (10, 20)), Start::Place(10));
        assert_eq!(Start::of(20, None, (10, 20)), Start::Place(20));
        assert_eq!(Start::of(9, None, (10, 20)), gone(9, 10));
        // All records were deleted.
        assert_eq!(Start::of(9, None, (20, 20)), gone(9, 20));
        assert_eq!(Start::of(21, None, (10, 20)), Start::Recreated(10));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399_999, "2000-02-28T23:59:59Z"),
            (951_868_799_000, "2000-02-29T23:59:59Z"),
            (1_795_253_440_000, "2026-11-21T09:30:40Z"),
            (1_798_761_600_000, "2027-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(milliseconds), text);
        }
    }
}
