//! What several suites share. No suite uses all of it.
#![allow(dead_code)]

pub mod events;
pub mod held;
pub mod proc;
pub mod replay;
pub mod run;
pub mod sink;
pub mod summary;
