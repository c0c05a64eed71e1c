//! A port in front of a kubelet that can refuse, stall, hold or cut the traffic. These
//! are faults of a network, which a kubelet itself cannot have. It does not read the
//! bytes that it passes on, so TLS works through it.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, getsockname, listen, socket_with};

/// If a connection is not established within this time, the queue is full.
const FULL: Duration = Duration::from_millis(100);

/// What happens to the bytes that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// A connection is cut at its request with this number, before that is passed on. It
    /// counts writes: over plain HTTP, each request is one write.
    CutAt(u64),
    /// Requests wait here until the mode changes.
    Hold,
    /// Answers like a server for plain HTTP that gets something else, and closes the
    /// connection.
    BadRequest,
}

const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\n\
Connection: close\r\n\r\n400 Bad Request";

/// Refuses connections until it is opened. It has its port from the start.
pub struct Gate {
    socket: Arc<TcpListener>,
    address: SocketAddr,
    state: Arc<State>,
    /// The connections that fill the queue of a stalled port.
    fillers: Mutex<Vec<TcpStream>>,
}

struct State {
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    mode: Mode,
    target: u16,
    connections: u64,
    cuts: u64,
    held: u64,
    open: Vec<TcpStream>,
    ended: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate {
    pub fn new() -> io::Result<Self> {
        // Hosts that are started later must not inherit this socket.
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddr::try_from(getsockname(&socket)?)?;
        let now = Now {
            mode: Mode::Pass,
            target: 0,
            connections: 0,
            cuts: 0,
            held: 0,
            open: Vec::new(),
            ended: false,
        };
        Ok(Self {
            socket: Arc::new(TcpListener::from(socket)),
            address,
            state: Arc::new(State {
                now: Mutex::new(now),
                changed: Condvar::new(),
            }),
            fillers: Mutex::default(),
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens, but accepts nothing, and fills its queue. A client that connects has to
    /// wait.
    pub fn stall(&self) -> io::Result<()> {
        listen(&self.socket, 0)?;
        let mut fillers = self.fillers.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match TcpStream::connect_timeout(&self.address, FULL) {
                Ok(filler) => fillers.push(filler),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether a client waits for a stalled port, according to the kernel's table.
    pub fn is_waited_for(&self) -> bool {
        let SocketAddr::V4(address) = self.address else {
            return false;
        };
        let ip = u32::from_le_bytes(address.ip().octets());
        let peer = format!("{ip:08X}:{:04X}", address.port());
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
        table.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(2);
            // 02 is SYN_SENT.
            fields.next() == Some(&peer) && fields.next() == Some("02")
        })
    }

    /// From now on, connections are passed on to this port on loopback.
    pub fn lead_to(&self, port: u16) -> io::Result<()> {
        let first = std::mem::replace(&mut self.state.lock().target, port) == 0;
        let mut fillers = self.fillers.lock().unwrap_or_else(PoisonError::into_inner);
        fillers.clear();
        listen(&self.socket, 128)?;
        if first {
            let (socket, state) = (Arc::clone(&self.socket), Arc::clone(&self.state));
            thread::spawn(move || accept(&socket, &state));
        }
        Ok(())
    }

    pub fn set_mode(&self, mode: Mode) {
        self.state.lock().mode = mode;
        self.state.changed.notify_all();
    }

    /// The number of connections so far.
    pub fn connections(&self) -> u64 {
        self.state.lock().connections
    }

    /// The number of connections that were cut.
    pub fn cuts(&self) -> u64 {
        self.state.lock().cuts
    }

    /// The number of requests that are or were held.
    pub fn held(&self) -> u64 {
        self.state.lock().held
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let mut now = self.state.lock();
        now.ended = true;
        for stream in &now.open {
            // A connection that has already ended returns an error here.
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(now);
        self.state.changed.notify_all();
        // On Linux, this wakes `accept`.
        let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((client, _)) = listener.accept() {
        let mut now = state.lock();
        if now.ended {
            return;
        }
        now.connections += 1;
        let Ok(kubelet) = TcpStream::connect((Ipv4Addr::LOCALHOST, now.target)) else {
            continue;
        };
        for stream in [&client, &kubelet] {
            let _ = stream.set_nodelay(true);
            now.open.extend(stream.try_clone());
        }
        drop(now);
        let (Ok(replies), Ok(to_client)) = (kubelet.try_clone(), client.try_clone()) else {
            continue;
        };
        let state = Arc::clone(state);
        let may = move |mut client: &TcpStream, count| match next_step(&state, count) {
            Step::Pass => true,
            Step::Cut => false,
            Step::Refuse => {
                // It does not matter if the client has already closed the connection.
                let _ = client.write_all(BAD_REQUEST);
                false
            }
        };
        thread::spawn(move || pass(client, kubelet, may));
        thread::spawn(move || pass(replies, to_client, |_, _| true));
    }
}

enum Step {
    Pass,
    Cut,
    Refuse,
}

/// Decides what happens to the piece of a client with this number.
fn next_step(state: &State, count: u64) -> Step {
    let mut now = state.lock();
    if now.mode == Mode::Hold {
        now.held += 1;
    }
    while now.mode == Mode::Hold && !now.ended {
        now = state
            .changed
            .wait(now)
            .unwrap_or_else(PoisonError::into_inner);
    }
    match now.mode {
        Mode::CutAt(limit) if count >= limit => {
            now.cuts += 1;
            Step::Cut
        }
        Mode::BadRequest => Step::Refuse,
        _ if now.ended => Step::Cut,
        _ => Step::Pass,
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, may: impl Fn(&TcpStream, u64) -> bool) {
    let mut piece = [0; 64 << 10];
    let mut count = 0;
    while let Ok(length @ 1..) = from.read(&mut piece) {
        count += 1;
        if !may(&from, count) || to.write_all(&piece[..length]).is_err() {
            break;
        }
    }
    // If one direction ends, both end.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
