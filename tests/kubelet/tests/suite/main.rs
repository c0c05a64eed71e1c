//! The simulated kubelet as a client sees it, down to single bytes.

mod auth;
mod binary;
mod client;
mod faults;
mod life;
mod steady;
mod tls;
