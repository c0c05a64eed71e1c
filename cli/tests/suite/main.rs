//! The command against a simulated kubelet: what a person types, reads and gets
//! as exit status.

mod broken;
mod command;
mod configuration;
mod good;
#[path = "../../../tests/common/held.rs"]
mod held;
mod once;
mod paste;
mod refused;
mod robust;
#[path = "../../../tests/common/secrets.rs"]
mod secrets;
mod trust;
