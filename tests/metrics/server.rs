//! A server that keeps every request as it came, and says that all is well: HTTP/1.1, and
//! HTTP/2 as gRPC speaks it, told apart by how a connection begins.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What was sent.
#[derive(Debug, Clone)]
pub struct Request {
    /// `POST`, or empty over HTTP/2, whose headers are not decoded here.
    pub method: String,
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub is_http2: bool,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }
}

#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<Request>>,
    is_closed: AtomicBool,
}

/// Listens on loopback until the test ends.
pub struct Server {
    pub port: u16,
    kept: Arc<Kept>,
}

impl Server {
    /// Answers each request with 200 and this body.
    pub fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let kept = Arc::<Kept>::default();
        let here = Arc::clone(&kept);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&here);
                // A client that leaves in between ends its connection, no more.
                thread::spawn(move || converse(stream, answer, &kept));
            }
        });
        Self { port, kept }
    }

    /// While it is closed it answers HTTP/1.1 with 503, and keeps nothing.
    pub fn set_open(&self, is_open: bool) {
        self.kept.is_closed.store(!is_open, Ordering::SeqCst);
    }

    pub fn requests(&self) -> Vec<Request> {
        let kept = self.kept.requests.lock();
        kept.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self) -> usize {
        let kept = self.kept.requests.lock();
        kept.unwrap_or_else(PoisonError::into_inner).len()
    }
}

fn keep(kept: &Kept, request: Request) {
    let kept = kept.requests.lock();
    kept.unwrap_or_else(PoisonError::into_inner).push(request);
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn converse(stream: TcpStream, answer: &str, kept: &Kept) -> io::Result<()> {
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    if reader.fill_buf()?.starts_with(b"PRI") {
        let mut preface = [0; PREFACE.len()];
        reader.read_exact(&mut preface)?;
        assert_eq!(preface, PREFACE, "no HTTP/2");
        return frames(&mut reader, &mut writer, kept);
    }
    while let Some(request) = read(&mut reader)? {
        let status = match kept.is_closed.load(Ordering::SeqCst) {
            true => "503 Service Unavailable",
            false => {
                keep(kept, request);
                "200 OK"
            }
        };
        write!(
            writer,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut words = first.split_whitespace().map(str::to_owned);
    let mut request = Request {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        headers: Vec::new(),
        body: Vec::new(),
        is_http2: false,
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((key, value)) = line.split_once(':') else {
            break;
        };
        let header = (key.to_ascii_lowercase(), value.trim().to_owned());
        request.headers.push(header);
    }
    let length = request.header("content-length").unwrap_or("0");
    request.body = vec![0; length.parse().map_err(io::Error::other)?];
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}

/// As RFC 9113 numbers them.
mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

fn send(out: &mut impl Write, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    out.write_all(&bytes)
}

/// A header that no table has, as RFC 7541 writes it.
fn literal(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
}

/// Calls of one method after another, each with one message.
fn frames(reader: &mut impl Read, out: &mut impl Write, kept: &Kept) -> io::Result<()> {
    send(out, frame::SETTINGS, 0, 0, &[])?;
    let mut bodies = std::collections::HashMap::<u32, Vec<u8>>::new();
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length as usize];
        reader.read_exact(&mut payload)?;
        match kind {
            frame::SETTINGS if flags & frame::ACK == 0 => {
                send(out, frame::SETTINGS, frame::ACK, 0, &[])?;
            }
            frame::PING if flags & frame::ACK == 0 => {
                send(out, frame::PING, frame::ACK, 0, &payload)?;
            }
            frame::GOAWAY => return Ok(()),
            frame::DATA => {
                if length > 0 {
                    for window in [0, stream] {
                        send(out, frame::WINDOW_UPDATE, 0, window, &length.to_be_bytes())?;
                    }
                }
                if flags & frame::PADDED != 0 {
                    let padding = usize::from(payload.remove(0));
                    payload.truncate(payload.len() - padding);
                }
                bodies.entry(stream).or_default().extend(payload);
            }
            _ => {}
        }
        let ends = matches!(kind, frame::DATA | frame::HEADERS) && flags & frame::END_STREAM != 0;
        if ends {
            let body = bodies.remove(&stream).unwrap_or_default();
            keep(
                kept,
                Request {
                    method: String::new(),
                    path: String::new(),
                    headers: Vec::new(),
                    body,
                    is_http2: true,
                },
            );
            // `:status: 200` is number 8 of the static table.
            let mut headers = vec![0x88];
            literal(&mut headers, "content-type", "application/grpc");
            send(out, frame::HEADERS, frame::END_HEADERS, stream, &headers)?;
            send(out, frame::DATA, 0, stream, &[0; 5])?;
            let mut trailers = Vec::new();
            literal(&mut trailers, "grpc-status", "0");
            let last = frame::END_HEADERS | frame::END_STREAM;
            send(out, frame::HEADERS, last, stream, &trailers)?;
        }
    }
}
