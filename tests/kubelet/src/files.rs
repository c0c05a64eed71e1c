//! Owns the folder with the files for a client: CA, token, client certificate.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::random::unique;

/// A folder. A temporary one is removed when this value is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// Opens `given`, or a new temporary folder.
    pub fn open(given: Option<PathBuf>) -> io::Result<Self> {
        let temporary = given.is_none();
        let path = given
            .unwrap_or_else(|| std::env::temp_dir().join(format!("sim-kubelet-{:016x}", unique())));
        fs::create_dir_all(&path)?;
        Ok(Self { path, temporary })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Replaces a file at once, like the rotation of a projected token. A reader sees the
    /// old text or the new one, never a part.
    pub fn write(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.join(name);
        let draft = self.join(&format!(".{name}.{:016x}", unique()));
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(text.as_bytes())?;
        drop(file);
        fs::rename(&draft, &path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary {
            // It does not matter if the system has already removed the folder.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
