//! Arguments and `-c`: which inputs are found, and with which options.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use kubeletstats_core::text::printable;
use sim_kubelet::SimKubelet;

use crate::command::{Run, masked, path, run, write};

fn check(kubelet: &SimKubelet, text: &str, more: &[&str]) -> Run {
    check_file(kubelet, "fluent-bit.conf", text, more)
}

fn check_file(kubelet: &SimKubelet, name: &str, text: &str, more: &[&str]) -> Run {
    let file = write(kubelet, name, text);
    let (url, ca) = (kubelet.url(), path(&kubelet.ca_file()));
    let mut arguments = vec!["check", "-c", &file];
    arguments.extend(more);
    run(
        &arguments,
        &[("TEST_URL", &url), ("TEST_CA", &ca), ("TEST_EMPTY", "")],
    )
}

fn run_once(file: &str, environment: &[(&str, &str)]) -> Run {
    run(&["once", "-c", file, "-o", "json"], environment)
}

/// An input of this kubelet with one line more.
fn input(line: &str) -> String {
    format!(
        "[INPUT]\n    Name kubeletstats\n    Kubelet_URL ${{TEST_URL}}\n    Kube_CA_File ${{TEST_CA}}\n    {line}\n"
    )
}

#[test]
fn the_shipped_configurations_are_read() {
    let kubelet = SimKubelet::builder().started();
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (url, ca) = (kubelet.url(), path(&kubelet.ca_file()));
    let environment = [
        ("KUBELET_URL", url.as_str()),
        ("KUBELET_CA_FILE", &ca),
        ("TARGET_NAMESPACE", "other"),
        ("KUBELET_TIMEOUT_MS", "2500"),
        ("NODE_NAME", "node-9"),
    ];
    for shipped in ["fluent-bit.yaml", "fluent-bit.conf"] {
        let shipped = path(&root.join(shipped));
        let run = run_once(&shipped, &environment);
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
        assert_eq!(run.out.lines().count(), 2);
        let of_node = |line: &str| line.contains(r#""nodeName":"node-9""#);
        assert!(run.out.lines().all(of_node), "{}", run.out);
    }
}

#[test]
fn every_input_is_checked_and_the_worst_counts() {
    let kubelet = SimKubelet::builder().started();
    let text = "\
@SET where=default
[SERVICE]
    Flush 1
[INPUT]
    Name   dummy
[input]
    # the first
    NAME          KubeletStats
    Tag           a
    Alias         one
    storage.type  filesystem
    Kubelet_URL   ${TEST_URL}
    Kube_CA_File  ${TEST_CA}
    Interval      ${TEST_NOT_SET}ms
    Pod_Prefix    ${TEST_EMPTY}
    Namespace     ${where}
[OUTPUT]
    Name   null
@INCLUDE more-*.conf
";
    write(
        &kubelet,
        "more-1.conf",
        "[INPUT]\n    Name kubeletstats\n    Kubelet_URL https://127.0.0.1:1\n",
    );
    let run = check(&kubelet, text, &[]);
    let file = path(&kubelet.dir().join("fluent-bit.conf"));
    let first = format!(
        "\
ok    options  scraping {}/stats/summary every 10s, timeout 5s, namespaces default, pod prefixes all
               from: {file}, input 1 of 2
",
        kubelet.url()
    );
    assert!(run.out.starts_with(&first), "{}", run.out);
    assert!(
        run.out.contains(&format!("from: {file}, input 2 of 2\n")),
        "{}",
        run.out
    );
    assert!(run.out.contains("\nverdict: metrics arrive"), "{}", run.out);
    assert!(
        run.out
            .contains("\nverdict: no metrics: nothing listens at the kubelet's address\n"),
        "{}",
        run.out
    );
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));

    // On the command line as well: for every input, before what the file says.
    let url = format!("Kubelet_Url={}", kubelet.url());
    let ca = format!("kube_ca_file={}", kubelet.ca_file().display());
    let run = check(&kubelet, text, &["-p", &url, "-p", &ca]);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
}

#[test]
fn configurations_that_cannot_be_used() {
    let kubelet = SimKubelet::builder().started();
    let file = path(&kubelet.dir().join("fluent-bit.conf"));
    let none = kubelet.dir().join("none*.conf");
    const INDENTED: &str =
        "a property is indented as the first of its section is, by the same blanks or tabs";
    const DEEPER: &str = "[INPUT]\n    Name x\n      Interval 1s\n";
    const UNDER: &str = "a property is indented under its section";
    const BEFORE: &str = "a property stands before any section";
    const VALUE: &str = "a property needs a value, after a blank";
    let no_input = format!(
        "{file} has no [INPUT] with Name kubeletstats: name another file with -c, or give options with -p"
    );
    let no_file = format!("{file}:1: no file matches {}", none.display());
    let twice = format!("{file}:1: {file} is included twice");
    let at = |line: usize, why: &str| format!("{file}:{line}: {why}");
    for (text, why) in [
        ("[INPUT]\n    Name dummy\n", no_input),
        ("[INPUT\n", at(1, "a section's name ends with ]")),
        ("[INPUT]\n    Name\n", at(2, VALUE)),
        // With each of these, every release from 1.9 to 5.1 was seen not to start.
        ("[INPUT]\nName kubeletstats\n", at(2, UNDER)),
        (DEEPER, at(3, INDENTED)),
        ("[INPUT]\n    Name x\n  Interval 1s\n", at(3, INDENTED)),
        ("[INPUT]\n    Name x\n\tInterval 1s\n", at(3, INDENTED)),
        ("[INPUT]\n    Name x\n    Interval\t1s\n", at(3, VALUE)),
        ("    Name kubeletstats\n[INPUT]\n", at(1, BEFORE)),
        ("\u{feff}[SERVICE]\n    Flush 1\n", at(1, VALUE)),
        ("@INCLUDE none*.conf\n", no_file),
        ("@INCLUDE fluent-bit.conf\n", twice),
    ] {
        let run = check(&kubelet, text, &[]);
        assert_eq!(run.err, format!("kubeletstats: {why}\n"));
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""));
    }
    let twice = "[INPUT]\n    Name kubeletstats\n    Interval 1s\n    interval 2s\n";
    let run = check(&kubelet, twice, &[]);
    assert!(
        run.out
            .starts_with("FAIL  options  configuration property 'Interval' is set 2 times: write one, with commas between items\n"),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(2));
}

/// A YAML file with an input of this kubelet, and these lines in it.
fn yaml(lines: &str) -> String {
    let lines = lines.lines().map(|line| format!("      {line}\n"));
    let lines: String = lines.collect();
    format!(
        "pipeline:\n  inputs:\n    - name: kubeletstats\n      kubelet_url: ${{TEST_URL}}\n      \
         kube_ca_file: ${{TEST_CA}}\n{lines}"
    )
}

/// What is read of YAML, as the plugin reports it in Fluent Bit 2.0 to 5.1.
#[test]
fn yaml_is_read_as_fluent_bit_does() {
    let kubelet = SimKubelet::builder().started();
    write(&kubelet, "env.yml", "ENV:\n  WHERE: other\n  EVERY: 7\n");
    write(&kubelet, "part-1.yaml", "includes: [env.yml]\n");
    let processors = "processors:\n  logs:\n    - name: content_modifier\n      rules: [{a: b}]\n";
    let quoted = "namespace: 'default, other' # two\ninterval: \"3s\"\n";
    let many_lines = "namespace: >-\n  default,\n  other\npod_prefix:\n";
    let including = "includes:\n  - part-*.yaml\nservice:\n  flush: 1\n";
    let list = "env:\n  - name: WHERE\n    value: other\n  - EVERY: 7\n";
    let others = "x-more:\n  a: &a b\nparsers:\n  - name: p\n    regex: '[a]'\nplugins: [/p/flb-in_kubeletstats.so]\n";
    let unlike = "plugins:\n  - /p/libkubeletstats.so\nincludes: [none-*.yaml]\n";
    let variables = yaml("namespace: ${WHERE}\ninterval: ${EVERY}s\n");
    const ALL: &str = "every 10s, timeout 5s, namespaces all, pod prefixes all";
    const OTHER: &str = "every 7s, timeout 5s, namespaces other, pod prefixes all";
    const BOTH: &str = "every 10s, timeout 5s, namespaces default,other, pod prefixes all";
    const EVERY_3: &str = "every 3s, timeout 5s, namespaces default,other, pod prefixes all";
    #[rustfmt::skip]
    let rows: [(String, &str, &[&str]); 16] = [
        (yaml("interval: 10\ntimeout: 5.0"), ALL, &[]),
        (yaml("pod_prefix:\nnamespace: ''\nservice: ${NO_SUCH_VARIABLE}"), ALL, &[]),
        (yaml(quoted), EVERY_3, &[]),
        (yaml(many_lines), BOTH, &[]),
        (yaml("namespace: [default]\nrepeat_samples: true").replace("[default]", "['default,other']"), BOTH, &[]),
        (yaml("alias: [a, b]\ntag: t\nstorage.type: memory"), ALL, &[]),
        (yaml(processors), ALL, &[]),
        (format!("\u{feff}{others}{}", yaml("")).replace('\n', "\r\n"), ALL, &[]),
        (format!("{}---\nservice:\n  flush: 1\n", yaml("")), ALL, &[]),
        (format!("{including}{variables}"), OTHER, &[]),
        (format!("{variables}{list}"), OTHER, &["DIR/fluent-bit.yaml:9: env is a list, which Fluent Bit 5.0.3 and later take: earlier releases refuse to start"]),
        (yaml("namespace: default,other").replace("name:", "Name:"), BOTH, &["Fluent Bit 3.2 and 4.0 know name in lower case only, and refuse to start"]),
        (yaml("routes:\n  logs: [{to: {outputs: [o]}}]"), ALL, &["routes is known to Fluent Bit 4.2 and later: 3.2 refuses to start"]),
        (yaml("service: null"), ALL, &["service is the text null, since Fluent Bit knows no null: leave the line out"]),
        (yaml("service: !app"), ALL, &["service begins with '!', which YAML takes for a tag and not for the value: put quotes around it"]),
        (format!("{unlike}{}", yaml("")), ALL, &[
            "DIR/fluent-bit.yaml:2: plugins names libkubeletstats.so: Fluent Bit reads the kind of plugin from the file's name, which has to be flb-in_kubeletstats.so",
            "DIR/fluent-bit.yaml:3: no file matches DIR/none-*.yaml: nothing is included",
        ]),
    ];
    for (text, options, warnings) in rows {
        let run = check_file(&kubelet, "fluent-bit.yaml", &text, &[]);
        let out = masked(&run.out, &kubelet);
        let first = format!(
            "ok    options  scraping https://127.0.0.1:PORT/stats/summary {options}\n               \
             from: DIR/fluent-bit.yaml\n"
        );
        assert!(out.starts_with(&first), "{text}: {}{}", run.err, run.out);
        let warned = out
            .lines()
            .filter_map(|line| line.strip_prefix("warn  options  "));
        assert_eq!(warned.collect::<Vec<_>>(), warnings, "{text}");
        assert_eq!(run.code, Some(0), "{text}: {}", run.out);
    }
}

/// Each of these, 5.1.1 was seen not to start with, but for those that have no such input.
#[test]
fn yaml_that_cannot_be_used() {
    let kubelet = SimKubelet::builder().started();
    write(&kubelet, "twice.yml", "service:\n  flush: 1\n");
    write(&kubelet, "loop.yaml", "includes:\n  - fluent-bit.yaml\n");
    write(
        &kubelet,
        "broken.yaml",
        "pipeline:\n  inputs:\n    - name: [\n",
    );
    write(&kubelet, "classic.conf", "[INPUT]\n    Name kubeletstats\n");
    write(
        &kubelet,
        "key.pem",
        "-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: hunter2\n\nhunter2\n",
    );
    const NO_YAML: &str = "look at the blanks before it, and put quotes around a value that holds ': ' or begins with one of * & ! % @ { [";
    const NO_MAP: &str = "no map of sections, as service: and pipeline: are: this is no YAML configuration of Fluent Bit";
    const INPUTS: &str =
        "inputs is a list of maps, each with its name: write - name: PLUGIN under it";
    const INCLUDES: &str = "'includes' is a list of files: write - FILE under it";
    const ALIAS: &str = "an alias (*NAME), which Fluent Bit refuses: write out what it stands for";
    const CONTROL: &str =
        "a control character: write it as an escape in double quotes, or leave it out";
    const NONE: &str = "DIR/fluent-bit.yaml has no input with name: kubeletstats: name another file with -c, or give options with -p";
    let not_yaml = |why: &str| format!("not YAML: {why}: {NO_YAML}");
    // From the file's name on; `N:` is a line of it.
    #[rustfmt::skip]
    let rows: Vec<(String, String)> = vec![
        (String::new(), NONE.into()),
        ("pipeline:\n  inputs: []\n".into(), NONE.into()),
        ("pipeline:\n  inputs:\n    - name: dummy\n".into(), NONE.into()),
        ("- a\n".into(), format!("1: {NO_MAP}")),
        (yaml("namespace: [a"), format!("7: {}", not_yaml("while parsing a flow sequence, expected ',' or ']'"))),
        ("service:\n  flush: 1\n grace: 2\n".into(), format!("3: {}", not_yaml("while parsing a block mapping, did not find expected key"))),
        (yaml("namespace: a: b"), format!("6: {}", not_yaml("mapping values are not allowed in this context"))),
        (yaml("namespace: @a"), format!("6: {}", not_yaml("a character that means nothing here"))),
        (yaml("namespace: a\u{1}"), format!("6: {CONTROL}")),
        (yaml("namespace: &a default\npod_prefix: *a"), format!("7: {ALIAS}")),
        (yaml("namespace: [[a]]"), "6: namespace holds a list or a map in a list: Fluent Bit takes text only".into()),
        (yaml("namespace:\n  a: [b]"), "7: namespace holds a list or a map under 'a': Fluent Bit takes text only".into()),
        (yaml("[namespace]: a"), "6: a list or a map where the name of a value belongs: write NAME: VALUE".into()),
        (yaml("processors:\n  log: []"), "7: processors holds 'log', which Fluent Bit does not know: expected logs, metrics or traces".into()),
        ("pipeline:\n  inputs:\n    name: kubeletstats\n".into(), format!("3: {INPUTS}")),
        ("pipeline:\n  inputs:\n    - kubeletstats\n".into(), format!("3: {INPUTS}")),
        ("pipeline:\n  inputs:\n    - kubeletstats:\n        tag: a\n".into(), "3: one of inputs has no name: write - name: PLUGIN".into()),
        ("pipeline:\n  input: []\n".into(), "2: pipeline holds 'input', which Fluent Bit does not know: expected inputs, filters or outputs".into()),
        ("service:\n".into(), "1: section 'service' is no map: write NAME: VALUE under it, or leave it out".into()),
        ("service:\n  a: [b]\n".into(), "2: section service holds a list or a map under 'a': Fluent Bit takes text only".into()),
        ("plugins: a.so\n".into(), "1: 'plugins' is a list of files: write - FILE under it".into()),
        ("includes: loop.yaml\n".into(), format!("1: {INCLUDES}")),
        ("includes:\n  - loop.yaml\n".into(), "2: DIR/loop.yaml:2: DIR/fluent-bit.yaml is included twice".into()),
        ("includes:\n  - twice.yml\nservice:\n  grace: 1\n".into(), "3: a second section service, which Fluent Bit refuses: make one of them".into()),
        ("includes:\n  - broken.yaml\n".into(), format!("2: DIR/broken.yaml:4: {}", not_yaml("while parsing a node, did not find expected node content"))),
        ("includes:\n  - classic.conf\n".into(), format!("2: DIR/classic.conf:1: {NO_MAP}")),
        ("includes:\n  - no.yaml\n".into(), "2: cannot read DIR/no.yaml: No such file or directory (os error 2)".into()),
        ("includes:\n  - ${A}.yaml\n".into(), "2: cannot read DIR/${A}.yaml: No such file or directory (os error 2): variables are not replaced in includes".into()),
        ("includes:\n  - key.pem\n".into(), format!("2: DIR/key.pem:1: {NO_MAP}")),
        (format!("env:\n  WHERE: file:///etc/hostname\n{}", yaml("namespace: ${WHERE}")), "namespace comes from a file by the variable WHERE, which is not read here: give the option as -p namespace=VALUE".into()),
    ];
    for (text, why) in rows {
        let run = check_file(&kubelet, "fluent-bit.yaml", &text, &[]);
        let why = match why.strip_prefix("DIR/") {
            Some(_) => why,
            None if why.starts_with(|c: char| c.is_ascii_digit()) => {
                format!("DIR/fluent-bit.yaml:{why}")
            }
            None => format!("DIR/fluent-bit.yaml: {why}"),
        };
        let said = masked(&run.err, &kubelet);
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(said, format!("kubeletstats: {why}\n"), "{text}");
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{text}");
    }
    #[rustfmt::skip]
    let rows = [
        ("namespace: [default, other]", "DIR/fluent-bit.yaml:6: namespace is a list of 2, of which Fluent Bit makes 2 options of one name, and does not start: write one text, with commas between items"),
        ("namespace: []", "DIR/fluent-bit.yaml:6: namespace is an empty list, with which Fluent Bit 4.1 and later do not start: leave the line out"),
        ("namespace: {a: b}", "DIR/fluent-bit.yaml:6: namespace is a map, with which Fluent Bit 4.1 and later do not start, and 3.2 and earlier start without it: write one text"),
        ("namespace: other\nNamespace: default", "configuration property 'namespace' is set 2 times: write one, with commas between items"),
        ("processors: [a]", "unknown configuration property 'processors': kubeletstats --help lists them"),
        ("interval: ~", "option interval: bad value '~': expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h"),
    ];
    for (lines, why) in rows {
        let run = check_file(&kubelet, "fluent-bit.yaml", &yaml(lines), &[]);
        let first = masked(&run.out, &kubelet);
        let first = first.lines().next().unwrap_or_default();
        assert_eq!(first, format!("FAIL  options  {why}"), "{lines}");
        assert_eq!((run.code, run.err.as_str()), (Some(2), ""), "{lines}");
    }
    // An option on the command line takes the place of what is wrong in the file.
    let text = yaml("namespace: {a: b}");
    let run = check_file(
        &kubelet,
        "fluent-bit.yaml",
        &text,
        &["-p", "namespace=other"],
    );
    assert_eq!(run.code, Some(0), "{}", run.out);
}

/// `HOSTNAME` is set by every release itself; a default is known to the later ones only.
#[test]
fn variables_are_as_fluent_bit_has_them() {
    let kubelet = SimKubelet::builder().started();
    // The end of a line may be of either kind.
    let input = |line: &str| input(&format!("{line}\r"));
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    let run = check(
        &kubelet,
        &input("Service ${HOSTNAME}"),
        &["-p", "namespace=default"],
    );
    assert_eq!(run.code, Some(0), "{}", run.out);
    assert!(
        !run.out.contains("has a variable with a default"),
        "{}",
        run.out
    );
    let once = write(&kubelet, "once.conf", &input("Service ${HOSTNAME}"));
    let (url, ca) = (kubelet.url(), path(&kubelet.ca_file()));
    let environment = [("TEST_URL", url.as_str()), ("TEST_CA", &ca)];
    let run = run_once(&once, &environment);
    let service = format!(r#""service":"{}""#, host.trim());
    assert!(run.out.contains(&service), "{}", run.out);

    let run = check(
        &kubelet,
        &input("Namespace ${NO_SUCH_VARIABLE:-default}"),
        &[],
    );
    let warning = "warn  options  Namespace has a variable with a default: Fluent Bit 4.2 and later know that, earlier releases take it for not set\n";
    assert!(run.out.contains(warning), "{}", run.out);
    assert_eq!(run.code, Some(0));
}

/// Of Fluent Bit's own properties: those it does nothing with here, and those with which
/// 5.1.1 was seen not to start.
#[test]
fn properties_that_are_fluent_bits_own() {
    let kubelet = SimKubelet::builder().started();
    for row in [
        "TLS.CA_File /ca.crt: set kube_ca_file",
        "tls.verify off: set kube_ca_file and server_name, or at worst allow_insecure_tls",
        "tls.crt_file /c: set cert_file",
        "tls.vhost node-7: set server_name",
        "tls off: leave it out: kubelet_url says https",
        "Host 10.0.0.7: set kubelet_url",
        "Port 10250: set kubelet_url",
    ] {
        let (line, instead) = row.split_once(": ").expect(row);
        let name = line.split(' ').next().unwrap_or_default();
        let name = printable(name, 80);
        let instead = format!("{name} has no effect on this input: {instead}");
        let run = check(&kubelet, &input(line), &[]);
        let warning = format!("\nwarn  options  {instead}\n");
        assert!(run.out.contains(&warning), "{line}: {}", run.out);
        assert!(
            run.out.ends_with("(but see 2 warnings above)\n"),
            "{}",
            run.out
        );
        assert_eq!(run.code, Some(0), "{line}");
    }
    for line in [
        "log_level Warning",
        "storage.type memrb",
        "threaded off",
        "mem_buf_limit 5mb",
        "mem_buf_limit false",
        "routable yes",
        "storage.type ${TEST_EMPTY}",
    ] {
        let run = check(&kubelet, &input(line), &[]);
        assert!(!run.out.contains("warn  options"), "{line}: {}", run.out);
        assert_eq!(run.code, Some(0), "{line}");
    }
    for row in [
        "tls on: is for Fluent Bit's own connections",
        "net.connect_timeout 1s: is for Fluent Bit's own connections",
        "net.\u{1b}[31mred\u{202e} 1s: is for Fluent Bit's own connections",
        "log_level loud: is Fluent Bit's own, which expects off, error, warn, warning, info, debug, trace",
        "storage.type disk: is Fluent Bit's own, which expects filesystem, memory, memrb",
        "threaded 1: is Fluent Bit's own, which expects on or off",
        "mem_buf_limit 5 megabytes: is Fluent Bit's own, which expects a size such as 5M",
        "tls.nosuch x: ",
    ] {
        let (line, why) = row.split_once(": ").expect(row);
        let name = line.split(' ').next().unwrap_or_default();
        let name = printable(name, 80);
        let why = match why {
            "" => format!("unknown configuration property '{name}'"),
            why => format!("{name} {why}"),
        };
        let text = input(line);
        let run = check(&kubelet, &text, &[]);
        assert!(
            run.out.starts_with(&format!("FAIL  options  {why}")),
            "{}",
            run.out
        );
        assert_eq!(run.code, Some(2), "{line}");
        let file = write(&kubelet, "once.conf", &text);
        assert_eq!(run_once(&file, &[]).code, Some(2), "{line}");
    }
}

/// Neither command shows what may be a password.
#[test]
fn a_password_in_the_url_is_masked() {
    #[rustfmt::skip]
    let rows = [
        ("https://user:hunter2@node:10250", "'https://***@node:10250'"),
        ("https://hunter2@node:10250", "'https://***@node:10250'"),
        ("user:hunter2@node", "'***@node'"),
        ("https://node/?access_token=hunter2", "'https://node/?***'"),
    ];
    for (url, shown) in rows {
        for command in ["check", "once"] {
            let named = run(&[command, "-p", &format!("kubelet_url={url}")], &[]);
            let bare = run(&[command, "-p", url.split('=').next().unwrap_or(url)], &[]);
            let text = format!("{}{}", named.out, named.err);
            assert!(
                text.contains(&format!("option kubelet_url: bad value {shown}: expected")),
                "{text}"
            );
            assert_eq!((named.code, bare.code), (Some(2), Some(2)));
            for text in [text, bare.out, bare.err] {
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
    }
}

#[test]
fn arguments_that_cannot_be_used() {
    for (arguments, why) in [
        ("", "expected check or once: see kubeletstats --help"),
        ("chek", "chek: expected check or once"),
        ("check -p interval", "-p interval: expected OPTION=VALUE"),
        ("check -p", "missing argument for option '-p'"),
        ("check --verbose", "invalid option '--verbose'"),
        ("check once", "unexpected argument \"once\""),
        ("check -o json", "--output is of once only"),
        ("once --output xml", "--output xml: expected table or json"),
    ] {
        let words: Vec<_> = arguments.split_whitespace().collect();
        let run = run(&words, &[]);
        assert_eq!(run.err, format!("kubeletstats: {why}\n"), "{arguments}");
        assert_eq!((run.code, run.out.as_str()), (Some(2), ""), "{arguments}");
    }
    let run = run(&["check", "-c", "/no/such.conf"], &[]);
    assert_eq!(
        run.err,
        "kubeletstats: cannot read /no/such.conf: No such file or directory (os error 2)\n"
    );
    assert_eq!(run.code, Some(2));
}

/// What is no configuration is neither waited for nor read to its end.
#[test]
fn files_that_no_configuration_is_in() {
    let kubelet = SimKubelet::builder().started();
    let pipe = kubelet.dir().join("pipe.conf");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "no mkfifo");
    let large = kubelet.dir().join("large.conf");
    let file = File::create(&large).expect("a file");
    file.set_len((4 << 20) + 1).expect("a file with a hole");
    let zero = PathBuf::from("/dev/zero");
    let cases = [
        (&pipe, "it is not a regular file"),
        (&zero, "it is not a regular file"),
        (&large, "it is larger than 4 MiB"),
    ];
    for (file, why) in cases {
        let why = format!("cannot read {}: {why}", file.display());
        let alone = run(&["check", "-c", &path(file)], &[]);
        assert_eq!(alone.err, format!("kubeletstats: {why}\n"));
        assert_eq!(alone.code, Some(2));
        let includes = format!("@INCLUDE {}\n", file.display());
        let included = check(&kubelet, &includes, &[]);
        let includes = kubelet.dir().join("fluent-bit.conf");
        let expected = format!("kubeletstats: {}:1: {why}\n", includes.display());
        assert_eq!((included.code, included.err), (Some(2), expected));
    }
    // As long as a file may be.
    let mut text = input("Interval 3s");
    text.push_str(&"#\n".repeat(((4 << 20) - text.len()) / 2));
    assert_eq!(check(&kubelet, &text, &[]).code, Some(0));
}

#[test]
fn help_and_version() {
    let help = run(&["--help"], &[]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    for option in kubeletstats_core::options::OPTIONS {
        assert!(
            help.out.contains(&format!("\n  {}", option.name)),
            "{}",
            option.name
        );
    }
    let version = run(&["-V"], &[]);
    assert_eq!(
        version.out,
        concat!("kubeletstats ", env!("CARGO_PKG_VERSION"), "\n")
    );
    assert_eq!((version.code, version.err.as_str()), (Some(0), ""));
}
