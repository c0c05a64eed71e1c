//! What the plugin costs every real Fluent Bit that is found: CPU a scrape and private memory
//! with it and without, how long a reply takes to the append, and how long it takes to load and
//! to start. All hosts run at once against kubelets of this process, so a slow moment of the
//! machine hits them all. With `peers`: what other ways of getting the same numbers cost.

mod cost;
mod peers;
mod process;
mod times;

use std::time::Duration;

use testkit::{Result, hosts};

/// How long the hosts run, once they are warm.
const MEASURED: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    if std::env::args().nth(1).as_deref() == Some("peers") {
        return peers::print(MEASURED);
    }
    let hosts = hosts::real()?;
    if hosts.is_empty() {
        println!(
            "whole processes: NOT RUN, there is no Fluent Bit (FLUENT_BIT names those to run)"
        );
        return Ok(());
    }
    cost::print(&hosts, MEASURED)?;
    times::print(&hosts)
}
