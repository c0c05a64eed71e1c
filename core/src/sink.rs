//! Where samples go: events in msgpack, as Fluent Bit's append takes them.

pub mod metrics;
pub mod msgpack;
pub mod record;
