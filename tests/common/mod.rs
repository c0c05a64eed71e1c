//! What several suites share.

pub mod events;
