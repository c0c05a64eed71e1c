//! The loop: messages become rows, rows go to the database, offsets are committed after that.
//!
//! Batches queue up in front of the database, up to a limit: then no more is taken, and what
//! librdkafka has read ahead waits there. Only when that lasts is the topic paused, and Kafka
//! polled so that the group keeps us.

use crate::Settings;
use crate::batch::{Batch, Size};
use crate::database::Written;
use crate::health::Health;
use crate::output::{Output, say};
use crate::positions::{Commits, Positions};
use crate::source::{Message, Source};
use crate::writer::Writer;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a poll of Kafka may take, alone and while the database is at work.
const IDLE_POLL: Duration = Duration::from_millis(100);
const BUSY_POLL: Duration = Duration::from_millis(5);
/// How far the database may be behind: so many records, or two batches if that is more, and so
/// many bytes of them.
const BUFFER_RECORDS: usize = 10_000;
const BUFFER_BYTES: usize = 16 << 20;
/// A buffer that has been full for so long is not about to be taken: the topic is paused until
/// half of it is. Meanwhile the group is not served, which has to be far less than its patience.
const PATIENCE: Duration = Duration::from_secs(1);
/// A database that takes longer for a batch is worth a line.
const SLOW: Duration = Duration::from_secs(30);
/// At the end: for the batches in hand, for their lines and their offsets, and for leaving the group.
const LAST_BATCH: Duration = Duration::from_secs(5);
const LAST_LINES: Duration = Duration::from_millis(500);
const LAST_COMMIT: Duration = Duration::from_secs(2);
const LEAVE: Duration = Duration::from_secs(2);

/// Why it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Asked,
    Counted,
    TimedOut,
}

/// Reads until `stop` is set, or the settings' count or time is reached.
pub fn run(settings: &Settings, stop: &AtomicBool) -> Result<Ended, String> {
    let mut consumer = Running::start(settings)?;
    // One too far away for the clock is none.
    let deadline = settings
        .timeout
        .and_then(|timeout| Instant::now().checked_add(timeout));
    let result = loop {
        if let Err(error) = consumer.step() {
            break Err(error);
        }
        if consumer.has_counted() {
            break Ok(Ended::Counted);
        }
        if stop.load(Ordering::Relaxed) {
            break Ok(Ended::Asked);
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            break Ok(Ended::TimedOut);
        }
    };
    let counts = consumer.finish(result.is_ok());
    say(format!("ended: {counts}"));
    result
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    good: u64,
    skipped: u64,
    /// Only with a database: rows that were new to it, and others.
    stored: Option<u64>,
    known: u64,
    /// Lines that nobody took from stdout.
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
    writer: Option<Writer>,
    collecting: Batch,
    /// Batches with the writer, since when it has had the first of them, and when that is worth
    /// a line.
    writing: usize,
    handed: Instant,
    overdue: Instant,
    answers: Health,
    /// All that has been collected and is not done with.
    buffered: Size,
    full_since: Option<Instant>,
    stdout: Output,
    printing: Health,
    /// Without a database: to be committed once stdout has taken the lines.
    unprinted: Positions,
    commits: Commits,
    counts: Counts,
}

impl<'a> Running<'a> {
    fn start(settings: &'a Settings) -> Result<Self, String> {
        let stored = settings.database.is_some().then_some(0);
        if stored.is_none() {
            say("no database is set: records are printed only");
        }
        let now = Instant::now();
        Ok(Self {
            settings,
            source: Source::open(settings)?,
            writer: Writer::start(settings),
            collecting: Batch::default(),
            writing: 0,
            handed: now,
            overdue: now,
            answers: Health::new("insert"),
            buffered: Size::default(),
            full_since: None,
            stdout: Output::start(io::stdout()),
            printing: Health::new("stdout"),
            unprinted: Positions::new(),
            commits: Commits::default(),
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

    /// Is there a database, or are the lines all there is?
    fn stores(&self) -> bool {
        self.settings.database.is_some()
    }

    fn most_messages(&self) -> usize {
        BUFFER_RECORDS.max(2 * self.settings.batch_rows)
    }

    /// May one more message be collected?
    fn has_room(&self) -> bool {
        let taken = self.counts.good + self.buffered.rows as u64;
        self.buffered.messages < self.most_messages()
            && self.buffered.bytes < BUFFER_BYTES
            && self.settings.count.is_none_or(|count| taken < count)
            && (self.stores() || !self.stdout.is_full())
    }

    /// Is what has been collected full, or has it waited long enough? While the database is at
    /// work, it may go on growing.
    fn is_due(&self) -> bool {
        let is_full = self.collecting.rows.len() >= self.settings.batch_rows || !self.has_room();
        let waited = self.collecting.begun.map(|begun| begun.elapsed());
        waited.is_some_and(|waited| {
            is_full || (self.writing == 0 && waited >= self.settings.batch_wait)
        })
    }

    fn is_away(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_away)
    }

    fn step(&mut self) -> Result<(), String> {
        self.pause_or_resume(Instant::now());
        let wait = match self.collecting.begun {
            _ if self.writing > 0 && !self.is_away() => BUSY_POLL,
            Some(begun) if self.writing == 0 => {
                IDLE_POLL.min(self.settings.batch_wait.saturating_sub(begun.elapsed()))
            }
            _ => IDLE_POLL,
        };
        if self.has_room() || self.source.is_paused() {
            self.read(wait)?;
            self.look_after_writer(Duration::ZERO)?;
        } else {
            self.look_after_writer(wait)?;
            if self.writing == 0 {
                self.stdout.flush(wait);
            }
        }
        self.look_after_stdout()?;
        self.commit();
        Ok(())
    }

    fn pause_or_resume(&mut self, now: Instant) {
        let is_full = !self.has_room();
        let since = is_full.then(|| self.full_since.unwrap_or(now));
        self.full_since = since;
        let is_half_empty = self.buffered.messages <= self.most_messages() / 2
            && self.buffered.bytes <= BUFFER_BYTES / 2;
        if since.is_some_and(|since| now - since >= PATIENCE) {
            self.source.pause(true);
        } else if !is_full && is_half_empty {
            self.source.pause(false);
        }
    }

    fn read(&mut self, mut wait: Duration) -> Result<(), String> {
        while let Some(message) = self.source.next(wait)? {
            // A paused topic may still have one to give: it is not lost, as it was not committed
            // and resuming goes on behind it.
            self.collect(message);
            wait = Duration::ZERO;
            // Messages of no use fill no batch: without a limit of time a topic full of them
            // would keep us here, deaf to signals and without a commit.
            if self.is_due() {
                break;
            }
        }
        Ok(())
    }

    fn collect(&mut self, message: Message) {
        let before = self.collecting.size;
        let (partition, offset) = (message.partition, message.offset);
        let keeps = self.settings.dead_letters().is_some();
        if let Err(reason) = self.collecting.add(message, keeps) {
            self.skip(partition, offset, &reason);
        }
        self.buffered += self.collecting.size;
        self.buffered -= before;
    }

    fn skip(&mut self, partition: i32, offset: i64, reason: &str) {
        self.counts.skipped += 1;
        say(format!(
            "skipped partition {partition} offset {offset}: {reason}"
        ));
    }

    /// Takes the database's answers, and gives it the next batch if that is due.
    fn look_after_writer(&mut self, mut wait: Duration) -> Result<(), String> {
        while let (Some(writer), true) = (&self.writer, self.writing > 0) {
            let now = Instant::now();
            match writer.written(wait)? {
                Some((batch, written)) => {
                    self.answers.works(now).iter().for_each(say);
                    self.writing -= 1;
                    (self.handed, self.overdue) = (now, now + SLOW);
                    wait = Duration::ZERO;
                    self.done(batch, &written);
                }
                // One that is away has been reported.
                None => {
                    if !writer.is_away() && now >= self.overdue {
                        self.overdue = now + SLOW;
                        let waited = (now - self.handed).as_secs();
                        let reason = format!("no answer for {waited} s, still waiting");
                        self.answers.failed(&reason, now).iter().for_each(say);
                    }
                    break;
                }
            }
        }
        match self.is_due() {
            true => self.hand_over(),
            false => Ok(()),
        }
    }

    fn hand_over(&mut self) -> Result<(), String> {
        let batch = std::mem::take(&mut self.collecting);
        let Some(writer) = &self.writer else {
            // Nothing to wait for.
            self.done(batch, &Written::default());
            return Ok(());
        };
        if self.writing == 0 {
            self.handed = Instant::now();
            self.overdue = self.handed + SLOW;
        }
        self.writing += 1;
        writer.write(batch)
    }

    /// The database has the batch: now its lines are printed and its offsets may be committed.
    fn done(&mut self, batch: Batch, written: &Written) {
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
        if !self.settings.quiet {
            self.stdout.print(&text);
        }
        match self.stores() {
            true => self.commits.add(batch.positions),
            false => self.unprinted.extend(batch.positions),
        }
    }

    /// Lines that nobody reads are told. With a database they are dropped, as the rows are there;
    /// without one they are all there is, and are waited for.
    fn look_after_stdout(&mut self) -> Result<(), String> {
        let now = Instant::now();
        let dropped = self.stdout.dropped();
        let failure = self.stdout.failure();
        let line = match (self.stores(), failure) {
            (false, Some(failure)) => return Err(format!("cannot print: {failure}")),
            (false, None) if self.stdout.is_full() => {
                self.printing.failed("nobody reads it, waiting", now)
            }
            (true, failure) if dropped > self.counts.dropped => {
                let reason = failure.unwrap_or_else(|| "nobody reads it".to_owned());
                let reason =
                    format!("{reason}, {dropped} lines dropped; rows are stored all the same");
                self.printing.failed(&reason, now)
            }
            (_, None) if self.stdout.is_done() => {
                self.commits.add(std::mem::take(&mut self.unprinted));
                let line = self.printing.works(now);
                line.map(|line| format!("{line}, {dropped} lines dropped in all"))
            }
            _ => None,
        };
        self.counts.dropped = dropped;
        line.iter().for_each(say);
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(well) = self.source.committed() {
            self.commits.answered(well, Instant::now());
        }
        self.commits.add(self.source.chosen());
        let source = &self.source;
        let due = self
            .commits
            .due(Instant::now(), |partition| source.assignment(partition));
        if let Some(due) = due {
            source.commit(due);
        }
    }

    /// Finishes what is in hand, as long as that does not take long: what is not finished is
    /// not committed, and so will be read again.
    fn finish(mut self, well: bool) -> Counts {
        if well {
            self.source.pause(true);
            let deadline = Instant::now() + LAST_BATCH;
            while Instant::now() < deadline && self.finish_batches().unwrap_or(false) {
                // The group is served meanwhile; what may still come is left for the next.
                let _ = self.source.next(Duration::ZERO);
            }
            self.stdout.flush(LAST_LINES);
            let deadline = Instant::now() + LAST_COMMIT;
            loop {
                let _ = self.look_after_stdout();
                self.commit();
                if self.commits.is_done() || Instant::now() >= deadline {
                    break;
                }
                let _ = self.source.next(BUSY_POLL);
            }
        }
        self.counts.dropped = self.stdout.dropped();
        self.source.close(LEAVE);
        self.counts
    }

    /// Is there more to wait for?
    fn finish_batches(&mut self) -> Result<bool, String> {
        self.look_after_writer(BUSY_POLL)?;
        if self.collecting.begun.is_some() {
            self.hand_over()?;
        }
        Ok(self.writing > 0 && !self.is_away())
    }
}
