//! What a host has on disk: the samples in the chunk files of its storage.

use std::{collections::BTreeSet, fs, path::Path};

use rmpv::Value;

use super::outage::Sample;

/// A chunk file begins with this much, and ends with it the length of the metadata
/// that follows, in two bytes.
const HEADER: usize = 24;

/// The samples in all chunks of the input.
pub fn samples(storage: &Path) -> BTreeSet<Sample> {
    let folder = storage.join("kubeletstats.0");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let chunks = files.map(|file| fs::read(file.expect("a file").path()).expect("readable"));
    chunks.flat_map(|chunk| of_chunk(&chunk)).collect()
}

/// Records up to the zeroes that fill a file which was not closed, or to one that was
/// being written. A file that was just made has nothing in it yet.
fn of_chunk(chunk: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let Some(&[high, low]) = chunk.get(HEADER - 2..HEADER) else {
        return samples;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let mut records = chunk.get(HEADER + length..).unwrap_or_default();
    while records.first().is_some_and(|byte| *byte != 0) {
        let event = rmpv::decode::read_value(&mut records).ok();
        match event.as_ref().and_then(sample) {
            Some(sample) => samples.push(sample),
            None => break,
        }
    }
    samples
}

fn sample(event: &Value) -> Option<Sample> {
    let record = event.as_array()?.last()?;
    let text = |name: &str| record[name].as_str();
    let at = record["timestamp"].as_u64()?;
    Some((
        format!("{}/{}", text("podUid")?, text("containerName")?),
        at,
    ))
}
