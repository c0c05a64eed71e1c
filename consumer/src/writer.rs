//! A thread that brings batches to the database, one after the other, and what is skipped to the
//! dead letters. It does not give up: while one of them is away it tries again, and Kafka is
//! served meanwhile by the other thread.

use crate::Settings;
use crate::batch::Batch;
use crate::database::{Store, Written};
use crate::dead_letters::{DeadLetters, Letter};
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
    /// None where there is nothing to write to.
    pub fn start(settings: &Settings) -> Option<Self> {
        let (batches, queue) = mpsc::channel::<Batch>();
        let (answers, written) = mpsc::channel();
        let (_stop, stopped) = mpsc::channel();
        let away = Arc::new(AtomicBool::new(false));
        let patience = Patience {
            stopped,
            away: Arc::clone(&away),
        };
        let mut database = settings.database.clone().map(|address| {
            let health = Health::new(address.to_string());
            Link::new(health, move || Store::connect(&address))
        });
        let mut letters = settings.dead_letters().map(|place| {
            let (health, settings) = (Health::new(place.to_string()), settings.clone());
            Link::new(health, move || DeadLetters::open(&place, &settings))
        });
        if database.is_none() && letters.is_none() {
            return None;
        }
        thread::spawn(move || {
            // Without a value, or without a reader for it, the program is ending.
            let work = || {
                // At once, so that what is wrong is said before the first record comes.
                if let Some(letters) = &mut letters {
                    letters.insist(&patience, |_| Ok(()))?;
                }
                if let Some(database) = &mut database {
                    database.insist(&patience, |_| Ok(()))?;
                }
                for batch in queue {
                    let mut written = Written::default();
                    if let Some(database) = &mut database {
                        let insert = |store: &mut Store| store.insert(&batch.rows, &mut written);
                        database.insist(&patience, insert)?;
                    }
                    let skipped = skipped(&batch, &written);
                    if let (Some(letters), false) = (&mut letters, skipped.is_empty()) {
                        letters.insist(&patience, |letters| letters.write(&skipped))?;
                    }
                    answers.send((batch, written)).ok()?;
                }
                Some(())
            };
            work()
        });
        Some(Self {
            batches,
            written,
            _stop,
            away,
        })
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

    /// Is what is written to away, so that an answer may take any time?
    pub fn is_away(&self) -> bool {
        self.away.load(Ordering::Relaxed)
    }
}

fn gone() -> String {
    "internal error: the thread that writes to the database has ended".to_owned()
}

/// What of a batch goes to the dead letters. Records are only there if they are wanted.
fn skipped(batch: &Batch, written: &Written) -> Vec<Letter> {
    let refused = written.refused.iter().filter_map(|(row, reason)| {
        let origin = batch.origins.get(*row)?;
        Some(Letter {
            partition: origin.partition,
            offset: origin.offset,
            reason: reason.clone(),
            record: origin.record.clone()?,
        })
    });
    batch.unusable.iter().cloned().chain(refused).collect()
}

/// What ends the trying, and who sees that it is needed.
struct Patience {
    stopped: Receiver<()>,
    away: Arc<AtomicBool>,
}

/// Something to write to, which is opened again after each failure.
struct Link<T> {
    health: Health,
    open: Box<dyn Fn() -> Result<T, String> + Send>,
    opened: Option<T>,
}

impl<T> Link<T> {
    fn new(health: Health, open: impl Fn() -> Result<T, String> + Send + 'static) -> Self {
        Self {
            health,
            open: Box::new(open),
            opened: None,
        }
    }

    /// Does the work on a connection that works, however long it takes to get one; `None` if
    /// the program ends meanwhile.
    fn insist<R>(
        &mut self,
        patience: &Patience,
        mut work: impl FnMut(&mut T) -> Result<R, String>,
    ) -> Option<R> {
        let mut pause = FIRST_PAUSE;
        loop {
            // A connection of before may have ended unnoticed: that alone is not an outage.
            let is_old = self.opened.is_some();
            let result = match &mut self.opened {
                Some(opened) => work(opened),
                none => (self.open)().and_then(|opened| work(none.insert(opened))),
            };
            let now = Instant::now();
            let reason = match result {
                Ok(value) => {
                    patience.away.store(false, Ordering::Relaxed);
                    self.health.works(now).iter().for_each(say);
                    return Some(value);
                }
                Err(reason) => reason,
            };
            self.opened = None;
            if is_old {
                continue;
            }
            patience.away.store(true, Ordering::Relaxed);
            self.health.failed(&reason, now).iter().for_each(say);
            if patience.stopped.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
