//! Prints in which hosts the tests run here and in which they do not. This is the last
//! line of the targets that run in all hosts.

use testkit::{Result, hosts};

fn main() -> Result<()> {
    println!("{}", hosts::coverage(&hosts::all()?));
    Ok(())
}
