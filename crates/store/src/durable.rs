//! The steps that make files durable on a local disk, as plain blocking functions.
//!
//! The order is always: write under a temporary name, fsync the file, give it its name, fsync the
//! directory. A failed fsync is reported and never tried again: the kernel may have dropped the
//! dirty pages, and a second fsync would then succeed without the data.

use crate::failure::{Operation, io_error};
use crate::path::temporary_name;
use crate::store::Created;
use millstream_core::planted::{Mistake, makes};
use millstream_core::{Error, Result};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Who may read what is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The owner only: files 0600, directories 0700. For checkpoints.
    Owner,
    /// As the process's umask says. For tables, which other engines must be able to read.
    Umask,
}

impl Access {
    fn file_mode(self) -> u32 {
        match self {
            Access::Owner => 0o600,
            Access::Umask => 0o666,
        }
    }

    fn dir_mode(self) -> u32 {
        match self {
            Access::Owner => 0o700,
            Access::Umask => 0o777,
        }
    }
}

/// Creates `path` with `bytes` unless it exists; durable when it answers
/// [`Created::Created`]. The parent directory must exist.
///
/// # Errors
/// Codes of [`io_error`]. After `STORE_SYNC_FAILED` the file may exist without being durable.
pub fn create_new(path: &Path, bytes: &[u8], access: Access) -> Result<Created> {
    // CRASH: dying before the link leaves a temporary file that nothing reads; dying after it and
    // before the directory is synced leaves a file that a power failure may take away
    // (`Store::settle`).
    let temporary = write_temporary(path, bytes, access)?;
    let linked = fs::hard_link(&temporary, path);
    let answer = match linked {
        Ok(()) => Ok(Created::Created),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(Created::Exists),
        // Some file systems answer an impossible link with EPERM.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            Err(io_error(Operation::Write, path, io::Error::new(io::ErrorKind::Unsupported, e)))
        }
        Err(e) => Err(io_error(Operation::Write, path, e)),
    };
    let removed = fs::remove_file(&temporary);
    let answer = answer?;
    if answer == Created::Created {
        fsync_dir(parent_of(path))?;
    }
    // A temporary name that stays is ugly and harmless; the file itself is what was asked for.
    drop(removed);
    Ok(answer)
}

/// Creates or replaces `path`: readers see the old bytes or the new ones. Durable when it returns.
///
/// # Errors
/// Codes of [`io_error`].
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<()> {
    let temporary = write_temporary(path, bytes, access)?;
    if let Err(e) = fs::rename(&temporary, path) {
        let _ = fs::remove_file(&temporary);
        return Err(io_error(Operation::Write, path, e));
    }
    fsync_dir(parent_of(path))
}

/// Forces an existing file's content to the disk.
///
/// # Errors
/// `STORE_SYNC_FAILED`; `STORE_IO` if it cannot be opened.
pub fn fsync_file(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(|e| io_error(Operation::Read, path, e))?;
    sync(&file, path)
}

/// Forces a directory's entries to the disk.
///
/// # Errors
/// `STORE_SYNC_FAILED`; `STORE_IO` if it cannot be opened.
pub fn fsync_dir(dir: &Path) -> Result<()> {
    if makes(Mistake::ForgetDirectorySync) {
        return Ok(());
    }
    let file = File::open(dir).map_err(|e| io_error(Operation::Read, dir, e))?;
    sync(&file, dir)
}

/// Forces what was written to an open file to the disk, once.
///
/// # Errors
/// `STORE_SYNC_FAILED`.
pub fn sync(file: &File, path: &Path) -> Result<()> {
    if makes(Mistake::ForgetFileSync) {
        return Ok(());
    }
    let synced = file.sync_all();
    if makes(Mistake::SyncAgain) && synced.is_err() {
        return sync(file, path);
    }
    synced.map_err(|e| io_error(Operation::Sync, path, e))
}

/// Makes `dir` and its missing parents, each durable in its own parent.
///
/// # Errors
/// Codes of [`io_error`].
pub fn create_dirs(dir: &Path, access: Access) -> Result<()> {
    let mut missing: Vec<PathBuf> = Vec::new();
    let mut at = dir;
    while !at.as_os_str().is_empty() {
        match fs::metadata(at) {
            Ok(found) if found.is_dir() => break,
            Ok(_) => {
                let taken = io::Error::from(io::ErrorKind::NotADirectory);
                return Err(io_error(Operation::Write, at, taken));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => missing.push(at.to_path_buf()),
            Err(e) => return Err(io_error(Operation::Write, at, e)),
        }
        at = parent_of(at);
        if at == Path::new(".") {
            break;
        }
    }
    for path in missing.iter().rev() {
        match DirBuilder::new().mode(access.dir_mode()).create(path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io_error(Operation::Write, path, e)),
        }
        // Also for a directory that somebody else has just made: it may not be durable yet.
        fsync_dir(parent_of(path))?;
    }
    Ok(())
}

/// The directory that holds `path`; the current one for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}

fn write_temporary(path: &Path, bytes: &[u8], access: Access) -> Result<PathBuf> {
    let name = path
        .file_name()
        .and_then(|n| n.to_str())
        .ok_or_else(|| Error::invalid("STORE_PATH_INVALID", format!("`{}`", path.display())))?;
    let temporary = parent_of(path).join(temporary_name(name));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(access.file_mode())
            .open(&temporary)
            .map_err(|e| io_error(Operation::Write, &temporary, e))?;
        file.write_all(bytes).map_err(|e| io_error(Operation::Write, &temporary, e))?;
        sync(&file, &temporary)
    })();
    match written {
        Ok(()) => Ok(temporary),
        Err(error) => {
            let _ = fs::remove_file(&temporary);
            Err(error)
        }
    }
}
