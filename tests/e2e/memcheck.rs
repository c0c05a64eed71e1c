//! Every host found under Valgrind's memcheck, with a kubelet that fails every
//! second time, and SIGTERM at the end: no wrong access below the plugin's
//! callbacks, and no memory of the plugin's that is lost.
//!
//! Runs where `valgrind` is on the `PATH`, and says so where it is not.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sim_kubelet::{Fault, SimKubelet, SimKubeletBuilder};
use testkit::{Child, Host, Stream};

use crate::common::run::{Line, each_host, stop};

const PLUGIN: &str = "flb-in_kubeletstats.so";

/// A host is some thirty times slower under Valgrind.
const DEADLINE: Duration = Duration::from_secs(180);

/// Definedness that memcheck loses track of in ring's AES-GCM: any program with
/// rustls on ring shows these two, and the peer finds the tags right.
const SUPPRESSIONS: &str = "\
{
   tag that is compared
   Memcheck:Cond
   fun:*verify_slices_are_equal*
   fun:*ring*aead*
}
{
   tag that is sent
   Memcheck:Param
   socketcall.sendto(msg)
   ...
   fun:*kubelet*session*Session*step*
}
";

fn found() -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&folders).any(|folder| folder.join("valgrind").is_file())
}

/// The same command under memcheck, its findings in `report`.
fn under_memcheck(command: &Command, suppressions: &Path, report: &Path) -> Command {
    let mut wrapped = Command::new("valgrind");
    wrapped
        .args(["--leak-check=full", "--show-leak-kinds=definite,indirect"])
        .args(["--errors-for-leak-kinds=definite,indirect"])
        .args(["--num-callers=60", "--fair-sched=yes", "--xml=yes"])
        .arg(format!("--suppressions={}", suppressions.display()))
        .arg(format!("--xml-file={}", report.display()))
        .arg(command.get_program())
        .args(command.get_args());
    wrapped
}

/// Every finding that is the plugin's.
fn findings(report: &str) -> Vec<String> {
    assert!(report.contains("<state>FINISHED</state>"), "cut short");
    let errors = report.split("<error>").skip(1);
    errors
        .map(|error| error.split("</error>").next().unwrap_or_default())
        .filter(|error| is_ours(error))
        .map(summary)
        .collect()
}

/// An access is ours with the plugin anywhere in a stack: what the host reads
/// may be what we gave it. A leak is ours if we asked for the memory ourselves.
fn is_ours(error: &str) -> bool {
    if !all(error, "kind")
        .iter()
        .any(|kind| kind.starts_with("Leak_"))
    {
        return error.contains(PLUGIN);
    }
    let objects = all(error, "obj");
    let allocator =
        |object: &&String| object.contains("/vgpreload_") || object.contains("/libc.so");
    let asked = objects.iter().find(|object| !allocator(object));
    asked.is_some_and(|object| object.ends_with(PLUGIN))
}

/// The text of every element of this name.
fn all(xml: &str, tag: &str) -> Vec<String> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let parts = xml.split(open.as_str()).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(close.as_str())?.0.to_owned()))
        .collect()
}

/// What it is, and the functions of its stack, innermost first.
fn summary(error: &str) -> String {
    let what = ["kind", "what", "text"]
        .map(|tag| all(error, tag))
        .concat()
        .join(": ");
    format!("{what}\n    {}", all(error, "fn").join("\n    "))
}

fn wait(child: &Child, what: &str, stream: Stream) {
    let seen = child.wait_for_line(stream, |line| line.contains(what), DEADLINE);
    seen.unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// A host of the release that takes metrics for plugins, and of the one that takes points with
/// OpenTelemetry's names.
const METRICS: (u32, u32, u32) = (2, 0, 0);
const POINTS: (u32, u32, u32) = (3, 2, 0);

/// All that there is to be made of a kubelet's reply, as records and as metrics.
const ALL: [(&str, &str); 6] = [
    ("interval", "1s"),
    ("format", "both"),
    ("metric_groups", "all"),
    ("fields", "all"),
    ("pod_facts", "on"),
    ("kube_state_metrics", "on"),
];

/// A folder with the suppressions in it; none where there is no Valgrind.
fn folder() -> Option<PathBuf> {
    if !found() {
        println!("not run: valgrind is not on the PATH");
        return None;
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memcheck");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("suppressions"), SUPPRESSIONS).expect("written");
    Some(folder)
}

/// Starts a host under memcheck, scraping with these inputs; it prints what they give.
fn scraping(host: &Host, kubelet: &SimKubelet, inputs: &[&[(&str, &str)]], report: &Path) -> Child {
    // The build for the tests of panics: not optimised, and it does not panic.
    let line = inputs.iter().fold(Line::panicking(), |line, options| {
        line.scraping(kubelet, &[&[("timeout", "60s")], *options].concat())
    });
    let suppressions = report.with_file_name("suppressions");
    let command = line.printing().command(host);
    let command = under_memcheck(&command, &suppressions, report);
    Child::spawn(command).expect("valgrind starts")
}

/// SIGTERM while the kubelet hangs, and nothing found.
fn end(host: &Host, kubelet: &SimKubelet, child: Child, report: &Path) {
    kubelet.set_fault(Fault::HangInBody);
    assert!(kubelet.wait_for_requests(kubelet.requests() + 1, DEADLINE));
    stop(child);
    let report = fs::read_to_string(report).expect("a report");
    let findings = findings(&report);
    assert!(
        findings.is_empty(),
        "{}:\n{}",
        host.name,
        findings.join("\n")
    );
}

fn kubelet() -> SimKubeletBuilder {
    let period = Duration::from_millis(200);
    let kubelet = SimKubelet::builder().sample_period(period);
    kubelet.fault(Fault::Flap)
}

#[test]
fn no_finding_in_any_host() {
    let Some(folder) = folder() else { return };
    each_host(|host| {
        let kubelet = kubelet().started();
        let report = folder.join(format!("{}.xml", host.name.replace(' ', "-")));
        let child = scraping(host, &kubelet, &[&[("stats_tag", "self")]], &report);
        wait(&child, "podName", Stream::Stdout);
        wait(&child, "unexpected status 503", Stream::Stderr);
        wait(&child, "scraping works again", Stream::Stderr);
        wait(&child, "\"scrapes\":8,", Stream::Stdout);
        end(host, &kubelet, child, &report);
    });
}

/// One input with Prometheus' names, and one with OpenTelemetry's where the host takes them.
#[test]
fn no_finding_with_metrics() {
    let Some(folder) = folder() else { return };
    each_host(|host| {
        if host.version < Some(METRICS) {
            println!(
                "{}: not run, it has no metrics that memcheck can judge",
                host.name
            );
            return;
        }
        let kubelet = kubelet().full(true).started();
        let report = folder.join(format!("{}-metrics.xml", host.name.replace(' ', "-")));
        let points = [&ALL[..], &[("metric_names", "opentelemetry")]].concat();
        let has_points = host.version >= Some(POINTS);
        let inputs = [&ALL[..], &points];
        let count = 1 + usize::from(has_points);
        let child = scraping(host, &kubelet, &inputs[..count], &report);
        // Of the kubelet, of what fails and of what works again, in either naming.
        wait(&child, "kubeletstats_up{node=\"vm\"} = 0", Stream::Stdout);
        wait(&child, "kube_pod_info{", Stream::Stdout);
        wait(&child, "container_memory_rss{", Stream::Stdout);
        if has_points {
            wait(&child, "container.memory.rss", Stream::Stdout);
            wait(&child, "k8s.volume.available", Stream::Stdout);
        }
        wait(&child, "scraping works again", Stream::Stderr);
        end(host, &kubelet, child, &report);
    });
}

#[test]
fn what_counts_as_a_finding() {
    let error = |kind: &str, objects: &[&str]| {
        let frames = objects.iter().enumerate();
        let frames = frames.map(|(i, object)| format!("<obj>/x/{object}</obj><fn>f{i}</fn>"));
        let frames: String = frames.collect();
        let report = format!("<error><kind>{kind}</kind>{frames}</error>");
        findings(&format!("<state>FINISHED</state>{report}"))
    };
    let (malloc, host) = ("vgpreload_memcheck.so", "fluent-bit");
    let seen = error("InvalidRead", &[host, PLUGIN, host]);
    assert_eq!(seen, ["InvalidRead\n    f0\n    f1\n    f2"]);
    assert!(error("InvalidRead", &[host, host]).is_empty());
    assert_eq!(
        error("Leak_DefinitelyLost", &[malloc, PLUGIN, host]).len(),
        1
    );
    assert!(error("Leak_IndirectlyLost", &[malloc, host, PLUGIN]).is_empty());
}
