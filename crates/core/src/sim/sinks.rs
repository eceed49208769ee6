//! Sinks that remember: a log of commits, created exclusively, and staged files beside it.

use crate::contract::{CommitTag, Probe};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use crate::protocol::invariants::Multiset;
use std::collections::{BTreeMap, BTreeSet};

/// A record: partition and offset.
pub(super) type Row = (u8, u32);

/// Which rows a sink takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Every row.
    All,
    /// Rows that the run's version of the plan cannot decode.
    Dead,
    /// The others.
    Living,
}

impl Takes {
    /// Whether a run of this version of the plan gives the row to this sink.
    pub(super) fn takes(self, row: Row, version: u8) -> bool {
        let (partition, offset) = row;
        let mixed = u32::from(partition) * 31 + offset * 7 + u32::from(version) * 13;
        match self {
            Takes::All => true,
            Takes::Dead => mixed % 5 == 0,
            Takes::Living => mixed % 5 != 0,
        }
    }
}

/// One entry of a sink's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Whose batch it is: a sink remembers by query.
    pub(super) query: QueryId,
    pub(super) batch: BatchId,
    /// Name of the staged files.
    pub(super) attempt: AttemptId,
    /// Our mark; `None` where another engine committed.
    pub(super) digest: Option<Digest>,
    pub(super) epoch: Epoch,
    pub(super) durable: bool,
}

/// A write whose answer was lost and that has not arrived yet.
#[derive(Debug, Clone)]
pub(super) struct Late {
    /// The place in the log that it wants.
    version: usize,
    entry: Entry,
}

/// What a sink answers to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Committed,
    AlreadyThere,
    /// The transaction is not open any more.
    Aborted,
    Unknown,
}

/// What befalls a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Luck {
    Good,
    AnswerLost,
    NeverArrives,
    ArrivesLate,
}

/// A sink.
#[derive(Debug, Clone)]
pub(super) struct SinkModel {
    pub(super) takes: Takes,
    pub(super) staged: bool,
    pub(super) log: Vec<Entry>,
    files: BTreeMap<AttemptId, Vec<Row>>,
    /// Staged files that a power failure takes away.
    unsynced: BTreeSet<AttemptId>,
    /// Open transactions of an unstaged sink.
    open: BTreeSet<AttemptId>,
    late: Vec<Late>,
}

impl SinkModel {
    pub(super) fn new(takes: Takes, staged: bool) -> Self {
        SinkModel {
            takes,
            staged,
            log: Vec::new(),
            files: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            open: BTreeSet::new(),
            late: Vec::new(),
        }
    }

    pub(super) fn stage(&mut self, attempt: AttemptId, rows: Vec<Row>, durable: bool) {
        self.files.insert(attempt, rows);
        if !self.staged {
            self.open.insert(attempt);
        } else if !durable {
            self.unsynced.insert(attempt);
        }
    }

    pub(super) fn has_staged(&self, attempt: AttemptId) -> bool {
        !self.staged || self.files.contains_key(&attempt)
    }

    pub(super) fn delete_staged(&mut self, attempt: AttemptId) {
        self.files.remove(&attempt);
    }

    /// A new producer: open transactions end, and commits of old ones that are still under way
    /// will be refused.
    pub(super) fn fence(&mut self) {
        self.open.clear();
    }

    fn newest(&self, query: QueryId) -> Option<&Entry> {
        self.log.iter().rfind(|entry| entry.query == query)
    }

    pub(super) fn probe(&self, query: QueryId, batch: BatchId) -> Probe {
        match self.newest(query) {
            Some(newest) if newest.batch > batch => Probe::Ahead { newest: newest.batch },
            Some(newest) if newest.batch == batch => Probe::Committed {
                attempt: newest.digest.map(|_| newest.attempt),
                digest_low_48: newest.digest.map(|d| d.low_48_bits()),
            },
            _ => Probe::Absent,
        }
    }

    /// Commits. A staged sink looks for the batch in its log first, unless `blindly`.
    pub(super) fn commit(
        &mut self,
        tag: &CommitTag,
        luck: Luck,
        blindly: bool,
        durable: bool,
    ) -> Answer {
        let held = self.newest(tag.query).is_some_and(|newest| newest.batch >= tag.batch);
        if self.staged && held && !blindly {
            return Answer::AlreadyThere;
        }
        if !self.staged && !self.open.contains(&tag.attempt) {
            return Answer::Aborted;
        }
        let (query, batch, attempt, epoch) = (tag.query, tag.batch, tag.attempt, tag.epoch);
        let entry = Entry { query, batch, attempt, digest: Some(tag.digest), epoch, durable };
        match luck {
            Luck::Good | Luck::AnswerLost => self.append(entry),
            Luck::NeverArrives => {}
            Luck::ArrivesLate => self.late.push(Late { version: self.log.len(), entry }),
        }
        if luck == Luck::Good { Answer::Committed } else { Answer::Unknown }
    }

    /// Another engine commits: by number, without our mark.
    pub(super) fn commit_foreign(
        &mut self,
        query: QueryId,
        batch: BatchId,
        name: AttemptId,
        rows: Vec<Row>,
    ) {
        self.files.insert(name, rows);
        let epoch = Epoch(0);
        self.append(Entry { query, batch, attempt: name, digest: None, epoch, durable: true });
    }

    /// A copy of the query commits: with our mark, of another intent.
    pub(super) fn commit_marked(
        &mut self,
        query: QueryId,
        batch: BatchId,
        attempt: AttemptId,
        digest: Digest,
        rows: Vec<Row>,
    ) {
        self.files.insert(attempt, rows);
        let epoch = Epoch(0);
        let digest = Some(digest);
        self.append(Entry { query, batch, attempt, digest, epoch, durable: true });
    }

    fn append(&mut self, entry: Entry) {
        self.open.remove(&entry.attempt);
        self.log.push(entry);
    }

    pub(super) fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// The oldest late write arrives. The log's next place is created exclusively; a transaction
    /// must still be open. Answers whether it was let in. A store that does not create exclusively
    /// puts it in the place of what is there.
    pub(super) fn land_late(&mut self, exclusively: bool) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let late = self.late.remove(0);
        if !exclusively && let Some(taken) = self.log.get_mut(late.version) {
            *taken = late.entry;
            return true;
        }
        let let_in = if self.staged {
            late.version == self.log.len()
        } else {
            self.open.contains(&late.entry.attempt)
        };
        if let_in {
            self.append(late.entry);
        }
        let_in
    }

    pub(super) fn drop_late(&mut self) {
        self.late.clear();
    }

    /// Goes back to what it was some entries ago.
    pub(super) fn restore(&mut self, entries: usize) {
        self.log.truncate(self.log.len().saturating_sub(entries));
    }

    /// Deletes every file that no entry names. What it keeps untouched for days outlives a write
    /// that is under way for minutes.
    pub(super) fn clean_up(&mut self) {
        let under_way = self.late.iter().map(|late| &late.entry);
        let named: BTreeSet<AttemptId> =
            self.log.iter().chain(under_way).map(|entry| entry.attempt).collect();
        self.files.retain(|attempt, _| named.contains(attempt));
    }

    pub(super) fn lose_power(&mut self) {
        self.log.retain(|entry| entry.durable);
        for attempt in std::mem::take(&mut self.unsynced) {
            self.files.remove(&attempt);
        }
    }

    /// What a reader sees.
    pub(super) fn rows(&self) -> Multiset<Row> {
        let mut seen = Multiset::new();
        for entry in &self.log {
            for row in self.files.get(&entry.attempt).into_iter().flatten() {
                *seen.entry(*row).or_insert(0) += 1;
            }
        }
        seen
    }
}
