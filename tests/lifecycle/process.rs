//! The ways to run a host besides the usual one: a dry run, a daemon, many
//! instances, inputs on threads of their own.

use std::{fs, time::Duration};

use serde_json::Value;
use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, wait};

use crate::{
    proc::{alone, some_hosts, until},
    run::{DEADLINE, Line, records, stop, wait_for_record},
};

fn kubelet() -> SimKubelet {
    let kubelet = SimKubelet::builder().sample_period(Duration::from_millis(200));
    kubelet.started()
}

fn ended(mut child: Child) -> (bool, String) {
    let status = child.wait_for_exit(DEADLINE);
    let status = status.unwrap_or_else(|error| panic!("{error}"));
    assert!(status.code().is_some(), "{status}: {}", child.tail());
    (status.success(), child.lines(Stream::Any).join("\n"))
}

#[test]
fn a_dry_run_ends_by_itself_and_scrapes_nothing() {
    for host in some_hosts() {
        let kubelet = kubelet();
        let line = Line::new()
            .args(["--dry-run"])
            .scraping(&kubelet, &[])
            .printing();
        let (good, text) = ended(line.start(&host));
        assert!(good, "{}: {text}", host.name);
        assert!(text.contains("configuration test is successful"), "{text}");

        let bogus = Line::new()
            .args(["--dry-run"])
            .input(&[("bogus", "1")])
            .printing();
        let (good, text) = ended(bogus.start(&host));
        if good {
            println!("{} checks no names of options in a dry run", host.name);
        } else {
            let line = "unknown configuration property 'bogus'";
            assert!(text.contains(line), "{}: {text}", host.name);
        }
        // No host starts its inputs for this, so nobody looks at the values.
        let bad = [("interval", "soon")];
        let bad = Line::new().args(["--dry-run"]).input(&bad).printing();
        let (good, text) = ended(bad.start(&host));
        assert!(good, "{}: {text}", host.name);
        assert_eq!(kubelet.connections(), 0, "{}", host.name);
    }
}

/// A process that has left its parent behind, known by a word of its command line
/// that is nobody else's. Killed at the latest when dropped.
struct Daemon {
    pid: i32,
    word: String,
}

impl Daemon {
    fn find(word: &str) -> Option<Self> {
        let processes = fs::read_dir("/proc").expect("/proc").flatten();
        let mut pids = processes.filter_map(|one| one.file_name().to_str()?.parse().ok());
        let pid = pids.find(|pid| carries(*pid, word))?;
        let word = word.to_owned();
        Some(Self { pid, word })
    }

    /// Only ever to the process that was looked for: ids are given out again.
    fn signal(&self, signal: i32) {
        if self.pid > 1 && self.runs() {
            // SAFETY: kill takes no pointers, and the id is that of the process
            // this test has started, as was seen just now.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    fn runs(&self) -> bool {
        carries(self.pid, &self.word)
    }
}

/// Does this process run, with this word in its command line? One that waits to
/// be reaped has none any more.
fn carries(pid: i32, word: &str) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words
        .split(|byte| *byte == 0)
        .any(|one| one == word.as_bytes())
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal(libc::SIGKILL);
    }
}

/// Is `-d` in the host's own help?
fn has_daemon_mode(host: &Host) -> bool {
    let help = Child::spawn(host.command(["--help"])).expect("the host starts");
    ended(help).1.contains("--daemon")
}

#[test]
fn a_daemon_scrapes_and_stops() {
    let _alone = alone();
    for host in some_hosts() {
        if host.embedded || !has_daemon_mode(&host) {
            println!("{} cannot become a daemon", host.name);
            continue;
        }
        let kubelet = kubelet();
        let name = testkit::kafka::unique_topic("daemon");
        let alias = format!("alias={name}");
        let line = Line::new()
            .args(["-d"])
            .scraping(&kubelet, &[("alias", &name)]);
        let line = line.args(["-o", "null", "-m", "*"]);
        let parent = line.start(&host);
        // Until it has left its parent's group it must not be reaped with it.
        assert!(kubelet.wait_for_requests(5, DEADLINE), "{}", parent.tail());
        let daemon = Daemon::find(&alias).expect("it sent requests");
        let (good, text) = ended(parent);
        assert!(good, "{}: {text}", host.name);
        daemon.signal(libc::SIGTERM);
        wait::until("its end", DEADLINE, || !daemon.runs())
            .unwrap_or_else(|error| panic!("{}: {error}", host.name));
    }
}

/// Four of them, no two alike.
const INSTANCES: [&[(&str, &str)]; 4] = [
    &[
        ("service", "a"),
        ("pod_prefix", "log-generator-a"),
        ("interval", "50ms"),
    ],
    &[
        ("service", "b"),
        ("pod_prefix", "log-generator-b"),
        ("interval", "70ms"),
    ],
    &[
        ("service", "c"),
        ("namespace", "kube-system"),
        ("cpu_source", "instant"),
    ],
    &[
        ("service", "d"),
        ("repeat_samples", "true"),
        ("interval", "90ms"),
        ("region", "eu-1"),
    ],
];

fn run_instances(host: &Host, threaded: bool) {
    let kubelets = INSTANCES.map(|_| kubelet());
    let mut line = Line::new();
    for (options, kubelet) in INSTANCES.iter().zip(&kubelets) {
        let mut options = options.to_vec();
        if threaded {
            options.push(("threaded", "on"));
        }
        line = line.scraping(kubelet, &options);
    }
    let child = line.printing().start(host);
    for service in ["a", "b", "c", "d"] {
        wait_for_record(&child, |record| record["service"] == service);
    }
    until(&child, "some scrapes of each", DEADLINE, || {
        kubelets.iter().all(|kubelet| kubelet.requests() >= 5)
    });
    for record in records(&stop(child)) {
        let text = |key: &str| record[key].as_str().unwrap_or_default().to_owned();
        let fits = match text("service").as_str() {
            "a" => text("podName") == "log-generator-a-vm",
            "b" => text("podName") == "log-generator-b-vm",
            "c" => text("namespace") == "kube-system",
            _ => record["metadata"]["region"] == "eu-1",
        };
        assert!(fits, "{}: {record}", host.name);
        let has_region = record["metadata"]["region"] != Value::Null;
        assert_eq!(has_region, record["service"] == "d", "{record}");
    }
    for kubelet in &kubelets {
        assert_eq!(kubelet.handshakes(), 1, "{}", host.name);
    }
}

#[test]
fn instances_do_not_mix() {
    for host in some_hosts() {
        run_instances(&host, false);
        if host.embedded || host.version < Some((2, 0, 0)) {
            println!("{} has no threads for inputs", host.name);
            continue;
        }
        run_instances(&host, true);
    }
}
