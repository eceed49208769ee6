//! What a bench asks of a finished table: when its commits came, and what is in it.

use serde_json::Value;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// One log entry that added files.
#[derive(Debug, Clone)]
pub struct Commit {
    /// When the entry was created.
    pub at: SystemTime,
    /// Rows that it added, by its statistics.
    pub rows: u64,
    /// Data files that it added.
    pub files: Vec<PathBuf>,
}

/// The commits that added rows, oldest first.
///
/// # Errors
/// The log cannot be read.
pub fn commits(table: &Path) -> io::Result<Vec<Commit>> {
    let log = table.join("_delta_log");
    let mut entries: Vec<PathBuf> = fs::read_dir(&log)?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "json") && is_entry(path))
        .collect();
    entries.sort();
    let mut commits = Vec::new();
    for entry in entries {
        let at = appeared(&entry)?;
        let (mut rows, mut files) = (0, Vec::new());
        for line in fs::read_to_string(&entry)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            let Some(add) = action.get("add") else { continue };
            let path = add.get("path").and_then(Value::as_str).unwrap_or_default();
            files.push(table.join(path));
            rows += rows_of(add);
        }
        if !files.is_empty() {
            commits.push(Commit { at, rows, files });
        }
    }
    Ok(commits)
}

/// When a file got its name: linking and renaming, with which all contenders commit, set the time of the
/// inode's last change, while the time of its last modification is that of the bytes before.
fn appeared(path: &Path) -> io::Result<SystemTime> {
    let metadata = fs::metadata(path)?;
    let (seconds, nanos) = (metadata.ctime(), metadata.ctime_nsec());
    let since = Duration::new(seconds.try_into().unwrap_or(0), nanos.try_into().unwrap_or(0));
    Ok(UNIX_EPOCH + since)
}

/// Version of the newest log entry.
///
/// # Errors
/// The log cannot be read, or is empty.
pub fn last_version(table: &Path) -> io::Result<u64> {
    let entries = fs::read_dir(table.join("_delta_log"))?.flatten().map(|entry| entry.path());
    let versions = entries
        .filter(|path| path.extension().is_some_and(|e| e == "json") && is_entry(path))
        .filter_map(|path| path.file_stem()?.to_str()?.parse().ok());
    versions.max().ok_or_else(|| io::Error::other("an empty log"))
}

fn is_entry(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit())
}

fn rows_of(add: &Value) -> u64 {
    let stats = add.get("stats").and_then(Value::as_str).unwrap_or("{}");
    let stats: Value = serde_json::from_str(stats).unwrap_or_default();
    stats.get("numRecords").and_then(Value::as_u64).unwrap_or(0)
}
