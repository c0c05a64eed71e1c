//! Owns the bearer token. It is read from its file for every request and not kept afterwards.

use std::path::Path;

use bytes::Bytes;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

use super::pem;
use crate::{
    error::{Error, Result},
    options::{Config, FilePath},
};

const OPTION: &str = "kube_token_file";
const SCHEME: &[u8] = b"Bearer ";

/// The option `kube_token_file`, and whether the last request carried its token.
#[derive(Debug)]
pub struct Token {
    file: FilePath,
    /// Whether HTTPS is used. A token is never sent over plain HTTP.
    https: bool,
    /// Whether the last request carried a token.
    sent: bool,
}

impl Token {
    /// Makes it without reading the file.
    pub fn new(config: &Config) -> Self {
        Self {
            file: config.token_file.clone(),
            https: config.url.https,
            sent: false,
        }
    }

    /// Reads the token. Returns the `Authorization` header, or `None` if no token is to be sent.
    pub fn read(&mut self) -> Result<Option<HeaderValue>> {
        let header = match self.https {
            true => self.header()?,
            false => None,
        };
        self.sent = header.is_some();
        Ok(header)
    }

    /// The file whose token the last request carried, or `None` if it carried none.
    pub fn sent_from(&self) -> Option<&Path> {
        self.sent.then(|| self.file.path())
    }

    fn header(&self) -> Result<Option<HeaderValue>> {
        let path = self.file.path();
        let text = match (pem::read(OPTION, path), &self.file) {
            (Ok(text), _) => text,
            (Err(error), FilePath::Default(_)) if error.is_not_found() => return Ok(None),
            (Err(error), _) => return Err(error),
        };
        let token = text.trim_ascii();
        match invalid_reason(token) {
            Some(why) => Err(Error::unusable(OPTION, path, why)),
            None => match bearer(token) {
                Some(header) => Ok(Some(header)),
                None => Err(Error::unusable(OPTION, path, "it does not hold a token")),
            },
        }
    }
}

/// The limit for a token, in bytes, which no token reaches. It decides the size of the output
/// buffer, because a request is sent in one piece.
pub const MAX_TOKEN: usize = 16 << 10;

/// Why this text is not a token. No reason quotes the text, because it may be another secret.
fn invalid_reason(text: &[u8]) -> Option<&'static str> {
    let holds = |wanted: fn(&u8) -> bool| text.iter().any(wanted);
    let begins = |start: &[u8]| text.starts_with(start);
    Some(match () {
        () if text.is_empty() => "it is empty",
        () if begins(b"-----") => "it holds PEM, no token: is that meant for another option?",
        () if begins(b"{") => "it holds JSON, no token: name a file with the token alone",
        () if text.len() > MAX_TOKEN => "it is larger than 16 KiB, so it holds no token",
        () if holds(|byte| *byte == 0) => {
            "there is a zero byte in it: write the token as plain text"
        }
        () if holds(|byte| matches!(byte, b'\n' | b'\r')) => {
            "it has more than one line: name a file with the token alone"
        }
        () if holds(|byte| matches!(byte, b' ' | b'\t')) => {
            "there is a blank in it: name a file with the token alone"
        }
        () if !text.iter().all(u8::is_ascii_graphic) => {
            "there are characters in it that no token has: write the token as plain text"
        }
        () => return None,
    })
}

/// Makes the header's value. It owns its copy of the token, which is wiped after the last use.
fn bearer(token: &[u8]) -> Option<HeaderValue> {
    let mut value = Zeroizing::new(Vec::with_capacity(SCHEME.len() + token.len()));
    value.extend_from_slice(SCHEME);
    value.extend_from_slice(token);
    let mut header = HeaderValue::from_maybe_shared(Bytes::from_owner(value)).ok()?;
    header.set_sensitive(true);
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_does_not_show() {
        let header = bearer(b"secret").expect("the token fits a header");
        assert_eq!(header.as_bytes(), b"Bearer secret");
        assert!(!format!("{header:?}").contains("secret"));
    }
}
