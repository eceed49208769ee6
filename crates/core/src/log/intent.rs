//! `millstream/intents/<uuid>`: in full, what a batch will read.

use super::Record;
use crate::contract::SourceRange;
use crate::ids::{BatchId, Digest, Epoch, QueryId, RunId};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// What batch N will read. Spark's `offsets/N` has ends only; this has starts as well, so that
/// new partitions are not re-derived as "earliest now", and what each source needs to recognise
/// its data again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    /// The checkpoint's id.
    pub query: QueryId,
    /// The batch.
    pub batch: BatchId,
    /// Name of this file.
    pub id: Uuid,
    /// Digest of the intent of the batch before ([`IntentRef::digest`], or that of Spark's
    /// `offsets/N-1`); `None` for batch 0.
    pub previous: Option<Digest>,
    /// Epoch of the run that planned.
    pub epoch: Epoch,
    /// The run that planned.
    pub run: RunId,
    /// What `current_timestamp()` answers in this batch; Spark's `batchTimestampMs`.
    pub batch_time_ms: i64,
    /// The watermark that this batch uses; Spark's `batchWatermarkMs`.
    pub watermark_ms: i64,
    /// Watermark of each input, where the plan has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_watermarks_ms: Vec<i64>,
    /// Fingerprint of the plan.
    pub plan: String,
    /// One range a source, in the order of the plan; `None` for a source without an offset yet.
    pub sources: Vec<Option<SourceRange>>,
}

impl Record for Intent {
    const KIND: &'static str = "intent";
}

/// How `offsets/N` names its intent: `"<uuid>:<sha256 of the file>"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentRef {
    /// Name of the file under `millstream/intents/`.
    pub id: Uuid,
    /// Digest of its bytes.
    pub digest: Digest,
}

impl IntentRef {
    /// Parses the conf value; exactly what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (id, digest) = text.split_once(':')?;
        let parsed = IntentRef { id: Uuid::try_parse(id).ok()?, digest: Digest::parse(digest)? };
        (parsed.to_string() == text).then_some(parsed)
    }
}

impl fmt::Display for IntentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.id, self.digest)
    }
}
