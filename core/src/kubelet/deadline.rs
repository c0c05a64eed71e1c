//! The only place that waits for the network.
//!
//! A scrape has one deadline for all its steps: DNS, TCP, TLS, header and body. It is `timeout`
//! after the scrape began. ureq's own timeouts are not used. Its resolver and connector are
//! replaced (see `transport.rs`), and sockets are non-blocking. If one would block, there is
//! exactly one way to wait:
//!
//! - `Deadline::wait` polls the socket together with the [`StopSignal`]. It ends when the
//!   socket is ready, at the deadline, or at once when the input stops.
//! - `Deadline::check` checks the same without waiting. Every read and write calls it first,
//!   because bytes that are always ready must not extend a scrape.
//!
//! Reading a file cannot be interrupted. It happens in a phase of its own, and the deadline is
//! checked after it. If the file system never answers, the worker cannot check. Then the host's
//! thread sees the shared phase and reports the scrape as timed out; see [`worker`](crate::worker).
//!
//! The side that may stop the scrapes owns the [`Stop`], with both sockets of the pair. The waiting
//! side has only a `Weak` reference, which it upgrades while it waits. So a worker thread that is
//! still running after the end keeps no file open.

use std::{
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Endpoint;
use crate::{
    error::{Error, Phase, Result},
    options::Config,
};

/// Dropping this ends every wait of the paired [`StopSignal`].
#[derive(Debug)]
pub struct Stop {
    _other_end: UnixStream,
    /// The socket of the signal, which has only a `Weak` reference to it.
    _socket: Arc<UnixStream>,
    stopped: Arc<AtomicBool>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Becomes readable when its [`Stop`] is dropped, and stays so.
#[derive(Debug, Clone)]
pub struct StopSignal {
    socket: Weak<UnixStream>,
    /// Has the same meaning, for [`Deadline::check`], and needs no system call.
    stopped: Arc<AtomicBool>,
}

/// Makes a stop and its signal. All clones of the signal belong to the same stop.
pub fn stop_pair() -> io::Result<(Stop, StopSignal)> {
    let (other_end, socket) = UnixStream::pair()?;
    let stopped = Arc::new(AtomicBool::new(false));
    let socket = Arc::new(socket);
    let signal = StopSignal {
        socket: Arc::downgrade(&socket),
        stopped: Arc::clone(&stopped),
    };
    let stop = Stop {
        _other_end: other_end,
        _socket: socket,
        stopped,
    };
    Ok((stop, signal))
}

/// Names the files of the two phases that read files, for a log line about a file system that
/// hangs: `kube_token_file PATH`, and `kube_ca_file PATH` with the files of the client certificate.
pub fn credential_files(config: &Config) -> [String; 2] {
    let name = |option: &str, path: &Path| format!("{option} {}", path.display());
    let token = name("kube_token_file", config.token_file.path());
    let mut certificates = name("kube_ca_file", config.ca_file.path());
    if let Some((cert, key)) = config.client_cert() {
        let (cert, key) = (name("cert_file", cert), name("key_file", key));
        certificates.push_str(&format!(", {cert} or {key}"));
    }
    [token, certificates]
}

/// When the current scrape has to end, and what it is doing. The worker's thread shares it with the
/// host's thread, which watches it.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// The URLs, in the order of [`Endpoint`].
    urls: [String; 2],
    /// The names of the files that are read in the two phases that read files.
    token: String,
    certificates: String,
    timeout: Duration,
    stop: StopSignal,
    scrape: Mutex<Scrape>,
    connections: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
struct Scrape {
    deadline: Instant,
    /// The deadline of the current request, which is not later than that of the scrape.
    request_deadline: Instant,
    /// The endpoint of the current request, and the current phase.
    endpoint: Endpoint,
    phase: Phase,
}

impl Deadline {
    /// Makes a deadline with the URL, timeout and files of these options. The time of the first
    /// scrape begins here, unless [`Deadline::restart`] is called.
    pub fn new(config: &Config, stop: StopSignal) -> Self {
        let mut deadline = Self::with_timeout(
            [Endpoint::Summary, Endpoint::Pods].map(|endpoint| config.url.of(endpoint).to_owned()),
            config.timeout,
            stop,
        );
        [deadline.token, deadline.certificates] = credential_files(config);
        deadline
    }

    fn with_timeout(urls: [String; 2], timeout: Duration, stop: StopSignal) -> Self {
        let deadline = Instant::now() + timeout;
        Self {
            urls,
            token: String::new(),
            certificates: String::new(),
            timeout,
            stop,
            scrape: Mutex::new(Scrape {
                deadline,
                request_deadline: deadline,
                endpoint: Endpoint::Summary,
                phase: Phase::Queued,
            }),
            connections: AtomicU64::new(0),
        }
    }

    /// The URL of the current request, for errors.
    pub fn url(&self) -> &str {
        &self.urls[self.scrape().endpoint as usize]
    }

    /// Starts the time of a scrape.
    pub fn restart(&self) {
        self.update(|scrape| {
            scrape.deadline = Instant::now() + self.timeout;
            scrape.request_deadline = scrape.deadline;
        });
    }

    /// Begins the next request of the scrape. It may take the rest of the scrape's time, but no
    /// more than [`Deadline::share`].
    pub fn begin_request(&self, endpoint: Endpoint) {
        self.update(|scrape| {
            scrape.endpoint = endpoint;
            scrape.request_deadline = scrape.deadline.min(Instant::now() + self.share(endpoint));
        });
    }

    /// The part of the scrape's time that a request may take. A request for the pods gets only a
    /// quarter: the records wait for it, and they are worth more than the facts.
    fn share(&self, endpoint: Endpoint) -> Duration {
        match endpoint {
            Endpoint::Summary => self.timeout,
            Endpoint::Pods => self.timeout / 4,
        }
    }

    /// Notes what the scrape does next.
    pub fn enter(&self, phase: Phase) {
        self.update(|scrape| scrape.phase = phase);
    }

    /// What the scrape is doing, or did last.
    pub fn phase(&self) -> Phase {
        self.scrape().phase
    }

    /// When the time of the current request ends.
    pub fn ends_at(&self) -> Instant {
        self.scrape().request_deadline
    }

    /// The number of connections made so far. A request sees by it whether it used a kept
    /// connection.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection, after its TLS handshake if it has one.
    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Runs `work`, which reads files, in this phase, and then returns to the previous phase.
    pub fn while_reading<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let before = self.phase();
        self.enter(phase);
        let done = work();
        self.enter(before);
        done
    }

    /// The value of the option `timeout`.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The error for a request whose time has run out, according to the current phase.
    pub fn timeout_error(&self) -> Error {
        let scrape = self.scrape();
        let timeout = self.share(scrape.endpoint);
        match scrape.phase {
            Phase::Token => Error::timeout_reading(&self.token, timeout),
            Phase::Certificates => Error::timeout_reading(&self.certificates, timeout),
            phase => Error::timeout(phase, timeout, self.url()),
        }
    }

    /// Returns an error if the request's time has run out or the input stops.
    pub fn check(&self) -> Result<()> {
        if self.stop.stopped.load(Ordering::Relaxed) {
            return Err(Error::stopped());
        }
        match Instant::now() < self.ends_at() {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Waits for this time. Returns an error if the input stops.
    pub fn rest(&self, time: Duration) -> Result<()> {
        let Some(socket) = self.stop.socket.upgrade() else {
            return Err(Error::stopped());
        };
        // The stop is the only thing to wait for here, so its socket is in the poll twice. That
        // does no harm.
        match self.wait_until(socket.as_fd(), PollFlags::IN, Instant::now() + time)? {
            true => Err(Error::stopped()),
            false => Ok(()),
        }
    }

    /// Waits until `fd` is ready. Returns an error if the request's time runs out or the input
    /// stops.
    pub fn wait(&self, fd: BorrowedFd, events: PollFlags) -> Result<()> {
        match self.wait_until(fd, events, self.ends_at())? {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Waits until `fd` is ready (`true`) or `until` has passed (`false`), for example while one of
    /// several addresses is tried. Returns an error if the input stops.
    pub fn wait_until(&self, fd: BorrowedFd, events: PollFlags, until: Instant) -> Result<bool> {
        let Some(socket) = self.stop.socket.upgrade() else {
            return Err(Error::stopped());
        };
        loop {
            let mut fds = [
                PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(fd, events),
            ];
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match poll(&mut fds, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::connection(self.url(), error.into())),
                Ok(_) if !fds[0].revents().is_empty() => return Err(Error::stopped()),
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
            }
        }
    }

    fn scrape(&self) -> Scrape {
        *self.scrape.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, change: impl FnOnce(&mut Scrape)) {
        change(&mut self.scrape.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    fn deadline(timeout: Duration) -> (Stop, Deadline) {
        let (stop, signal) = stop_pair().expect("a socket pair can be made");
        (
            stop,
            Deadline::with_timeout(
                ["https://kubelet", "https://kubelet/pods"].map(str::to_owned),
                timeout,
                signal,
            ),
        )
    }

    #[test]
    fn a_wait_ends_at_the_deadline() {
        let (_stop, deadline) = deadline(Duration::from_millis(20));
        let (silent, _other) = UnixStream::pair().expect("a socket pair can be made");
        deadline.enter(Phase::Body);
        let error = deadline
            .wait(silent.as_fd(), PollFlags::IN)
            .expect_err("there is nothing to read");
        assert_eq!(
            error.to_string(),
            "timed out after 20ms reading the reply of https://kubelet: \
             the kubelet is slow or stuck, or raise timeout"
        );
    }

    #[test]
    fn who_need_not_wait_ends_as_well() {
        let (stop, deadline) = deadline(Duration::from_millis(20));
        deadline.restart();
        assert!(deadline.check().is_ok());
        while Instant::now() < deadline.ends_at() {
            std::thread::yield_now();
        }
        let late = deadline.check().expect_err("its time is up");
        assert_eq!(late.reason(), Reason::Timeout);
        deadline.restart();
        drop(stop);
        assert!(deadline.check().is_err_and(|error| error.is_stopped()));
    }

    #[test]
    fn a_wait_ends_when_the_plugin_stops() {
        let (stop, deadline) = deadline(Duration::from_secs(60));
        let (silent, _other) = UnixStream::pair().expect("a socket pair can be made");
        let began = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| deadline.wait(silent.as_fd(), PollFlags::IN));
            drop(stop);
            let error = waiting
                .join()
                .expect("the waiting thread does not panic")
                .expect_err("the wait was stopped");
            assert_eq!(error.reason(), Reason::Stopped);
        });
        assert!(began.elapsed() < Duration::from_secs(30));
    }

    /// A request can use only the time that the previous one has left. A request for the pods gets
    /// at most a quarter. An error names the URL of the current request.
    #[test]
    fn requests_of_a_scrape_share_its_time() {
        let (_stop, deadline) = deadline(Duration::from_millis(20));
        deadline.restart();
        let end = deadline.ends_at();
        deadline.begin_request(Endpoint::Summary);
        assert_eq!(deadline.ends_at(), end);
        deadline.begin_request(Endpoint::Pods);
        assert!(deadline.ends_at() <= end.min(Instant::now() + Duration::from_millis(5)));
        let (silent, _other) = UnixStream::pair().expect("a socket pair opens");
        deadline.enter(Phase::Headers);
        let error = deadline.wait(silent.as_fd(), PollFlags::IN);
        let line = error.expect_err("nothing to read").to_string();
        assert!(
            line.contains(" waiting for the reply of https://kubelet/pods: "),
            "{line}"
        );
    }
}
