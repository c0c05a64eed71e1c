//! What happened during a scrape, recorded for `kubeletstats check`. The plugin records
//! nothing: there it is one branch for each connection and reply.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{ProtocolVersion, pki_types::CertificateDer};

use super::refusal::Refusal;

/// Off by default. Clones share their notes.
#[derive(Debug, Clone, Default)]
pub struct Observer(Option<Arc<Mutex<Notes>>>);

/// Everything since the client was made, in the order of a scrape.
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
    /// Why there is no summary; `None` with a 200, and with a redirect.
    pub refusal: Option<Refusal>,
}

impl Observer {
    /// One that takes notes, for the command.
    pub fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    /// Changes the notes; `change` is not called where none are taken.
    pub fn note(&self, change: impl FnOnce(&mut Notes)) {
        if let Some(notes) = &self.0 {
            change(&mut notes.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// A copy of the notes so far; empty where none are taken.
    pub fn notes(&self) -> Notes {
        let mut copy = Notes::default();
        self.note(|notes| copy = notes.clone());
        copy
    }
}
