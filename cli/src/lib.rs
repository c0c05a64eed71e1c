//! The code that the command shares with the tests' host: it reads a Fluent Bit
//! configuration, and knows which properties of an input belong to Fluent Bit.

#![forbid(unsafe_code)]

pub mod conf;
pub mod properties;
pub mod yaml;
