//! `millstream/rebuilt`: the first batch of a checkpoint that was made anew from its table.

use super::Record;
use crate::ids::{BatchId, Digest, QueryId};
use serde::{Deserialize, Serialize};

/// The batch that such a checkpoint begins with. Its intent file is lost; the table still says its
/// digest, and the marks in the sinks are compared with that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebuilt {
    /// The checkpoint's id.
    pub query: QueryId,
    /// The first batch of the checkpoint.
    pub batch: BatchId,
    /// Digest of its intent as the table has it. Where only the mark is left, its 48 bits at the
    /// end and zeros before.
    pub digest: Digest,
    /// Digest of `offsets/N` as it was written, which no intent repeats; none in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offsets: Option<Digest>,
}

impl Record for Rebuilt {
    const KIND: &'static str = "rebuilt";
    const VERSION: u64 = 2;
}
