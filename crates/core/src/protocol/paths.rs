//! Where each file of a checkpoint lies, relative to its directory.

use crate::ids::{AttemptId, BatchId, Epoch};
use uuid::Uuid;

/// Spark's file with the query's id.
pub const METADATA: &str = "metadata";
/// Spark's directory of intents.
pub const OFFSETS: &str = "offsets";
/// Spark's directory of completions.
pub const COMMITS: &str = "commits";
/// Spark's directory of sources.
pub const SOURCES: &str = "sources";
/// Our own directory.
pub const OURS: &str = "millstream";
/// The file whose lock refuses a second process at once.
pub const LOCK: &str = "millstream/lock";
/// Claims.
pub const LEASES: &str = "millstream/lease";
/// Full intents.
pub const INTENTS: &str = "millstream/intents";
/// Sealed attempts, one directory a batch.
pub const PREPARED: &str = "millstream/prepared";
/// History.
pub const LEDGER: &str = "millstream/ledger";
/// What a checkpoint made anew from its table knows of the batch it begins with.
pub const REBUILT: &str = "millstream/rebuilt";
/// Damaged files that were set aside; nothing reads them.
pub const DAMAGED: &str = "millstream/damaged";

/// `offsets/N`.
pub fn offsets(batch: BatchId) -> String {
    format!("{OFFSETS}/{batch}")
}

/// `commits/N`.
pub fn commits(batch: BatchId) -> String {
    format!("{COMMITS}/{batch}")
}

/// `sources/<i>/0`.
pub fn source_start(index: usize) -> String {
    format!("{SOURCES}/{index}/0")
}

/// `millstream/identity`, or `millstream/identity.<n>` for later revisions.
pub fn identity(revision: u64) -> String {
    if revision == 0 { format!("{OURS}/identity") } else { format!("{OURS}/identity.{revision}") }
}

/// Revision number of a file name in `millstream/`, if it is an identity.
pub fn identity_revision(name: &str) -> Option<u64> {
    match name.strip_prefix("identity")? {
        "" => Some(0),
        rest => number(rest.strip_prefix('.')?).filter(|n| *n > 0),
    }
}

/// `millstream/lease/<epoch>`.
pub fn lease(epoch: Epoch) -> String {
    format!("{LEASES}/{epoch}")
}

/// `millstream/intents/<uuid>`.
pub fn intent(id: Uuid) -> String {
    format!("{INTENTS}/{id}")
}

/// `millstream/prepared/<N>`.
pub fn prepared_dir(batch: BatchId) -> String {
    format!("{PREPARED}/{batch}")
}

/// `millstream/prepared/<N>/<attempt>`.
pub fn prepared(batch: BatchId, attempt: AttemptId) -> String {
    format!("{PREPARED}/{batch}/{attempt}")
}

/// `millstream/ledger/<N>`.
pub fn ledger(batch: BatchId) -> String {
    format!("{LEDGER}/{batch}")
}

/// `millstream/ledger/<first>-<last>`.
pub fn ledger_segment(first: BatchId, last: BatchId) -> String {
    format!("{LEDGER}/{first}-{last}")
}

/// First and last batch of a segment's name.
pub fn segment_range(name: &str) -> Option<(BatchId, BatchId)> {
    let (first, last) = name.split_once('-')?;
    Some((BatchId(number(first)?), BatchId(number(last)?))).filter(|(first, last)| first <= last)
}

/// The numbers among file names, ascending. Other names (checksum twins, temporary files, foreign
/// ones) are nobody's here.
pub fn numbers(names: &[String]) -> Vec<u64> {
    let mut found: Vec<u64> = names.iter().filter_map(|n| number(n)).collect();
    found.sort_unstable();
    found
}

/// A decimal number in its only form: no sign, no leading zero.
fn number(text: &str) -> Option<u64> {
    let value = text.parse::<u64>().ok()?;
    (value.to_string() == text).then_some(value)
}
