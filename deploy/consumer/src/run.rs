//! The loop: messages become rows, rows go to the database, offsets are committed after that.
//!
//! One batch is with the database while the next is collected. When that one is full too, the
//! topic is paused, and Kafka is only polled so that the group keeps us.

use crate::database::Written;
use crate::health::{Health, say};
use crate::positions::{Commits, Position, Positions};
use crate::source::{Message, Source};
use crate::writer::Writer;
use crate::{Metric, Row, Settings};
use std::fmt;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a poll of Kafka may take, alone and while the database is at work.
const IDLE_POLL: Duration = Duration::from_millis(100);
const BUSY_POLL: Duration = Duration::from_millis(5);
/// A database that takes longer for a batch is worth a line.
const SLOW: Duration = Duration::from_secs(30);
/// At the end: for the batch in hand, for its offsets, and for leaving the group.
const LAST_BATCH: Duration = Duration::from_secs(5);
const LAST_COMMIT: Duration = Duration::from_secs(3);
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
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} records", self.good)?;
        if let Some(stored) = self.stored {
            write!(out, ", {stored} rows stored, {} known before", self.known)?;
        }
        write!(out, ", {} skipped", self.skipped)
    }
}

/// Records that go to the database together.
#[derive(Default)]
struct Batch {
    rows: Vec<Row>,
    /// Of each row: its line, its partition and its offset.
    origins: Vec<(String, i32, i64)>,
    /// Past every message that was looked at, unusable ones too.
    positions: Positions,
    begun: Option<Instant>,
}

struct Running<'a> {
    settings: &'a Settings,
    source: Source,
    writer: Option<Writer>,
    collecting: Batch,
    /// With the database now, since `handed`; worth a line at `overdue`.
    writing: Option<Batch>,
    handed: Instant,
    overdue: Instant,
    answers: Health,
    commits: Commits,
    counts: Counts,
}

impl<'a> Running<'a> {
    fn start(settings: &'a Settings) -> Result<Self, String> {
        let writer = settings.database.clone().map(Writer::start);
        let stored = writer.is_some().then_some(0);
        if writer.is_none() {
            say("no database is set: records are printed only");
        }
        let now = Instant::now();
        Ok(Self {
            settings,
            source: Source::open(settings)?,
            writer,
            collecting: Batch::default(),
            writing: None,
            handed: now,
            overdue: now,
            answers: Health::new("insert"),
            commits: Commits::default(),
            counts: Counts {
                stored,
                ..Counts::default()
            },
        })
    }

    fn has_counted(&self) -> bool {
        let nothing_left = self.collecting.rows.is_empty() && self.writing.is_none();
        nothing_left
            && self
                .settings
                .count
                .is_some_and(|count| self.counts.good >= count)
    }

    /// May one more message be collected?
    fn has_room(&self) -> bool {
        let pending = self.writing.as_ref().map_or(0, |batch| batch.origins.len());
        let taken = self.counts.good + (self.collecting.rows.len() + pending) as u64;
        self.collecting.rows.len() < self.settings.batch_rows
            && self.settings.count.is_none_or(|count| taken < count)
    }

    /// Is what has been collected full, or has it waited long enough?
    fn is_due(&self) -> bool {
        let waited = self.collecting.begun.map(|begun| begun.elapsed());
        waited.is_some_and(|waited| !self.has_room() || waited >= self.settings.batch_wait)
    }

    fn is_away(&self) -> bool {
        self.writer.as_ref().is_some_and(Writer::is_away)
    }

    fn step(&mut self) -> Result<(), String> {
        self.source.pause(!self.has_room());
        let mut wait = match (&self.writing, self.collecting.begun) {
            (Some(_), _) if !self.is_away() => BUSY_POLL,
            (None, Some(begun)) => {
                IDLE_POLL.min(self.settings.batch_wait.saturating_sub(begun.elapsed()))
            }
            _ => IDLE_POLL,
        };
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
        self.look_after_writer(Duration::ZERO)?;
        self.commit();
        Ok(())
    }

    fn collect(&mut self, message: Message) {
        let (partition, offset) = (message.partition, message.offset);
        let batch = &mut self.collecting;
        batch.begun.get_or_insert_with(Instant::now);
        let position = Position {
            assignment: message.assignment,
            next: offset + 1,
        };
        batch.positions.insert(partition, position);
        let json = std::str::from_utf8(&message.payload);
        let row = json
            .map_err(|_| "not a record: not UTF-8".to_owned())
            .and_then(Metric::from_json)
            .and_then(|metric| Ok((metric.to_string(), Row::try_from(metric)?)));
        match row {
            Ok((line, row)) => {
                batch.rows.push(row);
                batch.origins.push((line, partition, offset));
            }
            Err(reason) => self.skip(partition, offset, &reason),
        }
    }

    fn skip(&mut self, partition: i32, offset: i64, reason: &str) {
        self.counts.skipped += 1;
        say(format!(
            "skipped partition {partition} offset {offset}: {reason}"
        ));
    }

    /// Takes the database's answer, and gives it the next batch if that is due.
    fn look_after_writer(&mut self, wait: Duration) -> Result<(), String> {
        if let (Some(writer), Some(_)) = (&self.writer, &self.writing) {
            let now = Instant::now();
            match writer.written(wait)? {
                Some(written) => {
                    self.answers.works(now).iter().for_each(say);
                    let batch = self.writing.take().unwrap_or_default();
                    self.done(batch, written)?;
                }
                // One that is away has been reported.
                None if !writer.is_away() && now >= self.overdue => {
                    self.overdue = now + SLOW;
                    let waited = (now - self.handed).as_secs();
                    let reason = format!("no answer for {waited} s, still waiting");
                    self.answers.failed(&reason, now).iter().for_each(say);
                }
                None => {}
            }
        }
        if self.writing.is_none() && self.is_due() {
            self.hand_over()?;
        }
        Ok(())
    }

    fn hand_over(&mut self) -> Result<(), String> {
        let mut batch = std::mem::take(&mut self.collecting);
        let rows = std::mem::take(&mut batch.rows);
        match &self.writer {
            Some(writer) if !rows.is_empty() => {
                writer.write(rows)?;
                self.handed = Instant::now();
                self.overdue = self.handed + SLOW;
                self.writing = Some(batch);
                Ok(())
            }
            _ => self.done(batch, Written::default()),
        }
    }

    /// The database has the batch: now its lines are printed and its offsets may be committed.
    fn done(&mut self, batch: Batch, written: Written) -> Result<(), String> {
        for (row, reason) in &written.refused {
            let (_, partition, offset) = batch.origins[*row];
            self.skip(partition, offset, reason);
        }
        let mut text = String::new();
        for (row, (line, _, _)) in batch.origins.iter().enumerate() {
            if !written.refused.iter().any(|(refused, _)| *refused == row) {
                self.counts.good += 1;
                text.push_str(line);
                text.push('\n');
            }
        }
        let good = batch.origins.len() - written.refused.len();
        if let Some(stored) = &mut self.counts.stored {
            *stored += written.inserted;
            self.counts.known += (good as u64).saturating_sub(written.inserted);
        }
        if !self.settings.quiet {
            let mut out = io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|error| format!("cannot print: {error}"))?;
        }
        self.commits.add(batch.positions);
        Ok(())
    }

    fn commit(&mut self) {
        if let Some(well) = self.source.committed() {
            self.commits.answered(well, Instant::now());
        }
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
                let _ = self.source.next(BUSY_POLL);
            }
            let deadline = Instant::now() + LAST_COMMIT;
            loop {
                self.commit();
                if self.commits.is_done() || Instant::now() >= deadline {
                    break;
                }
                let _ = self.source.next(BUSY_POLL);
            }
        }
        self.source.close(LEAVE);
        self.counts
    }

    /// Is there more to wait for?
    fn finish_batches(&mut self) -> Result<bool, String> {
        self.look_after_writer(BUSY_POLL)?;
        if self.writing.is_none() && self.collecting.begun.is_some() {
            self.hand_over()?;
        }
        Ok(self.writing.is_some() && !self.is_away())
    }
}
