//! Writes numbers, times and lists for a human reader.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kubeletstats_core::text::{self, printable};
use time::OffsetDateTime;

/// Returns seconds since the epoch. They are negative before it.
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// Returns the current time of this machine's clock, in seconds since the epoch.
pub fn unix_now() -> f64 {
    unix_seconds(SystemTime::now())
}

/// Writes seconds without their sign, for example `0.3 ms`, `4.2 s`, `48 min`, `3 h` or
/// `364 days`.
pub fn duration(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    match seconds.abs() {
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s if s < 10.0 => format!("{s:.1} s"),
        s if s < 2.0 * MINUTE => format!("{s:.0} s"),
        s if s < 2.0 * HOUR => format!("{:.0} min", s / MINUTE),
        s if s < 2.0 * DAY => format!("{:.0} h", s / HOUR),
        s => format!("{:.0} days", s / DAY),
    }
}

/// Writes a measured [`duration`].
pub fn elapsed(time: Duration) -> String {
    duration(time.as_secs_f64())
}

/// Writes seconds since the epoch as a date, for example `2026-11-21`.
pub fn date(seconds: i64) -> String {
    match OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(time) => time.date().to_string(),
        Err(_) => "an impossible date".to_owned(),
    }
}

/// For example `1 pod` or `2 pods`. The plural of `what` must be formed with an `s`.
pub fn count(number: usize, what: &str) -> String {
    text::count(number as u64, what, &format!("{what}s"))
}

/// The first `max` names with commas between them, fit for one line.
pub fn list<T: AsRef<str>>(names: &[T], max: usize) -> String {
    let mut text = names
        .iter()
        .take(max)
        .map(|name| printable(name.as_ref(), 253))
        .collect::<Vec<_>>()
        .join(", ");
    if names.len() > max {
        text.push_str(&format!(" and {} more", names.len() - max));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let cases = [
            (0.0003, "0.3 ms"),
            (4.21, "4.2 s"),
            (-61.0, "61 s"),
            (2880.0, "48 min"),
            (10_800.0, "3 h"),
            (31_536_000.0, "365 days"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(date(1_795_267_347), "2026-11-21");
        assert_eq!(date(i64::MAX), "an impossible date");
    }

    #[test]
    fn long_lists_are_cut_and_hostile_names_stay_on_their_line() {
        assert_eq!(list(&["a", "b\nc", "d", "e"], 3), "a, b?c, d and 1 more");
    }
}
