//! x86-64: AVX2 if the processor has it, and otherwise SSE2, which every processor of
//! this kind has.

use std::arch::x86_64::{
    __m128i, __m256i, _mm_clmulepi64_si128, _mm_cmpeq_epi8, _mm_cvtsi64_si128, _mm_cvtsi128_si64,
    _mm_loadu_si128, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8, _mm256_cmpeq_epi8,
    _mm256_loadu_si256, _mm256_movemask_epi8, _mm256_or_si256, _mm256_set1_epi8,
};

use super::{Block, Broken, Masks, up_to_each, walk};

pub fn nested(text: &[u8]) -> Result<usize, Broken> {
    let has = std::arch::is_x86_feature_detected!("avx2")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    match has {
        // SAFETY: the processor has both, as checked above.
        true => unsafe { avx2(text) },
        false => plain(text),
    }
}

/// Works on any processor of this kind.
pub fn plain(text: &[u8]) -> Result<usize, Broken> {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { sse2(text) }
}

#[target_feature(enable = "avx2,pclmulqdq")]
fn avx2(text: &[u8]) -> Result<usize, Broken> {
    walk(text, |block| avx2_masks(block), |bits| multiplied(bits))
}

/// The same as [`up_to_each`], in one instruction: this product without carries is the sum of
/// the bits, moved by 0 to 63 places.
#[inline]
#[target_feature(enable = "pclmulqdq")]
fn multiplied(bits: u64) -> u64 {
    let bits = _mm_cvtsi64_si128(bits.cast_signed());
    let product = _mm_clmulepi64_si128::<0>(bits, _mm_set1_epi8(-1));
    _mm_cvtsi128_si64(product).cast_unsigned()
}

#[target_feature(enable = "sse2")]
fn sse2(text: &[u8]) -> Result<usize, Broken> {
    walk(text, |block| sse2_masks(block), up_to_each)
}

#[inline]
#[target_feature(enable = "avx2")]
fn avx2_masks(block: &Block) -> Masks {
    let (halves, _) = block.as_chunks::<32>();
    let mut masks = Masks::default();
    for (index, half) in halves.iter().enumerate() {
        // SAFETY: 32 bytes can be read there, and the load needs no alignment.
        let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast::<__m256i>()) };
        let all = |byte: u8| _mm256_set1_epi8(byte.cast_signed());
        let equal = |bytes: __m256i, byte: u8| _mm256_cmpeq_epi8(bytes, all(byte));
        let place = |equal: __m256i| {
            let bits = _mm256_movemask_epi8(equal).cast_unsigned();
            u64::from(bits) << (32 * index)
        };
        let folded = _mm256_or_si256(bytes, all(0x20));
        masks.quotes |= place(equal(bytes, b'"'));
        masks.backslashes |= place(equal(bytes, b'\\'));
        let brackets = _mm256_or_si256(equal(folded, b'{'), equal(folded, b'}'));
        masks.brackets |= place(brackets);
    }
    masks
}

#[inline]
#[target_feature(enable = "sse2")]
fn sse2_masks(block: &Block) -> Masks {
    let (quarters, _) = block.as_chunks::<16>();
    let mut masks = Masks::default();
    for (index, quarter) in quarters.iter().enumerate() {
        // SAFETY: 16 bytes can be read there, and the load needs no alignment.
        let bytes = unsafe { _mm_loadu_si128(quarter.as_ptr().cast::<__m128i>()) };
        let all = |byte: u8| _mm_set1_epi8(byte.cast_signed());
        let equal = |bytes: __m128i, byte: u8| _mm_cmpeq_epi8(bytes, all(byte));
        let place = |equal: __m128i| {
            let bits = _mm_movemask_epi8(equal).cast_unsigned();
            u64::from(bits) << (16 * index)
        };
        let folded = _mm_or_si128(bytes, all(0x20));
        masks.quotes |= place(equal(bytes, b'"'));
        masks.backslashes |= place(equal(bytes, b'\\'));
        masks.brackets |= place(_mm_or_si128(equal(folded, b'{'), equal(folded, b'}')));
    }
    masks
}
