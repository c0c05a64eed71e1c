//! Owns TLS on one connection. Received bytes are in a buffer of this module, in which rustls
//! decrypts them.
//!
//! rustls has another interface with internal buffers. It reads one record at a time, fills its
//! buffer with zeros before, and moves the rest of it afterwards. Here, one system call reads
//! several records. rustls still does all of TLS; this file only moves bytes.

use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    sync::Arc,
};

use rustls::{
    ClientConfig, ProtocolVersion,
    client::UnbufferedClientConnection,
    pki_types::ServerName,
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, UnbufferedStatus, WriteTraffic,
    },
};

use super::socket::{Socket, is_disconnect, would_block};

/// The largest plaintext of one record.
pub(super) const MAX_PLAINTEXT: usize = 16 << 10;

/// The number of bytes that one read may return: four records. A handshake message must fit too,
/// and rustls limits it to 64 KiB.
const RECEIVE_BUFFER: usize = 4 * (MAX_PLAINTEXT + 256);

/// The limit for reads from a kept connection between two requests. These reads are for TLS session
/// tickets.
const MAX_IDLE_READS: usize = 16;

/// A TLS session over a [`Socket`].
pub(super) struct Session {
    tls: Box<UnbufferedClientConnection>,
    received: Received,
    /// Encrypted bytes that have not been sent yet.
    outgoing: Vec<u8>,
    /// Whether the peer has announced the end of its data.
    peer_closed: bool,
}

/// Received bytes that are not decrypted yet: `bytes[start..end]`.
struct Received {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// The result of one step of a session.
enum Step {
    /// This many bytes of plaintext were decrypted.
    Read(usize),
    /// The data to be sent has been sent.
    Sent,
    /// More data must be received first.
    Blocked,
    /// More data must be received first, but the session could send.
    Idle,
    /// There will be no more plaintext.
    Closed,
}

/// What a [`Step`] may do on the network.
enum Reach<'a> {
    /// Nothing. Data to be sent must wait.
    Nothing,
    /// Send the messages of TLS itself.
    Socket(&'a mut Socket),
    /// Send these bytes too.
    Request(&'a mut Socket, &'a [u8]),
}

impl Session {
    /// Makes a session. Nothing is sent yet.
    pub fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            tls: Box::new(UnbufferedClientConnection::new(config, name)?),
            received: Received {
                bytes: Vec::new(),
                start: 0,
                end: 0,
            },
            outgoing: Vec::new(),
            peer_closed: false,
        })
    }

    /// The protocol version, after the handshake.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// Does the handshake, up to the last message that is sent here.
    pub fn handshake(&mut self, socket: &mut Socket) -> io::Result<()> {
        self.try_handshake(socket)
            .map_err(|error| self.or_pending_alert(&socket.stream, error))
    }

    fn try_handshake(&mut self, socket: &mut Socket) -> io::Result<()> {
        loop {
            match self.step(Reach::Socket(socket), &mut [])? {
                Step::Idle => return Ok(()),
                Step::Sent => {}
                Step::Blocked if self.received.fill(socket)? > 0 => {}
                Step::Blocked | Step::Closed | Step::Read(_) => {
                    return Err(ErrorKind::UnexpectedEof.into());
                }
            }
        }
    }

    /// Sends `request`. Data that has already been received without a request goes to `room`, and
    /// its length is returned.
    pub fn send(
        &mut self,
        socket: &mut Socket,
        request: &[u8],
        room: &mut [u8],
    ) -> io::Result<usize> {
        let mut came = 0;
        loop {
            socket.check()?;
            match self.step(Reach::Request(socket, request), &mut room[came..]) {
                Ok(Step::Sent) => return Ok(came),
                Ok(Step::Read(amount)) => came += amount,
                Ok(Step::Closed) => {}
                Ok(Step::Blocked | Step::Idle) => return Err(ErrorKind::NotConnected.into()),
                Err(error) => return Err(self.or_pending_alert(&socket.stream, error)),
            }
        }
    }

    /// Reads the plaintext of the next records. `room` has [`MAX_PLAINTEXT`] bytes for it. Returns
    /// 0 after the peer has announced the end. Any other end is an error.
    pub fn read(&mut self, socket: &mut Socket, room: &mut [u8]) -> io::Result<usize> {
        loop {
            // Records that have already been received need no read, so the deadline is checked here
            // too.
            socket.check()?;
            if self.peer_closed {
                return Ok(0);
            }
            match self.step(Reach::Socket(socket), room)? {
                Step::Read(amount) => return Ok(amount),
                Step::Sent | Step::Closed => {}
                Step::Blocked | Step::Idle => {
                    if self.received.fill(socket)? == 0 {
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                }
            }
        }
    }

    /// Whether the peer has sent only TLS tickets and the like since its last reply.
    pub fn is_idle(&mut self, mut stream: &TcpStream) -> bool {
        for _ in 0..MAX_IDLE_READS {
            if !matches!(self.step(Reach::Nothing, &mut []), Ok(Step::Idle)) || self.peer_closed {
                return false;
            }
            match self.received.fill(&mut stream) {
                Ok(0) => return false,
                Ok(_) => {}
                result => return would_block(result),
            }
        }
        false
    }

    /// Lets rustls process the received bytes until there is something to do.
    fn step(&mut self, mut reach: Reach, room: &mut [u8]) -> io::Result<Step> {
        loop {
            let received = self.received.as_mut_slice();
            let UnbufferedStatus { mut discard, state } = self.tls.process_tls_records(received);
            let step = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    let mut amount = 0;
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        let end = amount + record.payload.len();
                        let Some(room) = room.get_mut(amount..end) else {
                            return Err(io::Error::other("bytes came that nobody asked for"));
                        };
                        room.copy_from_slice(record.payload);
                        amount = end;
                    }
                    Ok(Some(Step::Read(amount)))
                }
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    encode(data, &mut self.outgoing).map(|()| None)
                }
                Ok(ConnectionState::TransmitTlsData(data)) => match &mut reach {
                    Reach::Nothing => Ok(Some(Step::Idle)),
                    Reach::Socket(socket) | Reach::Request(socket, _) => {
                        let sent = socket.write_all(&self.outgoing);
                        self.outgoing.clear();
                        sent.map(|()| {
                            data.done();
                            None
                        })
                    }
                },
                Ok(ConnectionState::WriteTraffic(traffic)) => match &mut reach {
                    Reach::Request(socket, request) => {
                        encrypt(traffic, request, &mut self.outgoing).and_then(|()| {
                            let sent = socket.write_all(&self.outgoing);
                            self.outgoing.clear();
                            sent.map(|()| Some(Step::Sent))
                        })
                    }
                    Reach::Nothing | Reach::Socket(_) => Ok(Some(Step::Idle)),
                },
                Ok(ConnectionState::BlockedHandshake) => Ok(Some(Step::Blocked)),
                Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                    self.peer_closed = true;
                    Ok(Some(Step::Closed))
                }
                Ok(_) => Err(io::Error::other("a state that no client can be in")),
                Err(error) => Err(invalid(error)),
            };
            self.received.discard(discard);
            match step {
                Ok(None) => {}
                Ok(Some(step)) => return Ok(step),
                Err(error) => {
                    match reach {
                        Reach::Socket(socket) | Reach::Request(socket, _)
                            if error.kind() == ErrorKind::InvalidData =>
                        {
                            self.send_alert(socket);
                        }
                        _ => {}
                    }
                    return Err(error);
                }
            }
        }
    }

    /// Sends an alert after an error of the peer, if rustls wants to send one.
    fn send_alert(&mut self, socket: &mut Socket) {
        // It stops when rustls has nothing more to write. Otherwise rustls would process the error
        // once more, and it asserts that it does not report it twice.
        while self.tls.wants_write() {
            let received = self.received.as_mut_slice();
            let UnbufferedStatus { discard, state } = self.tls.process_tls_records(received);
            let encoded = match state {
                Ok(ConnectionState::EncodeTlsData(data)) => encode(data, &mut self.outgoing),
                _ => break,
            };
            self.received.discard(discard);
            if encoded.is_err() {
                break;
            }
        }
        // The first error is reported, so an error of this write is ignored.
        let _ = socket.write_all(&self.outgoing);
        self.outgoing.clear();
    }

    /// A server that ends the handshake sends an alert and closes the connection, so a write can
    /// fail before the alert is read. The alert can still be read, and it says more than the error
    /// of the write.
    fn or_pending_alert(&mut self, mut stream: &TcpStream, error: io::Error) -> io::Error {
        if !is_disconnect(error.kind()) || self.received.fill(&mut stream).is_err() {
            return error;
        }
        match self.step(Reach::Nothing, &mut []) {
            Err(alert) if alert.kind() == ErrorKind::InvalidData => alert,
            _ => error,
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Received {
    fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    fn discard(&mut self, amount: usize) {
        self.start = self.end.min(self.start + amount);
    }

    /// Reads once, and appends to the received bytes. At most a part of one record has to be moved
    /// for this.
    fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        if self.bytes.is_empty() {
            self.bytes = vec![0; RECEIVE_BUFFER];
        }
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.end == self.bytes.len() {
            return Err(invalid(rustls::InvalidMessage::MessageTooLarge.into()));
        }
        let amount = from.read(&mut self.bytes[self.end..])?;
        self.end += amount;
        Ok(amount)
    }
}

/// Makes the same error as rustls's own streams.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    // With an empty buffer, `encode` returns the size that it needs.
    let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
        return Ok(());
    };
    let start = outgoing.len();
    outgoing.resize(start + size.required_size, 0);
    let length = data
        .encode(&mut outgoing[start..])
        .map_err(io::Error::other)?;
    outgoing.truncate(start + length);
    Ok(())
}

fn encrypt<Data>(
    mut traffic: WriteTraffic<'_, Data>,
    plaintext: &[u8],
    outgoing: &mut Vec<u8>,
) -> io::Result<()> {
    let start = outgoing.len();
    let size = match traffic.encrypt(plaintext, &mut []) {
        Err(EncryptError::InsufficientSize(size)) => size.required_size,
        Err(error) => return Err(io::Error::other(error)),
        Ok(_) => return Ok(()),
    };
    outgoing.resize(start + size, 0);
    let length = traffic
        .encrypt(plaintext, &mut outgoing[start..])
        .map_err(io::Error::other)?;
    outgoing.truncate(start + length);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        net::TcpListener,
        os::fd::AsFd,
        sync::mpsc,
        thread::{self, JoinHandle},
        time::{Duration, Instant},
    };

    use rcgen::{CertificateParams, KeyPair};
    use rustix::event::PollFlags;
    use rustls::{ServerConfig, ServerConnection, pki_types::PrivatePkcs8KeyDer};

    use super::*;
    use crate::{
        error::{Error, Reason},
        kubelet::{
            deadline::{Deadline, Stop, stop_pair},
            observer::Observer,
            tls::Tls,
        },
        options::Config,
    };

    /// The server's side, after the handshake.
    type Server = (ServerConnection, TcpStream);

    /// Makes a session with a finished handshake. `server` is what the server does after it.
    fn connect<T: Send + 'static>(
        timeout: &str,
        server: impl FnOnce(Server) -> T + Send + 'static,
    ) -> (Session, Socket, Stop, JoinHandle<T>) {
        let key = KeyPair::generate().expect("the key is usable");
        let cert = CertificateParams::new(["vm".to_owned()]).expect("the name is valid");
        let cert = cert.self_signed(&key).expect("the certificate is signed");
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let accepting = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the versions are supported")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .expect("the certificate can be served");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let mut tls = ServerConnection::new(Arc::new(accepting)).expect("it can be made");
            while tls.is_handshaking() || tls.wants_write() {
                tls.complete_io(&mut stream).expect("a handshake");
            }
            server((tls, stream))
        });

        let config = Config::read(|name| match name {
            "kubelet_url" => Some("https://vm:1".to_owned()),
            "allow_insecure_tls" => Some("true".to_owned()),
            "timeout" => Some(timeout.to_owned()),
            _ => None,
        })
        .expect("the options are valid");
        let (stop, signal) = stop_pair().expect("a socket pair can be made");
        let mut tls = Tls::new(&config, &Observer::default()).expect("no file is needed");
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_nonblocking(true).expect("a socket can do that");
        let mut socket = Socket {
            stream,
            deadline: Arc::new(Deadline::new(&config, signal)),
        };
        let loaded = tls.load().expect("no file is needed");
        let mut session = Session::new(loaded.client, tls.sni()).expect("it can be made");
        session.handshake(&mut socket).expect("a handshake");
        (session, socket, stop, server)
    }

    fn wire(tls: &mut ServerConnection) -> Vec<u8> {
        let mut wire = Vec::new();
        while tls.wants_write() {
            tls.write_tls(&mut wire).expect("memory can be written");
        }
        wire
    }

    /// Reads everything up to the end.
    fn read_all(session: &mut Session, socket: &mut Socket) -> (Vec<u8>, io::Result<()>) {
        let (mut all, mut room) = (Vec::new(), vec![0; MAX_PLAINTEXT]);
        loop {
            match session.read(socket, &mut room) {
                Ok(0) => return (all, Ok(())),
                Ok(amount) => all.extend_from_slice(&room[..amount]),
                Err(error) => return (all, Err(error)),
            }
        }
    }

    fn ours(error: io::Error) -> Reason {
        error
            .downcast::<Error>()
            .expect("an error of ours")
            .reason()
    }

    /// The records have various lengths. They arrive in pieces that end anywhere: in a header,
    /// after several records, or between two records.
    #[test]
    fn records_arrive_whole_however_they_are_cut() {
        let data: Vec<u8> = (0..300_000_u32).map(|at| (at % 251) as u8).collect();
        let expected = data.clone();
        let (mut session, mut socket, _stop, server) =
            connect("60s", move |(mut tls, mut stream)| {
                let mut records = wire(&mut tls);
                let mut left = data.as_slice();
                for length in [1, 2, 100, 5_000, MAX_PLAINTEXT].iter().cycle() {
                    let (now, later) = left.split_at(left.len().min(*length));
                    tls.writer().write_all(now).expect("there is room");
                    records.extend(wire(&mut tls));
                    left = later;
                    if left.is_empty() {
                        break;
                    }
                }
                tls.send_close_notify();
                records.extend(wire(&mut tls));
                let mut left = records.as_slice();
                for length in [1, 4, 1, 1_000, 16_406, 7, 70_000].iter().cycle() {
                    let (now, later) = left.split_at(left.len().min(*length));
                    stream.write_all(now).expect("the client reads");
                    left = later;
                    if left.is_empty() {
                        break;
                    }
                }
                // The server waits here until the client has closed.
                let _ = stream.read(&mut [0]);
            });
        let (all, end) = read_all(&mut session, &mut socket);
        end.expect("the end was announced");
        assert!(all == expected, "{} of {}", all.len(), expected.len());
        assert!(!session.is_idle(&socket.stream));
        drop(socket);
        server.join().expect("the server does not panic");
    }

    #[test]
    fn an_end_that_is_not_announced_is_an_error() {
        let (mut session, mut socket, _stop, server) = connect("60s", |(mut tls, mut stream)| {
            tls.writer().write_all(b"half").expect("there is room");
            let mut records = wire(&mut tls);
            tls.writer().write_all(b"of it").expect("there is room");
            records.extend(&wire(&mut tls)[..9]);
            stream.write_all(&records).expect("the client reads");
        });
        let (all, end) = read_all(&mut session, &mut socket);
        assert_eq!(all, b"half");
        let end = end.expect_err("it was cut");
        assert_eq!(end.kind(), ErrorKind::UnexpectedEof);
        server.join().expect("the server does not panic");
    }

    /// Sends records of one byte without end, so that each read returns many of them.
    fn flood((mut tls, mut stream): Server) {
        loop {
            for _ in 0..1_000 {
                tls.writer().write_all(b" ").expect("there is room");
            }
            if stream.write_all(&wire(&mut tls)).is_err() {
                return;
            }
        }
    }

    #[test]
    fn what_is_always_ready_ends_at_the_deadline() {
        let (mut session, mut socket, _stop, server) = connect("300ms", flood);
        let (all, end) = read_all(&mut session, &mut socket);
        assert!(!all.is_empty());
        assert_eq!(ours(end.expect_err("it has no end")), Reason::Timeout);
        drop(socket);
        server.join().expect("the server does not panic");
    }

    /// The stop also works while the buffer is full of records, so that no read is needed.
    #[test]
    fn what_is_always_ready_ends_with_the_stop() {
        let (mut session, mut socket, stop, server) = connect("60s", flood);
        let mut room = vec![0; MAX_PLAINTEXT];
        session.read(&mut socket, &mut room).expect("a record");
        let began = Instant::now();
        drop(stop);
        let end = session.read(&mut socket, &mut room);
        assert_eq!(ours(end.expect_err("it is over")), Reason::Stopped);
        assert!(began.elapsed() < Duration::from_secs(30));
        drop(socket);
        server.join().expect("the server does not panic");
    }

    /// TLS tickets and new keys are invisible to the reader. The reply that they require is sent
    /// with the next request. After any other data between requests, the session is not idle.
    #[test]
    fn only_tls_itself_may_speak_between_requests() {
        let (written, is_written) = mpsc::channel();
        let (mut session, mut socket, _stop, server) =
            connect("60s", move |(mut tls, mut stream)| {
                tls.refresh_traffic_keys().expect("TLS 1.3 can do that");
                let records = wire(&mut tls);
                stream.write_all(&records[..9]).expect("the client reads");
                stream.write_all(&records[9..]).expect("the client reads");
                written.send(()).expect("the test goes on");
                let mut request = [0; 40_000];
                rustls::Stream::new(&mut tls, &mut stream)
                    .read_exact(&mut request)
                    .expect("a request");
                rustls::Stream::new(&mut tls, &mut stream)
                    .write_all(b"a reply, and a bit")
                    .expect("the client reads");
                let _ = stream.read(&mut [0]);
                request
            });
        is_written.recv().expect("the server goes on");
        assert!(session.is_idle(&socket.stream));
        let request = [7; 40_000];
        let came = session.send(&mut socket, &request, &mut []);
        assert_eq!(came.expect("it is sent"), 0);
        // TLS may send its own messages first.
        while session.is_idle(&socket.stream) {
            let ready = socket.deadline.wait(socket.stream.as_fd(), PollFlags::IN);
            ready.expect("the server replies");
        }
        drop(socket);
        assert!(server.join().expect("the server does not panic") == request);
    }
}
