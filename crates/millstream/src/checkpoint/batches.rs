//! The files of batches: intents, prepared attempts, completions.

use super::look::named;
use super::{Checkpoint, Placed, create_or_find, history, twins};
use millstream_core::contract::Position;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{BatchId, Digest, QueryId};
use millstream_core::log::{
    CommitFile, INTENT_KEY, Intent, IntentRef, LedgerEntry, OffsetsFile, OffsetsMetadata, Planner,
    Prepared, Rebuilt, Record,
};
use millstream_core::planted::{Mistake, makes};
use millstream_core::protocol::paths;
use millstream_core::{Error, Result};
use millstream_store::Store;
use std::collections::BTreeSet;

/// A batch as `offsets/N` fixes it.
#[derive(Debug, Clone)]
pub struct LoggedBatch {
    /// Its number.
    pub batch: BatchId,
    /// What `offsets/N` says.
    pub offsets: OffsetsFile,
    /// The intent it names; `None` where another engine planned the batch.
    pub intent: Option<Intent>,
    /// Digest of the intent; of the whole `offsets/N` where another engine planned the batch.
    pub digest: Digest,
}

impl LoggedBatch {
    /// Batch time in milliseconds since the epoch.
    pub fn batch_time_ms(&self) -> i64 {
        self.offsets.metadata.as_ref().map_or(0, |m| m.timestamp_ms)
    }

    /// Watermark that the batch uses.
    pub fn watermark_ms(&self) -> i64 {
        self.offsets.metadata.as_ref().map_or(0, |m| m.watermark_ms)
    }

    /// End of every source.
    pub fn ends(&self) -> &[Option<Position>] {
        &self.offsets.sources
    }
}

impl Checkpoint {
    pub(super) async fn numbers(&self, dir: &str) -> Result<BTreeSet<u64>> {
        Ok(paths::numbers(&self.store.list(dir).await?).into_iter().collect())
    }

    /// P4: stores `intent`, then creates `offsets/N` exclusively: whoever wins that creation has
    /// fixed the batch.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` (Fenced) if another run fixed the batch.
    pub async fn log_intent(
        &self,
        intent: Intent,
        mut metadata: OffsetsMetadata,
    ) -> Result<LoggedBatch> {
        let bytes = intent.encode()?;
        let digest = Digest::of(&bytes);
        let path = format!("millstream/intents/{}", intent.id);
        if !makes(Mistake::OffsetsBeforeIntent) {
            self.create_ours(&path, &bytes).await?;
        }
        let named = IntentRef { id: intent.id, digest };
        metadata.conf.set(INTENT_KEY, named.to_string());
        let ends =
            intent.sources.iter().map(|range| range.as_ref().map(|r| r.end.clone())).collect();
        let offsets = OffsetsFile::new(metadata, ends);
        if makes(Mistake::OffsetsBeforeIntent) {
            self.create_sparks("offsets", &intent.batch.to_string(), &offsets.encode()).await?;
            point("P4", Moment::Inside, intent.batch.0);
            self.create_ours(&path, &bytes).await?;
        } else {
            point("P4", Moment::Inside, intent.batch.0);
            self.create_sparks("offsets", &intent.batch.to_string(), &offsets.encode()).await?;
        }
        Ok(LoggedBatch { batch: intent.batch, offsets, intent: Some(intent), digest })
    }

    /// Reads a logged batch with the intent it names.
    ///
    /// # Errors
    /// `Corrupt` for a damaged or missing file, which the message names.
    pub async fn logged(&self, batch: BatchId) -> Result<LoggedBatch> {
        read_logged(&*self.store, self.query(), batch).await
    }

    /// The watermark after a completed batch.
    ///
    /// # Errors
    /// `Corrupt` for a damaged or missing file, which the message names.
    pub async fn completion(&self, batch: BatchId) -> Result<CommitFile> {
        read_completion(&*self.store, batch).await
    }

    /// P9: makes an attempt complete and durable.
    ///
    /// # Errors
    /// What the store says.
    pub async fn seal(&self, prepared: &Prepared) -> Result<()> {
        let path = format!("millstream/prepared/{}/{}", prepared.batch, prepared.attempt);
        self.create_ours(&path, &prepared.encode()?).await
    }

    /// An entry that a run left which died before `commits/N` says the same as this one would.
    async fn check_ledger(&self, path: &str, entry: &LedgerEntry) -> Result<()> {
        self.store.settle(path).await?;
        let there = self.record::<LedgerEntry>(path).await?;
        if there.is_some_and(|there| there.digest == entry.digest) {
            return Ok(());
        }
        Err(Error::corrupt(
            "CHECKPOINT_FILE_DAMAGED",
            format!("{} is the history of another batch.", self.name(path)),
        )
        .cure("The checkpoint is a mixture of two: restore it from one backup."))
    }

    /// P13: the ledger entry, then `commits/N`. Nothing is reported done before this is durable.
    ///
    /// # Errors
    /// `CONCURRENT_STREAM_LOG_UPDATE` (Fenced) if another run completed the batch.
    pub async fn complete(&self, entry: &LedgerEntry, next_watermark_ms: i64) -> Result<()> {
        // The ledger first: with `commits/N` there, nobody would write the entry any more. An
        // entry that is there already is this batch's, from a run that died in between.
        let path = paths::ledger(entry.batch);
        if let Placed::Other = create_or_find(&*self.store, &path, &entry.encode()?).await? {
            self.check_ledger(&path, entry).await?;
        }
        point("P13", Moment::Inside, entry.batch.0);
        let bytes = CommitFile::new(next_watermark_ms).encode();
        self.create_sparks("commits", &entry.batch.to_string(), &bytes).await
    }
}

/// Reads a logged batch of `query` with the intent it names.
///
/// # Errors
/// `CHECKPOINT_BATCH_MISSING` where there is no `offsets/N`, `CHECKPOINT_INTENT_MISSING` or
/// `CHECKPOINT_FILE_DAMAGED` where intent and offsets do not belong together.
pub(super) async fn read_logged(
    store: &dyn Store,
    query: QueryId,
    batch: BatchId,
) -> Result<LoggedBatch> {
    let path = paths::offsets(batch);
    let bytes = store.read(&path).await?.ok_or_else(|| batch_missing(store, &path))?;
    // Who created it may have died before it was durable; everything after builds on it.
    store.settle(&path).await?;
    let decoded = OffsetsFile::decode(&bytes).and_then(|o| Ok((o.intent()?, o)));
    let (reference, offsets) = decoded.map_err(|e| named(store, &path, e))?;
    let Some(reference) = reference else {
        let rebuilt = match store.read(paths::REBUILT).await? {
            Some(bytes) => {
                Some(Rebuilt::decode(&bytes).map_err(|e| named(store, paths::REBUILT, e))?)
            }
            None => None,
        };
        let digest = Digest::of(&bytes);
        let rebuilt = rebuilt.filter(|rebuilt| rebuilt.batch == batch);
        if rebuilt.as_ref().and_then(|rebuilt| rebuilt.offsets).is_some_and(|o| o != digest) {
            let what = format!("is not what `{}` says", paths::REBUILT);
            return Err(mixed_up(store, &path, &what));
        }
        let is_repeated = check_history(store, batch, digest).await?;
        if rebuilt.is_none() && !is_repeated {
            twins::check(store, &path, &bytes).await?;
        }
        let digest = rebuilt.map_or(digest, |rebuilt| rebuilt.digest);
        return Ok(LoggedBatch { batch, offsets, intent: None, digest });
    };
    let intent = named_intent(store, reference, &path).await?;
    let ends: Vec<_> = intent.sources.iter().map(|r| r.as_ref().map(|r| r.end.clone())).collect();
    if intent.batch != batch || intent.query != query || ends != offsets.sources {
        return Err(mixed_up(store, &path, "and the intent it names say different things"));
    }
    Ok(LoggedBatch { batch, offsets, intent: Some(intent), digest: reference.digest })
}

/// Whether the history repeats the file. What another engine planned is repeated by no intent; where
/// this one completed it, the ledger has the digest of the file as it was.
async fn check_history(store: &dyn Store, batch: BatchId, digest: Digest) -> Result<bool> {
    // A damaged entry proves nothing; the doctor names it.
    let entry = history::entry(store, batch).await?;
    let written = entry.filter(|entry| entry.planner == Planner::Other);
    if written.as_ref().is_some_and(|entry| entry.digest != digest) {
        let what = format!("is not what `{}` says", paths::ledger(batch));
        return Err(mixed_up(store, &paths::offsets(batch), &what));
    }
    Ok(written.is_some())
}

async fn named_intent(store: &dyn Store, reference: IntentRef, by: &str) -> Result<Intent> {
    let path = paths::intent(reference.id);
    let bytes = store.read(&path).await?.ok_or_else(|| {
        let message = format!("{}/{path} is missing, which `{by}` names.", store.describe());
        Error::corrupt("CHECKPOINT_INTENT_MISSING", message)
            .cure("Run `millstream checkpoint doctor` on the checkpoint.")
    })?;
    let intent = Intent::decode(&bytes).map_err(|e| named(store, &path, e))?;
    if Digest::of(&bytes) != reference.digest {
        return Err(mixed_up(store, &path, &format!("is not the intent that `{by}` names")));
    }
    Ok(intent)
}

/// `commits/N` of a completed batch.
///
/// # Errors
/// `Corrupt` where it is missing or damaged.
pub(super) async fn read_completion(store: &dyn Store, batch: BatchId) -> Result<CommitFile> {
    let path = paths::commits(batch);
    let bytes = store.read(&path).await?.ok_or_else(|| batch_missing(store, &path))?;
    store.settle(&path).await?;
    let file = CommitFile::decode(&bytes).map_err(|e| named(store, &path, e))?;
    twins::check(store, &path, &bytes).await?;
    Ok(file)
}

fn batch_missing(store: &dyn Store, path: &str) -> Error {
    let message = format!("{}/{path} is missing.", store.describe());
    Error::corrupt("CHECKPOINT_BATCH_MISSING", message)
        .cure("Run `millstream checkpoint doctor` on the checkpoint.")
}

fn mixed_up(store: &dyn Store, path: &str, what: &str) -> Error {
    let message = format!("{}/{path} {what}.", store.describe());
    Error::corrupt("CHECKPOINT_FILE_DAMAGED", message)
        .cure("Run `millstream checkpoint doctor` on the checkpoint.")
}
