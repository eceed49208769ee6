//! What is deleted after a completed batch (P15), and the bounds of the ledger.
//!
//! Never deleted: the newest `retain + 1` batches (Spark's rule), the sealed attempts of the
//! newest batch, an intent of a batch that is not complete. Deleting goes from old to new, so that
//! an interrupted purge leaves no hole.

use super::Checkpoint;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::BatchId;
use millstream_core::log::{Intent, LedgerEntry, LedgerSegment, OffsetsFile, Record, hadoop_twin};
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// Entries of one ledger segment; twice as many single entries are kept at most.
const SEGMENT_ENTRIES: usize = 100;
/// Most segments kept.
const SEGMENTS_MAX: usize = 100;
/// Most bytes of all segments together, roughly: segments of many partitions are large.
const SEGMENTS_BYTES_MAX: usize = 64 << 20;
/// Intents beyond the retained batches before they are searched for ones that nobody names.
const STRAY_INTENTS_MAX: usize = 32;

impl Checkpoint {
    /// P15: deletes what batches before `newest - retain` left (Spark keeps `retain + 1`), the
    /// prepared attempts of every batch before `newest`, intents that nobody names, and history
    /// beyond its bounds. `newest` is complete.
    ///
    /// # Errors
    /// What the store says; the purge goes on where it stopped after the next batch.
    pub async fn purge(&self, newest: BatchId, retain: u64) -> Result<()> {
        for batch in self.numbers(paths::PREPARED).await?.range(..newest.0) {
            self.purge_prepared(BatchId(*batch)).await?;
        }
        point("P15", Moment::Inside, newest.0);
        if let Some(first_kept) = newest.0.checked_sub(retain) {
            self.purge_sparks(paths::OFFSETS, first_kept).await?;
            self.purge_sparks(paths::COMMITS, first_kept).await?;
            self.has_purged.store(true, Ordering::Relaxed);
        }
        self.purge_stray_intents(newest, retain).await?;
        self.compact_ledger(newest).await
    }

    async fn purge_prepared(&self, batch: BatchId) -> Result<()> {
        let dir = paths::prepared_dir(batch);
        for attempt in self.store.list(&dir).await? {
            self.store.forget(&format!("{dir}/{attempt}")).await?;
        }
        self.store.sweep(&dir).await?;
        self.store.delete_dir(&dir).await?;
        Ok(())
    }

    async fn purge_intent_of(&self, batch: BatchId) -> Result<()> {
        if let Some(id) = self.intent_named_by(batch).await? {
            self.store.forget(&paths::intent(id)).await?;
        }
        Ok(())
    }

    async fn intent_named_by(&self, batch: BatchId) -> Result<Option<Uuid>> {
        let bytes = self.store.read(&paths::offsets(batch)).await?;
        // A damaged old file is deleted like any other; its intent is found as a stray one.
        let offsets = bytes.and_then(|bytes| OffsetsFile::decode(&bytes).ok());
        Ok(offsets.and_then(|o| o.intent().ok().flatten()).map(|named| named.id))
    }

    /// Deletes intents that no `offsets/N` names: their run died, or lost the race for N. One of
    /// an incomplete batch stays, because a slow run may still be about to name it.
    async fn purge_stray_intents(&self, newest: BatchId, retain: u64) -> Result<()> {
        let names = self.store.list(paths::INTENTS).await?;
        let kept = usize::try_from(retain).unwrap_or(usize::MAX).saturating_add(1);
        if names.len() <= kept.saturating_add(STRAY_INTENTS_MAX) {
            return Ok(());
        }
        let mut named = BTreeSet::new();
        for batch in self.numbers(paths::OFFSETS).await? {
            named.extend(self.intent_named_by(BatchId(batch)).await?);
        }
        for id in names.iter().filter_map(|name| Uuid::try_parse(name).ok()) {
            if named.contains(&id) {
                continue;
            }
            let path = paths::intent(id);
            let bytes = self.store.read(&path).await?;
            let intent = bytes.and_then(|bytes| Intent::decode(&bytes).ok());
            if intent.is_some_and(|intent| intent.batch <= newest) {
                self.store.forget(&path).await?;
            }
        }
        Ok(())
    }

    /// Deletes the files of batches before `first_kept`, from old to new. A power failure that
    /// brought back an older file and not the one after it would leave a hole, so that of deletions
    /// that are not durable there is one at most in a directory. This run's last one becomes durable
    /// with the next file that it creates there; what another run has deleted right before the first
    /// purge of this one may not be.
    async fn purge_sparks(&self, dir: &str, first_kept: u64) -> Result<()> {
        let numbers = self.numbers(dir).await?;
        let due: Vec<u64> = numbers.range(..first_kept).copied().collect();
        for batch in &due {
            if dir == paths::OFFSETS {
                self.purge_intent_of(BatchId(*batch)).await?;
            }
            self.store.forget(&format!("{dir}/{}", hadoop_twin(&batch.to_string()))).await?;
            let path = format!("{dir}/{batch}");
            if due.last() == Some(batch) && self.has_purged.load(Ordering::Relaxed) {
                self.store.forget(&path).await?;
            } else {
                self.store.delete(&path).await?;
            }
        }
        Ok(())
    }

    /// Packs the oldest single entries into a segment, and drops the oldest segments beyond the
    /// bounds.
    async fn compact_ledger(&self, newest: BatchId) -> Result<()> {
        let names = self.store.list(paths::LEDGER).await?;
        let singles: Vec<u64> =
            paths::numbers(&names).into_iter().filter(|n| *n <= newest.0).collect();
        if singles.len() < 2 * SEGMENT_ENTRIES {
            return Ok(());
        }
        let packed: Vec<BatchId> =
            singles.iter().take(SEGMENT_ENTRIES).copied().map(BatchId).collect();
        let (Some(first), Some(last)) = (packed.first(), packed.last()) else { return Ok(()) };
        let mut entries = Vec::with_capacity(packed.len());
        for batch in &packed {
            let path = paths::ledger(*batch);
            match self.record::<LedgerEntry>(&path).await? {
                Some(entry) if entry.batch == *batch => entries.push(entry),
                Some(_) => {
                    return Err(Error::corrupt(
                        "CHECKPOINT_FILE_DAMAGED",
                        format!("{} is the history of another batch.", self.name(&path)),
                    ));
                }
                None => {}
            }
        }
        let bytes = LedgerSegment { query: self.query, entries }.encode()?;
        // CRASH: dying before all single entries are deleted leaves them beside the segment;
        // readers take each batch once. A segment that exists already has the same entries.
        let _ = self.store.create(&paths::ledger_segment(*first, *last), &bytes).await?;
        for batch in &packed {
            self.store.forget(&paths::ledger(*batch)).await?;
        }
        self.drop_old_segments(&names, bytes.len()).await
    }

    async fn drop_old_segments(&self, names: &[String], newest_bytes: usize) -> Result<()> {
        let mut segments: Vec<(BatchId, BatchId)> =
            names.iter().filter_map(|name| paths::segment_range(name)).collect();
        segments.sort_unstable();
        let kept = (SEGMENTS_BYTES_MAX / newest_bytes.max(1)).clamp(1, SEGMENTS_MAX);
        // The one that was just written is not in the list.
        let surplus = (segments.len() + 1).saturating_sub(kept);
        for (first, last) in segments.into_iter().take(surplus) {
            self.store.forget(&paths::ledger_segment(first, last)).await?;
        }
        Ok(())
    }
}
