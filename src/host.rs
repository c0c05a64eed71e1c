//! The host: which Fluent Bit this is, what it exports, and a safe [`Instance`] over that.
//! Knows no kubelet.

mod instance;
mod log;
pub mod registration;
mod signals;
mod symbols;

pub use instance::{Collect, Collector, Instance};
pub use log::{Level, let_the_logger_print};
pub use signals::without_signals;
pub use symbols::{Generation, Host, Row, Shape};

pub use crate::ffi::{flb_config as HostConfig, flb_input_instance as HostInstance};
