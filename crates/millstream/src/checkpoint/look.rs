//! Reading a checkpoint without claiming it: for `inspect`, `doctor` and `verify`, also while a
//! query runs on it.

use millstream_core::ids::{BatchId, QueryId};
use millstream_core::log::{LedgerEntry, LedgerSegment, Metadata, Record};
use millstream_core::protocol::{Scan, Want, paths};
use millstream_core::{Error, Result};
use millstream_store::{Access, LocalStore, Store};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The store of an existing checkpoint directory.
///
/// # Errors
/// `CHECKPOINT_NOT_FOUND` if the directory does not exist or holds nothing of a checkpoint.
pub async fn open_read_only(dir: &Path) -> Result<Arc<dyn Store>> {
    let store: Arc<dyn Store> = Arc::new(LocalStore::new(dir, Access::Owner));
    let names = store.list("").await?;
    let known = [paths::METADATA, paths::OFFSETS, paths::COMMITS, paths::OURS];
    if names.iter().any(|name| known.contains(&name.as_str())) {
        return Ok(store);
    }
    Err(Error::invalid(
        "CHECKPOINT_NOT_FOUND",
        format!("There is no checkpoint in {}.", store.describe()),
    )
    .cure("Name the directory that has `metadata`, `offsets` and `commits` in it."))
}

/// Looks at every file that the decision about the newest batch needs.
///
/// # Errors
/// What the store says. Damaged files are no error here: the scan reports them.
pub async fn scan(store: &dyn Store) -> Result<Scan> {
    let mut scan = Scan::new();
    loop {
        let wants = scan.wants();
        if wants.is_empty() {
            set_strays_aside(store, &mut scan).await?;
            return Ok(scan);
        }
        for want in wants {
            match want {
                Want::List(dir) => scan.supply_list(&dir, store.list(&dir).await?),
                Want::Read(path) => scan.supply_file(&path, store.read(&path).await?),
            }
        }
    }
}

/// Looks past files of purged batches that a run created again (`millstream_core`'s `strays`).
async fn set_strays_aside(store: &dyn Store, scan: &mut Scan) -> Result<()> {
    for dir in [paths::OFFSETS, paths::COMMITS] {
        for batch in scan.below_the_last_hole(dir) {
            let Some(done) = ledger_entry(store, batch).await? else { continue };
            let offsets = store.read(&paths::offsets(batch)).await?;
            if scan.is_stray(dir, &done, offsets.as_deref()) {
                tracing::warn!(
                    file = %format!("{}/{dir}/{batch}", store.describe()),
                    "a run that had been taken over from left this file of a completed batch"
                );
                scan.set_aside(dir, batch.0);
            }
        }
    }
    Ok(())
}

/// What the history says about one batch; `None` where it is not kept, or not readable: then it
/// proves nothing.
async fn ledger_entry(store: &dyn Store, batch: BatchId) -> Result<Option<LedgerEntry>> {
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

/// The query's id; `None` if there is no `metadata`.
///
/// # Errors
/// `Corrupt` if the file is damaged.
pub async fn query_id(store: &dyn Store) -> Result<Option<QueryId>> {
    let Some(bytes) = store.read(paths::METADATA).await? else { return Ok(None) };
    let metadata = Metadata::decode(&bytes);
    metadata.map(|m| Some(m.id)).map_err(|e| named(store, paths::METADATA, e))
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

pub(super) fn named(store: &dyn Store, path: &str, error: Error) -> Error {
    error.context(format!("{}/{path}", store.describe()))
}
