//! Third level: topic, partition and offset of every row.
//!
//! Memory is one bit for each offset of the ranges that were read, in chunks, so that a billion
//! records take some 125 MB.

use super::chain::offsets;
use super::facts::CheckpointFacts;
use super::report::{Finding, Level, LevelReport};
use millstream_core::log::LedgerEntry;
use millstream_core::offsets::TopicPartition;
use std::collections::{BTreeMap, HashMap};

const CHUNK_OFFSETS: i64 = 1 << 16;
const WORDS: usize = 1 << 10;
/// Repeats and phantoms described one by one; the rest is counted.
const EXAMPLES_MAX: usize = 50;

/// A set of offsets.
#[derive(Debug, Default)]
struct Seen(HashMap<i64, Box<[u64]>>);

impl Seen {
    /// Adds `offset`; `false` if it was there.
    fn insert(&mut self, offset: i64) -> bool {
        let (chunk, word, bit) = place(offset);
        let words = self.0.entry(chunk).or_insert_with(|| vec![0; WORDS].into_boxed_slice());
        match words.get_mut(word) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                true
            }
            _ => false,
        }
    }

    /// How many of `from..to` are there.
    fn count(&self, from: i64, to: i64) -> u64 {
        (from..to).filter(|offset| self.contains(*offset)).count() as u64
    }

    fn contains(&self, offset: i64) -> bool {
        let (chunk, word, bit) = place(offset);
        self.0.get(&chunk).and_then(|words| words.get(word)).is_some_and(|word| word & bit != 0)
    }
}

fn place(offset: i64) -> (i64, usize, u64) {
    let within = usize::try_from(offset.rem_euclid(CHUNK_OFFSETS)).unwrap_or(0);
    (offset.div_euclid(CHUNK_OFFSETS), within / 64, 1 << (within % 64))
}

/// Collects rows and compares them with what the batches read.
pub struct RowAudit<'a> {
    checkpoint: &'a CheckpointFacts,
    seen: BTreeMap<TopicPartition, Seen>,
    ranges: BTreeMap<TopicPartition, Vec<(i64, i64)>>,
    rows: u64,
    /// Rows of batches that the ledger does not tell: too old for it, or in flight.
    beyond: u64,
    repeats: u64,
    phantoms: u64,
    findings: Vec<Finding>,
}

impl<'a> RowAudit<'a> {
    /// An audit against the ledger's ranges.
    pub fn new(checkpoint: &'a CheckpointFacts) -> Self {
        let mut ranges: BTreeMap<TopicPartition, Vec<(i64, i64)>> = BTreeMap::new();
        for entry in checkpoint.ledger.values() {
            for (partition, from, to) in read_by(entry) {
                let of_partition = ranges.entry(partition).or_default();
                match of_partition.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => of_partition.push((from, to)),
                }
            }
        }
        RowAudit {
            checkpoint,
            seen: BTreeMap::new(),
            ranges,
            rows: 0,
            beyond: 0,
            repeats: 0,
            phantoms: 0,
            findings: Vec::new(),
        }
    }

    /// Takes one row of `file`, which `batch` added.
    pub fn row(&mut self, batch: Option<u64>, file: &str, partition: &TopicPartition, offset: i64) {
        self.rows += 1;
        let read = self.ranges.get(partition);
        if !read.is_some_and(|r| r.iter().any(|(from, to)| (*from..*to).contains(&offset))) {
            if !self.covers(batch) {
                self.beyond += 1;
            } else {
                self.phantoms += 1;
                let what = format!("{partition} offset {offset} was never read (`{file}`)");
                return self.example(batch, what);
            }
        }
        let new = match self.seen.get_mut(partition) {
            Some(seen) => seen.insert(offset),
            None => self.seen.entry(partition.clone()).or_default().insert(offset),
        };
        if !new {
            self.repeats += 1;
            self.example(batch, format!("{partition} offset {offset} is there again (`{file}`)"));
        }
    }

    /// Whether the ledger says what `batch` read; without a batch, whether it says it of all.
    fn covers(&self, batch: Option<u64>) -> bool {
        self.checkpoint.ledger.contains_key(&batch.unwrap_or(0))
    }

    fn example(&mut self, batch: Option<u64>, what: String) {
        if self.findings.len() < EXAMPLES_MAX {
            self.findings.push(Finding::violation(batch, what));
        }
    }

    /// The answer. `others` says that somebody else changed rows of the table.
    pub fn finish(mut self, others: bool) -> LevelReport {
        let unlisted = (self.repeats + self.phantoms).saturating_sub(EXAMPLES_MAX as u64);
        if unlisted > 0 {
            self.findings.push(Finding::violation(None, format!("and {unlisted} more rows")));
        }
        if self.beyond > 0 {
            let what = format!("{} rows are of batches that the ledger does not tell", self.beyond);
            self.findings.push(match self.checkpoint.ledger.contains_key(&0) {
                // A whole ledger leaves only the batch in flight.
                true => Finding::note(None, what),
                false => Finding::unknown(None, what),
            });
        }
        let mut gapless = 0;
        for entry in self.checkpoint.ledger.values() {
            match self.missing(entry) {
                Some(0) => gapless += 1,
                Some(n) if others => self.findings.push(Finding::note(
                    entry.batch.0,
                    format!("{n} rows are gone; others have changed the table's rows"),
                )),
                Some(n) => self.findings.push(Finding::violation(
                    entry.batch.0,
                    format!("{n} of the records it read are missing"),
                )),
                None => (),
            }
        }
        let total = self.checkpoint.ledger.len();
        let covered = format!(
            "{} rows, {} twice, {} phantom; gaps checked in {gapless} of {total} batches \
             (those where every record made a row)",
            self.rows, self.repeats, self.phantoms
        );
        LevelReport::new(Level::Rows, covered, self.findings)
    }

    /// Rows missing of a batch in which every record made one row; `None` for other batches.
    fn missing(&self, entry: &LedgerEntry) -> Option<u64> {
        let read: u64 = entry.rows_in.as_ref()?.iter().sum();
        let written: u64 = entry.rows_out.as_ref()?.iter().sum();
        if read != written {
            return None;
        }
        let there: u64 = read_by(entry)
            .map(|(p, from, to)| self.seen.get(&p).map_or(0, |seen| seen.count(from, to)))
            .sum();
        Some(read.saturating_sub(there))
    }
}

/// The ranges of a batch, partition by partition.
fn read_by(entry: &LedgerEntry) -> impl Iterator<Item = (TopicPartition, i64, i64)> {
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
