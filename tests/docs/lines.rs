//! Every line the plugin can log is on the page that explains lines.

use std::{
    collections::BTreeSet,
    io,
    path::Path,
    time::{Duration, Instant},
};

use kubeletstats_core::{
    error::{Error, Phase, Reason},
    facts,
    health::{Health, Missing},
    kubelet::{
        Endpoint,
        refusal::{Cause, Refusal, RequestInfo, SentCredentials},
        tls,
    },
    summary::Malformed,
};

use crate::{config, one, pages::read};

/// Fails to compile when a reason is added: give it an error below.
fn is_documented(reason: Reason) -> bool {
    match reason {
        Reason::Option
        | Reason::File
        | Reason::Resolve
        | Reason::Refused
        | Reason::Timeout
        | Reason::ClosedEarly
        | Reason::Connection
        | Reason::TlsUnknownIssuer
        | Reason::TlsWrongName
        | Reason::TlsExpired
        | Reason::Tls
        | Reason::Unauthorized
        | Reason::Forbidden
        | Reason::Status
        | Reason::Http
        | Reason::NotSummary
        | Reason::TooLarge
        | Reason::CutShort
        | Reason::Host
        | Reason::Panic => true,
        // Ends a scrape when Fluent Bit stops; never logged.
        Reason::Stopped => false,
    }
}

/// By constructor, every error with what varies written in capitals, as on the page.
fn errors() -> Vec<(&'static str, Error)> {
    let path = Path::new("FILE");
    let io = || io::Error::other("WHY");
    let after = Duration::from_secs(5);
    let timeout = |phase| ("timeout", Error::timeout(phase, after, "URL"));
    let pods = |why| ("unparsable_pods", Error::unparsable_pods("URL", 4096, &why));
    let mut errors = refusals();
    errors.extend([
        ("option", Error::option("NAME", "VALUE", "FORM")),
        ("option_pair", Error::option_pair("cert_file", "key_file")),
        ("option_pair", Error::option_pair("key_file", "cert_file")),
        ("option_needs", Error::option_needs("OPTION", "pod_facts")),
        ("unreadable", Error::unreadable("OPTION", path, io())),
        ("unusable", Error::unusable("OPTION", path, "WHY")),
        ("resolve", Error::resolve("HOST", "URL", io())),
        ("lookup_thread", Error::lookup_thread("HOST", io())),
        ("refused", Error::refused("ADDRESS", "URL", io())),
        timeout(Phase::Queued),
        (
            "timeout_reading",
            Error::timeout_reading("OPTION FILE", after),
        ),
        timeout(Phase::Resolve),
        timeout(Phase::Connect),
        timeout(Phase::Tls),
        timeout(Phase::Headers),
        timeout(Phase::Body),
        ("connection", Error::connection("URL", io())),
        ("closed_early", Error::closed_early("URL")),
        ("tls_unknown_issuer", Error::tls_unknown_issuer("URL", "")),
        (
            "tls_wrong_name",
            Error::tls_wrong_name("URL", "NAME", &["NAMES".to_owned()], ""),
        ),
        ("tls_expired", Error::tls_expired("URL", "has expired", "")),
        (
            "tls_expired",
            Error::tls_expired("URL", "is not valid yet", ""),
        ),
        (
            "closed_in_handshake",
            Error::closed_in_handshake("URL", io()),
        ),
        ("tls_ca_as_server", Error::tls_ca_as_server("URL", "")),
        (
            "certificate",
            Error::certificate("URL", "WHY", "REMEDY", rustls::Error::DecryptError),
        ),
        (
            "tls",
            Error::tls("URL", "WHY", "REMEDY", rustls::Error::DecryptError),
        ),
        ("redirect", Error::redirect(302, "URL")),
        ("not_modified", Error::not_modified("URL")),
        ("many_interim", Error::many_interim("URL", 16)),
        ("large_header", Error::large_header("URL", 32 << 10)),
        ("many_headers", Error::many_headers("URL", 128)),
        ("endless_line", Error::endless_line("URL", 32 << 10)),
        ("http", Error::http("URL", "WHY")),
        ("encoded", Error::encoded("URL", "gzip")),
        ("empty", Error::empty("URL")),
        ("not_summary", Error::not_summary("URL", "WHY")),
        ("too_large", Error::too_large("URL", 64 << 20)),
        ("no_memory", Error::no_memory("URL", 4096)),
        ("cut_short", Error::cut_short("URL", 4096)),
        ("unparsable", Error::unparsable("URL", 4096, &Malformed::Cut)),
        (
            "unparsable",
            Error::unparsable("URL", 4096, &Malformed::TooMany(10_000, "pods")),
        ),
        pods(facts::Malformed::Cut),
        pods(facts::Malformed::TooMany(10_000, "pods")),
        pods(facts::Malformed::TooMany(20_000, "containers")),
        pods(facts::Malformed::TooMuchText(8 << 20)),
        pods(facts::Malformed::NotJson(7)),
        pods(facts::Malformed::NoItems),
        ("stopped", Error::stopped()),
        (
            "host",
            Error::host(
                "this host cannot run the plugin: it lacks NAMES: supported is Fluent Bit 1.9 to 5.1",
            ),
        ),
        (
            "host",
            Error::host("the host did not accept the timer collector"),
        ),
        (
            "host",
            Error::host("tls cannot be set up: no cipher for TLS 1.2 and 1.3"),
        ),
        ("thread", Error::thread(io())),
        ("panic", Error::panic("PLACE", "WHY", "ORIGIN")),
    ]);
    errors
}

/// Fails to compile when a cause is added: give it a reply below.
fn is_listed(cause: Cause) -> bool {
    match cause {
        Cause::Credentials
        | Cause::Anonymous
        | Cause::ApiServerCredentials
        | Cause::ApiServerPermission
        | Cause::MissingPermission
        | Cause::ApiServer
        | Cause::NoSuchNode
        | Cause::NodeUnreachable
        | Cause::NodeTls
        | Cause::ApiServerUnavailable
        | Cause::ContainerRuntime
        | Cause::PlainHttpToTls
        | Cause::NotFound
        | Cause::TooManyRequests
        | Cause::Gateway
        | Cause::InternalError
        | Cause::NotAKubelet => true,
    }
}

/// Every way to refuse, to every way to ask.
fn refusals() -> Vec<(&'static str, Error)> {
    let status = |message: &str| format!(r#"{{"kind":"Status","message":"{message}"}}"#);
    let bodies = [
        (401, "Unauthorized".to_owned()),
        (401, status("Unauthorized")),
        (
            403,
            "Forbidden (user=USER, verb=get, resource=nodes)".into(),
        ),
        (
            403,
            "Forbidden (user=USER, verb=get, resource=nodes, subresource(s)=[proxy])".into(),
        ),
        (403, "Forbidden (user=system:anonymous, verb=get)".into()),
        (
            403,
            status(r#"nodes is forbidden: User \"USER\" cannot get"#),
        ),
        (
            403,
            status(r#"forbidden: User \"system:anonymous\" cannot get"#),
        ),
        (403, String::new()),
        (403, "TEXT".into()),
        (404, "TEXT".into()),
        (404, status("TEXT")),
        (
            400,
            "Client sent an HTTP request to an HTTPS server.".into(),
        ),
        (418, "TEXT".into()),
        (429, "TEXT".into()),
        (500, "TEXT".into()),
        (500, "Authorization error (user=USER, verb=get)".into()),
        (500, "rpc error: TEXT".into()),
        (502, "TEXT".into()),
        (503, status("error trying to reach service: TEXT")),
        (503, status("error trying to reach service: x509: TEXT")),
    ];
    let sent = [
        SentCredentials::Token("FILE".into()),
        SentCredentials::ClientCertificate,
        SentCredentials::Nothing,
    ];
    let mut found = Vec::new();
    let mut causes = BTreeSet::new();
    for (code, body) in &bodies {
        for sent in &sent {
            let ways = [(false, true), (true, true), (false, false)];
            let asked_for = [Endpoint::Summary, Endpoint::Pods];
            let ways = ways
                .into_iter()
                .flat_map(|way| asked_for.map(|endpoint| (way, endpoint)));
            for ((node_proxy, https), endpoint) in ways {
                let asked = RequestInfo {
                    endpoint,
                    // Nothing else travels over http.
                    https: https || *sent != SentCredentials::Nothing,
                    node_proxy,
                    credentials: sent.clone(),
                };
                let refusal = Refusal::read(*code, body.as_bytes(), asked);
                assert!(is_listed(refusal.cause));
                causes.insert(format!("{:?}", refusal.cause));
                found.push(match code {
                    401 => ("unauthorized", refusal.error("URL")),
                    403 => ("forbidden", refusal.error("URL")),
                    _ => ("status", refusal.error("URL")),
                });
            }
        }
    }
    assert_eq!(causes.len(), 17, "a cause without a reply: {causes:?}");
    found
}

/// The operating system's words begin in lower case in a line; those of an error that
/// is not the system's own are not in it.
fn as_written(message: &str) -> String {
    message
        .replace(": wHY", ": WHY")
        .replace(": other error", ": WHY")
}

#[test]
fn every_error_is_explained() {
    let page = read("docs/troubleshooting.md");
    let errors = errors();
    let mut missing = BTreeSet::new();
    for (constructor, error) in &errors {
        if is_documented(error.reason()) {
            let line = as_written(&error.to_string());
            // The page has the beginnings of refusals apart.
            let begins = ["401 unauthorized by URL: ", "403 forbidden by URL: "];
            let said = "unexpected status 503 from URL: it said 'TEXT': ";
            let line = match *constructor {
                "unauthorized" | "forbidden" => {
                    let start = begins
                        .into_iter()
                        .find_map(|start| line.strip_prefix(start));
                    start.unwrap_or_else(|| panic!("{line}"))
                }
                "status" => line.split("': ").last().unwrap_or_default(),
                _ => &line,
            };
            for start in begins.iter().chain([&said]) {
                assert!(page.contains(&format!("`{start}…`")), "{start}");
            }
            if !page.contains(&format!("`{line}`")) {
                missing.insert(format!("{constructor}: {line}"));
            }
            let name = format!("`{}`", error.reason().name());
            assert!(page.contains(&name), "{constructor}: reason {name}");
        }
    }
    assert!(missing.is_empty(), "not on the page: {missing:#?}");

    // The list above is whole: what makes an error in the source stands in it.
    let source = read("core/src/error.rs");
    let body = source.split("impl Error {").nth(1).expect("the type");
    let body = body.split("\nimpl ").next().unwrap_or_default();
    let made: BTreeSet<_> = body
        .split("pub fn ")
        .skip(1)
        .filter(|function| function.split('{').next().unwrap_or("").contains("-> Self"))
        .filter_map(|function| function.split('(').next())
        .collect();
    let listed: BTreeSet<_> = errors.iter().map(|(constructor, _)| *constructor).collect();
    assert_eq!(made, listed);
}

/// Where a sentence of the program's begins a call of `Error::host`, it is on the page.
#[test]
fn what_the_host_lacks_is_explained() {
    let page = read("docs/troubleshooting.md");
    let source = read("src/host/symbols.rs") + &read("src/host/instance.rs");
    let calls: Vec<_> = source.split("Error::host(format!(").skip(1).collect();
    assert!(!calls.is_empty());
    for call in calls {
        let text = call.split('"').nth(1).unwrap_or_default();
        let fixed = text.split('{').next().unwrap_or_default();
        assert!(page.contains(fixed), "{fixed}");
    }
}

/// What can be wrong with a credential file, with a certificate and in a handshake is a
/// sentence in the source, and that sentence is on the page.
#[test]
fn every_word_of_files_and_handshakes_is_explained() {
    let page = read("docs/troubleshooting.md") + &read("docs/options.md");
    for (file, least) in [("pem", 20), ("token", 7), ("tls", 4), ("handshake", 30)] {
        let source = read(format!("core/src/kubelet/{file}.rs"));
        let source = source.split("#[cfg(test)]").next().unwrap_or_default();
        // From there on, parts of a sentence.
        let source = source.split("fn algorithm(").next().unwrap_or_default();
        let sentences: Vec<_> = literals(source)
            .into_iter()
            .filter(|text| text.contains(' ') && text.starts_with(char::is_lowercase))
            .collect();
        assert!(sentences.len() >= least, "{file}: {sentences:#?}");
        for sentence in sentences {
            for part in sentence.split(['{', '}']).step_by(2) {
                assert!(page.contains(part.trim()), "{file}: {sentence}");
            }
        }
    }
}

/// The string literals of a source without comments, as the compiler joins their lines.
fn literals(source: &str) -> Vec<String> {
    let code = source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n").replace("b\"\\", "b\"");
    let joined = code.split("\\\n").map(str::trim_start).collect::<String>();
    let parts = joined.split('"').skip(1).step_by(2);
    parts.map(str::to_owned).collect()
}

/// Whatever alert ends a handshake, the line is on the page, with the alert's name.
#[test]
fn every_alert_is_explained() {
    let page = read("docs/troubleshooting.md");
    for number in 0..=u8::MAX {
        let error = rustls::Error::AlertReceived(number.into());
        let line = tls::explain(&error, "URL").to_string();
        let (why, rest) = line.split_once(" (alert ").expect("its name");
        let (name, remedy) = rest.split_once(')').expect("a remedy");
        let line = format!("`{why} (alert NAME){remedy}`");
        assert!(page.contains(&line), "{number}: {line}");
        if !name.starts_with("number ") {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}

#[test]
fn every_other_line_is_explained() {
    let page = read("docs/troubleshooting.md");
    let now = Instant::now();
    let later = now + Duration::from_secs(40);
    let forbidden = || Error::forbidden("URL", "nodes/stats");
    let mut health = Health::default();
    let mut lines = Vec::new();
    health.failed(now, Duration::ZERO, &forbidden());
    health.failed(now, Duration::ZERO, &forbidden());
    let repeated = health.failed(now + Duration::from_secs(60), Duration::ZERO, &forbidden());
    lines.push(
        repeated
            .expect("a minute later")
            .split(" (")
            .nth(1)
            .expect("a count")
            .to_owned(),
    );
    lines.extend(health.succeeded(now + Duration::from_secs(61)));
    let mut health = Health::default();
    lines.extend(health.refused(now, 24));
    lines.extend(health.lost(24));
    lines.extend(health.accepted(later));
    lines.extend(health.metrics_refused(now));
    lines.extend(health.metrics_accepted(later));
    lines.extend(health.split(later));
    lines.extend(Health::default().given_up(later, 24));
    lines.extend(health.wanted(later, 0, 0));
    lines.extend(health.wanted(later, 0, 9));
    lines.extend(health.wanted(later, 3, 9));
    lines.extend(Health::default().unreadable(later, 2, 9));
    let mut health = Health::default();
    for selects in [false, true] {
        let line = health.facts_failed(now, &forbidden(), selects);
        // The page has the beginning; how it goes on is that of the errors.
        let begins = |line: String| line.split(": 403").next().unwrap_or_default().to_owned();
        lines.extend(line.map(begins));
        health = match selects {
            false => Health::default(),
            true => health,
        };
    }
    lines.extend(health.facts_came(later));
    lines.extend(Health::default().facts_unreadable(later, 2));
    for missing in [
        Missing::Containers,
        Missing::ContainersExcluded,
        Missing::Cpu { containers: 2 },
        Missing::Samples { containers: 2 },
        Missing::Others {
            found: 0,
            only_volumes: false,
        },
        Missing::Others {
            found: 2,
            only_volumes: false,
        },
    ] {
        let (mut health, interval) = (Health::default(), Duration::from_secs(10));
        let begins = health.no_records(now, interval, Some(missing));
        assert_eq!(begins, None, "it may be nothing yet");
        let at = now + Duration::from_secs(60);
        let line = health.no_records(at, interval, Some(missing));
        // The page has what is to be done in words of its own.
        let line = line.expect("a minute of silence");
        lines.push(line[..line.rfind(':').expect("a remedy")].to_owned());
        let end = health.recorded(at).expect("it was told");
        lines.push(end.split(" for ").next().unwrap_or_default().to_owned());
    }
    assert_eq!(lines.len(), 27, "{lines:?}");
    // Where there are no records the same lines tell of samples.
    let (mut health, interval) = (Health::new(false), Duration::from_secs(10));
    health.no_records(now, interval, Some(Missing::Containers));
    let at = now + Duration::from_secs(60);
    let line = health.no_records(at, interval, Some(Missing::Containers));
    let begins = |line: String| line.split_once("60s").map(|(begin, _)| begin.to_owned());
    lines.push(line.and_then(begins).expect("a minute of silence"));
    let end = health.recorded(at).expect("it was told");
    lines.push(end.split(" for ").next().unwrap_or_default().to_owned());

    let states = lines.len();
    let warned = config(&one("allow_insecure_tls", "on")).expect("valid");
    lines.extend(warned.warnings().into_iter().map(str::to_owned));
    let mut http = one("kubelet_url", "http://node");
    http.extend(one("kube_token_file", "/token"));
    let warned = config(&http).expect("valid");
    lines.extend(warned.warnings().into_iter().map(str::to_owned));
    let mut of_node = one("metric_groups", "node");
    of_node.extend(one("pod_facts", "on"));
    let warned = config(&of_node).expect("valid");
    lines.extend(warned.warnings().into_iter().map(str::to_owned));
    let mut no_states = one("kube_state_metrics", "on");
    no_states.extend(one("pod_facts", "on"));
    let warned = config(&no_states).expect("valid");
    lines.extend(warned.warnings().into_iter().map(str::to_owned));
    let warned = config(&one("skip_processors", "on")).expect("valid");
    lines.extend(warned.warnings().into_iter().map(str::to_owned));
    assert_eq!(
        lines.len(),
        states + 5,
        "a warning that is not asked for here: {lines:?}"
    );
    lines.push(config(&[]).expect("valid").announcement());
    let more = [
        ("pod_facts", "on"),
        ("label_selector", "app=web"),
        ("exclude_namespace", "kube-system"),
        ("exclude_pod_prefix", "debug-"),
        ("exclude_container", "istio-proxy"),
        ("format", "both"),
        ("metric_groups", "container,pod"),
        ("jitter", "5s"),
        ("node_name", "node-7"),
    ];
    let more: Vec<_> = more
        .iter()
        .flat_map(|(name, value)| one(name, value))
        .collect();
    let said = config(&more).expect("valid").announcement();
    let added = said.split(", pod prefixes all").nth(1);
    lines.push(added.expect("what is more").to_owned());

    // What the plugin says of metrics and at level debug, as its source and as the page write it.
    for (written, shown) in [
        (
            "the last scrape is still running: this one is skipped",
            "the last scrape is still running: this one is skipped",
        ),
        (
            "this host has no metrics for plugins: format metrics and both need Fluent Bit 2.0 or later",
            "this host has no metrics for plugins: format metrics and both need Fluent Bit 2.0 or later",
        ),
        (
            "this host cannot take opentelemetry's names: metric_names opentelemetry needs Fluent Bit 3.2 or later",
            "this host cannot take opentelemetry's names: metric_names opentelemetry needs Fluent Bit 3.2 or later",
        ),
        (
            "fluent bit cannot decode the plugin's metrics: please report its version",
            "fluent bit cannot decode the plugin's metrics: please report its version",
        ),
        (
            "{records} records, {bytes} bytes, in {took:.1?}",
            "24 records, 9480 bytes, in 6.1ms",
        ),
        (
            "metrics: {count} contexts, {bytes} bytes, in {took:.1?}",
            "metrics: 1 contexts, 94907 bytes, in 6.1ms",
        ),
        (
            "the worker thread still waits for a file: it ends when the file system answers",
            "the worker thread still waits for a file: it ends when the file system answers",
        ),
        (
            "the worker thread still runs: it ends by itself as soon as it can",
            "the worker thread still runs: it ends by itself as soon as it can",
        ),
    ] {
        assert!(read("src/plugin.rs").contains(written), "{written}");
        lines.push(shown.to_owned());
    }
    for line in lines {
        assert!(page.contains(line.trim_end_matches(')')), "{line}");
    }
}
