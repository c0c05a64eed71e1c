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

use common::{
    proc::Scratch,
    run::{DEADLINE, Line, each_host, plugin_lines, records, stop, wait_for_log, wait_for_record},
};

const TOKEN: &str = "a-token-of-the-test";

fn kubelet() -> SimKubeletBuilder {
    SimKubelet::builder()
        .token(TOKEN)
        .sample_period(Duration::from_millis(300))
        .burn("default/log-generator-b-vm", 250)
}

fn start(kubelet: SimKubeletBuilder) -> SimKubelet {
    kubelet.start().expect("a kubelet on loopback")
}

const LOG_GENERATORS: [(&str, &str); 2] =
    [("namespace", "default"), ("pod_prefix", "log-generator")];

#[test]
fn records_arrive_on_stdout_and_sigterm_ends_it() {
    each_host(|host| {
        let kubelet = start(kubelet());
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
fn a_choice_that_matches_nothing_is_said() {
    each_host(|host| {
        let kubelet = start(kubelet());
        let child = Line::new()
            .scraping(&kubelet, &[("pod_prefix", "no-such-pod")])
            .printing()
            .start(host);
        let line = "pods is wanted: check namespace and pod_prefix";
        wait_for_log(&child, line);
        assert!(kubelet.wait_for_requests(4, DEADLINE));
        let said = plugin_lines(&stop(child));
        assert_eq!(said.iter().filter(|said| said.ends_with(line)).count(), 1);
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
        // 1.x may end before its logger has printed the host's own line.
        let loses_lines = host.version.is_some_and(|version| version < (2, 0, 0));
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
    let refusals: [&[(&str, &str)]; 3] = [
        &[
            ("kube_ca_file", "/no/such.crt"),
            ("allow_insecure_tls", "on"),
        ],
        &[("cert_file", "/no/such.crt"), ("key_file", "/no/such.key")],
        &[("kubelet_url", "https://user:hunter2@127.0.0.1")],
    ];
    let starts: [&[(&str, &str)]; 3] = [
        &[("kube_token_file", "/no/such/token")],
        &[("host", "10.0.0.7"), ("port", "10250")],
        &[
            ("kubelet_url", "http://127.0.0.1:1"),
            ("kube_ca_file", "/no/such.crt"),
        ],
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
    let cases: [(&[(&str, &str)], String); 14] = [
        (
            &[("kubelet_url", "10.0.0.7:10250")],
            "option kubelet_url: bad value '10.0.0.7:10250': \
             expected http://HOST[:PORT][/PATH] or https://HOST[:PORT][/PATH]"
                .to_owned(),
        ),
        (
            &[("interval", "10 minutes")],
            "option interval: bad value '10 minutes': \
             expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h"
                .to_owned(),
        ),
        (
            &[("timeout", "0")],
            "option timeout: bad value '0': \
             expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h"
                .to_owned(),
        ),
        (
            &[("allow_insecure_tls", "perhaps")],
            "option allow_insecure_tls: bad value 'perhaps': expected true or false".to_owned(),
        ),
        (
            &[("cpu_source", "guess")],
            "option cpu_source: bad value 'guess': expected auto, counter or instant".to_owned(),
        ),
        (
            &[("namespace", "default,'shop'")],
            "option namespace: bad value 'default,'shop'': \
             expected names of a-z, 0-9 and '-' with commas between them: \
             ''shop'' can match nothing: leave the quotes out"
                .to_owned(),
        ),
        (
            &[("pod_prefix", "web-  # and nothing else")],
            "option pod_prefix: bad value 'web-  # and nothing else': \
             expected beginnings of pod names, of a-z, 0-9, '-' and '.', with commas between them: \
             'web-  # and nothing else' can match nothing: a comment needs a line of its own"
                .to_owned(),
        ),
        (
            &[("service", "one\ntwo")],
            "option service: bad value 'one?two': \
             expected text without line breaks and other control characters"
                .to_owned(),
        ),
        (
            &[("kube_ca_file", &absent)],
            format!("cannot read kube_ca_file {absent}: no such file or directory"),
        ),
        (
            &[("kube_ca_file", &folder)],
            format!("cannot read kube_ca_file {folder}: is a directory"),
        ),
        (
            &[("kube_ca_file", &pipe)],
            format!(
                "cannot use kube_ca_file {pipe}: it is a named pipe: name a regular file, \
                 since nobody waits for a writer here"
            ),
        ),
        (
            &[("kube_ca_file", "/dev/zero")],
            "cannot use kube_ca_file /dev/zero: it is a device: name a regular file".to_owned(),
        ),
        (
            &[("cert_file", "/c.pem")],
            "option cert_file is set but key_file is not: a client certificate needs both"
                .to_owned(),
        ),
        (
            &[("key_file", "/k.pem")],
            "option key_file is set but cert_file is not: a client certificate needs both"
                .to_owned(),
        ),
    ];
    each_host(|host| {
        for (options, line) in &cases {
            let child = Line::new().input(options).printing().start(host);
            assert_eq!(plugin_lines(&refused(child)), [line.as_str()]);
        }
    });
}

#[test]
fn a_token_file_that_is_wrong_does_not_stop_the_start() {
    each_host(|host| {
        let kubelet = start(kubelet());
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

/// Some failures, each seen as one line and no record; then it works again.
#[test]
fn a_failing_scrape_is_one_line_and_recovery_another() {
    each_host(|host| {
        let kubelet = start(kubelet());
        let url = format!("{}/stats/summary", kubelet.url());
        for (fault, line) in [
            (
                Fault::Status(401, "Unauthorized".to_owned()),
                format!("401 unauthorized by {url}: it did not accept the token in "),
            ),
            (
                Fault::Status(403, "Forbidden".to_owned()),
                format!(
                    "403 forbidden by {url}: the service account needs verb get on nodes/stats"
                ),
            ),
            (Fault::EmptyBody, format!("reply of {url} is empty")),
            (
                Fault::NotJson,
                format!("reply of {url} is not a stats summary: "),
            ),
            (
                Fault::CutBody,
                format!("reply of {url} was cut short after "),
            ),
            (
                Fault::HugeBody(200_000_000),
                format!("reply of {url} is larger than 64 MiB: "),
            ),
            (
                Fault::UnknownCa,
                format!("certificate of {url} is signed by an unknown issuer: "),
            ),
            (
                Fault::WrongName,
                format!("certificate of {url} is not valid for 127.0.0.1, it names "),
            ),
        ] {
            kubelet.set_fault(fault.clone());
            let before = kubelet.connections() + kubelet.requests();
            let child = Line::new()
                .scraping(&kubelet, &LOG_GENERATORS)
                .printing()
                .start(host);
            wait_for_log(&child, &line);
            // More failures of the same kind say nothing more.
            testkit::wait::until("three more tries", DEADLINE, || {
                kubelet.connections() + kubelet.requests() >= before + 4
            })
            .unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
            assert_eq!(records(&child), [] as [Value; 0], "{fault:?}");
            kubelet.clear_fault();
            wait_for_log(&child, "scraping works again: it failed for ");
            wait_for_record(&child, |_| true);
            let said = plugin_lines(&stop(child));
            let errors = said.iter().filter(|said| said.starts_with(&line)).count();
            // What it does, the error, the recovery, what it found.
            assert_eq!((errors, said.len()), (1, 4), "{fault:?}: {said:?}");
        }
    });
}

#[test]
fn a_refused_connection_is_one_line() {
    each_host(|host| {
        let child = Line::new()
            .input(&[("kubelet_url", "http://127.0.0.1:1"), ("interval", "100ms")])
            .printing()
            .start(host);
        let line = "connection refused by 127.0.0.1:1 for http://127.0.0.1:1/stats/summary: \
                    check kubelet_url and that the kubelet is running";
        wait_for_log(&child, line);
        let said = plugin_lines(&stop(child));
        assert_eq!(
            said.iter().filter(|said| *said == line).count(),
            1,
            "{said:?}"
        );
    });
}

#[test]
fn the_log_obeys_the_hosts_level() {
    each_host(|host| {
        let kubelet = start(kubelet());
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

#[test]
fn stops_at_once_while_the_kubelet_hangs() {
    each_host(|host| {
        let dummy = Line::new().args(["-i", "dummy"]).printing().start(host);
        wait_for_record(&dummy, |_| true);
        let mut dummy = dummy;
        let without = dummy.terminate(DEADLINE).took;
        for fault in [
            Fault::HangInTls,
            Fault::HangBeforeHeaders,
            Fault::HangInBody,
        ] {
            let kubelet = start(kubelet().fault(fault.clone()));
            let line = Line::new().args(["-i", "dummy"]);
            let line = line.scraping(&kubelet, &[("timeout", "1h")]).printing();
            let mut child = line.start(host);
            testkit::wait::until("a hanging request", DEADLINE, || kubelet.connections() > 0)
                .unwrap_or_else(|error| panic!("{error}: {}", child.tail()));
            wait_for_record(&child, |_| true);
            let ended = child.terminate(DEADLINE);
            assert!(ended.status.success(), "{}", child.tail());
            let more = ended.took.saturating_sub(without);
            assert!(
                more <= Duration::from_millis(500),
                "{fault:?}: {:?}, and {without:?} without",
                ended.took
            );
        }
    });
}

#[test]
fn runs_in_a_thread_of_its_own() {
    each_host(|host| {
        if host.version.is_some_and(|version| version < (2, 0, 0)) {
            println!("{} has no threaded inputs", host.name);
            return;
        }
        let kubelet = start(kubelet());
        let mut options = LOG_GENERATORS.to_vec();
        options.push(("threaded", "on"));
        let child = Line::new()
            .scraping(&kubelet, &options)
            .printing()
            .start(host);
        wait_for_record(&child, |record| record["podName"] == "log-generator-b-vm");
        stop(child);
    });
}

/// Fluent Bit then makes two inputs of each that is meant, the first with all defaults.
#[test]
fn a_plugin_that_is_loaded_twice_is_told_of_once() {
    const LINE: &str = "kubeletstats.0 runs with no option set: if it is not in the configuration, \
                        the plugin is loaded twice, by -e and in plugins_file: load it once";
    let said = |line: Line, host: &Host| {
        let kubelet = start(kubelet());
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

#[test]
fn several_inputs_do_not_know_of_each_other() {
    each_host(|host| {
        let (one, other) = (start(kubelet()), start(kubelet()));
        let child = Line::new()
            .scraping(
                &one,
                &[("pod_prefix", "log-generator-a"), ("service", "one")],
            )
            .scraping(
                &other,
                &[("pod_prefix", "log-generator-b"), ("service", "two")],
            )
            .printing()
            .start(host);
        wait_for_record(&child, |record| record["service"] == "one");
        wait_for_record(&child, |record| record["service"] == "two");
        for record in records(&stop(child)) {
            let expected = match record["service"].as_str() {
                Some("one") => "log-generator-a-vm",
                _ => "log-generator-b-vm",
            };
            assert_eq!(record["podName"], expected);
        }
    });
}

/// Whatever panics inside, the host goes on, one line says so, and the next
/// scrape works.
#[test]
fn a_panic_inside_does_not_take_the_host_down() {
    each_host(|host| {
        for place in ["the worker", "the timer", "the collector"] {
            let kubelet = start(kubelet());
            let line = Line::panicking().args(["-i", "dummy", "-t", "dummy"]);
            let line = line.scraping(&kubelet, &LOG_GENERATORS).printing();
            let mut command = line.command(host);
            command.env("KUBELETSTATS_PANIC", place);
            let child = Child::spawn(command).expect("the host starts");
            let text =
                format!("internal error in {place}: injected into {place} (core/src/panics.rs:");
            wait_for_log(&child, &text);
            wait_for_record(&child, |record| record["podName"] == "log-generator-b-vm");
            let said = plugin_lines(&stop(child));
            let times = said.iter().filter(|line| line.starts_with(&text)).count();
            assert_eq!(times, 1, "{said:?}");
        }
        // At start there is nothing to go on with, at the end nothing to go on to.
        let line = Line::panicking().input(&[]).printing();
        let mut command = line.command(host);
        command.env("KUBELETSTATS_PANIC", "init");
        let child = refused(Child::spawn(command).expect("the host starts"));
        let log = child.lines(Stream::Stderr).join("\n");
        assert_eq!(log.matches("internal error in init").count(), 1, "{log}");

        for place in ["pause", "exit"] {
            let kubelet = start(kubelet());
            let line = Line::panicking().scraping(&kubelet, &[]).printing();
            let mut command = line.command(host);
            command.env("KUBELETSTATS_PANIC", place);
            let child = Child::spawn(command).expect("the host starts");
            wait_for_record(&child, |_| true);
            let log = stop(child).lines(Stream::Stderr).join("\n");
            let text = format!("internal error in {place}");
            assert_eq!(log.matches(&text).count(), 1, "{log}");
        }
    });
}

#[test]
fn the_plugin_counts_what_it_does() {
    each_host(|host| {
        let kubelet = start(kubelet().fault(Fault::EmptyBody));
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

/// With the configuration that is shipped, into a Kafka, and read from there.
#[test]
fn the_shipped_configuration_delivers_to_kafka() {
    let kafka = Kafka::find_or_start().expect("a Kafka");
    println!("into {}", kafka.describe());
    each_host(|host| {
        let kubelet = start(kubelet().server_names(&["vm"]));
        let topic = kafka::unique_topic("e2e");
        let folder = std::env::temp_dir().join(&topic);
        fs::create_dir_all(&folder).expect("a folder");
        // A topic of the test's own, and the plugin where this build put it.
        let shipped = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fluent-bit.conf"));
        let shipped = shipped.expect("fluent-bit.conf");
        assert!(shipped.contains("Topics            metrics\n"));
        let conf = shipped.replace("Topics            metrics", &format!("Topics {topic}"));
        fs::write(folder.join("fluent-bit.conf"), conf).expect("written");
        let plugins = format!(
            "[PLUGINS]\n    Path {}\n",
            testkit::hosts::plugin_path().display()
        );
        fs::write(folder.join("plugins.conf"), plugins).expect("written");

        let mut command = host.command(["-c".as_ref(), folder.join("fluent-bit.conf").as_os_str()]);
        command
            .current_dir(&folder)
            .env("KUBELET_URL", kubelet.url())
            .env("KUBELET_CA_FILE", kubelet.ca_file())
            .env("KUBELET_TOKEN_FILE", kubelet.token_file())
            .env("KUBELET_SERVER_NAME", "vm")
            .env("SCRAPE_INTERVAL_MS", "200")
            .env("TARGET_NAMESPACE", "default")
            .env("TARGET_POD_PREFIX", "log-generator")
            .env("METRICS_REGION", "eu-1")
            .env("KAFKA_BROKERS", kafka.brokers());
        // Not set: the plugin's defaults stay in force.
        for unset in [
            "KUBELET_TIMEOUT_MS",
            "ALLOW_INSECURE_TLS",
            "NODE_NAME",
            "SERVICE_NAME",
        ] {
            command.env_remove(unset);
        }
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
        fs::remove_dir_all(&folder).expect("removed");
    });
}
