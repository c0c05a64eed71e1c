//! How much the metrics of one scrape may be.

use super::{
    Naming,
    families::{Dialect, Family, Sample},
};

/// The samples of one scrape, and what is written of each resource, have no more bytes. A node
/// of a thousand pods has fewer with all groups and fields. A reply with long names could have
/// a hundred times as many.
const fn most_bytes(naming: Naming) -> usize {
    match naming {
        Naming::Prometheus => 12 << 20,
        // Each resource has the heads of its families.
        Naming::OpenTelemetry => 24 << 20,
    }
}

/// How many bytes more the samples of a scrape may have.
#[derive(Debug)]
pub(super) struct Room {
    pub bytes: usize,
    /// Samples for which there were too few.
    pub left_out: usize,
}

impl Room {
    pub(super) fn new(naming: Naming) -> Self {
        Self {
            bytes: most_bytes(naming),
            left_out: 0,
        }
    }

    /// Puts the sample into its family, if there is room for it.
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
