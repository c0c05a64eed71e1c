//! Whatever comes from outside: no panic, nothing that drives a terminal, and
//! never the token.

use std::{
    env, fs,
    io::{self, Write},
    net::TcpListener,
    path::Path,
    process::Command,
    sync::LazyLock,
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

/// A file that does not answer. Where none can be had, that is said past the test harness,
/// which keeps what a test prints that passes; with `KUBELETSTATS_REQUIRE=1` it is a failure.
fn held(test: &str, file: &Path) -> Option<Held> {
    match Held::new(file) {
        Ok(held) => Some(held),
        Err(error) => {
            let said = format!("test {test} NOT RUN: no file can be held here: {error}");
            let required = env::var("KUBELETSTATS_REQUIRE").is_ok_and(|value| value == "1");
            assert!(!required, "{said}");
            let _ = writeln!(io::stderr(), "{said}");
            None
        }
    }
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
    let Some(_held) = held("a_file_that_hangs_does_not_hang_the_command", &token) else {
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
