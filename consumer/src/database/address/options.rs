//! The options in an address, by name and value, whichever of its two forms it has.

/// What the driver knows, and nothing else: `sslcert` and others of libpq's would be ignored,
/// which is worse than being refused.
const KNOWN: [&str; 18] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_retries",
    "load_balance_hosts",
    "options",
    "password",
    "port",
    "sslnegotiation",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The options of an address, apart from what stands before them in a URL.
pub struct Options {
    url: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Options {
    pub fn of_url(text: &str) -> Self {
        // As the driver has it: a `?` before the `@` is part of the password.
        let host = text.find('@').unwrap_or_default();
        let query = text[host..].find('?').map(|at| host + at);
        let (url, query) = match query {
            Some(at) => (&text[..at], &text[at + 1..]),
            None => (text, ""),
        };
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        Self {
            url: Some(url.to_owned()),
            pairs: pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// `name = value`, where a value may stand in single quotes with backslashes.
    pub fn of_pairs(text: &str) -> Option<Self> {
        let mut pairs = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (name, after) = rest.split_once('=')?;
            let mut chars = after.trim_start().chars();
            let mut value = String::new();
            let quoted = chars.as_str().starts_with('\'');
            if quoted {
                chars.next();
            }
            loop {
                match chars.next() {
                    Some('\\') => value.push(chars.next()?),
                    Some('\'') if quoted => break,
                    Some(c) if !quoted && c.is_whitespace() => break,
                    Some(c) => value.push(c),
                    None if quoted => return None,
                    None => break,
                }
            }
            pairs.push((name.trim().to_owned(), value));
            rest = chars.as_str().trim_start();
        }
        Some(Self { url: None, pairs })
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(known, _)| known == name)?;
        let value = self.pairs.remove(index).1;
        Some(if self.url.is_some() {
            percent_decoded(&value)
        } else {
            value
        })
    }

    /// The name of an option that would have no effect. What may be part of a password that is
    /// not quoted as it has to be is no name.
    pub fn unknown(&self) -> Option<&str> {
        let is_name = |name: &str| {
            let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            !name.is_empty() && name.chars().all(allowed)
        };
        // An `@` in a password makes the rest of it the host: a `?` there begins the options
        // too early, and its end is among them.
        let is_cut = self.url.is_some()
            && self
                .pairs
                .iter()
                .any(|(name, value)| name.contains('@') || value.contains('@'));
        let names = self.pairs.iter().map(|(name, _)| name.as_str());
        let mut unknown = names.filter(|name| is_name(name) && !KNOWN.contains(name));
        unknown.next().filter(|_| !is_cut)
    }

    pub fn into_text(self) -> String {
        let Some(url) = self.url else {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
            let pairs = self.pairs.iter();
            let pairs = pairs.map(|(name, value)| format!("{name}='{}'", quoted(value)));
            return pairs.collect::<Vec<_>>().join(" ");
        };
        let pairs = self
            .pairs
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        match pairs.collect::<Vec<_>>().join("&") {
            none if none.is_empty() => url,
            query => format!("{url}?{query}"),
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Address;

    #[test]
    fn an_option_that_would_have_no_effect_is_named() {
        for text in [
            "postgres://u:p@h/db?sslmode=require&sslcert=/c.pem",
            "host=h user=u password=p sslcert='/c.pem'",
        ] {
            let error = Address::parse(text, None).unwrap_err();
            assert_eq!(error, "option sslcert is not supported");
        }
        // A part of a password is not.
        for text in [
            "postgres://u:p@w?sesame=1@h/db",
            "postgres://u:p@w?sesame&x=1@h/db",
        ] {
            let error = Address::parse(text, None).unwrap_err();
            assert!(error.starts_with("expected postgresql://"), "{error}");
        }
        let text = "postgres://u:open?sesame=1@h/db?sslmode=on";
        let error = Address::parse(text, None).unwrap_err();
        assert!(error.starts_with("sslmode on: "), "{error}");
        let all = KNOWN.map(|name| match name {
            "channel_binding" => "channel_binding=disable".to_owned(),
            "hostaddr" => "hostaddr=127.0.0.1".to_owned(),
            "load_balance_hosts" => "load_balance_hosts=disable".to_owned(),
            "sslnegotiation" => "sslnegotiation=postgres".to_owned(),
            "target_session_attrs" => "target_session_attrs=any".to_owned(),
            name => format!("{name}=1"),
        });
        Address::parse(&all.join(" "), None).unwrap();
    }
}
