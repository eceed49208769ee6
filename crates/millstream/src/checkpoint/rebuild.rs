//! `millstream checkpoint rebuild`: a checkpoint made anew from what the table says.
//!
//! The table's log has the query's id, its newest batch, where that batch ended and the digest of
//! its intent. That is enough to go on with the next batch, exactly once.

use super::doctor::write;
use super::lock;
use millstream_core::contract::Position;
use millstream_core::ids::{BatchId, Digest, QueryId};
use millstream_core::log::{
    CommitFile, Conf, Metadata, OffsetsFile, OffsetsMetadata, Rebuilt, Record, SourceStart,
};
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use millstream_store::Store;
use std::sync::Arc;

/// What the table says about the query's newest batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Rebuild {
    /// The query's id: `appId` of its `txn`.
    pub query: QueryId,
    /// The newest batch in the table: `version` of that `txn`.
    pub batch: BatchId,
    /// Digest of its intent, from its commit; or [`Rebuild::digest_of_mark`].
    pub digest: Digest,
    /// Where the batch ended, source by source. Every partition must be in it: one that is not
    /// would start at its beginning again.
    pub ends: Vec<Position>,
    /// When the batch was planned.
    pub batch_time_ms: i64,
    /// Watermark after the batch; 0 for queries without one.
    pub watermark_ms: i64,
    /// Pinned confs.
    pub conf: Conf,
}

impl Rebuild {
    /// The digest to use where only the mark (48 bits) is left of it.
    pub fn digest_of_mark(low_48_bits: u64) -> Digest {
        let mut bytes = [0; 32];
        let (_, low) = bytes.split_at_mut(26);
        for (slot, byte) in low.iter_mut().zip(low_48_bits.to_be_bytes().into_iter().skip(2)) {
            *slot = byte;
        }
        Digest(bytes)
    }
}

/// Writes the checkpoint into an empty directory. `commits/N` is written last: without it the
/// directory is not used, and a second call finds it not empty.
///
/// # Errors
/// `CHECKPOINT_NOT_EMPTY` if anything of a checkpoint is there; `CHECKPOINT_IN_USE`; what the
/// store says.
pub async fn rebuild(store: Arc<dyn Store>, from: &Rebuild) -> Result<()> {
    let _lock = lock(&*store).await?;
    let dirs = [paths::OFFSETS, paths::COMMITS, paths::SOURCES, paths::LEDGER, paths::PREPARED];
    let mut taken = store.exists(paths::METADATA).await?;
    for dir in dirs {
        taken |= !store.list(dir).await?.is_empty();
    }
    if taken {
        return Err(Error::invalid(
            "CHECKPOINT_NOT_EMPTY",
            format!("{} already has files of a checkpoint.", store.describe()),
        )
        .cure("Choose an empty directory, or move the old checkpoint away."));
    }
    write(&*store, paths::METADATA, &Metadata { id: from.query }.encode()).await?;
    for (index, end) in from.ends.iter().enumerate() {
        // Nothing reads a start of a source that has offsets; Spark expects the file.
        let start = SourceStart { position: end.clone() };
        write(&*store, &paths::source_start(index), &start.encode()).await?;
    }
    let metadata = OffsetsMetadata {
        watermark_ms: from.watermark_ms,
        timestamp_ms: from.batch_time_ms,
        conf: from.conf.clone(),
        source_info: None,
    };
    let offsets = OffsetsFile::new(metadata, from.ends.iter().cloned().map(Some).collect());
    let offsets = offsets.encode();
    let rebuilt = Rebuilt {
        query: from.query,
        batch: from.batch,
        digest: from.digest,
        offsets: Some(Digest::of(&offsets)),
    };
    write(&*store, paths::REBUILT, &rebuilt.encode()?).await?;
    write(&*store, &paths::offsets(from.batch), &offsets).await?;
    let commit = CommitFile::new(from.watermark_ms);
    write(&*store, &paths::commits(from.batch), &commit.encode()).await
}
