//! Writes batches to the database, one after the other, and skipped records to the dead letters.
//! It does not give up: while one of them is not available, it tries again, and Kafka is served
//! in the meantime.

use std::{cell::Cell, pin::pin, rc::Rc, time::Duration};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    time::{sleep, timeout},
};

use crate::{
    Settings,
    batch::Batch,
    database::{Store, Written},
    dead_letters::{DeadLetter, DeadLetters},
    health::Health,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Work that takes longer, such as a change of the table, is logged.
const SLOW: Duration = Duration::from_secs(40);

/// The channels to the work of [`start`].
pub struct Writer {
    pub batches: UnboundedSender<Batch>,
    /// The finished batches, in their order, and the result of each.
    pub written: UnboundedReceiver<(Batch, Written)>,
    away: Rc<Cell<bool>>,
}

impl Writer {
    /// Whether the database or the dead letters are not available, so that an answer may take
    /// any time.
    pub fn is_away(&self) -> bool {
        self.away.get()
    }
}

/// Returns the writer, and the work as a future. The work ends when the writer is dropped.
/// Dropping the future stops the work.
pub fn start(settings: &Settings) -> (Writer, impl Future<Output = ()>) {
    let (batches, queue) = mpsc::unbounded_channel();
    let (answers, written) = mpsc::unbounded_channel();
    let away = Rc::new(Cell::new(false));
    let work = write(settings, queue, answers, Rc::clone(&away));
    let writer = Writer {
        batches,
        written,
        away,
    };
    (writer, work)
}

async fn write(
    settings: &Settings,
    mut queue: UnboundedReceiver<Batch>,
    answers: UnboundedSender<(Batch, Written)>,
    away: Rc<Cell<bool>>,
) {
    let mut database = settings.database.as_ref().map(|address| {
        let open = async || Store::connect(address).await;
        Target::new(address.to_string(), Rc::clone(&away), open)
    });
    let mut dead_letters = settings.dead_letters().map(|place| {
        let name = place.to_string();
        let open = async move || DeadLetters::open(&place, settings).await;
        Target::new(name, away, open)
    });
    // Both are opened at once, so that an error is logged before the first record arrives.
    if let Some(dead_letters) = &mut dead_letters {
        dead_letters.retry(async |_| Ok(())).await;
    }
    if let Some(database) = &mut database {
        database.retry(async |_| Ok(())).await;
    }
    while let Some(batch) = queue.recv().await {
        let mut written = Written::default();
        if let Some(database) = &mut database {
            let insert = async |store: &mut Store| store.insert(&batch.rows, &mut written).await;
            database.retry(insert).await;
        }
        let skipped = skipped(&batch, &written);
        if let (Some(dead_letters), false) = (&mut dead_letters, skipped.is_empty()) {
            let write = async |open: &mut DeadLetters| open.write(&skipped).await;
            dead_letters.retry(write).await;
        }
        if answers.send((batch, written)).is_err() {
            return;
        }
    }
}

/// Returns what of a batch goes to the dead letters. A batch has the records only if dead
/// letters are kept.
fn skipped(batch: &Batch, written: &Written) -> Vec<DeadLetter> {
    let refused = written.refused.iter().filter_map(|(row, reason)| {
        let origin = batch.origins.get(*row)?;
        Some(DeadLetter {
            partition: origin.partition,
            offset: origin.offset,
            reason: reason.clone(),
            record: origin.record.clone()?,
        })
    });
    batch.unusable.iter().cloned().chain(refused).collect()
}

/// A destination of writes. It is opened again after each failure.
struct Target<T, O> {
    health: Health,
    away: Rc<Cell<bool>>,
    open: O,
    opened: Option<T>,
}

impl<T, O: AsyncFn() -> Result<T, String>> Target<T, O> {
    fn new(name: String, away: Rc<Cell<bool>>, open: O) -> Self {
        Self {
            health: Health::new(name),
            away,
            open,
            opened: None,
        }
    }

    /// Does `work` on a working connection. It retries as long as necessary.
    async fn retry<R>(&mut self, mut work: impl AsyncFnMut(&mut T) -> Result<R, String>) -> R {
        let mut pause = FIRST_PAUSE;
        loop {
            // An old connection may have ended unnoticed. That alone is no outage.
            let is_old = self.opened.is_some();
            let result = {
                let mut attempt = pin!(async {
                    match &mut self.opened {
                        Some(opened) => work(opened).await,
                        none => work(none.insert((self.open)().await?)).await,
                    }
                });
                loop {
                    match timeout(SLOW, &mut attempt).await {
                        Ok(result) => break result,
                        Err(_) => self.health.failed("no answer yet, still waiting"),
                    }
                }
            };
            let reason = match result {
                Ok(value) => {
                    self.away.set(false);
                    self.health.works();
                    return value;
                }
                Err(reason) => reason,
            };
            self.opened = None;
            if is_old {
                continue;
            }
            self.away.set(true);
            self.health.failed(&reason);
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
