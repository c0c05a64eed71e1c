//! Owns the threads and their shared state: the accept loop, one thread per connection,
//! and a stop that ends all of them at once. It knows no HTTP.

use std::{
    collections::HashMap,
    io,
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    access::Access,
    clock::now_ms,
    connection,
    fault::{Fault, Injection, Stage},
    journal::{Journal, count},
    node::Node,
    random::Xorshift,
    respond::{PODS, below_proxy},
    sync::{lock, wait_until},
    tls::Tls,
    wire::stop_listening,
};

/// The state that all connections share.
pub struct Shared {
    pub node: Mutex<Node>,
    pub order: Mutex<Xorshift>,
    pub access: Mutex<Access>,
    pub tls: Mutex<Tls>,
    /// The fault for connections, and for every path but `/pods`.
    pub injection: Mutex<Injection>,
    pub pods_injection: Mutex<Injection>,
    /// A body of `/pods` to serve instead of the node's.
    pub pods_body: Mutex<Option<Vec<u8>>>,
    pub journal: Journal,
    pub plain_http: bool,
    /// How far its clock is ahead of this machine's. If negative, it is behind.
    pub clock_ahead_ms: i64,
    /// Bodies to serve one after another instead of the node's. The last one repeats.
    pub replay: Vec<Vec<u8>>,
    pub replayed: AtomicUsize,
    connections: Mutex<HashMap<u64, TcpStream>>,
    stopping: Mutex<bool>,
    stop_signal: Condvar,
}

impl Shared {
    pub fn new(node: Node, access: Access, tls: Tls) -> Self {
        Self {
            node: Mutex::new(node),
            order: Mutex::new(Xorshift::new(crate::random::unique())),
            access: Mutex::new(access),
            tls: Mutex::new(tls),
            injection: Mutex::new(Injection::default()),
            pods_injection: Mutex::new(Injection::default()),
            pods_body: Mutex::new(None),
            journal: Journal::default(),
            plain_http: false,
            clock_ahead_ms: 0,
            replay: Vec::new(),
            replayed: AtomicUsize::new(0),
            connections: Mutex::new(HashMap::new()),
            stopping: Mutex::new(false),
            stop_signal: Condvar::new(),
        }
    }

    /// The current time of the simulated kubelet.
    pub fn now_ms(&self) -> u64 {
        now_ms().saturating_add_signed(self.clock_ahead_ms)
    }

    pub fn connection_fault(&self) -> Fault {
        lock(&self.injection).take(Stage::Connection)
    }

    /// Returns the fault for a request for that path.
    pub fn request_fault(&self, path: &str) -> Fault {
        let injection = match below_proxy(path) {
            PODS => &self.pods_injection,
            _ => &self.injection,
        };
        lock(injection).take(Stage::Request)
    }

    /// Returns the next body of a replay.
    pub fn next_replay(&self) -> Option<&Vec<u8>> {
        let last = self.replay.len().checked_sub(1)?;
        let index = self.replayed.fetch_add(1, Ordering::Relaxed);
        self.replay.get(index.min(last))
    }

    /// Waits, but not longer than the server runs. Returns true if the server has ended.
    pub fn pause(&self, duration: Duration) -> bool {
        wait_until(&self.stopping, &self.stop_signal, duration, |stopping| {
            *stopping
        })
    }

    pub fn is_stopping(&self) -> bool {
        *lock(&self.stopping)
    }

    /// Closes the second descriptor of a connection, so that closing the first one closes
    /// the connection.
    pub fn forget(&self, id: u64) {
        lock(&self.connections).remove(&id);
    }

    /// Cuts every connection.
    pub fn close_connections(&self) {
        for stream in lock(&self.connections).values() {
            // A connection that is already closed returns an error here.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn remember(&self, id: u64, stream: &TcpStream) -> io::Result<bool> {
        let second = stream.try_clone()?;
        let mut connections = lock(&self.connections);
        if self.is_stopping() {
            return Ok(false);
        }
        connections.insert(id, second);
        Ok(true)
    }
}

/// The running accept loop.
pub struct Server {
    pub shared: Arc<Shared>,
    listener: Arc<TcpListener>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start(listener: TcpListener, shared: Shared) -> io::Result<Self> {
        let shared = Arc::new(shared);
        let listener = Arc::new(listener);
        let accepting = {
            let (shared, listener) = (Arc::clone(&shared), Arc::clone(&listener));
            thread::Builder::new()
                .name("kubelet-accept".to_owned())
                .spawn(move || accept(&shared, &listener))?
        };
        Ok(Self {
            shared,
            listener,
            accepting: Some(accepting),
        })
    }

    /// Stops listening, cuts every connection and waits for all threads.
    pub fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        *lock(&self.shared.stopping) = true;
        self.shared.stop_signal.notify_all();
        stop_listening(&self.listener);
        self.shared.close_connections();
        // If the thread panicked, it has ended, and nothing more is required here.
        let _ = accepting.join();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut workers: Vec<JoinHandle<()>> = Vec::new();
    while !shared.is_stopping() {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            // Either there are no free descriptors, or the client has closed the
            // connection. Both are temporary.
            Err(_) => {
                shared.pause(Duration::from_millis(20));
                continue;
            }
        };
        let id = count(&shared.journal.connections);
        workers.retain(|worker| !worker.is_finished());
        if !shared.remember(id, &stream).unwrap_or(false) {
            continue;
        }
        let for_worker = Arc::clone(shared);
        let worker = thread::Builder::new()
            .name(format!("kubelet-{id}"))
            .spawn(move || {
                connection::serve(&for_worker, stream, id);
                for_worker.forget(id);
            });
        match worker {
            Ok(worker) => workers.push(worker),
            Err(_) => shared.forget(id),
        }
    }
    for worker in workers {
        let _ = worker.join();
    }
}
