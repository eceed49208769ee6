//! Reading a checkpoint without claiming it: for `inspect`, `doctor` and `verify`, also while a
//! query runs on it.

use super::history;
use millstream_core::ids::QueryId;
use millstream_core::log::Metadata;
use millstream_core::protocol::{Scan, Want, paths};
use millstream_core::{Error, Result};
use millstream_store::{Access, LocalStore, Store};
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
            let Some(done) = history::entry(store, batch).await? else { continue };
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

/// The query's id; `None` if there is no `metadata`.
///
/// # Errors
/// `Corrupt` if the file is damaged.
pub async fn query_id(store: &dyn Store) -> Result<Option<QueryId>> {
    let Some(bytes) = store.read(paths::METADATA).await? else { return Ok(None) };
    let metadata = Metadata::decode(&bytes);
    metadata.map(|m| Some(m.id)).map_err(|e| named(store, paths::METADATA, e))
}

pub(super) fn named(store: &dyn Store, path: &str, error: Error) -> Error {
    error.context(format!("{}/{path}", store.describe()))
}
