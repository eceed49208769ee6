//! `millstream/lease/<epoch>`: who claimed the checkpoint.

use super::Record;
use crate::ids::{Epoch, QueryId, RunId};
use serde::{Deserialize, Serialize};

/// One claim on a checkpoint. The highest epoch is the run that may go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// The checkpoint's id.
    pub query: QueryId,
    /// Number of the claim; the file's name.
    pub epoch: Epoch,
    /// The run that claimed.
    pub run: RunId,
    /// Process id, for messages only.
    pub process: u32,
    /// When, by the claimer's clock, for messages only.
    pub claimed_ms: i64,
}

impl Record for Lease {
    const KIND: &'static str = "lease";
}
