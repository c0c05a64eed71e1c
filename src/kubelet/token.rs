//! The bearer token: read from its file for every request, held no longer.

use std::{fs, io, path::Path};

use ureq::http::HeaderValue;

use crate::{
    error::{Error, Result},
    options::{Config, FilePath},
};

const OPTION: &str = "kube_token_file";

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
        let text = match (fs::read_to_string(path), &self.file) {
            (Ok(text), _) => text,
            (Err(error), FilePath::Default(_)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            (Err(error), _) => return Err(Error::unreadable(OPTION, path, error)),
        };
        let token = text.trim();
        if token.is_empty() {
            return Err(Error::unusable(OPTION, path, "it is empty"));
        }
        let not_one = || Error::unusable(OPTION, path, "it does not hold a token");
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(not_one());
        }
        let mut header = HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| not_one())?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}
