//! What happened during a scrape, recorded for `kubeletstats check`. The plugin records
//! nothing: there it is one branch for each connection and reply.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{ProtocolVersion, pki_types::CertificateDer};

use super::{Endpoint, refusal::Refusal};

/// Off by default. Clones share their notes.
#[derive(Debug, Clone, Default)]
pub struct Observer(Option<Arc<Mutex<Book>>>);

/// A page for each endpoint, so that a second request does not cover what the first one met.
#[derive(Debug, Default)]
struct Book {
    summary: Notes,
    pods: Notes,
    /// What is asked for now; nothing before the first request.
    endpoint: Option<Endpoint>,
}

impl Book {
    fn page(&mut self, endpoint: Endpoint) -> &mut Notes {
        match endpoint {
            Endpoint::Summary => &mut self.summary,
            Endpoint::Pods => &mut self.pods,
        }
    }
}

/// Everything of the requests for one endpoint, in the order of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// What the kubelet's name resolved to.
    pub addresses: Vec<SocketAddr>,
    /// How long that took; next to nothing where the URL has an address.
    pub resolved_in: Duration,
    /// In the order in which they were tried; the last one may have succeeded.
    pub attempts: Vec<Attempt>,
    /// As the peer sent them, its own first, accepted or not.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Only of a handshake that came to its end.
    pub handshake: Option<Handshake>,
    /// The last one.
    pub reply: Option<Reply>,
}

/// One address that was tried.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// With the port of `kubelet_url`.
    pub address: SocketAddr,
    /// TCP only, without TLS.
    pub took: Duration,
    /// The error's line; `None` when it connected.
    pub failure: Option<String>,
}

/// A TLS handshake that succeeded.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// From the first message sent to the last one needed.
    pub took: Duration,
}

/// The header of a reply, and why it is an error if it is one.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The last reply's, where a 401 was answered by a second request.
    pub status: u16,
    /// The `Date` header, unparsed.
    pub date: Option<String>,
    /// This machine's time when the header had been read.
    pub received: SystemTime,
    /// Why there is no body; `None` with a 200, and with a redirect.
    pub refusal: Option<Refusal>,
    /// From the beginning of the request to the end of a 200; all that came before the reply
    /// counts.
    pub took: Duration,
    /// Bytes of the body of a 200.
    pub size: usize,
}

impl Observer {
    /// One that takes notes, for the command.
    pub fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    /// From now on the notes are of this endpoint.
    pub fn begin_request(&self, endpoint: Endpoint) {
        self.open(|book| book.endpoint = Some(endpoint));
    }

    /// Changes the notes; `change` is not called where none are taken.
    pub fn note(&self, change: impl FnOnce(&mut Notes)) {
        self.open(|book| {
            let endpoint = book.endpoint.unwrap_or(Endpoint::Summary);
            change(book.page(endpoint));
        });
    }

    /// A copy of the notes so far; empty where none are taken.
    pub fn notes(&self, endpoint: Endpoint) -> Notes {
        let mut copy = Notes::default();
        self.open(|book| copy.clone_from(book.page(endpoint)));
        copy
    }

    fn open(&self, with: impl FnOnce(&mut Book)) {
        if let Some(book) = &self.0 {
            with(&mut book.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}
