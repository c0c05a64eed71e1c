//! The kit's only error: a text for the reader of a failed test. It has no categories,
//! because no caller decides anything by them.

use std::fmt;

/// A failure in words. It often has several lines, with the last output of a process.
pub struct Error(String);

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Adds what was attempted before the failure.
    pub fn context(self, attempt: impl fmt::Display) -> Self {
        Self(format!("{attempt}: {}", self.0))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

// `unwrap` and a test that returns `Err` print the debug form. Escaped line breaks would
// make the captured output unreadable there.
impl fmt::Debug for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
