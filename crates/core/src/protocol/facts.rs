//! What the decision is made from.

use crate::contract::Probe;
use crate::error::{Error, ErrorKind};
use crate::ids::{AttemptId, BatchId, Digest, Epoch};
use crate::log::Planner;

/// Everything observed at P2.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose checkpoint it is.
    pub lease: LeaseFact,
    /// What the checkpoint's files say.
    pub log: LogFact,
    /// What each sink says, in commit order.
    pub sinks: Vec<SinkFact>,
    /// Whether the plan keeps state, so that a batch is complete only with its attempt's state.
    pub stateful: bool,
}

/// Epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseFact {
    /// The epoch this run claimed.
    pub ours: Epoch,
    /// The newest epoch anybody claimed.
    pub newest: Epoch,
}

/// What the checkpoint's files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFact {
    /// Files that must be whole and are not.
    pub damage: Vec<Damage>,
    /// Files that must be there and are not, by path.
    pub holes: Vec<String>,
    /// Whether `metadata` is missing although there are logs.
    pub metadata_missing: bool,
    /// Whether something of ours proves that batches were completed or sealed.
    pub history: bool,
    /// The newest intent, N.
    pub intent: Option<IntentFact>,
    /// The newest completion, M.
    pub completed: Option<BatchId>,
    /// Sealed attempts of N that are whole and belong to its intent.
    pub prepared: Vec<PreparedFact>,
}

/// A file that cannot be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Its path in the checkpoint.
    pub file: String,
    /// Kind of the decoding error.
    pub kind: ErrorKind,
    /// Code of the decoding error.
    pub code: &'static str,
    /// Its sentence of cause.
    pub why: String,
}

impl Damage {
    /// What a decoder said about `file`.
    pub fn new(file: impl Into<String>, error: &Error) -> Self {
        Damage {
            file: file.into(),
            kind: error.kind(),
            code: error.code(),
            why: error.message().to_owned(),
        }
    }
}

/// The newest intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntentFact {
    /// N.
    pub batch: BatchId,
    /// Digest of the intent file; of `offsets/N` itself if another engine planned the batch.
    pub digest: Digest,
    /// Who planned it.
    pub planner: Planner,
}

/// A sealed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PreparedFact {
    /// The attempt.
    pub attempt: AttemptId,
    /// Whether everything that it staged is still there.
    pub staged: bool,
}

/// What one sink says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinkFact {
    /// Its description, for messages.
    pub name: String,
    /// Whether it remembers batches. One that does not is written at least once and never asked.
    pub remembers: bool,
    /// Whether what it remembers may expire on its own (committed offsets of a Kafka group).
    pub may_forget: bool,
    /// Whether an attempt is staged in files that a later run can still commit. An unstaged one
    /// (an open transaction) dies with its run.
    pub staged: bool,
    /// Its answer about N; about batch 0 where there is no intent yet.
    pub newest: Probe,
    /// Its answer about N−1, where N−1 is complete and N is not.
    pub before: Option<Probe>,
}
