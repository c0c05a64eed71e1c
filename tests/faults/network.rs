//! Rows: the way to the kubelet and back, from the name to the last byte.

use serde_json::json;
use sim_kubelet::Fault;
use testkit::Host;

use super::{
    row::{AGAIN, Row, Seen, fails, only, own, stops, text, works},
    run::{Ended, Run, Site, matches},
    scene::{Scene, Setting},
    trust::TOKEN_REFUSED,
    truth::Truth,
};
use crate::common::{gate::Mode, run::Line};

const SHORT: &[(&str, &str)] = &[("timeout", "300ms")];

/// In MiB: 64 of a reply that is too large, and as much again while it grows.
const ROOM_FOR_HUGE: f64 = 144.0;

pub fn rows() -> Vec<Row> {
    let mut rows = connecting();
    rows.extend(hanging());
    rows.extend(stopping());
    rows.extend(replying());
    rows.extend(statuses());
    rows.extend(keeping());
    rows
}

fn to_kubelet(scene: &Scene) -> Result<(), String> {
    text(scene.gate.lead_to(scene.kubelet.port()))
}

fn to_other(scene: &Scene) -> Result<(), String> {
    text(scene.gate.lead_to(scene.other.port()))
}

fn pass(scene: &Scene) -> Result<(), String> {
    scene.gate.set_mode(Mode::Pass);
    Ok(())
}

fn connecting() -> Vec<Row> {
    vec![
        fails(
            "refused",
            "connection refused by {gate} for {url}: \
             check kubelet_url and that the kubelet is running",
        )
        .gated()
        .at_start()
        .mending(to_kubelet),
        fails(
            "name-does-not-resolve",
            "cannot resolve no-such-host.invalid for {url}: *: check kubelet_url and the node's dns",
        )
        .url(|_| "https://no-such-host.invalid:10250".to_owned())
        .options(&[("timeout", "20s")])
        .more(2)
        .at_start()
        .lasting(),
        own(
            "no-thread-for-the-lookup",
            "one line that names the limit and not dns, no record, then again",
            no_thread,
        ),
        fails(
            "connecting-hangs",
            "timed out after 300ms connecting to {url}: check kubelet_url and network policies",
        )
        .options(SHORT)
        .more(2)
        .gated()
        .at_start()
        .breaking(|scene| text(scene.gate.stall()))
        .mending(to_kubelet),
        fails(
            "closed-in-tls",
            "connection closed by {url} in the TLS handshake: check that kubelet_url is a kubelet",
        )
            .gated()
            .at_start()
            .breaking(|scene| {
                scene.gate.set_mode(Mode::CutAt(1));
                to_kubelet(scene)
            })
            .mending(pass),
        fails(
            "http-on-the-tls-port",
            "unexpected status 400 from {url}: \
             it said 'Client sent an HTTP request to an HTTPS server.': \
             that port speaks tls: set kubelet_url to https",
        )
        .plain()
        .gated()
        .at_start()
        .breaking(to_other)
        .mending(to_kubelet),
        fails("tls-on-the-http-port", "tls with {url} failed: *")
            .gated()
            .at_start()
            .breaking(|scene| {
                scene.gate.set_mode(Mode::BadRequest);
                to_kubelet(scene)
            })
            .mending(pass),
    ]
}

fn hanging() -> Vec<Row> {
    const TLS: &str = "timed out after 300ms in the TLS handshake with {url}: \
                       the kubelet is slow or stuck, or raise timeout";
    const HEADERS: &str = "timed out after 300ms waiting for the reply of {url}: \
                           the kubelet is slow or stuck, or raise timeout";
    const BODY: &str = "timed out after 300ms reading the reply of {url}: \
                        the kubelet is slow or stuck, or raise timeout";
    let fails = |name, line| fails(name, line).options(SHORT).more(2);
    vec![
        fails("hang-after-accept", TLS).by(Fault::HangAfterAccept),
        fails("hang-after-accept-http", HEADERS)
            .plain()
            .by(Fault::HangAfterAccept),
        fails("hang-in-tls", TLS).by(Fault::HangInTls),
        fails("hang-before-headers", HEADERS).by(Fault::HangBeforeHeaders),
        fails("hang-in-body", BODY).by(Fault::HangInBody),
        fails("slow-headers", HEADERS).by(Fault::SlowHeaders),
        fails("slow-body", BODY).by(Fault::SlowBody),
        fails("tiny-chunks-without-end", BODY).by(Fault::TinyChunks),
        fails("trailers-without-end", BODY).by(Fault::EndlessTrailers),
        fails(
            "outage-from-its-first-timeout-on",
            "timed out after 1s waiting for the reply of {url}: \
             the kubelet is slow or stuck, or raise timeout",
        )
        .by(Fault::HangBeforeHeaders)
        .options(&[("timeout", "1s")])
        .more(1)
        .check(whole_outage),
        fails("hang-in-a-thread-of-its-own", BODY)
            .by(Fault::HangInBody)
            .options(&[("timeout", "300ms"), ("threaded", "on")])
            .unless(lacks_threads, "1.x has no threaded inputs"),
    ]
}

/// The embedded host takes the option and goes on without.
fn lacks_threads(host: &Host) -> bool {
    host.version.is_some_and(|version| version < (2, 0, 0))
}

/// As long as all that failed in it, a second each.
fn whole_outage(_: &Scene, ended: &Ended) -> Result<(), String> {
    let told = ended.said.iter().find(|said| matches(AGAIN, &said.text));
    let told = told.map(|said| said.text.as_str()).unwrap_or_default();
    let seconds = told
        .split_once(" for ")
        .and_then(|(_, rest)| rest.split_once("s,"))
        .and_then(|(seconds, _)| seconds.parse::<f64>().ok());
    match seconds {
        Some(seconds) if seconds >= ended.stats.failures as f64 => Ok(()),
        _ => Err(format!(
            "{} failures of a second: {told}",
            ended.stats.failures
        )),
    }
}

fn stopping() -> Vec<Row> {
    let connected = |scene: &Scene| scene.kubelet.connections() > 0;
    let requested = |scene: &Scene| scene.kubelet.requests() > 0;
    vec![
        stops("stop-while-connecting", |scene| scene.gate.is_waited_for())
            .gated()
            .breaking(|scene| text(scene.gate.stall())),
        stops("stop-while-accepted", connected).by(Fault::HangAfterAccept),
        stops("stop-while-in-tls", connected).by(Fault::HangInTls),
        stops("stop-while-before-headers", requested).by(Fault::HangBeforeHeaders),
        stops("stop-while-in-slow-headers", requested).by(Fault::SlowHeaders),
        stops("stop-while-in-body", requested).by(Fault::HangInBody),
        stops("stop-while-in-slow-body", requested).by(Fault::SlowBody),
        stops("stop-while-in-tiny-chunks", requested).by(Fault::TinyChunks),
        stops("stop-while-in-a-thread-of-its-own", requested)
            .by(Fault::HangInBody)
            .options(&[("timeout", "1h"), ("threaded", "on")])
            .unless(lacks_threads, "1.x has no threaded inputs"),
    ]
}

/// Requests that a fault spoils, and the line that comes of it.
fn told<const N: usize>(rows: [(&'static str, Fault, &'static str); N]) -> Vec<Row> {
    let row = |(name, fault, line)| fails(name, line).by(fault);
    rows.into_iter().map(row).collect()
}

fn replying() -> Vec<Row> {
    const CUT: &str = "reply of {url} was cut short after * bytes";
    const INTERIM: &str = "reply of {url} does not begin: more than 16 interim replies (status 1xx): \
                           check that kubelet_url is a kubelet";
    #[rustfmt::skip]
    let mut rows = told([
        ("reset-mid-body", Fault::ResetMidBody, CUT),
        ("cut-body", Fault::CutBody, CUT),
        ("wrong-content-length", Fault::WrongContentLength, CUT),
        ("chunked-garbage", Fault::ChunkedGarbage, "reply of {url} is not valid http: *"),
        ("interim-replies-without-end", Fault::Interim(u64::MAX), INTERIM),
        ("header-of-a-mebibyte", Fault::HugeHeader(1 << 20),
            "reply of {url} has a header of 32 KiB or more: check that kubelet_url is a kubelet"),
        ("headers-by-the-thousand", Fault::ManyHeaders(1_000),
            "reply of {url} has more than 128 header fields: check that kubelet_url is a kubelet"),
        ("chunk-line-without-end", Fault::EndlessChunkLine,
            "reply of {url} is not valid http: a line of 32 KiB or more between two chunks"),
        ("empty-body", Fault::EmptyBody, "reply of {url} is empty"),
        ("not-json", Fault::NotJson,
            "reply of {url} is not a stats summary: it is not json at byte 0: check that kubelet_url is a kubelet"),
        ("gzip", Fault::Gzip,
            "reply of {url} is encoded as 'gzip', which was not asked for: is a proxy in between?"),
    ]);
    rows.extend([
        fails("interim-replies-without-end-http", INTERIM)
            .plain()
            .by(Fault::Interim(u64::MAX)),
        works("interim-replies-some", "passed over").by(Fault::Interim(16)),
        own(
            "huge-body",
            "one line, no record, little more memory than the limit of 64 MiB, then again",
            huge_body,
        ),
        works("http-1.0", "a connection a scrape")
            .by(Fault::Http10)
            .check(|scene, ended| scene.one_request_a_scrape(&ended.stats)),
    ]);
    rows
}

fn statuses() -> Vec<Row> {
    let status = |code, body: &str| Fault::Status(code, body.to_owned());
    // The API server's way to say it.
    let object = |code, message: &str| {
        let object =
            json!({"kind": "Status", "apiVersion": "v1", "message": message, "code": code});
        Fault::Status(code, object.to_string())
    };
    #[rustfmt::skip]
    let mut rows = told([
        ("304", status(304, ""),
            "unexpected status 304 from {url}: the request set no condition: is a cache in between?"),
        ("401", status(401, "Unauthorized"), TOKEN_REFUSED),
        ("403", status(403, "Forbidden"),
            "403 forbidden by {url}: the service account needs verb get on nodes/stats"),
        ("404", status(404, "404 page not found\n"),
            "unexpected status 404 from {url}: it said '404 page not found': \
             it has no summary at this path: set kubelet_url to https://NODE_IP:10250"),
        ("429", status(429, "Too many requests, please try again.\n"),
            "unexpected status 429 from {url}: it said 'Too many requests, please try again.': \
             it limits requests: raise interval"),
        ("500", status(500, "panic:\na \u{1b}[31mred\u{7} line\n"),
            "unexpected status 500 from {url}: it said 'panic:?a ?[31mred? line': see the log of the kubelet"),
        ("500-runtime", status(500, "Internal Error: failed to list pod stats: rpc error: code = Unavailable"),
            "unexpected status 500 from {url}: it said 'Internal Error: failed to list pod stats: \
             rpc error: code = Unavailable': check the container runtime on the node"),
        ("502", status(502, "Bad Gateway"),
            "unexpected status 502 from {url}: it said 'Bad Gateway': \
             a proxy answers, not the kubelet: set kubelet_url to https://NODE_IP:10250"),
        ("503", status(503, ""), "unexpected status 503 from {url}: see the log of the kubelet"),
        ("api-server-root",
            object(403, "forbidden: User \"system:serviceaccount:a:b\" cannot get path \"/stats/summary\""),
            "403 forbidden by {url}: this is the api server, not a kubelet: set kubelet_url to \
             https://NODE_IP:10250, or give it the path /api/v1/nodes/NODE/proxy"),
    ]);
    #[rustfmt::skip]
    rows.extend(told([
        ("api-server-without-rights",
            status(403, "Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[stats])\n"),
            "403 forbidden by {url}: the kubelet refuses the api server, its user \
             kube-apiserver-kubelet-client: bind that to clusterrole system:kubelet-api-admin"),
        ("api-server-no-node", object(404, "nodes \"vm\" not found"),
            "unexpected status 404 from {url}: it said 'nodes \"vm\" not found': \
             the path of kubelet_url must have the node's name"),
        ("api-server-reaches-no-kubelet",
            object(503, "error trying to reach service: dial tcp 10.0.0.7:10250: connect: connection refused"),
            "unexpected status 503 from {url}: it said 'error trying to reach service: dial tcp \
             10.0.0.7:10250: connect: connection refused': the api server does not reach the \
             kubelet: check the node and its port 10250"),
    ]).into_iter().map(proxied));
    rows.extend([
        own(
            "redirect",
            "one line, no record, nobody goes where it leads, then again",
            redirect,
        ),
        own(
            "flapping",
            "records of every second scrape, and two failures told with their ends, no more",
            flapping,
        ),
    ]);
    rows
}

/// By way of the API server.
fn proxied(row: Row) -> Row {
    row.url(|scene| format!("{}/api/v1/nodes/vm/proxy", scene.kubelet.url()))
}

fn keeping() -> Vec<Row> {
    vec![
        works("keep-alive-closed", "a new connection and one request each")
            .by(Fault::CloseAfterReply)
            .check(|scene, ended| scene.one_request_a_scrape(&ended.stats)),
        works("keep-alive-cut-at-request", "asked once more each time")
            .plain()
            .gated()
            .breaking(|scene| {
                scene.gate.set_mode(Mode::CutAt(2));
                Ok(())
            })
            .mending(pass)
            .check(|scene, ended| {
                scene.one_request_a_scrape(&ended.stats)?;
                let (connections, cuts) = (scene.gate.connections(), scene.gate.cuts());
                match cuts >= 3 && connections == cuts + 1 {
                    true => Ok(()),
                    false => Err(format!("{connections} connections for {cuts} cuts")),
                }
            }),
        fails(
            "keep-alive-cut-and-no-more",
            "connection closed by {url} before it replied",
        )
        .plain()
        .gated()
        .breaking(|scene| {
            scene.gate.set_mode(Mode::CutAt(1));
            Ok(())
        })
        .mending(pass)
        .check(|scene, ended| {
            // The first, one for each failure, and the one that works again.
            let (connections, failures) = (scene.gate.connections(), ended.stats.failures);
            match connections == failures + 2 {
                true => Ok(()),
                false => Err(format!("{connections} connections, {failures} failures")),
            }
        }),
    ]
}

/// With no descriptor left the look-up's thread cannot be given the socket by which it
/// says that it is done.
fn no_thread(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        plain: true,
        url: Some(|scene| format!("http://localhost:{}", scene.kubelet.port())),
        ..Setting::default()
    })?;
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records before", |stats| stats.records > 0)?;
    let before = run.limit_open_files(3)?;
    let line = "cannot look up localhost: cannot start a thread: too many open files: \
                raise the limit of processes, open files or memory";
    run.said(line)?;
    let failed = run.stats("more failures", |stats| stats.failures >= 3)?;
    run.limit_open_files(before)?;
    run.said(AGAIN)?;
    run.stats("records again", |stats| stats.records > failed.records)?;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[("error", line), ("info", AGAIN)])?;
    ended.metrics.ups_are(&[1, 0, 1])?;
    let failures = ended.stats.failures;
    Ok((ended, format!("1 line for {failures} failures, then again")))
}

fn redirect(site: &Site) -> Result<Seen, String> {
    let elsewhere = Scene::with(&[])?;
    let to = Fault::Redirect(elsewhere.url.clone());
    let line = "unexpected status 302 from {url}: redirects are not followed, \
                set kubelet_url to where it leads";
    let seen = fails("redirect", line).by(to).seen(site)?;
    match elsewhere.kubelet.connections() {
        0 => Ok(seen),
        many => Err(format!("{many} connections to where it leads")),
    }
}

fn huge_body(site: &Site) -> Result<Seen, String> {
    let scene = Scene::new(Setting {
        plain: true,
        options: &[("interval", "300ms")],
        ..Setting::default()
    })?;
    let line = format!(
        "reply of {} is larger than 64 MiB: check that kubelet_url is a kubelet",
        scene.url
    );
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records before", |stats| stats.records > 0)?;
    let base = run.memory_mib("VmRSS")?;
    scene.kubelet.set_fault(Fault::HugeBody(200_000_000));
    let failed = run.stats("failures", |stats| stats.failures >= 3)?;
    let peak = run.memory_mib("VmHWM")? - base;
    scene.kubelet.clear_fault();
    run.stats("records again", |stats| stats.records > failed.records)?;
    let left = run.memory_mib("VmRSS")? - base;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    only(&ended.said, &[("error", &line), ("info", AGAIN)])?;
    ended.metrics.ups_are(&[1, 0, 1])?;
    let truth = Truth::of([&scene.kubelet]);
    truth.check_all(&ended.records)?;
    if peak > ROOM_FOR_HUGE || left > 8.0 {
        return Err(format!("{peak:.0} MiB more, {left:.0} of them for good"));
    }
    let failures = failed.failures;
    let seen = format!("1 line for {failures} failures, {peak:.0} MiB more, {left:.1} after");
    Ok((ended, seen))
}

fn flapping(site: &Site) -> Result<Seen, String> {
    let scene = Scene::with(&[])?;
    let run = Run::start(site, scene.input(Line::new()))?;
    run.stats("records before", |stats| stats.records > 0)?;
    scene.kubelet.set_fault(Fault::Flap);
    let during = run.stats("many failures", |stats| stats.failures >= 8)?;
    if during.replies() < 8 {
        return Err(format!("not every second one: {during:?}"));
    }
    scene.kubelet.clear_fault();
    run.stats("records again", |stats| stats.records > during.records)?;
    run.is_up(1)?;
    let ended = run.stop(site)?;
    let failed = format!(
        "unexpected status 503 from {}: it said 'Service Unavailable': see the log of the kubelet",
        scene.url
    );
    let again = "scraping works again: it failed for *s, 1 scrape";
    let pair = [("error", failed.as_str()), ("info", again)];
    // That some pods are wanted was one of the six lines of this minute, and a failure
    // is told where its end has room as well.
    only(&ended.said, &[pair, pair].concat())?;
    let truth = Truth::of([&scene.kubelet]);
    truth.check_all(&ended.records)?;
    let seen = format!("4 lines for {} failures", ended.stats.failures);
    Ok((ended, seen))
}
