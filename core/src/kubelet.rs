//! Everything about the kubelet: one GET over HTTP and TLS, and the reasons why one failed.

pub mod client;
pub mod deadline;
mod handshake;
pub mod name;
pub mod observer;
pub mod pem;
pub mod refusal;
mod session;
mod socket;
pub mod tls;
pub mod token;
mod transport;
pub mod trust;

pub use client::{Client, Endpoint};
