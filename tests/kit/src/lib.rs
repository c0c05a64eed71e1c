//! The test kit: code that the end-to-end tests, `make demo` and `make kafka` share.
//!
//! It starts processes and always stops them, waits with deadlines and never with fixed
//! sleeps, finds the Fluent Bits of this machine, and finds or starts a Kafka. Of the
//! plugin, it knows only the shape of a record, which the consumer defines.

pub mod error;
pub mod held;
pub mod hosts;
pub mod kafka;
pub mod process;
pub mod wait;

pub use error::{Error, Result};
pub use hosts::Host;
pub use kafka::Kafka;
pub use kubeletstats_core::record_reader;
pub use process::{Child, Ended, Stream};
pub use wait::Deadline;
