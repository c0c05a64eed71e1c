//! `flb-in_kubeletstats.so`: a native Fluent Bit input that asks the node's
//! kubelet for `/stats/summary` and appends one record per container and sample.
//!
//! Dependencies point one way: [`plugin`] knows the [`host`] and the
//! [`scraper`]; the scraper knows [`kubelet`] (bytes) and [`pipeline`] (bytes to
//! events). Nothing below the plugin knows the host, and nothing in the host
//! knows the kubelet. `ARCHITECTURE.md` has the picture.

#![deny(unsafe_code)]

pub mod counters;
pub mod delivery;
pub mod error;
#[allow(unsafe_code)]
pub mod ffi;
pub mod health;
#[allow(unsafe_code)]
pub mod host;
mod json;
pub mod kubelet;
pub mod msgpack;
pub mod options;
pub mod panics;
pub mod pipeline;
#[allow(unsafe_code)]
pub mod plugin;
pub mod record;
pub mod samples;
pub mod scraper;
pub mod select;
pub mod summary;
