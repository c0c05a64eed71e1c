//! The plugin over a host's life: started, stopped, reloaded, paused, run for
//! long, and beside other inputs. `make test` runs a short size of each;
//! `KUBELETSTATS_SOAK=1` the full one, with its measurements in tables.
//!
//! Times and memory are always compared with the same host without the plugin.

mod common;
use common::{held, proc, run, sink, summary};

#[path = "lifecycle/delay.rs"]
mod delay;
#[path = "lifecycle/pause.rs"]
mod pause;
#[path = "lifecycle/process.rs"]
mod process;
#[path = "lifecycle/refused.rs"]
mod refused;
#[path = "lifecycle/reload.rs"]
mod reload;
#[path = "lifecycle/samples.rs"]
mod samples;
#[path = "lifecycle/scrapes.rs"]
mod scrapes;
#[path = "lifecycle/silence.rs"]
mod silence;
#[path = "lifecycle/stop.rs"]
mod stop;
