//! Any text as the values of options, to a configuration or one line that refuses it.
#![no_main]

#[path = "check.rs"]
mod check;
#[path = "../../core/tests/core/contexts.rs"]
mod contexts;
#[path = "../../core/tests/core/events.rs"]
mod events;

libfuzzer_sys::fuzz_target!(|input: &[u8]| check::options(input));
