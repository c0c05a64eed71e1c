//! Limits the size of the metrics of one scrape.

use super::{
    Naming,
    families::{Dialect, Family, Sample},
};

/// The limit in bytes for the samples of one scrape and for what is written for each resource. A
/// node with a thousand pods needs less, with all groups and fields. A reply with long names could
/// need a hundred times as much.
const fn most_bytes(naming: Naming) -> usize {
    match naming {
        Naming::Prometheus => 12 << 20,
        // Each resource repeats the heads of its families.
        Naming::OpenTelemetry => 24 << 20,
    }
}

/// How many more bytes the samples of a scrape may have.
#[derive(Debug)]
pub(super) struct Room {
    pub bytes: usize,
    /// The number of samples that were dropped because of the limit.
    pub left_out: usize,
}

impl Room {
    pub(super) fn new(naming: Naming) -> Self {
        Self {
            bytes: most_bytes(naming),
            left_out: 0,
        }
    }

    /// Adds the sample to its family, if there is room for it.
    pub(super) fn push<'v>(
        &mut self,
        family: &mut Family,
        dialect: Dialect,
        sample: &Sample,
        labels: impl ExactSizeIterator<Item = &'v str>,
    ) {
        match family.push(dialect, sample, labels, self.bytes) {
            Some(bytes) => self.bytes -= bytes,
            None => self.left_out += 1,
        }
    }
}
