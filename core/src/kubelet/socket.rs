//! A TCP stream that waits through [`Deadline`] only.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    os::fd::AsFd,
    sync::Arc,
};

use rustix::event::PollFlags;

use super::deadline::Deadline;

/// A non-blocking stream. Its reads and writes wait through [`Deadline`], and fail at the deadline
/// even if they never have to wait. All reads and writes of TLS use it.
#[derive(Debug)]
pub(super) struct Socket {
    pub stream: TcpStream,
    pub deadline: Arc<Deadline>,
}

impl Socket {
    /// Returns an error if the request's time has run out or the input stops.
    pub fn check(&self) -> io::Result<()> {
        self.deadline.check().map_err(io::Error::other)
    }

    fn retry<T>(
        &self,
        events: PollFlags,
        mut attempt: impl FnMut(&TcpStream) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            self.check()?;
            match attempt(&self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self
                    .deadline
                    .wait(self.stream.as_fd(), events)
                    .map_err(io::Error::other)?,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.retry(PollFlags::IN, |mut stream| stream.read(buf))
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.retry(PollFlags::OUT, |mut stream| stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether the error means that the peer has ended the connection.
pub(super) fn is_disconnect(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

/// Whether there is nothing to read, not even the end.
pub(super) fn would_block(result: io::Result<usize>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}
