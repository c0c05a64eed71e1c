//! Owns the folder with what a client needs: CA, token, client certificate.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::random::unique;

/// A folder; one made here is removed with this value.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    temporary: bool,
}

impl Folder {
    /// `given`, or a new one among the temporary files.
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

    /// Replaces a file at once, as the rotation of a projected token does: a reader sees
    /// the old text or the new one, never a part.
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
            // Nothing is left to tell if the system has cleaned up before us.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}
