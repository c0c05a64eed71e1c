//! Tests of the process guard, with shells.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use testkit::{Child, Stream, wait};

const SOON: Duration = Duration::from_secs(10);
const BRIEFLY: Duration = Duration::from_millis(200);

fn shell(script: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Child::spawn(command).unwrap()
}

/// Whether a process with this id exists and is not a zombie.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn a_line_that_does_not_come_is_reported_with_the_output() {
    let child = up("echo up; exec sleep 60");
    let error = child
        .wait_for_line(Stream::Any, |line| line == "ready", BRIEFLY)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "waited 0.2 s in vain for a line of sh\nit printed:\n  out | up"
    );
}

#[test]
fn a_process_that_ends_early_is_not_waited_for() {
    let begun = Instant::now();
    let child = shell("echo 'no such option' >&2; exit 3");
    let error = child
        .wait_for_line(Stream::Stdout, |line| line == "ready", SOON)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sh closed its output without the line\nit printed:\n  err | no such option"
    );
    assert!(begun.elapsed() < SOON);
}

fn up(script: &str) -> Child {
    let child = shell(script);
    let up = child.wait_for_line(Stream::Stdout, |line| line == "up", SOON);
    up.map(|_| child).unwrap()
}

#[test]
fn an_earlier_line_does_not_answer_for_a_later_one() {
    let child = up("echo up; trap 'echo ready' USR1; while :; do sleep 0.01; done");
    let seen = child.line_count();
    let again = |deadline| child.wait_for_line_from(seen, Stream::Stdout, |_| true, deadline);
    assert!(again(BRIEFLY).is_err());
    // This is not SIGHUP, because a shell under nohup cannot trap that.
    child.signal(libc::SIGUSR1);
    assert_eq!(again(SOON).unwrap(), "ready");
}

#[test]
fn terminate_lets_a_process_end_by_itself() {
    let mut child = up("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done");
    let ended = child.terminate(SOON);
    assert_eq!(ended.status.code(), Some(7));
    assert!(!ended.killed);
    assert_eq!(child.lines(Stream::Stdout), ["up", "bye"]);
    assert_eq!(child.terminate(SOON).status.code(), Some(7));
}

#[test]
fn terminate_kills_at_the_deadline_and_says_so() {
    let mut child = up("trap '' TERM; echo up; while :; do sleep 0.01; done");
    let ended = child.terminate(BRIEFLY);
    assert!(ended.killed);
    assert!(ended.took >= BRIEFLY);
    assert_eq!(ended.status.code(), None);
    assert_eq!(child.exit_status(), Some(ended.status));
}

#[test]
fn dropping_the_guard_ends_the_whole_group() {
    let child = shell("sleep 60 & echo $!; wait");
    let grandchild = child.wait_for_line(Stream::Stdout, |_| true, SOON).unwrap();
    let pid = child.pid().to_string();
    assert!(runs(&pid) && runs(&grandchild));
    drop(child);
    wait::until("both to be gone", SOON, || {
        !runs(&pid) && !runs(&grandchild)
    })
    .unwrap();
}

#[test]
fn a_guard_outlives_the_thread_that_made_it() {
    let made = std::thread::spawn(|| up("echo up; exec sleep 60"));
    let mut child = made.join().unwrap();
    assert!(child.wait_for_exit(BRIEFLY).is_err());
}
