//! In which hosts the tests run here, and in which they do not: the last line of the
//! targets that run in all of them.

use testkit::{Result, hosts};

fn main() -> Result<()> {
    println!("{}", hosts::coverage(&hosts::all()?));
    Ok(())
}
