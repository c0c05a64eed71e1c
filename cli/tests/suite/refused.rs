//! `check` where something answers, but not with what is wanted.

use std::fs;

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use sim_kubelet::{Fault, SimKubelet};

use crate::{
    command::{
        after, assert_failure, failure, kubelet, masked, run, run_with, service_account_token,
        token_of, write,
    },
    once::at_the_time_of_the_captures,
};

/// Said of any token that is not accepted.
const NOT_ACCEPTED: &str = "FAIL  reply    401 unauthorized by https://127.0.0.1:PORT/stats/summary: it did not accept the token in DIR/token: check the token and the kubelet's authentication.webhook, or wait: a kubelet that cannot reach the api server says the same\n";

const NOT_A_KUBELET: &str = "
verdict: no metrics: what answers is not a kubelet's summary
to do:   set kubelet_url to https://NODE_IP:10250; the way through the API server, https://kubernetes.default.svc/api/v1/nodes/NODE/proxy, needs a right that can do much more
";

/// A kubelet that knows another token than the one in its file, and that.
fn with_token(issued: i64, expires: i64) -> (SimKubelet, String) {
    let kubelet = SimKubelet::builder().token("another").started();
    let token = service_account_token(issued, expires);
    kubelet.write_token_file(&token).expect("a file");
    (kubelet, token)
}

#[test]
fn an_expired_token() {
    let (kubelet, token) = with_token(-10_800, -7_200);
    let run = run_with(&kubelet, "check", &[]);
    let said = masked(&run.out, &kubelet);
    let said = after(&said, "warn");
    let (step, _) = said.split_once("ok    ca ").expect("the next step");
    assert_eq!(
        step,
        "\
warn  token    DIR/token: service account logging/fluent-bit
               audience https://kubernetes.default.svc
               issued 3 h ago, expired 2 h ago
"
    );
    assert_eq!(
        after(said, "FAIL"),
        format!(
            "\
{NOT_ACCEPTED}
verdict: no metrics: the token has expired
to do:   the kubelet renews the token it mounts into a pod: name that file, not a copy of it, or make one: kubectl create token -n logging fluent-bit
"
        )
    );
    assert_eq!((run.code, run.err.as_str()), (Some(1), ""));
    assert!(!run.out.contains(&token), "the token is shown");
}

#[test]
fn a_token_that_is_not_accepted() {
    let (kubelet, _) = with_token(-600, 3_000);
    assert_failure(
        &kubelet,
        &[],
        &format!(
            "\
{NOT_ACCEPTED}
verdict: no metrics: the kubelet does not accept the credentials
to do:   check that the token is of this cluster, that its audience is the API server's, and that the kubelet asks it (authentication.webhook.enabled: true in the kubelet's configuration)
to do:   it may be temporary: a kubelet that cannot reach the API server accepts no token at all
"
        ),
    );
}

/// A certificate of 2020, by which nobody is known; its key is beside it.
fn old_certificate(kubelet: &SimKubelet) -> [String; 2] {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "alice");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    [
        write(kubelet, "old.crt", &certificate.pem()),
        write(kubelet, "old.key", &key.serialize_pem()),
    ]
}

#[test]
fn an_expired_client_certificate() {
    let kubelet = SimKubelet::builder().token("a-token").started();
    let [cert, key] = old_certificate(&kubelet);
    assert_failure(
        &kubelet,
        &[
            ("kube_token_file", ""),
            ("cert_file", &cert),
            ("key_file", &key),
        ],
        "\
FAIL  reply    401 unauthorized by https://127.0.0.1:PORT/stats/summary: it did not accept the client certificate: check that the kubelet's client CA signed it and that it has not expired

verdict: no metrics: the client certificate has expired
to do:   renew the client certificate, or leave cert_file and key_file out and use a token
",
    );
}

/// The clock may be wrong here, or nobody looks: what happened counts.
#[test]
fn expired_and_accepted_all_the_same() {
    let kubelet = SimKubelet::builder().started();
    let token = service_account_token(-10_800, -7_200);
    kubelet.write_token_file(&token).expect("a file");
    let [cert, key] = old_certificate(&kubelet);
    let of_token = "               the token has expired by this machine's clock, but the request was accepted\n";
    let of_cert = "               the client certificate has expired by this machine's clock, but the request was accepted\n";
    let cert = [("cert_file", cert.as_str()), ("key_file", key.as_str())];
    let both = format!("{of_token}{of_cert}");
    let none: &[(&str, &str)] = &[];
    let cases = [
        (none, of_token, "the warning above"),
        (&cert, both.as_str(), "2 warnings above"),
    ];
    for (options, notes, warnings) in cases {
        let run = run_with(&kubelet, "check", options);
        let out = masked(&run.out, &kubelet);
        assert!(out.contains("\nwarn  token    DIR/token: "), "{out}");
        assert_eq!(
            out.contains("\nwarn  cert     "),
            !options.is_empty(),
            "{out}"
        );
        let expected = format!("node vm, 7 pods\n{notes}ok    clock ");
        assert!(out.contains(&expected), "{out}");
        let verdict = format!(
            "\nverdict: metrics arrive: 9 records in the first scrape (but see {warnings})\n"
        );
        assert!(out.ends_with(&verdict), "{out}");
        assert_eq!((run.code, run.err.as_str()), (Some(0), ""));
    }
}

/// Who the simulated kubelet says lacks a right.
const REFUSED: &str = "system:serviceaccount:default:powerless";

/// What `check` says from the failure on, where the token is of this user.
fn forbidden(user: &str, proxy: &str) -> String {
    let token = token_of(user, -600, 3000);
    let kubelet = SimKubelet::builder()
        .token("good")
        .forbidden_token(&token)
        .started();
    kubelet.write_token_file(&token).expect("a file");
    let url = format!("{}{proxy}", kubelet.url());
    failure(&kubelet, &[("kubelet_url", &url)])
}

fn granting(subresource: &str, careful: &str) -> String {
    format!(
        "\
to do:   grant nodes/{subresource} to system:serviceaccount:default:powerless, unless it has that already{careful}:

kubectl auth can-i get nodes --subresource={subresource} --as=system:serviceaccount:default:powerless || kubectl apply -f - <<'END'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: kubeletstats-nodes-{subresource}
rules:
  - apiGroups: [\"\"]
    resources: [\"nodes/{subresource}\"]
    verbs: [\"get\"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: kubeletstats-nodes-{subresource}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: kubeletstats-nodes-{subresource}
subjects:
  - kind: ServiceAccount
    name: \"powerless\"
    namespace: \"default\"
END

{TEMPORARY}"
    )
}

const TEMPORARY: &str = "to do:   if the right was there, it may be temporary: an API server that has just started still loads its rules, and the kubelet remembers a refusal for half a minute\n";

/// Whoever stands in between is given no right by a command to be pasted.
#[test]
fn another_user_than_the_tokens_is_refused() {
    const OTHER: &str = "to do:   the token is of system:serviceaccount:logging:fluent-bit, but system:serviceaccount:default:powerless was refused: check what is between here and the kubelet\n";
    const DIAL: &str = "to do:   dial the node itself, where nodes/stats is enough: set kubelet_url=https://NODE_IP:10250\n";
    let user = "system:serviceaccount:logging:fluent-bit";
    let to_do = |said: &str| after(said, "to do:").to_owned();
    assert_eq!(to_do(&forbidden(user, "")), format!("{OTHER}{TEMPORARY}"));
    assert_eq!(
        to_do(&forbidden(user, "/api/v1/nodes/vm/proxy")),
        format!("{DIAL}{OTHER}{TEMPORARY}")
    );
}

#[test]
fn a_right_that_is_missing() {
    let granting = granting("stats", "");
    assert_eq!(
        forbidden(REFUSED, ""),
        format!(
            "\
FAIL  reply    403 forbidden by https://127.0.0.1:PORT/stats/summary: system:serviceaccount:default:powerless needs verb get on nodes/stats
               it said: Forbidden (user=system:serviceaccount:default:powerless, verb=get, resource=nodes, subresource(s)=[stats])

verdict: no metrics: the right to get nodes/stats is missing
{granting}"
        )
    );
}

#[test]
fn a_right_that_is_missing_at_the_api_server() {
    let granting = granting(
        "proxy",
        " (it can do much more: its holder can run commands in every pod)",
    );
    assert_eq!(
        forbidden(REFUSED, "/api/v1/nodes/vm/proxy"),
        format!(
            "\
FAIL  reply    403 forbidden by https://127.0.0.1:PORT/api/v1/nodes/vm/proxy/stats/summary: system:serviceaccount:default:powerless needs verb get on nodes/proxy: better set kubelet_url to https://NODE_IP:10250, which needs only nodes/stats
               it said: nodes \"vm\" is forbidden: User \"system:serviceaccount:default:powerless\" cannot get resource \"nodes/proxy\" in API group \"\" at the cluster scope

verdict: no metrics: the right to get nodes/proxy is missing
to do:   dial the node itself, where nodes/stats is enough: set kubelet_url=https://NODE_IP:10250
{granting}"
        )
    );
}

/// By status, way ("-" is none) and text, and what is made of it. A status object stands for
/// the API server's, by its message. A right is granted only where one is missing.
const REFUSALS: &str = r#"
< 403 - Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[stats])
verdict: no metrics: the request counts as system:anonymous, whom no role should allow this
to do:   set authentication.webhook.enabled: true in the kubelet's configuration and restart it: it does not look at tokens, so no role helps
< 403 proxy Forbidden (user=kube-apiserver-kubelet-client, verb=get, resource=nodes, subresource(s)=[stats])
verdict: no metrics: the kubelet refuses the API server, not you: no right of yours changes that
to do:   bind the API server's user, kube-apiserver-kubelet-client, to the cluster role system:kubelet-api-admin; an API server that has just started may pass by itself: its rules are still loading
DIAL
< 401 proxy Unauthorized
verdict: no metrics: the kubelet does not accept the API server
to do:   check --kubelet-client-certificate of the API server, and that the CA in the kubelet's authentication.x509.clientCAFile signed that certificate
DIAL
< 401 proxy status: Unauthorized
verdict: no metrics: the API server does not accept the credentials
to do:   check that the token is of this cluster, and that its audience is the API server's
< 403 - status: forbidden: User "system:serviceaccount:a:b" cannot get path "/stats/summary"
verdict: no metrics: kubelet_url leads to the API server, not to a kubelet
KUBELET
< 404 - status: the server could not find the requested resource
verdict: no metrics: kubelet_url leads to the API server, not to a kubelet
KUBELET
< 404 proxy status: nodes "vm" not found
verdict: no metrics: the API server knows no such node
to do:   put the node's name into the path of kubelet_url:

kubectl get nodes -o wide
< 503 proxy status: error trying to reach service: dial tcp 10.0.0.7:10250: i/o timeout
verdict: no metrics: the API server does not reach the kubelet
to do:   check that the node is up, and that the API server may connect to its port 10250:

kubectl get nodes -o wide
< 500 proxy error trying to reach service: remote error: tls: internal error
verdict: no metrics: the API server does not get through the TLS handshake with the kubelet
to do:   see whether the kubelet's request for a certificate waits, and approve it with kubectl's certificate approve:

kubectl get csr
< 500 - Authorization error (user=system:anonymous, verb=get, resource=nodes, subresource=stats)
verdict: no metrics: the kubelet gets no answer of the API server about the user
to do:   it may be temporary: scraping goes on when the API server answers the node again
< 500 - Internal Error: failed to list pod stats: rpc error: code = Unavailable
verdict: no metrics: the kubelet gets no answer of its container runtime
to do:   look at the runtime on the node, which may have another name there:

systemctl status containerd
< 503 - not now
verdict: no metrics: the kubelet answers with an error of its own
to do:   look for the reason on the node:

journalctl -u kubelet
< 503 proxy status: the server is currently unable to handle the request
verdict: no metrics: the API server answers with an error of its own
to do:   it may be temporary; else see the API server's log
< 502 - <html>Bad Gateway</html>
verdict: no metrics: a proxy answers, and has no kubelet behind it
DIAL
< 429 proxy status: Too many requests, please try again later.
verdict: no metrics: the other side limits requests
to do:   raise interval, or see who else asks
< 403 - <html>blocked</html>
verdict: no metrics: what answers is not a kubelet's summary
KUBELET
< 400 - Bad Request
verdict: no metrics: what answers is not a kubelet's summary
KUBELET
"#;

const DIAL: &str = "to do:   dial the node itself, where nodes/stats is enough: set kubelet_url=https://NODE_IP:10250";
const KUBELET: &str = "to do:   set kubelet_url to https://NODE_IP:10250; the way through the API server, https://kubernetes.default.svc/api/v1/nodes/NODE/proxy, needs a right that can do much more";

#[test]
fn what_the_other_side_gives_as_its_reason() {
    for row in REFUSALS.split("\n< ").skip(1) {
        let (refusal, expected) = row.split_once('\n').expect(row);
        let mut words = refusal.splitn(3, ' ');
        let mut word = || words.next().expect(row);
        let (code, way, said) = (word().parse().expect(row), word(), word());
        let said = match said.strip_prefix("status: ") {
            Some(message) => serde_json::json!({"kind": "Status", "message": message}).to_string(),
            None => said.to_owned(),
        };
        let kubelet = SimKubelet::builder()
            .fault(Fault::Status(code, said))
            .started();
        let path = if way == "proxy" {
            "/api/v1/nodes/vm/proxy"
        } else {
            ""
        };
        let url = format!("{}{path}", kubelet.url());
        let said = failure(&kubelet, &[("kubelet_url", &url)]);
        assert!(!said.contains("kubectl apply"), "{said}");
        let expected = expected.replace("\nDIAL", &format!("\n{DIAL}"));
        let expected = expected.replace("\nKUBELET", &format!("\n{KUBELET}"));
        assert_eq!(
            after(&said, "verdict:").trim_end(),
            expected.trim_end(),
            "{row}"
        );
    }
}

#[test]
fn options_that_want_no_pod() {
    let kubelet = kubelet();
    let start = "\
FAIL  pods     none of the node's 7 pods is selected
               they are: default/limited-vm, default/log-generator-a-vm, default/log-generator-b-vm, default/web-with-sidecar-vm, kube-system/host-agent-vm, other/guaranteed-vm, other/other-app-vm

verdict: no metrics: the options select none of the pods on this node
to do:   ";
    let end = "to do:   if the pods run on another node, this is as it should be: check there\n";
    for row in [
        "namespace=other pod_prefix=log-generator: pods of that prefix are in namespace default: set namespace to it",
        "namespace=defualt: there is no namespace defualt here, but default",
        "namespace=payments: there is no namespace payments here: there are default, kube-system, other",
        "pod_prefix=generator: no pod's name starts with generator, but there is default/log-generator-a-vm",
        "pod_prefix=checkout: no pod's name starts with checkout: prefixes are compared from the name's start",
    ] {
        let (options, hint) = row.split_once(": ").expect(row);
        let options = options
            .split(' ')
            .map(|option| option.split_once('=').expect(row));
        let said = failure(&kubelet, &options.collect::<Vec<_>>());
        // Whichever of the two comes first in the reply.
        let said = said.replace("log-generator-b-vm\nto do", "log-generator-a-vm\nto do");
        assert_eq!(said, format!("{start}{hint}\n{end}"));
    }
}

/// Replies made from reports of the field, and others of which nothing comes.
#[test]
fn nothing_is_never_success() {
    const YOUNG: &str =
        "containers that have ended, or started this second, have none: see the pods";
    const LOOK: &str = "look for the reason on the node:\n\njournalctl -u kubelet";
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/field-reports"
    );
    let report = |name: &str| fs::read(format!("{folder}/{name}.summary.json")).expect(name);
    let steady = include_str!("../../../tests/fixtures/02-steady-open.summary.json");
    let no_cpu = steady.replace("\"usageNanoCores\"", "\"x\"");
    let no_cpu = no_cpu.replace("\"usageCoreNanoSeconds\"", "\"y\"");
    let lists_none = format!(
        "to do:   a kubelet that has just started has none yet: try again in a minute\n\
         to do:   if pods run on this node, the kubelet does not hear of them from its container runtime, \
         or cannot read their cgroups (containerRuntimeEndpoint, cgroupDriver): {LOOK}\n"
    );
    let no_value = format!(
        "to do:   {YOUNG}\nto do:   if they run, the kubelet cannot read their cgroups: {LOOK}\n"
    );
    let sandbox = "to do:   a pod that has just started has none for some seconds: try again\n\
         to do:   if it lasts, the pods run in a sandbox whose containers the kubelet does not see \
         (gVisor, Kata): its runtime has to report them, and until then there is nothing to record\n";
    let stuck = "to do:   look on the node for why it takes no samples:\n\njournalctl -u kubelet\n";
    let hint = ": if it has not just started, see its log: it may not reach its container runtime";
    let (no_pods, no_containers) = (report("10-no-pods"), report("06-no-containers"));
    let no_cpu = no_cpu.into_bytes();
    const LISTS_NONE: &str = "the kubelet lists no pods";
    const NO_CPU: &str = "the kubelet has no CPU value of the selected containers";
    const NONE: &str = "the kubelet lists no containers of the selected pods";
    const OLD: &str =
        "the newest sample of the selected containers is 60 min old: the kubelet takes no new ones";
    for (body, later, source, verdict, hint, to_do) in [
        (&no_pods, 0, "auto", LISTS_NONE, hint, &*lists_none),
        (&no_containers, 0, "auto", NONE, "", sandbox),
        (&no_cpu, 0, "auto", NO_CPU, "", &no_value),
        (&no_cpu, 0, "counter", NO_CPU, "", &no_value),
        (&steady.into(), 3_600, "auto", OLD, "", stuck),
    ] {
        let kubelet = at_the_time_of_the_captures(later, body.clone());
        let options = [("cpu_source", source)];
        let run = run_with(&kubelet, "check", &options);
        let expected = format!("verdict: no metrics: {verdict}\n{to_do}");
        assert_eq!(after(&run.out, "verdict:"), expected, "{}", run.out);
        assert_eq!(run.code, Some(1));
        let run = run_with(&kubelet, "once", &options);
        assert_eq!(run.err, format!("kubeletstats: {verdict}{hint}\n"));
        assert_eq!(run.code, Some(1));
    }
}

#[test]
fn clocks_that_disagree() {
    for (ahead, text) in [
        (3_600_000, "60 min ahead of"),
        (-3_600_000, "60 min behind"),
    ] {
        let kubelet = SimKubelet::builder().clock_ahead_ms(ahead).started();
        let run = run_with(&kubelet, "check", &[("pod_prefix", "log-generator")]);
        assert_eq!(run.code, Some(0));
        assert_eq!(
            after(&masked(&run.out, &kubelet), "warn"),
            format!(
                "\
warn  clock    the kubelet's clock is {text} this machine's
               records carry the kubelet's time, and tokens and certificates are judged by each side's own: set the clocks (chrony, systemd-timesyncd)
               the newest sample is TIME old
ok    pods     2 of 7 selected: default/log-generator-a-vm, default/log-generator-b-vm
               not selected: default/limited-vm, default/web-with-sidecar-vm, kube-system/host-agent-vm, other/guaranteed-vm, other/other-app-vm
ok    records  2 records from 2 containers

verdict: metrics arrive: 2 records in the first scrape (but see the warning above)
"
            )
        );
    }
}

#[test]
fn something_that_is_no_kubelet() {
    let page = SimKubelet::builder().fault(Fault::NotJson).started();
    assert_failure(
        &page,
        &[],
        &format!(
            "FAIL  reply    reply of https://127.0.0.1:PORT/stats/summary is not a stats summary: \
             it is not json at byte 0: check that kubelet_url is a kubelet\n{NOT_A_KUBELET}"
        ),
    );
    let kubelet = kubelet();
    assert_failure(
        &kubelet,
        &[("kubelet_url", &format!("{}/metrics", kubelet.url()))],
        &format!(
            "FAIL  reply    unexpected status 404 from https://127.0.0.1:PORT/metrics/stats/summary: \
             it said '404 page not found': it has no summary at this path: \
             set kubelet_url to https://NODE_IP:10250\n{NOT_A_KUBELET}"
        ),
    );
}

#[test]
fn options_that_stop_fluent_bit() {
    #[rustfmt::skip]
    let rows = [
        ("interval=soon",
            "option interval: bad value 'soon': expected a time from 1ms to 7 days such as 500ms, 10s, 1m or 1h"),
        ("pod_prefix=log-*",
            "option pod_prefix: bad value 'log-*': expected beginnings of pod names, of a-z, 0-9, '-' and '.', \
             with commas between them: 'log-*' can match nothing: a prefix is taken as it stands, write log-"),
        ("namespaces=default", "unknown configuration property 'namespaces': kubeletstats --help lists them"),
    ];
    for (option, why) in rows {
        let run = run(&["check", "-p", option], &[]);
        let end = "verdict: no metrics: Fluent Bit does not start with these options\n";
        let from = "               from: command line\n";
        assert_eq!(run.out, format!("FAIL  options  {why}\n{from}\n{end}"));
        assert_eq!((run.code, run.err.as_str()), (Some(2), ""));
    }
}

/// A token would not be sent over http, so naming one is of no use there.
#[test]
fn no_credentials_where_some_are_asked_for() {
    for (is_http, remedy) in [
        (false, ": set kube_token_file"),
        (
            true,
            ", as they never travel unencrypted: set kubelet_url=https://127.0.0.1:PORT",
        ),
    ] {
        let kubelet = SimKubelet::builder()
            .token("a-token")
            .plain_http(is_http)
            .started();
        let said = failure(&kubelet, &[("kube_token_file", "")]);
        assert!(
            said.starts_with("FAIL  reply    401 unauthorized by "),
            "{said}"
        );
        let expected = format!("to do:   no credentials were sent{remedy}\n");
        assert_eq!(after(&said, "to do:"), expected);
    }
}
