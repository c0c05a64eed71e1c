//! aarch64: NEON, which every processor of this kind has.

use std::arch::aarch64::{
    uint8x16_t, vandq_u8, vceqq_u8, vdupq_n_u8, vgetq_lane_u64, vld1q_u8, vorrq_u8, vpaddq_u8,
    vreinterpretq_u64_u8,
};

use super::{Block, Broken, Masks, up_to_each, walk};

pub fn nested(text: &[u8]) -> Result<usize, Broken> {
    // SAFETY: NEON is part of every aarch64 processor for which Rust builds.
    unsafe { neon(text) }
}

#[target_feature(enable = "neon")]
fn neon(text: &[u8]) -> Result<usize, Broken> {
    walk(text, |block| masks(block), up_to_each)
}

/// One bit for each byte, lowest first, in each half of sixteen bytes.
const PLACES: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];

#[inline]
#[target_feature(enable = "neon")]
fn masks(block: &Block) -> Masks {
    let (quarters, _) = block.as_chunks::<16>();
    // SAFETY: sixteen bytes can be read there, and the load needs no alignment.
    let load = |bytes: &[u8; 16]| unsafe { vld1q_u8(bytes.as_ptr()) };
    let bytes: [uint8x16_t; 4] = std::array::from_fn(|index| load(&quarters[index]));
    let places = load(&PLACES);
    let equal = |bytes: uint8x16_t, byte: u8| vceqq_u8(bytes, vdupq_n_u8(byte));
    // Each byte that matches becomes its bit. Then neighbours are added until eight bytes
    // have the sixty-four bits.
    let gather = |found: [uint8x16_t; 4]| -> u64 {
        let [a, b, c, d] = found.map(|found| vandq_u8(found, places));
        let sums = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)))
    };
    let folded = bytes.map(|bytes| vorrq_u8(bytes, vdupq_n_u8(0x20)));
    Masks {
        quotes: gather(bytes.map(|bytes| equal(bytes, b'"'))),
        backslashes: gather(bytes.map(|bytes| equal(bytes, b'\\'))),
        brackets: gather(folded.map(|bytes| vorrq_u8(equal(bytes, b'{'), equal(bytes, b'}')))),
    }
}
