//! Files of purged batches that a run created again.
//!
//! A run that is stopped before it creates `offsets/N` or `commits/N`, and goes on when others have
//! taken over and purged batch N, creates the file once more, and is fenced at its next look at the
//! lease. Its file lies below a hole then, and a hole is refused. The ledger, which outlives the
//! files of its batches by far, proves that batch N was completed without it; such a file is looked
//! past, and the next purge deletes it. A hole without that proof stays one.

use super::paths;
use super::scan::Scan;
use crate::ids::BatchId;
use crate::log::{LedgerEntry, OffsetsFile};

impl Scan {
    /// The files of `dir` (`offsets`, then `commits`) below its last hole, ascending: what has to
    /// be held against the ledger.
    pub fn below_the_last_hole(&self, dir: &str) -> Vec<BatchId> {
        let numbers = self.numbers(dir);
        let after_hole = numbers.windows(2).rposition(|pair| match pair {
            [a, b] => a.saturating_add(1) != *b,
            _ => false,
        });
        let below = after_hole.map_or(0, |at| at + 1);
        numbers.into_iter().take(below).map(BatchId).collect()
    }

    /// Whether one of these files was created again after its batch was purged. `done` is what the
    /// ledger says about the batch, `offsets` what `offsets/N` holds.
    pub fn is_stray(&self, dir: &str, done: &LedgerEntry, offsets: Option<&[u8]>) -> bool {
        if dir == paths::COMMITS {
            return !self.numbers(paths::OFFSETS).contains(&done.batch.0);
        }
        let offsets = offsets.and_then(|bytes| OffsetsFile::decode(bytes).ok());
        let named = offsets.and_then(|offsets| offsets.intent().ok().flatten());
        named.is_some_and(|named| named.digest != done.digest)
    }
}
