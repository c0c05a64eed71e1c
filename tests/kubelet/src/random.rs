//! Owns the two sources of random values: a small generator for orders, and a hash that
//! always gives a pod the same phase and the same values.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::now_ms;

/// Marsaglia's xorshift with 64 bits of state.
pub struct Xorshift(u64);

impl Xorshift {
    pub fn new(seed: u64) -> Self {
        Self(mix(seed) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for upper in (1..items.len()).rev() {
            let chosen = self.next() % (upper as u64 + 1);
            items.swap(upper, chosen as usize);
        }
    }
}

/// Spreads the bits of `value` over all 64 bits, with the finalizer of SplitMix64.
pub fn mix(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A stable seed from text (FNV-1a).
pub fn seed_of(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Returns a different value in every call and every process. It is not for secrets.
pub fn unique() -> u64 {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    mix(now_ms() ^ (u64::from(std::process::id()) << 40) ^ mix(call))
}
