//! Captured replies after damage, always the same: flipped bytes, cuts, splices.

use super::{check, seeds};
use crate::replay::{Random, fixtures};

const SMALL: usize = 19_000;
const WHOLE: usize = 1_000;

fn below(random: &mut Random, limit: usize) -> usize {
    random.below(limit as u64) as usize
}

fn range(random: &mut Random, length: usize) -> std::ops::Range<usize> {
    let (a, b) = (below(random, length + 1), below(random, length + 1));
    a.min(b)..a.max(b)
}

/// Values that a damaged byte alone does not make.
const WORDS: [&str; 14] = [
    "null",
    "-1",
    "0.5",
    "1e400",
    "18446744073709551616",
    "[]",
    "{}",
    "\"\"",
    "\"\\ud800\"",
    "\"2106-02-07T06:28:16Z\"",
    "\"2026-11-21T09:30:60Z\"",
    "\u{85}",
    "\0",
    "}, {",
];

fn damage(seeds: &[seeds::Seed], random: &mut Random) -> Vec<u8> {
    let (_, seed) = &seeds[below(random, seeds.len())];
    let mut input = seed.clone();
    for _ in 0..=below(random, 3) {
        let at = below(random, input.len());
        match below(random, 8) {
            0 => input.truncate(at),
            1 if !input.is_empty() => input[at] ^= 1 << below(random, 8),
            2 if !input.is_empty() => input[at] = below(random, 256) as u8,
            3 => drop(input.drain(range(random, at))),
            4 => {
                let again = input[range(random, at)].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let (_, other) = &seeds[below(random, seeds.len())];
                let piece = &other[range(random, other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            // A whole value in place of another.
            6 => replace_value(&mut input, at, WORDS[below(random, WORDS.len())]),
            _ => {
                let word = WORDS[below(random, WORDS.len())];
                input.splice(at..at, word.bytes());
            }
        }
    }
    input
}

fn replace_value(input: &mut Vec<u8>, near: usize, word: &str) {
    let Some(colon) = input[near..].iter().position(|byte| *byte == b':') else {
        return;
    };
    let start = near + colon + 1;
    let length = input[start..].iter().position(|byte| b",}]".contains(byte));
    if let Some(length) = length {
        input.splice(start..start + length, word.bytes());
    }
}

#[test]
fn damaged_replies_break_nothing() {
    let (whole, small) = seeds::summaries(&fixtures()).expect("the fixtures");
    for (name, input) in whole.iter().chain(&small) {
        let replies = input[1..].split(|byte| *byte == 0);
        let config = check::read(&[]).expect("valid options");
        let mut scrapes = check::Scrapes::new(&config);
        for reply in replies {
            assert!(scrapes.reply(reply).is_some(), "{name}");
        }
        check::summary(input);
    }
    let mut random = Random(0x6b75_6265_6c65_7400);
    for _ in 0..SMALL {
        check::summary(&damage(&small, &mut random));
    }
    for _ in 0..WHOLE {
        check::summary(&damage(&whole, &mut random));
    }
}

#[test]
fn damaged_option_values_break_nothing() {
    let seeds = seeds::options();
    let mut random = Random(0x6f70_7469_6f6e_7300);
    for _ in 0..20_000 {
        check::options(&damage(&seeds, &mut random));
    }
}
