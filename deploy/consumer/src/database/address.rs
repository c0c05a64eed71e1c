//! Where the database is: a libpq URL or `key=value` pairs. The driver knows most of it; what
//! it does not know, the stricter `sslmode`s and `sslrootcert`, is taken out before.

use super::tls::{Check, Connector};
use postgres::config::{Config, Host, SslMode};
use postgres::{Client, NoTls};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

const CONNECT: Duration = Duration::from_secs(10);
/// A server that vanished without a word is given up after this time.
const SILENCE: Duration = Duration::from_secs(30);

/// A parsed address; never shows its password.
#[derive(Clone)]
pub struct Address {
    config: Config,
    check: Check,
}

impl Address {
    /// `password` is for an address without one.
    pub fn parse(text: &str, password: Option<String>) -> Result<Self, String> {
        let expected = "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE or host=HOST user=USER dbname=DATABASE";
        let mut options = if text.contains("://") {
            Options::of_url(text)
        } else {
            Options::of_pairs(text).ok_or(expected)?
        };
        let root = options.take("sslrootcert").filter(|file| file != "system");
        let root = root.map(PathBuf::from);
        let mode = options.take("sslmode");
        let (driver_mode, check) = match mode.as_deref() {
            Some("disable") => (SslMode::Disable, Check::Nothing),
            None | Some("allow" | "prefer") => (SslMode::Prefer, Check::Nothing),
            // As libpq has it: with a file to check by, `require` checks.
            Some("require") if root.is_some() => (SslMode::Require, Check::Issuer(root)),
            Some("require") => (SslMode::Require, Check::Nothing),
            Some("verify-ca") => (SslMode::Require, Check::Issuer(root)),
            Some("verify-full") => (SslMode::Require, Check::IssuerAndName(root)),
            Some(other) => {
                return Err(format!(
                    "sslmode {other}: expected disable, prefer, require, verify-ca or verify-full"
                ));
            }
        };
        // The driver's error may quote the value it does not like.
        let mut config = Config::from_str(&options.into_text()).map_err(|_| expected)?;
        config.ssl_mode(driver_mode);
        if config.get_hosts().is_empty() {
            return Err(expected.to_owned());
        }
        if let (None, Some(password)) = (config.get_password(), password) {
            config.password(password);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("metrics-consumer");
        }
        config.keepalives_idle(SILENCE).tcp_user_timeout(SILENCE);
        Ok(Self { config, check })
    }

    pub fn connect(&self) -> Result<Client, postgres::Error> {
        if self.config.get_ssl_mode() == SslMode::Disable {
            return self.config.connect(NoTls);
        }
        self.config.connect(Connector::new(self.check.clone()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().unwrap_or_default();
        let name = self.config.get_dbname().unwrap_or(user);
        write!(out, "database {name} at ")?;
        let ports = self.config.get_ports();
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let port = ports.get(index).or(ports.first()).unwrap_or(&5432);
            let comma = if index > 0 { "," } else { "" };
            match host {
                Host::Tcp(host) => write!(out, "{comma}{host}:{port}")?,
                Host::Unix(folder) => write!(out, "{comma}{}:{port}", folder.display())?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

/// The options of an address, apart from what stands before them in a URL.
struct Options {
    url: Option<String>,
    pairs: Vec<(String, String)>,
}

impl Options {
    fn of_url(text: &str) -> Self {
        let (url, query) = text.split_once('?').unwrap_or((text, ""));
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

    fn take(&mut self, name: &str) -> Option<String> {
        let index = self.pairs.iter().position(|(known, _)| known == name)?;
        let value = self.pairs.remove(index).1;
        Some(if self.url.is_some() {
            percent_decoded(&value)
        } else {
            value
        })
    }

    fn into_text(self) -> String {
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

    fn parse(text: &str) -> Address {
        Address::parse(text, None).unwrap()
    }

    #[test]
    fn both_forms_say_the_same() {
        let root = Some(PathBuf::from("/etc/my ca.pem"));
        for text in [
            "postgresql://me:p%40ss@db.example:6432/metrics?sslmode=verify-full&sslrootcert=/etc/my%20ca.pem",
            "host=db.example port = 6432 user=me password='p@ss' dbname=metrics sslmode=verify-full sslrootcert='/etc/my ca.pem'",
        ] {
            let address = parse(text);
            assert_eq!(address.to_string(), "database metrics at db.example:6432");
            assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(address.config.get_user(), Some("me"));
            assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(address.check, Check::IssuerAndName(root.clone()));
        }
    }

    #[test]
    fn modes_are_those_of_libpq() {
        let of = |mode: &str| {
            let address = parse(&format!("postgres://h/db{mode}"));
            (address.config.get_ssl_mode(), address.check)
        };
        let root = Some(PathBuf::from("/ca"));
        assert_eq!(of(""), (SslMode::Prefer, Check::Nothing));
        assert_eq!(of("?sslmode=disable"), (SslMode::Disable, Check::Nothing));
        assert_eq!(of("?sslmode=require"), (SslMode::Require, Check::Nothing));
        let expected = (SslMode::Require, Check::Issuer(root));
        assert_eq!(of("?sslrootcert=/ca&sslmode=require"), expected);
        assert_eq!(of("?sslmode=verify-ca&sslrootcert=/ca"), expected);
        let expected = (SslMode::Require, Check::IssuerAndName(None));
        assert_eq!(of("?sslmode=verify-full&sslrootcert=system"), expected);
        let error = Address::parse("postgres://h/db?sslmode=on", None).unwrap_err();
        assert!(
            error.starts_with("sslmode on: expected disable, "),
            "{error}"
        );
    }

    #[test]
    fn a_socket_and_a_password_from_outside() {
        let address = Address::parse("host=/run/pg user=u", Some("x y".to_owned())).unwrap();
        assert_eq!(address.to_string(), "database u at /run/pg:5432");
        assert_eq!(address.config.get_password(), Some(&b"x y"[..]));
        let address = parse(r"host=h user=u password='it\'s a \\ b' options='-c work_mem=1MB'");
        assert_eq!(address.config.get_password(), Some(&br"it's a \ b"[..]));
        assert_eq!(address.config.get_options(), Some("-c work_mem=1MB"));
        assert!(Address::parse("dbname=x", None).is_err(), "no host");
    }
}
