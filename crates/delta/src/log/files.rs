//! The files of `_delta_log`: what the log asks of a place, and the local disk as one.
//!
//! The trait is the seam behind which tests lose answers. Everything here blocks; callers on an
//! async thread go through `spawn_blocking`.

use millstream_core::{Error, Result};
use millstream_store::durable::{self, Access};
use millstream_store::{Created, Operation, io_error};
use std::fmt::Debug;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// What tells one file from another of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Bytes.
    pub size: u64,
    /// Inode number.
    pub inode: u64,
    /// Nanoseconds since the epoch.
    pub modified_ns: i128,
}

/// A place that keeps a table's log.
pub trait LogFiles: Send + Sync + Debug {
    /// The directory `_delta_log`.
    fn dir(&self) -> &Path;

    /// All bytes of a file, or an error; `None` if there is none.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// What a file is now; `None` if there is none.
    fn stamp(&self, name: &str) -> Result<Option<Stamp>>;

    /// All names; `None` if the directory does not exist.
    fn names(&self) -> Result<Option<Vec<String>>>;

    /// Creates `name` with `bytes` unless it exists; durable when it answers
    /// [`Created::Created`]. After an `Err` the file may exist.
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created>;

    /// Makes an existing file and its name durable.
    fn settle(&self, name: &str) -> Result<()>;

    /// Refuses every later change: an fsync beside these files has failed, and the next one of the
    /// same directory would succeed without what was lost. A store without fsync has nothing to do.
    fn distrust(&self) {}
}

/// A `_delta_log` directory on a local disk.
#[derive(Debug)]
pub struct LocalLog {
    dir: PathBuf,
    /// Set once the directories above are known to be durable.
    settled: AtomicBool,
    /// Set by a failed fsync: what can be read may not be what the disk holds.
    poisoned: AtomicBool,
}

impl LocalLog {
    /// The log of the table at `table`. Does no I/O.
    pub fn new(table: &Path) -> Self {
        LocalLog {
            dir: table.join("_delta_log"),
            settled: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        }
    }

    fn guarded<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        self.check_trust()?;
        let result = work();
        if result.as_ref().is_err_and(|e| e.code() == "STORE_SYNC_FAILED") {
            self.distrust();
        }
        let done = result?;
        // An fsync that failed meanwhile may have been told of this change's own loss.
        self.check_trust()?;
        Ok(done)
    }

    fn check_trust(&self) -> Result<()> {
        if !self.poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        Err(Error::unavailable(
            "STORE_POISONED",
            format!(
                "An earlier fsync under `{}` failed; nothing more is written by this process.",
                self.dir.display()
            ),
        )
        .cure("Check the disk and start again."))
    }
}

impl LogFiles for LocalLog {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.dir.join(name);
        absent_is_none(fs::read(&path), &path)
    }

    fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        let path = self.dir.join(name);
        Ok(absent_is_none(fs::metadata(&path), &path)?.map(|found| Stamp {
            size: found.len(),
            inode: found.ino(),
            modified_ns: i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()),
        }))
    }

    fn names(&self) -> Result<Option<Vec<String>>> {
        let Some(entries) = absent_is_none(fs::read_dir(&self.dir), &self.dir)? else {
            return Ok(None);
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|e| io_error(Operation::Read, &self.dir, e))?;
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(Some(names))
    }

    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.guarded(|| {
            if !self.settled.load(Ordering::Acquire) || !self.dir.is_dir() {
                durable::create_dirs(&self.dir, Access::Umask)?;
                settle_upwards(&self.dir)?;
                self.settled.store(true, Ordering::Release);
            }
            durable::create_new(&self.dir.join(name), bytes, Access::Umask)
        })
    }

    fn settle(&self, name: &str) -> Result<()> {
        self.guarded(|| {
            durable::fsync_file(&self.dir.join(name))?;
            durable::fsync_dir(&self.dir)?;
            match self.dir.parent() {
                Some(table) if !table.as_os_str().is_empty() => durable::fsync_dir(table),
                _ => Ok(()),
            }
        })
    }

    fn distrust(&self) {
        self.poisoned.store(true, Ordering::Release);
    }
}

/// Makes a directory durable in all its parents: a process that died may have made any of them
/// without getting that far. Parents far above may not be ours to open; they are old.
pub(crate) fn settle_upwards(dir: &Path) -> Result<()> {
    durable::fsync_dir(dir)?;
    for (above, parent) in dir.ancestors().skip(1).enumerate() {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match durable::fsync_dir(parent) {
            Err(error) if above == 0 || error.code() == "STORE_SYNC_FAILED" => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// `Ok(None)` for a missing file or directory, and for one below what is a file.
pub(crate) fn absent_is_none<T>(result: io::Result<T>, path: &Path) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(io_error(Operation::Read, path, e)),
    }
}

/// A file's modification time in milliseconds; `None` if it is gone.
pub(crate) fn modified_ms(path: &Path) -> Result<Option<i64>> {
    Ok(absent_is_none(fs::metadata(path), path)?
        .map(|found| found.mtime() * 1000 + found.mtime_nsec() / 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn times_are_told_exactly() {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(dir.path());
        fs::create_dir(log.dir()).unwrap();
        let path = log.dir().join("a");
        let since = Duration::new(1_500_000_007, 123_456_789);
        File::create(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH + since).unwrap();
        let stamp = log.stamp("a").unwrap().unwrap();
        assert_eq!((stamp.size, stamp.modified_ns), (0, 1_500_000_007_123_456_789));
        assert_eq!(modified_ms(&path).unwrap(), Some(1_500_000_007_123));
        assert_eq!(log.stamp("b").unwrap(), None);
        assert_eq!(modified_ms(&log.dir().join("b")).unwrap(), None);
    }

    #[test]
    fn only_what_is_not_there_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(dir.path());
        assert_eq!(log.read("a").unwrap(), None);
        assert_eq!(log.names().unwrap(), None);
        fs::create_dir_all(log.dir().join("folder")).unwrap();
        assert!(log.read("folder").is_err());
        assert!(log.settle("missing").is_err());
        assert!(settle_upwards(&log.dir().join("missing")).is_err());
    }

    #[test]
    fn a_log_that_was_deleted_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(&dir.path().join("t"));
        assert_eq!(log.create("a", b"1").unwrap(), Created::Created);
        assert_eq!(log.create("a", b"2").unwrap(), Created::Exists);
        fs::remove_dir_all(dir.path().join("t")).unwrap();
        assert_eq!(log.create("a", b"3").unwrap(), Created::Created);
        assert_eq!(log.read("a").unwrap().unwrap(), b"3");
        log.settle("a").unwrap();
    }

    #[test]
    fn nothing_is_written_after_a_failed_sync() {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(dir.path());
        let failing = |code: &'static str| {
            let result: Result<()> = log.guarded(|| Err(Error::unavailable(code, "It failed.")));
            result.unwrap_err().code()
        };
        assert_eq!(failing("STORE_IO"), "STORE_IO");
        assert_eq!(log.create("a", b"1").unwrap(), Created::Created);
        assert_eq!(failing("STORE_SYNC_FAILED"), "STORE_SYNC_FAILED");
        assert_eq!(log.create("b", b"1").unwrap_err().code(), "STORE_POISONED");
        assert_eq!(log.settle("a").unwrap_err().code(), "STORE_POISONED");
        assert_eq!(log.read("b").unwrap(), None);
    }

    #[test]
    fn a_change_during_which_an_fsync_failed_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(dir.path());
        log.guarded(|| Ok(())).unwrap();
        let during = log.guarded(|| {
            log.distrust();
            Ok(())
        });
        assert_eq!(during.unwrap_err().code(), "STORE_POISONED");
        assert_eq!(log.create("a", b"1").unwrap_err().code(), "STORE_POISONED");
    }
}
