//! The plugin inside every host this machine has: real Fluent Bits first, and
//! the embedded host. What an operator types, sees and gets.

use std::{ffi::OsString, fs, process::Command, time::Duration};

use serde_json::Value;
use sim_kubelet::{Fault, SimKubelet, SimKubeletBuilder};
use testkit::{Child, Host, Kafka, Stream, hosts, kafka, record_reader::Metric};

#[path = "../common/mod.rs"]
mod common;
mod memcheck;
mod no_host;
mod yaml;

use common::{
    proc::Scratch,
    run::{DEADLINE, Line, each_host, plugin_lines, records, stop, wait_for_log, wait_for_record},
    shipped,
};

const TOKEN: &str = "a-token-of-the-test";

fn kubelet() -> SimKubeletBuilder {
    SimKubelet::builder()
        .token(TOKEN)
        .sample_period(Duration::from_millis(300))
        .burn("default/log-generator-b-vm", 250)
}

const LOG_GENERATORS: [(&str, &str); 2] =
    [("namespace", "default"), ("pod_prefix", "log-generator")];

#[test]
fn records_arrive_on_stdout_and_sigterm_ends_it() {
    each_host(|host| {
        let kubelet = kubelet().started();
        let child = Line::new()
            .scraping(&kubelet, &LOG_GENERATORS)
            .printing()
            .start(host);
        let of = |pod: &'static str| move |record: &Value| record["podName"] == pod;
        wait_for_record(&child, of("log-generator-a-vm"));
        let b = wait_for_record(&child, of("log-generator-b-vm"));
        assert_eq!(b["namespace"], "default");
        assert_eq!(b["nodeName"], "vm");
        assert_eq!(b["metadata"]["node"], "vm");
        assert_eq!(b["service"], "log-generator");
        // A rate over two samples, not only the first instantaneous value.
        let later = b["timestamp"].as_u64().expect("an integer") + 600;
        wait_for_record(&child, move |record| {
            of("log-generator-b-vm")(record) && record["timestamp"].as_u64() >= Some(later)
        });
        let child = stop(child);
        for record in records(&child) {
            let name = record["podName"].as_str().expect("text");
            assert!(
                name.starts_with("log-generator-"),
                "{name} was not asked for"
            );
            if name == "log-generator-b-vm" {
                let cpu = record["cpu"].as_f64().expect("a number");
                assert!((cpu - 25.0).abs() <= 0.1, "cpu {cpu}");
            }
        }
        assert_eq!(kubelet.handshakes(), 1);
        let log = child.lines(Stream::Stderr).join("\n");
        assert!(!log.contains(TOKEN), "the token is in the log");
    });
}

#[test]
fn help_shows_every_option() {
    each_host(|host| {
        let line = Line::new().args(["-i", "kubeletstats", "-h"]);
        let mut child = line.start(host);
        let status = child.wait_for_exit(DEADLINE).expect("help ends");
        assert!(status.success(), "{status}");
        let text = child.lines(Stream::Any).join("\n");
        for option in kubeletstats_core::options::OPTIONS {
            assert!(text.contains(option.name), "{}: {text}", option.name);
            // The host wraps long lines: the first words are enough.
            let words: Vec<_> = option.help.split(' ').take(3).collect();
            assert!(text.contains(&words.join(" ")), "{words:?}: {text}");
        }
    });
}

/// Ends by itself, with a status that is not 0.
fn refused(mut child: Child) -> Child {
    let status = child
        .wait_for_exit(DEADLINE)
        .unwrap_or_else(|error| panic!("{error}"));
    let code = status.code();
    assert!(
        code.is_some_and(|code| code != 0),
        "{status}: {}",
        child.tail()
    );
    child
}

#[test]
fn an_unknown_option_is_refused_by_the_host() {
    each_host(|host| {
        let said = || {
            let line = Line::new().input(&[("bogus", "1")]).printing();
            let text = refused(line.start(host)).lines(Stream::Any).join("\n");
            text.contains("unknown configuration property 'bogus'")
        };
        // 1.x and 2.0 may end before their logger has printed the host's own line.
        let loses_lines = host.version.is_some_and(|version| version < (2, 1, 0));
        let tries = if loses_lines { 10 } else { 1 };
        assert!((0..tries).any(|_| said()), "{}", host.name);
    });
}

/// The command says so with 2 of all with which every host refuses to start, and of
/// nothing with which all of them do.
#[test]
fn the_command_knows_what_no_host_starts_with() {
    if !hosts::is_built() {
        return;
    }
    let command = hosts::built("kubeletstats");
    #[rustfmt::skip]
    let refusals: [&[(&str, &str)]; 3] = [
        &[("kube_ca_file", "/no/such.crt"), ("allow_insecure_tls", "on")],
        &[("cert_file", "/no/such.crt"), ("key_file", "/no/such.key")],
        &[("kubelet_url", "https://user:hunter2@127.0.0.1")],
    ];
    #[rustfmt::skip]
    let starts: [&[(&str, &str)]; 3] = [
        &[("kube_token_file", "/no/such/token")],
        &[("host", "10.0.0.7"), ("port", "10250")],
        &[("kubelet_url", "http://127.0.0.1:1"), ("kube_ca_file", "/no/such.crt")],
    ];
    let says = |options: &[(&str, &str)]| {
        let mut check = Command::new(&command);
        check.args(["check", "-p", "timeout=1s"]);
        for (name, value) in options {
            check.args(["-p", &format!("{name}={value}")]);
        }
        let said = check.output().expect("it runs");
        assert!(!String::from_utf8_lossy(&said.stdout).contains("hunter2"));
        said.status.code()
    };
    for options in refusals {
        assert_eq!(says(options), Some(2), "{options:?}");
    }
    for options in starts {
        assert_eq!(says(options), Some(1), "{options:?}");
    }
    each_host(|host| {
        for options in refusals {
            let child = refused(Line::new().input(options).printing().start(host));
            assert!(!child.lines(Stream::Any).join("\n").contains("hunter2"));
        }
        for options in starts {
            let child = Line::new().input(options).printing().start(host);
            wait_for_log(&child, "scraping http");
            stop(child);
        }
    });
}

#[test]
fn a_bad_value_stops_the_start_with_one_line() {
    let folder = std::env::temp_dir();
    let here = |name: &str| folder.join(name).display().to_string();
    let (absent, folder) = (here("no-such-file.pem"), folder.display().to_string());
    let scratch = Scratch::new("pipe");
    let pipe = scratch.join("ca.crt").display().to_string();
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "no mkfifo");
    let time = "expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h";
    let names = "expected names of a-z, 0-9 and '-' with commas between them";
    let prefixes =
        "expected beginnings of pod names, of a-z, 0-9, '-' and '.', with commas between them";
    let url = "expected http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]";
    let comment = "web-  # and nothing else";
    #[rustfmt::skip]
    let values = [
        ("kubelet_url", "10.0.0.7:10250", url.to_owned()),
        ("interval", "10 minutes", time.to_owned()),
        ("timeout", "0", time.to_owned()),
        ("allow_insecure_tls", "perhaps", "expected true or false".to_owned()),
        ("cpu_source", "guess", "expected auto, counter or instant".to_owned()),
        ("namespace", "default,'shop'", format!("{names}: ''shop'' can match nothing: leave the quotes out")),
        ("pod_prefix", comment, format!("{prefixes}: '{comment}' can match nothing: a comment needs a line of its own")),
        ("service", "one\ntwo", "expected text without line breaks and other control characters".to_owned()),
    ];
    let no_writer = "name a regular file, since nobody waits for a writer here";
    let both = "a client certificate needs both";
    #[rustfmt::skip]
    let files = [
        ("kube_ca_file", &*absent, format!("cannot read kube_ca_file {absent}: no such file or directory")),
        ("kube_ca_file", &folder, format!("cannot read kube_ca_file {folder}: is a directory")),
        ("kube_ca_file", &pipe, format!("cannot use kube_ca_file {pipe}: it is a named pipe: {no_writer}")),
        ("kube_ca_file", "/dev/zero", "cannot use kube_ca_file /dev/zero: it is a device: name a regular file".to_owned()),
        ("cert_file", "/c.pem", format!("option cert_file is set but key_file is not: {both}")),
        ("key_file", "/k.pem", format!("option key_file is set but cert_file is not: {both}")),
    ];
    let values = values.map(|(name, value, why)| {
        let shown = value.replace('\n', "?");
        (
            name,
            value,
            format!("option {name}: bad value '{shown}': {why}"),
        )
    });
    each_host(|host| {
        for (name, value, line) in values.iter().chain(&files) {
            let child = Line::new().input(&[(name, value)]).printing().start(host);
            assert_eq!(plugin_lines(&refused(child)), [line.as_str()]);
        }
    });
}

#[test]
fn a_token_file_that_is_wrong_does_not_stop_the_start() {
    each_host(|host| {
        let kubelet = kubelet().started();
        fs::remove_file(kubelet.token_file()).expect("a token file");
        let child = Line::new()
            .scraping(&kubelet, &LOG_GENERATORS)
            .printing()
            .start(host);
        wait_for_log(&child, "cannot read kube_token_file");
        kubelet.write_token_file(TOKEN).expect("a token file");
        wait_for_record(&child, |record| record["cpu"].is_number());
        stop(child);
    });
}

#[test]
fn the_log_obeys_the_hosts_level() {
    each_host(|host| {
        let kubelet = kubelet().started();
        let quiet = Line::new()
            .scraping(&kubelet, &[("log_level", "error")])
            .printing()
            .start(host);
        wait_for_record(&quiet, |_| true);
        // Releases before 3.2 do not tell plugins the level of an instance.
        let knows_instances = host.version.is_none_or(|version| version >= (3, 2, 0));
        if knows_instances {
            assert_eq!(plugin_lines(&stop(quiet)), [] as [String; 0]);
        }
        let quiet = Line::new().args(["-q"]);
        let quiet = quiet.scraping(&kubelet, &[]).printing().start(host);
        wait_for_record(&quiet, |_| true);
        assert_eq!(plugin_lines(&stop(quiet)), [] as [String; 0]);
        let loud = Line::new().args(["-v"]);
        let loud = loud.scraping(&kubelet, &[]).printing().start(host);
        wait_for_log(&loud, " records, ");
        stop(loud);
    });
}

/// Fluent Bit then makes two inputs of each that is meant, the first with all defaults.
#[test]
fn a_plugin_that_is_loaded_twice_is_told_of_once() {
    const LINE: &str = "kubeletstats.0 runs with no option set: if it is not in the configuration, \
                        the plugin is loaded twice, by -e and in plugins_file: load it once";
    let said = |line: Line, host: &Host| {
        let kubelet = kubelet().started();
        let child = line
            .scraping(&kubelet, &LOG_GENERATORS)
            .printing()
            .start(host);
        wait_for_record(&child, |_| true);
        let lines = plugin_lines(&stop(child));
        lines.iter().filter(|line| line.as_str() == LINE).count()
    };
    each_host(|host| {
        let plugin = testkit::hosts::plugin_path();
        // The embedded host knows no second file.
        if host.version.is_some() {
            let twice = Line::new().args([OsString::from("-e"), plugin.into()]);
            assert_eq!(said(twice, host), 1, "{}", host.name);
        }
        assert_eq!(said(Line::new(), host), 0, "{}", host.name);
    });
}

/// At start there is nothing to go on with, at the end nothing to go on to; in between
/// are the rows `panic-…` of the fault table.
#[test]
fn a_panic_inside_does_not_take_the_host_down() {
    let start_panicking = |host: &Host, place: &str, line: Line| {
        let mut command = line.printing().command(host);
        command.env("KUBELETSTATS_PANIC", place);
        Child::spawn(command).expect("the host starts")
    };
    let assert_said = |child: &Child, place: &str| {
        let log = child.lines(Stream::Stderr).join("\n");
        let text = format!("internal error in {place}");
        assert_eq!(log.matches(&text).count(), 1, "{log}");
    };
    each_host(|host| {
        let child = start_panicking(host, "init", Line::panicking().input(&[]));
        assert_said(&refused(child), "init");
        for place in ["pause", "exit"] {
            let kubelet = kubelet().started();
            let line = Line::panicking().scraping(&kubelet, &[]);
            let child = start_panicking(host, place, line);
            wait_for_record(&child, |_| true);
            assert_said(&stop(child), place);
        }
    });
}

#[test]
fn the_plugin_counts_what_it_does() {
    each_host(|host| {
        let kubelet = kubelet().fault(Fault::EmptyBody).started();
        let mut options = LOG_GENERATORS.to_vec();
        options.push(("stats_tag", "self"));
        let child = Line::new()
            .scraping(&kubelet, &options)
            .args(["-o", "stdout", "-m", "self", "-p", "format=json_lines"])
            .start(host);
        wait_for_record(&child, |record| {
            record["failures_by_reason"]["not_summary"] == 2
        });
        kubelet.clear_fault();
        let record = wait_for_record(&child, |record| record["records"].as_u64() >= Some(2));
        assert_eq!(record["input"], "kubeletstats.0");
        assert_eq!(
            record["failures"],
            record["failures_by_reason"]["not_summary"]
        );
        assert!(record["scrapes"].as_u64() > record["failures"].as_u64());
        assert!(record["bytes"].as_u64() > Some(100));
        assert!(record["last_duration_ms"].as_f64() > Some(0.0));
        let log = stop(child).lines(Stream::Stdout).join("\n");
        assert!(!log.contains("podName"), "only what was asked for");
    });
}

/// What `make demo` runs: the main job, with all that it needs.
#[test]
fn the_demo_shows_records_on_stdout_and_from_kafka() {
    if !hosts::is_built() {
        return;
    }
    let kafka = Kafka::find_or_start().expect("a Kafka");
    let output = Command::new(hosts::built("demo"))
        .env("KAFKA_BROKERS", kafka.brokers())
        .env_remove("KUBELET_URL")
        .env("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
        .output()
        .expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{shown}{said}");
    for side in ["\nstdout  ", "\nkafka   ", "\ndone: "] {
        assert!(shown.contains(side), "{shown}{said}");
    }
}

/// With the configurations that are shipped, into a Kafka, and read from there.
#[test]
fn the_shipped_configurations_deliver_to_kafka() {
    if !hosts::is_built() {
        return;
    }
    let kafka = Kafka::find_or_start().expect("a Kafka");
    println!("into {}", kafka.describe());
    let deliver = |host: &Host, is_yaml: bool| {
        let kubelet = kubelet().server_names(&["vm"]).started();
        let topic = kafka::unique_topic("e2e");
        let folder = Scratch::new("shipped");
        let mut command = match is_yaml {
            true => folder.running(host, "fluent-bit.yaml", &shipped::yaml(&topic)),
            false => {
                assert!(shipped::text().contains("Topics            metrics\n"));
                let configuration = shipped::configuration(&[("kafka", "topics", &topic)], None);
                folder.command(host, &configuration)
            }
        };
        shipped::lead_to(&mut command, &kubelet, kafka.brokers());
        command
            .env("KUBELET_SERVER_NAME", "vm")
            .env("SCRAPE_INTERVAL_MS", "200")
            .env("TARGET_NAMESPACE", "default")
            .env("TARGET_POD_PREFIX", "log-generator")
            .env("METRICS_REGION", "eu-1");
        let child = Child::spawn(command).expect("the host starts");
        let read = kafka::consume(kafka.brokers(), &topic, 6, DEADLINE)
            .unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
        for text in &read {
            // Refuses a key that stands twice, a cpu that is no number, a
            // timestamp that is no integer.
            Metric::from_json(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            let record: Value = serde_json::from_str(text).expect("json");
            assert_eq!(record["source"], "kubelet", "{text}");
            assert_eq!(record["pipeline"], "fluent-bit");
            assert_eq!(record["metadata"]["region"], "eu-1");
            assert!(record["@timestamp"].is_string(), "{text}");
        }
        let child = stop(child);
        let on_stdout = records(&child).len();
        assert!(on_stdout >= read.len(), "{on_stdout} on stdout");
    };
    each_host(|host| {
        deliver(host, false);
        if host.takes_yaml() {
            deliver(host, true);
        }
    });
}
