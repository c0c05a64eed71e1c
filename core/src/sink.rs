//! Encodes samples: events in msgpack, as Fluent Bit's append accepts them, and native metrics.

pub mod metrics;
pub mod msgpack;
pub mod record;
