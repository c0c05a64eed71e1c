//! Arguments and `-c`: which inputs are found, and with which options.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
};

use kubeletstats_core::text::printable;
use sim_kubelet::SimKubelet;

use crate::command::{Run, path, run, write};

fn check(kubelet: &SimKubelet, text: &str, more: &[&str]) -> Run {
    let file = write(kubelet, "fluent-bit.conf", text);
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
fn the_shipped_configuration_is_read() {
    let kubelet = SimKubelet::builder().started();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../fluent-bit.conf");
    let (url, ca) = (kubelet.url(), path(&kubelet.ca_file()));
    let environment = [
        ("KUBELET_URL", url.as_str()),
        ("KUBELET_CA_FILE", &ca),
        ("TARGET_NAMESPACE", "other"),
        ("KUBELET_TIMEOUT_MS", "2500"),
        ("NODE_NAME", "node-9"),
    ];
    let run = run(&["once", "-c", shipped, "--output", "json"], &environment);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
    assert_eq!(run.out.lines().count(), 2);
    assert!(
        run.out
            .lines()
            .all(|line| line.contains(r#""nodeName":"node-9""#)),
        "{}",
        run.out
    );
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
        (
            "check -c fluent-bit.yaml",
            "fluent-bit.yaml: it may be right for Fluent Bit, but check reads the classic format only: give the input's options here, as -p kubelet_url=https://NODE:10250 -p namespace=default,shop",
        ),
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
