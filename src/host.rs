//! The host: which Fluent Bit is running, what it exports, and a safe [`Instance`] for it.
//! This module does not know the kubelet.

mod instance;
mod log;
pub mod registration;
mod signals;
mod symbols;

pub use instance::{CollectFn, Collector, Instance, MetricsAppended};
pub use log::{Level, wait_for_logger};
pub use signals::with_signals_blocked;
pub use symbols::{Generation, Host, Layout, MetricsSupport, OptionRow};

pub use crate::ffi::{flb_config as HostConfig, flb_input_instance as HostInstance};
