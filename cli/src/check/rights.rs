//! 403: who lacks which right, and the manifest that grants it.

use flb_in_kubeletstats::{error::printable, options::Config};
use serde_json::Value;

use super::credentials::Credential;
use crate::token;

/// What the scrape needs `get` on.
pub fn resource(config: &Config) -> &'static str {
    match config.url.node_proxy {
        true => "nodes/proxy",
        false => "nodes/stats",
    }
}

/// A refusal in the words of the kubelet or of the API server.
pub fn said(refusal: &[u8]) -> String {
    let text = String::from_utf8_lossy(refusal);
    // The API server wraps it in a Status object.
    let status: Option<Value> = serde_json::from_str(&text).ok();
    let message = status
        .as_ref()
        .and_then(|status| status.get("message")?.as_str());
    printable(message.unwrap_or(&text).trim(), 400)
}

/// The user that was refused: as the token names it, else as the refusal does. Beside a client
/// certificate the token may not have counted: there the refusal knows better.
/// `None` for nobody in particular, who should not be given any right.
pub fn user(credential: &Credential, said: &str) -> Option<String> {
    let between = |start: &str, end: char| {
        let (_, rest) = said.split_once(start)?;
        let (user, _) = rest.split_once(end)?;
        Some(user.to_owned())
    };
    let subject = || credential.claims.as_ref()?.subject.clone();
    let alone = credential.client.is_none();
    alone
        .then(subject)
        .flatten()
        .or_else(|| between("user=", ','))
        .or_else(|| between("User \"", '"'))
        .or_else(|| credential.client.clone())
        .filter(|user| user != "system:anonymous")
}

/// A role with this one right, and its binding, for `kubectl apply`.
pub fn manifest(user: &str, resource: &str) -> String {
    let subject = match token::service_account(user) {
        Some((namespace, name)) => {
            format!("  - kind: ServiceAccount\n    name: {name}\n    namespace: {namespace}")
        }
        None => {
            // JSON's quoting is YAML's.
            let name = Value::from(printable(user, 253));
            format!("  - kind: User\n    apiGroup: rbac.authorization.k8s.io\n    name: {name}")
        }
    };
    let name = format!("kubeletstats-{}", resource.replace('/', "-"));
    format!(
        "\
kubectl apply -f - <<'END'
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata:
  name: {name}
rules:
  - apiGroups: [\"\"]
    resources: [\"{resource}\"]
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Claims;

    #[test]
    fn the_user_of_a_refusal() {
        let kubelet = "Forbidden (user=system:serviceaccount:a:b, verb=get, resource=nodes, subresource(s)=[stats])";
        let server = r#"{"kind":"Status","message":"nodes \"n\" is forbidden: User \"alice\" cannot get resource \"nodes/proxy\"","code":403}"#;
        let nobody = Credential::default();
        let user = |text: &str| user(&nobody, &said(text.as_bytes()));
        assert_eq!(user(kubelet).as_deref(), Some("system:serviceaccount:a:b"));
        assert_eq!(user(server).as_deref(), Some("alice"));
        assert_eq!(user("no"), None);
        assert_eq!(user("Forbidden (user=system:anonymous, verb=get)"), None);
    }

    #[test]
    fn beside_a_client_certificate_the_refusal_tells_who_was_asked_for() {
        let claims = Claims {
            subject: Some("system:serviceaccount:a:b".to_owned()),
            ..Claims::default()
        };
        let mut credential = Credential {
            claims: Some(claims),
            ..Credential::default()
        };
        let refusal = "Forbidden (user=scraper, verb=get, resource=nodes)";
        let of_token = Some("system:serviceaccount:a:b".to_owned());
        assert_eq!(user(&credential, refusal), of_token);
        credential.client = Some("scraper".to_owned());
        assert_eq!(user(&credential, refusal).as_deref(), Some("scraper"));
    }

    #[test]
    fn a_user_that_is_no_service_account_is_quoted() {
        let text = manifest("alice\": {}", "nodes/stats");
        assert!(text.contains("name: \"alice\\\": {}\""), "{text}");
    }
}
