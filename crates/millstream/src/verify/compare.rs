//! One batch against the source: rows that are lost, twice or made up, by topic, partition and
//! offset.
//!
//! What may be said depends on what the source still has. Compaction takes records away that the
//! batch has read, so a row without a record is a phantom only where the source still has as many
//! records as the batch read; a record without a row is lost only where the query makes a row of
//! it. The pipeline's own plan says that exactly; without it, it is said of batches in which every
//! record made a row, and the others are counted.

use super::chain::offsets;
use super::lives::Lives;
use super::places::Places;
use super::report::Finding;
use millstream_core::log::LedgerEntry;
use millstream_core::offsets::TopicPartition;

/// Places named one by one, of a batch and a kind; the rest is counted.
const NAMED_MAX: usize = 20;

/// What the source still says about one batch.
#[derive(Debug, Default)]
pub struct SourceView {
    /// The offsets that were compared: partition, first, end.
    pub window: Vec<(TopicPartition, i64, i64)>,
    /// Whether that is all the batch read.
    pub whole: bool,
    /// Records that the batch has read, if they were there: without those of aborted transactions,
    /// where it is not known whether the query reads them.
    pub certain: Places,
    /// Records that it may have read.
    pub possible: Places,
    /// The rows that the query makes of them; `None` where the query is not known.
    pub rows: Option<Places>,
}

/// Why rows may be missing that the stream has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// For no reason: they are lost.
    None,
    /// Somebody else changed rows of the table, who may have deleted them.
    Others,
    /// Entries of the log that would say who deleted them are cleaned up.
    Forgotten,
}

impl Excuse {
    /// What it means that rows of a batch are missing.
    pub fn finding(self, batch: u64, what: String) -> Finding {
        match self {
            Excuse::None => Finding::violation(batch, what),
            Excuse::Others => {
                Finding::note(batch, format!("{what}; others have changed the table's rows"))
            }
            Excuse::Forgotten => Finding::unknown(
                batch,
                format!(
                    "{what}; who took them away is not known, as older entries of the log are gone"
                ),
            ),
        }
    }
}

/// Compares the rows of a table with what the source says.
pub fn compare(
    entry: &LedgerEntry,
    table: &Places,
    lives: &Lives,
    view: &SourceView,
    excuse: Excuse,
) -> Vec<Finding> {
    let sum = |rows: &Option<Vec<u64>>| rows.as_ref().map(|rows| rows.iter().sum::<u64>());
    let mut comparison = Comparison {
        table,
        view,
        read: sum(&entry.rows_in).filter(|_| view.whole),
        made: sum(&entry.rows_out),
        every_record: entry.rows_in.is_some() && sum(&entry.rows_in) == sum(&entry.rows_out),
        lost: Named::default(),
        without_row: Named::default(),
        again: Named::default(),
        phantoms: Named::default(),
        unprovable: 0,
        there: 0,
    };
    for (partition, from, to) in &view.window {
        let at = lives.of_batch(entry.batch.0, partition);
        comparison.partition(partition, &at, *from, *to);
    }
    comparison.findings(entry.batch.0, excuse)
}

/// Places, the first of them named.
#[derive(Debug, Default)]
struct Named {
    count: u64,
    texts: Vec<String>,
}

impl Named {
    fn add(&mut self, count: u64, text: impl FnOnce() -> String) {
        self.count += count;
        if self.texts.len() < NAMED_MAX {
            self.texts.push(text());
        }
    }

    fn into_findings(self, finding: impl Fn(String) -> Finding, what: &str) -> Vec<Finding> {
        let more = self.count.saturating_sub(self.texts.len() as u64);
        let mut findings: Vec<Finding> = self.texts.into_iter().map(&finding).collect();
        if more > 0 {
            findings.push(finding(format!("and {more} more {what}")));
        }
        findings
    }
}

struct Comparison<'a> {
    table: &'a Places,
    view: &'a SourceView,
    /// Records the batch read, where all of its offsets are compared.
    read: Option<u64>,
    /// Rows it made.
    made: Option<u64>,
    /// Whether it made as many rows as it read records.
    every_record: bool,
    lost: Named,
    /// Records without a row, of which it is not known whether they should have one.
    without_row: Named,
    again: Named,
    phantoms: Named,
    /// Rows without a record, where compaction may have taken it.
    unprovable: u64,
    /// Rows in the compared offsets.
    there: u64,
}

impl Comparison<'_> {
    /// The source still has every record that the batch read.
    fn is_intact(&self) -> bool {
        self.read == Some(self.view.possible.len()) || self.read == Some(self.view.certain.len())
    }

    /// The query leaves records of aborted transactions out.
    fn reads_committed(&self) -> bool {
        self.read == Some(self.view.certain.len())
            && self.view.certain.len() != self.view.possible.len()
    }

    /// `at` is the partition's place in the table.
    fn partition(&mut self, partition: &TopicPartition, at: &TopicPartition, from: i64, to: i64) {
        let (table, view) = (self.table, self.view);
        for offset in table.range(at, from, to) {
            let have = table.count(at, offset);
            self.there += u64::from(have);
            self.row(partition, offset, have);
        }
        // Records, or rows of them, that the table does not have at all.
        let wanted = view.rows.as_ref().unwrap_or(&view.certain);
        for offset in wanted.range(partition, from, to) {
            if table.count(at, offset) > 0 {
                continue;
            }
            let lost = || format!("{partition} offset {offset} is lost");
            match &view.rows {
                Some(rows) => self.lost.add(rows.count(partition, offset).into(), lost),
                None if self.every_record => self.lost.add(1, lost),
                None => self.without_row.add(1, || format!("{partition} offset {offset}")),
            }
        }
    }

    /// A place that the table has `have` times.
    fn row(&mut self, partition: &TopicPartition, offset: i64, have: u32) {
        let place = || format!("{partition} offset {offset}");
        if let Some(rows) = &self.view.rows {
            let want = rows.count(partition, offset);
            if have < want {
                let text = || format!("{} is lost {} of {want} times", place(), want - have);
                return self.lost.add(u64::from(want - have), text);
            }
            if want > 0 {
                if have > want {
                    let text = || format!("{} is there {have} times instead of {want}", place());
                    self.again.add(u64::from(have - want), text);
                }
                return;
            }
        }
        if self.view.possible.count(partition, offset) == 0 {
            if self.is_intact() {
                let text = || format!("{} is a phantom: the source has no record there", place());
                self.phantoms.add(u64::from(have), text);
            } else {
                self.unprovable += 1;
            }
        } else if self.view.rows.is_some() {
            let text = || format!("{} is a phantom: the query makes no row of it", place());
            self.phantoms.add(u64::from(have), text);
        } else if self.reads_committed() && self.view.certain.count(partition, offset) == 0 {
            let text = || format!("{} is a phantom: its transaction was aborted", place());
            self.phantoms.add(u64::from(have), text);
        }
    }

    fn findings(self, batch: u64, excuse: Excuse) -> Vec<Finding> {
        let violation = |what: String| Finding::violation(batch, what);
        let missing = |what: String| excuse.finding(batch, what);
        let mut findings = Vec::new();
        let certain = self.view.certain.len();
        if let Some(read) = self.read.filter(|read| *read < certain) {
            findings
                .push(violation(format!("it read {read} records where the source has {certain}")));
        }
        // Aborted records are certain only once the counts say that the query reads them.
        let by_count = match self.made {
            Some(made) if self.view.rows.is_none() && self.view.whole => {
                made.saturating_sub(self.there).saturating_sub(self.lost.count)
            }
            _ => 0,
        };
        if by_count > 0 {
            let among = match self.without_row.texts.as_slice() {
                [] => String::new(),
                some => format!(", among the records without one: {}", some.join(", ")),
            };
            findings.push(missing(format!("{by_count} of its rows are lost{among}")));
        }
        let gone_max = self.read.map(|read| read.saturating_sub(certain));
        if let Some(gone_max) = gone_max.filter(|most| self.unprovable > *most) {
            findings.push(violation(format!(
                "{} rows have no record in the source, from which no more than {gone_max} of the \
                 batch's records are gone",
                self.unprovable
            )));
        }
        findings.extend(self.lost.into_findings(missing, "lost rows"));
        findings.extend(self.again.into_findings(violation, "rows that are there again"));
        findings.extend(self.phantoms.into_findings(violation, "phantoms"));
        findings
    }
}

/// The ranges of a batch, partition by partition.
pub(super) fn read_by(entry: &LedgerEntry) -> impl Iterator<Item = (TopicPartition, i64, i64)> {
    let ranges = entry.sources.iter().flatten().filter_map(|range| {
        let (start, end) = (offsets(&range.start.0)?, offsets(&range.end.0)?);
        let pairs: Vec<_> = end
            .0
            .into_iter()
            .filter_map(|(p, to)| start.get(&p).map(|from| (p, from, to)))
            .filter(|(_, from, to)| from < to)
            .collect();
        Some(pairs)
    });
    ranges.flatten()
}
