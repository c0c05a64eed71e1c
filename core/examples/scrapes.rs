//! So many scrapes of one kubelet, one after the other, and nothing else: what `strace -c`,
//! `valgrind --tool=callgrind` and the clock of the processor are put on. The kubelet runs in
//! a process of its own.
//!
//!     scrapes URL CA_FILE TOKEN_FILE COUNT [request [INTERVAL]]
//!
//! With `request` the replies are only received. With an interval the process waits for so long
//! before each: what a request costs then, when caches are cold, is more.

use std::{collections::HashMap, fs, thread, time::Duration};

use kubeletstats_core::{
    counters::Counters,
    duration,
    kubelet::{Client, Endpoint, deadline},
    options::Config,
    scrape::Memory,
    scraper::Scraper,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, ca, token, count, rest @ ..] = arguments.as_slice() else {
        panic!("expected URL CA_FILE TOKEN_FILE COUNT [request [INTERVAL]]");
    };
    let count: u64 = count.parse().expect("a number of scrapes");
    let options = HashMap::from([
        ("kubelet_url", url.as_str()),
        ("kube_ca_file", ca),
        ("kube_token_file", token),
        ("pod_prefix", "log-generator"),
        ("repeat_samples", "true"),
    ]);
    let config =
        Config::read(|name| options.get(name).map(|&value| value.to_owned())).expect("options");
    let (_stop, signal) = deadline::stop_pair().expect("a socket pair");
    let mut client = Client::new(&config, signal).expect("files that can be read");
    if rest.is_empty() {
        let mut scraper = Scraper::new(&config, client);
        let mut memory = Memory::default();
        measure(count, || {
            let taken = std::mem::take(&mut memory);
            let batch = scraper.scrape(taken, Counters::default());
            memory = batch.expect("a summary").into_memory();
        });
    } else {
        let interval = match rest.get(1) {
            Some(text) => duration::parse(text).expect("an interval"),
            None => Duration::ZERO,
        };
        let mut body = Vec::new();
        measure(count, || {
            thread::sleep(interval);
            client.begin();
            let received = client.get(Endpoint::Summary, &mut body);
            received.expect("a reply");
        });
    }
}

/// The first of them connects and is not counted.
fn measure(count: u64, mut one: impl FnMut()) {
    one();
    let began = on_processor();
    for _ in 0..count {
        one();
    }
    let took = on_processor() - began;
    println!("{:.1} us of CPU each", took as f64 / 1e3 / count as f64);
}

/// Nanoseconds that this thread has run, in user space and in the kernel.
fn on_processor() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("procfs");
    let first = text.split(' ').next().expect("a first word");
    first.parse().expect("a number")
}
