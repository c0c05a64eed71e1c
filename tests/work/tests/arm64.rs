//! The same replies on aarch64 as here: every captured one to the same records, byte for byte.
//! `make arm64` builds what runs there, under an emulator.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

const EMULATOR: &str = "qemu-aarch64-static";
/// Where Debian's `libc6-arm64-cross` has the libraries.
const LIBRARIES: &str = "/usr/aarch64-linux-gnu";

fn not_run(why: &str) {
    let _ = writeln!(std::io::stderr(), "NOT RUN: arm64: {why}");
    assert!(env::var_os("ARM64_REQUIRE").is_none(), "{why}");
}

fn built(below: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    target.join(below).join("release/scrape-work")
}

/// What it makes of the reply, twice, so that there are rates.
fn made(mut command: Command, reply: &Path, out: &str, options: &[&str]) -> Vec<u8> {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(out);
    let pods = reply
        .to_string_lossy()
        .replace(".summary.json", ".pods.json");
    let pods = match Path::new(&pods).exists() {
        true => PathBuf::from(pods),
        false => reply.to_owned(),
    };
    command
        .arg("2")
        .arg(pods)
        .arg(reply)
        .arg("--")
        .args(options);
    let run = command.env("SCRAPE_WORK_OUT", &out).output();
    let run = run.expect("a program that runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{}: {said}", reply.display());
    fs::read(out).expect("what it made")
}

#[test]
fn every_captured_reply_becomes_the_same() {
    let (here, there) = (built(""), built("aarch64-unknown-linux-gnu"));
    if !here.exists() || !there.exists() {
        return not_run("scrape-work is not built for both (make arm64)");
    }
    if Command::new(EMULATOR).arg("--version").output().is_err() {
        return not_run("there is no qemu-aarch64-static (Debian package qemu-user-static)");
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let replies = fs::read_dir(fixtures).expect("the fixtures");
    let replies = replies.map(|entry| entry.expect("an entry").path());
    let is_reply = |path: &PathBuf| path.to_string_lossy().ends_with(".summary.json");
    let replies: Vec<_> = replies.filter(is_reply).collect();
    let (mut compared, mut bytes) = (0, 0);
    for reply in &replies {
        for options in [
            &[][..],
            &["metric_groups=all", "fields=all", "repeat_samples=on"],
            &["pod_prefix=log-generator"],
            &[
                "format=metrics",
                "metric_groups=all",
                "fields=all",
                "metric_names=opentelemetry",
            ],
        ] {
            let native = made(Command::new(&here), reply, "here", options);
            let mut emulated = Command::new(EMULATOR);
            emulated.args(["-L", LIBRARIES]).arg(&there);
            let other = made(emulated, reply, "there", options);
            // The duration of a scrape is among its metrics.
            let is_same = match options.first() {
                Some(&"format=metrics") => native.len() == other.len(),
                _ => native == other,
            };
            assert!(is_same, "{} {options:?}", reply.display());
            (compared, bytes) = (compared + 1, bytes + native.len());
        }
    }
    println!("{compared} times the same, {bytes} bytes");
    assert!(compared >= 80 && bytes > 1 << 20, "{compared} {bytes}");
}
