//! What the hosts print of metrics, where `FAULTS_FORMAT=both` has them made beside the
//! records: whether the kubelet is said to be up, and that nothing stale stands beside that.

use std::env;

use testkit::Host;

const UP: &str = "kubeletstats_up";

/// What else is there when the kubelet is down.
const OF_A_FAILURE: [&str; 4] = [
    "kubeletstats_build_info",
    "kubeletstats_scrapes_total",
    "kubeletstats_scrape_failures_total",
    "kubeletstats_overruns_total",
];

/// Metrics are made, and looked at.
pub fn wanted() -> bool {
    env::var("FAULTS_FORMAT").is_ok_and(|format| format == "both")
}

/// 1.x has no metrics for plugins; the embedded host has.
pub fn has_them(host: &Host) -> bool {
    host.version.is_none_or(|version| version >= (2, 0, 0))
}

/// All that was printed of metrics.
#[derive(Debug, Default)]
pub struct Printed {
    /// Every change of `kubeletstats_up`, from its first value on.
    pub ups: Vec<u8>,
    /// Those of scrapes that worked.
    pub samples: usize,
}

impl Printed {
    /// An error is a sample that is wrong by itself: less than zero, no number, or the
    /// kubelet's where that is down.
    pub fn of<'l>(lines: impl IntoIterator<Item = &'l str>, inputs: usize) -> Result<Self, String> {
        let mut printed = Self::default();
        // Counters of a context come before its gauges, among which is `kubeletstats_up`: what
        // is printed between two that are zero belongs to a scrape that failed.
        let mut stale = None;
        for line in lines {
            let Some((name, value)) = sample(line) else {
                continue;
            };
            if !value.is_finite() || value < 0.0 {
                return Err(format!("no sound value: {line}"));
            }
            if name != UP {
                if !OF_A_FAILURE.contains(&name) {
                    printed.samples += 1;
                    stale = Some(line);
                }
                continue;
            }
            let up = value as u8;
            let was_down = printed.ups.last() == Some(&0);
            if let Some(stale) = stale.take()
                && (inputs, up, was_down) == (1, 0, true)
            {
                return Err(format!("the kubelet is down, and there is: {stale}"));
            }
            if printed.ups.last() != Some(&up) {
                printed.ups.push(up);
            }
        }
        Ok(printed)
    }

    pub fn ups_are(&self, expected: &[u8]) -> Result<(), String> {
        match !wanted() || self.ups == expected {
            true => Ok(()),
            false => Err(format!("{UP} was {:?}, not {expected:?}", self.ups)),
        }
    }

    /// For the table; nothing without metrics.
    pub fn seen(&self) -> String {
        if !wanted() {
            return String::new();
        }
        let ups: Vec<_> = self.ups.iter().map(u8::to_string).collect();
        format!(", up {}, {} samples", ups.join(" "), self.samples)
    }
}

/// The last value of `kubeletstats_up` in these lines.
pub fn last_up<'l>(lines: impl DoubleEndedIterator<Item = &'l str>) -> Option<u8> {
    let mut ups = lines.rev().filter_map(sample);
    ups.find(|(name, _)| *name == UP)
        .map(|(_, value)| value as u8)
}

/// Name and value of a line such as `2026-11-21T10:00:00.000000000Z name{label="text"} = 1`; the
/// embedded host prints neither time nor equals sign.
fn sample(line: &str) -> Option<(&str, f64)> {
    let rest = match line.split_once(' ') {
        Some((time, rest)) if time.starts_with(|first: char| first.is_ascii_digit()) => rest,
        _ => line,
    };
    let end = rest.find(['{', ' '])?;
    let (name, rest) = rest.split_at(end);
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let value = rest.rsplit(' ').next()?.parse().ok()?;
    is_name.then_some((name, value))
}
