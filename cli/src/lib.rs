//! What the command shares with the tests' host: how a configuration of Fluent Bit
//! is read, and which properties of an input are Fluent Bit's own.

#![forbid(unsafe_code)]

pub mod conf;
pub mod properties;
pub mod yaml;
