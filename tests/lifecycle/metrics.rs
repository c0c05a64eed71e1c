//! What metrics cost a host, a full node's with all that there is of it: memory in the long
//! run, and CPU time of the host's thread and of the worker beside what records cost.

use std::{fs, time::Duration};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream};

use crate::{
    proc::{Table, Usage, alone, sized, soak, some_hosts},
    run::{Line, stop, wait_for_line},
    scrapes::{after, quiet},
};

const PODS: usize = 110;

const ALL: [(&str, &str); 2] = [("metric_groups", "all"), ("fields", "all")];
const METRICS: [(&str, &str); 1] = [("format", "metrics")];
const FACTS: [(&str, &str); 2] = [("pod_facts", "on"), ("kube_state_metrics", "on")];
const POINTS: [(&str, &str); 1] = [("metric_names", "opentelemetry")];

/// The real hosts that take metrics.
fn hosts() -> Vec<Host> {
    let mut hosts = some_hosts();
    hosts.retain(|host| host.version >= Some((2, 0, 0)));
    hosts
}

fn kubelet() -> SimKubelet {
    SimKubelet::builder()
        .pods(PODS)
        .full(true)
        .sample_period(Duration::from_millis(500))
        .started()
}

#[test]
fn many_scrapes_for_metrics_cost_what_few_do() {
    let _alone = alone();
    let marks = sized([50, 100, 200], [1_000, 5_000, 10_000]);
    let mut table = Table::new(
        &format!("scrapes of {PODS} pods for metrics, all fields, groups and facts"),
        &[
            "host",
            "dummy RSS",
            &format!("RSS at {}", marks[0]),
            &format!("at {}", marks[1]),
            &format!("at {}", marks[2]),
            "threads",
            "fds",
        ],
    );
    for host in hosts() {
        let dummy = quiet(Line::new().dummy("50")).start(&host);
        wait_for_line(&dummy, 0, Stream::Stdout, |line| line.contains("dummy"));
        let without = Usage::of(&dummy);
        stop(dummy);

        let kubelet = kubelet();
        let options = [&ALL[..], &METRICS, &FACTS, &[("interval", "10ms")]].concat();
        // Few scrapes wait for their flush, so that those do not count.
        let line = Line::new().args(["-f", "0.05"]);
        let child = quiet(line.scraping(&kubelet, &options)).start(&host);
        let seen = marks.map(|scrapes| after(&child, &kubelet, scrapes));
        stop(child);
        let [few, some, many] = seen;
        table.row(&[
            &host.name,
            &format!("{:.1} MiB", without.rss_mib()),
            &format!("{:.1} MiB", few.rss_mib()),
            &format!("{:.1} MiB", some.rss_mib()),
            &format!("{:.1} MiB", many.rss_mib()),
            &format!("{} → {}", few.threads, many.threads),
            &format!("{} → {}", few.fds, many.fds),
        ]);
        assert_eq!(few.threads, many.threads, "{}", host.name);
        assert!(many.fds <= few.fds + 2, "{}: {seen:?}", host.name);
        // The host's own chunks come and go, of 2 MiB here, more so in the beginning.
        let growth = many.gained_mib(&few);
        assert!(growth <= sized(12.0, 6.0), "{}: {seen:?}", host.name);
    }
}

/// Time on a CPU of every thread of this name.
fn cpu_time(child: &Child, name: &str) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.pid())).expect("a process");
    let tasks = tasks.flatten().filter(|task| {
        let comm = fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    });
    let spent = |stat: String| -> Option<u64> { stat.split(' ').next()?.parse().ok() };
    let spent =
        tasks.filter_map(|task| spent(fs::read_to_string(task.path().join("schedstat")).ok()?));
    Duration::from_nanos(spent.sum())
}

/// Where Fluent Bit runs the collectors of its inputs, and appends what they give.
const HOST_THREAD: &str = "flb-pipeline";
const WORKER: &str = "kubeletstats";

/// Milliseconds of a scrape, on the host's thread and in the worker. The flush of what was
/// appended is in it, as it is for records.
fn cost(host: &Host, options: &[(&str, &str)], scrapes: u64) -> [f64; 2] {
    let kubelet = kubelet();
    let options = [&ALL[..], options, &[("interval", "100ms")]].concat();
    let child = quiet(Line::new().scraping(&kubelet, &options)).start(host);
    after(&child, &kubelet, 10);
    let read = || {
        (
            kubelet.replies(),
            [HOST_THREAD, WORKER].map(|name| cpu_time(&child, name)),
        )
    };
    let (first, before) = read();
    after(&child, &kubelet, first + scrapes);
    let (last, now) = read();
    stop(child);
    let per_scrape = |at: usize| (now[at] - before[at]).as_secs_f64() * 1e3 / (last - first) as f64;
    [per_scrape(0), per_scrape(1)]
}

/// Times of a machine that others use as well: told, and not judged.
#[test]
fn cpu_time_of_a_scrape_for_metrics_beside_records() {
    let _alone = alone();
    if !soak() {
        println!("only with KUBELETSTATS_SOAK=1");
        return;
    }
    let mut table = Table::new(
        &format!("CPU time per scrape of {PODS} pods, all fields and groups, output null"),
        &[
            "host",
            "of",
            "host's thread",
            "to records",
            "worker",
            "to records",
        ],
    );
    for host in hosts() {
        let mut ways = vec![
            ("records", vec![]),
            ("metrics", METRICS.to_vec()),
            ("and facts", [&METRICS[..], &FACTS].concat()),
        ];
        if host.version >= Some((3, 2, 0)) {
            ways.push(("opentelemetry", [&METRICS[..], &POINTS].concat()));
        }
        let mut records = None;
        for (name, options) in ways {
            let [thread, worker] = cost(&host, &options, 100);
            let [of_thread, of_worker] = *records.get_or_insert([thread, worker]);
            table.row(&[
                &host.name,
                &name,
                &format!("{thread:.2} ms"),
                &format!("{:.1} ×", thread / of_thread),
                &format!("{worker:.2} ms"),
                &format!("{:.1} ×", worker / of_worker),
            ]);
        }
    }
}
