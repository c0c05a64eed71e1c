//! Replies of any bytes, to records and to metrics.
#![no_main]

#[path = "check.rs"]
mod check;
#[path = "../../core/tests/core/contexts.rs"]
mod contexts;
#[path = "../../core/tests/core/events.rs"]
mod events;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::summary(input));
