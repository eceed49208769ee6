//! What each batch has read, from the checkpoint: the ledger, and for batches that another engine
//! completed, of which the ledger knows nothing, Spark's own files.

use super::facts::{CheckpointFacts, Since};
use crate::checkpoint::derived;
use millstream_core::ids::{BatchId, QueryId};
use millstream_core::log::{LedgerEntry, LedgerSegment, Record};
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use std::path::Path;

/// Reads the history of `query` in the checkpoint at `dir`.
pub(super) fn read(dir: &Path, query: QueryId) -> Result<CheckpointFacts> {
    let completed = numbers(&dir.join(paths::COMMITS))?.into_iter().max();
    let mut facts = CheckpointFacts { completed, ..CheckpointFacts::default() };
    read_ledger(dir, &mut facts)?;
    let read = |path: &str| file(&dir.join(path));
    for batch in numbers(&dir.join(paths::OFFSETS))? {
        if facts.ledger.contains_key(&batch) || completed.is_none_or(|last| batch > last) {
            continue;
        }
        match derived(&read, query, BatchId(batch)) {
            Ok(Some(entry)) => {
                facts.derived.insert(batch);
                facts.ledger.insert(batch, entry);
            }
            // Too old: what came before it is purged.
            Ok(None) => {}
            Err(error) => facts.damaged.push(error.context(dir.display()).to_string()),
        }
    }
    Ok(facts)
}

/// How far the checkpoint has come.
pub(super) fn since(dir: &Path) -> Result<Since> {
    let newest = |name| Ok::<_, Error>(numbers(&dir.join(name))?.into_iter().max());
    Ok(Since { planned: newest(paths::OFFSETS)?, completed: newest(paths::COMMITS)? })
}

fn read_ledger(dir: &Path, facts: &mut CheckpointFacts) -> Result<()> {
    let folder = dir.join(paths::LEDGER);
    for name in names(&folder)? {
        let path = folder.join(&name);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let entries: Result<Vec<LedgerEntry>> = if name.contains('-') {
            LedgerSegment::decode(&bytes).map(|segment| segment.entries)
        } else if name.parse::<u64>().is_ok() {
            LedgerEntry::decode(&bytes).map(|entry| vec![entry])
        } else {
            continue;
        };
        match entries {
            Ok(entries) => facts.ledger.extend(entries.into_iter().map(|e| (e.batch.0, e))),
            Err(error) => facts.damaged.push(error.context(path.display()).to_string()),
        }
    }
    Ok(())
}

/// A file's bytes; `None` if it is not there.
fn file(path: &Path) -> Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => {
            let message = format!("`{}` cannot be read.", path.display());
            Err(Error::unavailable("VERIFY_UNREADABLE", message).caused_by(e))
        }
    }
}

fn numbers(dir: &Path) -> Result<Vec<u64>> {
    Ok(names(dir)?.iter().filter_map(|name| name.parse().ok()).collect())
}

/// Names in a directory; none if it does not exist.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match dir.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => {
            let message = format!("`{}` cannot be read.", dir.display());
            return Err(Error::unavailable("VERIFY_UNREADABLE", message).caused_by(e));
        }
    };
    Ok(entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_core::contract::Position;
    use millstream_core::log::{OffsetsFile, OffsetsMetadata, SourceStart};
    use millstream_core::offsets::TopicPartition;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn offsets_of(sources: Value) -> Vec<u8> {
        let metadata = OffsetsMetadata {
            watermark_ms: 0,
            timestamp_ms: 5,
            conf: Default::default(),
            source_info: None,
        };
        OffsetsFile::new(metadata, vec![Some(Position(sources))]).encode()
    }

    #[test]
    fn batches_of_another_engine_are_known_by_its_own_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let start = SourceStart { position: Position(json!({"t": {"0": 3}})) };
        write("sources/0/0", &start.encode());
        write("offsets/0", &offsets_of(json!({"t": {"0": 7}})));
        write("offsets/1", &offsets_of(json!({"t": {"0": 9, "1": 4}})));
        write("offsets/2", &offsets_of(json!({"t": {"0": 20, "1": 4}})));
        write("commits/1", b"v1\n{}");
        let query = QueryId(Uuid::nil());
        let facts = read(dir.path(), query).unwrap();
        assert_eq!((facts.completed, facts.damaged.len()), (Some(1), 0));
        assert_eq!(facts.derived.iter().copied().collect::<Vec<_>>(), [0, 1]);
        let ranges = |batch| {
            let all: Vec<_> = super::super::compare::read_by(&facts.ledger[&batch]).collect();
            all
        };
        let place = |partition| TopicPartition::new("t", partition);
        assert_eq!(ranges(0), [(place(0), 3, 7)]);
        assert_eq!(ranges(1), [(place(0), 7, 9), (place(1), 0, 4)]);
        let since = since(dir.path()).unwrap();
        assert_eq!((since.planned, since.completed), (Some(2), Some(1)));
        // Where it is not known where a batch began, nothing is made up.
        std::fs::remove_file(dir.path().join("sources/0/0")).unwrap();
        let derived = read(dir.path(), query).unwrap().derived;
        assert_eq!(derived.into_iter().collect::<Vec<_>>(), [1]);
        std::fs::remove_file(dir.path().join("offsets/0")).unwrap();
        assert!(read(dir.path(), query).unwrap().ledger.is_empty());
    }
}
