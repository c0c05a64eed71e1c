//! `flb-in_kubeletstats.so`: a native Fluent Bit input that asks the node's
//! kubelet for `/stats/summary` and appends one record per container and sample.
//!
//! This crate is what touches the host, and nothing else: `entry` is what the host
//! calls, `plugin` what an input does then, `host` what an input may ask of the host.
//! All the rest is `kubeletstats_core`. `ARCHITECTURE.md` has the picture.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
// A unit test is loaded by no host.
#[cfg_attr(test, allow(dead_code))]
mod entry;
#[allow(unsafe_code)]
mod ffi;
#[allow(unsafe_code)]
mod host;
mod plugin;
