//! Who moves next, which faults happen, and what a careful operator does about refusals.

use super::disk::Disk;
use super::rng::Rng;
use super::run::{Phase, Run};
use super::sinks::{Luck, Row, SinkModel, Takes};
use super::{Outcome, PlantedBug, Stats, oracle};
use crate::contract::{Position, Probe};
use crate::ids::{AttemptId, BatchId, Digest, Epoch};
use crate::log::{CommitFile, Metadata, OffsetsFile, OffsetsMetadata};
use crate::protocol::{Evidence, Repair, Scan, diagnose, paths};
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Ticks with faults.
const CHAOS_TICKS: u64 = 400;
/// Ticks without faults within which everything must be done (I10).
const CALM_TICKS: u64 = 4000;
/// Most records of one world.
const RECORDS_MAX: u32 = 60;
/// Attempts of the operator to cure one tampered world.
const CURES_MAX: u32 = 8;

/// A run died inside an effect.
#[derive(Debug)]
pub(super) struct Died;

/// How often things happen: once in so many chances; 0 is never.
#[derive(Debug, Clone, Copy)]
struct Odds {
    die: u64,
    unclear: u64,
    tamper: u64,
}

pub(super) struct World {
    pub(super) rng: Rng,
    pub(super) bug: Option<PlantedBug>,
    pub(super) disk: Disk,
    pub(super) sinks: Vec<SinkModel>,
    /// The end of every partition.
    pub(super) ends: Vec<u32>,
    /// Digest of the intent that was logged for each batch.
    pub(super) plans: BTreeMap<BatchId, Digest>,
    /// The newest batch that was reported complete.
    pub(super) reported: Option<BatchId>,
    /// Checkpoints as they were before somebody tampered; `None` while nobody has.
    pub(super) backups: Option<Vec<Disk>>,
    pub(super) stats: Stats,
    runs: Vec<Run>,
    old: Option<Disk>,
    next_run: u32,
    odds: Odds,
    /// Whether a file lock refuses a second process.
    locks: bool,
    chaos: bool,
    cures: u32,
    given_up: bool,
    violation: Option<String>,
    trace: String,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<PlantedBug>) -> Self {
        let mut rng = Rng::new(seed);
        let mut sinks = match rng.below(4) {
            0 => vec![SinkModel::new(Takes::All, true)],
            1 => vec![SinkModel::new(Takes::All, true), SinkModel::new(Takes::All, true)],
            2 => vec![SinkModel::new(Takes::Dead, true), SinkModel::new(Takes::Living, true)],
            _ => vec![
                SinkModel::new(Takes::All, false),
                SinkModel::new(Takes::Dead, true),
                SinkModel::new(Takes::Living, true),
            ],
        };
        if bug == Some(PlantedBug::UnstagedLast) {
            sinks.reverse();
        }
        let odds = Odds {
            die: 10 + rng.below(100),
            unclear: 2 + rng.below(8),
            tamper: if rng.one_in(3) { 40 + rng.below(100) } else { 0 },
        };
        let partitions = 1 + rng.below(2);
        World {
            ends: (0..partitions).map(|_| 2).collect(),
            locks: rng.one_in(2),
            disk: Disk::default(),
            plans: BTreeMap::new(),
            reported: None,
            backups: None,
            stats: Stats::default(),
            runs: Vec::new(),
            old: None,
            next_run: 0,
            chaos: true,
            cures: 0,
            given_up: false,
            violation: None,
            trace: String::new(),
            rng,
            bug,
            sinks,
            odds,
        }
    }

    pub(super) fn simulate(mut self) -> Outcome {
        let (sinks, locks) = (self.sinks.len(), self.locks);
        self.note(format_args!("{sinks} sinks, locks {locks}"));
        for _ in 0..CHAOS_TICKS {
            if self.is_over() {
                break;
            }
            self.tick();
        }
        if !self.is_over() {
            self.calm_down();
        }
        if self.violation.is_none() {
            self.violation = oracle::at_the_end(&self, !self.given_up);
        }
        self.stats.given_up += u64::from(self.given_up);
        if let Some(violation) = self.violation.clone() {
            self.note(format_args!("VIOLATION {violation}"));
        }
        Outcome { violation: self.violation, trace: self.trace, stats: self.stats }
    }

    fn is_over(&self) -> bool {
        self.violation.is_some() || self.given_up
    }

    // ---- what runs ask of the world ----

    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.trace, "{line}");
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn report(&mut self, batch: BatchId) {
        self.stats.batches += 1;
        self.reported = self.reported.max(Some(batch));
    }

    pub(super) fn newest_epoch(&self) -> Epoch {
        let claims = paths::numbers(&self.disk.list(paths::LEASES));
        Epoch(claims.last().copied().unwrap_or(0))
    }

    /// Whether another living run has the same epoch, which one creation should prevent.
    pub(super) fn has_twin(&self, epoch: Epoch) -> bool {
        self.runs.iter().any(|run| run.epoch == epoch)
    }

    pub(super) fn all_sinks(&self) -> Vec<usize> {
        (0..self.sinks.len()).collect()
    }

    pub(super) fn settle(&mut self, path: &str) {
        if self.bug != Some(PlantedBug::NoSettle) && self.bug != Some(PlantedBug::ForgetFsync) {
            self.disk.settle(path);
        }
    }

    fn dies(&mut self) -> bool {
        self.chaos && self.rng.one_in(self.odds.die)
    }

    pub(super) fn maybe_die(&mut self) -> Result<(), Died> {
        if self.dies() { Err(Died) } else { Ok(()) }
    }

    /// Creates a file exclusively; whether it was made. A run that dies in here leaves nothing, a
    /// file that a power failure takes away, or the file.
    pub(super) fn create(&mut self, path: &str, bytes: Vec<u8>) -> Result<bool, Died> {
        let fate = if self.dies() { 1 + self.rng.below(3) } else { 0 };
        let overwrite =
            self.bug == Some(PlantedBug::OverwriteIntent) && path.starts_with(paths::OFFSETS);
        let made = self.disk.read(path).is_none() || overwrite;
        if made && fate != 1 {
            let durable = fate != 2 && self.bug != Some(PlantedBug::ForgetFsync);
            self.disk.put(path, bytes, durable);
        }
        if fate == 0 { Ok(made) } else { Err(Died) }
    }

    pub(super) fn luck(&mut self) -> Luck {
        if !self.chaos || !self.rng.one_in(self.odds.unclear) {
            return Luck::Good;
        }
        self.stats.faults += 1;
        match self.rng.below(3) {
            0 => Luck::AnswerLost,
            1 => Luck::NeverArrives,
            _ => Luck::ArrivesLate,
        }
    }

    // ---- what happens ----

    fn tick(&mut self) {
        match self.rng.below(1000) {
            0..=79 => self.produce(),
            80..=109 => self.land_late(),
            110..=119 => self.kill_one(),
            120..=125 => self.lose_power(),
            126..=133 => self.old = Some(self.disk.clone()),
            134..=149 => self.tamper(),
            150..=164 => self.other_engine(),
            165..=199 => self.start_beside(),
            _ => self.step_some_run(),
        }
        if self.violation.is_none() {
            self.violation = oracle::after_step(self);
        }
    }

    fn produce(&mut self) {
        if self.ends.iter().sum::<u32>() >= RECORDS_MAX {
            return;
        }
        if self.ends.len() < 3 && self.rng.one_in(10) {
            self.ends.push(1);
        }
        let at = self.rng.index(self.ends.len());
        let more = 1 + u32::try_from(self.rng.below(5)).unwrap_or(0);
        if let Some(end) = self.ends.get_mut(at) {
            *end += more;
        }
    }

    fn land_late(&mut self) {
        let at = self.rng.index(self.sinks.len());
        let Some(sink) = self.sinks.get_mut(at) else { return };
        if sink.has_late() {
            let let_in = sink.land_late();
            self.note(format_args!("a late write to sink {at} arrives: {let_in}"));
        }
    }

    fn kill_one(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let at = self.rng.index(self.runs.len());
        let run = self.runs.swap_remove(at);
        self.stats.faults += 1;
        self.note(format_args!("run {} is killed in {:?}", run.id, run.phase));
    }

    fn kill_all(&mut self) {
        self.runs.clear();
    }

    fn lose_power(&mut self) {
        self.stats.faults += 1;
        self.note(format_args!("power is lost"));
        self.kill_all();
        let content_unsynced = self.bug == Some(PlantedBug::ForgetFsync);
        self.disk.lose_power(&mut self.rng, content_unsynced);
        self.sinks.iter_mut().for_each(SinkModel::lose_power);
        if self.violation.is_none() {
            self.violation = oracle::after_power_loss(self);
        }
    }

    /// Damages the newest files, or puts an old checkpoint in the place of the new one.
    fn tamper(&mut self) {
        if self.odds.tamper == 0 || !self.rng.one_in(8) || self.disk.files.is_empty() {
            return;
        }
        self.kill_all();
        self.stats.faults += 1;
        let backup = self.disk.clone();
        if self.rng.one_in(3) && self.copy_commits() {
            self.backups.get_or_insert_default().push(backup);
            return;
        }
        match self.old.take().filter(|_| self.rng.one_in(2)) {
            Some(old) => {
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
        let scan = self.disk.scan();
        let log = scan.log();
        let Some(intent) = log.intent.filter(|i| log.completed != Some(i.batch)) else {
            return false;
        };
        let batch = intent.batch;
        if self.sinks.iter().any(|sink| sink.probe(batch) != Probe::Absent) {
            return false;
        }
        let start = batch.previous().map(|before| ends_at(&scan, before)).unwrap_or_default();
        let rows = rows_between(&start, &self.ends);
        let (attempt, other) =
            (AttemptId(self.rng.uuid()), Digest::of(&self.rng.next().to_be_bytes()));
        for sink in &mut self.sinks {
            let taken = rows.iter().copied().filter(|row| sink.takes.takes(*row, 0));
            sink.commit_marked(batch, attempt, other, taken.collect());
        }
        self.note(format_args!("a copy of the checkpoint commits batch {batch}"));
        true
    }

    fn damage(&mut self) {
        let scan = self.disk.scan();
        let mut candidates = vec![paths::METADATA.to_owned()];
        candidates.extend(scan.newest_offsets().map(paths::offsets));
        candidates.extend(scan.newest_commits().map(paths::commits));
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
        self.note(format_args!("`{path}` is damaged in way {how}"));
    }

    fn start(&mut self) {
        let (id, run) = (self.next_run, self.rng.uuid());
        let version = u8::try_from(self.rng.below(2)).unwrap_or(0);
        self.next_run += 1;
        self.stats.runs += 1;
        self.note(format_args!("run {id} starts with version {version}"));
        self.runs.push(Run::new(id, run, version));
    }

    fn start_beside(&mut self) {
        if !self.locks && self.runs.len() == 1 {
            self.start();
        }
    }

    fn step_some_run(&mut self) {
        if self.runs.is_empty() {
            return self.start();
        }
        let at = self.rng.index(self.runs.len());
        let mut run = self.runs.swap_remove(at);
        if run.asleep > 0 {
            run.asleep -= 1;
            self.runs.push(run);
            return;
        }
        if self.chaos && self.rng.one_in(60) {
            run.asleep = self.rng.below(40);
        }
        self.stats.steps += 1;
        let before = run.phase.clone();
        match run.step(self) {
            Err(Died) => {
                self.stats.faults += 1;
                self.note(format_args!("run {} dies in {before:?}", run.id));
            }
            Ok(()) => match run.phase.clone() {
                Phase::Stopped => self.note(format_args!("run {} stops", run.id)),
                Phase::Refused(refusal) => {
                    self.note(format_args!("run {} refuses: {}", run.id, refusal.code));
                    self.kill_all();
                    self.answer_refusal(refusal.code);
                }
                _ => self.runs.push(run),
            },
        }
    }

    /// What a careful operator does: what the doctor offers; else the newest backup.
    fn answer_refusal(&mut self, code: &str) {
        self.stats.refusals += 1;
        if self.backups.is_none() {
            return self.violate(format!("I10: refused without cause: {code}"));
        }
        self.cures += 1;
        if self.cures > CURES_MAX {
            self.given_up = true;
            return;
        }
        if self.doctor() {
            return;
        }
        match self.backups.as_mut().and_then(Vec::pop) {
            Some(backup) => {
                self.note(format_args!("the operator restores a backup"));
                self.disk = backup;
            }
            None => self.given_up = true,
        }
    }

    fn doctor(&mut self) -> bool {
        let scan = self.disk.scan();
        let wanted = Evidence::wanted(&scan);
        let says = |sink: &SinkModel| wanted.iter().map(|b| (*b, sink.probe(*b))).collect();
        let evidence = Evidence { sinks: self.sinks.iter().map(says).collect() };
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
    fn other_engine(&mut self) {
        let [sink] = self.sinks.as_slice() else { return };
        let scan = self.disk.scan();
        let log = scan.log();
        let (Some(intent), true) = (log.intent, self.runs.is_empty()) else { return };
        if self.backups.is_some() || !sink.staged || self.bug.is_some() {
            return;
        }
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
            && sink.probe(batch) == Probe::Absent
        {
            sink.commit_foreign(batch, name, rows);
            if self.rng.one_in(3) {
                return;
            }
        }
        self.disk.put(&paths::commits(batch), CommitFile::new(0).encode(), true);
        self.reported = self.reported.max(Some(batch));
    }

    /// No more faults: what is under way arrives or does not, then one run finishes everything.
    fn calm_down(&mut self) {
        self.note(format_args!("calm"));
        self.chaos = false;
        self.kill_all();
        for at in 0..self.sinks.len() {
            let arrives = self.rng.one_in(2);
            let Some(sink) = self.sinks.get_mut(at) else { continue };
            while sink.has_late() && arrives {
                sink.land_late();
            }
            sink.drop_late();
        }
        for _ in 0..CALM_TICKS {
            self.step_some_run();
            if self.violation.is_none() {
                self.violation = oracle::after_step(self);
            }
            let idle = self.runs.iter().any(|run| run.phase == Phase::Idle);
            if idle || self.is_over() {
                return;
            }
        }
        self.violate("I10: the last run does not come to an end".to_owned());
    }
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
