//! Explains a 403: which user lacks which permission, and the command that grants it.

use kubeletstats_core::{kubelet::refusal::Refusal, options::Config, text::printable};
use serde_json::Value;

use super::credentials::Credential;
use crate::{screen::Report, token};

/// Advises how to grant a missing permission.
pub fn advise(refusal: &Refusal, config: &Config, credential: &Credential, report: &mut Report) {
    let resource = refusal.missing_resource();
    if config.url.node_proxy {
        advise_direct_url(report);
    }
    let user = match refusal.user.clone().or_else(|| intended_user(credential)) {
        Some(user) => user,
        None => {
            return report.advise(format!(
                "grant verb get on {resource} to the user of the request, whom neither the token nor \
                 the refusal names"
            ));
        }
    };
    match subject(credential).filter(|of_token| *of_token != user) {
        // The refused user belongs to something between here and the kubelet. Others may use
        // it too, so it should get no right.
        Some(of_token) if credential.client.is_none() => report.advise(format!(
            "the token is of {}, but {} was refused: check what is between here and the kubelet",
            printable(of_token, 253),
            printable(&user, 253)
        )),
        _ => advise_grant(&user, resource, &needed(config, resource), report),
    }
    report.advise(
        "if the right was there, it may be temporary: an API server that has just started still loads \
         its rules, and the kubelet remembers a refusal for half a minute",
    );
}

/// The resources on which the options need `get`, as text.
pub fn rights(config: &Config) -> &'static str {
    match (config.url.node_proxy, config.pod_facts) {
        (true, _) => "nodes/proxy, as the API server is asked",
        (false, true) => "nodes/stats, and nodes/pods for pod_facts",
        (false, false) => "nodes/stats",
    }
}

/// The resources on which the options need `get`. `missing` is one of them.
fn needed(config: &Config, missing: &'static str) -> Vec<&'static str> {
    match missing {
        // A kubelet before 1.33 has no other right for its pods.
        "nodes/proxy" if !config.url.node_proxy => vec!["nodes/stats", missing],
        "nodes/stats" | "nodes/pods" if config.pod_facts => vec!["nodes/stats", "nodes/pods"],
        _ => vec![missing],
    }
}

/// `missing` was refused; `needed` is all that the options need.
fn advise_grant(user: &str, missing: &str, needed: &[&str], report: &mut Report) {
    let careful = match needed.contains(&"nodes/proxy") {
        true => " (it can do much more: its holder can run commands in every pod)",
        false => "",
    };
    let shown = printable(user, 253);
    let also = match needed {
        [_] => "",
        _ if missing == "nodes/stats" => ", and nodes/pods for pod_facts",
        _ => ", beside nodes/stats",
    };
    report.advise(format!(
        "grant {missing} to {shown}, unless it has that already{also}{careful}:"
    ));
    report.command(grant_command(user, missing, needed));
}

/// The first advice if the request goes through the API server.
pub fn advise_direct_url(report: &mut Report) {
    report.advise(
        "dial the node itself, where nodes/stats is enough: set kubelet_url=https://NODE_IP:10250",
    );
}

/// Returns the user of the credentials that were sent, for a refusal that names no user.
fn intended_user(credential: &Credential) -> Option<String> {
    subject(credential)
        .map(str::to_owned)
        .or_else(|| credential.client.clone())
}

fn subject(credential: &Credential) -> Option<&str> {
    credential.claims.as_ref()?.subject.as_deref()
}

/// Returns a shell command that grants what is needed with a ClusterRole and its binding. It
/// does nothing if the user already has the missing right.
fn grant_command(user: &str, missing: &str, needed: &[&str]) -> String {
    // JSON's quoting is valid in YAML. With it, a name such as 123 is text too.
    let quoted = |text: &str| Value::from(printable(text, 253)).to_string();
    let subject = match token::service_account(user) {
        Some((namespace, name)) => {
            let (namespace, name) = (quoted(namespace), quoted(name));
            format!("  - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}")
        }
        None => {
            let name = quoted(user);
            format!("  - kind: User\n    apiGroup: rbac.authorization.k8s.io\n    name: {name}")
        }
    };
    let name = format!("kubeletstats-{}", missing.replace('/', "-"));
    let subresource = missing.trim_start_matches("nodes/");
    let resources: Vec<_> = needed.iter().map(|one| quoted(one)).collect();
    let resources = resources.join(", ");
    let user = shell_quote(&printable(user, 253));
    format!(
        "\
kubectl auth can-i get nodes --subresource={subresource} --as={user} || kubectl apply -f - <<'END'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {name}
rules:
  - apiGroups: [\"\"]
    resources: [{resources}]
    verbs: [\"get\"]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata:
  name: {name}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: ClusterRole
  name: {name}
subjects:
{subject}
END"
    )
}

/// Quotes a text as one word for a shell.
fn shell_quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/@".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_that_is_no_service_account_is_quoted() {
        let text = grant_command("al'ice\": {}", "nodes/stats", &["nodes/stats"]);
        assert!(text.contains("name: \"al'ice\\\": {}\""), "{text}");
        assert!(text.contains(r#"--as='al'\''ice": {}' ||"#), "{text}");
    }
}
