//! How many instructions a scrape takes once the replies are there, beside the numbers in
//! `instructions.txt`: what has become slower by more than 3 % fails, whatever the machine does
//! meanwhile. `make instructions-baseline` writes the numbers anew.
//!
//! They hold for one compiler and one kind of processor, which the file names. With others
//! they are printed and not compared.

use std::{
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sim_kubelet::{Offline, captured};

type Options = &'static [&'static str];

/// Which replies, and what is made of them.
const WORK: [(&str, Replies, Options); 8] = [
    (
        "two of 110 pods",
        Replies::Usual,
        &["pod_prefix=log-generator"],
    ),
    ("all of 110 pods", Replies::Usual, &[]),
    (
        "all groups and fields",
        Replies::Full,
        &["metric_groups=all", "fields=all"],
    ),
    (
        "with facts",
        Replies::Full,
        &["pod_facts=on", "pod_labels=*"],
    ),
    ("metrics", Replies::Full, &["format=metrics"]),
    (
        "metrics, all groups and fields",
        Replies::Full,
        &["format=metrics", "metric_groups=all", "fields=all"],
    ),
    (
        "the same in opentelemetry's names",
        Replies::Full,
        &[
            "format=metrics",
            "metric_names=opentelemetry",
            "metric_groups=all",
            "fields=all",
        ],
    ),
    (
        "metrics with kube_state_metrics",
        Replies::Full,
        &["format=metrics", "pod_facts=on", "kube_state_metrics=on"],
    ),
];

#[derive(Clone, Copy)]
enum Replies {
    /// As captured.
    Usual,
    /// Of a node that writes all that a kubelet has.
    Full,
}

/// Of a hundred.
const MORE_ALLOWED: f64 = 3.0;

/// The first scrapes bring memory to its size.
const WARM: usize = 8;
const COUNTED: usize = 8;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn program() -> PathBuf {
    folder().join("../../target/release/scrape-work")
}

/// Past the test harness.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn not_run(why: &str) {
    say(&format!("NOT RUN: instructions: {why}"));
    assert!(env::var_os("KUBELETSTATS_REQUIRE").is_none(), "{why}");
}

/// The compiler, and which vectors the processor has: other code runs where they are others.
fn kind() -> String {
    let rustc = Command::new("rustc").arg("--version").output();
    let rustc = rustc.expect("a compiler").stdout;
    let version = String::from_utf8_lossy(&rustc);
    let version = version.split(' ').nth(1).unwrap_or_default();
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "sse2"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "its";
    format!(
        "rust {version}, {} with {vectors} vectors",
        env::consts::ARCH
    )
}

/// Eight replies and a list of pods, as files.
fn written(name: &str, bodies: &[Vec<u8>], pods: &[u8]) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    let write = |(at, body): (usize, &Vec<u8>)| {
        let path = folder.join(format!("{at}.json"));
        fs::write(&path, body).expect("a file");
        path
    };
    let all = std::iter::once(pods.to_vec()).chain(bodies.iter().cloned());
    let all: Vec<_> = all.collect();
    all.iter().enumerate().map(write).collect()
}

fn usual() -> Vec<PathBuf> {
    let bodies: Vec<_> = (0..8)
        .map(|sample| captured::of_node(110, sample))
        .collect();
    written("usual", &bodies, b"{}")
}

fn full() -> Vec<PathBuf> {
    let second = |number: u64| 1_800_000_000_000 + number * 1_000;
    let mut node = Offline::full(110, Duration::from_secs(15), second(0));
    let bodies: Vec<_> = (4..12)
        .map(|sample| node.reply(second(sample * 21)))
        .collect();
    written("full", &bodies, &node.pods_reply())
}

/// Of the whole program.
fn instructions(scrapes: usize, files: &[PathBuf], options: Options) -> u64 {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("callgrind.{scrapes}"));
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--error-exitcode=9"]);
    command.arg(format!("--callgrind-out-file={}", out.display()));
    command.arg(program()).arg(scrapes.to_string()).args(files);
    // So that glibc copies with vectors: `rep movsb` is counted once for each byte.
    command.env(
        "GLIBC_TUNABLES",
        "glibc.cpu.x86_rep_movsb_threshold=1000000000",
    );
    let run = command.arg("--").args(options).output().expect("valgrind");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{said}");
    let counted = fs::read_to_string(out).expect("what callgrind wrote");
    let summary = counted
        .lines()
        .find_map(|line| line.strip_prefix("summary: "));
    let count = summary.and_then(|summary| summary.trim().parse().ok());
    count.expect("a count of instructions")
}

fn of_a_scrape(files: &[PathBuf], options: Options) -> u64 {
    let warm = instructions(WARM, files, options);
    let all = instructions(WARM + COUNTED, files, options);
    (all - warm) / COUNTED as u64
}

const HEAD: &str = "# Instructions that one scrape takes once the replies are there, as callgrind counts them.\n\
                    # Written by `make instructions-baseline`.\n";

/// The kind they hold for, and the numbers.
fn baseline(text: &str) -> (String, BTreeMap<String, u64>) {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let kind = lines.next().unwrap_or_default().to_owned();
    let numbers = lines.filter_map(|line| {
        let (name, count) = line.split_once(": ")?;
        Some((name.to_owned(), count.parse().ok()?))
    });
    (kind, numbers.collect())
}

#[test]
fn a_scrape_takes_no_more_instructions() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return not_run("there is no valgrind");
    }
    if !program().exists() {
        return not_run("there is no target/release/scrape-work (make build)");
    }
    let path = folder().join("instructions.txt");
    let (known, before) = baseline(&fs::read_to_string(&path).unwrap_or_default());
    let kind = kind();
    let (usual, full) = (usual(), full());
    let mut slower = Vec::new();
    let mut written = format!("{HEAD}{kind}\n");
    say(&format!(
        "instructions of a scrape, {kind}; before: {known}"
    ));
    for (name, replies, options) in WORK {
        let files = match replies {
            Replies::Usual => &usual,
            Replies::Full => &full,
        };
        let count = of_a_scrape(files, options);
        written.push_str(&format!("{name}: {count}\n"));
        let more = before.get(name).map(|before| {
            let before = *before as f64;
            (count as f64 - before) / before * 100.0
        });
        let shown = more.map_or("new".to_owned(), |more| format!("{more:+.1} %"));
        let line = format!("{name:<40} {count:>12} {shown:>9}");
        say(&line);
        if more.is_none_or(|more| more > MORE_ALLOWED) {
            slower.push(line);
        }
    }
    if env::var_os("INSTRUCTIONS").is_some_and(|value| value == "rewrite") {
        fs::write(&path, written).expect("a file");
    } else if known == kind {
        assert!(
            slower.is_empty(),
            "more than {MORE_ALLOWED} % slower; if it is meant so, make instructions-baseline: {slower:#?}"
        );
    } else {
        say("NOT COMPARED: the numbers are of another compiler or processor");
    }
}
