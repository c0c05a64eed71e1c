//! What the command shares with the tests' host: how Fluent Bit's classic configuration is
//! read, and which properties of an input are Fluent Bit's own.

#![forbid(unsafe_code)]

pub mod conf;
pub mod properties;
