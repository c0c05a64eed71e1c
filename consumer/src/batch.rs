//! Records that are written to the database together. This module is pure.

use std::{
    ops::{AddAssign, SubAssign},
    time::Instant,
};

use crate::{Metric, Row, dead_letters::DeadLetter, positions::Positions, source::Message};

#[derive(Default)]
pub struct Batch {
    pub rows: Vec<Row>,
    /// The origin of each row.
    pub origins: Vec<Origin>,
    /// The records for the dead letters, if dead letters are kept.
    pub unusable: Vec<DeadLetter>,
    /// The positions after all messages that were read, including unusable ones.
    pub positions: Positions,
    pub size: Size,
    pub begun: Option<Instant>,
}

/// The origin of a row, and its line.
pub struct Origin {
    pub partition: i32,
    pub offset: i64,
    pub line: String,
    /// The record for the dead letters, if dead letters are kept.
    pub record: Option<Vec<u8>>,
}

/// How much has been read and is not finished.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub messages: usize,
    pub rows: usize,
    /// The size of the messages in the topic.
    pub bytes: usize,
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Self) {
        self.messages -= other.messages;
        self.rows -= other.rows;
        self.bytes -= other.bytes;
    }
}

impl Batch {
    /// Returns an error that says why the message cannot be used. With `keeps`, the record is
    /// kept for the dead letters, in case it cannot be used or the database refuses it.
    pub fn add(&mut self, message: Message, keeps: bool) -> Result<(), String> {
        self.begun.get_or_insert_with(Instant::now);
        self.positions.insert(message.partition, message.position());
        self.size.messages += 1;
        self.size.bytes += message.payload.len();
        let (partition, offset) = (message.partition, message.offset);
        match read(&message.payload) {
            Ok((row, line)) => {
                self.size.rows += 1;
                self.rows.push(row);
                self.origins.push(Origin {
                    partition,
                    offset,
                    line,
                    record: keeps.then_some(message.payload),
                });
                Ok(())
            }
            Err(reason) => {
                if keeps {
                    self.unusable.push(DeadLetter {
                        partition,
                        offset,
                        reason: reason.clone(),
                        record: message.payload,
                    });
                }
                Err(reason)
            }
        }
    }
}

fn read(payload: &[u8]) -> Result<(Row, String), String> {
    let json = str::from_utf8(payload).map_err(|_| "not a record: not UTF-8".to_owned())?;
    let metric = Metric::from_json(json)?;
    let line = metric.to_string();
    Ok((Row::try_from(metric)?, line))
}
