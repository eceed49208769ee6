//! Cleaning the log up: entries that a checkpoint replaces and that are older than the retention.

use super::files::{LogFiles, modified_ms};
use super::names::{self, LogName};
use crate::properties;
use millstream_core::Result;
use millstream_store::{Operation, io_error};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// Files deleted at a time; the rest waits for the next checkpoint.
const DELETIONS_MAX: usize = 2000;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Deletes expired files of the log and returns how many there were. Every version that is not
/// older than the retention can still be read afterwards: nothing at or after the newest expired
/// checkpoint goes.
///
/// # Errors
/// What the disk says; what was deleted until then stays deleted, oldest first.
pub(crate) fn clean_up(
    files: &dyn LogFiles,
    table: &BTreeMap<String, String>,
    now_ms: i64,
) -> Result<usize> {
    if !properties::flag(table, "delta.enableExpiredLogCleanup", true) {
        return Ok(0);
    }
    let retention = properties::duration_ms(table, "delta.logRetentionDuration", 30);
    // Whole days, as Spark counts them.
    let cutoff = now_ms.saturating_sub(retention).div_euclid(DAY_MS) * DAY_MS;
    let names = files.names()?.unwrap_or_default();
    let mut deleted = sweep(files, &names, now_ms)?;
    let mut checkpoints: Vec<u64> = names
        .iter()
        .filter_map(|name| match names::parse(name) {
            LogName::Checkpoint(version) => Some(version),
            _ => None,
        })
        .collect();
    checkpoints.sort_unstable();
    let mut keep_from = None;
    for version in checkpoints {
        let modified = modified_ms(&files.dir().join(names::checkpoint(version)))?;
        if modified.is_some_and(|ms| ms < cutoff) {
            keep_from = Some(version);
        }
    }
    let Some(keep_from) = keep_from else { return Ok(deleted) };
    let mut expired: Vec<(u64, String)> =
        names.into_iter().filter_map(|name| Some((version_of(&name)?, name))).collect();
    expired.retain(|(version, _)| *version < keep_from);
    // Oldest first, so that dying here leaves no hole.
    expired.sort_unstable();
    for (_, name) in expired.into_iter().take(DELETIONS_MAX) {
        let path = files.dir().join(&name);
        if modified_ms(&path)?.is_none_or(|ms| ms >= cutoff) {
            continue;
        }
        for path in [files.dir().join(format!(".{name}.crc")), path] {
            deleted += usize::from(delete(&path)?);
        }
    }
    Ok(deleted)
}

/// Deletes what processes left that died while they were writing a file of the log.
fn sweep(files: &dyn LogFiles, names: &[String], now_ms: i64) -> Result<usize> {
    let mut deleted = 0;
    for name in names.iter().filter(|name| name.starts_with('.') && name.ends_with(".tmp")) {
        let path = files.dir().join(name);
        if modified_ms(&path)?.is_some_and(|ms| ms < now_ms - DAY_MS) {
            deleted += usize::from(delete(&path)?);
        }
    }
    Ok(deleted)
}

fn delete(path: &Path) -> Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(io_error(Operation::Write, path, e)),
    }
}

fn version_of(name: &str) -> Option<u64> {
    match names::parse(name) {
        LogName::Entry(version)
        | LogName::Checkpoint(version)
        | LogName::CheckpointPart { version, .. }
        | LogName::Derived(version) => Some(version),
        LogName::CheckpointV2(_) | LogName::Other => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::files::LocalLog;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    const NOW_MS: i64 = 1_000 * DAY_MS + 5;

    /// A log with these files, each of so many milliseconds since the epoch.
    fn log(files: &[(&str, i64)]) -> (tempfile::TempDir, LocalLog) {
        let dir = tempfile::tempdir().unwrap();
        let log = LocalLog::new(dir.path());
        fs::create_dir(log.dir()).unwrap();
        for (name, modified) in files {
            let since = Duration::from_millis(u64::try_from(*modified).unwrap());
            let file = File::create(log.dir().join(name)).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + since).unwrap();
        }
        (dir, log)
    }

    fn left(log: &LocalLog) -> Vec<String> {
        let mut names = log.names().unwrap().unwrap();
        names.sort();
        names
    }

    /// Whole days of the retention, which is 30 days.
    const CUTOFF: i64 = 970 * DAY_MS;

    #[test]
    fn what_an_expired_checkpoint_replaces_goes_and_nothing_else() {
        let entries: Vec<String> = (0..4).map(names::entry).collect();
        let (two, three) = (names::checkpoint(2), names::checkpoint(3));
        let hidden = format!(".{}.crc", entries[0]);
        let (_dir, log) = log(&[
            (&entries[0], CUTOFF - 1),
            (&hidden, CUTOFF),
            (&entries[1], CUTOFF),
            (&entries[2], CUTOFF - 1),
            (&entries[3], CUTOFF - 1),
            (&two, CUTOFF - 1),
            (&three, CUTOFF),
            ("mine.txt", 0),
        ]);
        assert_eq!(clean_up(&log, &BTreeMap::new(), NOW_MS).unwrap(), 2);
        let mut expected = vec![
            entries[1].clone(),
            entries[2].clone(),
            entries[3].clone(),
            "mine.txt".to_owned(),
            two,
            three,
        ];
        expected.sort();
        assert_eq!(left(&log), expected);
        let off = ("delta.enableExpiredLogCleanup".to_owned(), "false".to_owned());
        assert_eq!(clean_up(&log, &BTreeMap::from([off]), i64::MAX / 2).unwrap(), 0);
        assert_eq!(clean_up(&log, &BTreeMap::new(), NOW_MS + DAY_MS).unwrap(), 3);
        assert_eq!(left(&log), [names::checkpoint(3), entries[3].clone(), "mine.txt".to_owned()]);
    }

    #[test]
    fn what_dead_writers_left_goes_after_a_day() {
        let (_dir, log) = log(&[
            (".a.tmp", NOW_MS - DAY_MS - 1),
            (".b.tmp", NOW_MS - DAY_MS - 1),
            (".c.tmp", NOW_MS - DAY_MS),
            ("d.tmp", 0),
            (".e.crc", 0),
        ]);
        assert_eq!(clean_up(&log, &BTreeMap::new(), NOW_MS).unwrap(), 2);
        assert_eq!(left(&log), [".c.tmp", ".e.crc", "d.tmp"]);
    }

    #[test]
    fn what_cannot_be_deleted_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(delete(dir.path()).is_err());
        assert!(!delete(&dir.path().join("none")).unwrap());
        assert!(
            delete(&File::create(dir.path().join("a")).map(|_| dir.path().join("a")).unwrap())
                .unwrap()
        );
    }
}
