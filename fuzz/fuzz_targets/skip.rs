//! Where a value ends, beside where `serde_json` ends: in every way that this processor has.
#![no_main]

use json_skip::{Broken, ways};
use serde_json::value::RawValue;

/// As a parser sees it; `None` where it sees no value.
fn parsed(text: &[u8]) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<&RawValue>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    // An object or an array; what stands before it moves it to any place of a block.
    let Some(begin) = input.iter().position(|byte| b"{[".contains(byte)) else {
        return;
    };
    for text in [&input[begin..], input] {
        let mut found = ways(text).map(|(_, found)| found);
        let best = found.next().expect("a way");
        assert!(found.all(|other| other == best), "the ways differ");
        let is_nested = text.first().is_some_and(|byte| b"{[".contains(byte));
        match parsed(text) {
            Some(end) if is_nested => assert_eq!(best, Ok(end)),
            _ => {}
        }
        // What is cut right before the end is an error.
        if let (true, Ok(end)) = (is_nested, best) {
            assert!(ways(&text[..end - 1]).all(|(_, found)| found == Err(Broken::Cut)));
        }
    }
});
