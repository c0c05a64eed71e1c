//! A file that nobody can open any more, as on a mount that has gone: the kernel asks
//! this test first, and the test does not answer.

use std::{
    ffi::CString,
    io::{self, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Until it is dropped; whoever waits may go on then.
#[derive(Debug)]
pub struct Held {
    _asked: OwnedFd,
}

impl Held {
    /// The same; where it cannot be, that is said past the test harness, which keeps what a
    /// test prints that passes.
    pub fn or_not_run(path: &Path) -> Option<Self> {
        let held = Self::new(path);
        if let Err(error) = &held {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("main");
            let said = format!("NOT RUN: {test}: no file can be held here: {error}");
            let _ = writeln!(io::stderr(), "{said}");
        }
        held.ok()
    }

    /// The error says why this machine cannot: it takes root, and a kernel that asks.
    pub fn new(path: &Path) -> io::Result<Self> {
        let checked = |result| match result {
            -1 => Err(io::Error::last_os_error()),
            result => Ok(result),
        };
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: takes no pointers.
        let fd = checked(unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) })?;
        // SAFETY: just opened, and nobody else's.
        let asked = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the descriptor is open, and the name outlives the call.
        checked(unsafe {
            libc::fanotify_mark(
                asked.as_raw_fd(),
                libc::FAN_MARK_ADD,
                libc::FAN_OPEN_PERM,
                libc::AT_FDCWD,
                name.as_ptr(),
            )
        })?;
        Ok(Self { _asked: asked })
    }
}
