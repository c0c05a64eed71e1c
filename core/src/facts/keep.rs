//! Owns the limits of the text that is kept from a reply. It also has the JSON functions that all
//! readers of the reply use.

use std::borrow::Cow;

use crate::json::{Broken, Walk};

/// The limit for all text kept from a reply. A thousand pods with ten labels each need less than 2
/// MiB.
pub(super) const MOST_TEXT: usize = 8 << 20;
/// The limit for one text. A longer annotation is a document, such as the whole manifest.
const LONGEST_TEXT: usize = 4 << 10;
/// The memory of a text in addition to its bytes: the pointer, the length, and the allocator's
/// overhead.
const OVERHEAD: usize = 32;

/// Copies text from a reply, up to the limit.
#[derive(Debug, Default)]
pub(super) struct Keep {
    taken: usize,
}

impl Keep {
    /// Returns `None` for a text longer than the limit, and for every text once the total limit is
    /// exceeded.
    pub fn take(&mut self, text: &str) -> Option<Box<str>> {
        if text.len() > LONGEST_TEXT || self.is_too_much() {
            return None;
        }
        self.taken += text.len() + OVERHEAD;
        Some(text.into())
    }

    /// Reads a text and keeps it. Returns `None` for an empty text too.
    pub fn text(&mut self, walk: &mut Walk<'_>) -> Result<Option<Box<str>>, Broken> {
        let text = text(walk)?;
        Ok(self.take(&text).filter(|text| !text.is_empty()))
    }

    pub fn is_too_much(&self) -> bool {
        self.taken > MOST_TEXT
    }
}

/// Calls `member` for each member of the object that begins here, with the key as it was written.
/// `null` has no members.
pub(super) fn object<'a>(
    walk: &mut Walk<'a>,
    mut member: impl FnMut(&'a [u8], &mut Walk<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if walk.null()? {
        return Ok(());
    }
    let mut more = walk.enter(b'{', b'}')?;
    while more {
        let key = walk.key()?;
        member(key, walk)?;
        more = walk.another(b'}')?;
    }
    Ok(())
}

/// Calls `item` for each item of the array that begins here. `null` has no items.
pub(super) fn array<'a>(
    walk: &mut Walk<'a>,
    mut item: impl FnMut(&mut Walk<'a>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if walk.null()? {
        return Ok(());
    }
    let mut more = walk.enter(b'[', b']')?;
    while more {
        item(walk)?;
        more = walk.another(b']')?;
    }
    Ok(())
}

/// Reads a text. `null` is an empty text, as in Go.
pub(super) fn text<'a>(walk: &mut Walk<'a>) -> Result<Cow<'a, str>, Broken> {
    match walk.null()? {
        true => Ok(Cow::Borrowed("")),
        false => walk.text(),
    }
}

/// Calls `each` for each pair of a map of texts. Its keys may have escapes.
pub(super) fn texts<'a>(
    map: &'a [u8],
    mut each: impl FnMut(Cow<'a, str>, Cow<'a, str>),
) -> Result<(), Broken> {
    let mut walk = Walk::new(map);
    if walk.null()? {
        return Ok(());
    }
    let mut more = walk.enter(b'{', b'}')?;
    while more {
        let key = walk.text()?;
        walk.expect(b':')?;
        each(key, text(&mut walk)?);
        more = walk.another(b'}')?;
    }
    Ok(())
}
