//! `flb-in_kubeletstats.so`: a native Fluent Bit input. It requests `/stats/summary` from
//! the node's kubelet and appends one record per container and sample.
//!
//! This crate contains only the code that touches the host. `entry` has the functions
//! that the host calls, `plugin` has what an input does in them, and `host` has the
//! functions of the host that an input may use. Everything else is in
//! `kubeletstats_core`. `ARCHITECTURE.md` gives an overview.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
// No host loads a unit test.
#[cfg_attr(test, allow(dead_code))]
mod entry;
#[allow(unsafe_code)]
mod ffi;
#[allow(unsafe_code)]
mod host;
mod plugin;
