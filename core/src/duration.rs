//! The only grammar of durations: `500ms`, `10s`, `1.5m`, `1h`. A number without a unit is in
//! seconds.

use std::time::Duration;

/// The accepted forms, for an error about a bad duration.
pub const EXPECTED: &str = "500ms, 10s, 1m or 1h";

/// Reads decimal digits with at most one point, and a unit. Returns `None` for anything else, and
/// for a duration that does not fit in [`Duration`].
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds_per_unit = match unit.trim_start() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    // The text has only digits and points: a sign, an exponent, infinity or NaN cannot occur.
    let seconds = number.parse::<f64>().ok()? * seconds_per_unit;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("500ms", 500),
            ("10s", 10_000),
            ("10", 10_000),
            ("1m", 60_000),
            ("1.5m", 90_000),
            ("1h", 3_600_000),
            ("10 s", 10_000),
            ("0.25", 250),
            ("0", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "-1s",
            "1e3",
            "inf",
            "nan",
            "1.2.3s",
            "10x",
            "ten",
            "1d",
            ".",
            "",
            "99999999999999999999s",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
