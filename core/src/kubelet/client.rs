//! Sends one GET after the other over HTTP and TLS. It takes options and returns bytes.
//!
//! It knows no record and no host. [`deadline`](super::deadline) has the waits.

use std::{
    io::{self, ErrorKind, Read},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use ureq::{
    Agent, Body,
    config::Config as AgentConfig,
    http::{HeaderValue, Request, Response, header},
};

use super::{
    deadline::{Deadline, StopSignal},
    observer::{Observer, Reply},
    refusal::{Refusal, RequestInfo, SentCredentials},
    session::MAX_PLAINTEXT,
    tls::Tls,
    token::Token,
    transport::{self, KubeletConnector, SystemResolver},
};
use crate::{
    error::{Error, Phase, Result},
    options::{Config, KubeletUrl},
};

/// The limit for a body, in bytes. The largest node's summary is smaller, and this still fits in
/// memory.
pub const MAX_BODY: usize = 64 << 20;

/// By how many bytes the body grows if there is too little room for a read.
const BODY_ROOM: usize = 32 << 10;

/// How many bytes of room are enough: one read returns at most one record of TLS.
const ENOUGH_ROOM: usize = MAX_PLAINTEXT;

/// This is longer than any interval between scrapes.
const MAX_IDLE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Chooses what is kept of a body; see [`Client::get_rest`].
type Keep<'k> = &'k mut dyn FnMut(&mut [u8]) -> usize;

/// The endpoints of a kubelet that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The running containers and their statistics.
    Summary,
    /// The specifications and states of the pods.
    Pods,
}

impl Endpoint {
    /// The path after the base URL.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Summary => "/stats/summary",
            Self::Pods => "/pods",
        }
    }
}

/// A client for one kubelet, with the connection that is kept to it.
#[derive(Debug)]
pub struct Client {
    url: KubeletUrl,
    agent: Agent,
    deadline: Arc<Deadline>,
    observer: Observer,
    token: Token,
    has_client_cert: bool,
}

impl Client {
    /// Reads the files that the options name. It does not contact the kubelet.
    pub fn new(config: &Config, stop: StopSignal) -> Result<Self> {
        Self::with_observer(config, stop, Observer::default())
    }

    /// Does the same with an observer, which records what happens during a scrape.
    pub fn with_observer(config: &Config, stop: StopSignal, observer: Observer) -> Result<Self> {
        Self::with_deadline(config, Arc::new(Deadline::new(config, stop)), observer)
    }

    /// Does the same with a deadline that another thread can read.
    pub(crate) fn with_deadline(
        config: &Config,
        deadline: Arc<Deadline>,
        observer: Observer,
    ) -> Result<Self> {
        let tls = match config.url.https {
            true => {
                Some(deadline.while_reading(Phase::Certificates, || Tls::new(config, &observer))?)
            }
            false => None,
        };
        let agent = Agent::with_parts(
            AgentConfig::builder()
                .proxy(None)
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .max_idle_connections(1)
                .max_idle_connections_per_host(1)
                .max_idle_age(MAX_IDLE)
                .user_agent(concat!("flb-in_kubeletstats/", env!("CARGO_PKG_VERSION")))
                .accept("application/json")
                .accept_encoding("")
                .build(),
            KubeletConnector::new(Arc::clone(&deadline), tls, observer.clone()),
            SystemResolver::new(Arc::clone(&deadline), &config.url, observer.clone()),
        );
        Ok(Self {
            url: config.url.clone(),
            agent,
            deadline,
            observer,
            token: Token::new(config),
            has_client_cert: config.url.https && config.client_cert().is_some(),
        })
    }

    /// The phase in which the last scrape ended. An error of the scrape is about this phase.
    pub fn phase(&self) -> Phase {
        self.deadline.phase()
    }

    /// Begins a scrape. All requests up to the next call share its timeout.
    pub fn begin(&self) {
        self.deadline.restart();
    }

    /// Does a scrape with only the summary.
    pub fn summary(&mut self) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        self.begin();
        self.get(Endpoint::Summary, &mut body)?;
        Ok(body)
    }

    /// Fetches one of the replies of a scrape, which replaces the content of `body`. After an
    /// error, `body` is empty.
    pub fn get(&mut self, endpoint: Endpoint, body: &mut Vec<u8>) -> Result<()> {
        self.get_rest(endpoint, body, &mut |bytes| bytes.len())?;
        Ok(())
    }

    /// Does the same, but `body` gets only what `keep` keeps. After each read, `keep` gets the bytes
    /// that it kept before and those that were read, and returns how many of them it keeps. Returns
    /// the size of the whole reply.
    pub fn get_rest(
        &mut self,
        endpoint: Endpoint,
        body: &mut Vec<u8>,
        keep: Keep,
    ) -> Result<usize> {
        let received = self.fetch(endpoint, body, keep);
        if received.is_err() {
            body.clear();
        }
        received
    }

    fn fetch(&mut self, endpoint: Endpoint, body: &mut Vec<u8>, keep: Keep) -> Result<usize> {
        self.deadline.begin_request(endpoint);
        self.observer.begin_request(endpoint);
        let began = Instant::now();
        let mut response = self.request(endpoint)?;
        if response.status() == 401 {
            // The token's file may have been replaced since it was read.
            Self::drain(response);
            response = self.request(endpoint)?;
        }
        let code = response.status().as_u16();
        if code == 200 {
            let size = self.receive(response, body, keep)?;
            self.observer.note(|notes| {
                if let Some(reply) = &mut notes.reply {
                    (reply.took, reply.size) = (began.elapsed(), size);
                }
            });
            return Ok(size);
        }
        let text = Self::drain(response);
        let url = self.url.of(endpoint);
        match code {
            301..=303 | 307 | 308 => return Err(Error::redirect(code, url)),
            304 => return Err(Error::not_modified(url)),
            _ => {}
        }
        let refusal = Refusal::read(code, &text, self.request_info(endpoint));
        let error = refusal.error(url);
        self.observer.note(|notes| {
            if let Some(reply) = &mut notes.reply {
                reply.refusal = Some(refusal);
            }
        });
        Err(error)
    }

    /// Sends the request. If a kept connection turns out to be closed, it sends the request once
    /// more.
    fn request(&mut self, endpoint: Endpoint) -> Result<Response<Body>> {
        let before = self.deadline.connections();
        match self.request_once(endpoint) {
            Err(error) if error.is_closed_early() && self.deadline.connections() == before => {
                self.request_once(endpoint)
            }
            result => result,
        }
    }

    fn request_once(&mut self, endpoint: Endpoint) -> Result<Response<Body>> {
        let mut request = Request::get(self.url.of(endpoint));
        let bearer = self.read_token()?;
        if let Some(bearer) = bearer {
            request = request.header(header::AUTHORIZATION, bearer);
        }
        let request = request
            .body(())
            .map_err(|error| transport::explain(error.into(), &self.deadline, 0))?;
        self.deadline.enter(Phase::Headers);
        let response = self
            .agent
            .run(request)
            .map_err(|error| transport::explain(error, &self.deadline, 0))?;
        self.deadline.enter(Phase::Body);
        self.observer.note(|notes| {
            let date = response.headers().get(header::DATE);
            notes.reply = Some(Reply {
                status: response.status().as_u16(),
                date: date.map(|date| String::from_utf8_lossy(date.as_bytes()).into_owned()),
                received: SystemTime::now(),
                refusal: None,
                took: Duration::ZERO,
                size: 0,
            });
        });
        Ok(response)
    }

    /// Reads the token. It checks the deadline before the phase changes, so that a timeout names
    /// the slow file.
    fn read_token(&mut self) -> Result<Option<HeaderValue>> {
        self.deadline.enter(Phase::Token);
        let bearer = self.token.read()?;
        self.deadline.check()?;
        Ok(bearer)
    }

    fn receive(&self, response: Response<Body>, body: &mut Vec<u8>, keep: Keep) -> Result<usize> {
        let url = self.deadline.url();
        if let Some(encoding) = response.headers().get(header::CONTENT_ENCODING)
            && encoding != "identity"
        {
            let encoding = String::from_utf8_lossy(encoding.as_bytes());
            return Err(Error::encoded(url, &encoding));
        }
        let mut reader = response.into_body().into_reader().take(MAX_BODY as u64 + 1);
        let mut size = 0;
        if let Err(error) = read_over(&mut reader, body, &mut size, keep) {
            let error = ureq::Error::from(error);
            return Err(transport::explain(error, &self.deadline, size));
        }
        match size {
            0 => Err(Error::empty(url)),
            size if size > MAX_BODY => Err(Error::too_large(url, MAX_BODY)),
            size => Ok(size),
        }
    }

    /// Returns the body of an error. It is read to its end, so that the connection can be kept.
    fn drain(response: Response<Body>) -> Vec<u8> {
        let mut text = Vec::new();
        // An error here is ignored, because the reply is an error already.
        let _ = response
            .into_body()
            .into_reader()
            .take(4096)
            .read_to_end(&mut text);
        text
    }

    /// Describes how the last request was sent.
    fn request_info(&self, endpoint: Endpoint) -> RequestInfo {
        RequestInfo {
            endpoint,
            https: self.url.https,
            node_proxy: self.url.node_proxy,
            credentials: match self.token.sent_from() {
                Some(path) => SentCredentials::Token(path.to_owned()),
                None if self.has_client_cert => SentCredentials::ClientCertificate,
                None => SentCredentials::Nothing,
            },
        }
    }
}

/// Works like `read_to_end`, but overwrites the content of `body`, so only bytes that are added to
/// it are filled with zeros first. `size` is the number of bytes read, also after an error. For
/// `keep`, see [`Client::get_rest`].
fn read_over(
    reader: &mut impl Read,
    body: &mut Vec<u8>,
    size: &mut usize,
    keep: Keep,
) -> io::Result<()> {
    let mut kept = 0;
    loop {
        if body.len() - kept < ENOUGH_ROOM {
            body.try_reserve(BODY_ROOM)
                .map_err(|_| ErrorKind::OutOfMemory)?;
            body.resize(body.len() + BODY_ROOM, 0);
        }
        match reader.read(&mut body[kept..]) {
            Ok(0) => break,
            Ok(amount) => {
                *size += amount;
                kept = keep(&mut body[..kept + amount]);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    body.truncate(kept);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of the previous body does not matter.
    #[test]
    fn a_body_takes_the_place_of_another() {
        let mut body = Vec::new();
        for length in [5, 0, 3 * BODY_ROOM, 7, BODY_ROOM, BODY_ROOM + 1, 1] {
            let expected: Vec<u8> = (0..length).map(|at| (at % 251) as u8 + 1).collect();
            let mut size = 0;
            let mut all = |bytes: &mut [u8]| bytes.len();
            read_over(&mut expected.as_slice(), &mut body, &mut size, &mut all)
                .expect("memory is read");
            assert_eq!(size, length);
            assert!(body == expected, "{length}");
        }
    }

    /// What is not kept makes room, in a body that held more before.
    #[test]
    fn a_body_has_what_was_kept() {
        let reply: Vec<u8> = (0..10 * BODY_ROOM).map(|at| (at % 251) as u8).collect();
        let is_kept = |byte: &u8| *byte < 5;
        let expected: Vec<u8> = reply.iter().copied().filter(is_kept).collect();
        for before in [0, 100, 20 * BODY_ROOM] {
            let (mut body, mut size) = (vec![255; before], 0);
            let mut keep = |bytes: &mut [u8]| {
                let kept: Vec<u8> = bytes.iter().copied().filter(is_kept).collect();
                bytes[..kept.len()].copy_from_slice(&kept);
                kept.len()
            };
            read_over(&mut reply.as_slice(), &mut body, &mut size, &mut keep)
                .expect("memory is read");
            assert_eq!(size, reply.len());
            assert!(body == expected, "{before}");
        }
    }
}
