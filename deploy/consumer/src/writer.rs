//! A thread that brings batches to the database, one after the other, and does not give up: while
//! the database is away it tries again, and Kafka is served meanwhile by the other thread.

use crate::batch::Batch;
use crate::database::{Address, Store, Written};
use crate::health::Health;
use crate::output::say;
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
    batches: Sender<Batch>,
    written: Receiver<(Batch, Written)>,
    _stop: Sender<()>,
    away: Arc<AtomicBool>,
}

impl Writer {
    pub fn start(address: Address) -> Self {
        let (batches, queue) = mpsc::channel::<Batch>();
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
            for batch in queue {
                // Without a value, or without a reader for it, the program is ending.
                let Some(written) = worker.insist(|store| store.insert(&batch.rows)) else {
                    return;
                };
                if answers.send((batch, written)).is_err() {
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

    /// Hands over a batch; it waits behind those that were handed over before.
    pub fn write(&self, batch: Batch) -> Result<(), String> {
        self.batches.send(batch).map_err(|_| gone())
    }

    /// The next batch that is done with and what became of it, once that is known.
    pub fn written(&self, wait: Duration) -> Result<Option<(Batch, Written)>, String> {
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
