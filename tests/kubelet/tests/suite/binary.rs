//! The binary: what it prints, what it writes, how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::client::PATIENCE;

/// A child that is killed if a test leaves it running.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        // Both fail for a child that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn binary(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sim-kubelet"));
    command.args(arguments);
    command
}

fn ended(child: &mut Child) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("a status") {
            return status.success();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    false
}

fn start(arguments: &[&str]) -> (Guard, Vec<String>) {
    let mut child = binary(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let out = child.stdout.take().expect("its output");
    let child = Guard(child);
    let lines = BufReader::new(out)
        .lines()
        .take(5)
        .map(|line| line.expect("a line"));
    (child, lines.collect())
}

#[test]
fn it_names_its_files_and_ends_with_stdin() {
    let (mut child, lines) = start(&[
        "--listen",
        "127.0.0.1:0",
        "--exit-on-stdin-eof",
        "--pods",
        "3",
    ]);
    assert!(
        lines[0].starts_with("listening on https://127.0.0.1:"),
        "{}",
        lines[0]
    );
    let ca = lines[1].strip_prefix("ca file ").expect("a CA file");
    let token = lines[2].strip_prefix("token file ").expect("a token file");
    assert!(
        std::fs::read_to_string(ca)
            .expect("a CA")
            .contains("BEGIN CERTIFICATE")
    );
    assert_eq!(std::fs::read_to_string(token).expect("a token").len(), 32);
    drop(child.0.stdin.take());
    assert!(ended(&mut child.0));
    assert!(!std::path::Path::new(ca).exists());
}

#[test]
fn it_ends_with_a_signal() {
    let (mut child, lines) = start(&[
        "--listen=127.0.0.1:0",
        "--plain-http",
        "--fault=hang-in-body",
    ]);
    assert!(
        lines[0].starts_with("listening on http://127.0.0.1:"),
        "{}",
        lines[0]
    );
    // SAFETY: a signal to a child of ours that has not been waited for.
    let sent = unsafe { libc::kill(child.0.id() as libc::pid_t, libc::SIGTERM) };
    assert_eq!(sent, 0);
    assert!(ended(&mut child.0));
}

#[test]
fn help_and_mistakes() {
    let help = binary(&["--help"]).output().expect("help");
    let text = String::from_utf8(help.stdout).expect("text");
    assert!(text.contains("--sample-period") && text.contains("hang-after-accept"));
    let mistakes: [&[&str]; 5] = [
        &["--pods", "many"],
        &["--nonsense"],
        &["--burn", "default/pod"],
        &["--sample-period", "0s"],
        &["--fault", "none-such"],
    ];
    for arguments in mistakes {
        let refused = binary(arguments).output().expect("a refusal");
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(!refused.stderr.is_empty());
    }
}
