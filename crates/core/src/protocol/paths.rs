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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_has_its_place() {
        let (batch, id) = (BatchId(7), Uuid::from_u128(1));
        let uuid = "00000000-0000-0000-0000-000000000001";
        for (path, place) in [
            (offsets(batch), "offsets/7".to_owned()),
            (commits(batch), "commits/7".to_owned()),
            (source_start(2), "sources/2/0".to_owned()),
            (identity(0), "millstream/identity".to_owned()),
            (identity(3), "millstream/identity.3".to_owned()),
            (lease(Epoch(4)), "millstream/lease/4".to_owned()),
            (intent(id), format!("millstream/intents/{uuid}")),
            (prepared_dir(batch), "millstream/prepared/7".to_owned()),
            (prepared(batch, AttemptId(id)), format!("millstream/prepared/7/{uuid}")),
            (ledger(batch), "millstream/ledger/7".to_owned()),
            (ledger_segment(BatchId(3), batch), "millstream/ledger/3-7".to_owned()),
        ] {
            assert_eq!(path, place);
        }
    }

    #[test]
    fn names_say_what_they_are_in_one_form_only() {
        let revisions = ["identity", "identity.3", "identity.0", "identity.03", "identity3", "id"];
        let found = revisions.map(identity_revision);
        assert_eq!(found, [Some(0), Some(3), None, None, None, None]);
        let range = |name| segment_range(name).map(|(first, last)| (first.0, last.0));
        let names = ["3-7", "3-3", "7-3", "3-", "-3", "03-7", "3"];
        assert_eq!(names.map(range), [Some((3, 7)), Some((3, 3)), None, None, None, None, None]);
        let names = ["10", "2", "02", "+3", ".2.crc", ""].map(str::to_owned);
        assert_eq!(numbers(&names), [2, 10]);
    }
}
