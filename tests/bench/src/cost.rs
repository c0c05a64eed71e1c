//! CPU a scrape and private memory, with the plugin and without.

use std::{
    thread,
    time::{Duration, Instant},
};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Result, wait};

use crate::process;

const INTERVAL: &str = "1s";
const PATIENCE: Duration = Duration::from_secs(30);

/// So many scrapes come before those that are measured: memory has its size then.
const WARM: u64 = 5;

type Options = &'static [(&'static str, &'static str)];

/// What the input is asked for. The first two are the same, for the noise.
const WORK: [(&str, usize, Options); 7] = [
    (
        "110 pods, two selected",
        110,
        &[("pod_prefix", "log-generator")],
    ),
    ("the same again", 110, &[("pod_prefix", "log-generator")]),
    ("110 pods, all", 110, &[]),
    (
        "500 pods, two selected",
        500,
        &[("pod_prefix", "log-generator")],
    ),
    (
        "110 pods, all groups and fields",
        110,
        &[("metric_groups", "all"), ("fields", "all")],
    ),
    (
        "the same as metrics",
        110,
        &[
            ("metric_groups", "all"),
            ("fields", "all"),
            ("format", "metrics"),
        ],
    ),
    (
        "110 pods, all, with facts, both",
        110,
        &[
            ("pod_facts", "on"),
            ("kube_state_metrics", "on"),
            ("format", "both"),
        ],
    ),
];

/// A host that runs, and what it scrapes.
struct Running {
    child: Child,
    kubelet: Option<SimKubelet>,
}

/// At one moment.
struct Sample {
    cpu: Duration,
    scrapes: u64,
}

impl Running {
    fn start(host: &Host, work: Option<&(&str, usize, Options)>) -> Result<Self> {
        let Some((_, pods, options)) = work else {
            let args = ["-q", "-f", "1", "-i", "dummy", "-o", "null", "-m", "*"];
            let child = Child::spawn(host.command(args))?;
            return Ok(Self {
                child,
                kubelet: None,
            });
        };
        // New numbers every scrape, at times in the form that a kubelet writes.
        let kubelet = SimKubelet::builder()
            .pods(*pods)
            .full(
                options.contains(&("metric_groups", "all"))
                    || options.contains(&("pod_facts", "on")),
            )
            .sample_period(Duration::from_millis(500))
            .whole_seconds()
            .started();
        let options = [
            &[("interval", INTERVAL), ("repeat_samples", "on")],
            *options,
        ]
        .concat();
        let child = process::scraping_here(host, &kubelet, "-q", &options)?;
        Ok(Self {
            child,
            kubelet: Some(kubelet),
        })
    }

    fn scrapes(&self) -> u64 {
        self.kubelet.as_ref().map_or(WARM, SimKubelet::replies)
    }

    fn sample(&self) -> Result<Sample> {
        Ok(Sample {
            cpu: process::cpu(&self.child)?,
            scrapes: self.scrapes(),
        })
    }
}

/// Of one host and one kind of work.
struct Cost {
    /// A second, of the whole process.
    cpu: f64,
    scrapes: f64,
    private_kib: u64,
}

/// Whether the host takes these options at all.
fn takes(host: &Host, options: Options) -> bool {
    let has_metrics = options.iter().any(|(key, _)| *key == "format");
    !has_metrics || host.version >= Some((2, 0, 0))
}

pub fn print(hosts: &[Host], measured: Duration) -> Result<()> {
    println!(
        "whole processes: CPU of all threads a scrape, less that of the same host with `dummy`, and private memory; \
         interval {INTERVAL}, {} s, all at once",
        measured.as_secs()
    );
    println!(
        "ratio: the ms of a line divided by those of the first line of the same host; the second line is the same work again, so it \
shows the noise\n"
    );
    let mut all = Vec::new();
    for host in hosts {
        let mut of_host = vec![Some(Running::start(host, None)?)];
        for work in &WORK {
            let takes = takes(host, work.2);
            of_host.push(
                takes
                    .then(|| Running::start(host, Some(work)))
                    .transpose()?,
            );
        }
        all.push(of_host);
    }
    for running in all.iter().flatten().flatten() {
        wait::until("a host to scrape", PATIENCE, || running.scrapes() >= WARM)?;
    }
    let samples = |all: &[Vec<Option<Running>>]| -> Result<Vec<Vec<Option<Sample>>>> {
        let of_host = |host: &Vec<Option<Running>>| {
            let sample = |one: &Option<Running>| one.as_ref().map(Running::sample).transpose();
            host.iter().map(sample).collect()
        };
        all.iter().map(of_host).collect()
    };
    let began = Instant::now();
    let before = samples(&all)?;
    // Nothing is waited for but time: the more of it, the less the noise.
    thread::sleep(measured);
    let after = samples(&all)?;
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{:<20} {:<34} {:>12} {:>7} {:>12} {:>12}",
        "host", "work", "ms a scrape", "ratio", "private KiB", "plugin adds"
    );
    for (at, host) in hosts.iter().enumerate() {
        let cost = |work: usize| -> Option<Result<Cost>> {
            let (one, before, after) = (
                all[at][work].as_ref()?,
                before[at][work].as_ref()?,
                after[at][work].as_ref()?,
            );
            Some(process::private_kib(&one.child).map(|private_kib| Cost {
                cpu: (after.cpu - before.cpu).as_secs_f64() / seconds,
                scrapes: (after.scrapes - before.scrapes) as f64 / seconds,
                private_kib,
            }))
        };
        let without = cost(0).transpose()?;
        let Some(without) = without else { continue };
        let mut first = None;
        for (work, (name, ..)) in WORK.iter().enumerate() {
            let Some(cost) = cost(work + 1).transpose()? else {
                continue;
            };
            let of_a_scrape = (cost.cpu - without.cpu) / cost.scrapes * 1e3;
            let ratio = of_a_scrape / *first.get_or_insert(of_a_scrape);
            println!(
                "{:<20} {name:<34} {of_a_scrape:>12.2} {ratio:>7.2} {:>12} {:>+12}",
                host.name,
                cost.private_kib,
                cost.private_kib as i64 - without.private_kib as i64
            );
        }
        println!(
            "{:<20} {:<34} {:>12} {:>7} {:>12}",
            host.name, "dummy in its place", "-", "-", without.private_kib
        );
    }
    Ok(())
}
