//! Which files of a checkpoint to look at, and what they say together.
//!
//! A [`Scan`] does no I/O. Its owner asks what it wants, supplies that, and asks again until it
//! wants nothing more (three rounds); then [`Scan::log`] has the facts.

use super::facts::{Damage, IntentFact, LogFact, PreparedFact};
use super::paths;
use crate::contract::Position;
use crate::error::{Error, Result};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use crate::log::{
    CommitFile, Intent, Lease, LedgerEntry, Metadata, OffsetsFile, Planner, Prepared, Rebuilt,
    Record,
};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Something that a scan has to know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Want {
    /// The names in this directory.
    List(String),
    /// The bytes of this file, if it exists.
    Read(String),
}

/// Directories whose names every scan needs.
const DIRECTORIES: [&str; 5] =
    [paths::OFFSETS, paths::COMMITS, paths::LEASES, paths::PREPARED, paths::LEDGER];

/// What is known so far.
#[derive(Debug, Clone, Default)]
pub struct Scan {
    lists: BTreeMap<String, Vec<String>>,
    files: BTreeMap<String, Option<Vec<u8>>>,
}

impl Scan {
    /// A scan that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is wanted next; empty when the scan is complete.
    pub fn wants(&self) -> Vec<Want> {
        let mut wants: Vec<Want> = DIRECTORIES
            .iter()
            .filter(|dir| !self.lists.contains_key(**dir))
            .map(|dir| Want::List((*dir).to_owned()))
            .collect();
        if !wants.is_empty() {
            return wants;
        }
        let mut reads = vec![paths::METADATA.to_owned(), paths::REBUILT.to_owned()];
        if let Some(newest) = self.newest(paths::OFFSETS) {
            reads.push(paths::offsets(newest));
            reads.extend(newest.previous().map(paths::offsets));
            reads.push(paths::ledger(newest));
            let dir = paths::prepared_dir(newest);
            match self.lists.get(&dir) {
                None => wants.push(Want::List(dir)),
                Some(names) => reads.extend(names.iter().map(|n| format!("{dir}/{n}"))),
            }
            if let Ok(Some(reference)) = self.offsets(newest).and_then(|o| o.intent()) {
                reads.push(paths::intent(reference.id));
            }
        }
        reads.extend(self.newest(paths::COMMITS).map(paths::commits));
        reads.extend(self.newest_epoch().map(paths::lease));
        wants.extend(reads.into_iter().filter(|p| !self.files.contains_key(p)).map(Want::Read));
        wants
    }

    /// Supplies the names of a directory.
    pub fn supply_list(&mut self, dir: &str, names: Vec<String>) {
        self.lists.insert(dir.to_owned(), names);
    }

    /// Supplies the bytes of a file, or that there is none.
    pub fn supply_file(&mut self, path: &str, bytes: Option<Vec<u8>>) {
        self.files.insert(path.to_owned(), bytes);
    }

    /// The newest claim.
    pub fn newest_epoch(&self) -> Option<Epoch> {
        self.numbers(paths::LEASES).last().copied().map(Epoch)
    }

    /// The newest intent's number, N.
    pub fn newest_offsets(&self) -> Option<BatchId> {
        self.newest(paths::OFFSETS)
    }

    /// The newest completion's number, M.
    pub fn newest_commits(&self) -> Option<BatchId> {
        self.newest(paths::COMMITS)
    }

    /// The numbers in `offsets` or `commits`, ascending.
    pub fn numbers(&self, dir: &str) -> Vec<u64> {
        self.lists.get(dir).map(|names| paths::numbers(names)).unwrap_or_default()
    }

    /// Looks past a numbered file of `offsets` or `commits`.
    pub fn set_aside(&mut self, dir: &str, number: u64) {
        if let Some(names) = self.lists.get_mut(dir) {
            names.retain(|name| paths::numbers(std::slice::from_ref(name)) != [number]);
        }
    }

    /// The query's id; `None` if there is no `metadata`.
    ///
    /// # Errors
    /// As [`Metadata::decode`].
    pub fn metadata(&self) -> Result<Option<Metadata>> {
        self.bytes(paths::METADATA).map(Metadata::decode).transpose()
    }

    /// `offsets/N` of a batch that the scan has read: the newest or the one before.
    ///
    /// # Errors
    /// As [`OffsetsFile::decode`]; `CHECKPOINT_FILE_GONE` if it is not there.
    pub fn offsets(&self, batch: BatchId) -> Result<OffsetsFile> {
        let path = paths::offsets(batch);
        OffsetsFile::decode(self.bytes(&path).ok_or_else(|| gone(&path))?)
    }

    /// `commits/M` of the newest completion.
    ///
    /// # Errors
    /// As [`CommitFile::decode`]; `CHECKPOINT_FILE_GONE` if it is not there.
    pub fn commit(&self, batch: BatchId) -> Result<CommitFile> {
        let path = paths::commits(batch);
        CommitFile::decode(self.bytes(&path).ok_or_else(|| gone(&path))?)
    }

    /// The full intent of the newest batch; `None` if another engine planned it. Checked against
    /// its digest and against `offsets/N`.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_GONE`, `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`.
    pub fn intent(&self, batch: BatchId) -> Result<Option<Intent>> {
        let offsets = self.offsets(batch)?;
        let Some(reference) = offsets.intent()? else { return Ok(None) };
        let path = paths::intent(reference.id);
        let bytes = self.bytes(&path).ok_or_else(|| gone(&path))?;
        let intent = Intent::decode(bytes).map_err(|e| e.context(&path))?;
        if Digest::of(bytes) != reference.digest {
            return Err(mismatch(&path, "its digest is not the one that `offsets` names"));
        }
        if intent.id != reference.id || intent.batch != batch {
            return Err(mismatch(&path, "it is the intent of another batch"));
        }
        let ends: Vec<Option<Position>> =
            intent.sources.iter().map(|r| r.as_ref().map(|r| r.end.clone())).collect();
        let same_times = offsets.metadata.as_ref().is_some_and(|m| {
            m.timestamp_ms == intent.batch_time_ms && m.watermark_ms == intent.watermark_ms
        });
        if ends != offsets.sources || !same_times {
            return Err(mismatch(&paths::offsets(batch), "it is not what its intent says"));
        }
        Ok(Some(intent))
    }

    /// Digest of the newest batch's intent; of `offsets/N` itself if another engine planned it.
    ///
    /// # Errors
    /// As [`Scan::offsets`].
    pub fn digest(&self, batch: BatchId) -> Result<(Digest, Planner)> {
        let offsets = self.offsets(batch)?;
        if let Some(reference) = offsets.intent()? {
            return Ok((reference.digest, Planner::Millstream));
        }
        if let Some(rebuilt) = self.rebuilt()?.filter(|r| r.batch == batch) {
            return Ok((rebuilt.digest, Planner::Other));
        }
        let bytes = self.bytes(&paths::offsets(batch)).unwrap_or_default();
        Ok((Digest::of(bytes), Planner::Other))
    }

    /// A sealed attempt of the newest batch.
    ///
    /// # Errors
    /// `CHECKPOINT_FILE_GONE`, `CHECKPOINT_FILE_TORN`, `CHECKPOINT_FILE_DAMAGED`.
    pub fn prepared(&self, batch: BatchId, attempt: AttemptId) -> Result<Prepared> {
        let path = paths::prepared(batch, attempt);
        let bytes = self.bytes(&path).ok_or_else(|| gone(&path))?;
        let prepared = Prepared::decode(bytes).map_err(|e| e.context(&path))?;
        let (digest, _) = self.digest(batch)?;
        if (prepared.batch, prepared.attempt, prepared.digest) != (batch, attempt, digest) {
            return Err(mismatch(&path, "it belongs to another batch or attempt"));
        }
        Ok(prepared)
    }

    /// The attempts of the newest batch that are whole and belong to its intent.
    pub fn sealed(&self) -> Vec<Prepared> {
        let Some(newest) = self.newest_offsets() else { return Vec::new() };
        let names = self.lists.get(&paths::prepared_dir(newest)).map(Vec::as_slice);
        let mut sealed: Vec<Prepared> = names
            .unwrap_or_default()
            .iter()
            .filter_map(|name| Uuid::try_parse(name).ok())
            .filter_map(|id| self.prepared(newest, AttemptId(id)).ok())
            .collect();
        sealed.sort_by_key(|p| p.attempt);
        sealed
    }

    /// The newest batch's ledger entry, if it has been written.
    pub fn ledger(&self, batch: BatchId) -> Option<LedgerEntry> {
        LedgerEntry::decode(self.bytes(&paths::ledger(batch))?).ok()
    }

    /// The query's id as other files than `metadata` have it. A claim comes last: it was made under
    /// whatever `metadata` said at that moment.
    pub fn query_elsewhere(&self) -> Option<QueryId> {
        let newest = self.newest_offsets();
        let of_intent = newest.and_then(|newest| Some(self.intent(newest).ok()??.query));
        let rebuilt = || self.rebuilt().ok().flatten().map(|rebuilt| rebuilt.query);
        let of_lease = || {
            let path = self.newest_epoch().map(paths::lease)?;
            Lease::decode(self.bytes(&path)?).ok().map(|lease| lease.query)
        };
        of_intent.or_else(rebuilt).or_else(of_lease)
    }

    /// What the files say together. Whether staged files are still there is for the sinks to say;
    /// the facts start with yes.
    pub fn log(&self) -> LogFact {
        let mut log = LogFact { completed: self.newest_commits(), ..LogFact::default() };
        let newest = self.newest_offsets();
        let listed = |dir: &str| self.lists.get(dir).is_some_and(|names| !names.is_empty());
        log.history = listed(paths::LEDGER) || listed(paths::PREPARED);
        match self.metadata() {
            // Claims, too, are younger than the id they were made under.
            Ok(None) => {
                log.metadata_missing = newest.is_some()
                    || log.completed.is_some()
                    || log.history
                    || listed(paths::LEASES);
            }
            Ok(Some(_)) => {}
            Err(e) => log.damage.push(Damage::new(paths::METADATA, &e)),
        }
        for dir in [paths::OFFSETS, paths::COMMITS] {
            let numbers = self.numbers(dir);
            log.holes.extend(holes(&numbers).map(|n| format!("{dir}/{n}")));
        }
        if let Some(completed) = log.completed
            && let Err(e) = self.commit(completed)
        {
            log.damage.push(Damage::new(paths::commits(completed), &e));
        }
        match (newest, self.rebuilt()) {
            // Without it, the batch it speaks of looks as if its digest were another one.
            (_, Err(e)) => log.damage.push(Damage::new(paths::REBUILT, &e)),
            (Some(newest), Ok(_)) => self.log_newest(newest, &mut log),
            (None, Ok(_)) => {}
        }
        log
    }

    fn log_newest(&self, newest: BatchId, log: &mut LogFact) {
        // The batch before has to be there: it says where this one starts.
        if let Some(before) = newest.previous() {
            let path = paths::offsets(before);
            match self.offsets(before) {
                Ok(_) => {}
                Err(e) if e.code() == GONE => {
                    if !log.holes.contains(&path) && !self.starts_here(newest) {
                        log.holes.push(path);
                    }
                }
                Err(e) => log.damage.push(Damage::new(path, &e)),
            }
        }
        let path = paths::offsets(newest);
        let said = self.offsets(newest).and_then(|_| self.digest(newest));
        match said.and_then(|said| self.intent(newest).map(|_| said)) {
            Err(e) => log.damage.push(Damage::new(path, &e)),
            Ok((digest, planner)) => {
                log.intent = Some(IntentFact { batch: newest, digest, planner });
                log.prepared = self
                    .sealed()
                    .iter()
                    .map(|p| PreparedFact { attempt: p.attempt, staged: true })
                    .collect();
            }
        }
    }

    fn rebuilt(&self) -> Result<Option<Rebuilt>> {
        self.bytes(paths::REBUILT).map(Rebuilt::decode).transpose()
    }

    /// Whether the checkpoint was made anew from its table and begins with this batch.
    fn starts_here(&self, batch: BatchId) -> bool {
        self.rebuilt().is_ok_and(|rebuilt| rebuilt.is_some_and(|r| r.batch == batch))
    }

    fn newest(&self, dir: &str) -> Option<BatchId> {
        self.numbers(dir).last().copied().map(BatchId)
    }

    fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path)?.as_deref()
    }
}

/// Code of a file that another one names and that is not there.
const GONE: &str = "CHECKPOINT_FILE_GONE";

fn gone(path: &str) -> Error {
    Error::corrupt("CHECKPOINT_FILE_GONE", format!("`{path}` is gone."))
        .cure("Restore it from a backup, or run `millstream checkpoint doctor`.")
}

fn mismatch(path: &str, why: &str) -> Error {
    Error::corrupt("CHECKPOINT_FILE_DAMAGED", format!("`{path}` is damaged: {why}."))
        .cure("Restore it from a backup, or run `millstream checkpoint doctor`.")
}

/// Most holes that are listed: a huge number in a file name must not make a huge list.
const HOLES_MAX: usize = 1000;

/// Numbers missing between the first and the last.
fn holes(numbers: &[u64]) -> impl Iterator<Item = u64> {
    numbers
        .windows(2)
        .flat_map(|pair| match pair {
            [a, b] => a.saturating_add(1)..*b,
            _ => 0..0,
        })
        .take(HOLES_MAX)
}

#[cfg(test)]
pub(super) mod tests;
