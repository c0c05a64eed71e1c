//! Captured replies after damage, always the same: flipped bytes, cuts, splices.

use std::path::Path;

use super::{check, seeds};

const SMALL: usize = 19_000;
const WHOLE: usize = 1_000;

/// xorshift: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let (a, b) = (self.below(length + 1), self.below(length + 1));
        a.min(b)..a.max(b)
    }
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
    let (_, seed) = &seeds[random.below(seeds.len())];
    let mut input = seed.clone();
    for _ in 0..=random.below(3) {
        let at = random.below(input.len());
        match random.below(8) {
            0 => input.truncate(at),
            1 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            2 if !input.is_empty() => input[at] = random.below(256) as u8,
            3 => drop(input.drain(random.range(at).clone())),
            4 => {
                let again = input[random.range(at)].to_vec();
                input.splice(at..at, again);
            }
            5 => {
                let (_, other) = &seeds[random.below(seeds.len())];
                let piece = &other[random.range(other.len())];
                input.splice(at..at, piece.iter().copied());
            }
            // A whole value in place of another.
            6 => replace_value(&mut input, at, WORDS[random.below(WORDS.len())]),
            _ => {
                let word = WORDS[random.below(WORDS.len())];
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
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let (whole, small) = seeds::summaries(&fixtures).expect("the fixtures");
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
