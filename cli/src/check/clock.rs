//! Compares the kubelet's clock with that of this machine, and reports the age of its
//! samples.

use kubeletstats_core::{catalogue::Plan, kubelet::observer::Notes, select::Selector};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::{
    humanize,
    records::{self, STALE_AFTER},
    screen::Report,
};

/// In seconds. A smaller difference may have other causes: the `Date` header has whole
/// seconds, and the reply takes some time.
const MAX_SKEW: f64 = 5.0;

pub fn check(notes: &Notes, body: &[u8], report: &mut Report) {
    let Some(reply) = &notes.reply else { return };
    let local = humanize::unix_seconds(reply.received);
    let remote = reply.date.as_deref().and_then(date);
    let skew = remote.map(|remote| remote - local);
    let mut text = match skew {
        None => "the reply has no Date".to_owned(),
        Some(skew) if skew.abs() <= MAX_SKEW => {
            "the kubelet's clock and this machine's agree".to_owned()
        }
        Some(skew) => {
            let which = if skew > 0.0 { "ahead of" } else { "behind" };
            let by = humanize::duration(skew);
            format!(
                "the kubelet's clock is {by} {which} this machine's\n\
                 records carry the kubelet's time, and tokens and certificates are judged by \
                 each side's own: set the clocks (chrony, systemd-timesyncd)"
            )
        }
    };
    let age = newest_sample(body).map(|newest_sample| remote.unwrap_or(local) - newest_sample);
    if let Some(age) = age {
        let age = match age.max(0.0).round() {
            seconds if seconds < 120.0 => format!("{seconds} s"),
            seconds => humanize::duration(seconds),
        };
        text.push_str(&format!("\nthe newest sample is {age} old"));
    }
    let is_stale = age.is_some_and(|age| age > STALE_AFTER);
    if is_stale {
        text.push_str(": the kubelet takes no new ones, see its log on the node");
    }
    match is_stale || skew.is_some_and(|skew| skew.abs() > MAX_SKEW) {
        true => report.warn("clock", &text),
        false => report.ok("clock", &text),
    }
}

/// When the reply was sent, in seconds since the epoch. This is from its `Date` header.
/// Without the header, it is the time of arrival by this machine's clock.
pub fn kubelet_now(notes: &Notes) -> f64 {
    let reply = notes.reply.as_ref();
    let remote = reply.and_then(|reply| date(reply.date.as_deref()?));
    remote.unwrap_or_else(|| {
        reply.map_or_else(humanize::unix_now, |reply| {
            humanize::unix_seconds(reply.received)
        })
    })
}

/// Returns the middle of the second that the header has.
fn date(text: &str) -> Option<f64> {
    let time = OffsetDateTime::parse(text, &Rfc2822).ok()?;
    Some(time.unix_timestamp() as f64 + 0.5)
}

/// Returns the time of the newest sample of any container on the node, in seconds since
/// the epoch.
pub fn newest_sample(body: &[u8]) -> Option<f64> {
    let summary = Selector::default().parse(body, Plan::CONTAINERS).ok()?;
    records::newest_sample(summary.pods.iter().flat_map(|pod| &pod.containers))
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
