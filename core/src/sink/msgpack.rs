//! Encodes events in msgpack, as Fluent Bit's append accepts them. It does not know what a field
//! means.

use std::convert::Infallible;

use rmp::{
    Marker,
    encode::{self, ByteBuf, ValueWriteError},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    catalogue::{Fields, Figure},
    timestamp::Timestamp,
};

/// Events one after the other, as Fluent Bit's append accepts them.
#[derive(Debug, Default)]
pub struct Writer(ByteBuf);

/// A map that is being written. When it is dropped, its length is set to the number of written
/// members.
#[derive(Debug)]
pub struct Map<'w> {
    out: &'w mut ByteBuf,
    /// The position where the map begins.
    start: usize,
    members: u16,
}

/// Writing to memory cannot fail.
fn infallible<T>(result: Result<T, ValueWriteError<Infallible>>) {
    match result {
        Ok(_) => {}
        Err(
            ValueWriteError::InvalidMarkerWrite(never) | ValueWriteError::InvalidDataWrite(never),
        ) => match never {},
    }
}

impl Writer {
    /// Begins in the memory of a finished batch.
    pub fn reusing(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self(ByteBuf::from_vec(memory))
    }

    /// Returns all events.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Begins `[time, map]`, which every host since 1.9 accepts as an event.
    pub fn event(&mut self, time: Timestamp) -> Map<'_> {
        infallible(encode::write_array_len(&mut self.0, 2));
        // This is Fluent Bit's EventTime: extension type 0 with seconds and nanoseconds, big
        // endian.
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&time.seconds.to_be_bytes());
        payload[4..].copy_from_slice(&time.nanos.to_be_bytes());
        infallible(encode::write_ext_meta(&mut self.0, 8, 0));
        self.0.as_mut_vec().extend_from_slice(&payload);
        Map::begin(&mut self.0)
    }
}

/// The header of a map of up to 65,535 members: a marker and the number of members.
const HEADER: usize = 3;
/// Up to this number, the header is only a marker.
const FEW: u16 = 15;

impl<'w> Map<'w> {
    fn begin(out: &'w mut ByteBuf) -> Self {
        let bytes = out.as_mut_vec();
        let start = bytes.len();
        bytes.extend_from_slice(&[0; HEADER]);
        Self {
            out,
            start,
            members: 0,
        }
    }

    /// Begins a map inside this one.
    pub fn map(&mut self, key: &str) -> Map<'_> {
        self.key(key, "");
        Map::begin(self.out)
    }

    /// Writes a text.
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key, "");
        self.begin_text(value.len());
        self.out.as_mut_vec().extend_from_slice(value.as_bytes());
    }

    /// Writes a whole number.
    pub fn uint(&mut self, key: &str, value: u64) {
        self.number(key, "", Figure::Whole(value));
    }

    /// Writes a whole number that may be negative.
    pub fn int(&mut self, key: &str, value: i64) {
        self.key(key, "");
        infallible(encode::write_sint(self.out, value));
    }

    /// Writes any other number.
    pub fn float(&mut self, key: &str, value: f64) {
        self.number(key, "", Figure::Real(value));
    }

    /// Writes a time as text.
    pub fn rfc3339(&mut self, key: &str, time: Timestamp) {
        let mut text = [0; 40];
        let room = text.len();
        let mut rest = &mut text[..];
        // Every Timestamp is between 1970 and 2106, which the format can write.
        let written = OffsetDateTime::from_unix_timestamp(time.seconds.into())
            .ok()
            .and_then(|at| at.replace_nanosecond(time.nanos).ok())
            .and_then(|at| at.format_into(&mut rest, &Rfc3339).ok())
            .map_or(0, |_| room - rest.len());
        self.text(key, str::from_utf8(&text[..written]).unwrap_or_default());
    }

    fn number(&mut self, prefix: &str, suffix: &str, figure: Figure) {
        self.key(prefix, suffix);
        match figure {
            Figure::Whole(value) => infallible(encode::write_uint(self.out, value)),
            Figure::Real(value) => infallible(encode::write_f64(self.out, value)),
        }
    }

    /// Writes a key in two parts, so that they need not be joined to a string.
    fn key(&mut self, prefix: &str, suffix: &str) {
        self.members += 1;
        self.begin_text(prefix.len() + suffix.len());
        let bytes = self.out.as_mut_vec();
        bytes.extend_from_slice(prefix.as_bytes());
        bytes.extend_from_slice(suffix.as_bytes());
    }

    /// Writes the header of a text of this length. Most texts are short, and a record has forty.
    fn begin_text(&mut self, length: usize) {
        match u8::try_from(length) {
            Ok(length @ 0..=31) => self.out.as_mut_vec().push(0xa0 | length),
            _ => infallible(encode::write_str_len(self.out, length as u32)),
        }
    }
}

impl Fields for Map<'_> {
    fn field(&mut self, prefix: &'static str, suffix: &'static str, figure: Figure) {
        self.number(prefix, suffix, figure);
    }
}

impl Drop for Map<'_> {
    fn drop(&mut self) {
        let bytes = self.out.as_mut_vec();
        let header = self.start..self.start + HEADER;
        if self.members <= FEW {
            bytes[self.start] = Marker::FixMap(self.members as u8).to_u8();
            bytes.drain(self.start + 1..header.end);
        } else {
            bytes[self.start] = Marker::Map16.to_u8();
            bytes[self.start + 1..header.end].copy_from_slice(&self.members.to_be_bytes());
        }
    }
}

/// Returns the length of the value at the beginning of these bytes, or `None` if the value is
/// incomplete.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut values) = (0, 1_usize);
    while values > 0 {
        let marker = Marker::from_u8(*bytes.get(at)?);
        at += 1;
        // Reads a length or a count of this many bytes.
        let mut read = |size: usize| -> Option<usize> {
            let digits = bytes.get(at..at + size)?.iter();
            at += size;
            Some(digits.fold(0, |number, digit| number << 8 | usize::from(*digit)))
        };
        let (data, inside) = match marker {
            Marker::FixPos(_) | Marker::FixNeg(_) => (0, 0),
            Marker::Null | Marker::True | Marker::False | Marker::Reserved => (0, 0),
            Marker::U8 | Marker::I8 => (1, 0),
            Marker::U16 | Marker::I16 => (2, 0),
            Marker::U32 | Marker::I32 | Marker::F32 => (4, 0),
            Marker::U64 | Marker::I64 | Marker::F64 => (8, 0),
            Marker::FixStr(length) => (length.into(), 0),
            Marker::Str8 | Marker::Bin8 => (read(1)?, 0),
            Marker::Str16 | Marker::Bin16 => (read(2)?, 0),
            Marker::Str32 | Marker::Bin32 => (read(4)?, 0),
            Marker::FixExt1 => (2, 0),
            Marker::FixExt2 => (3, 0),
            Marker::FixExt4 => (5, 0),
            Marker::FixExt8 => (9, 0),
            Marker::FixExt16 => (17, 0),
            Marker::Ext8 => (1 + read(1)?, 0),
            Marker::Ext16 => (1 + read(2)?, 0),
            Marker::Ext32 => (1 + read(4)?, 0),
            Marker::FixArray(count) => (0, count.into()),
            Marker::Array16 => (0, read(2)?),
            Marker::Array32 => (0, read(4)?),
            Marker::FixMap(count) => (0, 2 * usize::from(count)),
            Marker::Map16 => (0, 2 * read(2)?),
            Marker::Map32 => (0, 2 * read(4)?),
        };
        at += data;
        values = values - 1 + inside;
    }
    (at <= bytes.len()).then_some(at)
}
