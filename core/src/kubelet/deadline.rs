//! The only place that waits for the network.
//!
//! A scrape has one deadline, `timeout` after it began, for all of it: DNS, TCP, TLS,
//! header and body. ureq has timeouts of its own, which are not used. Its resolver and
//! connector are replaced (see `transport.rs`), sockets are non-blocking, and where one
//! would block there is exactly one way to wait:
//!
//! - `Deadline::wait` polls the socket together with the [`StopSignal`]. It ends when the
//!   socket is ready, at the deadline, or at once when the input stops.
//! - `Deadline::check` asks the same without waiting. Every read and write calls it
//!   first: bytes that are always ready, one after the other, must not outlast a scrape.
//!
//! What reads files cannot be interrupted. It runs in a phase of its own, and the deadline
//! is checked after it. If the file system never answers, nobody is left to check: the
//! host's thread sees the phase, which is shared, and reports the scrape as timed out; see
//! [`worker`](crate::worker).
//!
//! Who owns what: whoever may stop the scrapes holds the [`Stop`], both sockets of its
//! pair included. The waiting side has only a `Weak` of its own and upgrades it for as
//! long as it waits, so a thread that is left behind keeps no file open.

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

/// Drop it to end every wait of the paired [`StopSignal`].
#[derive(Debug)]
pub struct Stop {
    _other_end: UnixStream,
    /// The signal's end; it has a `Weak` of it.
    _socket: Arc<UnixStream>,
    stopped: Arc<AtomicBool>,
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

/// Readable, for good, once its [`Stop`] is gone.
#[derive(Debug, Clone)]
pub struct StopSignal {
    socket: Weak<UnixStream>,
    /// The same for [`Deadline::check`], without a system call.
    stopped: Arc<AtomicBool>,
}

/// A stop and its signal. Clones of the signal end with the same stop.
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

/// The files of the two phases that read files, for a line about a file system that hangs:
/// `kube_token_file PATH`, and `kube_ca_file PATH` with the client certificate's.
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

/// When the current scrape has to end, and what it is doing. Shared by the worker's thread
/// and the host's, which watches it.
#[derive(Debug)]
pub(crate) struct Deadline {
    /// In the order of [`Endpoint`].
    urls: [String; 2],
    /// What is read in the phases that read files.
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
    /// Of the request in hand; no later than that.
    request_deadline: Instant,
    /// Of the request in hand, and what is done for it.
    endpoint: Endpoint,
    phase: Phase,
}

impl Deadline {
    /// For the URL, the timeout and the files of these options. The first scrape's time
    /// runs from here until [`Deadline::restart`].
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

    /// The URL of the request in hand, for errors.
    pub fn url(&self) -> &str {
        &self.urls[self.scrape().endpoint as usize]
    }

    /// A scrape starts now.
    pub fn restart(&self) {
        self.update(|scrape| {
            scrape.deadline = Instant::now() + self.timeout;
            scrape.request_deadline = scrape.deadline;
        });
    }

    /// The next of the scrape's requests. Its time is what the others have left of the
    /// scrape's, but no more than [`Deadline::share`].
    pub fn begin_request(&self, endpoint: Endpoint) {
        self.update(|scrape| {
            scrape.endpoint = endpoint;
            scrape.request_deadline = scrape.deadline.min(Instant::now() + self.share(endpoint));
        });
    }

    /// How much of a scrape's time a request may take. The records wait for the pods, which
    /// are worth less than they: a quarter has to do.
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

    /// What the scrape does now, or did last.
    pub fn phase(&self) -> Phase {
        self.scrape().phase
    }

    /// When the time of the request in hand is up.
    pub fn ends_at(&self) -> Instant {
        self.scrape().request_deadline
    }

    /// Connections made so far, by which a request sees whether it went over a kept one.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// A connection was made, TLS included.
    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work`, which reads files, in this phase, and goes back to the one before.
    pub fn while_reading<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let before = self.phase();
        self.enter(phase);
        let done = work();
        self.enter(before);
        done
    }

    /// The option, as it was given.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The error of a scrape whose time is up, by what it is doing now.
    pub fn timeout_error(&self) -> Error {
        let scrape = self.scrape();
        let timeout = self.share(scrape.endpoint);
        match scrape.phase {
            Phase::Token => Error::timeout_reading(&self.token, timeout),
            Phase::Certificates => Error::timeout_reading(&self.certificates, timeout),
            phase => Error::timeout(phase, timeout, self.url()),
        }
    }

    /// An error once the scrape's time is up or the input stops.
    pub fn check(&self) -> Result<()> {
        if self.stop.stopped.load(Ordering::Relaxed) {
            return Err(Error::stopped());
        }
        match Instant::now() < self.ends_at() {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Does nothing for so long; an error when the input stops.
    pub fn rest(&self, time: Duration) -> Result<()> {
        let Some(socket) = self.stop.socket.upgrade() else {
            return Err(Error::stopped());
        };
        // The stop is what is waited for, so that it need not come twice in the poll.
        match self.wait_until(socket.as_fd(), PollFlags::IN, Instant::now() + time)? {
            true => Err(Error::stopped()),
            false => Ok(()),
        }
    }

    /// Waits until `fd` is ready; an error when the scrape's time is up or the input stops.
    pub fn wait(&self, fd: BorrowedFd, events: PollFlags) -> Result<()> {
        match self.wait_until(fd, events, self.ends_at())? {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Waits until `fd` is ready (`true`) or `until` has passed (`false`), as for one of
    /// several addresses; an error when the input stops.
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

    /// What one request has taken, the next no longer has; a request for the pods has a
    /// quarter at most; and it is the next one's URL that is named.
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
