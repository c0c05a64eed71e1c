//! Records that go to the database together. Pure.

use std::{
    ops::{AddAssign, SubAssign},
    time::Instant,
};

use crate::{Metric, Row, dead_letters::DeadLetter, positions::Positions, source::Message};

#[derive(Default)]
pub struct Batch {
    pub rows: Vec<Row>,
    /// Of each row.
    pub origins: Vec<Origin>,
    /// For the dead letters, if there are to be any.
    pub unusable: Vec<DeadLetter>,
    /// Past every message that was looked at, unusable ones too.
    pub positions: Positions,
    pub size: Size,
    pub begun: Option<Instant>,
}

/// Where a row comes from, and its line.
pub struct Origin {
    pub partition: i32,
    pub offset: i64,
    pub line: String,
    /// For the dead letters, if there are to be any.
    pub record: Option<Vec<u8>>,
}

/// How much has been read and is not done with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub messages: usize,
    pub rows: usize,
    /// Of the messages, as they stand in the topic.
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
    /// The error says why the message is of no use. `keeps` is for records that are to be dead
    /// letters in that case, or when the database refuses them.
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
