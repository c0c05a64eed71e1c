//! TLS on one connection: what is received lies in a buffer of our own, in which rustls
//! decrypts it.
//!
//! rustls's other interface, with buffers inside, reads one record at a time, fills its
//! buffer with zeros before and moves the rest of it afterwards. Here one call of the system
//! brings several records. All of TLS is still rustls's: this file only carries bytes.

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

/// The most plaintext of one record.
pub(super) const MAX_PLAINTEXT: usize = 16 << 10;

/// Bytes that one read may bring. A message of a handshake has to fit; rustls takes none that
/// is longer.
const RECEIVE_BUFFER: usize = 4 * (MAX_PLAINTEXT + 256);

/// Reads from a kept connection between two requests, for TLS session tickets.
const MAX_IDLE_READS: usize = 16;

/// A TLS session over a [`Socket`].
pub(super) struct Session {
    tls: Box<UnbufferedClientConnection>,
    received: Received,
    /// Encrypted, and still to be sent.
    outgoing: Vec<u8>,
    /// The peer has said that nothing more will come.
    peer_closed: bool,
}

/// What has come and was not decrypted yet: `bytes[start..end]`.
struct Received {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

/// How far a session got with what it has received.
enum Step {
    /// Plaintext came, so many bytes.
    Read(usize),
    /// What was to be sent has been.
    Sent,
    /// More has to come first.
    Blocked,
    /// As before, but it could send.
    Idle,
    /// There will be no more plaintext.
    Closed,
}

/// What a [`Step`] may do on the network.
enum Reach<'a> {
    /// Nothing: what would be sent waits.
    Nothing,
    /// Send what TLS itself has to say.
    Socket(&'a mut Socket),
    /// Send this as well.
    Request(&'a mut Socket, &'a [u8]),
}

impl Session {
    /// Nothing is sent yet.
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

    /// Once the handshake is over.
    pub fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.tls.protocol_version()
    }

    /// From the first message to the last one of ours.
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

    /// Sends `request`. What has come already, and was not asked for, goes to `room`; returned
    /// is its length.
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

    /// The plaintext of the next record; `room` has [`MAX_PLAINTEXT`] bytes for it. 0 after an
    /// end that the peer has announced; any other end is an error.
    pub fn read(&mut self, socket: &mut Socket, room: &mut [u8]) -> io::Result<usize> {
        loop {
            // Records that have come already take no read, and so are asked here as well.
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

    /// Whether the peer has said nothing since its last reply but TLS tickets and the like.
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

    /// Lets rustls work on what has been received, up to something to do.
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

    /// After an error of the peer's: tells it, if rustls wants to.
    fn send_alert(&mut self, socket: &mut Socket) {
        loop {
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
        // The first error is the one to report.
        let _ = socket.write_all(&self.outgoing);
        self.outgoing.clear();
    }

    /// A server that ends the handshake sends an alert and closes, so a write of ours can fail
    /// before the alert is read. It can still be read, and says more than the write's error.
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

    /// Reads once, behind what there is. At most a part of one record has to be moved for it.
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

/// As rustls's own streams have it.
fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

fn encode<Data>(mut data: EncodeTlsData<'_, Data>, outgoing: &mut Vec<u8>) -> io::Result<()> {
    // Asked with no room at all, it says how much it takes.
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
