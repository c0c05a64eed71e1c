//! What a host has on disk: the samples in the chunk files of its storage.

use std::{collections::BTreeSet, fs, path::Path};

use rmpv::Value;

use crate::outage::Sample;

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
/// being written.
fn of_chunk(chunk: &[u8]) -> Vec<Sample> {
    let length = usize::from(u16::from_be_bytes([chunk[HEADER - 2], chunk[HEADER - 1]]));
    let mut records = &chunk[HEADER + length..];
    let mut samples = Vec::new();
    while records.first().is_some_and(|byte| *byte != 0) {
        let Ok(event) = rmpv::decode::read_value(&mut records) else {
            break;
        };
        let record = event.as_array().and_then(|parts| parts.last());
        samples.push(sample(record.expect("a time and a map")));
    }
    samples
}

fn sample(record: &Value) -> Sample {
    let field = |name: &str| &record[name];
    let text = |name| field(name).as_str().expect("text");
    let at = field("timestamp").as_u64().expect("an integer");
    (format!("{}/{}", text("podUid"), text("containerName")), at)
}
