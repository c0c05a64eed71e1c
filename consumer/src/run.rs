//! The main loop: messages become rows, rows are written to the database, and then offsets are
//! committed.
//!
//! Batches wait for the database, up to a limit. At the limit, no more messages are taken, and
//! those that librdkafka has read ahead wait there. Only if this continues, the topic is paused,
//! and Kafka is polled so that this consumer stays in the group.

use std::{
    fmt,
    future::pending,
    io, mem,
    time::{Duration, Instant},
};

use tokio::{
    select,
    task::{JoinHandle, yield_now},
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    Settings,
    batch::{Batch, Size},
    database::Written,
    health::Health,
    output::Output,
    positions::{Commits, Positions},
    source::{Message, Source},
    writer::{self, Writer},
};

/// The interval of checks that depend only on the time.
const TICK: Duration = Duration::from_millis(100);
/// The limit of what waits for the database: this many records, or two batches if that is more, and
/// this many bytes of them.
const BUFFER_RECORDS: usize = 10_000;
const BUFFER_BYTES: usize = 16 << 20;
/// If the buffer is full for this time, the database is slow. Then the topic is paused until half
/// of the buffer is free. Until the pause, the group is not served, so this time must be much
/// shorter than the group's session timeout.
const PAUSE_AFTER: Duration = Duration::from_secs(1);
/// The limits at the end: for the current batches, their lines, their offsets, and for leaving the
/// group.
const LAST_BATCH: Duration = Duration::from_secs(5);
const LAST_LINES: Duration = Duration::from_millis(500);
const LAST_COMMIT: Duration = Duration::from_secs(2);
const LEAVE: Duration = Duration::from_secs(2);

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Asked,
    Counted,
    TimedOut,
}

/// Reads until `stop` resolves, or the settings' count or time is reached.
pub async fn run(settings: &Settings, stop: impl Future<Output = ()>) -> Result<Ended, String> {
    let (writer, writing) = writer::start(settings);
    let mut consumer = Running::start(settings, writer)?;
    let reading = async {
        let result = select! {
            result = consumer.consume() => result.map(|()| Ended::Counted),
            () = stop => Ok(Ended::Asked),
            () = sleep(settings.timeout.unwrap_or(Duration::MAX)) => Ok(Ended::TimedOut),
        };
        let counts = consumer.finish(result.is_ok()).await;
        info!("ended: {counts}");
        result
    };
    select! {
        result = reading => result,
        () = writing => Err("internal error: nothing writes to the database any more".to_owned()),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    good: u64,
    skipped: u64,
    /// Rows that were new to the database, and below the others. Only with a database.
    stored: Option<u64>,
    known: u64,
    /// Lines that could not be written to stdout.
    dropped: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} records", self.good)?;
        if let Some(stored) = self.stored {
            write!(out, ", {stored} rows stored, {} known before", self.known)?;
        }
        write!(out, ", {} skipped", self.skipped)?;
        match self.dropped {
            0 => Ok(()),
            dropped => write!(out, ", {dropped} lines not printed"),
        }
    }
}

struct Running<'a> {
    settings: &'a Settings,
    source: Source,
    writer: Writer,
    keeps_skipped: bool,
    collecting: Batch,
    /// The number of batches that were sent to the writer.
    writing: usize,
    /// Everything that was collected and is not finished.
    buffered: Size,
    full_since: Option<Instant>,
    stdout: Output,
    printing: Health,
    /// Without a database: positions to commit after stdout has accepted the lines.
    unprinted: Positions,
    commits: Commits,
    committing: Option<JoinHandle<bool>>,
    counts: Counts,
}

impl<'a> Running<'a> {
    fn start(settings: &'a Settings, writer: Writer) -> Result<Self, String> {
        let stored = settings.database.is_some().then_some(0);
        if stored.is_none() {
            info!("no database is set: records are printed only");
        }
        Ok(Self {
            settings,
            source: Source::open(settings)?,
            writer,
            keeps_skipped: settings.dead_letters().is_some(),
            collecting: Batch::default(),
            writing: 0,
            buffered: Size::default(),
            full_since: None,
            stdout: Output::start(io::stdout()),
            printing: Health::new("stdout"),
            unprinted: Positions::new(),
            commits: Commits::default(),
            committing: None,
            counts: Counts {
                stored,
                ..Counts::default()
            },
        })
    }

    fn has_counted(&self) -> bool {
        let good = self.counts.good;
        self.settings.count.is_some_and(|count| good >= count)
            && self.buffered.rows == 0
            && (self.stores() || self.stdout.is_done())
    }

    /// Whether there is a database. Without one, the lines are the only output.
    fn stores(&self) -> bool {
        self.settings.database.is_some()
    }

    fn most_messages(&self) -> usize {
        BUFFER_RECORDS.max(2 * self.settings.batch_rows)
    }

    /// Whether one more message may be collected.
    fn has_room(&self) -> bool {
        let taken = self.counts.good + self.buffered.rows as u64;
        self.buffered.messages < self.most_messages()
            && self.buffered.bytes < BUFFER_BYTES
            && self.settings.count.is_none_or(|count| taken < count)
            && (self.stores() || !self.stdout.is_full())
    }

    /// Whether the current batch is full or has waited long enough. While the database is busy, the
    /// batch may continue to grow.
    fn is_due(&self) -> bool {
        let is_full = self.collecting.rows.len() >= self.settings.batch_rows || !self.has_room();
        let waited = self.collecting.begun.map(|begun| begun.elapsed());
        waited.is_some_and(|waited| {
            is_full || (self.writing == 0 && waited >= self.settings.batch_wait)
        })
    }

    /// Runs until as many good records as `count` are finished.
    async fn consume(&mut self) -> Result<(), String> {
        while !self.has_counted() {
            self.pause_or_resume();
            let takes_more = self.has_room() || self.source.is_paused();
            let wait = match self.collecting.begun {
                Some(begun) if self.writing == 0 => {
                    TICK.min(self.settings.batch_wait.saturating_sub(begun.elapsed()))
                }
                _ => TICK,
            };
            select! {
                message = self.source.next(), if takes_more => self.read(message?)?,
                Some((batch, written)) = self.writer.written.recv() => self.done(batch, &written),
                succeeded = end_of(&mut self.committing) => self.committed(succeeded),
                () = self.stdout.written() => {}
                () = sleep(wait) => {}
            }
            self.source.serve();
            if self.is_due() {
                self.hand_over();
            }
            self.check_stdout()?;
            self.commit();
            // The task of the database's connection runs on the same thread.
            yield_now().await;
        }
        Ok(())
    }

    /// Reads as long as there are messages. A paused topic may still return some. They are
    /// collected too, because reading resumes after them.
    fn read(&mut self, mut next: Option<Message>) -> Result<(), String> {
        while let Some(message) = next {
            self.collect(message);
            // Unusable messages do not fill a batch. Without the time limit of a batch, a topic
            // full of them would keep this loop running, without signals and commits.
            if self.is_due() {
                break;
            }
            next = self.source.try_next()?;
        }
        Ok(())
    }

    fn pause_or_resume(&mut self) {
        let now = Instant::now();
        let is_full = !self.has_room();
        let since = is_full.then(|| self.full_since.unwrap_or(now));
        self.full_since = since;
        let is_half_empty = self.buffered.messages <= self.most_messages() / 2
            && self.buffered.bytes <= BUFFER_BYTES / 2;
        if since.is_some_and(|since| now - since >= PAUSE_AFTER) {
            self.source.pause(true);
        } else if !is_full && is_half_empty {
            self.source.pause(false);
        }
    }

    fn collect(&mut self, message: Message) {
        let before = self.collecting.size;
        let (partition, offset) = (message.partition, message.offset);
        if let Err(reason) = self.collecting.add(message, self.keeps_skipped) {
            self.skip(partition, offset, &reason);
        }
        self.buffered += self.collecting.size;
        self.buffered -= before;
    }

    fn skip(&mut self, partition: i32, offset: i64, reason: &str) {
        self.counts.skipped += 1;
        warn!("skipped partition {partition} offset {offset}: {reason}");
    }

    fn hand_over(&mut self) {
        self.writing += 1;
        let batch = mem::take(&mut self.collecting);
        // The writer ends after this task.
        let _ = self.writer.batches.send(batch);
    }

    /// The database has the batch. Now its lines are printed, and its offsets may be committed.
    fn done(&mut self, batch: Batch, written: &Written) {
        self.writing -= 1;
        self.buffered -= batch.size;
        for (row, reason) in &written.refused {
            let origin = &batch.origins[*row];
            self.skip(origin.partition, origin.offset, reason);
        }
        let mut text = String::new();
        for (row, origin) in batch.origins.iter().enumerate() {
            if !written.refused.iter().any(|(refused, _)| *refused == row) {
                self.counts.good += 1;
                text.push_str(&origin.line);
                text.push('\n');
            }
        }
        let good = batch.origins.len() - written.refused.len();
        if let Some(stored) = &mut self.counts.stored {
            *stored += written.inserted;
            self.counts.known += (good as u64).saturating_sub(written.inserted);
        }
        match (self.stores(), self.settings.quiet) {
            (_, true) => {}
            (true, false) => self.stdout.print(text),
            // These lines are the only output. Their offsets are committed after the lines are
            // written.
            (false, false) => self.stdout.keep(text),
        }
        match self.stores() {
            true => self.commits.add(batch.positions),
            false => self.unprinted.extend(batch.positions),
        }
    }

    /// Logs a line if nobody reads stdout. With a database, lines are dropped, because the rows are
    /// stored. Without one, the lines are the only output, so the loop waits for the reader.
    fn check_stdout(&mut self) -> Result<(), String> {
        let dropped = self.stdout.dropped();
        match (self.stores(), self.stdout.failure()) {
            (false, Some(failure)) => return Err(format!("cannot print: {failure}")),
            // A stream that failed for a time has lost lines, even if it works again.
            (false, None) if dropped > 0 => return Err("cannot print all lines".to_owned()),
            (false, None) if self.stdout.is_full() => {
                self.printing.failed("nobody reads it, waiting");
            }
            (true, failure) if dropped > self.counts.dropped => {
                let reason = failure.as_deref().unwrap_or("nobody reads it");
                self.printing.failed(&format!(
                    "{reason}, {dropped} lines dropped; rows are stored all the same"
                ));
            }
            (_, None) if self.stdout.is_done() => {
                self.commits.add(mem::take(&mut self.unprinted));
                if self.printing.works() && dropped > 0 {
                    info!("stdout: {dropped} lines dropped in all");
                }
            }
            _ => {}
        }
        self.counts.dropped = dropped;
        Ok(())
    }

    fn commit(&mut self) {
        self.commits.add(self.source.chosen());
        let source = &self.source;
        let assignment = |partition| source.assignment(partition);
        if let Some(due) = self.commits.due(Instant::now(), assignment) {
            self.committing = Some(source.commit(due));
        }
    }

    fn committed(&mut self, succeeded: bool) {
        self.committing = None;
        self.commits.answered(succeeded, Instant::now());
    }

    /// Finishes the current work, within a limited time. What is not finished is not committed, so
    /// it will be read again.
    async fn finish(mut self, is_regular: bool) -> Counts {
        if is_regular {
            self.source.pause(true);
            let _ = timeout(LAST_BATCH, self.finish_batches()).await;
            self.stdout.flush(LAST_LINES).await;
            let _ = timeout(LAST_COMMIT, self.finish_commits()).await;
        }
        self.counts.dropped = self.stdout.dropped();
        self.source.close(self.committing, LEAVE).await;
        self.counts
    }

    /// Finishes the batches. The group is still served. Messages that arrive now are not used, so
    /// the next consumer reads them.
    async fn finish_batches(&mut self) {
        if self.collecting.begun.is_some() {
            self.hand_over();
        }
        while self.writing > 0 && !self.writer.is_away() {
            select! {
                Some((batch, written)) = self.writer.written.recv() => self.done(batch, &written),
                _ = self.source.next() => {}
                () = sleep(TICK) => {}
            }
        }
    }

    async fn finish_commits(&mut self) {
        loop {
            let _ = self.check_stdout();
            self.commit();
            if self.commits.is_done() {
                return;
            }
            select! {
                succeeded = end_of(&mut self.committing) => self.committed(succeeded),
                _ = self.source.next() => {}
                () = sleep(TICK) => {}
            }
        }
    }
}

/// Returns whether the running commit succeeds. Without one, this waits forever.
async fn end_of(committing: &mut Option<JoinHandle<bool>>) -> bool {
    match committing {
        Some(commit) => commit.await.unwrap_or(false),
        None => pending().await,
    }
}
