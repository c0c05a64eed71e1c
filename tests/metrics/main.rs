//! Native metrics, end to end: what a real Fluent Bit makes of them in its outputs and
//! processors, beside what the simulated kubelet says itself. Nothing here shares a decoder
//! with the plugin.

mod client;
#[path = "../common/mod.rs"]
mod common;
mod exporter;
mod exposition;
mod life;
mod opentelemetry;
mod otlp;
mod outputs;
mod processors;
mod prometheus;
mod scene;
mod server;
mod truth;
