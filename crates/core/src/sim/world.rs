//! Who moves next, and which faults happen.

mod others;

use super::disk::Disk;
use super::rng::Rng;
use super::run::{Phase, Run};
use super::sinks::{Luck, SinkModel, Takes};
use super::{Outcome, PlantedBug, Stats, oracle};
use crate::ids::{BatchId, Digest, Epoch};
use crate::protocol::{Scan, paths};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Ticks with faults.
const CHAOS_TICKS: u64 = 400;
/// Ticks without faults within which everything must be done (I10).
const CALM_TICKS: u64 = 4000;
/// Most records of one world.
const RECORDS_MAX: u32 = 60;
/// Most batches before the newest one whose files a world keeps; the least that the engine allows
/// is 1. So few that a run which stands still for long finds its batch purged.
const RETAIN_MAX: u64 = 3;
/// Steps that a run stands still at most, and where others can take over meanwhile.
const ASLEEP_MAX: u64 = 40;
const OVERTAKEN_MAX: u64 = 200;

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
    /// Completed batches before the newest one whose files are kept.
    pub(super) retain: u64,
    chaos: bool,
    cures: u32,
    given_up: bool,
    violation: Option<String>,
    /// `None` where nobody would read it.
    trace: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<PlantedBug>, traced: bool) -> Self {
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
            retain: 1 + rng.below(RETAIN_MAX),
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
            trace: traced.then(String::new),
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
        let trace = self.trace.unwrap_or_default();
        Outcome { violation: self.violation, trace, stats: self.stats }
    }

    fn is_over(&self) -> bool {
        self.violation.is_some() || self.given_up
    }

    // ---- what runs ask of the world ----

    pub(super) fn note(&mut self, line: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            // Writing to a string cannot fail.
            let _ = writeln!(trace, "{line}");
        }
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub(super) fn report(&mut self, batch: BatchId) {
        self.stats.batches += 1;
        self.reported = self.reported.max(Some(batch));
    }

    /// What a look at the checkpoint shows.
    pub(super) fn scan(&self) -> Scan {
        self.disk.scan(self.bug != Some(PlantedBug::TrustEveryFile))
    }

    pub(super) fn newest_epoch(&self) -> Epoch {
        Epoch(self.disk.largest_number(paths::LEASES).unwrap_or(0))
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
        let faults = &mut self.stats.faults;
        let (count, luck) = match self.rng.below(3) {
            0 => (&mut faults.answers_lost, Luck::AnswerLost),
            1 => (&mut faults.never_arrived, Luck::NeverArrives),
            _ => (&mut faults.arrived_late, Luck::ArrivesLate),
        };
        *count += 1;
        luck
    }

    // ---- what happens ----

    fn tick(&mut self) {
        match self.rng.below(1000) {
            0..=79 => self.produce(),
            80..=109 => self.land_late(),
            110..=119 => self.kill_one(),
            120..=125 => self.lose_power(),
            126..=133 => self.back_up(),
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
        let exclusively = self.bug != Some(PlantedBug::OverwriteSinkEntry);
        let at = self.rng.index(self.sinks.len());
        let Some(sink) = self.sinks.get_mut(at) else { return };
        if sink.has_late() {
            let let_in = sink.land_late(exclusively);
            self.note(format_args!("a late write to sink {at} arrives: {let_in}"));
        }
    }

    fn kill_one(&mut self) {
        if self.runs.is_empty() {
            return;
        }
        let at = self.rng.index(self.runs.len());
        let run = self.runs.swap_remove(at);
        self.stats.faults.kills += 1;
        self.note(format_args!("run {} is killed in {:?}", run.id, run.phase));
    }

    fn kill_all(&mut self) {
        self.runs.clear();
    }

    /// Whether somebody has claimed the checkpoint. Before that nothing rests on its id: where it is
    /// lost, another one begins a new query, which is nobody's loss.
    fn is_claimed(&self) -> bool {
        self.newest_epoch() > Epoch(0)
    }

    /// Copies the checkpoint, to be restored later. Without a durable id it is none: whoever restores
    /// that begins a new query, as sinks see it.
    fn back_up(&mut self) {
        let used = self.odds.tamper > 0;
        if used && self.disk.files.get(paths::METADATA).is_some_and(|file| file.durable) {
            self.old = Some(self.disk.clone());
        }
    }

    fn lose_power(&mut self) {
        self.stats.faults.power_losses += 1;
        self.note(format_args!("power is lost"));
        self.kill_all();
        let content_unsynced = self.bug == Some(PlantedBug::ForgetFsync);
        self.disk.lose_power(&mut self.rng, content_unsynced);
        self.sinks.iter_mut().for_each(SinkModel::lose_power);
        if self.violation.is_none() {
            self.violation = oracle::after_power_loss(self);
        }
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
        let awake: Vec<usize> = (0..self.runs.len())
            .filter(|at| self.runs.get(*at).is_some_and(|run| run.asleep == 0))
            .collect();
        for run in &mut self.runs {
            run.asleep = run.asleep.saturating_sub(1);
        }
        let Some(at) = awake.get(self.rng.index(awake.len())).copied() else { return };
        let mut run = self.runs.swap_remove(at);
        if self.chaos && self.rng.one_in(60) {
            let long = !self.locks && self.rng.one_in(2);
            run.asleep = self.rng.below(if long { OVERTAKEN_MAX } else { ASLEEP_MAX });
            self.stats.faults.pauses += 1;
        }
        self.stats.steps += 1;
        let before = run.phase.clone();
        match run.step(self) {
            Err(Died) => {
                self.stats.faults.deaths += 1;
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

    /// No more faults: what is under way arrives or does not, then one run finishes everything.
    fn calm_down(&mut self) {
        self.note(format_args!("calm"));
        self.chaos = false;
        self.kill_all();
        let exclusively = self.bug != Some(PlantedBug::OverwriteSinkEntry);
        for at in 0..self.sinks.len() {
            let arrives = self.rng.one_in(2);
            let Some(sink) = self.sinks.get_mut(at) else { continue };
            while sink.has_late() && arrives {
                sink.land_late(exclusively);
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
