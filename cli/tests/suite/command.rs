//! Owns a run of the command: its arguments, its end, its words.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::BASE64URL_NOPAD;
use regex::Regex;
use sim_kubelet::SimKubelet;
use testkit::{Child, Stream};

use crate::paste;

/// Longer than any run here may take.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn kubelet() -> SimKubelet {
    SimKubelet::builder().started()
}

pub struct Run {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs to its end, which has to come before the deadline.
pub fn run<S: AsRef<OsStr>>(arguments: &[S], environment: &[(&str, &str)]) -> Run {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubeletstats"));
    command.args(arguments).envs(environment.iter().copied());
    let mut child = Child::spawn(command).expect("it starts");
    let status = child.wait_for_exit(DEADLINE).expect("it ends");
    let [out, err] = [Stream::Stdout, Stream::Stderr].map(|stream| {
        let lines = child.lines(stream).into_iter();
        lines.map(|line| line + "\n").collect::<String>()
    });
    for command in paste::commands(&out) {
        paste::paste(&command, false);
    }
    let code = status.code();
    Run { code, out, err }
}

/// `command` with the options a kubelet needs, and `more`.
pub fn run_with(kubelet: &SimKubelet, command: &str, more: &[(&str, &str)]) -> Run {
    let [url, ca, token] = kubelet.access();
    let usual = [
        ("kubelet_url", url.as_str()),
        ("kube_ca_file", &ca),
        ("kube_token_file", &token),
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

/// `check` has a good end.
pub fn assert_good(kubelet: &SimKubelet, more: &[(&str, &str)]) {
    let run = run_with(kubelet, "check", more);
    assert_eq!((run.code, run.err.as_str()), (Some(0), ""), "{}", run.out);
}

/// `check` ends with 1, and with this from the step on that fails.
pub fn assert_failure(kubelet: &SimKubelet, more: &[(&str, &str)], expected: &str) {
    assert_eq!(failure(kubelet, more), expected);
}

/// What it says from the step on that fails.
pub fn failure(kubelet: &SimKubelet, more: &[(&str, &str)]) -> String {
    failure_with(1, kubelet, more)
}

/// With 2 where Fluent Bit does not start, as of a file that it reads at start.
pub fn failure_with(code: i32, kubelet: &SimKubelet, more: &[(&str, &str)]) -> String {
    let run = run_with(kubelet, "check", more);
    assert_eq!((run.code, &*run.err), (Some(code), ""), "{}", run.out);
    after(&masked(&run.out, kubelet), "FAIL").to_owned()
}

/// A file in the kubelet's folder.
pub fn write(kubelet: &SimKubelet, name: &str, text: &str) -> String {
    let file = kubelet.dir().join(name);
    fs::write(&file, text).expect("a file");
    path(&file)
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
    token_of("system:serviceaccount:logging:fluent-bit", issued, expires)
}

/// The same, of this user.
pub fn token_of(user: &str, issued: i64, expires: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs() as i64;
    let payload = serde_json::json!({
        "aud": ["https://kubernetes.default.svc"],
        "exp": now + expires,
        "iat": now + issued,
        "nbf": now + issued,
        "iss": "https://kubernetes.default.svc",
        "sub": user,
    });
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = encode(r#"{"alg":"RS256","kid":"k"}"#);
    format!(
        "{header}.{}.{}",
        encode(&payload.to_string()),
        encode("not a signature")
    )
}
