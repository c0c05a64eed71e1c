//! The plugin over a host's life: started, stopped, reloaded, paused, run for
//! long, and beside other inputs. `make test` runs a short size of each;
//! `KUBELETSTATS_SOAK=1` the full one, with its measurements in tables.
//!
//! Times and memory are always compared with the same host without the plugin.

#[path = "../common/mod.rs"]
mod common;
use common::{gate, proc, run, shipped, sink};

mod delay;
mod delivery;
mod metrics;
mod pause;
mod process;
mod refused;
mod reload;
mod samples;
mod scrapes;
mod silence;
mod stop;
