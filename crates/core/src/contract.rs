//! What the batch loop asks of a source and of a sink: the control side only. The data side lives
//! with the engine, which knows Arrow.

use crate::error::{Error, Result};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

/// A source's position in its own JSON: what Spark writes as one line of `offsets/N`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Position(pub serde_json::Value);

/// What one batch reads of one source, in full, as the intent stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRange {
    /// Where the batch starts (inclusive), for every partition it reads.
    pub start: Position,
    /// Where it ends (exclusive).
    pub end: Position,
    /// What else the source needs to read exactly this again: topic ids, leader epochs, recorded
    /// gaps. Opaque to the loop.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub detail: serde_json::Value,
}

impl SourceRange {
    /// From `start` to `end`, for sources that need nothing else to read it again.
    pub fn new(start: Position, end: Position) -> Self {
        SourceRange { start, end, detail: serde_json::Value::Null }
    }

    /// The range that reads nothing, at `position`.
    pub fn empty(position: Position) -> Self {
        SourceRange::new(position.clone(), position)
    }
}

/// How much a source may admit into the next batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Within the source's own options (`maxOffsetsPerTrigger` and its like).
    Options,
    /// Everything there is (`Trigger.Once`).
    None,
}

/// A source's answer to "what is there to read?".
#[derive(Debug, Clone, PartialEq)]
pub struct Admitted {
    /// What the next batch would read; `None` when there is nothing to do.
    pub range: Option<SourceRange>,
    /// The newest position seen, for progress and lag.
    pub latest: Position,
}

/// The control side of a streaming source.
#[async_trait]
pub trait Source: Send + Sync {
    /// Spark's description, for example `KafkaV2[Subscribe[events]]`.
    fn describe(&self) -> String;

    /// What the checkpoint remembers of this source to recognise it at the next start: kind and
    /// the options that choose the data. Holds no secret.
    fn identity(&self) -> serde_json::Value;

    /// The position a new query starts from, by the source's options. Asked once in the life of a
    /// checkpoint; the answer is pinned in `sources/<i>/0`.
    async fn initial_position(&self) -> Result<Position>;

    /// Fixes today's end for an `AvailableNow` run; later [`Source::admit`] calls stay below it.
    async fn pin_available_now(&self) -> Result<()>;

    /// Chooses what the next batch reads, starting at `start`. `detail` is that of the batch
    /// before, `None` for the first batch and after a batch that another engine planned.
    async fn admit(
        &self,
        start: &Position,
        detail: Option<&serde_json::Value>,
        limit: Limit,
    ) -> Result<Admitted>;

    /// The full range of a batch whose `offsets/N` was written by another engine, which stores
    /// ends only. New partitions start at their beginning.
    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange>;

    /// Tells the source that everything before `end` is in the sink and the checkpoint. Advice:
    /// it may fail without harm.
    async fn completed(&self, end: &Position) -> Result<()>;
}

/// Names one attempt of one batch in a sink's own log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitTag {
    /// The checkpoint's id.
    pub query: QueryId,
    /// The batch.
    pub batch: BatchId,
    /// The attempt whose staged data is committed.
    pub attempt: AttemptId,
    /// Digest of the batch's intent.
    pub digest: Digest,
    /// Digest of the intent of the batch before, for `verify`.
    pub previous: Option<Digest>,
    /// Epoch of the run that commits.
    pub epoch: Epoch,
}

/// What one sink's own log says about batch N of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Probe {
    /// The sink does not have batch N.
    Absent,
    /// The sink has batch N with our mark.
    Committed {
        /// The attempt, where the sink's log still names it.
        attempt: Option<AttemptId>,
        /// Low 48 bits of the intent's digest; `None` where the mark is stale or missing (another
        /// engine committed N).
        digest_low_48: Option<u64>,
    },
    /// The sink is further than N: it has batch `newest`.
    Ahead {
        /// The newest batch of this query in the sink.
        newest: BatchId,
    },
}

/// What came of an attempt to commit.
#[derive(Debug, Clone)]
#[must_use]
pub enum CommitOutcome {
    /// This attempt is in the sink's log.
    Committed {
        /// The sink's own number of the commit (Delta: table version).
        version: u64,
    },
    /// Batch N was there already; probe to learn by which attempt.
    AlreadyThere,
    /// The answer was lost: probe, never repeat blindly.
    Unknown(Error),
}

/// What a sink staged for one attempt: the sink's own JSON, kept in `prepared/<N>/<attempt>` so
/// that any later process can finish the commit without executing the batch again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Staged(pub serde_json::Value);

/// The control side of a sink.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Spark's description, for example `DeltaSink[file:/t]`.
    fn describe(&self) -> String;

    /// What the checkpoint remembers of this sink: kind, place, table id. Holds no secret.
    fn identity(&self) -> serde_json::Value;

    /// Whether the sink remembers batches, which is what exactly-once rests on.
    fn is_exactly_once(&self) -> bool;

    /// Whether an attempt is staged where a later run can still commit it. An open transaction
    /// is not: it dies with its run. At most one such sink a flow, and it commits first.
    fn is_staged(&self) -> bool {
        true
    }

    /// Whether what the sink remembers can expire on its own (committed offsets of a group).
    fn may_forget(&self) -> bool {
        false
    }

    /// Whether the sink's own place is there to be asked. One that is not may be elsewhere, with all
    /// its batches: that it answers [`Probe::Absent`] proves nothing.
    fn is_there(&self) -> bool {
        true
    }

    /// Whether everything that an attempt staged is still there.
    async fn staged_is_complete(&self, _staged: &Staged) -> Result<bool> {
        Ok(true)
    }

    /// What the sink's log says about `batch` of `query`.
    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe>;

    /// Commits staged data under `tag` in one atomic step.
    async fn commit(&self, tag: &CommitTag, staged: &Staged) -> Result<CommitOutcome>;

    /// Waits for housekeeping that is under way, at the end of a run. Advice: may fail without
    /// harm, but for a failed fsync (`STORE_SYNC_FAILED`), which ends the run.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Housekeeping after a completed batch (table checkpoints). Advice: may fail without harm, but
    /// for a failed fsync (`STORE_SYNC_FAILED`), which ends the run.
    async fn after_completion(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// A sink that says no more than it must.
    struct Plain;

    #[async_trait]
    impl Sink for Plain {
        fn describe(&self) -> String {
            String::new()
        }

        fn identity(&self) -> serde_json::Value {
            serde_json::Value::Null
        }

        fn is_exactly_once(&self) -> bool {
            true
        }

        async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
            Ok(Probe::Absent)
        }

        async fn commit(&self, _tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
            Err(crate::Error::internal("nobody commits here"))
        }
    }

    #[test]
    fn a_sink_is_staged_and_complete_and_forgets_nothing_unless_it_says_so() {
        assert!(Plain.is_staged() && Plain.is_there() && !Plain.may_forget());
        let staged = Staged(serde_json::Value::Null);
        let complete = pin!(Plain.staged_is_complete(&staged));
        let answer = complete.poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(answer, Poll::Ready(Ok(true))));
    }
}
