//! The worker thread: one scrape at a time, requested by the host's thread, which takes
//! its outcome later and never waits for it.
//!
//! # Threads
//!
//! Each input has one worker thread, `kubeletstats`. All that takes time happens there:
//! reading files, DNS, TCP, TLS, HTTP, parsing and encoding. The system's resolver gets a
//! thread of its own (`kubeletstats-dns`), since it cannot be interrupted. The host's thread
//! only sends requests and receives outcomes. It waits twice in the life of an input: at
//! start for the files, `START_GRACE` at most, and at the end for the worker,
//! `STOP_GRACE` at most.
//!
//! # Messages
//!
//! | from, to | by | what |
//! |---|---|---|
//! | host, worker | channel `requests` | scrape, into this memory; closed: end |
//! | worker, host | channel `outcomes` | what became of the scrape |
//! | worker, host | socket `wake` | one byte for each outcome |
//! | host, worker | [`Stop`] | end whatever is waited for |
//! | worker, host | channel `ended` | closed: the thread has returned |
//!
//! The order of two of these matters. The worker sends the outcome
//! first and writes its byte second; the host reads bytes first and looks for the outcome
//! second. So an outcome that the host has not seen always has a byte that is still unread
//! or yet to come, and it cannot be missed. The other way round the host may be woken for
//! an outcome that it has already taken, which does no harm.
//!
//! One scrape is in flight at most (`in_flight`), so there is one outcome at most, and
//! neither the channel nor the socket can fill up.
//!
//! # Who owns what
//!
//! [`Worker`] belongs to the host's thread, `WorkerThread` with the connection and all
//! state of the samples to the worker's. They share one value, the `Deadline`: what the
//! scrape is doing, behind a mutex that nobody holds while waiting. All descriptors are
//! the host side's; the worker has `Weak` references to them. So a worker that hangs in
//! something that cannot be interrupted, such as a file on a dead NFS mount, can be left
//! behind ([`Worker::stop`]): it keeps none of these open, only a kept connection, and it
//! ends when its call returns.
//!
//! The memory of a batch is reused: it goes from host to worker with the request, comes back
//! as the batch, and [`Worker::recycle`] puts it into the next request.
//!
//! A panic on the worker is an outcome like any other error. Its client and pipeline are
//! dropped then, as they may be half changed, and made anew for the next scrape.

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

/// How long [`Worker::start`] waits for the files to be read. If that takes longer, an
/// error about them is the first scrape's.
const START_GRACE: Duration = Duration::from_secs(1);

/// How long a scrape may be in flight beyond its timeout before it is overdue. One that can
/// end does so at the timeout; this is for its outcome to reach the host's thread.
const WATCH_GRACE: Duration = Duration::from_secs(1);

/// A worker that has not ended by then after it was stopped is left behind.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Workers that are known to hang share one [`STOP_GRACE`] if they are stopped within
/// this time: many inputs may read the same dead file system.
const SHARED_GRACE_WINDOW: Duration = Duration::from_secs(5);

/// A batch larger than this is not kept as spare memory for the next one.
const MAX_SPARE_BATCH: usize = 4 << 20;

/// What a scrape starts with.
struct Request {
    memory: Memory,
    counters: Counters,
}

/// What became of one scrape.
#[derive(Debug)]
pub struct Outcome {
    /// What to append, or why there is nothing.
    pub result: Result<Batch>,
    /// From the worker's start on the request to the encoded batch or the error.
    pub took: Duration,
}

/// The worker, as the host's thread sees it.
#[derive(Debug)]
pub struct Worker {
    /// Each a request for a scrape. `None` once stopped.
    requests: Option<mpsc::Sender<Request>>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Readable while an outcome waits.
    wake: UnixStream,
    /// Its other end, to which the worker has a `Weak`.
    _waker: Arc<UnixStream>,
    /// Dropped to end what the worker waits for.
    stop: Option<Stop>,
    /// Shared: what the worker is doing.
    deadline: Arc<Deadline>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    /// When the current scrape was asked for.
    in_flight: Option<Instant>,
    /// How long a scrape waits before it begins.
    delay: Duration,
    /// [`Worker::overdue`] has reported that one.
    reported_overdue: bool,
    spare: Memory,
}

impl Worker {
    /// Starts the worker, which reads the files the options name. An error is one that
    /// should stop the host: they cannot be used, or there is no thread.
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

    /// The descriptor that is readable while an outcome waits, valid as long as `self`.
    pub fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Asks for a scrape and returns at once; `false` while the last one is in flight.
    /// `counters` are those of the scrapes before, for its metrics.
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

    /// If the current scrape should have ended long ago: the error to report, by what it
    /// hangs in, and how long it has been in flight. Called at every interval.
    pub fn overdue(&mut self, now: Instant) -> Option<(Error, Duration)> {
        let took = now.duration_since(self.in_flight?);
        let took = took.saturating_sub(self.delay);
        self.reported_overdue = took > self.deadline.timeout() + WATCH_GRACE;
        self.reported_overdue
            .then(|| (self.deadline.timeout_error(), took))
    }

    /// The outcome of the scrape, if there is one. Left out is the timeout of a scrape that
    /// [`Worker::overdue`] has reported.
    pub fn outcome(&mut self) -> Option<Outcome> {
        // The byte before the outcome; see the module.
        let _ = self.wake.read(&mut [0; 8]);
        let outcome = self.outcomes.try_recv().ok()?;
        self.in_flight = None;
        let already_reported = std::mem::take(&mut self.reported_overdue)
            && matches!(&outcome.result, Err(error) if error.reason() == Reason::Timeout);
        (!already_reported).then_some(outcome)
    }

    /// Ends the worker; an error is what it hangs in if it had to be left behind.
    pub fn stop(&mut self) -> std::result::Result<(), Phase> {
        self.requests = None;
        self.stop = None;
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        match self.ended.recv_timeout(self.grace()) {
            Err(RecvTimeoutError::Timeout) => Err(self.deadline.phase()),
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // It has returned but for its last few instructions. A panic
                // in there has been reported as an outcome.
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

    /// Gives the memory of events back for the next ones.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BATCH {
            self.spare.logs = buffer;
        }
    }

    /// The same of metrics.
    pub fn recycle_metrics(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BATCH {
            self.spare.metrics = buffer;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whoever wants to log that it was left behind has stopped it before.
        let _ = self.stop();
    }
}

/// What the worker thread owns. Fields are dropped in this order.
struct WorkerThread {
    config: Config,
    delay: Duration,
    deadline: Arc<Deadline>,
    /// `None` while files cannot be used, and after a panic: half-changed state is not
    /// used again.
    scraper: Option<Scraper>,
    waker: Weak<UnixStream>,
    outcome_sender: mpsc::Sender<Outcome>,
    /// Closes `ended`, so it stays the last field.
    _alive: mpsc::Sender<()>,
}

impl WorkerThread {
    fn run(
        mut self,
        request_receiver: mpsc::Receiver<Request>,
        start_sender: mpsc::Sender<Result<()>>,
    ) {
        let started = panics::catch("the start", || self.scraper().map(drop));
        // The start may have stopped waiting: the first scrape reports the error then.
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

    /// `false` once the worker's owner is gone.
    fn wake(&self) -> bool {
        let waker = self.waker.upgrade();
        waker.is_some_and(|waker| (&*waker).write_all(&[1]).is_ok())
    }
}
