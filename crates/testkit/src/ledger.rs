//! The oracle of exactly-once: what was written, numbered per partition, against what was read.
//!
//! The comparison is one of multisets. Comparing sets would not see duplicates, and comparing
//! counts would not see a loss beside a duplicate.

use std::collections::BTreeMap;
use std::fmt;

/// Examples kept of each kind of violation.
const EXAMPLES: usize = 5;

/// Records written, numbered from 0 per partition without holes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    written: BTreeMap<i32, u64>,
}

/// What an audit found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// Records that should be there.
    pub expected: u64,
    /// Rows that were read.
    pub rows: u64,
    /// Records without a row.
    pub lost: u64,
    /// Rows beyond the first of a record.
    pub duplicated: u64,
    /// Rows of records that were never written.
    pub phantom: u64,
    /// The first few of each kind.
    pub examples: Vec<String>,
}

impl Ledger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// A ledger of a topic whose partitions hold exactly the offsets below these ends.
    pub fn of_ends(ends: impl IntoIterator<Item = (i32, i64)>) -> Self {
        let written = ends.into_iter().map(|(p, end)| (p, u64::try_from(end).unwrap_or(0)));
        Ledger { written: written.collect() }
    }

    /// Enters the next record of a partition and returns its number.
    pub fn next(&mut self, partition: i32) -> u64 {
        let written = self.written.entry(partition).or_insert(0);
        *written += 1;
        *written - 1
    }

    /// Records entered for a partition.
    pub fn len_of(&self, partition: i32) -> u64 {
        self.written.get(&partition).copied().unwrap_or(0)
    }

    /// Records entered.
    pub fn len(&self) -> u64 {
        self.written.values().sum()
    }

    /// Whether nothing was entered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Compares the ledger with rows as (partition, number) or (partition, offset).
    pub fn audit(&self, rows: impl IntoIterator<Item = (i32, i64)>) -> Audit {
        let mut seen: BTreeMap<i32, Vec<u8>> = BTreeMap::new();
        for (partition, written) in &self.written {
            seen.insert(*partition, vec![0; usize::try_from(*written).expect("memory for it")]);
        }
        let mut audit = Audit { expected: self.len(), ..Audit::default() };
        for (partition, number) in rows {
            audit.rows += 1;
            let slot = usize::try_from(number)
                .ok()
                .and_then(|n| seen.get_mut(&partition).and_then(|s| s.get_mut(n)));
            match slot {
                None => {
                    audit.phantom += 1;
                    audit.example("phantom", partition, number);
                }
                Some(0) => {
                    if let Some(slot) = slot {
                        *slot = 1;
                    }
                }
                Some(_) => {
                    audit.duplicated += 1;
                    audit.example("duplicated", partition, number);
                }
            }
        }
        for (partition, seen) in &seen {
            for (number, _) in seen.iter().enumerate().filter(|(_, times)| **times == 0) {
                audit.lost += 1;
                audit.example("lost", *partition, i64::try_from(number).unwrap_or(i64::MAX));
            }
        }
        audit
    }
}

impl Audit {
    /// Whether every record is there exactly once.
    pub fn is_clean(&self) -> bool {
        self.lost == 0 && self.duplicated == 0 && self.phantom == 0
    }

    /// Panics with the findings unless the audit is clean.
    pub fn assert_clean(&self) {
        assert!(self.is_clean(), "{self}");
    }

    fn example(&mut self, kind: &str, partition: i32, number: i64) {
        let of_kind = self.examples.iter().filter(|e| e.starts_with(kind)).count();
        if of_kind < EXAMPLES {
            self.examples.push(format!("{kind} {partition}:{number}"));
        }
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Audit { expected, rows, lost, duplicated, phantom, examples } = self;
        write!(
            f,
            "expected {expected}, rows {rows}: lost {lost}, duplicated {duplicated}, \
             phantom {phantom}"
        )?;
        if !examples.is_empty() {
            write!(f, " ({})", examples.join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new();
        for n in 0..3 {
            assert_eq!(ledger.next(0), n);
        }
        assert_eq!(ledger.next(1), 0);
        ledger
    }

    #[test]
    fn each_record_once_is_clean_in_any_order() {
        let audit = ledger().audit([(1, 0), (0, 2), (0, 0), (0, 1)]);
        assert!(audit.is_clean(), "{audit}");
        assert_eq!((audit.expected, audit.rows), (4, 4));
    }

    #[test]
    fn a_loss_beside_a_duplicate_is_seen_as_both() {
        let audit = ledger().audit([(1, 0), (0, 2), (0, 0), (0, 0)]);
        assert_eq!((audit.lost, audit.duplicated, audit.phantom), (1, 1, 0));
        assert_eq!(audit.examples, ["duplicated 0:0", "lost 0:1"]);
    }

    #[test]
    fn what_was_never_written_is_a_phantom() {
        let rows = [(1, 0), (0, 2), (0, 0), (0, 1), (0, 3), (2, 0), (0, -1)];
        assert_eq!(ledger().audit(rows).phantom, 3);
    }

    #[test]
    #[should_panic(expected = "lost 4")]
    fn assert_clean_says_what_it_found() {
        ledger().audit([]).assert_clean();
    }
}
