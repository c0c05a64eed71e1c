//! Who is let in, and the words for those who are not.

use sim_kubelet::SimKubelet;

use crate::client::{Client, Setup};

const SUMMARY: &str = "/stats/summary";

#[test]
fn tokens_and_refusals_read_as_captured() {
    let kubelet = SimKubelet::builder()
        .token("good")
        .token("better")
        .forbidden_token("weak")
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let mut ask = |value: &str| client.ask("GET", SUMMARY, &[("Authorization", value)]);
    assert_eq!(ask("Bearer good").status, 200);
    assert_eq!(ask("bearer better").status, 200);
    for wrong in ["Bearer bad", "Bearer ", "Basic good", "good"] {
        let refused = ask(wrong);
        assert_eq!(
            (refused.status, refused.text()),
            (401, "Unauthorized"),
            "{wrong}"
        );
    }
    let forbidden = ask("Bearer weak");
    let captured = include_str!("../../../fixtures/auth/webhook-rbac.txt");
    assert_eq!(forbidden.status, 403);
    assert!(
        captured.contains(&format!("\r\n\r\n{}", forbidden.text())),
        "{}",
        forbidden.text()
    );
    assert_eq!(forbidden.header("content-length"), Some("107"));
    assert_eq!(client.get(SUMMARY).status, 401);
    assert_eq!(client.get("/healthz").status, 401);
    let last = kubelet.recorded_requests();
    assert!(last[0].had_authorization && !last[last.len() - 1].had_authorization);
    assert_eq!(
        std::fs::read_to_string(kubelet.token_file()).expect("a token"),
        "good"
    );
}

/// A kubelet without a token webhook, one whose API server is away, and the API server's
/// own refusals in front of the node's path.
#[test]
fn what_is_not_about_the_token_reads_as_captured() {
    let kubelet = SimKubelet::builder()
        .token("good")
        .forbidden_token("weak")
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let mut ask = |path: &str, token: &str| {
        let value = format!("Bearer {token}");
        let headers = [("Authorization", value.as_str())];
        let headers = if token.is_empty() { &[][..] } else { &headers };
        let reply = client.ask("GET", path, headers);
        (reply.status, reply.text().to_owned())
    };
    kubelet.set_webhook(false);
    let (code, text) = ask(SUMMARY, "good");
    let captured = include_str!("../../../fixtures/auth/webhook-rbac-anonymous-enabled.txt");
    assert_eq!(code, 403);
    assert!(captured.contains(&format!("\r\n\r\n{text}")), "{text}");
    kubelet.set_webhook(true);

    kubelet.set_api_server_away(true);
    let captured = include_str!("../../../fixtures/auth/webhook-apiserver-down.txt");
    for (token, expected) in [("good", 401), ("", 500)] {
        let (code, text) = ask(SUMMARY, token);
        assert_eq!(code, expected);
        assert!(captured.contains(&format!("\r\n\r\n{text}")), "{text}");
    }
    kubelet.set_api_server_away(false);

    for (token, expected) in [("bad", 401), ("weak", 403)] {
        let (code, text) = ask("/api/v1/nodes/vm/proxy/stats/summary", token);
        assert_eq!(code, expected);
        let code = format!(",\"code\":{expected}}}\n");
        assert!(
            text.starts_with("{\"kind\":\"Status\",") && text.ends_with(&code),
            "{text}"
        );
    }
}

#[test]
fn tokens_change_while_it_runs() {
    let kubelet = SimKubelet::builder()
        .token("old")
        .start()
        .expect("a kubelet");
    let mut client = Client::new(&kubelet);
    let mut status = |token: &str| {
        let value = format!("Bearer {token}");
        client
            .ask("GET", SUMMARY, &[("Authorization", &value)])
            .status
    };
    assert_eq!(status("old"), 200);
    kubelet.set_tokens(&["new"]);
    kubelet.write_token_file("new").expect("a written token");
    assert_eq!((status("old"), status("new")), (401, 200));
    assert_eq!(
        std::fs::read_to_string(kubelet.token_file()).expect("a token"),
        "new"
    );
}

#[test]
fn a_client_certificate_stands_in_for_a_token() {
    let kubelet = SimKubelet::builder()
        .token("good")
        .client_auth_ca(true)
        .start()
        .expect("a kubelet");
    let known = (kubelet.client_cert_file(), kubelet.client_key_file());
    let issued = kubelet
        .issue_client_certificate("other-scraper")
        .expect("files");
    let stranger = kubelet
        .issue_stranger_certificate("stranger")
        .expect("files");
    for (files, expected) in [(known, 200), (issued, 200), (stranger, 401)] {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let setup = Setup {
                client_files: Some(files.clone()),
                versions: vec![version],
                ..Setup::default()
            };
            let mut client = Client::connect(&kubelet, &setup).expect("a connection");
            assert_eq!(client.get(SUMMARY).status, expected);
            // A stranger's certificate does not spoil a good token.
            let with_token = client.ask("GET", SUMMARY, &[("Authorization", "Bearer good")]);
            assert_eq!(with_token.status, 200);
        }
    }
    let mut bare = Client::new(&kubelet);
    assert_eq!(bare.get(SUMMARY).status, 401);
    assert_eq!(
        bare.ask("GET", SUMMARY, &[("Authorization", "Bearer good")])
            .status,
        200
    );
    assert!(
        !kubelet
            .recorded_requests()
            .pop()
            .expect("one")
            .had_client_certificate
    );
}
