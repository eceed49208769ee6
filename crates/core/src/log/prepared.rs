//! `millstream/prepared/<N>/<attempt>`: everything needed to finish an attempt without executing
//! it again.

use super::Record;
use crate::contract::Staged;
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId, RunId};
use serde::{Deserialize, Serialize};

/// A sealed attempt: its staged data is durable, and this file says all the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prepared {
    /// The checkpoint's id.
    pub query: QueryId,
    /// The batch.
    pub batch: BatchId,
    /// The attempt; the file's name.
    pub attempt: AttemptId,
    /// Digest of the batch's intent.
    pub digest: Digest,
    /// Epoch of the run that executed.
    pub epoch: Epoch,
    /// The run that executed.
    pub run: RunId,
    /// What each sink staged, in commit order.
    pub sinks: Vec<Staged>,
    /// State handles of the attempt; empty for stateless plans.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub state: Vec<serde_json::Value>,
    /// The watermark after this batch; what `commits/N` will say.
    pub next_watermark_ms: i64,
    /// The watermark of each input after this batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub input_watermarks_ms: Vec<i64>,
    /// Counts for the ledger and for progress.
    pub metrics: Metrics,
}

/// Counts of one attempt.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Rows read of each source.
    pub rows_in: Vec<u64>,
    /// Rows staged for each sink, in commit order.
    pub rows_out: Vec<u64>,
    /// Whatever else progress wants to show.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub extra: serde_json::Value,
}

impl Record for Prepared {
    const KIND: &'static str = "prepared";
}
