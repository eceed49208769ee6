//! What the audit knows about a table and a checkpoint, without saying how it was read.

use millstream_core::log::LedgerEntry;
use std::collections::{BTreeMap, BTreeSet};

/// A data file as the table's log names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFacts {
    /// Path as in the log.
    pub path: String,
    /// Rows by its statistics, deleted ones taken off.
    pub rows: Option<u64>,
    /// Bytes.
    pub bytes: u64,
    /// Whether the action changes the table's rows.
    pub data_change: bool,
}

/// The batch that a commit of the table belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMark {
    /// Its number, from `txn`.
    pub batch: u64,
    /// The attempt, where our commit says so.
    pub attempt: Option<String>,
    /// Digest of the intent in hexadecimal, where our commit says so.
    pub digest: Option<String>,
    /// Digest of the intent of the batch before.
    pub previous: Option<String>,
    /// Rows that the commit says it adds, where it is ours.
    pub rows: Option<u64>,
}

/// One entry of the table's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitFacts {
    /// Table version.
    pub version: u64,
    /// Name of the operation, from `commitInfo`.
    pub operation: String,
    /// The batch of the audited query that this commit holds.
    pub mark: Option<BatchMark>,
    /// Whether another stream made it: an application that numbers its own writes.
    pub other_stream: bool,
    /// Files added.
    pub added: Vec<FileFacts>,
    /// Files removed: path, and whether rows went.
    pub removed: Vec<(String, bool)>,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TableFacts {
    /// Newest version.
    pub version: u64,
    /// Log entries in ascending order, as far back as the log reaches without a hole.
    pub commits: Vec<CommitFacts>,
    /// Newest batch of the query by `txn`.
    pub txn: Option<u64>,
    /// Paths of the live files, with their sizes on disk (`None`: missing).
    pub live: BTreeMap<String, Option<u64>>,
}

impl TableFacts {
    /// Whether the log reaches back to the table's beginning.
    pub fn is_whole(&self) -> bool {
        self.commits.first().is_some_and(|c| c.version == 0)
    }
}

/// How far a checkpoint had come when the tables had been looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Since {
    /// Newest `offsets/N`.
    pub planned: Option<u64>,
    /// Newest `commits/N`.
    pub completed: Option<u64>,
}

/// A checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckpointFacts {
    /// Newest `commits/N`.
    pub completed: Option<u64>,
    /// Newest `offsets/N` and `commits/N`, looked at again after the tables: a query may run
    /// meanwhile. `None` if not looked at.
    pub since: Option<Since>,
    /// What each batch has read: the ledger, and what `offsets` says of batches that another
    /// engine completed.
    pub ledger: BTreeMap<u64, LedgerEntry>,
    /// Those of the batches that only `offsets` speaks of.
    pub derived: BTreeSet<u64>,
    /// Files of the history that cannot be read, and why.
    pub damaged: Vec<String>,
}
