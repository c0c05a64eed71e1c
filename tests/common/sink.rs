//! The server to which the `http` output of a host delivers.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Takes records. Returns whether it has taken them.
type Take = Arc<dyn Fn(Vec<String>) -> bool + Send + Sync>;

/// Starts a server for requests with `format json_lines`, and returns its port. It
/// answers with 200 if `take` accepts the lines, and with 503 otherwise. It ends with the
/// test.
pub fn serve(take: impl Fn(Vec<String>) -> bool + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let take: Take = Arc::new(take);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let take = Arc::clone(&take);
            thread::spawn(move || answer(&stream, &take));
        }
    });
    port
}

/// Answers one request that has a `Content-Length`, and ends the connection.
fn answer(mut stream: &TcpStream, take: &Take) {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    if length == 0 || reader.read_exact(&mut body).is_err() {
        return;
    }
    let text = String::from_utf8(body).expect("utf-8");
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let status = match take(lines.map(str::to_owned).collect()) {
        true => "200 OK",
        false => "503 Service Unavailable",
    };
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
}

/// A server that keeps the records. While it is closed, it takes none.
pub struct Sink {
    pub port: u16,
    kept: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    open: AtomicBool,
    records: Mutex<Vec<String>>,
}

impl Sink {
    /// Starts a server that is closed at first.
    pub fn start() -> Self {
        let kept: Arc<Kept> = Arc::default();
        let here = Arc::clone(&kept);
        let port = serve(move |lines| {
            let open = here.open.load(Ordering::SeqCst);
            if open {
                let records = here.records.lock();
                records
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend(lines);
            }
            open
        });
        Self { port, kept }
    }

    pub fn set_open(&self, open: bool) {
        self.kept.open.store(open, Ordering::SeqCst);
    }

    pub fn records(&self) -> Vec<String> {
        let records = self.kept.records.lock();
        records.unwrap_or_else(PoisonError::into_inner).clone()
    }
}
