//! A point in time as a kubelet states it.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// A point in time as the kubelet stated it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
        let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        Some(Self {
            seconds: u32::try_from(time.unix_timestamp()).ok()?,
            nanos: time.nanosecond(),
        })
    }
}
