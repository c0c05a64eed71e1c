//! A file that nobody can open any more, as on a dead mount. The kernel asks this test for
//! permission first, and the test does not answer.

use std::{
    ffi::CString,
    io::{self, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Holds the file until it is dropped. After that, waiting processes can continue.
#[derive(Debug)]
pub struct Held {
    _asked: OwnedFd,
}

impl Held {
    /// Does the same. If it is not possible here, this prints why, past the test harness,
    /// because the harness hides the output of a test that passes.
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

    /// The error says why this machine cannot do it. It needs root, and a kernel that asks.
    pub fn new(path: &Path) -> io::Result<Self> {
        let checked = |result| match result {
            -1 => Err(io::Error::last_os_error()),
            result => Ok(result),
        };
        let flags = libc::FAN_CLASS_CONTENT | libc::FAN_CLOEXEC | libc::FAN_NONBLOCK;
        // SAFETY: the kernel gets no pointers in this call.
        let fd = checked(unsafe { libc::fanotify_init(flags, libc::O_RDONLY as u32) })?;
        // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
        let asked = unsafe { OwnedFd::from_raw_fd(fd) };
        let name = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: the kernel gets an open descriptor, and a name that lives longer than the
        // call.
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
