//! How long things take: to load, to start, and from the kubelet's last byte to the append.

use std::time::{Duration, Instant};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Result, Stream, hosts};

use crate::process;

const PATIENCE: Duration = Duration::from_secs(30);
const STARTS: usize = 15;
const SCRAPES: usize = 40;

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e3
}

/// From the start of a host that only prints its help to its end.
fn help(host: &Host, args: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    let mut child = Child::spawn(host.command(args))?;
    child.wait_for_exit(PATIENCE)?;
    Ok(began.elapsed())
}

/// What the plugin says of each batch right before it appends it, at level debug.
fn is_batch(line: &str) -> bool {
    line.contains("] ") && line.contains(" records, ") && line.contains(" bytes, in ")
}

struct Scrapes {
    /// From the start to the first request, and to the first batch.
    first_request: Duration,
    first_batch: Duration,
    /// From the last byte of a reply to the line of its batch.
    to_append: Vec<Duration>,
}

fn scrapes(host: &Host, options: &[(&str, &str)]) -> Result<Scrapes> {
    let kubelet = SimKubelet::builder()
        .pods(110)
        .sample_period(Duration::from_millis(200))
        .started();
    let options = [&[("interval", "250ms")], options].concat();
    let began = Instant::now();
    let child = process::scraping_here(host, &kubelet, "-v", &options)?;
    kubelet.wait_for_requests(1, PATIENCE);
    let first_request = began.elapsed();
    let (mut to_append, mut seen, mut first_batch) = (Vec::new(), 0, Duration::ZERO);
    while to_append.len() < SCRAPES {
        child.wait_for_line_from(seen, Stream::Stderr, is_batch, PATIENCE)?;
        let lines = child.lines_from(seen);
        seen += lines.len();
        let line = lines.iter().rev().find(|line| is_batch(&line.text));
        if let (Some(line), Some(sent)) = (line, kubelet.last_reply()) {
            if to_append.is_empty() {
                first_batch = line.at - began;
            }
            to_append.push(line.at.saturating_duration_since(sent));
        }
    }
    Ok(Scrapes {
        first_request,
        first_batch,
        to_append,
    })
}

pub fn print(hosts: &[Host]) -> Result<()> {
    let plugin = hosts::plugin_path();
    let size = std::fs::metadata(&plugin).map_or(0, |file| file.len());
    println!("\nthe plugin's file: {size} bytes");
    println!(
        "milliseconds; load: of {STARTS} pairs of `fluent-bit -h`, the median with `-e` less that without; \
         the rest with 110 pods, median of {SCRAPES} scrapes, from the last byte of a reply to the line that is logged before the append\n"
    );
    println!(
        "{:<20} {:>8} {:>14} {:>12} {:>16} {:>16}",
        "host", "load", "first request", "first batch", "to append, two", "to append, all"
    );
    let plugin = plugin.display().to_string();
    for host in hosts {
        let (mut with, mut without) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            with.push(help(host, &["-e", &plugin, "-h"])?);
            without.push(help(host, &["-h"])?);
        }
        let two = scrapes(host, &[("pod_prefix", "log-generator")])?;
        let all = scrapes(host, &[])?;
        println!(
            "{:<20} {:>8.1} {:>14.1} {:>12.1} {:>16.2} {:>16.2}",
            host.name,
            median(with) - median(without),
            two.first_request.as_secs_f64() * 1e3,
            two.first_batch.as_secs_f64() * 1e3,
            median(two.to_append),
            median(all.to_append)
        );
    }
    Ok(())
}
