//! The code that several suites share. No suite uses all of it.
#![allow(dead_code)]

pub mod gate;
pub mod proc;
pub mod run;
pub mod shipped;
pub mod sink;
