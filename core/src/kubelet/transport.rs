//! The transport below ureq's HTTP: name lookup, TCP and TLS. All its waits go through
//! [`Deadline`].

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs},
    os::{fd::AsFd, unix::net::UnixStream},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Instant,
};

use rustix::{
    event::PollFlags,
    io::Errno,
    net::{AddressFamily, SocketFlags, SocketType, connect, socket_with, sockopt},
};
use ureq::{
    http::Uri,
    unversioned::{
        resolver::{ResolvedSocketAddrs, Resolver},
        transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport},
    },
};
use zeroize::Zeroize;

use super::{
    deadline::Deadline,
    observer::{Attempt, Handshake, Observer},
    session::{MAX_PLAINTEXT, Session},
    socket::{Socket, is_disconnect, would_block},
    tls::{self, LoadedConfig, Tls},
    token::MAX_TOKEN,
};
use crate::{
    error::{Error, Phase, Result},
    options::KubeletUrl,
};

/// The limit for received bytes that cannot be parsed yet. A kubelet sends no longer header, and no
/// longer line between two chunks.
const MAX_UNREAD: usize = 32 << 10;
/// The size of the input buffer: that limit, and one more record.
const INPUT_BUFFER: usize = MAX_UNREAD + MAX_PLAINTEXT;
/// The size of the output buffer: a request with the longest token.
const OUTPUT_BUFFER: usize = MAX_TOKEN + (4 << 10);

/// The limit for the fields of a header, which is ureq's own.
const MAX_HEADERS: usize = 128;

/// The limit for interim (1xx) replies before the reply. A kubelet sends none, a proxy one or two.
const MAX_INTERIM_REPLIES: u32 = 16;

/// The limit for a body's bytes on the wire. With chunks of a kubelet's size, the overhead is
/// small. A kubelet does not send chunks of one byte, or endless trailers.
const MAX_WIRE_BYTES: usize = 2 * super::client::MAX_BODY;

/// The limit for the addresses of one name that are tried. No node has more.
const MAX_ADDRESSES: usize = 16;

/// Wraps an error of this crate in one of ureq's, which ureq returns unchanged. [`explain`] unwraps
/// it.
fn wrap(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// Maps an error of ureq to one of this crate, which may be the one given to [`wrap`]. `received`
/// is the length of the body so far.
pub fn explain(error: ureq::Error, deadline: &Deadline, received: usize) -> Error {
    let url = deadline.url();
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(_) => Error::http(url, UNFORESEEN),
        },
        // This error's type is named only in a crate below ureq, so its text is compared.
        ureq::Error::Protocol(inner) if format!("{inner:?}") == "HttpParseTooManyHeaders" => {
            Error::many_headers(url, MAX_HEADERS)
        }
        ureq::Error::BodyStalled => Error::endless_line(url, MAX_UNREAD),
        ureq::Error::Io(error) => match error.downcast::<Error>() {
            Ok(ours) => ours,
            Err(error) => match error.downcast::<rustls::Error>() {
                Ok(error) => tls::explain(&error, url),
                Err(error) => connection_error(error, deadline, received),
            },
        },
        error => Error::http(url, invalid_http(&error)),
    }
}

const UNFORESEEN: &str = "for a reason that was not foreseen";

/// Explains what is wrong with a reply. The library's own text may quote the reply or the request.
fn invalid_http(error: &ureq::Error) -> &'static str {
    match error {
        ureq::Error::Protocol(_) => "it breaks the rules of HTTP/1.1",
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => {
            "a header or an address in it is malformed"
        }
        ureq::Error::LargeResponseHeader(..) => "its headers are too large",
        ureq::Error::RedirectFailed | ureq::Error::TooManyRedirects => "it leads elsewhere",
        _ => UNFORESEEN,
    }
}

/// The error for a connection that ended too early.
fn connection_error(error: io::Error, deadline: &Deadline, received: usize) -> Error {
    let ended = is_disconnect(error.kind());
    match deadline.phase() {
        _ if error.kind() == ErrorKind::OutOfMemory => Error::no_memory(deadline.url(), received),
        Phase::Body if ended => Error::cut_short(deadline.url(), received),
        Phase::Headers if ended => Error::closed_early(deadline.url()),
        Phase::Tls if ended => Error::closed_in_handshake(deadline.url(), error),
        _ => Error::connection(deadline.url(), error),
    }
}

/// Looks up the kubelet's name. The system's resolver cannot be interrupted, so it has a thread of
/// its own. While one lookup hangs, no second one is started.
#[derive(Debug)]
pub struct SystemResolver {
    deadline: Arc<Deadline>,
    host: String,
    port: u16,
    observer: Observer,
    pending: Mutex<Option<PendingLookup>>,
}

#[derive(Debug)]
struct PendingLookup {
    /// The thread closes the other end when it is done.
    done: UnixStream,
    answer: mpsc::Receiver<io::Result<Vec<SocketAddr>>>,
}

impl SystemResolver {
    pub fn new(deadline: Arc<Deadline>, url: &KubeletUrl, observer: Observer) -> Self {
        Self {
            deadline,
            host: url.host.clone(),
            port: url.port,
            observer,
            pending: Mutex::new(None),
        }
    }

    fn addresses(&self) -> Result<Vec<SocketAddr>> {
        if let Ok(address) = self.host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, self.port)]);
        }
        let failed = |error| Error::resolve(&self.host, self.deadline.url(), error);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.is_none() {
            // No lookup is running.
            let started = self.spawn_lookup();
            *pending = Some(started.map_err(|error| Error::lookup_thread(&self.host, error))?);
        }
        let Some(lookup) = pending.as_ref() else {
            return Ok(Vec::new());
        };
        self.deadline.wait(lookup.done.as_fd(), PollFlags::IN)?;
        let answer = lookup.answer.recv();
        *pending = None;
        match answer {
            Ok(Ok(addresses)) if addresses.is_empty() => {
                Err(failed(io::Error::other("no address")))
            }
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(io::Error::other("the lookup ended early"))),
        }
    }

    fn spawn_lookup(&self) -> io::Result<PendingLookup> {
        let (done, open) = UnixStream::pair()?;
        let (answer, receiver) = mpsc::sync_channel(1);
        let (host, port) = (self.host.clone(), self.port);
        thread::Builder::new()
            .name("kubeletstats-dns".to_owned())
            .spawn(move || {
                let found = (host.as_str(), port).to_socket_addrs();
                // If the plugin has stopped, nobody receives the answer.
                let _ = answer.send(found.map(|all| all.take(MAX_ADDRESSES).collect()));
                drop(open);
            })?;
        Ok(PendingLookup {
            done,
            answer: receiver,
        })
    }
}

impl Resolver for SystemResolver {
    fn resolve(
        &self,
        _: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> std::result::Result<ResolvedSocketAddrs, ureq::Error> {
        self.deadline.enter(Phase::Resolve);
        let began = Instant::now();
        let found = self.addresses().map_err(wrap)?;
        self.observer.note(|notes| {
            notes.addresses.clone_from(&found);
            notes.resolved_in = began.elapsed();
        });
        self.deadline.enter(Phase::Headers);
        let mut addresses = self.empty();
        for address in found.into_iter().take(MAX_ADDRESSES) {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// Opens connections with TCP, and with TLS on top of it for `https`.
#[derive(Debug)]
pub struct KubeletConnector {
    deadline: Arc<Deadline>,
    tls: Option<Mutex<Tls>>,
    observer: Observer,
}

impl KubeletConnector {
    pub fn new(deadline: Arc<Deadline>, tls: Option<Tls>, observer: Observer) -> Self {
        Self {
            deadline,
            tls: tls.map(Mutex::new),
            observer,
        }
    }

    fn connect(&self, addresses: &[SocketAddr]) -> Result<Connection> {
        self.deadline.enter(Phase::Connect);
        let stream = self.connect_any(addresses)?;
        let mut socket = Socket {
            stream,
            deadline: Arc::clone(&self.deadline),
        };
        let session = match &self.tls {
            Some(tls) => {
                let mut tls = tls.lock().unwrap_or_else(PoisonError::into_inner);
                Some(self.handshake(&mut tls, &mut socket)?)
            }
            None => None,
        };
        self.deadline.count_connection();
        self.deadline.enter(Phase::Headers);
        Ok(Connection {
            socket,
            session,
            buffers: CountingBuffers {
                buffers: LazyBuffers::new(INPUT_BUFFER, OUTPUT_BUFFER),
                used: 0,
                deadline: Arc::clone(&self.deadline),
            },
            received: 0,
        })
    }

    /// Tries the addresses one after the other. Each gets an equal share of the remaining time.
    fn connect_any(&self, addresses: &[SocketAddr]) -> Result<TcpStream> {
        let mut last = None;
        for (tried, address) in addresses.iter().enumerate() {
            let now = Instant::now();
            let left = self.deadline.ends_at().saturating_duration_since(now);
            let share = left / u32::try_from(addresses.len() - tried).unwrap_or(1);
            let result = self.connect_one(*address, now + share);
            self.observer.note(|notes| {
                notes.attempts.push(Attempt {
                    address: *address,
                    took: now.elapsed(),
                    failure: result.as_ref().err().map(Error::to_string),
                });
            });
            match result {
                Ok(stream) => return Ok(stream),
                Err(error) if error.is_stopped() => return Err(error),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| self.deadline.timeout_error()))
    }

    fn connect_one(&self, address: SocketAddr, until: Instant) -> Result<TcpStream> {
        let failed = |error: Errno| match error {
            Errno::CONNREFUSED => Error::refused(address, self.deadline.url(), error.into()),
            _ => Error::connection(self.deadline.url(), error.into()),
        };
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, SocketType::STREAM, flags, None).map_err(failed)?;
        match connect(&socket, &address) {
            Ok(()) => {}
            Err(Errno::INPROGRESS) => {
                if !self
                    .deadline
                    .wait_until(socket.as_fd(), PollFlags::OUT, until)?
                {
                    return Err(self.deadline.timeout_error());
                }
                sockopt::socket_error(&socket)
                    .and_then(|result| result)
                    .map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        sockopt::set_tcp_nodelay(&socket, true).map_err(failed)?;
        Ok(TcpStream::from(socket))
    }

    fn handshake(&self, tls: &mut Tls, socket: &mut Socket) -> Result<(Session, LoadedConfig)> {
        self.deadline.enter(Phase::Certificates);
        let loaded = tls.load()?;
        self.deadline.check()?;
        self.deadline.enter(Phase::Tls);
        let began = Instant::now();
        let url = self.deadline.url();
        let mut session = Session::new(Arc::clone(&loaded.client), tls.sni())
            .map_err(|error| tls::explain(&error, url))?;
        session
            .handshake(socket)
            .map_err(|error| explain(error.into(), &self.deadline, 0))?;
        self.observer.note(|notes| {
            notes.handshake = Some(Handshake {
                version: session.protocol_version(),
                took: began.elapsed(),
            });
        });
        Ok((session, loaded))
    }
}

impl Connector for KubeletConnector {
    type Out = Connection;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _: Option<()>,
    ) -> std::result::Result<Option<Connection>, ureq::Error> {
        self.connect(&details.addrs).map(Some).map_err(wrap)
    }
}

/// The buffers in which ureq looks for the reply. ureq skips any number of interim replies by
/// itself. Each of them is one piece of input that is consumed before the reply begins, so the
/// pieces are counted.
#[derive(Debug)]
struct CountingBuffers {
    buffers: LazyBuffers,
    /// The number of pieces consumed since the last request.
    used: u32,
    deadline: Arc<Deadline>,
}

impl CountingBuffers {
    fn has_many_interim(&self) -> bool {
        self.used > MAX_INTERIM_REPLIES && self.deadline.phase() == Phase::Headers
    }
}

impl Buffers for CountingBuffers {
    fn output(&mut self) -> &mut [u8] {
        self.buffers.output()
    }

    fn input(&self) -> &[u8] {
        self.buffers.input()
    }

    fn input_append_buf(&mut self) -> &mut [u8] {
        self.buffers.input_append_buf()
    }

    fn input_appended(&mut self, amount: usize) {
        self.buffers.input_appended(amount);
    }

    fn input_consume(&mut self, amount: usize) {
        self.used = self.used.saturating_add(u32::from(amount > 0));
        self.buffers.input_consume(amount);
    }

    fn tmp_and_output(&mut self) -> (&mut [u8], &mut [u8]) {
        self.buffers.tmp_and_output()
    }

    /// If this is `false`, ureq asks for more input, and that returns the error.
    fn can_use_input(&self) -> bool {
        self.buffers.can_use_input() && !self.has_many_interim()
    }
}

/// One connection as ureq sees it.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    /// The session, and the configuration that its handshake used.
    session: Option<(Session, LoadedConfig)>,
    buffers: CountingBuffers,
    /// The number of bytes received since the last request.
    received: usize,
}

impl Transport for Connection {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(
        &mut self,
        amount: usize,
        _: NextTimeout,
    ) -> std::result::Result<(), ureq::Error> {
        let (room, output) = self.buffers.tmp_and_output();
        let output = &mut output[..amount];
        let sent = match &mut self.session {
            Some((session, _)) => session.send(&mut self.socket, output, room),
            None => self.socket.write_all(output).map(|()| 0),
        };
        // The buffer may contain the token.
        output.zeroize();
        (self.buffers.used, self.received) = (0, 0);
        self.buffers.input_appended(sent?);
        Ok(())
    }

    fn await_input(&mut self, _: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        let deadline = &self.socket.deadline;
        if self.buffers.has_many_interim() {
            return Err(wrap(Error::many_interim(
                deadline.url(),
                MAX_INTERIM_REPLIES,
            )));
        }
        // More input could not be parsed either.
        if self.buffers.input().len() >= MAX_UNREAD {
            return match deadline.phase() {
                Phase::Headers => Err(wrap(Error::large_header(deadline.url(), MAX_UNREAD))),
                _ => Ok(false),
            };
        }
        let room = self.buffers.input_append_buf();
        let amount = match &mut self.session {
            Some((session, loaded)) => {
                let amount = session.read(&mut self.socket, room)?;
                if amount > 0 {
                    loaded.mark_proven();
                }
                amount
            }
            None => self.socket.read(room)?,
        };
        self.buffers.input_appended(amount);
        self.received += amount;
        if self.received > MAX_WIRE_BYTES {
            return Err(wrap(Error::too_large(
                self.socket.deadline.url(),
                super::client::MAX_BODY,
            )));
        }
        Ok(amount > 0)
    }

    /// Whether a kept connection can be used again. It cannot if the peer sent anything but a TLS
    /// ticket, if the peer closed it, or if the CA or the client certificate has been replaced
    /// since.
    fn is_open(&mut self) -> bool {
        let stream = &self.socket.stream;
        let Some((session, loaded)) = &mut self.session else {
            return would_block(stream.peek(&mut [0]));
        };
        let deadline = &self.socket.deadline;
        !deadline.while_reading(Phase::Certificates, || loaded.is_outdated())
            && session.is_idle(stream)
    }

    fn is_tls(&self) -> bool {
        self.session.is_some()
    }
}
