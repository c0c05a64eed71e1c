//! The worker thread: one scrape at a time, asked for and picked up by the
//! host's thread, which never waits for it.

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
    error::{Error, Phase, Reason, Result},
    kubelet::{
        Client,
        deadline::{self, Deadline, Stop},
        observer::Observer,
    },
    options::Config,
    panics,
    scrape::{Batch, Pipeline},
};

/// How long the start waits to hear that the files are good. Who has not heard by then
/// goes on, and hears it with the first scrape.
const START_GRACE: Duration = Duration::from_secs(1);

/// What a scrape may take beyond its timeout: it ends by itself at that, and then the host's
/// thread has to be told.
const WATCH_GRACE: Duration = Duration::from_secs(1);

/// A worker that has not ended by then after "stop" is left to itself: what it
/// can still be in cannot be interrupted, such as a read from a dead file system.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// Workers that are known to be in such a thing share one grace, when they are to stop
/// no further apart than this: many inputs may read the same dead file system.
const SHARED_GRACE_WINDOW: Duration = Duration::from_secs(5);

/// A batch larger than this is not kept as spare memory for the next one.
const MAX_SPARE_BATCH: usize = 4 << 20;

/// What became of one scrape.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Batch>,
    pub took: Duration,
}

/// The worker, as the host's thread sees it.
#[derive(Debug)]
pub struct Worker {
    /// "Scrape", with memory to encode into. Closed to say "stop".
    requests: Option<mpsc::Sender<Vec<u8>>>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Readable while an outcome waits.
    wake: UnixStream,
    /// The other end, held here so that nothing stays open for who is left behind.
    _waker: Arc<UnixStream>,
    /// Ends what the worker waits for.
    stop: Option<Stop>,
    /// What the worker is doing.
    deadline: Arc<Deadline>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    /// When the scrape was asked for that is on its way.
    in_flight: Option<Instant>,
    /// That one was said to have failed already.
    reported_overdue: bool,
    spare_buffer: Vec<u8>,
}

impl Worker {
    /// Starts the worker, which reads the files the options name.
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
        let thread = WorkerThread {
            config: config.clone(),
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
            reported_overdue: false,
            spare_buffer: Vec::new(),
        };
        match start_receiver.recv_timeout(START_GRACE) {
            Ok(Err(error)) => Err(error),
            Ok(Ok(())) | Err(_) => Ok(worker),
        }
    }

    /// To be watched by the host: readable while an outcome waits.
    pub fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Asks for a scrape; `false` while the last one is still on its way.
    pub fn scrape(&mut self) -> bool {
        let Some(requests) = self.requests.as_ref().filter(|_| self.in_flight.is_none()) else {
            return false;
        };
        let buffer = std::mem::take(&mut self.spare_buffer);
        let sent = requests.send(buffer).is_ok();
        self.in_flight = sent.then(Instant::now);
        sent
    }

    /// What is to be said of a scrape that should have come to an end, whatever it hangs
    /// in, and how long it has been on its way.
    pub fn overdue(&mut self, now: Instant) -> Option<(Error, Duration)> {
        let took = now.duration_since(self.in_flight?);
        self.reported_overdue = took > self.deadline.timeout() + WATCH_GRACE;
        self.reported_overdue
            .then(|| (self.deadline.timeout_error(), took))
    }

    /// Picks up what became of the scrape, if it is done.
    pub fn outcome(&mut self) -> Option<Outcome> {
        // One byte an outcome, and never more than one of them.
        let _ = self.wake.read(&mut [0; 8]);
        let outcome = self.outcomes.try_recv().ok()?;
        self.in_flight = None;
        let already_reported = std::mem::take(&mut self.reported_overdue)
            && matches!(&outcome.result, Err(error) if error.reason() == Reason::Timeout);
        (!already_reported).then_some(outcome)
    }

    /// Ends the worker; the error is what it is in if it had to be left behind.
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

    /// Gives the memory of a batch back for the next one.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BATCH {
            self.spare_buffer = buffer;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Whoever wants to say that it was left behind has stopped it before.
        let _ = self.stop();
    }
}

/// What the worker thread owns.
struct WorkerThread {
    config: Config,
    deadline: Arc<Deadline>,
    /// `None` while files cannot be used, and after a panic: half-changed state is not
    /// used again.
    scraper: Option<Scraper>,
    waker: Weak<UnixStream>,
    outcome_sender: mpsc::Sender<Outcome>,
    /// Dropped last, which tells the host thread that this one has ended.
    _alive: mpsc::Sender<()>,
}

impl WorkerThread {
    fn run(
        mut self,
        request_receiver: mpsc::Receiver<Vec<u8>>,
        start_sender: mpsc::Sender<Result<()>>,
    ) {
        let started = panics::catch("the start", || self.scraper().map(drop));
        // Nobody may listen any more: the first scrape says it then.
        let _ = start_sender.send(started.and_then(|started| started));
        self.deadline.enter(Phase::Queued);
        while let Ok(buffer) = request_receiver.recv() {
            let began = Instant::now();
            let result = panics::catch("the worker", || self.scrape(buffer));
            let result = result.unwrap_or_else(|panic| {
                self.scraper = None;
                Err(panic)
            });
            let took = began.elapsed();
            // What it does next is to wait until it is asked.
            self.deadline.enter(Phase::Queued);
            if self.outcome_sender.send(Outcome { result, took }).is_err() || !self.wake() {
                return;
            }
        }
    }

    fn scrape(&mut self, buffer: Vec<u8>) -> Result<Batch> {
        self.scraper()?.scrape(buffer)
    }

    fn scraper(&mut self) -> Result<&mut Scraper> {
        Ok(match &mut self.scraper {
            Some(scraper) => scraper,
            none => none.insert(Scraper::new(&self.config, &self.deadline)?),
        })
    }

    /// `false` once there is nobody to be woken.
    fn wake(&self) -> bool {
        let waker = self.waker.upgrade();
        waker.is_some_and(|waker| (&*waker).write_all(&[1]).is_ok())
    }
}

/// One scrape after the other, on the worker thread.
struct Scraper {
    url: String,
    client: Client,
    pipeline: Pipeline,
}

impl Scraper {
    fn new(config: &Config, deadline: &Arc<Deadline>) -> Result<Self> {
        Ok(Self {
            url: config.url.summary.clone(),
            client: Client::with_deadline(config, Arc::clone(deadline), Observer::default())?,
            pipeline: Pipeline::new(config),
        })
    }

    fn scrape(&mut self, buffer: Vec<u8>) -> Result<Batch> {
        let batch = self.client.summary().and_then(|body| {
            let batch = self.pipeline.run(body, buffer);
            batch.map_err(|error| Error::unparsable(&self.url, body.len(), &error))
        });
        self.client.release_large_body();
        batch
    }
}
