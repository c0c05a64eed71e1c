//! The contents of a service account's token. Its signature is not checked: only the API
//! server can do that, because it has the key.

use data_encoding::BASE64URL_NOPAD;
use serde_json::Value;

/// The claims that the payload of a JSON Web Token has.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Claims {
    pub subject: Option<String>,
    pub audiences: Vec<String>,
    pub issuer: Option<String>,
    /// Seconds since the epoch.
    pub issued: Option<f64>,
    pub not_before: Option<f64>,
    pub expires: Option<f64>,
}

impl Claims {
    /// Reads the claims from an `Authorization` header. Returns `None` if the token is
    /// not a JSON Web Token.
    pub fn of_header(header: &[u8]) -> Option<Self> {
        let token = header.strip_prefix(b"Bearer ")?;
        let mut parts = token.split(|byte| *byte == b'.');
        let (_, payload) = (parts.next()?, parts.next()?);
        parts.next()?;
        let payload = BASE64URL_NOPAD.decode(payload.trim_ascii_end()).ok()?;
        let claims: Value = serde_json::from_slice(&payload).ok()?;
        claims.as_object()?;
        let text = |name: &str| Some(claims.get(name)?.as_str()?.to_owned());
        let time = |name: &str| claims.get(name)?.as_f64();
        Some(Self {
            subject: text("sub"),
            audiences: match claims.get("aud") {
                Some(Value::String(one)) => vec![one.clone()],
                Some(Value::Array(some)) => some
                    .iter()
                    .filter_map(|one| one.as_str().map(str::to_owned))
                    .collect(),
                _ => Vec::new(),
            },
            issuer: text("iss"),
            issued: time("iat"),
            not_before: time("nbf"),
            expires: time("exp"),
        })
    }

    /// Returns namespace and name, if the token is of a service account.
    pub fn service_account(&self) -> Option<(&str, &str)> {
        service_account(self.subject.as_deref()?)
    }
}

/// Returns namespace and name from `system:serviceaccount:NAMESPACE:NAME`.
pub fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user
        .strip_prefix("system:serviceaccount:")?
        .split_once(':')?;
    let plausible = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        !part.is_empty() && part.len() <= 253 && part.chars().all(allowed)
    };
    (plausible(namespace) && plausible(name)).then_some((namespace, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(payload: &str) -> Vec<u8> {
        let payload = BASE64URL_NOPAD.encode(payload.as_bytes());
        format!("Bearer e30.{payload}.c2ln").into_bytes()
    }

    #[test]
    fn a_projected_token() {
        let payload = r#"{"aud":["https://kubernetes.default.svc"],"exp":1795270000,"iat":1795266400,
            "iss":"https://kubernetes.default.svc","nbf":1795266400,
            "sub":"system:serviceaccount:logging:fluent-bit"}"#;
        let claims = Claims::of_header(&header(payload)).expect("the header holds a token");
        assert_eq!(claims.service_account(), Some(("logging", "fluent-bit")));
        assert_eq!(claims.audiences, ["https://kubernetes.default.svc"]);
        assert_eq!(claims.expires, Some(1_795_270_000.0));
    }

    #[test]
    fn anything_else_is_no_token() {
        for payload in ["", "[]", "null", "{", "\"x\""] {
            assert_eq!(Claims::of_header(&header(payload)), None, "{payload}");
        }
        for text in [
            "Bearer opaque",
            "Bearer a.b",
            "Bearer ..",
            "Bearer é.é.é",
            "",
        ] {
            assert_eq!(Claims::of_header(text.as_bytes()), None, "{text}");
        }
        let odd = Claims::of_header(&header(r#"{"exp":"soon","aud":7,"sub":1}"#));
        assert_eq!(odd, Some(Claims::default()));
    }

    #[test]
    fn only_plausible_names_get_into_a_manifest() {
        assert_eq!(
            service_account("system:serviceaccount:a:b"),
            Some(("a", "b"))
        );
        for user in [
            "alice",
            "system:serviceaccount:a",
            "system:serviceaccount:a:b\nc",
            "system:serviceaccount::b",
        ] {
            assert_eq!(service_account(user), None, "{user}");
        }
    }
}
