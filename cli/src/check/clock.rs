//! The kubelet's clock beside this machine's, and how old its samples are.

use kubeletstats_core::{
    kubelet::observer::Notes, select::Selector, summary, timestamp::Timestamp,
};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    reading::STALE,
    screen::Report,
    words::{self, span},
};

/// The `Date` header counts whole seconds, and the reply takes a while.
const TOLERATED: f64 = 5.0;

pub fn check(notes: &Notes, body: &[u8], report: &mut Report) {
    let Some(reply) = &notes.reply else { return };
    let here = words::seconds(reply.received);
    let there = reply.date.as_deref().and_then(date);
    let ahead = there.map(|there| there - here);
    let mut text = match ahead {
        None => "the reply has no Date".to_owned(),
        Some(ahead) if ahead.abs() <= TOLERATED => {
            "the kubelet's clock and this machine's agree".to_owned()
        }
        Some(ahead) => {
            let which = if ahead > 0.0 { "ahead of" } else { "behind" };
            let by = span(ahead);
            format!(
                "the kubelet's clock is {by} {which} this machine's\n\
                 records carry the kubelet's time, and tokens and certificates are judged by \
                 each side's own: set the clocks (chrony, systemd-timesyncd)"
            )
        }
    };
    let age = newest(body).map(|newest| there.unwrap_or(here) - newest);
    if let Some(age) = age {
        let age = match age.max(0.0).round() {
            seconds if seconds < 120.0 => format!("{seconds} s"),
            seconds => span(seconds),
        };
        text.push_str(&format!("\nthe newest sample is {age} old"));
    }
    let is_stale = age.is_some_and(|age| age > STALE);
    if is_stale {
        text.push_str(": the kubelet takes no new ones, see its log on the node");
    }
    match is_stale || ahead.is_some_and(|ahead| ahead.abs() > TOLERATED) {
        true => report.warn("clock", &text),
        false => report.ok("clock", &text),
    }
}

/// By the kubelet's clock if its reply says, when it was sent.
pub fn there(notes: &Notes) -> f64 {
    let reply = notes.reply.as_ref();
    let there = reply.and_then(|reply| date(reply.date.as_deref()?));
    there.unwrap_or_else(|| reply.map_or_else(words::now, |reply| words::seconds(reply.received)))
}

/// The middle of the second that the header names.
fn date(text: &str) -> Option<f64> {
    let time = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(time.unix_timestamp() as f64 + 0.5)
}

/// Of all containers on the node.
fn newest(body: &[u8]) -> Option<f64> {
    let summary = summary::parse(body, &Selector::default()).ok()?;
    let containers = summary.pods.iter().flat_map(|pod| &pod.containers);
    let newest: Option<Timestamp> = containers
        .filter_map(|container| container.cpu.time.max(container.memory.time))
        .max();
    newest.map(|newest| newest.as_nanos() as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_date() {
        assert_eq!(date("Sat, 21 Nov 2026 13:22:27 GMT"), Some(1_795_267_347.5));
        assert_eq!(date("yesterday"), None);
    }
}
