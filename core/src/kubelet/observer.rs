//! Records what happens during a scrape, for `kubeletstats check`. The plugin records nothing; for
//! it, the cost is one branch per connection and reply.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{ProtocolVersion, pki_types::CertificateDer};

use super::{Endpoint, refusal::Refusal};

/// Records what happens. It is off by default. All clones share the same notes.
#[derive(Debug, Clone, Default)]
pub struct Observer(Option<Arc<Mutex<Book>>>);

/// The notes of each endpoint are separate, so that a second request does not overwrite those of
/// the first.
#[derive(Debug, Default)]
struct Book {
    summary: Notes,
    pods: Notes,
    /// The endpoint of the current request. It is `None` before the first request.
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

/// The notes of all requests for one endpoint, in the order of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Notes {
    /// The addresses of the kubelet's name.
    pub addresses: Vec<SocketAddr>,
    /// How long the lookup took. It is almost zero if the URL has an address.
    pub resolved_in: Duration,
    /// The addresses in the order in which they were tried. The last attempt may have succeeded.
    pub attempts: Vec<Attempt>,
    /// The certificates that the peer sent, its own first. They may or may not have been accepted.
    pub certificates: Vec<CertificateDer<'static>>,
    /// Present only if the handshake has succeeded.
    pub handshake: Option<Handshake>,
    /// The last reply.
    pub reply: Option<Reply>,
}

/// An attempt to connect to one address.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The address, with the port of `kubelet_url`.
    pub address: SocketAddr,
    /// How long TCP took, without TLS.
    pub took: Duration,
    /// The line of the error, or `None` if it connected.
    pub failure: Option<String>,
}

/// A TLS handshake that succeeded.
#[derive(Debug, Clone)]
pub struct Handshake {
    /// TLS 1.2 or 1.3.
    pub version: Option<ProtocolVersion>,
    /// The time from the first message sent to the last message that the handshake needs.
    pub took: Duration,
}

/// The header of a reply, and why it is an error, if it is one.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status of the last reply. A 401 is followed by a second request.
    pub status: u16,
    /// The `Date` header, not parsed.
    pub date: Option<String>,
    /// This machine's time at which the header had been read.
    pub received: SystemTime,
    /// Why there is no body. It is `None` for a 200 and for a redirect.
    pub refusal: Option<Refusal>,
    /// The time from the beginning of the request to the end of a 200. It includes everything
    /// before the reply.
    pub took: Duration,
    /// The size of a 200's body, in bytes.
    pub size: usize,
}

impl Observer {
    /// Makes an observer that takes notes, for the command.
    pub fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    /// The following notes belong to this endpoint.
    pub fn begin_request(&self, endpoint: Endpoint) {
        self.open(|book| book.endpoint = Some(endpoint));
    }

    /// Changes the notes. If none are taken, `change` is not called.
    pub fn note(&self, change: impl FnOnce(&mut Notes)) {
        self.open(|book| {
            let endpoint = book.endpoint.unwrap_or(Endpoint::Summary);
            change(book.page(endpoint));
        });
    }

    /// Returns a copy of the notes. It is empty if none are taken.
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
