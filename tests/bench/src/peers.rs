//! What other ways of getting the same numbers cost, beside the plugin's: all ways of one case
//! at once, each from a kubelet of this process.

mod ways;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use sim_kubelet::SimKubelet;
use testkit::{Child, Error, Host, Result, Stream, hosts, wait};

use crate::process;
use ways::{Setup, WAYS, Way};

const PATIENCE: Duration = Duration::from_secs(60);

/// So many scrapes come before those that are measured: heaps have their size then.
const WARM: u64 = 15;

/// How many pods, and whether two of them are wanted or all.
const CASES: [(usize, bool); 5] = [
    (30, true),
    (110, true),
    (500, true),
    (110, false),
    (500, false),
];

/// How many times the plugin's CPU the collector's has to be at least.
const BUDGETS: [((usize, bool), f64); 3] = [
    ((110, true), 20.0),
    ((110, false), 12.0),
    ((500, true), 30.0),
];

/// One way that runs, in one process or two.
struct Running {
    way: &'static Way,
    started: Instant,
    kubelet: SimKubelet,
    children: Vec<Child>,
}

/// At one moment.
struct Sample {
    cpu: Duration,
    scrapes: u64,
}

/// Of a way, in one case.
struct Cost {
    /// CPU, in milliseconds a scrape.
    ms: f64,
    written_kib: u64,
    resident_kib: u64,
}

impl Running {
    fn start(way: &'static Way, host: &Host, pods: usize, two: bool) -> Result<Self> {
        // New numbers every scrape, at times in the form that a kubelet writes. The collector can
        // send no token but a pod's own.
        let kubelet = SimKubelet::builder()
            .pods(pods)
            .sample_period(Duration::from_millis(500))
            .whole_seconds()
            .token("let-me-in")
            .client_auth_ca(true)
            .started();
        let setup = Setup {
            host,
            kubelet: &kubelet,
            two,
        };
        let children = (way.start)(&setup)?;
        Ok(Self {
            way,
            started: Instant::now(),
            kubelet,
            children,
        })
    }

    fn scrapes(&self) -> u64 {
        match self.way.path {
            Some(path) => self.kubelet.requests_of(path),
            None => self.started.elapsed().as_secs(),
        }
    }

    fn sample(&self) -> Result<Sample> {
        let mut cpu = Duration::ZERO;
        for child in &self.children {
            cpu += process::cpu(child)?;
        }
        Ok(Sample {
            cpu,
            scrapes: self.scrapes(),
        })
    }

    /// A way that does not do its work would be a cheap one.
    fn check(&mut self) -> Result<()> {
        for child in &mut self.children {
            let lines = child.lines(Stream::Any);
            let complains = |line: &String| {
                let line = line.to_lowercase();
                line.contains("error") || line.contains(" e! ")
            };
            if child.exit_status().is_some() || lines.iter().any(complains) {
                let (name, tail) = (self.way.name, child.tail());
                return Err(Error::new(format!("{name} failed: {tail}")));
            }
        }
        Ok(())
    }
}

/// What each way costs in one case, in the order given.
fn measure(
    ways: &[&'static Way],
    host: &Host,
    (pods, two): (usize, bool),
    measured: Duration,
) -> Result<Vec<Cost>> {
    let mut all = Vec::new();
    for way in ways {
        all.push(Running::start(way, host, pods, two)?);
    }
    for one in &mut all {
        let what = format!("{} to scrape", one.way.name);
        let warm = wait::until(&what, PATIENCE, || one.scrapes() >= WARM);
        one.check()?;
        warm?;
    }
    let samples = || all.iter().map(Running::sample).collect::<Result<Vec<_>>>();
    let before = samples()?;
    // Nothing is waited for but time: the more of it, the less the noise.
    thread::sleep(measured);
    let after = samples()?;
    let mut costs = Vec::new();
    for ((one, before), after) in all.iter_mut().zip(before).zip(after) {
        one.check()?;
        let (cpu, scrapes) = (after.cpu - before.cpu, after.scrapes - before.scrapes);
        let due = measured.as_secs();
        if scrapes * 10 < due * 9 {
            let name = one.way.name;
            let slow = format!("{name} scraped {scrapes} times in {due} s");
            return Err(Error::new(slow));
        }
        let (mut written_kib, mut resident_kib) = (0, 0);
        for child in &one.children {
            written_kib += process::written_kib(child)?;
            resident_kib += child.rss_kib()?;
        }
        costs.push(Cost {
            ms: cpu.as_secs_f64() * 1e3 / scrapes as f64,
            written_kib,
            resident_kib,
        });
    }
    Ok(costs)
}

fn wanted(two: bool) -> &'static str {
    if two { "two" } else { "all" }
}

fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("?").to_owned()
}

pub fn print(measured: Duration) -> Result<()> {
    let newest = hosts::real()?.into_iter().max_by_key(|host| host.version);
    let Some(host) = newest else {
        println!("peers: NOT RUN, there is no Fluent Bit (FLUENT_BIT names those to run)");
        return Ok(());
    };
    println!(
        "whole processes; CPU of all threads in ms a scrape; memory in MB: what a process alone has and has written to, \
         and all that is resident, its code and libraries among it; interval 1 s, new numbers every scrape, {} s a case, all ways of a case at once\n",
        measured.as_secs()
    );
    let mut ways = Vec::new();
    for way in &WAYS {
        match (way.version)(&host) {
            Ok(version) => {
                ways.push(way);
                if !way.unequal.is_empty() {
                    println!("{} ({version}): {}", way.name, way.unequal);
                }
            }
            Err(missing) => println!("{}: NOT RUN, {missing}", way.name),
        }
    }
    println!(
        "\nratio: to the plugin's beside it; the load is that of the machine's last minute\n\n{:<18} {:<26} {:>12} {:>7} {:>9} {:>7} {:>9}",
        "pods, wanted", "way", "ms a scrape", "ratio", "written", "ratio", "resident"
    );
    let began = Instant::now();
    let mut ratios = Vec::new();
    for case in CASES {
        let costs = measure(&ways, &host, case, measured)?;
        let (pods, two) = case;
        let of = |name| {
            let found = ways.iter().zip(&costs).find(|(way, _)| way.name == name);
            found.map(|(_, cost)| cost.ms)
        };
        if let Some(collectors) = of(ways::COLLECTOR).zip(of(ways::ENCODING_COLLECTOR)) {
            let beside = |ours: f64| [collectors.0 / ours, collectors.1 / ours];
            let alone = of(ways::REQUEST).zip(of(ways::IDLE));
            let alone = alone.map(|(request, idle)| beside(request + idle));
            ratios.push((case, beside(costs[0].ms), alone));
        }
        for (way, cost) in ways.iter().zip(&costs) {
            println!(
                "{:<18} {:<26} {:>12.2} {:>7.1} {:>9.1} {:>7.1} {:>9.1}",
                format!("{pods}, {}", wanted(two)),
                way.name,
                cost.ms,
                cost.ms / costs[0].ms,
                cost.written_kib as f64 / 1024.0,
                cost.written_kib as f64 / costs[0].written_kib as f64,
                cost.resident_kib as f64 / 1024.0
            );
        }
        println!("{:<18} load {}", "", load());
    }
    println!(
        "\nCPU of the plugin's Fluent Bit beside the collector's, once as {} and once as {}:",
        ways::COLLECTOR,
        ways::ENCODING_COLLECTOR
    );
    for (case, budget) in BUDGETS {
        let (pods, two) = case;
        let found = ratios.iter().find(|(of, ..)| *of == case);
        let verdict = |ratio: &f64| match *ratio >= budget {
            true => format!("1/{ratio:.1} held"),
            false => format!("1/{ratio:.1} MISSED"),
        };
        let verdicts = match found {
            None => "NOT RUN".to_owned(),
            Some((_, ratios, _)) => ratios.each_ref().map(verdict).join(", "),
        };
        let beside = match found {
            Some((_, _, Some([first, second]))) => {
                let (idle, request) = (ways::IDLE, ways::REQUEST);
                format!("; {idle} and {request} together are 1/{first:.1}, 1/{second:.1}")
            }
            _ => String::new(),
        };
        println!(
            "{pods} pods, {} wanted: budget 1/{budget}: {verdicts}{beside}",
            wanted(two)
        );
    }
    println!("\n{} s in all", began.elapsed().as_secs());
    Ok(())
}
