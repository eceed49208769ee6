//! What the demo knows to be true: the fate of every offset it produced, kept apart from anything
//! that the engine writes.

use super::orders::{Fate, Order};
use std::collections::BTreeMap;

/// Partition and offset of a record.
pub type Place = (i32, i64);

/// The fate of every record, by place.
#[derive(Debug, Default)]
pub struct Ledger(BTreeMap<Place, Fate>);

/// What an audit found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Findings {
    /// Records that should be there and are not.
    pub lost: u64,
    /// Rows beyond the first for one record.
    pub duplicated: u64,
    /// Rows that no record accounts for, or whose values are not the record's.
    pub phantom: u64,
}

impl Findings {
    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        *self == Findings::default()
    }

    /// Both findings together.
    #[must_use]
    pub fn plus(self, other: Findings) -> Findings {
        Findings {
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            phantom: self.phantom + other.phantom,
        }
    }
}

/// A row of the table, as the audit read it.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRow {
    /// Where the record came from.
    pub place: Place,
    /// The values.
    pub order: Order,
}

impl Ledger {
    /// Notes that the record at `place` has this fate.
    pub fn note(&mut self, place: Place, fate: Fate) {
        self.0.insert(place, fate);
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Number of records that belong into the table, and into the dead letters.
    pub fn expected(&self) -> (usize, usize) {
        let rows = self.0.values().filter(|f| matches!(f, Fate::Row(_))).count();
        let letters = self.0.values().filter(|f| matches!(f, Fate::DeadLetter)).count();
        (rows, letters)
    }

    /// Compares the table with the ledger, as multisets.
    pub fn audit_rows(&self, rows: impl Iterator<Item = TableRow>) -> Findings {
        let seen = rows.map(|row| (row.place, Fate::Row(row.order)));
        self.audit(seen, |fate| matches!(fate, Fate::Row(_)))
    }

    /// Compares the dead letters with the ledger, as multisets.
    pub fn audit_letters(&self, places: impl Iterator<Item = Place>) -> Findings {
        let seen = places.map(|place| (place, Fate::DeadLetter));
        self.audit(seen, |fate| matches!(fate, Fate::DeadLetter))
    }

    fn audit(
        &self,
        seen: impl Iterator<Item = (Place, Fate)>,
        belongs: impl Fn(&Fate) -> bool,
    ) -> Findings {
        let mut findings = Findings::default();
        let mut counts: BTreeMap<Place, u64> = BTreeMap::new();
        for (place, fate) in seen {
            if self.0.get(&place) == Some(&fate) {
                *counts.entry(place).or_default() += 1;
            } else {
                findings.phantom += 1;
            }
        }
        for (place, _) in self.0.iter().filter(|(_, fate)| belongs(fate)) {
            match counts.get(place) {
                None => findings.lost += 1,
                Some(times) => findings.duplicated += times - 1,
            }
        }
        findings
    }

    /// One line for each record: partition, offset, fate.
    pub fn to_csv(&self) -> String {
        let mut out = String::from("partition,offset,fate,order_id,customer,cents\n");
        for ((partition, offset), fate) in &self.0 {
            let line = match fate {
                Fate::Row(o) => {
                    format!("{partition},{offset},row,{},{},{}\n", o.id, o.customer, o.cents)
                }
                Fate::DeadLetter => format!("{partition},{offset},dead-letter,,,\n"),
                Fate::Tombstone => format!("{partition},{offset},tombstone,,,\n"),
            };
            out.push_str(&line);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> Order {
        Order { id: id.into(), customer: "c".into(), cents: 100 }
    }

    fn row(offset: i64, id: &str) -> TableRow {
        TableRow { place: (0, offset), order: order(id) }
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        ledger.note((0, 0), Fate::Row(order("a")));
        ledger.note((0, 1), Fate::DeadLetter);
        ledger.note((0, 2), Fate::Tombstone);
        ledger.note((0, 3), Fate::Row(order("b")));
        ledger
    }

    fn check(rows: &[TableRow], lost: u64, duplicated: u64, phantom: u64) {
        let found = ledger().audit_rows(rows.iter().cloned());
        assert_eq!(found, Findings { lost, duplicated, phantom });
    }

    #[test]
    fn each_kind_of_damage_is_seen() {
        check(&[row(0, "a"), row(3, "b")], 0, 0, 0);
        check(&[row(0, "a")], 1, 0, 0);
        check(&[row(0, "a"), row(3, "b"), row(3, "b"), row(3, "b")], 0, 2, 0);
        check(&[row(0, "a"), row(3, "b"), row(9, "b")], 0, 0, 1);
        check(&[row(0, "a"), row(3, "x")], 1, 0, 1);
        check(&[row(0, "a"), row(3, "b"), row(1, "b"), row(2, "b")], 0, 0, 2);
    }

    #[test]
    fn dead_letters_are_audited_too() {
        let letters = |places: &[Place]| ledger().audit_letters(places.iter().copied());
        assert!(letters(&[(0, 1)]).is_clean());
        assert_eq!(letters(&[]).lost, 1);
        assert_eq!(letters(&[(0, 1), (0, 1)]).duplicated, 1);
        assert_eq!(letters(&[(0, 1), (0, 0)]).phantom, 1);
    }
}
