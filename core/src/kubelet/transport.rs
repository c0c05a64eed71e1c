//! The transport below ureq's HTTP: name lookup, TCP and TLS. All of it waits through
//! [`Deadline`] only.

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
use rustls::{ClientConnection, Stream};
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
    tls::{self, LoadedConfig, Tls},
    token::MAX_TOKEN,
};
use crate::{
    error::{Error, Phase, Result},
    options::KubeletUrl,
};

/// Bytes of the input buffer. A header that does not fit here is none of a kubelet's.
const INPUT_BUFFER: usize = 32 << 10;
/// Bytes of the output buffer: a request with the longest token.
const OUTPUT_BUFFER: usize = MAX_TOKEN + (4 << 10);

/// Fields of a header, ureq's own limit.
const MAX_HEADERS: usize = 128;

/// Replies of the kind 1xx before the reply itself. A kubelet sends none, a proxy one or two.
const MAX_INTERIM_REPLIES: u32 = 16;

/// Bytes that a body may take on the wire: in chunks of a kubelet's size little more than its
/// own bytes. Chunks of one byte, or trailers without end, are none of a kubelet's.
const MAX_WIRE_BYTES: usize = 2 * super::client::MAX_BODY;

/// Addresses of one name that are tried. No node has more.
const MAX_ADDRESSES: usize = 16;

/// Reads from a kept connection between two requests, for TLS session tickets.
const MAX_IDLE_READS: usize = 16;

/// Our own error as one of ureq's, which returns it unchanged; [`explain`] unwraps it.
fn wrap(error: Error) -> ureq::Error {
    ureq::Error::Other(Box::new(error))
}

/// Maps what ureq returned to an error of ours, which may be the one that was given to
/// [`wrap`]. `received` is the length of the body so far.
pub fn explain(error: ureq::Error, deadline: &Deadline, received: usize) -> Error {
    let url = deadline.url();
    match error {
        ureq::Error::Other(inner) => match inner.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(_) => Error::http(url, UNFORESEEN),
        },
        // The type of these errors has a name only in a crate below ureq.
        ureq::Error::Protocol(inner) if format!("{inner:?}") == "HttpParseTooManyHeaders" => {
            Error::many_headers(url, MAX_HEADERS)
        }
        ureq::Error::BodyStalled => Error::endless_line(url, INPUT_BUFFER),
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

/// What is wrong with a reply. The library's own text may quote it, or the request.
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

/// The connection ended when it should not have.
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

fn is_disconnect(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// Looks the kubelet's name up. The system's resolver cannot be interrupted, so
/// it has a thread of its own; while one hangs, no second one is started.
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
    /// Closed at its other end by the thread when it is done.
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
            // No name was asked for yet.
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
                // Nobody listens any more if the plugin has stopped.
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

/// Opens connections: TCP, and TLS above it for `https`.
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

    /// Tries one address after the other, each with its share of what time is left.
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

    fn handshake(&self, tls: &mut Tls, socket: &mut Socket) -> Result<Session> {
        self.deadline.enter(Phase::Certificates);
        let loaded = tls.load()?;
        self.deadline.check()?;
        self.deadline.enter(Phase::Tls);
        let began = Instant::now();
        let url = self.deadline.url();
        let mut session = ClientConnection::new(Arc::clone(&loaded.client), tls.sni())
            .map_err(|error| tls::explain(&error, url))?;
        while session.is_handshaking() {
            if let Err(error) = session.complete_io(socket) {
                let error = read_pending_alert(&mut session, &socket.stream, error);
                return Err(explain(error.into(), &self.deadline, 0));
            }
        }
        self.observer.note(|notes| {
            notes.handshake = Some(Handshake {
                version: session.protocol_version(),
                took: began.elapsed(),
            });
        });
        Ok(Session {
            tls: Box::new(session),
            loaded,
        })
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

/// A server that ends the handshake sends an alert and closes, so a write of ours can fail
/// before the alert is read. It can still be read, and says more than the write's error.
fn read_pending_alert(
    session: &mut ClientConnection,
    mut stream: &TcpStream,
    error: io::Error,
) -> io::Error {
    if !is_disconnect(error.kind()) {
        return error;
    }
    match session
        .read_tls(&mut stream)
        .map(|_| session.process_new_packets())
    {
        Ok(Err(alert)) => io::Error::other(alert),
        _ => error,
    }
}

/// A non-blocking stream whose reads and writes wait through [`Deadline`], and end with it
/// also when they never have to wait. All that TLS reads and writes goes through here.
#[derive(Debug)]
struct Socket {
    stream: TcpStream,
    deadline: Arc<Deadline>,
}

impl Socket {
    fn retry<T>(
        &self,
        events: PollFlags,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            self.deadline.check().map_err(io::Error::other)?;
            match attempt(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self
                    .deadline
                    .wait(self.stream.as_fd(), events)
                    .map_err(io::Error::other)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |mut stream| stream.read(buf))
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |mut stream| stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where ureq looks for the reply. It passes over interim replies by itself, as many as
/// there are: each is a piece of input it has used before the reply begins.
#[derive(Debug)]
struct CountingBuffers {
    buffers: LazyBuffers,
    /// Pieces used since the last request.
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

    /// Whoever may not use what is there asks for more, which then fails.
    fn can_use_input(&self) -> bool {
        self.buffers.can_use_input() && !self.has_many_interim()
    }
}

/// One connection as ureq sees it.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    session: Option<Session>,
    buffers: CountingBuffers,
    /// Bytes since the last request.
    received: usize,
}

#[derive(Debug)]
struct Session {
    tls: Box<ClientConnection>,
    /// What its handshake was made with.
    loaded: LoadedConfig,
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
        let output = &mut self.buffers.output()[..amount];
        let sent = match &mut self.session {
            Some(session) => {
                let mut stream = Stream::new(session.tls.as_mut(), &mut self.socket);
                let sent = stream.write_all(output).and_then(|()| stream.flush());
                sent.map_err(|error| {
                    read_pending_alert(&mut session.tls, &self.socket.stream, error)
                })
            }
            None => self.socket.write_all(output),
        };
        // It may hold the token.
        output.zeroize();
        (self.buffers.used, self.received) = (0, 0);
        Ok(sent?)
    }

    fn await_input(&mut self, _: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        let deadline = &self.socket.deadline;
        if self.buffers.has_many_interim() {
            return Err(wrap(Error::many_interim(
                deadline.url(),
                MAX_INTERIM_REPLIES,
            )));
        }
        let room = self.buffers.input_append_buf();
        if room.is_empty() && deadline.phase() == Phase::Headers {
            return Err(wrap(Error::large_header(deadline.url(), INPUT_BUFFER)));
        }
        let amount = match &mut self.session {
            Some(session) => {
                let amount = Stream::new(session.tls.as_mut(), &mut self.socket).read(room)?;
                if amount > 0 {
                    session.loaded.mark_proven();
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

    /// A kept connection on which the peer said anything but a TLS ticket, or
    /// which it closed, is not used again. Nor is one whose CA or client certificate
    /// has been replaced since.
    fn is_open(&mut self) -> bool {
        let mut stream = &self.socket.stream;
        let Some(session) = &mut self.session else {
            return would_block(stream.peek(&mut [0]));
        };
        let deadline = &self.socket.deadline;
        if deadline.while_reading(Phase::Certificates, || session.loaded.is_outdated()) {
            return false;
        }
        for _ in 0..MAX_IDLE_READS {
            match session.tls.read_tls(&mut stream) {
                Ok(0) => return false,
                Ok(_) => match session.tls.process_new_packets() {
                    Ok(state) if state.peer_has_closed() => return false,
                    Ok(state) if state.plaintext_bytes_to_read() > 0 => return false,
                    Ok(_) => {}
                    Err(_) => return false,
                },
                result => return would_block(result),
            }
        }
        false
    }

    fn is_tls(&self) -> bool {
        self.session.is_some()
    }
}

/// Nothing to read, not even an end.
fn would_block(result: io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
