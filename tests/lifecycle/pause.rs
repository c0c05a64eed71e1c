//! A host that takes no records for a while: the input is paused and goes on, and
//! of what was scraped nothing is lost and nothing comes twice.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use sim_kubelet::SimKubelet;
use testkit::{Child, Host, Stream, hosts};

use crate::{
    proc::{Scratch, Table, alone, sized, soak, some_hosts, until},
    run::{DEADLINE, Line, stop},
    summary::of_node,
};

const PODS: usize = 10;
const INTERVAL: Duration = Duration::from_millis(25);

/// How long the kubelet has to be left alone to call it a pause.
const SILENCE: Duration = Duration::from_millis(500);

/// Scrapes with a sample of their own each; there is nothing new in any further one.
const SAMPLES: usize = 780;

/// The samples lie a minute apart.
const STEP_MS: u64 = 60_000;

fn kubelet() -> SimKubelet {
    let first = String::from_utf8(of_node(PODS, 0)).expect("utf-8");
    let sample = |i: usize| {
        let time = format!("T{:02}:{:02}:", 10 + i / 60, i % 60);
        first.replace("T10:00:", &time).into_bytes()
    };
    let kubelet = SimKubelet::builder().replay((0..SAMPLES).map(sample).collect());
    kubelet.start().expect("a kubelet on loopback")
}

/// Where the `http` output delivers to: answers 503 while it is closed.
struct Sink {
    port: u16,
    open: Arc<AtomicBool>,
    records: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let sink = Self {
            port: listener.local_addr().expect("an address").port(),
            open: Arc::new(AtomicBool::new(true)),
            records: Arc::default(),
        };
        let (open, records) = (Arc::clone(&sink.open), Arc::clone(&sink.records));
        // Ends with the test: it holds nothing that outlives the process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (open, records) = (Arc::clone(&open), Arc::clone(&records));
                thread::spawn(move || answer(&stream, &open, &records));
            }
        });
        sink
    }

    fn set_open(&self, open: bool) {
        self.open.store(open, Ordering::SeqCst);
    }

    fn records(&self) -> Vec<String> {
        self.records.lock().expect("no panic").clone()
    }
}

/// One request with a `Content-Length`, and the end of the connection.
fn answer(mut stream: &TcpStream, open: &AtomicBool, records: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    if length == 0 || reader.read_exact(&mut body).is_err() {
        return;
    }
    let status = match open.load(Ordering::SeqCst) {
        true => "200 OK",
        false => "503 Service Unavailable",
    };
    if status.starts_with("200") {
        let text = String::from_utf8(body).expect("utf-8");
        let lines = text.lines().filter(|line| line.starts_with('{'));
        records
            .lock()
            .expect("no panic")
            .extend(lines.map(str::to_owned));
    }
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
}

/// By which limit the host is made to pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    Memory,
    /// The same with the input on a thread of its own.
    Threaded,
    Chunks,
}

fn configuration(kubelet: &SimKubelet, sink: &Sink, folder: &Scratch, limit: Limit) -> String {
    let (service, input) = match limit {
        Limit::Memory => (String::new(), "mem_buf_limit 40k"),
        Limit::Threaded => (String::new(), "mem_buf_limit 40k\n    threaded on"),
        Limit::Chunks => (
            format!(
                "    storage.path {}\n    storage.max_chunks_up 3\n",
                folder.join("storage").display()
            ),
            "storage.type filesystem\n    storage.pause_on_chunks_overlimit on",
        ),
    };
    format!(
        "[SERVICE]\n    flush 0.2\n    grace 5\n    plugins_file plugins.conf\n    \
         scheduler.base 1\n    scheduler.cap 1\n{service}\
         [INPUT]\n    name kubeletstats\n    interval {}ms\n    {input}\n    \
         kubelet_url {}\n    kube_ca_file {}\n    kube_token_file {}\n\
         [OUTPUT]\n    name http\n    match *\n    host 127.0.0.1\n    port {}\n    \
         format json_lines\n    json_date_key false\n    retry_limit no_limits\n",
        INTERVAL.as_millis(),
        kubelet.url(),
        kubelet.ca_file().display(),
        kubelet.token_file().display(),
        sink.port,
    )
}

/// When each container was sampled, in order of arrival, in steps from the first scrape on.
fn steps(records: &[String]) -> BTreeMap<String, Vec<u64>> {
    let mut containers: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for record in records {
        let record: Value = serde_json::from_str(record).expect("json");
        let key = format!("{}/{}", record["podUid"], record["containerName"]);
        let at = record["timestamp"].as_u64().expect("an integer");
        // All samples of a reply lie within one minute of the day.
        containers.entry(key).or_default().push(at / STEP_MS);
    }
    let first = containers.values().flatten().min().copied().unwrap_or(0);
    for steps in containers.values_mut() {
        steps.iter_mut().for_each(|step| *step -= first);
    }
    containers
}

/// Every sample that was scraped up to the last one delivered, once. The scrape
/// that was under way at the end may be missing.
fn assert_whole(host: &Host, records: &[String], scrapes: u64) -> usize {
    let containers = steps(records);
    let last = containers.values().flatten().max().copied().unwrap_or(0);
    for (container, mut steps) in containers {
        steps.sort_unstable();
        // A container's first sample may lack a CPU value.
        let first = steps[0];
        assert!(first <= 1, "{} {container}: begins with {first}", host.name);
        let expected: Vec<_> = (first..=last).collect();
        assert_eq!(steps, expected, "{} {container}", host.name);
    }
    assert!(last + 3 >= scrapes, "{}: {last} of {scrapes}", host.name);
    last as usize
}

/// Requests a second over the latest `span`.
fn rate(kubelet: &SimKubelet, span: Duration) -> f64 {
    let requests = kubelet.recorded_requests();
    let last = requests.last().map_or(0, |request| request.at_ms);
    let since = last.saturating_sub(span.as_millis() as u64);
    let seen = requests
        .iter()
        .filter(|request| request.at_ms > since)
        .count();
    seen as f64 / span.as_secs_f64()
}

fn wait_for(child: &Child, from: usize, text: &str) {
    let wanted = |line: &str| line.contains("kubeletstats.0") && line.contains(text);
    child
        .wait_for_line_from(from, Stream::Stderr, wanted, DEADLINE)
        .unwrap_or_else(|error| panic!("{error}"));
}

fn pauses(host: &Host, limit: Limit, times: usize, table: &mut Table) {
    let (kubelet, sink, folder) = (kubelet(), Sink::start(), Scratch::new("pause"));
    let plugin = hosts::plugin_path();
    folder.write(
        "plugins.conf",
        &format!("[PLUGINS]\n    Path {}\n", plugin.display()),
    );
    let conf = folder.write("host.conf", &configuration(&kubelet, &sink, &folder, limit));
    let child = Child::spawn(host.command(["-c".into(), conf])).expect("the host starts");
    let span = Duration::from_secs(1);
    let warm = span.as_millis() / INTERVAL.as_millis() + 5;
    assert!(
        kubelet.wait_for_requests(warm as u64, DEADLINE),
        "{}",
        child.tail()
    );
    let before = rate(&kubelet, span);
    let mut after = before;
    for _ in 0..times {
        let seen = child.line_count();
        sink.set_open(false);
        wait_for(&child, seen, "paused (");
        // One scrape can be on its way when the pause begins.
        let paused = kubelet.requests();
        kubelet.wait_for_requests(paused + 2, SILENCE);
        let during = kubelet.requests() - paused;
        assert!(
            during <= 1,
            "{} {limit:?}: {during} scrapes in a pause",
            host.name
        );
        sink.set_open(true);
        wait_for(&child, seen, "resume (");
        let going = kubelet.requests() + warm as u64;
        until(&child, "scrapes as before", DEADLINE, || {
            kubelet.requests() >= going
        });
        after = rate(&kubelet, span);
        assert!(
            after <= before * 1.2 && after >= before * 0.6,
            "{} {limit:?}: {before} requests a second before, {after} after",
            host.name
        );
    }
    let log = child.lines(Stream::Stderr).join("\n");
    let kept = log.matches("does not take records now").count();
    let child = stop(child);
    let scrapes = kubelet.replies();
    assert!(
        scrapes < SAMPLES as u64,
        "{scrapes} scrapes: too many for the samples there are"
    );
    let last = assert_whole(host, &sink.records(), scrapes);
    drop(child);
    table.row(&[
        &host.name,
        &format!("{limit:?}"),
        &times,
        &format!("{before:.1}"),
        &format!("{after:.1}"),
        &scrapes,
        &(last + 1),
        &kept,
    ]);
}

/// The embedded host has no output that can refuse; it pauses between two flushes.
fn pauses_between_flushes(host: &Host, table: &mut Table) {
    let kubelet = kubelet();
    let options = [("interval", "50ms"), ("mem_buf_limit", "20k")];
    let line = Line::new()
        .args(["-f", "1"])
        .scraping(&kubelet, &options)
        .printing();
    let child = line.start(host);
    let times = 3;
    for _ in 0..times {
        let seen = child.line_count();
        wait_for(&child, seen, "paused (");
        wait_for(&child, seen, "resume");
    }
    let log = child.lines(Stream::Stderr).join("\n");
    let kept = log.matches("does not take records now").count();
    let child = stop(child);
    let records = child.lines(Stream::Stdout);
    let records: Vec<_> = records
        .into_iter()
        .filter(|line| line.starts_with('{'))
        .collect();
    let last = assert_whole(host, &records, kubelet.replies());
    let scrapes = kubelet.replies();
    table.row(&[
        &host.name,
        &"Memory",
        &times,
        &"-",
        &"-",
        &scrapes,
        &(last + 1),
        &kept,
    ]);
}

#[test]
fn a_paused_input_loses_nothing_it_has_scraped() {
    let _alone = alone();
    let times = sized(1, 4);
    if !soak() {
        println!("by other limits than memory only with KUBELETSTATS_SOAK=1");
    }
    let mut table = Table::new(
        "paused while the output could not deliver, and resumed",
        &[
            "host",
            "limit",
            "pauses",
            "requests/s before",
            "after",
            "scrapes",
            "delivered",
            "kept by the plugin",
        ],
    );
    for host in some_hosts() {
        if host.embedded {
            pauses_between_flushes(&host, &mut table);
            continue;
        }
        for limit in [Limit::Memory, Limit::Threaded, Limit::Chunks] {
            if limit != Limit::Memory && !soak() {
                continue;
            }
            if limit == Limit::Threaded && host.version < Some((2, 0, 0)) {
                println!("{} has no threads for inputs", host.name);
                continue;
            }
            pauses(&host, limit, times, &mut table);
        }
    }
}
