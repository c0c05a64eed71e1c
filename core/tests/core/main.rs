//! Everything that needs no host: what comes of a reply, and the worker against the
//! simulated kubelet.

mod bursts;
mod catalogue;
mod choice;
mod concurrency;
mod cpu;
mod events;
mod facts;
mod golden;
mod jobs;
mod network;
mod pods;
mod properties;
mod replay;
mod scrape;
mod secrets;
