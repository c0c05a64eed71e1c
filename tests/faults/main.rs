//! The table of faults: the plugin inside every host found, against a kubelet
//! under every fault, with what has to come of it beside what was seen.
//!
//! `FAULTS_FORMAT=both` has metrics made beside the records, on hosts that take them, and
//! looks at what the host prints of them: whether `kubeletstats_up` is what it has to be.
//!
//! `FAULTS=hang,token` runs the rows whose names hold one of these words, and so
//! does an argument; `--list` shows the names. Hosts run side by side, the rows
//! of a host one after another, each in a process of its own.

use std::{
    collections::BTreeMap,
    env,
    panic::{self, AssertUnwindSafe},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Instant,
};

use testkit::{Host, hosts};

#[path = "../common/mod.rs"]
mod common;
mod content;
mod facts;
mod life;
mod metrics;
mod network;
mod row;
mod run;
mod scene;
mod trust;
mod truth;

use row::{Outcome, Row};
use run::Site;

fn main() -> ExitCode {
    let rows = [
        network::rows(),
        trust::rows(),
        content::rows(),
        facts::rows(),
        life::rows(),
    ]
    .concat();
    if env::args().any(|arg| arg == "--list") {
        for row in &rows {
            println!("{}: {}", row.name, row.expected);
        }
        return ExitCode::SUCCESS;
    }
    let rows = match chosen(rows) {
        Ok(rows) => rows,
        Err(word) => {
            eprintln!("FAULTS: no row's name holds '{word}'; --list shows them");
            return ExitCode::FAILURE;
        }
    };
    let mut ran = hosts::to_test();
    if metrics::wanted() {
        ran.retain(metrics::has_them);
    }
    if ran.is_empty() {
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    println!("{} rows, on", rows.len());
    for host in &ran {
        println!("  {}", host.describe());
    }
    let (passed, failed) = run(&rows, &ran);
    println!("\n{:.0} s", began.elapsed().as_secs_f64());
    println!("{passed} passed, {failed} failed");
    println!("{}", hosts::coverage(&ran));
    match failed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

/// The rows that `FAULTS` and the arguments name; all without any. A word in
/// `FAULTS` that names none is an error; an argument may be meant for others.
fn chosen(rows: Vec<Row>) -> Result<Vec<Row>, String> {
    let split = |text: String| -> Vec<String> {
        let words = text.split(',').map(str::trim);
        words
            .filter(|word| !word.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut words = split(env::var("FAULTS").unwrap_or_default());
    if let Some(none) = words
        .iter()
        .find(|word| !rows.iter().any(|row| row.name.contains(word.as_str())))
    {
        return Err(none.clone());
    }
    let args = env::args().skip(1).filter(|arg| !arg.starts_with('-'));
    words.extend(args.flat_map(split));
    let wanted = |row: &Row| words.is_empty() || words.iter().any(|word| row.name.contains(word));
    Ok(rows.into_iter().filter(wanted).collect())
}

/// What became of one row on one host.
enum Seen {
    Ok(String),
    Differs(String),
    LeftOut(&'static str),
}

/// Prints each row as soon as all hosts are through with it.
fn run(rows: &[Row], hosts: &[Host]) -> (usize, usize) {
    let (report, reports) = mpsc::channel();
    let (mut passed, mut failed) = (0, 0);
    // Panics are caught and told as differences.
    panic::set_hook(Box::new(|_| {}));
    thread::scope(|scope| {
        for (column, host) in hosts.iter().enumerate() {
            let report = report.clone();
            scope.spawn(move || {
                let site = Site::new(host);
                for (line, row) in rows.iter().enumerate() {
                    let seen = match (&site, row.left_out(host)) {
                        (_, Some(reason)) => Seen::LeftOut(reason),
                        (Err(error), _) => Seen::Differs(format!("dummy alone: {error}")),
                        (Ok(site), _) => match caught(row, site) {
                            Ok(seen) => Seen::Ok(seen),
                            Err(error) => Seen::Differs(error),
                        },
                    };
                    // The receiver outlives this scope.
                    let _ = report.send((line, column, seen));
                }
            });
        }
        drop(report);
        let mut waiting: BTreeMap<usize, BTreeMap<usize, Seen>> = BTreeMap::new();
        let mut next = 0;
        for (line, column, seen) in reports {
            waiting.entry(line).or_default().insert(column, seen);
            while waiting
                .get(&next)
                .is_some_and(|seen| seen.len() == hosts.len())
            {
                let seen = waiting.remove(&next).unwrap_or_default();
                let (ok, differs) = print(&rows[next], hosts, &seen);
                passed += ok;
                failed += differs;
                next += 1;
            }
        }
    });
    (passed, failed)
}

fn caught(row: &Row, site: &Site) -> Outcome {
    panic::catch_unwind(AssertUnwindSafe(|| row.run(site))).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Err(format!("panicked: {}", text.unwrap_or("no message")))
    })
}

/// One row of the table; how many hosts agree, and how many do not.
fn print(row: &Row, hosts: &[Host], seen: &BTreeMap<usize, Seen>) -> (usize, usize) {
    let (mut passed, mut failed) = (0, 0);
    println!("\n{}\n    expected: {}", row.name, row.expected);
    for (column, seen) in seen {
        let host = hosts[*column].name.trim_start_matches("Fluent Bit ");
        match seen {
            Seen::Ok(seen) => {
                passed += 1;
                println!("    {host:<14} ok       {seen}");
            }
            Seen::Differs(why) => {
                failed += 1;
                let mut lines = why.lines();
                let first = lines.next().unwrap_or_default();
                println!("    {host:<14} DIFFERS  {first}");
                lines.for_each(|line| println!("        {line}"));
            }
            Seen::LeftOut(reason) => println!("    {host:<14} -        {reason}"),
        }
    }
    (passed, failed)
}
