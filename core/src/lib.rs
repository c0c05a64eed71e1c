//! The part of the plugin that knows no host: from the kubelet's `/stats/summary` to Fluent Bit's
//! events.
//!
//! Dependencies have one direction. [`worker`] runs one [`scrape`] after the other on a thread. A
//! scrape consists of [`kubelet`] (options to bytes), then [`summary`], [`select`] and [`rates`]
//! (bytes to samples), then [`sink`] (samples to events). `ARCHITECTURE.md` has the picture.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod catalogue;
pub mod counters;
pub mod delivery;
pub mod duration;
pub mod error;
pub mod facts;
pub mod health;
mod jitter;
mod json;
pub mod kubelet;
pub mod number;
pub mod options;
pub mod panics;
pub mod rates;
pub mod record_reader;
pub mod scrape;
pub mod scraper;
pub mod select;
pub mod sieve;
pub mod sink;
pub mod summary;
pub mod text;
pub mod timestamp;
pub mod worker;
