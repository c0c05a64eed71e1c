//! The records of a saved reply:
//!
//! ```sh
//! kubectl get --raw /api/v1/nodes/NODE/proxy/stats/summary > summary.json
//! cargo run -p kubeletstats-core --example records -- summary.json namespace=default
//! ```

use std::{env, error::Error, fs};

use kubeletstats_core::{options::Config, scrape::Pipeline};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let file = arguments.next().ok_or("the file of a reply is missing")?;
    let options: Vec<String> = arguments.collect();
    let config = Config::read(|name| {
        let mut pairs = options.iter().filter_map(|option| option.split_once('='));
        let given = pairs.find(|(key, _)| *key == name);
        given.map(|(_, value)| value.to_owned())
    })?;
    let body = fs::read(file)?;
    let batch = Pipeline::new(&config)
        .run(&body, Vec::new())
        .map_err(|why| why.to_string())?;
    let mut events = batch.events();
    while !events.is_empty() {
        println!("{}", rmpv::decode::read_value(&mut events)?);
    }
    eprintln!(
        "{} records, {} of {} pods are selected",
        batch.records(),
        batch.pods_wanted,
        batch.pods_on_node
    );
    Ok(())
}
