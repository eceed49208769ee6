//! Whoever else works on a checkpoint and on its sinks: vandals, careful operators, other engines.

use super::World;
use crate::contract::{Position, Probe};
use crate::ids::{AttemptId, BatchId, Digest, QueryId};
use crate::log::{CommitFile, Metadata, OffsetsFile, OffsetsMetadata};
use crate::protocol::{Evidence, Repair, Scan, diagnose, paths};
use crate::sim::disk::Disk;
use crate::sim::sinks::{Row, SinkModel};
use serde_json::json;

/// Repairs in a row, with nothing damaged and no backup put back between them, after which a run
/// still refuses: then the doctor does not help.
const CURES_MAX: u32 = 8;

impl World {
    /// Damages files, puts an old checkpoint in the place of the new one, or meddles with a sink.
    pub(super) fn tamper(&mut self) {
        if self.odds.tamper == 0 || !self.rng.one_in(8) || self.disk.files.is_empty() {
            return;
        }
        self.kill_all();
        self.cures = 0;
        if !self.is_claimed() {
            // The id may be lost, and copies with it: they would be those of another query.
            self.old = None;
            self.backups.get_or_insert_default();
            return self.damage();
        }
        let backup = self.disk.clone();
        if self.rng.one_in(3) && self.copy_commits() {
            self.backups.get_or_insert_default().push(backup);
            return;
        }
        if self.rng.one_in(6) {
            self.wear_sink();
            self.backups.get_or_insert_default().push(backup);
            return;
        }
        match self.old.take().filter(|_| self.rng.one_in(2)) {
            Some(old) => {
                self.stats.faults.checkpoints_restored += 1;
                self.note(format_args!("an old checkpoint is restored"));
                self.disk = old;
            }
            None => self.damage(),
        }
        self.backups.get_or_insert_default().push(backup);
    }

    /// A copy of the checkpoint, somewhere else, has planned the batch in doubt differently and
    /// commits it. Whether it did.
    fn copy_commits(&mut self) -> bool {
        let scan = self.scan();
        let log = scan.log();
        let (Some(query), Some(intent)) =
            (query_of(&scan), log.intent.filter(|i| log.completed != Some(i.batch)))
        else {
            return false;
        };
        let batch = intent.batch;
        // A copy refuses what a run refuses.
        let differs = |sink: &SinkModel| {
            let before = batch.previous().map(|before| sink.probe(query, before));
            before == Some(Probe::Absent) || sink.probe(query, batch) != Probe::Absent
        };
        if !log.damage.is_empty() || !log.holes.is_empty() || self.sinks.iter().any(differs) {
            return false;
        }
        let start = batch.previous().map(|before| ends_at(&scan, before)).unwrap_or_default();
        let rows = rows_between(&start, &self.ends);
        let (attempt, other) =
            (AttemptId(self.rng.uuid()), Digest::of(&self.rng.next().to_be_bytes()));
        for sink in &mut self.sinks {
            let taken = rows.iter().copied().filter(|row| sink.takes.takes(*row, 0));
            sink.commit_marked(query, batch, attempt, other, taken.collect());
        }
        self.stats.faults.copies_at_work += 1;
        self.note(format_args!("a copy of the checkpoint commits batch {batch}"));
        true
    }

    /// A sink is restored to an older version, or its clean-up takes staged files of attempts that
    /// are not in it.
    fn wear_sink(&mut self) {
        let at = self.rng.index(self.sinks.len());
        let older = self.rng.one_in(2);
        let entries = 1 + self.rng.index(2);
        if older {
            // Writes that are under way, to any sink, arrive before that or never: in the place of
            // an entry that is gone, or beside it, another attempt of a batch would stand under the
            // right digest, which nothing but a second sink's word tells apart.
            self.sinks.iter_mut().for_each(SinkModel::drop_late);
        }
        let Some(sink) = self.sinks.get_mut(at) else { return };
        if older {
            sink.restore(entries);
            self.note(format_args!("sink {at} is restored without its newest {entries} entries"));
        } else {
            sink.clean_up();
            self.note(format_args!("staged files of sink {at} are cleaned up"));
        }
        self.stats.faults.sinks_worn += 1;
    }

    fn damage(&mut self) {
        let scan = self.scan();
        let mut candidates = vec![paths::METADATA.to_owned()];
        candidates.extend(scan.newest_offsets().map(paths::offsets));
        candidates.extend(scan.newest_commits().map(paths::commits));
        let before = scan.newest_commits().and_then(BatchId::previous);
        candidates.extend(before.map(paths::commits));
        let before = scan.newest_offsets().and_then(BatchId::previous);
        candidates.extend(before.map(paths::offsets));
        if let Some(dir) = scan.newest_offsets().map(paths::prepared_dir) {
            candidates.extend(self.disk.list(&dir).iter().map(|name| format!("{dir}/{name}")));
        }
        let path = candidates.swap_remove(self.rng.index(candidates.len()));
        let how = self.rng.below(3);
        let at = self.rng.next();
        if let Some(file) = self.disk.files.get_mut(&path) {
            let len = file.bytes.len().max(1) as u64;
            let at = usize::try_from(at % len).unwrap_or(0);
            match how {
                0 => file.bytes.truncate(at),
                1 => file.bytes.iter_mut().skip(at).for_each(|byte| *byte = 0),
                _ => self.disk.files.retain(|other, _| *other != path),
            }
        }
        self.stats.faults.files_damaged += 1;
        self.note(format_args!("`{path}` is damaged in way {how}"));
    }

    /// What a careful operator does: what the doctor offers; else the newest backup.
    pub(super) fn answer_refusal(&mut self, code: &str) {
        self.stats.refusals += 1;
        if self.backups.is_none() {
            return self.violate(format!("I10: refused without cause: {code}"));
        }
        self.cures += 1;
        if self.cures > CURES_MAX {
            return self.violate(format!("I10: {CURES_MAX} repairs do not help: {code}"));
        }
        if self.doctor() {
            return;
        }
        // A copy from before the first claim may have been put back: then the sinks know better.
        let is_blank = |sink: &SinkModel| sink.log.is_empty() && !sink.has_late();
        if !self.is_claimed() && self.sinks.iter().all(is_blank) {
            self.note(format_args!("the operator begins again: nothing was begun"));
            self.disk = Disk::default();
            return;
        }
        match self.backups.as_mut().and_then(Vec::pop) {
            Some(backup) => {
                self.note(format_args!("the operator restores a backup"));
                self.cures = 0;
                self.disk = backup;
            }
            None => self.given_up = true,
        }
    }

    fn doctor(&mut self) -> bool {
        let scan = self.scan();
        let wanted = Evidence::wanted(&scan);
        // A sink is asked about a query: without an id it has nothing to say.
        let evidence = query_of(&scan).map(|query| {
            let says =
                |sink: &SinkModel| wanted.iter().map(|b| (*b, sink.probe(query, *b))).collect();
            Evidence { sinks: self.sinks.iter().map(says).collect() }
        });
        let evidence = evidence.unwrap_or_default();
        let diagnosis = diagnose(&scan, &evidence, false);
        let repairs: Vec<Repair> = diagnosis.repairs().cloned().collect();
        for repair in &repairs {
            self.note(format_args!("the doctor: {repair:?}"));
            match repair {
                Repair::Delete { path } => {
                    self.disk.files.remove(path);
                }
                Repair::WriteCompletion { batch, next_watermark_ms } => {
                    let bytes = CommitFile::new(*next_watermark_ms).encode();
                    self.disk.put(&paths::commits(*batch), bytes, true);
                }
                Repair::WriteMetadata { id } => {
                    self.disk.put(paths::METADATA, Metadata { id: *id }.encode(), true);
                }
                Repair::WriteLedger { .. } | Repair::SetAside { .. } => {
                    self.violate("a repair of files that the simulator does not damage".into());
                }
            }
        }
        !repairs.is_empty()
    }

    /// Another engine of Spark's formats works on the checkpoint while no run of ours does: it
    /// finishes the batch in doubt or plans one, and may die on the way.
    pub(super) fn other_engine(&mut self) {
        let [sink] = self.sinks.as_slice() else { return };
        if self.backups.is_some() || !sink.staged {
            return;
        }
        if !self.runs.is_empty() {
            if !self.rng.one_in(4) {
                return;
            }
            self.stats.faults.kills += self.runs.len() as u64;
            self.note(format_args!("every run is killed, for another engine to go on"));
            self.kill_all();
        }
        let scan = self.scan();
        let log = scan.log();
        let (Some(query), Some(intent)) = (query_of(&scan), log.intent) else { return };
        let ends_at = |batch: BatchId| ends_at(&scan, batch);
        let in_doubt = log.completed != Some(intent.batch);
        let (batch, start, end) = if in_doubt {
            let start = intent.batch.previous().map(ends_at).unwrap_or_default();
            (intent.batch, start, ends_at(intent.batch))
        } else {
            (intent.batch.next(), ends_at(intent.batch), self.ends.clone())
        };
        if start == end {
            return;
        }
        self.note(format_args!("another engine works on batch {batch}"));
        // It builds on what it sees; that this is durable by then is its own affair.
        self.disk.files.values_mut().for_each(|file| file.durable = true);
        if !in_doubt {
            let metadata = OffsetsMetadata::default();
            let end = Some(Position(json!(end)));
            let bytes = OffsetsFile::new(metadata, vec![end]).encode();
            self.plans.remove(&batch);
            self.disk.put(&paths::offsets(batch), bytes, true);
            if self.rng.one_in(3) {
                return;
            }
        }
        let name = AttemptId(self.rng.uuid());
        let rows = rows_between(&start, &end);
        if let Some(sink) = self.sinks.first_mut()
            && sink.probe(query, batch) == Probe::Absent
        {
            sink.commit_foreign(query, batch, name, rows);
            if self.rng.one_in(3) {
                return;
            }
        }
        self.disk.put(&paths::commits(batch), CommitFile::new(0).encode(), true);
        self.stats.foreign_batches += 1;
        self.reported = self.reported.max(Some(batch));
    }
}

/// The query's id, from whatever file has it.
fn query_of(scan: &Scan) -> Option<QueryId> {
    let metadata = scan.metadata().ok().flatten();
    metadata.map(|metadata| metadata.id).or_else(|| scan.query_elsewhere())
}

/// Where a logged batch ends.
fn ends_at(scan: &Scan, batch: BatchId) -> Vec<u32> {
    let offsets = scan.offsets(batch).ok();
    let end = offsets.and_then(|o| o.sources.into_iter().flatten().next());
    end.and_then(|p| serde_json::from_value(p.0).ok()).unwrap_or_default()
}

fn rows_between(start: &[u32], end: &[u32]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (partition, end) in end.iter().enumerate() {
        let from = start.get(partition).copied().unwrap_or(0);
        let partition = u8::try_from(partition).unwrap_or(u8::MAX);
        rows.extend((from..*end).map(|offset| (partition, offset)));
    }
    rows
}
