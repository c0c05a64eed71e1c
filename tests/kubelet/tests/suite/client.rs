//! Owns a client small enough to see every byte: rustls on a socket, HTTP by hand.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};
use serde_json::Value;
use sim_kubelet::SimKubelet;

/// Longer than any reply here takes, shorter than a test run.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How a connection to a kubelet is made.
pub struct Setup {
    pub server_name: &'static str,
    pub versions: Vec<&'static SupportedProtocolVersion>,
    pub client_files: Option<(std::path::PathBuf, std::path::PathBuf)>,
    pub patience: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            server_name: "vm",
            versions: rustls::ALL_VERSIONS.to_vec(),
            client_files: None,
            patience: PATIENCE,
        }
    }
}

pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

pub struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    pub protocol: Option<rustls::ProtocolVersion>,
    pub alpn: Option<Vec<u8>>,
}

/// A reply with its body taken out of the chunks.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }
}

/// How a connection that was read to its end ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// In order: FIN, after close_notify where there is TLS.
    Closed,
    Reset,
    /// Still open, but silent for the time given.
    Silent,
}

pub fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .expect("a PEM file")
        .map(|one| one.expect("a certificate"))
        .collect()
}

pub fn tcp(kubelet: &SimKubelet, patience: Duration) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", kubelet.port())).expect("a connection");
    stream
        .set_read_timeout(Some(patience))
        .expect("a read timeout");
    stream
}

impl Client {
    pub fn plain(kubelet: &SimKubelet, patience: Duration) -> Self {
        Self {
            stream: Box::new(tcp(kubelet, patience)),
            buffer: Vec::new(),
            protocol: None,
            alpn: None,
        }
    }

    pub fn new(kubelet: &SimKubelet) -> Self {
        Self::connect(kubelet, &Setup::default()).expect("a TLS connection")
    }

    pub fn connect(kubelet: &SimKubelet, setup: &Setup) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&kubelet.ca_file()) {
            roots.add(certificate).expect("a CA");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&setup.versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match &setup.client_files {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    certificates(certificate),
                    PrivateKeyDer::from_pem_file(key).expect("a key"),
                )
                .expect("a matching key"),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(setup.server_name).expect("a name");
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        let mut stream = tcp(kubelet, setup.patience);
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Self {
            protocol: connection.protocol_version(),
            alpn: connection.alpn_protocol().map(<[u8]>::to_vec),
            stream: Box::new(StreamOwned::new(connection, stream)),
            buffer: Vec::new(),
        })
    }

    pub fn send(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: vm\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.stream
            .write_all(request.as_bytes())
            .and_then(|()| self.stream.flush())
            .expect("a sent request");
    }

    /// Sends and reads the whole reply.
    pub fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(method, target, headers);
        self.reply().expect("a reply")
    }

    pub fn get(&mut self, target: &str) -> Reply {
        self.ask("GET", target, &[])
    }

    pub fn summary(&mut self) -> Value {
        let reply = self.get("/stats/summary");
        assert_eq!(reply.status, 200, "{}", reply.head);
        reply.json()
    }

    /// Reads one reply by its framing; bytes after it stay for the next.
    pub fn reply(&mut self) -> io::Result<Reply> {
        let end = self.find(b"\r\n\r\n")?;
        let head = String::from_utf8(self.take(end + 4)?).expect("a text head");
        let mut reply = Reply {
            status: head[9..12].parse().expect("a status"),
            head,
            body: Vec::new(),
        };
        if reply.header("transfer-encoding") == Some("chunked") {
            loop {
                let end = self.find(b"\r\n")?;
                let line = String::from_utf8_lossy(&self.take(end + 2)?).into_owned();
                let size = usize::from_str_radix(line.trim(), 16)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, line))?;
                let chunk = self.take(size + 2)?;
                assert!(chunk.ends_with(b"\r\n"));
                reply.body.extend_from_slice(&chunk[..size]);
                if size == 0 {
                    return Ok(reply);
                }
            }
        }
        let length = reply.header("content-length").unwrap_or("0");
        let length = length.parse().expect("a length");
        reply.body = self.take(length)?;
        Ok(reply)
    }

    /// Everything until the connection ends or falls silent.
    pub fn rest(&mut self) -> (Vec<u8>, Ending) {
        loop {
            let mut piece = [0; 65_536];
            let ending = match self.stream.read(&mut piece) {
                Ok(0) => Ending::Closed,
                Ok(count) => {
                    self.buffer.extend_from_slice(&piece[..count]);
                    continue;
                }
                Err(err) => match err.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ending::Silent,
                    io::ErrorKind::ConnectionReset => Ending::Reset,
                    kind => panic!("ended with {kind:?}: {err}"),
                },
            };
            return (std::mem::take(&mut self.buffer), ending);
        }
    }

    /// The first `count` bytes there are to read.
    pub fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            self.fill()?;
        }
        Ok(self.buffer.drain(..count).collect())
    }

    fn find(&mut self, needle: &[u8]) -> io::Result<usize> {
        loop {
            let mut windows = self.buffer.windows(needle.len());
            if let Some(at) = windows.position(|window| window == needle) {
                return Ok(at);
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut piece = [0; 65_536];
        match self.stream.read(&mut piece)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.buffer.extend_from_slice(&piece[..count]);
                Ok(())
            }
        }
    }
}

/// The pod of that name in a reply.
pub fn pod<'a>(summary: &'a Value, name: &str) -> &'a Value {
    pods(summary)
        .iter()
        .find(|pod| pod["podRef"]["name"] == name)
        .unwrap_or_else(|| panic!("no pod {name} in the reply"))
}

pub fn pods(summary: &Value) -> &[Value] {
    summary["pods"].as_array().expect("a list of pods")
}
