//! The only place that waits. Whatever is waited for, the wait ends at the
//! scrape's deadline and at once when the plugin stops; and who never has to wait,
//! because bytes are always ready, is asked the same by [`Deadline::check`].

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

use crate::{
    error::{Error, Phase, Result},
    options::Config,
};

/// Ends every wait of the paired [`StopSignal`] when it is dropped.
#[derive(Debug)]
pub struct Stop {
    _other_end: UnixStream,
    /// Held here, so that nothing stays open for who is left behind.
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
    /// The same for who does not wait, without a system call.
    stopped: Arc<AtomicBool>,
}

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

/// The files that are read, each with its option: the token's, and those of certificates.
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

/// How long the scrape in hand may take, and what it is doing. Who watches the scrape
/// from another thread sees the same.
#[derive(Debug)]
pub struct Deadline {
    url: String,
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
    phase: Phase,
}

impl Deadline {
    pub fn new(config: &Config, stop: StopSignal) -> Self {
        let mut deadline = Self::with_timeout(config.url.summary.clone(), config.timeout, stop);
        [deadline.token, deadline.certificates] = credential_files(config);
        deadline
    }

    fn with_timeout(url: String, timeout: Duration, stop: StopSignal) -> Self {
        Self {
            url,
            token: String::new(),
            certificates: String::new(),
            timeout,
            stop,
            scrape: Mutex::new(Scrape {
                deadline: Instant::now() + timeout,
                phase: Phase::Queued,
            }),
            connections: AtomicU64::new(0),
        }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// A scrape starts now.
    pub fn restart(&self) {
        self.update(|scrape| scrape.deadline = Instant::now() + self.timeout);
    }

    pub fn enter(&self, phase: Phase) {
        self.update(|scrape| scrape.phase = phase);
    }

    pub fn phase(&self) -> Phase {
        self.scrape().phase
    }

    pub fn ends_at(&self) -> Instant {
        self.scrape().deadline
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Does `work`, which reads files, and says so meanwhile: no deadline reaches that.
    pub fn while_reading<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let before = self.phase();
        self.enter(phase);
        let done = work();
        self.enter(before);
        done
    }

    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// With what the scrape is doing now.
    pub fn timeout_error(&self) -> Error {
        match self.phase() {
            Phase::Token => Error::timeout_reading(&self.token, self.timeout),
            Phase::Certificates => Error::timeout_reading(&self.certificates, self.timeout),
            phase => Error::timeout(phase, self.timeout, &self.url),
        }
    }

    /// Whether there is time left, asked at every step that needs no waiting.
    pub fn check(&self) -> Result<()> {
        if self.stop.stopped.load(Ordering::Relaxed) {
            return Err(Error::stopped());
        }
        match Instant::now() < self.ends_at() {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Waits until `fd` is ready, or the scrape's time is up.
    pub fn wait(&self, fd: BorrowedFd, events: PollFlags) -> Result<()> {
        match self.wait_until(fd, events, self.ends_at())? {
            true => Ok(()),
            false => Err(self.timeout_error()),
        }
    }

    /// Waits until `fd` is ready (`true`) or `until` has passed (`false`).
    pub fn wait_until(&self, fd: BorrowedFd, events: PollFlags, until: Instant) -> Result<bool> {
        // Its end of the pair is ours for as long as we wait.
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
                Err(error) => return Err(Error::connection(&self.url, error.into())),
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
        let (stop, signal) = stop_pair().expect("a socket pair");
        (
            stop,
            Deadline::with_timeout("https://kubelet".to_owned(), timeout, signal),
        )
    }

    #[test]
    fn a_wait_ends_at_the_deadline() {
        let (_stop, deadline) = deadline(Duration::from_millis(20));
        let (silent, _other) = UnixStream::pair().expect("a socket pair");
        deadline.enter(Phase::Body);
        let error = deadline
            .wait(silent.as_fd(), PollFlags::IN)
            .expect_err("nothing to read");
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
        let (silent, _other) = UnixStream::pair().expect("a socket pair");
        let began = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| deadline.wait(silent.as_fd(), PollFlags::IN));
            drop(stop);
            let error = waiting.join().expect("no panic").expect_err("stopped");
            assert_eq!(error.reason(), Reason::Stopped);
        });
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
