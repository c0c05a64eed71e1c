//! Owns a run of the command: its arguments, its end, its words.

use std::{
    ffi::OsStr,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use regex::Regex;
use sim_kubelet::SimKubelet;

use crate::paste;

/// Longer than any run here may take.
const DEADLINE: Duration = Duration::from_secs(60);

pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs to its end, which has to come before the deadline.
pub fn run<S: AsRef<OsStr>>(arguments: &[S], environment: &[(&str, &str)]) -> Run {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubeletstats"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdout = child.stdout.take().expect("piped");
    let mut stderr = child.stderr.take().expect("piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).expect("text");
        text
    });
    let watch = thread::spawn(move || {
        let began = Instant::now();
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status;
            }
            if began.elapsed() > DEADLINE {
                child.kill().expect("a child that runs");
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let mut out = String::new();
    stdout.read_to_string(&mut out).expect("text");
    for command in paste::commands(&out) {
        paste::paste(&command, false);
    }
    Run {
        code: watch.join().expect("no panic").code(),
        out,
        err: reader.join().expect("no panic"),
    }
}

/// `command` with the options a kubelet needs, and `more`.
pub fn run_with(kubelet: &SimKubelet, command: &str, more: &[(&str, &str)]) -> Run {
    let files = [kubelet.ca_file(), kubelet.token_file()];
    let [ca, token] = files.each_ref().map(|path| path.to_str().expect("utf-8"));
    let url = kubelet.url();
    let usual = [
        ("kubelet_url", url.as_str()),
        ("kube_ca_file", ca),
        ("kube_token_file", token),
    ];
    let usual = usual
        .iter()
        .filter(|(name, _)| !more.iter().any(|(other, _)| other == name));
    let mut arguments = vec![command.to_owned()];
    for (name, value) in usual.chain(more) {
        if name.starts_with('-') {
            arguments.extend([name.to_string(), value.to_string()]);
        } else {
            arguments.extend(["-p".to_owned(), format!("{name}={value}")]);
        }
    }
    run(&arguments, &[])
}

/// Without what differs from run to run.
pub fn masked(text: &str, kubelet: &SimKubelet) -> String {
    let text = text.replace(&format!(":{}", kubelet.port()), ":PORT");
    mask(&text.replace(&path(kubelet.dir()), "DIR"))
}

pub fn mask(text: &str) -> String {
    let masks = [
        (r"@\d+", "@N"),
        (r"\d{4}-\d\d-\d\d", "DATE"),
        (r"\b\d+(\.\d)? (ms|s)\b", "TIME"),
        (r"\b\d+ bytes", "N bytes"),
    ];
    masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        let pattern = Regex::new(pattern).expect("a pattern");
        pattern.replace_all(&text, *mask).into_owned()
    })
}

pub fn path(path: &Path) -> String {
    path.to_str().expect("utf-8").to_owned()
}

/// What follows the line of the last step that is the same in every good run.
pub fn after<'t>(text: &'t str, step: &str) -> &'t str {
    let at = text
        .find(step)
        .unwrap_or_else(|| panic!("no {step:?} in:\n{text}"));
    &text[at..]
}

/// A token of the cluster's form, issued and running out so many seconds from now.
pub fn service_account_token(issued: i64, expires: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    let payload = serde_json::json!({
        "aud": ["https://kubernetes.default.svc"],
        "exp": now + expires,
        "iat": now + issued,
        "nbf": now + issued,
        "iss": "https://kubernetes.default.svc",
        "sub": "system:serviceaccount:logging:fluent-bit",
    });
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = encode(r#"{"alg":"RS256","kid":"k"}"#);
    format!(
        "{header}.{}.{}",
        encode(&payload.to_string()),
        encode("not a signature")
    )
}
