//! Budgets that are counts, so that no machine is too noisy for them. Those that
//! are ratios are `make bench`'s.

#[path = "common/summary.rs"]
mod summary;

use flb_in_kubeletstats::{options::Config, pipeline::Pipeline};

/// Parse, select and encode: 2 pods wanted of 110, all buffers in place.
#[test]
fn heap_allocations_of_a_scrape() {
    let config = Config::read(|name| (name == "pod_prefix").then(|| "log-generator".to_owned()));
    let mut pipeline = Pipeline::new(&config.expect("valid options"));
    let mut memory = Vec::new();
    for sample in 0..8 {
        let body = summary::of_node(110, sample);
        let mut batch = None;
        let used = allocation_counter::measure(|| batch = pipeline.run(&body, memory).ok());
        let batch = batch.expect("a summary");
        assert_eq!(batch.records, 2);
        memory = batch.bytes;
        assert!(
            sample == 0 || used.count_total <= 16,
            "{} allocations",
            used.count_total
        );
    }
}
