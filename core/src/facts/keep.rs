//! Text that outlives the reply, and how much of it there may be; and the steps through JSON
//! that all readers of the reply take.

use std::borrow::Cow;

use crate::json::{Broken, Walk};

/// All that is kept of a reply. A thousand pods with ten labels each are less than 2 MiB.
pub(super) const MOST_TEXT: usize = 8 << 20;
/// One text. A longer annotation is a document, such as the whole manifest.
const LONGEST_TEXT: usize = 4 << 10;
/// What a text takes besides its bytes: where it lies, and what the allocator adds.
const OVERHEAD: usize = 32;

/// Takes text out of a reply, until it is too much.
#[derive(Debug, Default)]
pub(super) struct Keep {
    taken: usize,
}

impl Keep {
    /// `None` for what is longer than any text needs to be, and for all once it is too much.
    pub fn take(&mut self, text: &str) -> Option<Box<str>> {
        if text.len() > LONGEST_TEXT || self.is_too_much() {
            return None;
        }
        self.taken += text.len() + OVERHEAD;
        Some(text.into())
    }

    /// The text that stands here; `None` for an empty one too.
    pub fn text(&mut self, walk: &mut Walk<'_>) -> Result<Option<Box<str>>, Broken> {
        let text = text(walk)?;
        Ok(self.take(&text).filter(|text| !text.is_empty()))
    }

    pub fn is_too_much(&self) -> bool {
        self.taken > MOST_TEXT
    }
}

/// Steps through the object that begins here, each key as it was written; `null` has no
/// members.
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

/// Steps through the array that begins here; `null` is an empty one.
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

/// The text that has to stand here; `null` is an empty one, as Go reads it.
pub(super) fn text<'a>(walk: &mut Walk<'a>) -> Result<Cow<'a, str>, Broken> {
    match walk.null()? {
        true => Ok(Cow::Borrowed("")),
        false => walk.text(),
    }
}

/// Steps through a map of texts, whose keys may be escaped.
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
