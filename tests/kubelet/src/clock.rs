//! Owns time as text: it converts milliseconds since the epoch to and from RFC 3339 and
//! the HTTP date. It knows no node and no socket.

use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// Returns the wall clock in milliseconds since the epoch.
pub fn now_ms() -> u64 {
    ms_of(OffsetDateTime::now_utc()).unwrap_or_default()
}

fn ms_of(time: OffsetDateTime) -> Option<u64> {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).ok()
}

fn time_of(ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000)
        .expect("a year that a calendar has")
}

/// Writes RFC 3339 in UTC, in whole seconds unless `fraction` is set. A reply has
/// thousands of these, so this is faster than a general formatter.
pub fn rfc3339(ms: u64, fraction: bool) -> String {
    let (seconds, rest) = (ms / 1_000, ms % 1_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // The days are counted from the first of March of year 0. Then a leap day is the last
    // day of its year, and five months have 153 days.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, late) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + late;

    let mut text = String::with_capacity("2026-11-21T09:30:56.123Z".len());
    let mut push = |value: u64, digits: u32, end: char| {
        for place in (0..digits).rev() {
            let digit = value / 10_u64.pow(place) % 10;
            text.push(char::from(b'0' + digit as u8));
        }
        text.push(end);
    };
    push(year, 4, '-');
    push(month, 2, '-');
    push(day, 2, 'T');
    push(of_day / 3_600, 2, ':');
    push(of_day / 60 % 60, 2, ':');
    match fraction && rest > 0 {
        false => push(of_day % 60, 2, 'Z'),
        true => {
            push(of_day % 60, 2, '.');
            match (rest % 100, rest % 10) {
                (0, _) => push(rest / 100, 1, 'Z'),
                (_, 0) => push(rest / 10, 2, 'Z'),
                _ => push(rest, 3, 'Z'),
            }
        }
    }
    text
}

/// Returns the milliseconds since the epoch of a time in RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(ms_of)
}

/// Writes the form of the HTTP `Date` header, for example `Sat, 21 Nov 2026 09:32:04
/// GMT`.
pub fn http_date(ms: u64) -> String {
    let date = time_of(ms).format(&Rfc2822).expect("a year of four digits");
    date.replace("+0000", "GMT")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Xorshift;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        let mut any = Xorshift::new(1);
        // Times up to the year 9000, and every day around a leap day.
        let days = (0..2_000).map(|day| 951_000_000_000 + day * 86_400_000);
        let others = (0..20_000).map(|_| any.next() % 221_845_392_000_000);
        for ms in days.chain(others).chain([0, 999, 1_000, 1_100, 1_120]) {
            let exact = time_of(ms).format(&Rfc3339).expect("a year of four digits");
            assert_eq!(rfc3339(ms, true), exact);
            let whole = time_of(ms / 1_000 * 1_000).format(&Rfc3339);
            assert_eq!(rfc3339(ms, false), whole.expect("a year of four digits"));
            assert_eq!(parse_rfc3339(&exact), Some(ms));
        }
    }
}
