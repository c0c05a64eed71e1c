//! Drops pods that are not selected from a reply while it arrives.
//!
//! A pod whose name or namespace is not selected is overwritten by the bytes after it. So the
//! memory of a reply depends on the selected pods, not on the size of the node. These bytes are
//! also examined while the processor's caches still have them.
//!
//! The rest of the reply is decoded like a whole one, with the same result. So the sieve may stop
//! at any time: from the first byte that it does not understand, it leaves the reply as it is.

use crate::{
    json::{Broken, Walk},
    select::Selector,
    summary::{Body, LARGEST_POD, MOST_PODS, Malformed, PodRef},
};

/// How many bytes of a reply usually arrive at a time: one record of TLS. This is for
/// [`Sieve::pass`].
#[doc(hidden)]
pub const PIECE: usize = 16 << 10;

/// The state of one reply while it arrives.
#[derive(Debug, Default)]
pub struct Sieve {
    selector: Selector,
    next: Next,
    /// How many bytes of the rest have been examined.
    examined: usize,
    /// How many bytes there must be after them before these are examined again.
    enough: usize,
    /// The number of examined pods.
    pods: usize,
    dropped_pods: usize,
    gaps: Vec<Gap>,
}

/// What comes after the examined bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The beginning of the reply, up to the first pod.
    #[default]
    Head,
    Pod,
    /// Bytes that are not examined.
    Tail,
}

/// Dropped bytes.
#[derive(Debug)]
struct Gap {
    /// Where they were, as an offset in the rest.
    at: usize,
    length: usize,
}

/// A part of a reply that ends where the next one begins.
struct Part {
    length: usize,
    is_dropped: bool,
}

impl Sieve {
    /// Makes a sieve. If the selection accepts all names, it lets everything through.
    pub fn new(selector: Selector) -> Self {
        Self {
            selector,
            ..Self::default()
        }
    }

    /// Begins a new reply.
    pub fn begin(&mut self) {
        self.next = match self.selector.wants_all_names() {
            true => Next::Tail,
            false => Next::Head,
        };
        self.gaps.clear();
        (self.examined, self.enough) = (0, 0);
        (self.pods, self.dropped_pods) = (0, 0);
    }

    /// Examines `bytes`: the rest so far, and what has arrived since. Returns the length of the
    /// rest now, which is at the beginning of `bytes`.
    pub fn examine(&mut self, bytes: &mut [u8]) -> usize {
        if self.next == Next::Tail || bytes.len() < self.examined + self.enough {
            return bytes.len();
        }
        let mut at = self.examined;
        loop {
            match self.part(&bytes[at..]) {
                Ok(part) => {
                    if part.is_dropped {
                        self.leave_out(part.length);
                    } else {
                        bytes.copy_within(at..at + part.length, self.examined);
                        self.examined += part.length;
                    }
                    at += part.length;
                }
                Err(Broken::Cut) => break,
                Err(Broken::At(_)) => {
                    self.next = Next::Tail;
                    break;
                }
            }
        }
        bytes.copy_within(at.., self.examined);
        let others = bytes.len() - at;
        // A part that arrives in many small pieces is not examined again for each of them.
        self.enough = 2 * others;
        self.examined + others
    }

    /// Writes to `rest` what is left of a reply that arrives in pieces of this size. This is for
    /// tests and measurements.
    #[doc(hidden)]
    pub fn pass<'a>(&mut self, reply: &'a [u8], piece: usize, rest: &'a mut Vec<u8>) -> Body<'a> {
        self.begin();
        if self.next == Next::Tail {
            return reply.into();
        }
        rest.clear();
        for piece in reply.chunks(piece) {
            rest.extend_from_slice(piece);
            let length = self.examine(rest);
            rest.truncate(length);
        }
        self.body(rest)
    }

    /// Returns the next part.
    fn part(&mut self, bytes: &[u8]) -> Result<Part, Broken> {
        let mut walk = Walk::new(bytes);
        let is_dropped = match self.next {
            Next::Head => {
                enter_pods(&mut walk)?;
                self.next = Next::Pod;
                false
            }
            Next::Pod if self.pods < MOST_PODS => {
                let start = walk.clone();
                let length = walk.value()?.len();
                let reference = PodRef::find(start)?;
                let is_dropped =
                    reference.is_some_and(|pod| !self.selector.wants(&pod.namespace, &pod.name));
                // Whether this pod is decoded depends on how much of the reply comes after it.
                if !is_dropped && length > LARGEST_POD {
                    return Err(walk.broken());
                }
                // The last pod is not dropped, because the comma before it would have to go too.
                // If it is missing, that comma is an error, which must stay.
                if !walk.another(b']')? || walk.peek()? == b']' {
                    return Err(walk.broken());
                }
                self.pods += 1;
                is_dropped
            }
            Next::Pod | Next::Tail => return Err(walk.broken()),
        };
        Ok(Part {
            length: bytes.len() - walk.rest().len(),
            is_dropped,
        })
    }

    /// Notes that a pod was dropped after the examined bytes.
    fn leave_out(&mut self, length: usize) {
        self.dropped_pods += 1;
        match self.gaps.last_mut() {
            Some(gap) if gap.at == self.examined => gap.length += length,
            _ => self.gaps.push(Gap {
                at: self.examined,
                length,
            }),
        }
    }

    /// Returns the reply of which this is the rest.
    pub fn body<'a>(&self, rest: &'a [u8]) -> Body<'a> {
        Body {
            bytes: rest,
            dropped_pods: self.dropped_pods,
        }
    }

    /// Returns the same error about the rest with its offset in the whole reply.
    pub fn in_whole(&self, error: Malformed) -> Malformed {
        let Malformed::NotJson(offset) = error else {
            return error;
        };
        let before = self.gaps.iter().take_while(|gap| gap.at <= offset);
        Malformed::NotJson(offset + before.map(|gap| gap.length).sum::<usize>())
    }
}

/// Moves to the first pod.
fn enter_pods(walk: &mut Walk) -> Result<(), Broken> {
    let mut more = walk.enter(b'{', b'}')?;
    while more {
        if walk.key()? == b"pods" {
            return match walk.enter(b'[', b']')? {
                true => Ok(()),
                false => Err(walk.broken()),
            };
        }
        walk.skip()?;
        more = walk.another(b'}')?;
    }
    Err(walk.broken())
}
