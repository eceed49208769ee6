//! A lock that dies with its process.

use crate::durable::Access;
use crate::failure::{Operation, io_error};
use millstream_core::Result;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// An exclusive lock on a file (`flock`), held until dropped. The kernel releases it when the
/// process dies, however it dies. The file itself stays: deleting it would let two processes lock
/// two files of one name.
#[derive(Debug)]
pub struct FileLock {
    path: PathBuf,
    _file: File,
}

impl FileLock {
    /// Takes the lock without waiting; `Err(holder)` inside the result if it is taken.
    ///
    /// # Errors
    /// Codes of [`io_error`].
    pub fn try_acquire(path: &Path, access: Access) -> Result<Result<FileLock, String>> {
        let mode = if access == Access::Owner { 0o600 } else { 0o666 };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(mode)
            .open(path)
            .map_err(|e| io_error(Operation::Lock, path, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.take(256).read_to_string(&mut holder);
                return Ok(Err(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(e)) => return Err(io_error(Operation::Lock, path, e)),
        }
        // The text is a courtesy to whoever is refused; the lock does not depend on it.
        let note = format!("process {}\n", std::process::id());
        let _ = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(note.as_bytes()));
        Ok(Ok(FileLock { path: path.to_path_buf(), _file: file }))
    }

    /// The locked file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
