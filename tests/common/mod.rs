//! What several suites share. No suite uses all of it.
#![allow(dead_code)]

pub mod proc;
pub mod run;
pub mod sink;
