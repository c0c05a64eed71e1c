//! Whatever comes from outside: no panic, nothing that drives a terminal, and
//! never the token.

use std::{
    env, fs,
    io::{self, PipeReader, PipeWriter, Read, Write},
    net::TcpListener,
    os::fd::AsRawFd,
    process::Command,
    sync::LazyLock,
    thread,
    time::Duration,
};

use proptest::{prelude::*, sample::select};
use sim_kubelet::{Fault, SimKubelet};
use testkit::held::Held;

use crate::{
    command::{after, kubelet, mask, path, run, run_with},
    secrets::{self, OPTIONS, leak},
};

#[test]
fn every_fault_has_a_verdict() {
    let options = [("timeout", "300ms"), ("pod_prefix", "log-")];
    for fault in Fault::all() {
        let kubelet = SimKubelet::builder().fault(fault.clone()).started();
        for command in ["check", "once"] {
            let run = run_with(&kubelet, command, &options);
            let shown = format!("{fault}: {}{}", run.out, run.err);
            assert!(matches!(run.code, Some(0 | 1)), "{:?} {shown}", run.code);
            assert!(!shown.contains("panicked"), "{shown}");
            if command == "check" {
                let verdict = match run.code {
                    Some(0) => "\nverdict: metrics arrive",
                    _ => "\nverdict: no metrics: ",
                };
                assert!(run.out.contains(verdict), "{shown}");
            }
        }
    }
}

/// Names from outside reach the terminal without their control characters.
#[test]
fn hostile_names_stay_on_their_line() {
    let kubelet = SimKubelet::builder().fault(Fault::HostilePodName).started();
    for command in ["check", "once"] {
        let run = run_with(&kubelet, command, &[]);
        let shown = format!("{}{}", run.out, run.err);
        assert!(
            !shown.chars().any(|c| c.is_control() && c != '\n'),
            "{shown:?}"
        );
        assert_eq!(run.code, Some(0), "{shown}");
    }
}

#[test]
fn a_server_that_says_nothing_of_http() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        std::io::Write::write_all(&mut stream, b"220 mail ready\x1b[31m\r\n\r\n").expect("sent");
    });
    let url = format!("kubelet_url={url}");
    let run = run(&["check", "-p", &url, "-p", "timeout=20s"], &[]);
    server.join().expect("no panic");
    assert_eq!(run.code, Some(1));
    let said = mask(after(&run.out, "FAIL"));
    assert!(
        said.contains("is not valid http") || said.contains("connection"),
        "{said}"
    );
    assert!(!said.contains('\u{1b}'));
}

static KUBELET: LazyLock<SimKubelet> =
    LazyLock::new(|| SimKubelet::builder().client_auth_ca(true).started());

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) })]

    /// Whatever has happened to a file, with the good ones for the other options.
    #[test]
    fn no_byte_of_a_credential_file_is_shown(
        option in select(&OPTIONS[..]),
        content in secrets::mangled(),
    ) {
        let file = KUBELET.dir().join(format!("mangled-{option}"));
        fs::write(&file, &content).expect("a file");
        let files = [path(&file), path(&KUBELET.client_cert_file()), path(&KUBELET.client_key_file())];
        let mut options = vec![(option, files[0].as_str())];
        for (other, good) in [("cert_file", &files[1]), ("key_file", &files[2])] {
            if other != option {
                options.push((other, good));
            }
        }
        for command in ["check", "once"] {
            let run = run_with(&KUBELET, command, &options);
            prop_assert!(matches!(run.code, Some(0..=2)), "{:?}", run.code);
            prop_assert_eq!(leak(&content, &run.out), None);
            prop_assert_eq!(leak(&content, &run.err), None);
        }
    }
}

#[test]
fn a_configuration_that_hangs_does_not_hang_the_command() {
    let kubelet = SimKubelet::builder().started();
    let file = kubelet.dir().join("fluent-bit.conf");
    fs::write(&file, "[INPUT]\n    Name kubeletstats\n").expect("a file");
    let Some(_held) = Held::or_not_run(&file) else {
        return;
    };
    let run = run(&["check", "-c", &path(&file)], &[]);
    let said = format!(
        "kubeletstats: timed out after 5s reading {}, or what it includes: its file system \
         does not answer: check its mount\n",
        file.display()
    );
    assert_eq!((run.code, run.err), (Some(2), said));
}

/// Files on a mount that has gone, and pipes that nobody writes to.
#[test]
fn a_file_that_hangs_does_not_hang_the_command() {
    let kubelet = kubelet();
    let pipe = kubelet.dir().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "no mkfifo");
    let pipe = pipe.to_str().expect("utf-8");
    for option in ["kube_token_file", "kube_ca_file"] {
        let run = run_with(&kubelet, "check", &[(option, pipe)]);
        let said = format!("cannot use {option} {pipe}: it is a named pipe");
        assert!(
            run.code != Some(0) && run.out.contains(&said),
            "{}",
            run.out
        );
    }
    let token = kubelet.token_file();
    let Some(_held) = Held::or_not_run(&token) else {
        return;
    };
    for command in ["check", "once"] {
        let run = run_with(&kubelet, command, &[("timeout", "100ms")]);
        let said = format!(
            "timed out after 5.1s reading kube_token_file {}, ",
            token.display()
        );
        assert_eq!(run.code, Some(1), "{}", run.err);
        assert!(run.err.contains(&said), "{}", run.err);
    }
}

/// With `allow_insecure_tls` there are two, each with a timeout of its own. Together they take
/// longer than what one has before a file is blamed.
#[test]
fn each_of_two_scrapes_has_its_own_time() {
    let kubelet = SimKubelet::builder()
        .fault(Fault::HangBeforeHeaders)
        .started();
    let options = [("allow_insecure_tls", "on"), ("timeout", "6s")];
    let run = run_with(&kubelet, "check", &options);
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""), "{}", run.out);
    let verdict = "\nverdict: no metrics: timed out after 6s waiting for the reply\n";
    assert!(run.out.contains(verdict), "{}", run.out);
    assert_eq!(kubelet.requests(), 2);
}

/// A pipe with room for so many bytes more.
fn nearly_full_pipe(room: usize) -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = io::pipe().expect("a pipe");
    // SAFETY: the descriptor is open, and no pointer is passed.
    let size = unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    let size = usize::try_from(size).expect("a pipe's size can be set");
    writer
        .write_all(&vec![b'\n'; size - room])
        .expect("there is room");
    (reader, writer)
}

/// `2>&1 | less`, and nobody at the keys for longer than a file may take.
#[test]
fn whoever_reads_the_output_may_take_their_time() {
    let kubelet = SimKubelet::builder().started();
    kubelet
        .add_pod("default/ended", 0)
        .expect("a name with a namespace");
    let start_into = |command: &[&str], room| {
        let (reader, writer) = nearly_full_pipe(room);
        let child = Command::new(env!("CARGO_BIN_EXE_kubeletstats"))
            .args(command)
            .args(["-p", "timeout=2s"])
            .args(["-p", &format!("kubelet_url={}", kubelet.url())])
            .args(["-p", &format!("kube_ca_file={}", path(&kubelet.ca_file()))])
            .stdout(writer.try_clone().expect("a descriptor"))
            .stderr(writer)
            .spawn()
            .expect("it starts");
        (child, reader)
    };
    // Those of `check` block at the first line, and at later steps.
    let started = [
        (start_into(&["check"], 0), "\nverdict: metrics arrive"),
        (start_into(&["check"], 500), "\nverdict: metrics arrive"),
        (start_into(&["check"], 1_000), "\nverdict: metrics arrive"),
        (start_into(&["once"], 0), "\nNAMESPACE "),
        (
            start_into(&["once", "-o", "json"], 1_000),
            "\n{\"timestamp\":",
        ),
    ];
    thread::sleep(Duration::from_secs(8));
    for ((mut child, mut reader), expected) in started {
        let ended = child.try_wait().expect("a child");
        let mut out = String::new();
        reader.read_to_string(&mut out).expect("text");
        assert_eq!(ended, None, "{out}");
        assert!(out.contains(expected), "{out}");
        assert!(!out.contains("timed out"), "{out}");
        assert_eq!(child.wait().expect("a child").code(), Some(0), "{out}");
    }
}
