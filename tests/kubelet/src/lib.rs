//! A simulated kubelet for end-to-end tests and demos.
//!
//! It serves `/stats/summary`, `/pods` and `/metrics/resource` on loopback like a real
//! kubelet: TLS with certificates of its own CA, bearer tokens or client certificates,
//! chunked JSON in the real layout and key order, pods and containers in a new order each
//! time, samples at uneven intervals with times rounded down to whole seconds, and counters
//! that are exact for the time of the sample. By default, only containers and networks
//! change, and the rest stays as captured. A [full](SimKubeletBuilder::full) kubelet also
//! has pressure stalls and swap, and all of it changes. `/pods` describes every container of
//! the summary, and has pods that do not run. `/metrics/resource` has the summary's CPU and
//! memory as a page for Prometheus. Every way in which a kubelet fails, down to single
//! bytes, is a [`Fault`].
//!
//! ```
//! use sim_kubelet::{Fault, SimKubelet};
//!
//! let kubelet = SimKubelet::builder()
//!     .pods(20)
//!     .token("secret")
//!     .burn("default/log-generator-a-vm", 785)
//!     .start()?;
//! assert!(kubelet.url().starts_with("https://127.0.0.1:"));
//! kubelet.set_fault(Fault::HangInBody);
//! # Ok::<(), std::io::Error>(())
//! ```

mod access;
mod builder;
pub mod captured;
mod clock;
mod connection;
mod corrupt;
mod deliver;
mod fault;
mod files;
mod full;
mod handle;
mod http;
mod journal;
mod listing;
mod model;
mod node;
mod offline;
mod podlist;
mod population;
mod random;
mod resource;
mod respond;
mod server;
mod sync;
mod tls;
mod wire;

pub use builder::SimKubeletBuilder;
pub use clock::{parse_rfc3339, rfc3339};
pub use fault::{Fault, Stage};
pub use handle::SimKubelet;
pub use journal::RecordedRequest;
pub use node::{ContainerTruth, NetworkTruth, NodeTruth, Pressure, Stall, SystemTruth, Truth};
pub use offline::Offline;
