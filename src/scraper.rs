//! The worker thread: one scrape at a time, asked for and picked up by the
//! host's thread, which never waits for it.

use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::mpsc::{self, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    error::{Error, Result},
    kubelet::{
        Client,
        wait::{self, Stop, StopSignal},
    },
    options::Config,
    panics,
    pipeline::{Batch, Pipeline},
};

/// A worker that has not ended by then after "stop" is left to itself: what it
/// can still be in cannot be interrupted, such as a read from a dead file system.
const STOP_GRACE: Duration = Duration::from_millis(250);

/// What became of one scrape.
#[derive(Debug)]
pub struct Outcome {
    pub result: Result<Batch>,
    pub took: Duration,
}

/// The host thread's end of the worker.
#[derive(Debug)]
pub struct Scraper {
    /// "Scrape", with memory to encode into. Closed to say "stop".
    requests: Option<mpsc::Sender<Vec<u8>>>,
    outcomes: mpsc::Receiver<Outcome>,
    /// Readable while an outcome waits.
    wake: UnixStream,
    /// Ends what the worker waits for.
    stop: Option<Stop>,
    ended: mpsc::Receiver<()>,
    thread: Option<JoinHandle<()>>,
    in_flight: bool,
    spare: Vec<u8>,
}

impl Scraper {
    /// Reads the files the options name, and starts the worker.
    pub fn start(config: &Config) -> Result<Self> {
        let (stop, signal) = wait::stop_pair().map_err(Error::thread)?;
        let (wake, waker) = UnixStream::pair().map_err(Error::thread)?;
        wake.set_nonblocking(true).map_err(Error::thread)?;
        let (requests, asked) = mpsc::channel();
        let (answer, outcomes) = mpsc::channel();
        let (alive, ended) = mpsc::channel();
        let worker = Worker::new(config, &signal)?;
        let thread = Thread {
            config: config.clone(),
            signal,
            worker: Some(worker),
            waker,
            answer,
            _alive: alive,
        };
        let thread = thread::Builder::new()
            .name("kubeletstats".to_owned())
            .spawn(move || thread.run(asked))
            .map_err(Error::thread)?;
        Ok(Self {
            requests: Some(requests),
            outcomes,
            wake,
            stop: Some(stop),
            ended,
            thread: Some(thread),
            in_flight: false,
            spare: Vec::new(),
        })
    }

    /// To be watched by the host: readable while an outcome waits.
    pub fn wake_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Asks for a scrape; `false` while the last one is still on its way.
    pub fn scrape(&mut self) -> bool {
        let memory = std::mem::take(&mut self.spare);
        let asked = !self.in_flight
            && self
                .requests
                .as_ref()
                .is_some_and(|requests| requests.send(memory).is_ok());
        self.in_flight |= asked;
        asked
    }

    /// Picks up what became of the scrape, if it is done.
    pub fn outcome(&mut self) -> Option<Outcome> {
        // One byte an outcome, and never more than one of them.
        let _ = self.wake.read(&mut [0; 8]);
        let outcome = self.outcomes.try_recv().ok()?;
        self.in_flight = false;
        Some(outcome)
    }

    /// Gives the memory of a batch back for the next one.
    pub fn recycle(&mut self, memory: Vec<u8>) {
        self.spare = memory;
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.requests = None;
        self.stop = None;
        match self.ended.recv_timeout(STOP_GRACE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                // It has returned but for its last few instructions. A panic
                // in there has been reported as an outcome.
                let _ = self.thread.take().map(JoinHandle::join);
            }
        }
    }
}

/// What the worker thread owns.
struct Thread {
    config: Config,
    signal: StopSignal,
    /// `None` after a panic: half-changed state is not used again.
    worker: Option<Worker>,
    waker: UnixStream,
    answer: mpsc::Sender<Outcome>,
    /// Dropped last, which tells the host thread that this one has ended.
    _alive: mpsc::Sender<()>,
}

impl Thread {
    fn run(mut self, asked: mpsc::Receiver<Vec<u8>>) {
        while let Ok(memory) = asked.recv() {
            let began = Instant::now();
            let result = panics::caught("the worker", || self.scrape(memory));
            let result = result.unwrap_or_else(|panic| {
                self.worker = None;
                Err(panic)
            });
            let took = began.elapsed();
            if self.answer.send(Outcome { result, took }).is_err() || self.wake().is_err() {
                return;
            }
        }
    }

    fn scrape(&mut self, memory: Vec<u8>) -> Result<Batch> {
        let worker = match &mut self.worker {
            Some(worker) => worker,
            none => none.insert(Worker::new(&self.config, &self.signal)?),
        };
        worker.scrape(memory)
    }

    fn wake(&mut self) -> io::Result<()> {
        self.waker.write_all(&[1])
    }
}

/// One scrape after the other, on the worker thread.
struct Worker {
    url: String,
    client: Client,
    pipeline: Pipeline,
}

impl Worker {
    fn new(config: &Config, signal: &StopSignal) -> Result<Self> {
        Ok(Self {
            url: config.url.summary.clone(),
            client: Client::new(config, signal.clone())?,
            pipeline: Pipeline::new(config),
        })
    }

    fn scrape(&mut self, memory: Vec<u8>) -> Result<Batch> {
        let body = self.client.summary()?;
        self.pipeline
            .run(body, memory)
            .map_err(|error| Error::unparsable(&self.url, body.len(), &error))
    }
}
