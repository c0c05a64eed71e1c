//! Credential files: whatever has happened to one, no byte of it gets into a line.

use std::{
    error::Error as _,
    fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::{Duration, Instant},
};

use kubeletstats_core::{
    error::Error,
    health::Health,
    kubelet::{Client, deadline},
    options::Config,
};
use proptest::{prelude::*, sample::select};
use sim_kubelet::SimKubelet;

use super::cases;
use crate::{
    replay::config_for,
    secrets::{self, OPTIONS, leak},
};

static KUBELET: LazyLock<SimKubelet> = LazyLock::new(|| {
    let kubelet = SimKubelet::builder()
        .token("the-token-of-these-tests")
        .client_auth_ca(true);
    kubelet.started()
});

/// The good file of an option.
fn good(option: &str) -> PathBuf {
    match option {
        "kube_token_file" => KUBELET.token_file(),
        "kube_ca_file" => KUBELET.ca_file(),
        "cert_file" => KUBELET.client_cert_file(),
        _ => KUBELET.client_key_file(),
    }
}

/// Good files everywhere, but for this option.
fn config(option: &str, file: &Path) -> Config {
    let certificate = ["cert_file", "key_file"].map(|name| (name, good(name)));
    let mut given = vec![(option, file.to_str().expect("utf-8"))];
    for (name, good) in &certificate {
        given.push((name, good.to_str().expect("utf-8")));
    }
    config_for(&KUBELET, &given)
}

/// Everything that can be seen of an error.
fn all_of(error: &Error) -> String {
    let now = Instant::now();
    let mut health = Health::default();
    let mut said = format!("{error}\n{error:?}\n");
    said.extend(health.failed(now, Duration::ZERO, error));
    health.failed(now, Duration::ZERO, error);
    said.extend(health.failed(now + Duration::from_secs(61), Duration::ZERO, error));
    let mut source = error.source();
    while let Some(error) = source {
        said.push_str(&format!("\n{error}\n{error:?}"));
        source = error.source();
    }
    said
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn no_byte_of_a_credential_file_is_said(
        option in select(&OPTIONS[..]),
        content in secrets::mangled(),
    ) {
        let file = KUBELET.dir().join(format!("mangled-{option}"));
        let (_stop, signal) = deadline::stop_pair().expect("a socket pair");

        // At start.
        fs::write(&file, &content).expect("a file");
        let started = Client::new(&config(option, &file), signal.clone());
        let mut said = format!("{:?}", started.as_ref().err());
        let scraped = started.and_then(|mut client| client.summary().map(|body| body.len()));
        said.extend(scraped.err().as_ref().map(all_of));
        prop_assert_eq!(leak(&content, &said), None);

        // After a start with the good one, at a scrape.
        fs::copy(good(option), &file).expect("the good file");
        let mut client = Client::new(&config(option, &file), signal).expect("good files");
        client.summary().expect("a reply");
        fs::write(&file, &content).expect("a file");
        for _ in 0..2 {
            let said = client.summary().err().as_ref().map(all_of).unwrap_or_default();
            prop_assert_eq!(leak(&content, &said), None);
        }
    }
}

/// Good files are held for as long as the plugin runs.
#[test]
fn no_byte_of_a_credential_file_is_in_debug_output() {
    let (_stop, signal) = deadline::stop_pair().expect("a socket pair");
    let config = config("kube_token_file", &KUBELET.token_file());
    let mut client = Client::new(&config, signal).expect("good files");
    client.summary().expect("a reply");
    let shown = format!("{client:?}");
    for option in ["kube_token_file", "key_file"] {
        let content = fs::read(good(option)).expect("a file");
        assert_eq!(leak(&content, &shown), None);
    }
    let token = fs::read(KUBELET.token_file()).expect("a token");
    assert!(leak(&token, &String::from_utf8_lossy(&token)).is_some());
}
