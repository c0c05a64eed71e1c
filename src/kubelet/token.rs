//! The bearer token: read from its file for every request, held no longer.

use std::{fs, io, path::Path};

use bytes::Bytes;
use ureq::http::HeaderValue;
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    options::{Config, FilePath},
};

const OPTION: &str = "kube_token_file";
const SCHEME: &[u8] = b"Bearer ";

#[derive(Debug)]
pub struct Token {
    file: FilePath,
    /// A token never travels over plain HTTP.
    https: bool,
    /// The last request carried one.
    in_use: bool,
}

impl Token {
    pub fn new(config: &Config) -> Self {
        Self {
            file: config.token_file.clone(),
            https: config.url.https,
            in_use: false,
        }
    }

    /// The `Authorization` header, or `None` where no token is to be sent.
    pub fn read(&mut self) -> Result<Option<HeaderValue>> {
        let header = match self.https {
            true => self.header()?,
            false => None,
        };
        self.in_use = header.is_some();
        Ok(header)
    }

    /// Where the token came from that the last request carried.
    pub fn path_in_use(&self) -> Option<&Path> {
        self.in_use.then(|| self.file.path())
    }

    fn header(&self) -> Result<Option<HeaderValue>> {
        let path = self.file.path();
        let text = match (fs::read(path), &self.file) {
            (Ok(text), _) => Zeroizing::new(text),
            (Err(error), FilePath::Default(_)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            (Err(error), _) => return Err(Error::unreadable(OPTION, path, error)),
        };
        let token = text.trim_ascii();
        if token.is_empty() {
            return Err(Error::unusable(OPTION, path, "it is empty"));
        }
        let header = match token.iter().all(u8::is_ascii_graphic) {
            true => bearer(token),
            false => None,
        };
        match header {
            Some(header) => Ok(Some(header)),
            None => Err(Error::unusable(OPTION, path, "it does not hold a token")),
        }
    }
}

/// The header's value is the one copy of the token, and wiped with its last use.
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
        let header = bearer(b"secret").expect("a header");
        assert_eq!(header.as_bytes(), b"Bearer secret");
        assert!(!format!("{header:?}").contains("secret"));
    }
}
