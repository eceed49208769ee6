//! `millstream/ledger/..`: the compact history of completed batches, for `verify`.

use super::Record;
use crate::contract::SourceRange;
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use serde::{Deserialize, Serialize};

/// Who planned a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Planner {
    /// This engine: there is an intent.
    Millstream,
    /// Another engine of Spark's formats: `offsets/N` is all there is, and the digest is that of
    /// its bytes.
    Other,
}

/// One completed batch: `millstream/ledger/<N>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerEntry {
    /// The checkpoint's id.
    pub query: QueryId,
    /// The batch.
    pub batch: BatchId,
    /// Digest of its intent.
    pub digest: Digest,
    /// Digest of the intent of the batch before, where it was known.
    pub previous: Option<Digest>,
    /// Who planned it.
    pub planner: Planner,
    /// The attempt that the sinks hold, where they name it.
    pub attempt: Option<AttemptId>,
    /// Epoch of the run that completed it.
    pub epoch: Epoch,
    /// Batch time of the intent.
    pub batch_time_ms: i64,
    /// What it read, one range a source, with what the source remembers of it.
    pub sources: Vec<Option<SourceRange>>,
    /// Rows read of each source; `None` where nobody counted (a batch that another engine
    /// executed).
    pub rows_in: Option<Vec<u64>>,
    /// Rows of each sink; `None` where nobody counted.
    pub rows_out: Option<Vec<u64>>,
}

impl Record for LedgerEntry {
    const KIND: &'static str = "ledger";
}

/// Many completed batches in one file: `millstream/ledger/<first>-<last>`, written when the
/// entries it replaces are old enough, which are then deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSegment {
    /// The checkpoint's id.
    pub query: QueryId,
    /// Entries in ascending order of batch.
    pub entries: Vec<LedgerEntry>,
}

impl Record for LedgerSegment {
    const KIND: &'static str = "ledger-segment";
}
