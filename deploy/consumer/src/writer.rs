//! A thread that brings rows to the database, one batch at a time, and does not give up: while
//! the database is away it tries again, and Kafka is served meanwhile by the other thread.

use crate::Row;
use crate::database::{Address, Store, Written};
use crate::health::{Health, say};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The near end of the thread. Dropping it ends the thread as soon as it is not in the middle
/// of a statement.
pub struct Writer {
    batches: Sender<Vec<Row>>,
    written: Receiver<Written>,
    _stop: Sender<()>,
    away: Arc<AtomicBool>,
}

impl Writer {
    pub fn start(address: Address) -> Self {
        let (batches, queue) = mpsc::channel::<Vec<Row>>();
        let (answers, written) = mpsc::channel();
        let (_stop, stopped) = mpsc::channel();
        let away = Arc::new(AtomicBool::new(false));
        let mut worker = Worker {
            health: Health::new(address.to_string()),
            address,
            store: None,
            stopped,
            away: Arc::clone(&away),
        };
        thread::spawn(move || {
            // At once, so that what is wrong is said before the first record comes.
            if worker.insist(|_| Ok(())).is_none() {
                return;
            }
            for rows in queue {
                let written = worker.insist(|store| store.insert(&rows));
                // Without a value, or without a reader for it, the program is ending.
                if written.is_none_or(|written| answers.send(written).is_err()) {
                    return;
                }
            }
        });
        Self {
            batches,
            written,
            _stop,
            away,
        }
    }

    /// Hands over a batch; to be called again after [`Writer::written`] has given its answer.
    pub fn write(&self, rows: Vec<Row>) -> Result<(), String> {
        self.batches.send(rows).map_err(|_| gone())
    }

    /// What became of the batch, once that is known.
    pub fn written(&self, wait: Duration) -> Result<Option<Written>, String> {
        match self.written.recv_timeout(wait) {
            Ok(written) => Ok(Some(written)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    /// Is the database away, so that an answer may take any time?
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
}

fn gone() -> String {
    "internal error: the thread that writes to the database has ended".to_owned()
}

struct Worker {
    address: Address,
    health: Health,
    store: Option<Store>,
    stopped: Receiver<()>,
    away: Arc<AtomicBool>,
}

impl Worker {
    /// Does the work on a connection that works, however long it takes to get one; `None` if
    /// the program ends meanwhile.
    fn insist<T>(&mut self, mut work: impl FnMut(&mut Store) -> Result<T, String>) -> Option<T> {
        let mut pause = FIRST_PAUSE;
        loop {
            // A connection of before may have ended unnoticed: that alone is not an outage.
            let is_old = self.store.is_some();
            let result = match &mut self.store {
                Some(store) => work(store),
                none => Store::connect(&self.address).and_then(|store| work(none.insert(store))),
            };
            let now = Instant::now();
            let reason = match result {
                Ok(value) => {
                    self.away.store(false, Ordering::Relaxed);
                    self.health.works(now).iter().for_each(say);
                    return Some(value);
                }
                Err(reason) => reason,
            };
            self.store = None;
            if is_old {
                continue;
            }
            self.away.store(true, Ordering::Relaxed);
            self.health.failed(&reason, now).iter().for_each(say);
            if self.stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
