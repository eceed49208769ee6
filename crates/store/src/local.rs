//! A directory of a local disk as a [`Store`].

use crate::durable::{self, Access};
use crate::failure::{Operation, io_error};
use crate::lock::FileLock;
use crate::path::{check_dir, check_path, is_temporary};
use crate::store::{Created, Locked, Store};
use async_trait::async_trait;
use millstream_core::{Error, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Largest file that is read, in bytes: far above any record, far below the machine's memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A directory of a local disk, created with the first file. Clones share one state.
///
/// After a failed fsync this store refuses every further change (`STORE_POISONED`): what the
/// kernel shows may no longer be what the disk holds. A new process looks again.
#[derive(Debug, Clone)]
pub struct LocalStore {
    root: PathBuf,
    access: Access,
    poisoned: Arc<AtomicBool>,
}

impl LocalStore {
    /// The store under `root`. Does no I/O.
    pub fn new(root: impl Into<PathBuf>, access: Access) -> Self {
        LocalStore { root: root.into(), access, poisoned: Arc::default() }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn file(&self, path: &str) -> Result<PathBuf> {
        check_path(path)?;
        Ok(self.root.join(path))
    }

    fn dir(&self, dir: &str) -> Result<PathBuf> {
        check_dir(dir)?;
        Ok(if dir.is_empty() { self.root.clone() } else { self.root.join(dir) })
    }

    /// Runs a blocking change, unless an fsync has failed before, and remembers if one fails.
    async fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(Access) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Error::unavailable(
                "STORE_POISONED",
                format!(
                    "An earlier fsync under `{}` failed; nothing more is written by this process.",
                    self.root.display()
                ),
            )
            .cure("Check the disk and start again."));
        }
        let access = self.access;
        let poisoned = Arc::clone(&self.poisoned);
        blocking(move || {
            let result = work(access);
            if result.as_ref().is_err_and(|e| e.code() == "STORE_SYNC_FAILED") {
                poisoned.store(true, Ordering::Release);
            }
            result
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Error::internal("A file operation did not end.").caused_by(e))?
}

#[async_trait]
impl Store for LocalStore {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    async fn create(&self, path: &str, bytes: &[u8]) -> Result<Created> {
        let file = self.file(path)?;
        let bytes = bytes.to_vec();
        self.change(move |access| {
            make_parent(&file, access)?;
            durable::create_new(&file, &bytes, access)
        })
        .await
    }

    async fn replace(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.file(path)?;
        let bytes = bytes.to_vec();
        self.change(move |access| {
            make_parent(&file, access)?;
            durable::replace(&file, &bytes, access)
        })
        .await
    }

    async fn read(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let file = self.file(path)?;
        blocking(move || {
            let failed = |e| io_error(Operation::Read, &file, e);
            match fs::metadata(&file) {
                Ok(found) if found.len() > FILE_BYTES_MAX => {
                    return Err(failed(io::Error::from(io::ErrorKind::FileTooLarge)));
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(e) => return Err(failed(e)),
            }
            match fs::read(&file) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(e) => Err(failed(e)),
            }
        })
        .await
    }

    async fn list(&self, dir: &str) -> Result<Vec<String>> {
        let dir = self.dir(dir)?;
        blocking(move || Ok(names(&dir)?.into_iter().filter(|n| !is_temporary(n)).collect())).await
    }

    async fn delete(&self, path: &str) -> Result<bool> {
        let file = self.file(path)?;
        self.change(move |_| match fs::remove_file(&file) {
            Ok(()) => match file.parent() {
                Some(parent) => durable::fsync_dir(parent).map(|()| true),
                None => Ok(true),
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error(Operation::Write, &file, e)),
        })
        .await
    }

    async fn forget(&self, path: &str) -> Result<bool> {
        let file = self.file(path)?;
        // Not synced: the next creation in the directory takes the deletion with it.
        self.change(move |_| match fs::remove_file(&file) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error(Operation::Write, &file, e)),
        })
        .await
    }

    async fn delete_dir(&self, dir: &str) -> Result<bool> {
        let dir = self.file(dir)?;
        self.change(move |_| match fs::remove_dir(&dir) {
            Ok(()) => Ok(true),
            Err(e) => match e.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty => Ok(false),
                _ => Err(io_error(Operation::Write, &dir, e)),
            },
        })
        .await
    }

    async fn exists(&self, path: &str) -> Result<bool> {
        let file = self.file(path)?;
        blocking(move || match fs::metadata(&file) {
            Ok(found) => Ok(found.is_file()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(io_error(Operation::Read, &file, e)),
        })
        .await
    }

    async fn settle(&self, path: &str) -> Result<()> {
        let file = self.file(path)?;
        let root = self.root.clone();
        self.change(move |_| {
            durable::fsync_file(&file)?;
            // The directories may be as young as the file: up to and including the root's parent.
            let mut at = file.parent();
            while let Some(dir) = at {
                durable::fsync_dir(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?;
                at = if dir == root { None } else { dir.parent() };
            }
            Ok(())
        })
        .await
    }

    async fn sweep(&self, dir: &str) -> Result<usize> {
        let dir = self.dir(dir)?;
        self.change(move |_| {
            let mut swept = 0;
            for name in names(&dir)?.iter().filter(|n| is_temporary(n)) {
                let file = dir.join(name);
                match fs::remove_file(&file) {
                    Ok(()) => swept += 1,
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(io_error(Operation::Write, &file, e)),
                }
            }
            Ok(swept)
        })
        .await
    }

    async fn try_lock(&self, path: &str) -> Result<Locked> {
        let file = self.file(path)?;
        self.change(move |access| {
            make_parent(&file, access)?;
            Ok(match FileLock::try_acquire(&file, access)? {
                Ok(lock) => Locked::Held(lock),
                Err(holder) => Locked::Busy { holder },
            })
        })
        .await
    }
}

fn make_parent(file: &Path, access: Access) -> Result<()> {
    match file.parent() {
        Some(parent) => durable::create_dirs(parent, access),
        None => Ok(()),
    }
}

/// Names in `dir`, sorted; none if it does not exist. A name that is not UTF-8 is nobody's here.
fn names(dir: &Path) -> Result<Vec<String>> {
    let failed = |e| io_error(Operation::Read, dir, e);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests;
