//! What a scrape met on its way, noted for whoever has to explain it. The
//! plugin notes nothing: there it is one branch a connection and one a reply.

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
    /// What the kubelet's name led to, and how long that took.
    pub addresses: Vec<SocketAddr>,
    pub resolved_in: Duration,
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
    pub address: SocketAddr,
    pub took: Duration,
    pub failure: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Handshake {
    pub version: Option<ProtocolVersion>,
    pub took: Duration,
}

#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    /// The header, and what this machine's clock said when it came.
    pub date: Option<String>,
    pub received: SystemTime,
    /// What it says, unless it is what was asked for.
    pub refusal: Option<Refusal>,
}

impl Observer {
    pub fn enabled() -> Self {
        Self(Some(Arc::default()))
    }

    pub fn note(&self, change: impl FnOnce(&mut Notes)) {
        if let Some(notes) = &self.0 {
            change(&mut notes.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    pub fn notes(&self) -> Notes {
        let mut copy = Notes::default();
        self.note(|notes| copy = notes.clone());
        copy
    }
}
