//! The options in an address, by name and value. It reads both forms of an address.

use percent_encoding::percent_decode_str;

/// Options of libpq that the driver does not have. Other unknown names are not shown: they
/// may be part of a password that is not quoted correctly.
const NOT_SUPPORTED: [&str; 12] = [
    "gssencmode",
    "passfile",
    "require_auth",
    "service",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "sslcert",
    "sslcertmode",
    "sslcrl",
    "sslcrldir",
    "sslkey",
    "sslpassword",
];

/// The options of an address. For a URL, the part before them is kept separately.
pub struct Options {
    url: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Options {
    /// Returns `None` if the text is neither a URL nor pairs.
    pub fn parse(text: &str) -> Option<Self> {
        match text.contains("://") {
            true => Some(Self::of_url(text)),
            false => Self::of_pairs(text),
        }
    }

    fn of_url(text: &str) -> Self {
        // As in the driver, a `?` before the `@` is part of the password.
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

    /// Reads `name = value`. A value may be in single quotes, with backslashes as escapes.
    fn of_pairs(text: &str) -> Option<Self> {
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
        Some(match self.url {
            Some(_) => percent_decode_str(&value).decode_utf8_lossy().into_owned(),
            None => value,
        })
    }

    /// Returns the name of an option that would have no effect.
    pub fn not_supported(&self) -> Option<&str> {
        let mut names = self.pairs.iter().map(|(name, _)| name.as_str());
        names.find(|name| NOT_SUPPORTED.contains(name))
    }

    /// Removes all hosts and the options that belong to a host.
    pub fn remove_hosts(&mut self) {
        let of_host = ["host", "hostaddr", "port"];
        self.pairs
            .retain(|(name, _)| !of_host.contains(&name.as_str()));
        if let Some(url) = &mut self.url {
            // As in the driver, the hosts are between the first `@` and the next `/`.
            let scheme = url.find("://").map_or(0, |at| at + "://".len());
            let begin = url.find('@').map_or(scheme, |at| at + 1);
            let end = url[begin..].find('/').map_or(url.len(), |at| begin + at);
            url.replace_range(begin..end, "");
        }
    }

    /// Writes the options for the driver.
    pub fn to_text(&self) -> String {
        let Some(url) = &self.url else {
            let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
            let pairs = self.pairs.iter();
            let pairs = pairs.map(|(name, value)| format!("{name}='{}'", quoted(value)));
            return pairs.collect::<Vec<_>>().join(" ");
        };
        let pairs = self.pairs.iter();
        let pairs = pairs.map(|(name, value)| format!("{name}={value}"));
        format!("{url}?{}", pairs.collect::<Vec<_>>().join("&"))
    }
}

#[cfg(test)]
mod tests {
    use crate::database::Address;

    #[test]
    fn an_option_that_would_have_no_effect_is_named() {
        for text in [
            "postgres://u:p@h/db?sslmode=require&sslcert=/c.pem",
            "host=h user=u password=p sslcert='/c.pem'",
        ] {
            let error = Address::parse(text, None).expect_err("not supported");
            assert_eq!(error, "option sslcert is not supported");
        }
        // A part of a password is not shown.
        for text in [
            "postgres://u:p@w?sesame=1@h/db",
            "postgres://u:p@w?sesame&x=1@h/db",
            "host=h user=u password=p sesame=1",
        ] {
            let error = Address::parse(text, None).expect_err("not known");
            assert!(error.starts_with("expected postgresql://"), "{error}");
        }
        let text = "postgres://u:open?sesame=1@h/db?sslmode=on";
        let error = Address::parse(text, None).expect_err("no mode");
        assert!(error.starts_with("sslmode on: "), "{error}");
    }
}
