//! Owns time as text: milliseconds since the epoch to and from RFC 3339 and the
//! HTTP date. Knows no node and no socket.

use std::time::{SystemTime, UNIX_EPOCH};

const DAY_S: u64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// The wall clock in milliseconds since the epoch.
pub fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| {
            u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
        })
}

/// Year, month and day of a day number counted from 1970-01-01.
///
/// Works in years that begin in March, so that the leap day is the last one.
pub fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_month)
}

fn day_number(year: u64, month: u64, day: u64) -> u64 {
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let era = march_year / 400;
    let year_of_era = march_year % 400;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// RFC 3339 in UTC; with `fraction`, three digits of milliseconds.
pub fn rfc3339(ms: u64, fraction: bool) -> String {
    let seconds = ms / 1_000;
    let (year, month, day) = civil(seconds / DAY_S);
    let rest = seconds % DAY_S;
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    let millis = if fraction {
        format!(".{:03}", ms % 1_000)
    } else {
        String::new()
    };
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{millis}Z")
}

/// Milliseconds since the epoch of a time as [`rfc3339`] prints it, `None` for other forms.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let millis = match text.get(19..)? {
        "Z" => 0,
        tail if tail.len() == 5 && tail.starts_with('.') && tail.ends_with('Z') => number(20, 23)?,
        _ => return None,
    };
    let seconds = day_number(year, month, day) * DAY_S + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000 + millis)
}

/// The form of the HTTP `Date` header, `Sat, 21 Nov 2026 09:32:04 GMT`.
pub fn http_date(ms: u64) -> String {
    let seconds = ms / 1_000;
    let days = seconds / DAY_S;
    let (year, month, day) = civil(days);
    let rest = seconds % DAY_S;
    format!(
        "{}, {day:02} {} {year:04} {:02}:{:02}:{:02} GMT",
        WEEKDAYS[(days % 7) as usize],
        MONTHS[(month - 1) as usize],
        rest / 3_600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for text in [
            "1970-01-01T00:00:00Z",
            "2024-02-29T23:59:59Z",
            "2026-11-21T09:30:46Z",
            "2100-03-01T00:00:00Z",
        ] {
            let ms = parse_rfc3339(text).expect(text);
            assert_eq!(rfc3339(ms, false), text);
        }
        let ms = parse_rfc3339("2026-11-21T09:30:46.500Z").expect("a fraction");
        assert_eq!(ms, 1_795_253_446_500);
        assert_eq!(rfc3339(ms, true), "2026-11-21T09:30:46.500Z");
        assert_eq!(parse_rfc3339("2026-11-21 09:30"), None);
    }

    #[test]
    fn http_date_is_the_kubelets_form() {
        let ms = parse_rfc3339("2026-11-21T09:32:04Z").expect("a time");
        assert_eq!(http_date(ms), "Sat, 21 Nov 2026 09:32:04 GMT");
    }
}
