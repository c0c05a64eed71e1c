//! A kubelet, a host that scrapes it for metrics, and where they go.

use std::{env, io::Write, path::Path, process::Command, time::Duration};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, hosts, wait};

use crate::common::{
    proc::Scratch,
    run::{DEADLINE, Line},
};

/// What cannot be run here is said, past the test harness, and is a failure where it has to
/// be there.
pub fn not_run(what: &str) {
    let said = say_not_run(what);
    assert!(env::var_os("KUBELETSTATS_REQUIRE").is_none(), "{said}");
}

/// The same of a release of Fluent Bit, which nobody has to have.
pub fn say_not_run(what: &str) -> String {
    let thread = std::thread::current();
    let said = format!("NOT RUN: {}: {what}", thread.name().unwrap_or("main"));
    let _ = writeln!(std::io::stderr(), "{said}");
    said
}

/// The real Fluent Bits that were found, for outputs and processors that the embedded host
/// does not have.
pub fn real_hosts() -> Vec<Host> {
    match hosts::is_built() {
        true => hosts::real().expect("hosts that run"),
        false => Vec::new(),
    }
}

/// Those of a release from `first` on; that there is none is said. Nobody has to have one.
pub fn each_since(first: Version, test: impl Fn(&Host)) {
    each_of(real_hosts(), first, test);
}

/// Every host with an exporter: the embedded one as well.
pub fn each_exporter(test: impl Fn(&Host)) {
    each_of(hosts::to_test(), METRICS, test);
}

fn each_of(found: Vec<Host>, first: Version, test: impl Fn(&Host)) {
    let is_fit = |host: &&Host| host.embedded || host.version >= Some(first);
    let fit: Vec<_> = found.iter().filter(is_fit).collect();
    if fit.is_empty() && hosts::is_built() {
        let (major, minor, patch) = first;
        say_not_run(&format!(
            "there is no Fluent Bit of {major}.{minor}.{patch} or later (FLUENT_BIT names those to test on)"
        ));
    }
    for host in fit {
        println!("on {}", host.describe());
        test(host);
    }
}

pub type Version = (u32, u32, u32);

pub const METRICS: Version = (2, 0, 0);
pub const POINTS: Version = (3, 2, 0);
/// The first release that reloads.
pub const RELOADS: Version = (2, 1, 0);

/// All that a kubelet can write, in plain HTTP so that the test can read it as well.
pub fn kubelet() -> SimKubelet {
    SimKubelet::builder().full(true).plain_http(true).started()
}

/// Everything as metrics. Scraped less often than the host flushes, as usual: of two contexts
/// in one flush the exporter of 2.0 shows the first, and that of 2.2 to 4.2 shows both, a page
/// with every family twice.
pub const ALL: [(&str, &str); 6] = [
    ("format", "metrics"),
    ("metric_groups", "all"),
    ("fields", "all"),
    ("pod_facts", "true"),
    ("kube_state_metrics", "true"),
    ("interval", "500ms"),
];

pub fn with<'o>(
    options: &[(&'o str, &'o str)],
    more: &[(&'o str, &'o str)],
) -> Vec<(&'o str, &'o str)> {
    let is_given = |name: &str| more.iter().any(|(key, _)| *key == name);
    let kept = options.iter().filter(|(name, _)| !is_given(name));
    kept.chain(more).copied().collect()
}

/// Starts the host with an input of these options and this output.
pub fn start(
    host: &Host,
    kubelet: &SimKubelet,
    options: &[(&str, &str)],
    output: &str,
    of_output: &[(&str, &str)],
) -> Child {
    let line = Line::new().scraping(kubelet, options);
    line.args(["-o", output, "-m", "*"])
        .options(of_output)
        .start(host)
}

/// Polls until `attempt` has no complaint, and gives what it gave; the last complaint fails
/// the test.
pub fn eventually<T>(
    child: &Child,
    what: &str,
    mut attempt: impl FnMut() -> Result<T, String>,
) -> T {
    let mut last = String::new();
    let within: Duration = DEADLINE;
    let found = wait::until_some(what, within, || match attempt() {
        Ok(found) => Some(found),
        Err(complaint) => {
            last = complaint;
            None
        }
    });
    found.unwrap_or_else(|error| panic!("{error}: {last}: {}", child.tail()))
}

/// The plugin's lines of the log of a start that has to fail, and did.
pub fn refused(mut child: Child) -> Vec<String> {
    let status = child.wait_for_exit(DEADLINE);
    let status = status.unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
    assert!(!status.success(), "{}", child.tail());
    let lines = child.lines(Stream::Stderr);
    let said = lines
        .iter()
        .filter_map(|line| crate::common::run::Said::of(line));
    said.map(|said| said.text).collect()
}

/// A command of this host for a configuration of its own, with the plugin loaded.
pub fn command(host: &Host, folder: &Scratch, file: &str, text: &str) -> Command {
    let path = folder.write(file, text);
    let plugin = std::path::absolute(hosts::plugin_path()).expect("a folder to start from");
    let program = std::path::absolute(&host.path).expect("a folder to start from");
    let mut command = Command::new(program);
    command.args([Path::new("-e"), &plugin, Path::new("-c"), &path]);
    // Fluent Bit looks for a `plugins_file` where it is started.
    command.current_dir(folder.path());
    command
}
