//! What each batch has read, from the checkpoint: the ledger, and for batches that another engine
//! completed, of which the ledger knows nothing, Spark's own files.

use super::chain::offsets;
use super::facts::{CheckpointFacts, Since};
use millstream_core::contract::{Position, SourceRange};
use millstream_core::ids::{BatchId, Digest, Epoch, QueryId};
use millstream_core::log::{
    Intent, LedgerEntry, LedgerSegment, OffsetsFile, Planner, Record, SourceStart,
};
use millstream_core::offsets::Offsets;
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use std::path::Path;

/// Reads the history of `query` in the checkpoint at `dir`.
pub(super) fn read(dir: &Path, query: QueryId) -> Result<CheckpointFacts> {
    let completed = numbers(&dir.join(paths::COMMITS))?.into_iter().max();
    let mut facts = CheckpointFacts { completed, ..CheckpointFacts::default() };
    read_ledger(dir, &mut facts)?;
    for batch in numbers(&dir.join(paths::OFFSETS))? {
        if facts.ledger.contains_key(&batch) || completed.is_none_or(|last| batch > last) {
            continue;
        }
        match derived(dir, query, BatchId(batch)) {
            Ok(Some(entry)) => {
                facts.derived.insert(batch);
                facts.ledger.insert(batch, entry);
            }
            // Too old: what came before it is purged.
            Ok(None) => {}
            Err(error) => facts.damaged.push(error.to_string()),
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

/// The entry of a batch that another engine completed: its ranges are its intent's, where
/// Millstream had planned it, else what lies between two files of `offsets`. Nobody counted.
fn derived(dir: &Path, query: QueryId, batch: BatchId) -> Result<Option<LedgerEntry>> {
    let Some((bytes, file)) = decoded(dir, &paths::offsets(batch), OffsetsFile::decode)? else {
        return Ok(None);
    };
    let mut entry = LedgerEntry {
        query,
        batch,
        digest: Digest::of(&bytes),
        previous: None,
        planner: Planner::Other,
        attempt: None,
        epoch: Epoch(0),
        batch_time_ms: file.metadata.as_ref().map_or(0, |m| m.timestamp_ms),
        sources: Vec::new(),
        rows_in: None,
        rows_out: None,
    };
    let named = file.intent().map_err(|e| e.context(paths::offsets(batch)))?;
    if let Some(named) = named {
        let path = paths::intent(named.id);
        entry.digest = named.digest;
        entry.planner = Planner::Millstream;
        if let Some((bytes, intent)) = decoded(dir, &path, Intent::decode)? {
            if Digest::of(&bytes) != named.digest {
                return Err(Error::corrupt(
                    "CHECKPOINT_FILE_DAMAGED",
                    format!("{path} is not the intent that was logged."),
                ));
            }
            entry.previous = intent.previous;
            entry.sources = intent.sources;
            return Ok(Some(entry));
        }
    }
    let before = match batch.previous() {
        None => Vec::new(),
        Some(before) => match decoded(dir, &paths::offsets(before), OffsetsFile::decode)? {
            None => return Ok(None),
            Some((_, file)) => file.sources,
        },
    };
    for (index, end) in file.sources.into_iter().enumerate() {
        let start = match before.get(index).cloned().flatten() {
            Some(start) => Some(start),
            None => decoded(dir, &paths::source_start(index), SourceStart::decode)?
                .map(|(_, start)| start.position),
        };
        entry.sources.push(match (start, end) {
            (_, None) => None,
            (Some(start), Some(end)) => Some(range(start, end)),
            // As in a checkpoint that was made anew.
            (None, Some(_)) => return Ok(None),
        });
    }
    Ok(Some(entry))
}

/// A range between two positions. A partition that is new in it began at its first offset, which
/// nobody noted: it is taken to be 0.
fn range(start: Position, end: Position) -> SourceRange {
    let both = offsets(&start.0).zip(offsets(&end.0));
    let Some((mut from, to)) = both else { return SourceRange::new(start, end) };
    for partition in to.0.keys() {
        from.0.entry(partition.clone()).or_insert(0);
    }
    SourceRange::new(position(&from).unwrap_or(start), end)
}

fn position(offsets: &Offsets) -> Option<Position> {
    serde_json::from_str(&offsets.to_json()).map(Position).ok()
}

/// A file's bytes and what they say; `None` if it is not there.
fn decoded<T>(
    dir: &Path,
    path: &str,
    decode: impl Fn(&[u8]) -> Result<T>,
) -> Result<Option<(Vec<u8>, T)>> {
    let at = dir.join(path);
    let bytes = match std::fs::read(&at) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => {
            let message = format!("`{}` cannot be read.", at.display());
            return Err(Error::unavailable("VERIFY_UNREADABLE", message).caused_by(e));
        }
    };
    let what = decode(&bytes).map_err(|e| e.context(at.display()))?;
    Ok(Some((bytes, what)))
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
    use millstream_core::log::OffsetsMetadata;
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
