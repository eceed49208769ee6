//! One run of a query, one effect a step.

mod batch;

use super::PlantedBug as Bug;
use super::sinks::Row;
use super::world::{Died, World};
use crate::contract::{Position, Probe};
use crate::ids::{AttemptId, BatchId, Digest, Epoch, QueryId, RunId};
use crate::log::{Lease, Metadata, Planner, Record};
use crate::protocol::invariants;
use crate::protocol::{Adopt, Facts, LeaseFact, Refusal, Scan, SinkFact, Step, decide, paths};
use serde_json::{Value, json};
use uuid::Uuid;

/// The next effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Metadata,
    Claim,
    Scan,
    Probe(usize),
    Decide,
    Plan,
    WriteOffsets,
    Stage(usize),
    Seal,
    CheckLease,
    Commit(usize),
    Doubt(usize),
    WriteLedger,
    Complete,
    Purge,
    PurgeCommits,
    Recheck,
    /// Nothing to read; asks again at the next step.
    Idle,
    Stopped,
    Refused(Refusal),
}

/// The batch in hand.
#[derive(Debug, Clone)]
pub(super) struct Work {
    batch: BatchId,
    digest: Digest,
    planner: Planner,
    start: Vec<u32>,
    end: Vec<u32>,
    attempt: AttemptId,
    /// Sinks still to commit, in commit order.
    remaining: Vec<usize>,
    offsets: Vec<u8>,
    sealed: bool,
}

pub(super) struct Run {
    pub(super) id: u32,
    pub(super) phase: Phase,
    /// World ticks until it moves again.
    pub(super) asleep: u64,
    pub(super) epoch: Epoch,
    run: RunId,
    /// Version of the plan: it decides which rows are dead letters.
    version: u8,
    query: QueryId,
    next: BatchId,
    positions: Vec<u32>,
    previous: Option<Digest>,
    scan: Scan,
    probes: Vec<(Probe, Option<Probe>)>,
    work: Option<Work>,
    /// Whether it has purged before.
    has_purged: bool,
    /// Batches committed although a newer claim existed.
    overdue: Vec<BatchId>,
}

fn position(ends: &[u32]) -> Position {
    Position(json!(ends))
}

fn ends_of(position: Option<&Option<Position>>) -> Vec<u32> {
    let value = position.and_then(Option::as_ref).map_or(Value::Null, |p| p.0.clone());
    serde_json::from_value(value).unwrap_or_default()
}

fn rows(start: &[u32], end: &[u32]) -> Vec<Row> {
    let mut all = Vec::new();
    for (partition, end) in end.iter().enumerate() {
        let from = start.get(partition).copied().unwrap_or(0);
        let partition = u8::try_from(partition).unwrap_or(u8::MAX);
        all.extend((from..*end).map(|offset| (partition, offset)));
    }
    all
}

/// Records of ours always have a JSON form.
fn bytes_of<R: Record>(record: &R) -> Vec<u8> {
    record.encode().unwrap_or_default()
}

impl Run {
    pub(super) fn new(id: u32, run: Uuid, version: u8) -> Self {
        Run {
            id,
            phase: Phase::Metadata,
            asleep: 0,
            has_purged: false,
            epoch: Epoch(0),
            run: RunId(run),
            version,
            query: QueryId(Uuid::nil()),
            next: BatchId(0),
            positions: Vec::new(),
            previous: None,
            scan: Scan::new(),
            probes: Vec::new(),
            work: None,
            overdue: Vec::new(),
        }
    }

    /// Makes one effect.
    pub(super) fn step(&mut self, world: &mut World) -> Result<(), Died> {
        match self.phase.clone() {
            Phase::Metadata => self.metadata(world),
            Phase::Claim => self.claim(world),
            Phase::Scan => self.look(world),
            Phase::Probe(at) => self.probe(world, at),
            Phase::Decide => self.decide(world),
            Phase::Plan | Phase::Idle => self.plan(world),
            Phase::WriteOffsets => self.write_offsets(world),
            Phase::Stage(at) => self.stage(world, at),
            Phase::Seal => self.seal(world),
            Phase::CheckLease => self.check_lease(world),
            Phase::Commit(at) => self.commit(world, at),
            Phase::Doubt(at) => self.doubt(world, at),
            Phase::WriteLedger => self.write_ledger(world),
            Phase::Complete => self.complete(world),
            Phase::Purge => self.purge(world),
            Phase::PurgeCommits => self.purge_commits(world),
            Phase::Recheck => {
                let fenced = self.is_fenced(world) && world.bug != Some(Bug::NoLeaseCheck);
                self.phase = if fenced { Phase::Stopped } else { Phase::Scan };
                Ok(())
            }
            Phase::Stopped | Phase::Refused(_) => Ok(()),
        }
    }

    fn metadata(&mut self, world: &mut World) -> Result<(), Died> {
        let path = paths::METADATA;
        match world.disk.read(path).map(Metadata::decode) {
            Some(Ok(metadata)) => {
                self.query = metadata.id;
                world.settle(path);
                let look_first = world.bug == Some(Bug::LookBeforeClaim);
                self.phase = if look_first { Phase::Scan } else { Phase::Claim };
            }
            // Damaged, or missing although there are logs: the decision refuses it.
            Some(Err(_)) => self.look_unclaimed(world),
            None if !world.disk.list(paths::LEASES).is_empty() => self.look_unclaimed(world),
            None => {
                let id = QueryId(world.rng.uuid());
                let _ = world.create(path, Metadata { id }.encode())?;
            }
        }
        Ok(())
    }

    /// Without an id nothing can be claimed; the decision is asked only for its refusal.
    fn look_unclaimed(&mut self, world: &World) {
        self.epoch = world.newest_epoch();
        self.phase = Phase::Scan;
    }

    fn claim(&mut self, world: &mut World) -> Result<(), Died> {
        let newest = world.newest_epoch();
        let epoch = match world.bug {
            Some(Bug::AcceptOlderEpoch) => Epoch(newest.0.max(1)),
            _ => Epoch(newest.0 + 1),
        };
        let (query, run) = (self.query, self.run);
        let lease = Lease { query, epoch, run, process: self.id, claimed_ms: 0 };
        let made = world.create(&paths::lease(epoch), bytes_of(&lease))?;
        if made || world.bug == Some(Bug::AcceptOlderEpoch) {
            self.epoch = epoch;
            // Older claims say nothing any more. One is kept as history.
            for old in paths::numbers(&world.disk.list(paths::LEASES)) {
                if old + 1 < epoch.0 {
                    world.disk.delete(&paths::lease(Epoch(old)));
                }
            }
            let looked = world.bug == Some(Bug::LookBeforeClaim);
            self.phase = if looked { Phase::Decide } else { Phase::Scan };
            world.note(format_args!("run {} claims epoch {epoch}", self.id));
        }
        Ok(())
    }

    fn is_fenced(&self, world: &World) -> bool {
        world.newest_epoch() > self.epoch
    }

    fn look(&mut self, world: &mut World) -> Result<(), Died> {
        if world.bug != Some(Bug::ProbeWithoutFencing) {
            world.sinks.iter_mut().filter(|sink| !sink.staged).for_each(|sink| sink.fence());
        }
        self.scan = world.scan();
        if let Some(newest) = self.scan.newest_offsets() {
            world.settle(&paths::offsets(newest));
            for name in world.disk.list(&paths::prepared_dir(newest)) {
                let path = format!("{}/{name}", paths::prepared_dir(newest));
                if world.bug == Some(Bug::PurgeUnfinished) {
                    world.disk.files.remove(&path);
                }
                world.settle(&path);
            }
            if world.bug == Some(Bug::PurgeUnfinished) {
                self.scan = world.scan();
            }
        }
        if let Some(completed) = self.scan.newest_commits() {
            world.settle(&paths::commits(completed));
        }
        if world.bug == Some(Bug::DeleteUnknownAttempts) {
            self.delete_unknown(world);
        }
        self.probes.clear();
        self.phase = Phase::Probe(0);
        Ok(())
    }

    /// A defective run tidies up before it knows the outcome of what it finds.
    fn delete_unknown(&self, world: &mut World) {
        let Some(newest) = self.scan.newest_offsets() else { return };
        for sealed in self.scan.sealed() {
            for sink in world.sinks.iter_mut().filter(|sink| sink.staged) {
                if sink.probe(self.query, newest) == Probe::Absent {
                    sink.delete_staged(sealed.attempt);
                }
            }
        }
    }

    fn probe(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        let Some(sink) = world.sinks.get(at) else {
            self.phase = Phase::Decide;
            return Ok(());
        };
        let newest = self.scan.newest_offsets();
        let asked = newest.unwrap_or(BatchId(0));
        let in_doubt = newest.is_some() && self.scan.newest_commits() != newest;
        let query = self.query;
        let before = asked.previous().filter(|_| in_doubt);
        let before = before.map(|before| sink.probe(query, before));
        self.probes.push((sink.probe(query, asked), before));
        self.phase = Phase::Probe(at + 1);
        Ok(())
    }

    fn facts(&self, world: &World) -> Facts {
        let mut log = self.scan.log();
        let digest = log.intent.map(|intent| intent.digest);
        for sealed in &mut log.prepared {
            sealed.staged = world.sinks.iter().all(|sink| sink.has_staged(sealed.attempt));
        }
        let one_for_all = world.bug == Some(Bug::AskFirstSinkOnly);
        let said = |at: usize| self.probes.get(if one_for_all { 0 } else { at });
        let sinks = world.sinks.iter().enumerate();
        let sinks = sinks.filter_map(|(at, sink)| Some((at, sink, said(at)?)));
        let sinks = sinks.map(|(at, sink, (newest, before))| SinkFact {
            name: format!("sink {at}"),
            remembers: true,
            may_forget: false,
            staged: sink.staged,
            newest: misread(world.bug, newest, digest),
            before: before.as_ref().map(|before| misread(world.bug, before, digest)),
        });
        let newest = self.scan.newest_epoch().unwrap_or(self.epoch);
        let newest = if world.bug == Some(Bug::AcceptOlderEpoch) { self.epoch } else { newest };
        Facts {
            lease: LeaseFact { ours: self.epoch, newest },
            log,
            sinks: sinks.collect(),
            stateful: false,
        }
    }

    fn decide(&mut self, world: &mut World) -> Result<(), Died> {
        if world.bug == Some(Bug::LookBeforeClaim) && self.epoch == Epoch(0) {
            self.phase = Phase::Claim;
            return Ok(());
        }
        let facts = self.facts(world);
        let step = decide(&facts);
        world.note(format_args!("run {} decides {}", self.id, short(&step)));
        let broken = invariants::only_the_newest_advances(&facts, &step)
            .or_else(|| invariants::damage_is_refused(&facts, &step))
            .or_else(|| invariants::at_most_one_redone(facts.log.completed, &step));
        if let Some(broken) = broken {
            world.violate(broken);
        }
        match step {
            Step::Stop { .. } => self.phase = Phase::Stopped,
            Step::Refuse(_)
                if world.bug == Some(Bug::StartAnewOnDamage) && !facts.log.damage.is_empty() =>
            {
                world.disk.files.clear();
                self.phase = Phase::Metadata;
            }
            Step::Refuse(refusal) => {
                // What looks wrong may be a newer run at work between two looks.
                let fenced = self.is_fenced(world);
                self.phase = if fenced { Phase::Stopped } else { Phase::Refused(refusal) };
            }
            Step::Plan { batch } => self.go_on_with(world, batch),
            Step::Execute { batch } if world.bug == Some(Bug::AbandonInDoubt) => {
                self.go_on_with(world, batch.next());
            }
            Step::Execute { batch } => {
                world.stats.executed_again += 1;
                self.take_up(world, batch, None);
                if world.bug == Some(Bug::ReplanOnRecovery)
                    && let Some(work) = &mut self.work
                {
                    work.end.clone_from(&world.ends);
                }
                self.phase = Phase::Stage(0);
            }
            Step::RollForward { batch, attempt, remaining } => {
                world.stats.rolled_forward += 1;
                self.roll_forward(world, batch, attempt, remaining);
            }
            Step::Complete { batch, adopt } => {
                world.stats.found_complete += 1;
                let attempt = match adopt {
                    Adopt::Attempt(attempt) => attempt,
                    Adopt::Nothing => AttemptId(Uuid::nil()),
                };
                self.take_up(world, batch, Some((attempt, Vec::new())));
                self.phase = Phase::WriteLedger;
            }
        }
        Ok(())
    }

    fn go_on_with(&mut self, world: &World, batch: BatchId) {
        self.next = batch;
        if let Some(done) = batch.previous() {
            let offsets = self.scan.offsets(done).ok();
            self.positions = ends_of(offsets.as_ref().and_then(|o| o.sources.first()));
            self.previous = self.scan.digest(done).ok().map(|(digest, _)| digest);
        }
        if world.bug == Some(Bug::PositionsFromEarliest) {
            self.positions.clear();
        }
        self.phase = Phase::Plan;
    }

    fn roll_forward(
        &mut self,
        world: &mut World,
        batch: BatchId,
        attempt: AttemptId,
        mut remaining: Vec<usize>,
    ) {
        if world.bug == Some(Bug::RollForwardOneSink) {
            remaining.truncate(1);
        }
        let other = self.scan.sealed().into_iter().find(|p| p.attempt != attempt);
        match (world.bug, other) {
            (Some(Bug::ReexecuteInsteadOfRollForward), _) => {
                let attempt = AttemptId(world.rng.uuid());
                self.take_up(world, batch, Some((attempt, remaining)));
                self.phase = Phase::Stage(0);
            }
            (Some(Bug::AdoptWrongAttempt), Some(other)) => {
                self.take_up(world, batch, Some((other.attempt, remaining)));
                self.phase = Phase::CheckLease;
            }
            _ => {
                self.take_up(world, batch, Some((attempt, remaining)));
                self.phase = Phase::CheckLease;
            }
        }
    }

    /// Takes up a logged batch, as a new attempt or as a given one.
    fn take_up(
        &mut self,
        world: &mut World,
        batch: BatchId,
        given: Option<(AttemptId, Vec<usize>)>,
    ) {
        let ends = |batch: BatchId| {
            let offsets = self.scan.offsets(batch).ok();
            ends_of(offsets.as_ref().and_then(|o| o.sources.first()))
        };
        let intent = self.scan.intent(batch).ok().flatten();
        let range = intent.as_ref().and_then(|i| i.sources.first()).and_then(Option::as_ref);
        let end = ends(batch);
        let start = match (range, batch.previous()) {
            _ if world.bug == Some(Bug::RederiveStarts) => {
                let known = batch.previous().map(ends).unwrap_or_default();
                known.iter().chain(world.ends.iter().skip(known.len())).copied().collect()
            }
            (Some(range), _) => ends_of(Some(&Some(range.start.clone()))),
            (None, Some(before)) => ends(before),
            (None, None) => Vec::new(),
        };
        let sealed = given.is_some();
        let (attempt, remaining) =
            given.unwrap_or_else(|| (new_attempt(world, batch), world.all_sinks()));
        let Ok((digest, planner)) = self.scan.digest(batch) else { return };
        self.previous = intent.and_then(|intent| intent.previous);
        let offsets = Vec::new();
        let work = Work { batch, digest, planner, start, end, attempt, remaining, offsets, sealed };
        self.work = Some(work);
    }
}

fn new_attempt(world: &mut World, batch: BatchId) -> AttemptId {
    let fresh = AttemptId(world.rng.uuid());
    if world.bug == Some(Bug::ReuseAttemptNames) {
        AttemptId(Uuid::from_u128(u128::from(batch.0)))
    } else {
        fresh
    }
}

/// What a defective run makes of a probe.
fn misread(bug: Option<Bug>, probe: &Probe, digest: Option<Digest>) -> Probe {
    let digest_low_48 = digest.map(|d| d.low_48_bits());
    match (bug, probe) {
        (Some(Bug::SkipProbe), _) => Probe::Absent,
        (Some(Bug::UnmarkedIsAbsent), Probe::Committed { digest_low_48: None, .. }) => {
            Probe::Absent
        }
        (Some(Bug::IgnoreDigest | Bug::SkipByNumberOnly), Probe::Committed { attempt, .. }) => {
            Probe::Committed { attempt: *attempt, digest_low_48 }
        }
        (Some(Bug::SkipByNumberOnly), Probe::Ahead { .. }) => {
            Probe::Committed { attempt: None, digest_low_48 }
        }
        _ => probe.clone(),
    }
}

fn short(step: &Step) -> String {
    match step {
        Step::Refuse(refusal) => format!("Refuse {}", refusal.code),
        other => format!("{other:?}"),
    }
}
