//! Owns who may read: tokens, forbidden tokens, client certificates, or anybody.

/// Who is let in.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub tokens: Vec<String>,
    pub forbidden: Vec<String>,
    pub client_auth: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Unauthorized,
    Forbidden,
}

impl Access {
    /// Without tokens and without a client CA anybody is let in, as with an open kubelet.
    pub fn judge(&self, authorization: Option<&str>, known_client: bool) -> Verdict {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        let is_in =
            |list: &[String]| token.is_some_and(|token| list.iter().any(|one| one == token));
        if is_in(&self.forbidden) {
            return Verdict::Forbidden;
        }
        let open = self.tokens.is_empty() && !self.client_auth;
        if open || known_client || is_in(&self.tokens) {
            return Verdict::Allowed;
        }
        Verdict::Unauthorized
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let open = Access::default();
        assert_eq!(open.judge(None, false), Verdict::Allowed);
        assert_eq!(open.judge(Some("Bearer any"), false), Verdict::Allowed);
        let guarded = Access {
            tokens: vec!["good".to_owned()],
            forbidden: vec!["weak".to_owned()],
            client_auth: true,
        };
        let cases = [
            (None, false, Verdict::Unauthorized),
            (None, true, Verdict::Allowed),
            (Some("Bearer good"), false, Verdict::Allowed),
            (Some("bearer good"), false, Verdict::Allowed),
            (Some("Bearer "), false, Verdict::Unauthorized),
            (Some("Basic good"), false, Verdict::Unauthorized),
            (Some("Bearer bad"), true, Verdict::Allowed),
            (Some("Bearer weak"), false, Verdict::Forbidden),
        ];
        for (authorization, known_client, expected) in cases {
            assert_eq!(
                guarded.judge(authorization, known_client),
                expected,
                "{authorization:?}"
            );
        }
    }
}
