//! What becomes of a value in YAML, in every host, beside what the command says of it. The table of
//! docs/configuration.md is this one.

use std::{path, process::Command};

use sim_kubelet::SimKubelet;
use testkit::{Child, Stream, hosts};

use crate::{
    common::{
        proc::Scratch,
        run::{DEADLINE, each_host, plugin_lines, wait_for_line},
    },
    refused,
};

/// What a host does.
#[derive(Clone, Copy)]
enum Does {
    /// It starts, and the plugin says this of its options.
    Starts(&'static str),
    /// It does not, and says this; the embedded host says so in the command's words.
    Refuses(&'static str),
}

use Does::{Refuses, Starts};

const ALL: Does = Starts("namespaces all, pod prefixes all");
const TWICE: Does = Refuses("configuration property 'namespace' is set 2 times");
const NOT_SET: Does = Refuses("could not configure property 'namespace'");
const UNEXPECTED: Does = Refuses("YAML error found");

/// The lines of an input; what the newest releases do; what those before 4.1 do, where that is different.
#[rustfmt::skip]
const VALUES: &[(&str, Does, Option<Does>)] = &[
    ("namespace: default", Starts("namespaces default, pod"), None),
    ("namespace: \"default\"  # a comment", Starts("namespaces default, pod"), None),
    ("namespace: >-\n  default,\n  other", Starts("namespaces default,other, pod"), None),
    ("interval: 2.5\npod_facts: yes", Starts("every 2.5s, timeout 5s, namespaces all, pod prefixes all, facts of pods every"), None),
    ("namespace:\npod_prefix: ''", ALL, None),
    ("namespace: ${NO_SUCH_VARIABLE}", ALL, None),
    ("namespace: null", Starts("namespaces null, pod"), None),
    ("namespace: [default]", Starts("namespaces default, pod"), None),
    ("namespace: ['default,other']", Starts("namespaces default,other, pod"), None),
    ("namespace: [default, other]", TWICE, None),
    ("namespace:\n  - default\n  - other", TWICE, None),
    ("namespace: default\nnamespace: other", TWICE, None),
    ("namespace: []", NOT_SET, Some(ALL)),
    ("namespace: {a: b}", NOT_SET, Some(ALL)),
    ("namespace:\n  a: b", NOT_SET, Some(ALL)),
    ("namespace: [[default]]", UNEXPECTED, None),
    ("namespace: [{a: b}]", UNEXPECTED, None),
    ("namespace: &one default", Starts("namespaces default, pod"), None),
    ("namespace: &one default\npod_prefix: *one", UNEXPECTED, None),
    ("pod_facts: on\nlabel_selector: !app", Starts("pod prefixes all, facts of pods every"), None),
    ("pod_facts: on\nlabel_selector: '!app'", Starts("selected by label_selector"), None),
];

#[test]
fn values_are_what_the_page_says() {
    let kubelet = SimKubelet::builder().started();
    let plugin = path::absolute(hosts::plugin_path()).expect("a folder to start from");
    each_host(|host| {
        if host.version.is_some_and(|version| version < (2, 0, 0)) {
            println!("{}: NOT RUN: its YAML has another form", host.name);
            return;
        }
        let is_newer = host.embedded || host.version >= Some((4, 1, 0));
        for (lines, newer, older) in VALUES {
            let does = if is_newer {
                *newer
            } else {
                older.unwrap_or(*newer)
            };
            let folder = Scratch::new("yaml");
            let text = configuration(&kubelet, lines);
            let mut command = folder.running(host, "fluent-bit.yaml", &text);
            command.arg("-e").arg(&plugin);
            let mut child = Child::spawn(command).expect("the host starts");
            match does {
                Starts(options) => {
                    wait_for_line(&child, 0, Stream::Stderr, |line| line.contains("scraping "));
                    let said = plugin_lines(&child).join("\n");
                    assert!(said.contains(options), "{}: {lines}: {said}", host.name);
                    child.kill();
                }
                // 2.x may end before its logger has printed the line.
                Refuses(_) if host.embedded || !host.takes_yaml() => drop(refused(child)),
                Refuses(why) => {
                    let child = refused(child);
                    let said = child.lines(Stream::Any).join("\n");
                    assert!(said.contains(why), "{}: {lines}: {said}", host.name);
                }
            }
        }
    });
}

/// Of what the newest releases do not start with it says so with 2, and of nothing else.
#[test]
fn the_command_knows_which_values_are_refused() {
    if !hosts::is_built() {
        return;
    }
    let kubelet = SimKubelet::builder().started();
    for (lines, newer, _) in VALUES {
        let folder = Scratch::new("yaml");
        let file = folder.write("fluent-bit.yaml", &configuration(&kubelet, lines));
        let mut check = Command::new(hosts::built("kubeletstats"));
        check.args(["check", "-c"]).arg(file);
        let mut child = Child::spawn(check).expect("it starts");
        let status = child.wait_for_exit(DEADLINE).expect("it ends");
        let is_refused = matches!(newer, Refuses(_));
        let said = child.tail();
        assert_eq!(status.code() == Some(2), is_refused, "{lines}: {said}");
        if let Starts(options) = newer {
            let lines = child.lines(Stream::Stdout).join("\n");
            assert!(lines.contains(options), "{lines}");
        }
    }
}

fn configuration(kubelet: &SimKubelet, lines: &str) -> String {
    let [url, ca, token] = kubelet.access();
    let lines: String = lines
        .lines()
        .map(|line| format!("      {line}\n"))
        .collect();
    format!(
        "pipeline:\n  inputs:\n    - name: kubeletstats\n      kubelet_url: {url}\n      \
         kube_ca_file: {ca}\n      kube_token_file: {token}\n{lines}  outputs:\n    - name: stdout\n      \
         match: '*'\n"
    )
}
