//! Owns the worker thread, which does one scrape at a time. The host's thread requests a scrape,
//! receives its outcome later, and never waits for it.
//!
//! # Threads
//!
//! Each input has one worker thread, `kubeletstats`. It does everything that takes time: reading
//! files, DNS, TCP, TLS, HTTP, parsing and encoding. The system's resolver gets a thread of its own
//! (`kubeletstats-dns`), since it cannot be interrupted. The host's thread only sends requests and
//! receives outcomes. It waits twice in the life of an input: at start for the files, at most
//! `START_GRACE`, and at the end for the worker, at most `STOP_GRACE`.
//!
//! # Messages
//!
//! | from, to | by | what |
//! |---|---|---|
//! | host, worker | channel `requests` | do a scrape, in this memory; closed: end |
//! | worker, host | channel `outcomes` | the outcome of the scrape |
//! | worker, host | socket `wake` | one byte for each outcome |
//! | host, worker | [`Stop`] | ends every wait of the worker |
//! | worker, host | channel `ended` | closed: the thread has returned |
//!
//! The order of two of these matters. The worker sends the outcome first and writes its byte
//! second. The host reads bytes first and receives the outcome second. So if the host has not
//! received an outcome yet, its byte is still unread or will be written, and the outcome cannot be
//! missed. In the other case, the host may be woken for an outcome that it has already received,
//! which does no harm.
//!
//! At most one scrape is running (`in_flight`), so there is at most one outcome, and neither the
//! channel nor the socket can fill up.
//!
//! # Who owns what
//!
//! [`Worker`] belongs to the host's thread. `WorkerThread`, with the connection and all state of
//! the samples, belongs to the worker's thread. They share one value, the `Deadline`: what the
//! scrape is doing, behind a mutex that nobody holds while waiting. The host's side owns all
//! descriptors, and the worker has `Weak` references to them. A worker may hang in something that
//! cannot be interrupted, such as a file on a dead NFS mount. Then [`Worker::stop`] returns while
//! its thread still runs. That thread keeps none of these descriptors open, only a kept connection,
//! and it ends when its call returns.
//!
//! The memory of a batch is reused. It goes from the host to the worker with the request and comes
//! back as the batch. [`Worker::recycle`] puts it into the next request.
//!
//! A panic on the worker is an outcome like any other error. The client and the pipeline may then
//! be in an inconsistent state, so they are dropped, and new ones are made for the next scrape.

use std::{
    io::{Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        Arc, Mutex, PoisonError, Weak,
        mpsc::{self, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    counters::Counters,
    error::{Error, Phase, Reason, Result},
    kubelet::{
        Client,
        deadline::{self, Deadline, Stop},
        observer::Observer,
    },
    options::Config,
    panics,
    scrape::{Batch, Memory},
    scraper::Scraper,
};

/// How long [`Worker::start`] waits for the files to be read. If reading takes longer, the first
/// scrape reports an error about them.
const START_GRACE: Duration = Duration::from_secs(1);

/// How long a scrape may run beyond its timeout before it is overdue. A scrape that can end does so
/// at its timeout. This is the time for its outcome to reach the host's thread.
const WATCH_GRACE: Duration = Duration::from_secs(1);

/// How long the host waits for a stopped worker. After that, the worker's thread keeps running on
/// its own.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Workers that hang share one [`STOP_GRACE`] if they are stopped within this time, because many
/// inputs may read the same dead file system.
const SHARED_GRACE_WINDOW: Duration = Duration::from_secs(5);

/// A larger batch is not kept as spare memory for the next one.
const MAX_SPARE_BATCH: usize = 4 << 20;

/// The input of a scrape.
struct Request {
    memory: Memory,
    counters: Counters,
}

/// The result of one scrape.
#[derive(Debug)]
pub struct Outcome {
    /// The batch to append, or the error.
    pub result: Result<Batch>,
    /// The time from when the worker began the scrape to the encoded batch or the error.
    pub took: Duration,
}

/// The worker, as the host's thread sees it.
#[derive(Debug)]
pub struct Worker {
    /// Each message is a request for a scrape. This is `None` after the stop.
    requests: Option<mpsc::Sender<Request>>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Readable while there is an outcome to receive.
    wake: UnixStream,
    /// The other end of `wake`. The worker has a `Weak` reference to it.
    _waker: Arc<UnixStream>,
    /// Dropping it ends every wait of the worker.
    stop: Option<Stop>,
    /// What the worker is doing. Both threads share it.
    deadline: Arc<Deadline>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    /// When the current scrape was requested.
    in_flight: Option<Instant>,
    /// How long a scrape waits before it begins.
    delay: Duration,
    /// Whether [`Worker::overdue`] has reported the current scrape.
    reported_overdue: bool,
    spare: Memory,
}

impl Worker {
    /// Starts the worker, which reads the files that the options name. An error should stop the
    /// host: the files cannot be used, or the thread cannot be started.
    pub fn start(config: &Config) -> Result<Self> {
        let (stop, signal) = deadline::stop_pair().map_err(Error::thread)?;
        let (wake, waker) = UnixStream::pair().map_err(Error::thread)?;
        wake.set_nonblocking(true).map_err(Error::thread)?;
        let waker = Arc::new(waker);
        let (requests, request_receiver) = mpsc::channel();
        let (outcome_sender, outcomes) = mpsc::channel();
        let (start_sender, start_receiver) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let deadline = Arc::new(Deadline::new(config, signal));
        let delay = config.delay();
        let thread = WorkerThread {
            config: config.clone(),
            delay,
            deadline: Arc::clone(&deadline),
            scraper: None,
            waker: Arc::downgrade(&waker),
            outcome_sender,
            _alive: alive,
        };
        let thread = thread::Builder::new()
            .name("kubeletstats".to_owned())
            .spawn(move || thread.run(request_receiver, start_sender))
            .map_err(Error::thread)?;
        let worker = Self {
            requests: Some(requests),
            outcomes,
            wake,
            _waker: waker,
            stop: Some(stop),
            deadline,
            ended,
            thread: Some(thread),
            in_flight: None,
            delay,
            reported_overdue: false,
            spare: Memory::default(),
        };
        match start_receiver.recv_timeout(START_GRACE) {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(worker),
        }
    }

    /// The descriptor that is readable while there is an outcome. It is valid as long as `self`.
    pub fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Requests a scrape and returns at once. Returns `false` while the last scrape is running.
    /// `counters` are those before this scrape, for its metrics.
    pub fn scrape(&mut self, counters: &Counters) -> bool {
        let Some(requests) = self.requests.as_ref().filter(|_| self.in_flight.is_none()) else {
            return false;
        };
        let request = Request {
            memory: std::mem::take(&mut self.spare),
            counters: counters.clone(),
        };
        let sent = requests.send(request).is_ok();
        self.in_flight = sent.then(Instant::now);
        sent
    }

    /// If the current scrape is overdue, returns the error to report, which says what it hangs in,
    /// and how long it has been running. This is called at every interval.
    pub fn overdue(&mut self, now: Instant) -> Option<(Error, Duration)> {
        let took = now.duration_since(self.in_flight?);
        let took = took.saturating_sub(self.delay);
        self.reported_overdue = took > self.deadline.timeout() + WATCH_GRACE;
        self.reported_overdue
            .then(|| (self.deadline.timeout_error(), took))
    }

    /// Returns the outcome of the scrape, if there is one. A timeout is not returned again if
    /// [`Worker::overdue`] has reported the scrape.
    pub fn outcome(&mut self) -> Option<Outcome> {
        // The byte is read before the outcome is received; see the module's documentation.
        let _ = self.wake.read(&mut [0; 8]);
        let outcome = self.outcomes.try_recv().ok()?;
        self.in_flight = None;
        let already_reported = std::mem::take(&mut self.reported_overdue)
            && matches!(&outcome.result, Err(error) if error.reason() == Reason::Timeout);
        (!already_reported).then_some(outcome)
    }

    /// Stops the worker. If its thread still runs after the grace period, the error says what it
    /// hangs in.
    pub fn stop(&mut self) -> std::result::Result<(), Phase> {
        self.requests = None;
        self.stop = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match self.ended.recv_timeout(self.grace()) {
            Err(RecvTimeoutError::Timeout) => Err(self.deadline.phase()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // The thread has returned, except for its last few instructions. A panic in it has
                // been reported as an outcome.
                let _ = thread.join();
                Ok(())
            }
        }
    }

    fn grace(&self) -> Duration {
        static SHARED: Mutex<Option<Instant>> = Mutex::new(None);
        let is_reading_files = matches!(self.deadline.phase(), Phase::Token | Phase::Certificates);
        if !self.reported_overdue && !is_reading_files {
            return STOP_GRACE;
        }
        let now = Instant::now();
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let begun = shared.filter(|begun| now.duration_since(*begun) < SHARED_GRACE_WINDOW);
        let begun = *shared.insert(begun.unwrap_or(now));
        STOP_GRACE.saturating_sub(now.duration_since(begun))
    }

    /// Takes back the memory of events, for the next ones.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BATCH {
            self.spare.logs = buffer;
        }
    }

    /// Takes back the memory of metrics, for the next ones.
    pub fn recycle_metrics(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BATCH {
            self.spare.metrics = buffer;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A caller that wants to log a hanging worker has called `stop` before.
        let _ = self.stop();
    }
}

/// What the worker's thread owns. The fields are dropped in this order.
struct WorkerThread {
    config: Config,
    delay: Duration,
    deadline: Arc<Deadline>,
    /// `None` while files cannot be used, and after a panic, because an inconsistent state is not
    /// used again.
    scraper: Option<Scraper>,
    waker: Weak<UnixStream>,
    outcome_sender: mpsc::Sender<Outcome>,
    /// Dropping this closes `ended`, so it must be the last field.
    _alive: mpsc::Sender<()>,
}

impl WorkerThread {
    fn run(
        mut self,
        request_receiver: mpsc::Receiver<Request>,
        start_sender: mpsc::Sender<Result<()>>,
    ) {
        let started = panics::catch("the start", || self.scraper().map(drop));
        // The start may no longer wait. Then the first scrape reports the error.
        let _ = start_sender.send(started.and_then(|started| started));
        self.deadline.enter(Phase::Queued);
        while let Ok(request) = request_receiver.recv() {
            if !self.delay.is_zero() && self.deadline.rest(self.delay).is_err() {
                return;
            }
            let began = Instant::now();
            let result = panics::catch("the worker", || self.scrape(request));
            let result = result.unwrap_or_else(|panic| {
                self.scraper = None;
                Err(panic)
            });
            let took = began.elapsed();
            self.deadline.enter(Phase::Queued);
            if self.outcome_sender.send(Outcome { result, took }).is_err() || !self.wake() {
                return;
            }
        }
    }

    fn scrape(&mut self, request: Request) -> Result<Batch> {
        self.scraper()?.scrape(request.memory, request.counters)
    }

    fn scraper(&mut self) -> Result<&mut Scraper> {
        Ok(match &mut self.scraper {
            Some(scraper) => scraper,
            none => {
                let deadline = Arc::clone(&self.deadline);
                let client = Client::with_deadline(&self.config, deadline, Observer::default())?;
                none.insert(Scraper::new(&self.config, client))
            }
        })
    }

    /// Writes the byte. Returns `false` if the worker's owner no longer exists.
    fn wake(&self) -> bool {
        let waker = self.waker.upgrade();
        waker.is_some_and(|waker| (&*waker).write_all(&[1]).is_ok())
    }
}
