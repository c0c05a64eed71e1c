//! Events in msgpack, as Fluent Bit's append takes them. Knows no field's meaning.

use std::convert::Infallible;

use rmp::{
    Marker,
    encode::{self, ByteBuf, ValueWriteError},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::timestamp::Timestamp;

#[derive(Debug, Default)]
pub struct Writer(ByteBuf);

/// Writing to memory does not fail.
fn sure<T>(result: Result<T, ValueWriteError<Infallible>>) {
    match result {
        Ok(_) => {}
        Err(
            ValueWriteError::InvalidMarkerWrite(never) | ValueWriteError::InvalidDataWrite(never),
        ) => match never {},
    }
}

impl Writer {
    /// Starts in the memory of something that is done with.
    pub fn reusing(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self(ByteBuf::from_vec(memory))
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// Begins `[time, map]`, the form of an event that every host since 1.9 takes.
    pub fn event(&mut self, time: Timestamp, fields: u32) {
        sure(encode::write_array_len(&mut self.0, 2));
        // Fluent Bit's EventTime: extension type 0 of seconds and nanoseconds, big endian.
        let mut payload = [0; 8];
        payload[..4].copy_from_slice(&time.seconds.to_be_bytes());
        payload[4..].copy_from_slice(&time.nanos.to_be_bytes());
        sure(encode::write_ext_meta(&mut self.0, 8, 0));
        self.0.as_mut_vec().extend_from_slice(&payload);
        sure(encode::write_map_len(&mut self.0, fields));
    }

    pub fn map(&mut self, key: &str, fields: u32) {
        self.key(key);
        sure(encode::write_map_len(&mut self.0, fields));
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        sure(encode::write_str(&mut self.0, value));
    }

    pub fn uint(&mut self, key: &str, value: u64) {
        self.key(key);
        sure(encode::write_uint(&mut self.0, value));
    }

    pub fn float(&mut self, key: &str, value: f64) {
        self.key(key);
        sure(encode::write_f64(&mut self.0, value));
    }

    pub fn rfc3339(&mut self, key: &str, time: Timestamp) {
        let mut text = [0; 40];
        let room = text.len();
        let mut rest = &mut text[..];
        // Every Timestamp lies between 1970 and 2106, which the format can write.
        let written = OffsetDateTime::from_unix_timestamp(time.seconds.into())
            .ok()
            .and_then(|at| at.replace_nanosecond(time.nanos).ok())
            .and_then(|at| at.format_into(&mut rest, &Rfc3339).ok())
            .map_or(0, |_| room - rest.len());
        self.text(key, str::from_utf8(&text[..written]).unwrap_or_default());
    }

    fn key(&mut self, key: &str) {
        sure(encode::write_str(&mut self.0, key));
    }
}

/// How long the value is that these bytes begin with; `None` if it is not whole.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut values) = (0, 1_usize);
    while values > 0 {
        let marker = Marker::from_u8(*bytes.get(at)?);
        at += 1;
        // A length in so many bytes, then so much of what it counts.
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
