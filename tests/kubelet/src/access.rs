//! Owns who may read: accepted tokens, forbidden tokens, client certificates, or anybody.
//! Also owns the result if the API server cannot be asked about a token.

/// Who has access.
#[derive(Debug, Clone, Default)]
pub struct Access {
    pub tokens: Vec<String>,
    pub forbidden: Vec<String>,
    pub client_auth: bool,
    /// Tokens are ignored, as without `authentication.webhook.enabled`.
    pub no_webhook: bool,
    /// The API server, which knows tokens and rights, does not answer.
    pub server_away: bool,
    /// Nobody has the right to `/pods`, whatever other rights they have.
    pub pods_forbidden: bool,
    /// A kubelet before 1.33 has no separate right to `/pods`. Only the right to
    /// everything includes it.
    pub coarse_rights: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    Unauthorized,
    Forbidden,
    /// The request is forbidden for `system:anonymous`.
    Anonymous,
    /// The API server cannot be asked.
    Undecided,
}

impl Access {
    /// Without tokens and without a client CA, anybody has access, as with an open
    /// kubelet.
    pub fn judge(&self, authorization: Option<&str>, known_client: bool) -> Verdict {
        let token = authorization
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        match (self.no_webhook, self.server_away) {
            (true, _) if !known_client => return Verdict::Anonymous,
            (_, true) if token.is_some() => return Verdict::Unauthorized,
            (_, true) => return Verdict::Undecided,
            _ => {}
        }
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
