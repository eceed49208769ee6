//! Third level: topic, partition and offset of every row.

use super::compare::{Excuse, SourceView, compare, read_by};
use super::facts::CheckpointFacts;
use super::lives::Lives;
use super::places::Places;
use super::report::{Finding, Level, LevelReport};
use millstream_core::log::LedgerEntry;
use millstream_core::offsets::TopicPartition;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Repeats and phantoms described one by one; the rest is counted.
const EXAMPLES_MAX: usize = 50;

/// Collects rows and compares them with what the batches read.
pub struct RowAudit {
    checkpoint: Arc<CheckpointFacts>,
    lives: Lives,
    table: Places,
    ranges: BTreeMap<TopicPartition, Vec<(i64, i64)>>,
    rows: u64,
    /// Places of rows that other streams wrote, where this query has read too.
    elsewhere: Places,
    /// Rows of other streams that cannot be compared: which life of their topic they are of is
    /// not known.
    elsewhen: u64,
    /// Whether other streams write to the table, so that rows may be theirs.
    shared: bool,
    /// First batch after which the log says all that was done to the table.
    told_from: u64,
    /// Whether somebody who is no stream may have added rows.
    visited: bool,
    /// Rows of such people, at places that the query has not read.
    visitors: u64,
    /// Rows of batches that the ledger does not tell: too old for it, or in flight.
    beyond: u64,
    repeats: Vec<Repeat>,
    unlisted_repeats: u64,
    phantoms: u64,
    findings: Vec<Finding>,
    /// Batches that were compared with the source.
    compared: BTreeSet<u64>,
    /// Where the query's own plan said how often a row is there.
    settled: BTreeMap<TopicPartition, Vec<(i64, i64)>>,
}

/// A row whose place was there before.
struct Repeat {
    batch: Option<u64>,
    partition: TopicPartition,
    offset: i64,
    file: Arc<str>,
}

impl RowAudit {
    /// An audit against the ledger's ranges.
    pub fn new(checkpoint: Arc<CheckpointFacts>) -> Self {
        let lives = Lives::of(&checkpoint);
        let mut ranges: BTreeMap<TopicPartition, Vec<(i64, i64)>> = BTreeMap::new();
        for entry in checkpoint.ledger.values() {
            for (partition, from, to) in read_by(entry) {
                let partition = lives.of_batch(entry.batch.0, &partition).into_owned();
                let of_partition = ranges.entry(partition).or_default();
                match of_partition.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => of_partition.push((from, to)),
                }
            }
        }
        RowAudit {
            checkpoint,
            lives,
            table: Places::default(),
            ranges,
            rows: 0,
            elsewhere: Places::default(),
            elsewhen: 0,
            shared: false,
            told_from: 0,
            visited: false,
            visitors: 0,
            beyond: 0,
            repeats: Vec::new(),
            unlisted_repeats: 0,
            phantoms: 0,
            findings: Vec::new(),
            compared: BTreeSet::new(),
            settled: BTreeMap::new(),
        }
    }

    /// Takes one row of `file`, which `batch` added.
    pub fn row(
        &mut self,
        batch: Option<u64>,
        file: &Arc<str>,
        partition: &TopicPartition,
        offset: i64,
    ) {
        let place = self.place(batch, partition, offset);
        let partition = place.as_ref();
        let read = self.was_read(partition, offset);
        // Who rewrites files may put rows of several streams together.
        if !read && self.shared && batch.is_none() {
            return;
        }
        // Without a whole ledger they may be of batches too old for it.
        if !read && self.visited && batch.is_none() && self.covers(batch) {
            self.visitors += 1;
            return;
        }
        self.rows += 1;
        if !read {
            if !self.covers(batch) {
                self.beyond += 1;
            } else {
                self.phantoms += 1;
                if self.findings.len() < EXAMPLES_MAX {
                    let what = format!("{partition} offset {offset} was never read (`{file}`)");
                    self.findings.push(Finding::violation(batch, what));
                }
                return;
            }
        }
        if self.table.insert(partition, offset) {
            return;
        }
        if self.repeats.len() < EXAMPLES_MAX {
            let (partition, file) = (partition.clone(), Arc::clone(file));
            self.repeats.push(Repeat { batch, partition, offset, file });
        } else {
            self.unlisted_repeats += 1;
        }
    }

    /// Says that other streams write to the table as well.
    pub fn expect_other_streams(&mut self) {
        self.shared = true;
    }

    /// Says that the log tells what was done to the table from `batch` on only.
    pub fn expect_forgotten_before(&mut self, batch: u64) {
        self.told_from = self.told_from.max(batch);
    }

    fn excuse(&self, batch: u64, others: bool) -> Excuse {
        match (others, batch < self.told_from) {
            (true, _) => Excuse::Others,
            (false, true) => Excuse::Forgotten,
            (false, false) => Excuse::None,
        }
    }

    /// Says that people who are no stream may have added rows of their own.
    pub fn expect_rows_of_others(&mut self) {
        self.visited = true;
    }

    /// Takes one row that another stream wrote. It matters only if this query wrote it as well.
    pub fn row_of_other(&mut self, partition: &TopicPartition, offset: i64) {
        if self.lives.has_several(&partition.topic) {
            self.elsewhen += 1;
        } else if self.was_read(partition, offset) {
            self.elsewhere.insert(partition, offset);
        }
    }

    fn was_read(&self, partition: &TopicPartition, offset: i64) -> bool {
        let ranges = self.ranges.get(partition);
        ranges.is_some_and(|r| r.iter().any(|(from, to)| (*from..*to).contains(&offset)))
    }

    /// The partition in the life of its topic that the row is of. Rows of an unknown batch, which
    /// somebody put into another file, take the first place that is free.
    fn place<'p>(
        &self,
        batch: Option<u64>,
        partition: &'p TopicPartition,
        offset: i64,
    ) -> Cow<'p, TopicPartition> {
        if let Some(batch) = batch.filter(|batch| self.covers(Some(*batch))) {
            return self.lives.of_batch(batch, partition);
        }
        let mut places = self.lives.all(partition).filter(|at| self.was_read(at, offset));
        let first = places.next().unwrap_or(Cow::Borrowed(partition));
        if self.table.count(&first, offset) == 0 {
            return first;
        }
        let free = places.find(|at| self.table.count(at, offset) == 0);
        free.unwrap_or(first)
    }

    /// Whether the ledger says what `batch` read; without a batch, whether it says it of all.
    fn covers(&self, batch: Option<u64>) -> bool {
        self.checkpoint.ledger.contains_key(&batch.unwrap_or(0))
    }

    /// Compares a batch with what its source still says. Call it after the last row.
    pub fn against_source(&mut self, entry: &LedgerEntry, view: &SourceView, others: bool) {
        let excuse = self.excuse(entry.batch.0, others);
        self.findings.extend(compare(entry, &self.table, &self.lives, view, excuse));
        if view.whole {
            self.compared.insert(entry.batch.0);
        }
        if view.rows.is_some() {
            for (partition, from, to) in &view.window {
                let partition = self.lives.of_batch(entry.batch.0, partition).into_owned();
                self.settled.entry(partition).or_default().push((*from, *to));
            }
        }
    }

    /// Adds what is to be said beside the rows.
    pub fn finding(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// The answer. `others` says that somebody else changed rows of the table; `source` what was
    /// compared with the source, in a sentence, if it was asked.
    pub fn finish(mut self, others: bool, source: Option<&str>) -> LevelReport {
        let (twice, unlisted) = self.unsettled_repeats();
        if unlisted > 0 {
            self.findings.push(Finding::violation(None, format!("and {unlisted} more rows")));
        }
        self.written_twice();
        if self.visitors > 0 {
            let what = format!(
                "{} rows are at places that no batch has read, in files that no batch wrote",
                self.visitors
            );
            self.findings.push(Finding::note(None, what));
        }
        if self.elsewhen > 0 {
            let what = format!(
                "{} rows of other streams are of topics that were created again, and cannot be \
                 compared with this query's",
                self.elsewhen
            );
            self.findings.push(Finding::note(None, what));
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
            if self.compared.contains(&entry.batch.0) {
                continue;
            }
            match self.missing(entry) {
                Some(0) => gapless += 1,
                Some(n) => {
                    let excuse = self.excuse(entry.batch.0, others);
                    let what = match excuse {
                        Excuse::None => format!("{n} of the records it read are missing"),
                        _ => format!("{n} rows are gone"),
                    };
                    self.findings.push(excuse.finding(entry.batch.0, what));
                }
                None => (),
            }
        }
        let total = self.checkpoint.ledger.len() - self.compared.len();
        let mut covered = format!("{} rows, {twice} twice, {} phantom; ", self.rows, self.phantoms);
        if total > 0 || source.is_none() {
            covered.push_str(&format!(
                "gaps checked in {gapless} of {total} batches by the ledger's counts; "
            ));
        }
        covered.push_str(source.unwrap_or("the source was not asked"));
        LevelReport::new(Level::Rows, covered, self.findings)
    }

    /// Describes rows that this query and another stream wrote: one topic under two checkpoints.
    fn written_twice(&mut self) {
        let places = self.ranges.iter().flat_map(|(p, r)| r.iter().map(move |(a, b)| (p, *a, *b)));
        let both = places.flat_map(|(partition, from, to)| {
            let theirs = self.elsewhere.range(partition, from, to);
            let both = theirs.filter(|offset| self.table.count(partition, *offset) > 0);
            both.map(move |offset| (partition, offset))
        });
        let mut both = both.peekable();
        let Some((partition, offset)) = both.peek().copied() else { return };
        let first = format!("the first is {partition} offset {offset}");
        let what = format!("{} rows were written by another stream as well; {first}", both.count());
        self.findings.push(Finding::violation(None, what));
    }

    /// Describes the repeats that no plan accounts for: how many there are, and how many of them
    /// and of the phantoms are not described.
    fn unsettled_repeats(&mut self) -> (u64, u64) {
        let within = |ranges: Option<&Vec<(i64, i64)>>, offset: i64| {
            ranges.is_some_and(|r| r.iter().any(|(from, to)| (*from..*to).contains(&offset)))
        };
        let repeats = std::mem::take(&mut self.repeats);
        let open: Vec<Repeat> = repeats
            .into_iter()
            .filter(|r| !within(self.settled.get(&r.partition), r.offset))
            .collect();
        let settled: u64 = self
            .settled
            .iter()
            .flat_map(|(p, ranges)| ranges.iter().map(move |(from, to)| (p, *from, *to)))
            .map(|(p, from, to)| self.table.copies(p, from, to))
            .sum();
        let twice = self.table.len() - self.table.distinct() - settled;
        let unlisted = twice.saturating_sub(open.len() as u64)
            + self.phantoms.saturating_sub(EXAMPLES_MAX as u64);
        for Repeat { batch, partition, offset, file } in open {
            let what = format!("{partition} offset {offset} is there again (`{file}`)");
            self.findings.push(Finding::violation(batch, what));
        }
        (twice, unlisted)
    }

    /// Rows missing of a batch, by what it counted; `None` where nothing was counted.
    fn missing(&self, entry: &LedgerEntry) -> Option<u64> {
        let read: u64 = entry.rows_in.as_ref()?.iter().sum();
        let written: u64 = entry.rows_out.as_ref()?.iter().sum();
        let there: u64 = read_by(entry)
            .map(|(p, from, to)| {
                let p = self.lives.of_batch(entry.batch.0, &p);
                let distinct = self.table.range(&p, from, to).count() as u64;
                // Where every record made a row, a repeat does not stand in for what is lost.
                let copies = if read == written { 0 } else { self.table.copies(&p, from, to) };
                distinct + copies
            })
            .sum();
        Some(written.saturating_sub(there))
    }
}
