//! The command against a simulated kubelet: what a person types, reads and gets
//! as exit status.

mod broken;
mod command;
mod configuration;
mod facts;
mod good;
mod once;
mod paste;
mod refused;
mod robust;
#[path = "../../../core/tests/core/secrets.rs"]
mod secrets;
mod trust;
