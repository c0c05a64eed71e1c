//! Everything that needs no host: what comes of a reply, and the worker against the
//! simulated kubelet.

mod bursts;
mod catalogue;
mod choice;
mod concurrency;
mod contexts;
mod cpu;
mod doubts;
mod events;
mod facts;
mod golden;
mod jobs;
mod metrics;
mod network;
mod pods;
mod properties;
mod receiver;
mod replay;
mod scrape;
mod secrets;
mod sieve;
