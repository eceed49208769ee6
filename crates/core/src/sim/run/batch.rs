//! The steps of a batch, from its intent to its completion.

use super::{Phase, Run, Work, bytes_of, misread, new_attempt, position, rows};
use crate::contract::{CommitTag, SourceRange, Staged};
use crate::ids::{BatchId, Digest};
use crate::log::{
    CommitFile, Conf, INTENT_KEY, Intent, IntentRef, LedgerEntry, Metrics, OffsetsFile,
    OffsetsMetadata, Planner, Prepared, Record as _,
};
use crate::protocol::{Resolved, paths, resolve};
use crate::sim::PlantedBug as Bug;
use crate::sim::sinks::{Answer, Luck};
use crate::sim::world::{Died, World};
use serde_json::Value;
use std::collections::BTreeSet;
use uuid::Uuid;

/// Intents beyond the retained batches before they are searched for ones that nobody names.
const STRAY_INTENTS_MAX: u64 = 4;
/// Most records that one batch takes of a partition.
const ADMIT_MAX: u64 = 4;

impl Run {
    /// Chooses the next batch and writes its intent.
    pub(super) fn plan(&mut self, world: &mut World) -> Result<(), Died> {
        let mut end = self.positions.clone();
        end.resize(world.ends.len(), 0);
        for (end, available) in end.iter_mut().zip(world.ends.clone()) {
            let room = u64::from(available - *end);
            let admitted = if room == 0 { 0 } else { world.rng.below(room.min(ADMIT_MAX) + 1) };
            *end += u32::try_from(admitted).unwrap_or(0);
        }
        let behind = self.positions.iter().sum::<u32>() < world.ends.iter().sum::<u32>();
        if !behind {
            self.phase = Phase::Idle;
            return Ok(());
        }
        if end.iter().sum::<u32>() == self.positions.iter().sum::<u32>() {
            return Ok(());
        }
        let (offsets, digest) = self.write_intent(world, self.next, self.previous, &end)?;
        let batch = self.next;
        self.work = Some(Work {
            batch,
            digest,
            planner: Planner::Millstream,
            start: self.positions.clone(),
            end,
            attempt: new_attempt(world, batch),
            remaining: world.all_sinks(),
            offsets,
            sealed: false,
        });
        self.phase = Phase::WriteOffsets;
        Ok(())
    }

    fn write_intent(
        &self,
        world: &mut World,
        batch: BatchId,
        previous: Option<Digest>,
        end: &[u32],
    ) -> Result<(Vec<u8>, Digest), Died> {
        let id = world.rng.uuid();
        let range = SourceRange::new(position(&self.positions), position(end));
        let intent = Intent {
            query: self.query,
            batch,
            id,
            previous,
            epoch: self.epoch,
            run: self.run,
            batch_time_ms: 0,
            watermark_ms: 0,
            input_watermarks_ms: Vec::new(),
            plan: String::new(),
            sources: vec![Some(range)],
        };
        let bytes = bytes_of(&intent);
        let digest = Digest::of(&bytes);
        let mut conf = Conf::default();
        conf.set(INTENT_KEY, IntentRef { id, digest }.to_string());
        let metadata =
            OffsetsMetadata { watermark_ms: 0, timestamp_ms: 0, conf, source_info: None };
        let offsets = OffsetsFile::new(metadata, vec![Some(position(end))]).encode();
        if world.bug == Some(Bug::OffsetsBeforeIntent) {
            world.create(&paths::offsets(batch), offsets.clone())?;
            world.plans.insert(batch, digest);
        }
        let _ = world.create(&paths::intent(id), bytes)?;
        Ok((offsets, digest))
    }

    pub(super) fn write_offsets(&mut self, world: &mut World) -> Result<(), Died> {
        let Some(work) = self.work.clone() else { return Ok(()) };
        let made = world.create(&paths::offsets(work.batch), work.offsets)?;
        if made {
            world.plans.insert(work.batch, work.digest);
        }
        // Somebody else has fixed the batch: look what it is.
        let go_on = made || world.bug == Some(Bug::IgnoreLostRace);
        self.phase = if go_on { Phase::Stage(0) } else { Phase::Recheck };
        Ok(())
    }

    pub(super) fn stage(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        let Some(work) = &self.work else { return Ok(()) };
        let Some(sink) = work.remaining.get(at).copied() else {
            self.phase = Phase::Seal;
            return Ok(());
        };
        let all = rows(&work.start, &work.end);
        let durable = world.bug != Some(Bug::StagedNotSynced);
        if let Some(sink) = world.sinks.get_mut(sink) {
            let taken = all.into_iter().filter(|row| sink.takes.takes(*row, self.version));
            sink.stage(work.attempt, taken.collect(), durable);
        }
        world.maybe_die()?;
        self.phase = Phase::Stage(at + 1);
        Ok(())
    }

    pub(super) fn seal(&mut self, world: &mut World) -> Result<(), Died> {
        self.phase = Phase::CheckLease;
        if world.bug == Some(Bug::SealAfterCommit) { Ok(()) } else { self.write_sealed(world) }
    }

    fn write_sealed(&mut self, world: &mut World) -> Result<(), Died> {
        let Some(work) = &mut self.work else { return Ok(()) };
        let others = !world.disk.list(&paths::prepared_dir(work.batch)).is_empty();
        if others && world.bug == Some(Bug::OneSealPerBatch) {
            return Ok(());
        }
        let prepared = Prepared {
            query: self.query,
            batch: work.batch,
            attempt: work.attempt,
            digest: work.digest,
            epoch: self.epoch,
            run: self.run,
            sinks: world.sinks.iter().map(|_| Staged(Value::Null)).collect(),
            state: Vec::new(),
            next_watermark_ms: 0,
            input_watermarks_ms: Vec::new(),
            metrics: Metrics::default(),
        };
        work.sealed = true;
        let path = paths::prepared(work.batch, work.attempt);
        let _ = world.create(&path, bytes_of(&prepared))?;
        Ok(())
    }

    pub(super) fn check_lease(&mut self, world: &mut World) -> Result<(), Died> {
        let tolerant = matches!(world.bug, Some(Bug::NoLeaseCheck | Bug::AcceptOlderEpoch));
        if self.is_fenced(world) && !tolerant {
            self.phase = Phase::Stopped;
            return Ok(());
        }
        if world.bug == Some(Bug::CompleteBeforeSinks) {
            self.write_completion(world)?;
        }
        self.phase = Phase::Commit(0);
        Ok(())
    }

    fn tag(&self, work: &Work) -> CommitTag {
        CommitTag {
            query: self.query,
            batch: work.batch,
            attempt: work.attempt,
            digest: work.digest,
            previous: self.previous,
            epoch: self.epoch,
        }
    }

    pub(super) fn commit(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        let Some(work) = self.work.clone() else { return Ok(()) };
        let Some(index) = work.remaining.get(at).copied() else {
            self.phase = Phase::WriteLedger;
            return Ok(());
        };
        self.notice_overdue(world, work.batch);
        let (luck, tag) = (world.luck(), self.tag(&work));
        let durable = world.bug != Some(Bug::SinkNotSynced);
        let bug = world.bug;
        let Some(sink) = world.sinks.get_mut(index) else { return Ok(()) };
        let blindly = bug == Some(Bug::CommitWithoutLooking);
        let mut answer = sink.commit(&tag, luck, blindly, durable);
        if answer == Answer::Unknown {
            match bug {
                Some(Bug::DeleteStagedOnDoubt) => sink.delete_staged(work.attempt),
                Some(Bug::UnknownIsAbsent) => {
                    answer = sink.commit(&tag, Luck::Good, true, durable);
                }
                Some(Bug::UnknownIsCommitted) => answer = Answer::Committed,
                Some(Bug::ProbeWithoutFencing) => {}
                _ if !sink.staged => sink.fence(),
                _ => {}
            }
        }
        if answer == Answer::AlreadyThere && bug == Some(Bug::AlreadyThereIsOurs) {
            answer = Answer::Committed;
        }
        world.note(format_args!(
            "run {} commits {} to sink {index} with {luck:?}: {answer:?}",
            self.id, work.batch
        ));
        world.maybe_die()?;
        match answer {
            Answer::Committed => self.committed(world, at)?,
            Answer::AlreadyThere | Answer::Unknown => self.phase = Phase::Doubt(at),
            Answer::Aborted => self.phase = Phase::Recheck,
        }
        Ok(())
    }

    /// I6: a run that was overtaken may finish the commit it was about to make, and no other.
    fn notice_overdue(&mut self, world: &mut World, batch: BatchId) {
        if self.is_fenced(world) || world.has_twin(self.epoch) {
            if !self.overdue.contains(&batch) {
                self.overdue.push(batch);
            }
            if self.overdue.len() > 1 {
                world.violate(format!("I6: run {} goes on beside a newer claim", self.id));
            }
        }
    }

    fn committed(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        if world.bug == Some(Bug::CompleteAfterFirstSink) && at == 0 {
            self.write_completion(world)?;
        }
        if world.bug == Some(Bug::UnsealAfterFirstSink)
            && let Some(work) = &self.work
        {
            world.disk.files.remove(&paths::prepared(work.batch, work.attempt));
        }
        self.phase = Phase::Commit(at + 1);
        Ok(())
    }

    pub(super) fn doubt(&mut self, world: &mut World, at: usize) -> Result<(), Died> {
        let Some(work) = self.work.clone() else { return Ok(()) };
        let index = work.remaining.get(at).copied().unwrap_or(0);
        let Some(sink) = world.sinks.get(index) else { return Ok(()) };
        let staged = sink.staged;
        let said = sink.probe(self.query, work.batch);
        let probe = match world.bug {
            Some(Bug::IgnoreDigest | Bug::UnmarkedIsAbsent) => {
                misread(world.bug, &said, Some(work.digest))
            }
            _ => said,
        };
        let resolved = resolve("the sink", &self.tag(&work), &probe);
        world.note(format_args!("run {} resolves {} as {resolved:?}", self.id, work.batch));
        match resolved {
            Resolved::Ours => self.committed(world, at)?,
            Resolved::Lost { .. } if world.bug == Some(Bug::AnyAttemptIsOurs) => {
                self.committed(world, at)?;
            }
            Resolved::Absent if staged => self.phase = Phase::Commit(at),
            // The transaction is gone and its rows with it: execute again.
            Resolved::Absent | Resolved::Lost { .. } | Resolved::Overtaken => {
                self.phase = Phase::Recheck;
            }
            Resolved::Refuse(refusal) => {
                let fenced = self.is_fenced(world);
                self.phase = if fenced { Phase::Stopped } else { Phase::Refused(refusal) };
            }
        }
        Ok(())
    }

    pub(super) fn write_ledger(&mut self, world: &mut World) -> Result<(), Died> {
        let Some(work) = self.work.clone() else { return Ok(()) };
        if world.bug == Some(Bug::SealAfterCommit) && !work.sealed {
            self.write_sealed(world)?;
        }
        if world.bug == Some(Bug::ReportBeforeDurable) {
            world.report(work.batch);
        }
        if world.bug == Some(Bug::PlanBeforeCompletion) {
            let (next, end) = (work.batch.next(), world.ends.clone());
            let (offsets, digest) = self.write_intent(world, next, Some(work.digest), &end)?;
            if world.create(&paths::offsets(next), offsets)? {
                world.plans.insert(next, digest);
            }
        }
        let entry = LedgerEntry {
            query: self.query,
            batch: work.batch,
            digest: work.digest,
            previous: self.previous,
            planner: work.planner,
            attempt: Some(work.attempt),
            epoch: self.epoch,
            batch_time_ms: 0,
            sources: Vec::new(),
            rows_in: None,
            rows_out: None,
        };
        let path = paths::ledger(work.batch);
        if !world.create(&path, bytes_of(&entry))? {
            world.settle(&path);
        }
        self.phase = Phase::Complete;
        Ok(())
    }

    fn write_completion(&mut self, world: &mut World) -> Result<bool, Died> {
        let batch = self.work.as_ref().map_or(self.next, |work| work.batch);
        world.create(&paths::commits(batch), CommitFile::new(0).encode())
    }

    pub(super) fn complete(&mut self, world: &mut World) -> Result<(), Died> {
        let Some(work) = self.work.clone() else { return Ok(()) };
        let early =
            matches!(world.bug, Some(Bug::CompleteBeforeSinks | Bug::CompleteAfterFirstSink));
        if !self.write_completion(world)? && !early {
            self.phase = Phase::Recheck;
            return Ok(());
        }
        world.report(work.batch);
        world.note(format_args!("run {} completes {}", self.id, work.batch));
        self.next = work.batch.next();
        self.previous = Some(work.digest);
        self.positions = work.end;
        self.work = None;
        self.phase = Phase::Purge;
        Ok(())
    }

    /// P15: the attempts of batches before the completed one, then the intents of batches that are
    /// not kept, from old to new.
    pub(super) fn purge(&mut self, world: &mut World) -> Result<(), Died> {
        self.phase = Phase::PurgeCommits;
        let Some(done) = self.next.previous() else { return Ok(()) };
        for number in paths::numbers(&world.disk.list(paths::PREPARED)) {
            let newest_too = world.bug == Some(Bug::PurgeNewerAttempts);
            if number < done.0 || newest_too {
                let dir = paths::prepared_dir(BatchId(number));
                for name in world.disk.list(&dir) {
                    world.disk.forget(&format!("{dir}/{name}"));
                }
            }
        }
        world.maybe_die()?;
        self.purge_numbered(world, done, paths::OFFSETS)
    }

    /// P15: the completions of batches that are not kept, and intents that nobody names.
    pub(super) fn purge_commits(&mut self, world: &mut World) -> Result<(), Died> {
        self.phase = Phase::Plan;
        let Some(done) = self.next.previous() else { return Ok(()) };
        self.purge_numbered(world, done, paths::COMMITS)?;
        if world.bug == Some(Bug::PurgeHistory) {
            self.purge_numbered(world, done, paths::LEDGER)?;
        }
        if world.bug == Some(Bug::PurgeNewestCompletion) {
            world.disk.delete(&paths::commits(done));
        }
        self.has_purged |= done.0 >= world.retain;
        purge_stray_intents(world, done);
        Ok(())
    }

    fn purge_numbered(&self, world: &mut World, done: BatchId, dir: &str) -> Result<(), Died> {
        let retain = match world.bug {
            Some(Bug::PurgeOneTooMany) => world.retain - 1,
            _ => world.retain,
        };
        let Some(first_kept) = done.0.checked_sub(retain) else { return Ok(()) };
        let mut due = paths::numbers(&world.disk.list(dir));
        due.retain(|number| *number < first_kept);
        if world.bug == Some(Bug::PurgeNewToOld) {
            due.reverse();
        }
        let last = due.last().copied();
        for number in due {
            if dir == paths::OFFSETS
                && let Some(id) = intent_named_by(world, BatchId(number))
            {
                world.disk.forget(&paths::intent(id));
            }
            let path = format!("{dir}/{number}");
            // A power failure must not bring back one before the others; another run may have
            // deleted some right before the first purge of this one.
            let is_last = Some(number) == last && self.has_purged;
            if is_last || world.bug == Some(Bug::PurgeUnsynced) {
                world.disk.forget(&path);
            } else {
                world.disk.delete(&path);
            }
            world.maybe_die()?;
        }
        Ok(())
    }
}

fn intent_named_by(world: &World, batch: BatchId) -> Option<Uuid> {
    let offsets = OffsetsFile::decode(world.disk.read(&paths::offsets(batch))?).ok()?;
    offsets.intent().ok().flatten().map(|named| named.id)
}

/// Deletes intents that no `offsets/N` names, but for those of batches that are not complete: a slow
/// run may be about to name one.
fn purge_stray_intents(world: &mut World, newest: BatchId) {
    let names = world.disk.list(paths::INTENTS);
    if names.len() as u64 <= world.retain + 1 + STRAY_INTENTS_MAX {
        return;
    }
    let offsets = paths::numbers(&world.disk.list(paths::OFFSETS));
    let named: BTreeSet<Uuid> =
        offsets.into_iter().filter_map(|n| intent_named_by(world, BatchId(n))).collect();
    for id in names.iter().filter_map(|name| Uuid::try_parse(name).ok()) {
        let path = paths::intent(id);
        let intent = world.disk.read(&path).and_then(|bytes| Intent::decode(bytes).ok());
        if intent.is_some_and(|intent| intent.batch <= newest) && !named.contains(&id) {
            world.disk.forget(&path);
        }
    }
}
