//! Metrics over the life of an input: a host that takes none for a while, a reload, a kubelet
//! that is not there, and two of them.

use std::{collections::BTreeSet, fs};

use sim_kubelet::SimKubelet;
use testkit::{Child, Host};

use crate::{
    common::{
        gate::Gate,
        proc::{CONFIGURATION, Scratch, free_port, until},
        run::{
            DEADLINE, Line, plugin_lines, record_lines, section, stop, wait_for_line, wait_for_log,
        },
    },
    exporter::{Exporter, is_own, settled, settled_by, up},
    exposition::Page,
    otlp,
    prometheus::Prometheus,
    scene::{ALL, METRICS, RELOADS, Version, each_exporter, each_since, eventually, kubelet, with},
    server::Server,
};

/// A configuration with these lines of the service, of the input and of the output.
fn configuration(
    kubelet: &SimKubelet,
    service: &str,
    options: &[(&str, &str)],
    output: &str,
) -> String {
    let lines = |pairs: &[(&str, &str)]| -> String {
        let line = |(key, value): &(&str, &str)| format!("    {key} {value}\n");
        pairs.iter().map(line).collect()
    };
    format!(
        "[SERVICE]\n    flush 0.2\n    grace 2\n    plugins_file plugins.conf\n{service}\
         [INPUT]\n{}{}[OUTPUT]\n    match *\n{output}",
        section(kubelet),
        lines(options)
    )
}

fn exporter(port: u16) -> String {
    format!("    name prometheus_exporter\n    host 127.0.0.1\n    port {port}\n")
}

fn scrapes(page: &Page) -> Option<f64> {
    page.value("kubeletstats_scrapes_total", &[])
}

/// Of every context that has arrived the number of its scrape, in order.
fn arrived(server: &Server) -> Vec<u64> {
    let requests = server.requests().into_iter();
    let of_metrics = requests.filter(|one| one.path == "/v1/metrics");
    let resources = of_metrics.flat_map(|one| otlp::decode(&one.body).expect("a request"));
    let metrics = resources.flat_map(|one| one.metrics);
    let of_scrapes = metrics.filter(|one| one.name == "kubeletstats_scrapes_total");
    let points = of_scrapes.flat_map(|one| one.points);
    let mut scrapes: Vec<_> = points.map(|point| point.value as u64).collect();
    scrapes.sort_unstable();
    scrapes
}

/// Every append goes over the limit, so the input is paused until what it has appended is
/// delivered. What was scraped before arrives once, and scraping goes on.
fn paused(host: &Host, format: &str, threaded: &str) {
    let (kubelet, server, folder) = (kubelet(), Server::start("{}"), Scratch::new("paused"));
    server.set_open(false);
    let service = "    scheduler.base 1\n    scheduler.cap 1\n";
    let more = [
        ("format", format),
        ("threaded", threaded),
        ("mem_buf_limit", "1k"),
    ];
    let options = with(&ALL, &more);
    let output = format!(
        "    name opentelemetry\n    host 127.0.0.1\n    port {}\n    metrics_uri /v1/metrics\n    \
         retry_limit no_limits\n[OUTPUT]\n    name stdout\n    match *\n    format json_lines\n",
        server.port
    );
    let text = configuration(&kubelet, service, &options, &output);
    let child = Child::spawn(folder.command(host, &text)).expect("the host starts");
    let paused = |line: &str| line.contains("paused (");
    wait_for_line(&child, 0, testkit::Stream::Stderr, paused);
    // One can be on its way when the pause begins.
    const PATH: &str = "/stats/summary";
    let requests = kubelet.requests_of(PATH);
    let silence = std::time::Duration::from_secs(2);
    let goes_on = kubelet.wait_for_requests_of(PATH, requests + 2, silence);
    assert!(!goes_on, "{}: scraped in a pause", host.name);
    let before = kubelet.requests_of(PATH);
    server.set_open(true);
    let arrived = eventually(&child, "metrics of later scrapes", || {
        let arrived = arrived(&server);
        match arrived.last() {
            Some(last) if *last > before + 2 => Ok(arrived),
            other => Err(format!("{other:?}, and {before} before")),
        }
    });
    let all: Vec<_> = (1..=arrived.len() as u64).collect();
    assert_eq!(arrived, all, "{} {format}", host.name);
    if format == "both" {
        let count = |child: &Child| record_lines(child).len();
        until(&child, "records", DEADLINE, || count(&child) > 20);
    }
    let child = stop(child);
    let records = record_lines(&child);
    assert_eq!(records.is_empty(), format == "metrics");
    let once: BTreeSet<_> = records.iter().collect();
    assert_eq!(once.len(), records.len(), "{} {format}", host.name);
}

#[test]
fn what_was_scraped_before_a_pause_arrives_once() {
    each_since(METRICS, |host| {
        paused(host, "metrics", "off");
        // 2.0 drops what a thread appends in a pause, and says that it took it.
        let threaded = if host.version >= Some((2, 2, 0)) {
            "on"
        } else {
            "off"
        };
        paused(host, "both", threaded);
    });
}

const REFUSED: &str = "fluent bit accepts no metrics now: the next scrape's replace them: ";
const TAKEN: &str = "fluent bit accepts metrics again: it accepted none for ";

/// It goes on with the kubelet, and of the metrics that the host has not taken the last ones
/// arrive: the others have been replaced.
#[test]
fn metrics_that_the_host_refuses_are_replaced_by_the_next() {
    each_since(METRICS, |host| {
        let (kubelet, folder, port) = (kubelet(), Scratch::new("refused"), free_port());
        let options = with(&ALL, &[("storage.type", "filesystem")]);
        let service = "    storage.path storage\n";
        let text = configuration(&kubelet, service, &options, &exporter(port));
        let child = Child::spawn(folder.command(host, &text)).expect("the host starts");
        let exporter = Exporter { child, port };
        exporter.wait_for("a scrape", |page| up(page) == Some(1.0));
        // No file can be made there, so every append is refused.
        let rename = |from: &str, to: &str| {
            let [from, to] = [from, to].map(|name| folder.join("storage").join(name));
            fs::rename(&from, &to).unwrap_or_else(|error| panic!("{from:?}: {error}"));
        };
        const PATH: &str = "/stats/summary";
        let goes_on = |count| {
            let requests = kubelet.requests_of(PATH) + count;
            let goes_on = kubelet.wait_for_requests_of(PATH, requests, DEADLINE);
            assert!(goes_on, "{}: {}", host.name, exporter.child.tail());
            requests
        };
        rename("kubeletstats.0", "lost");
        goes_on(3);
        let kept = scrapes(&exporter.page_now());
        let last = goes_on(4) as f64;
        assert_eq!(scrapes(&exporter.page_now()), kept, "{}", host.name);
        rename("lost", "kubeletstats.0");
        let page = exporter.wait_for("other metrics", |page| scrapes(page) > kept);
        // One can be on its way.
        assert!(scrapes(&page) >= Some(last - 1.0), "{:?}", scrapes(&page));
        assert_eq!(up(&page), Some(1.0));
        wait_for_log(&exporter.child, TAKEN);
        let said = plugin_lines(&stop(exporter.child));
        let of_host = said.iter().filter(|line| line.starts_with("fluent bit"));
        let of_host: Vec<_> = of_host.collect();
        let [refused, taken] = of_host.as_slice() else {
            panic!("{}: {said:#?}", host.name);
        };
        assert!(
            refused.starts_with(REFUSED) && taken.starts_with(TAKEN),
            "{said:#?}"
        );
    });
}

#[test]
fn metrics_go_on_after_a_reload() {
    each_since(RELOADS, |host| {
        let (kubelet, folder, port) = (kubelet(), Scratch::new("reload"), free_port());
        let text = |cluster: &str| {
            let options = with(&ALL, &[("cluster", cluster)]);
            configuration(&kubelet, "", &options, &exporter(port))
        };
        let mut command = folder.command(host, &text("one"));
        command.arg("-Y");
        let child = Child::spawn(command).expect("the host starts");
        let exporter = Exporter { child, port };
        settled(&exporter, &kubelet, &[("cluster", "one")]);
        folder.write(CONFIGURATION, &text("two"));
        exporter.child.signal(libc::SIGHUP);
        let (page, _) = settled(&exporter, &kubelet, &[("cluster", "two")]);
        let clusters: BTreeSet<_> = page
            .series
            .iter()
            .map(|one| &one.labels["cluster"])
            .collect();
        assert_eq!(clusters.len(), 1, "{}: {clusters:?}", host.name);
        stop(exporter.child);
    });
}

#[test]
fn an_input_with_a_thread_of_its_own_has_the_same_page() {
    each_since(METRICS, |host| {
        let kubelet = kubelet();
        let exporter = Exporter::start(host, &kubelet, &with(&ALL, &[("threaded", "on")]));
        settled(&exporter, &kubelet, &[]);
        stop(exporter.child);
    });
}

/// Within the first interval, under the node's name; then it comes up, and dies.
#[test]
fn a_kubelet_that_is_down_from_the_start_is_told_of_at_once() {
    each_exporter(|host| {
        let (kubelet, gate) = (kubelet(), Gate::new().expect("a port"));
        let url = format!("http://{}", gate.address());
        let start = |interval: &str| {
            let of_kubelet = [
                ("kubelet_url", &*url),
                ("node_name", "vm"),
                ("interval", interval),
            ];
            Exporter::start(host, &kubelet, &with(&ALL, &of_kubelet))
        };
        let is_down = |exporter: &Exporter| {
            let page = exporter.wait_for("up 0", |page| up(page) == Some(0.0));
            assert!(is_own(&page), "{}: {:?}", host.name, page.series);
            assert_eq!(page.value("kubeletstats_up", &[("node", "vm")]), Some(0.0));
        };
        let exporter = start("5m");
        is_down(&exporter);
        stop(exporter.child);
        let exporter = start("500ms");
        is_down(&exporter);
        gate.lead_to(kubelet.port()).expect("it listens");
        let (page, _) = settled(&exporter, &kubelet, &[]);
        assert_eq!(up(&page), Some(1.0));
        drop(kubelet);
        is_down(&exporter);
        stop(exporter.child);
    });
}

const TWO_EXPORTERS: Version = (2, 2, 0);

#[test]
fn two_kubelets_have_a_page_each_or_one_together() {
    each_exporter(|host| {
        let kubelets = [("one", kubelet()), ("two", kubelet())];
        let start = |outputs: &[(&str, u16)]| {
            let mut line = Line::new();
            for (name, kubelet) in &kubelets {
                let options = with(&ALL, &[("cluster", name)]);
                line = line.scraping(kubelet, &options).args(["-t", name]);
            }
            for (of, port) in outputs {
                let port = port.to_string();
                let options = [("host", "127.0.0.1"), ("port", port.as_str())];
                let output = line.args(["-o", "prometheus_exporter", "-m", of]);
                line = output.options(&options);
            }
            line.start(host)
        };
        let is_of = |page: &Page, name: &str| {
            let mut all = page.series.iter();
            all.all(|one| one.labels["cluster"] == name)
        };
        // 2.0 with two exporters ends by SIGSEGV, whatever the inputs.
        if host.embedded || host.version >= Some(TWO_EXPORTERS) {
            let ports = [free_port(), free_port()];
            let mut child = start(&[("one", ports[0]), ("two", ports[1])]);
            for ((name, kubelet), port) in kubelets.iter().zip(ports) {
                let exporter = Exporter { child, port };
                let (page, _) = settled(&exporter, kubelet, &[("cluster", name)]);
                assert!(is_of(&page, name), "{} {name}", host.name);
                child = exporter.child;
            }
            stop(child);
        }
        let port = free_port();
        let child = start(&[("*", port)]);
        let exporter = Exporter { child, port };
        for (name, kubelet) in &kubelets {
            settled_by(&exporter, kubelet, &[("cluster", name)], || {
                let mut pages = exporter.pages()?.into_iter();
                pages
                    .find(|page| is_of(page, name))
                    .ok_or("none of it".to_owned())
            });
        }
        // Each family is declared twice, which Prometheus does not mind.
        let Some(prometheus) = Prometheus::start(Some(port)) else {
            return;
        };
        eventually(
            &exporter.child,
            "both kubelets in Prometheus",
            || match prometheus.query("count(kubeletstats_up == 1)") {
                Some(2.0) => Ok(()),
                other => Err(format!("{other:?}")),
            },
        );
        stop(exporter.child);
    });
}
