//! The history of completed batches: reading `millstream/ledger`, and what another engine's own
//! files say about the batches that it completed.

use super::look::named;
use super::{Checkpoint, create_or_find, twins};
use millstream_core::contract::{Position, SourceRange};
use millstream_core::ids::{BatchId, Digest, Epoch, QueryId};
use millstream_core::log::{
    Intent, LedgerEntry, LedgerSegment, OffsetsFile, Planner, Rebuilt, Record, SourceStart,
};
use millstream_core::offsets::Offsets;
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use millstream_store::Store;
use std::collections::{BTreeMap, BTreeSet};

/// What the history says about one batch; `None` where it is not kept, or not readable: then it
/// proves nothing.
pub(super) async fn entry(store: &dyn Store, batch: BatchId) -> Result<Option<LedgerEntry>> {
    if let Some(bytes) = store.read(&paths::ledger(batch)).await? {
        return Ok(LedgerEntry::decode(&bytes).ok().filter(|entry| entry.batch == batch));
    }
    let names = store.list(paths::LEDGER).await?;
    let segments = names.iter().filter_map(|name| paths::segment_range(name));
    for (first, last) in segments.filter(|(first, last)| (*first..=*last).contains(&batch)) {
        let bytes = store.read(&paths::ledger_segment(first, last)).await?;
        let segment = bytes.and_then(|bytes| LedgerSegment::decode(&bytes).ok());
        let entries = segment.into_iter().flat_map(|segment| segment.entries);
        if let Some(entry) = entries.into_iter().find(|entry| entry.batch == batch) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

/// The history of completed batches, as far back as it is kept, oldest first.
///
/// # Errors
/// `Corrupt` for a damaged file.
pub async fn ledger(store: &dyn Store) -> Result<Vec<LedgerEntry>> {
    let names = store.list(paths::LEDGER).await?;
    let mut entries: BTreeMap<u64, LedgerEntry> = BTreeMap::new();
    for (first, last) in names.iter().filter_map(|name| paths::segment_range(name)) {
        let path = paths::ledger_segment(first, last);
        // One that is gone by now was dropped by a running query.
        let Some(bytes) = store.read(&path).await? else { continue };
        let segment = LedgerSegment::decode(&bytes).map_err(|e| named(store, &path, e))?;
        entries.extend(segment.entries.into_iter().map(|entry| (entry.batch.0, entry)));
    }
    for batch in paths::numbers(&names) {
        let path = format!("{}/{batch}", paths::LEDGER);
        let Some(bytes) = store.read(&path).await? else { continue };
        let entry = LedgerEntry::decode(&bytes).map_err(|e| named(store, &path, e))?;
        entries.insert(batch, entry);
    }
    // An entry is written just before its `commits/N`; until that is there, it is not history.
    let completed = paths::numbers(&store.list(paths::COMMITS).await?).pop();
    Ok(entries.into_values().filter(|e| completed.is_some_and(|m| e.batch.0 <= m)).collect())
}

/// How [`derived`] reads a file of the checkpoint: its bytes by its path below the root, `None`
/// where it is not there.
pub(crate) type ReadFile<'a> = &'a dyn Fn(&str) -> Result<Option<Vec<u8>>>;

/// The entry of a completed batch of which the ledger has none, because another engine completed
/// it: its ranges are its intent's, where this engine had planned it, else what lies between two
/// files of `offsets`. Nobody counted its rows. `None` where it is not known where the batch began:
/// what came before it is purged, or the checkpoint was made anew with it.
///
/// # Errors
/// `Corrupt` for a damaged file, which the message names.
pub(crate) fn derived(
    read: ReadFile<'_>,
    query: QueryId,
    batch: BatchId,
) -> Result<Option<LedgerEntry>> {
    let Some((bytes, file)) = decoded(read, &paths::offsets(batch), OffsetsFile::decode)? else {
        return Ok(None);
    };
    let rebuilt = decoded(read, paths::REBUILT, Rebuilt::decode)?;
    if rebuilt.is_some_and(|(_, rebuilt)| rebuilt.batch == batch) {
        return Ok(None);
    }
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
        if let Some((bytes, intent)) = decoded(read, &path, Intent::decode)? {
            if Digest::of(&bytes) != named.digest {
                return Err(Error::corrupt(
                    "CHECKPOINT_FILE_DAMAGED",
                    format!("`{path}` is not the intent that `{}` names.", paths::offsets(batch)),
                ));
            }
            entry.previous = intent.previous;
            entry.sources = intent.sources;
            return Ok(Some(entry));
        }
    }
    let before = match batch.previous() {
        None => Vec::new(),
        Some(before) => match decoded(read, &paths::offsets(before), OffsetsFile::decode)? {
            None => return Ok(None),
            Some((_, file)) => file.sources,
        },
    };
    for (index, end) in file.sources.into_iter().enumerate() {
        let start = match before.get(index).cloned().flatten() {
            Some(start) => Some(start),
            None => decoded(read, &paths::source_start(index), SourceStart::decode)?
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
    let offsets = |position: &Position| Offsets::parse(&position.0.to_string()).ok();
    let Some((mut from, to)) = offsets(&start).zip(offsets(&end)) else {
        return SourceRange::new(start, end);
    };
    for partition in to.0.keys() {
        from.0.entry(partition.clone()).or_insert(0);
    }
    let from = serde_json::from_str(&from.to_json()).map(Position);
    SourceRange::new(from.unwrap_or(start), end)
}

/// A file's bytes and what they say; `None` if it is not there.
fn decoded<T>(
    read: ReadFile<'_>,
    path: &str,
    decode: impl Fn(&[u8]) -> Result<T>,
) -> Result<Option<(Vec<u8>, T)>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let what = decode(&bytes).map_err(|e| e.context(path))?;
    Ok(Some((bytes, what)))
}

impl Checkpoint {
    /// Writes the history of batches up to `completed` that another engine completed, while its
    /// files still say what they read: Spark deletes them after a hundred batches, and so does
    /// [`Checkpoint::purge`]. A batch whose files are damaged has no history; the doctor names them.
    ///
    /// # Errors
    /// What the store says.
    pub async fn note_batches_of_others(&self, completed: BatchId) -> Result<()> {
        let commits = self.numbers(paths::COMMITS).await?;
        let names = self.store.list(paths::LEDGER).await?;
        let singles: BTreeSet<u64> = paths::numbers(&names).into_iter().collect();
        let segments: Vec<(BatchId, BatchId)> =
            names.iter().filter_map(|name| paths::segment_range(name)).collect();
        let is_known = |batch: u64| {
            let packed = |(first, last): &(BatchId, BatchId)| first.0 <= batch && batch <= last.0;
            singles.contains(&batch) || segments.iter().any(packed)
        };
        for batch in self.numbers(paths::OFFSETS).await?.range(..=completed.0) {
            if is_known(*batch) || !commits.contains(batch) {
                continue;
            }
            let entry = match self.files_of(BatchId(*batch)).await {
                Ok(files) => {
                    let read = |path: &str| Ok(files.get(path).cloned());
                    derived(&read, self.query, BatchId(*batch))
                }
                Err(error) if error.code() == "CHECKPOINT_FILE_DAMAGED" => Err(error),
                Err(error) => return Err(error),
            };
            match entry {
                // An entry of this batch that is there by now says the same, and more.
                Ok(Some(entry)) => {
                    let path = paths::ledger(entry.batch);
                    create_or_find(&*self.store, &path, &entry.encode()?).await?;
                }
                Ok(None) => {}
                Err(error) => {
                    let place = self.describe();
                    tracing::warn!(%place, batch, %error, "the batch of another engine has no history");
                }
            }
        }
        Ok(())
    }

    /// Every file that [`derived`] may ask for. Those of Spark's are as their twins say, because
    /// the history is believed from now on.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_DAMAGED` for a file that its twin was not made of.
    async fn files_of(&self, batch: BatchId) -> Result<BTreeMap<String, Vec<u8>>> {
        let mut wanted = vec![paths::REBUILT.to_owned(), paths::offsets(batch)];
        wanted.extend(batch.previous().map(paths::offsets));
        let mut files = BTreeMap::new();
        while let Some(path) = wanted.pop() {
            let Some(bytes) = self.store.read(&path).await? else { continue };
            let file = OffsetsFile::decode(&bytes).ok();
            let named = file.as_ref().and_then(|file| file.intent().ok().flatten());
            if path == paths::offsets(batch)
                && let Some(file) = &file
            {
                wanted.extend(named.map(|named| paths::intent(named.id)));
                wanted.extend((0..file.sources.len()).map(paths::source_start));
            }
            if named.is_none()
                && [paths::OFFSETS, paths::SOURCES].iter().any(|d| path.starts_with(d))
            {
                twins::check(&*self.store, &path, &bytes).await?;
            }
            files.insert(path, bytes);
        }
        Ok(files)
    }
}
