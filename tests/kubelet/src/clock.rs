//! Owns time as text: milliseconds since the epoch to and from RFC 3339 and the
//! HTTP date. Knows no node and no socket.

use time::{
    OffsetDateTime,
    format_description::well_known::{Rfc2822, Rfc3339},
};

/// The wall clock in milliseconds since the epoch.
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

/// RFC 3339 in UTC, in whole seconds unless a `fraction` is wanted.
pub fn rfc3339(ms: u64, fraction: bool) -> String {
    let ms = if fraction { ms } else { ms / 1_000 * 1_000 };
    time_of(ms).format(&Rfc3339).expect("a year of four digits")
}

/// Milliseconds since the epoch of a time in RFC 3339.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    OffsetDateTime::parse(text, &Rfc3339).ok().and_then(ms_of)
}

/// The form of the HTTP `Date` header, `Sat, 21 Nov 2026 09:32:04 GMT`.
pub fn http_date(ms: u64) -> String {
    let date = time_of(ms).format(&Rfc2822).expect("a year of four digits");
    date.replace("+0000", "GMT")
}
