//! Finds the end of a JSON object or array by its brackets and quotes, 64 bytes at a time.
//!
//! It ignores everything else: numbers, commas, bytes that are not UTF-8. For valid JSON, the
//! end is the byte at which a parser would end. For text that is not valid JSON, three things
//! are guaranteed. Text that is cut off is an error. A bracket that closes another kind than
//! the open one is an error, down to [`KINDS`] levels; below that, brackets are only counted.
//! And a backslash outside a string escapes the quote after it, as a backslash inside does.
//!
//! The masks of a block are computed by the vector unit if there is code for it ([`x86`],
//! [`arm`]), and otherwise by plain arithmetic. Everything else is the same code. Only these
//! two modules and the dispatch below have `unsafe` code.

#![deny(missing_docs)]

#[cfg(target_arch = "aarch64")]
mod arm;
#[cfg(target_arch = "x86_64")]
mod x86;

/// Down to this depth, an object must end as an object, and an array as an array.
pub const KINDS: usize = 128;

/// Why there is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The text ends before the value does.
    Cut,
    /// The bracket at this offset is not allowed there.
    At(usize),
}

/// The bytes that are examined together.
type Block = [u8; 64];

/// One bit for each byte of a block.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Masks {
    quotes: u64,
    backslashes: u64,
    /// The brackets of all four kinds.
    brackets: u64,
}

/// Returns the length of the object or array at the beginning of `text`.
pub fn nested(text: &[u8]) -> Result<usize, Broken> {
    #[cfg(target_arch = "x86_64")]
    return x86::nested(text);
    #[cfg(target_arch = "aarch64")]
    return arm::nested(text);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    return portable(text);
}

/// Runs every implementation for this processor. All must give the same result. This is for
/// tests.
#[doc(hidden)]
pub fn ways(text: &[u8]) -> impl Iterator<Item = (&'static str, Result<usize, Broken>)> {
    let first = [("best", nested(text)), ("portable", portable(text))];
    #[cfg(target_arch = "x86_64")]
    return first.into_iter().chain([("sse2", x86::plain(text))]);
    #[cfg(not(target_arch = "x86_64"))]
    first.into_iter()
}

/// Does the same as [`nested`] without vectors, as on a processor without its own
/// implementation.
pub fn portable(text: &[u8]) -> Result<usize, Broken> {
    walk(text, portable_masks, up_to_each)
}

#[inline(always)]
fn walk(
    text: &[u8],
    masks: impl Fn(&Block) -> Masks,
    up_to_each: impl Fn(u64) -> u64,
) -> Result<usize, Broken> {
    let mut state = State::default();
    let (blocks, rest) = text.as_chunks::<64>();
    let mut at = 0;
    for block in blocks {
        if let Some(end) = state.block(text, at, masks(block), &up_to_each)? {
            return Ok(end);
        }
        at += block.len();
    }
    let mut last = [b' '; 64];
    last[..rest.len()].copy_from_slice(rest);
    state
        .block(text, at, masks(&last), &up_to_each)?
        .ok_or(Broken::Cut)
}

/// The state between one block and the next.
#[derive(Default)]
struct State {
    /// All bits are set inside a string, and none outside.
    in_string: u64,
    /// 1 if the next byte is escaped.
    escapes: u64,
    depth: usize,
    /// One bit for each open bracket: whether it is that of an object.
    objects: u128,
}

impl State {
    /// Returns the end of the value, if it is in this block.
    #[inline(always)]
    fn block(
        &mut self,
        text: &[u8],
        at: usize,
        masks: Masks,
        up_to_each: impl Fn(u64) -> u64,
    ) -> Result<Option<usize>, Broken> {
        let quotes = masks.quotes & !self.escaped(masks.backslashes);
        let strings = up_to_each(quotes) ^ self.in_string;
        self.in_string = ((strings as i64) >> 63) as u64;
        let mut brackets = masks.brackets & !strings;
        while brackets != 0 {
            let here = at + brackets.trailing_zeros() as usize;
            brackets &= brackets - 1;
            if self.bracket(text[here], here)? {
                return Ok(Some(here + 1));
            }
        }
        Ok(None)
    }

    /// Returns `true` for the last bracket of the value.
    #[inline(always)]
    fn bracket(&mut self, byte: u8, at: usize) -> Result<bool, Broken> {
        // The bit 0x20 is set in `{` and `}`, but not in `[` and `]`. The bit 0x04 is set in
        // the closing bracket of each pair.
        let is_of_object = byte & 0x20 != 0;
        let is_closing = byte & 0x04 != 0;
        if !is_closing {
            if self.depth < KINDS {
                self.objects = self.objects << 1 | u128::from(is_of_object);
            }
            self.depth += 1;
            return Ok(false);
        }
        if self.depth <= KINDS {
            if self.depth == 0 || (self.objects & 1 == 1) != is_of_object {
                return Err(Broken::At(at));
            }
            self.objects >>= 1;
        }
        self.depth -= 1;
        Ok(self.depth == 0)
    }

    /// Returns the bytes after an odd number of backslashes.
    #[inline(always)]
    fn escaped(&mut self, backslashes: u64) -> u64 {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        if backslashes == 0 {
            return std::mem::take(&mut self.escapes);
        }
        // A backslash that is escaped does not escape the next byte.
        let backslashes = backslashes & !self.escapes;
        let behind = backslashes << 1 | self.escapes;
        // Runs of backslashes that begin at an odd place. The addition carries each of them to
        // the place after its end.
        let odd_starts = backslashes & !EVEN & !behind;
        let (even_runs, carries) = odd_starts.overflowing_add(backslashes);
        self.escapes = u64::from(carries);
        (EVEN ^ (even_runs << 1)) & behind
    }
}

/// Inverts all bits from each set bit on. The bits between an opening quote and the closing one
/// are then set, including that of the opening quote.
#[inline(always)]
fn up_to_each(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

fn portable_masks(block: &Block) -> Masks {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let all = |byte: u8| LOW * u64::from(byte);
    // The highest bit of each byte that is 0, and no other bit.
    let zeros = |word: u64| !(((word & !(LOW << 7)) + !(LOW << 7)) | word) & (LOW << 7);
    // Puts these eight bits next to each other.
    let gather = |bits: u64| (bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56;
    let mut masks = Masks::default();
    for (index, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let folded = word | all(0x20);
        let place = |bits: u64| gather(bits) << (8 * index);
        masks.quotes |= place(zeros(word ^ all(b'"')));
        masks.backslashes |= place(zeros(word ^ all(b'\\')));
        masks.brackets |= place(zeros(folded ^ all(b'{')) | zeros(folded ^ all(b'}')));
    }
    masks
}

#[cfg(test)]
mod tests;
