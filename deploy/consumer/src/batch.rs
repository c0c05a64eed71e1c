//! Records that go to the database together. Pure.

use crate::positions::Positions;
use crate::source::Message;
use crate::{Metric, Row};
use std::ops::{AddAssign, SubAssign};
use std::time::Instant;

#[derive(Default)]
pub struct Batch {
    pub rows: Vec<Row>,
    /// Of each row.
    pub origins: Vec<Origin>,
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
    /// The error says why the message is of no use.
    pub fn add(&mut self, message: &Message) -> Result<(), String> {
        self.begun.get_or_insert_with(Instant::now);
        self.positions.insert(message.partition, message.position());
        self.size += Size {
            messages: 1,
            rows: 0,
            bytes: message.payload.len(),
        };
        let json = std::str::from_utf8(&message.payload);
        let metric = json
            .map_err(|_| "not a record: not UTF-8".to_owned())
            .and_then(Metric::from_json)?;
        let line = metric.to_string();
        self.rows.push(Row::try_from(metric)?);
        self.size.rows += 1;
        self.origins.push(Origin {
            partition: message.partition,
            offset: message.offset,
            line,
        });
        Ok(())
    }
}
