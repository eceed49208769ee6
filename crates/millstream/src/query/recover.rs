//! P1 and P2: compares the query with what its checkpoint remembers, gathers the facts of the last
//! run, and carries out what `millstream_core::protocol::decide` says about them.

use super::batch::is_lost;
use super::progress::Stopwatch;
use super::run::Run;
use crate::checkpoint::{LoggedBatch, facts, standing_after};
use crate::sinks::DataSink;
use millstream_core::contract::{Limit, Position, Probe, Sink, SourceRange};
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{AttemptId, BatchId};
use millstream_core::log::{Identity, Prepared};
use millstream_core::planted::{Mistake, makes};
use millstream_core::protocol::{Adopt, Facts, Scan, Step, decide, paths};
use millstream_core::{Error, Result};
use serde_json::Value;
use std::sync::Arc;

/// Attempts of dead runs that may come first, one after another, before a query gives up.
const RECOVERIES_MAX: u32 = 5;

impl Run {
    /// P1: refuses a query that is not the one the checkpoint belongs to. A checkpoint without an
    /// identity is new, or Spark's; it gets this query's.
    pub(super) async fn check_identity(&self) -> Result<()> {
        point("P1", Moment::Before, 0);
        let mut now = Identity {
            query: self.checkpoint.query(),
            revision: 0,
            engine: concat!("Millstream/", env!("CARGO_PKG_VERSION")).to_owned(),
            plan: self.flow.plan.clone(),
            sources: self.flow.source_identities(),
            sinks: self.flow.sink_identities(),
            state: Value::Null,
        };
        let before = self.checkpoint.identity().await?;
        point("P1", Moment::Inside, 0);
        match before {
            None => {
                self.check_newest_plan().await?;
                self.checkpoint.remember_identity(&now).await?;
            }
            Some(then) => {
                let differences = then.differences(&now);
                // Rarely needed: it asks the disk, and sinks whose paths are the same have not moved.
                let moved = match differences.iter().any(super::evolution::is_sink_path) {
                    true => self.moved_sinks(&then, &now).await?,
                    false => Vec::new(),
                };
                let (evolved, refused): (Vec<_>, Vec<_>) = differences
                    .into_iter()
                    .partition(|d| super::evolution::is_harmless(d) || moved.contains(&d.path));
                if !refused.is_empty() && !self.nothing_fixed_yet().await? {
                    let place = self.checkpoint.describe();
                    return Err(match then.query == now.query {
                        true => super::evolution::refuse(&place, &refused, &now.sinks),
                        false => {
                            let path = format!("`{}`", paths::identity(then.revision));
                            super::evolution::mixed(&place, now.query, &path, then.query)
                        }
                    });
                }
                let changed = !evolved.is_empty() || !refused.is_empty();
                if changed && !self.has_foreign_table(&then, &now).await? {
                    now.revision = then.revision + 1;
                    self.checkpoint.remember_identity(&now).await?;
                }
            }
        }
        point("P1", Moment::After, 0);
        Ok(())
    }

    /// Where the identity is gone, the newest intent still says which plan it was made for. Another
    /// engine's batches do not.
    async fn check_newest_plan(&self) -> Result<()> {
        let scan = self.checkpoint.scan().await?;
        // Before anything is stored under this id: it would outlive the mistake.
        let query = self.checkpoint.query();
        if let Some(owner) = scan.query_elsewhere().filter(|owner| *owner != query) {
            let place = self.checkpoint.describe();
            return Err(super::evolution::mixed(&place, query, "the newest batch", owner));
        }
        let intent = scan.newest_offsets().and_then(|newest| scan.intent(newest).ok().flatten());
        match intent {
            Some(intent) if intent.plan != self.flow.fingerprint => {
                let what = super::evolution::other_plan(intent.batch);
                Err(super::evolution::refuse(&self.checkpoint.describe(), &[what], &[]))
            }
            _ => Ok(()),
        }
    }

    /// Differences that only say that a sink has moved: the table at the new path is the one that
    /// the checkpoint belongs to, by its id, or because it has this query's batches.
    async fn moved_sinks(&self, then: &Identity, now: &Identity) -> Result<Vec<String>> {
        let mut moved = Vec::new();
        let newest = self.checkpoint.scan().await?.newest_commits();
        for (at, sink) in self.flow.sinks().iter().enumerate() {
            let same = match (table_id(then, at), table_id(now, at), newest) {
                (Some(then), Some(now), _) => then == now,
                (None, Some(_), Some(batch)) => {
                    !matches!(self.probe(sink, batch).await?, Probe::Absent)
                }
                _ => false,
            };
            if same {
                moved.push(format!("sinks[{at}].path"));
            }
        }
        Ok(moved)
    }

    /// Whether a table that was made after the identity was stored is not ours: batches are complete,
    /// and it has none of them. Recovery refuses it; until then nothing of it may be remembered, or
    /// the right table would be refused when it is back.
    async fn has_foreign_table(&self, then: &Identity, now: &Identity) -> Result<bool> {
        let Some(newest) = self.checkpoint.scan().await?.newest_commits() else { return Ok(false) };
        for (at, sink) in self.flow.sinks().iter().enumerate() {
            if table_id(then, at).is_none()
                && table_id(now, at).is_some()
                && self.probe(sink, newest).await? == Probe::Absent
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether no batch was ever planned and no start pinned, so that a corrected query may take the
    /// checkpoint over.
    async fn nothing_fixed_yet(&self) -> Result<bool> {
        if self.checkpoint.scan().await?.newest_offsets().is_some() {
            return Ok(false);
        }
        for index in 0..self.flow.sources.len() {
            if self.checkpoint.source_start(index).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// P2: finds where the query stands and finishes what the last run left in doubt; `true` if
    /// there was such a batch.
    pub(super) async fn recover(&mut self) -> Result<bool> {
        match self.settle_newest().await {
            Err(error) => self.recover_from(error).await.map(|()| true),
            Ok(settled) => Ok(settled),
        }
    }

    /// Goes on after a batch that ended with `error`, where the cause is a late commit of a dead run:
    /// the sink has the batch by the other's attempt, which is then rolled forward. Any other error
    /// is the caller's again. Each turn needs one more dead run, so the turns are few.
    pub(super) async fn recover_from(&mut self, error: Error) -> Result<()> {
        let mut last = error;
        for _ in 0..RECOVERIES_MAX {
            if !is_lost(&last) {
                break;
            }
            tracing::warn!(error = %last, "an attempt of an earlier run came first; recovering");
            match self.settle_newest().await {
                Ok(_) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn settle_newest(&mut self) -> Result<bool> {
        point("P2", Moment::Before, 0);
        let scan = self.checkpoint.scan().await?;
        let newest = scan.newest_offsets();
        let completed = scan.newest_commits();
        point("P2", Moment::Inside, 0);
        let mut facts = self.facts(&scan).await?;
        let is_in_doubt = newest != completed;
        if is_in_doubt && (makes(Mistake::ForgetProbe) || makes(Mistake::BlindRepeat)) {
            facts.sinks.iter_mut().for_each(|sink| sink.newest = Probe::Absent);
        }
        let step = decide(&facts);
        point("P2", Moment::After, 0);
        if let Some(error) = step.error() {
            // Between the scan and the sinks' answers others may have gone on; what then looks like
            // a damaged checkpoint is only this run's old look at it.
            self.checkpoint.check_lease().await?;
            return Err(error.context(self.checkpoint.describe()));
        }
        tracing::debug!(?step, "recovered");
        self.stand_before(newest, completed).await?;
        self.at.unnoted = completed;
        let mut watch = Stopwatch::start(&self.env);
        match step {
            Step::Plan { .. } | Step::Stop { .. } | Step::Refuse(_) => return Ok(false),
            Step::Execute { batch } => {
                let mut logged = self.checkpoint.logged(batch).await?;
                if makes(Mistake::ReadToLatestOnRecovery) {
                    self.widen(&mut logged).await?;
                }
                self.run_batch(&logged, &mut watch).await?;
            }
            Step::RollForward { batch, attempt, .. } => {
                let logged = self.checkpoint.logged(batch).await?;
                let prepared = self.sealed(&scan, batch, attempt)?;
                let ranges = self.ranges(&logged).await?;
                if makes(Mistake::RollForwardFirstSinkOnly) {
                    self.complete(&logged, &ranges, Some(&prepared), &mut watch).await?;
                    return Ok(true);
                }
                self.commit_and_complete(&logged, &ranges, &prepared, &mut watch).await?;
            }
            Step::Complete { batch, adopt } => {
                let logged = self.checkpoint.logged(batch).await?;
                let ranges = self.ranges(&logged).await?;
                let prepared = match adopt {
                    Adopt::Attempt(attempt) => Some(self.sealed(&scan, batch, attempt)?),
                    Adopt::Nothing => None,
                };
                self.complete(&logged, &ranges, prepared.as_ref(), &mut watch).await?;
            }
        }
        Ok(true)
    }

    /// What [`Mistake::ReadToLatestOnRecovery`] makes of a logged batch.
    async fn widen(&self, logged: &mut LoggedBatch) -> Result<()> {
        let Some(intent) = &mut logged.intent else { return Ok(()) };
        for (at, source) in self.flow.sources.iter().enumerate() {
            let detail = self.at.details[at].as_ref();
            let admitted = source.admit(&self.at.positions[at], detail, Limit::None).await?;
            intent.sources[at] = admitted.range;
        }
        Ok(())
    }

    fn sealed(&self, scan: &Scan, batch: BatchId, attempt: AttemptId) -> Result<Prepared> {
        scan.prepared(batch, attempt).map_err(|e| e.context(self.checkpoint.describe()))
    }

    async fn facts(&self, scan: &Scan) -> Result<Facts> {
        let sinks = self.flow.sinks();
        let sinks: Vec<&dyn Sink> = sinks.iter().map(|sink| &**sink as &dyn Sink).collect();
        facts(scan, self.checkpoint.query(), self.checkpoint.epoch(), &sinks)
            .await
            .map_err(|e| e.context(self.checkpoint.describe()))
    }

    async fn probe(&self, sink: &Arc<dyn DataSink>, batch: BatchId) -> Result<Probe> {
        sink.probe(self.checkpoint.query(), batch).await
    }

    /// Sets the standing to the one before the newest batch if that is in doubt, else after it.
    async fn stand_before(
        &mut self,
        newest: Option<BatchId>,
        completed: Option<BatchId>,
    ) -> Result<()> {
        let Some(done) = standing_after(newest, completed) else {
            self.at.positions = self.first_positions().await?;
            self.at.details = self.flow.sources.iter().map(|_| None).collect();
            return Ok(());
        };
        let logged = self.checkpoint.logged(done).await?;
        let completion = self.checkpoint.completion(done).await?;
        let ranges = self.ended_ranges(&logged).await?;
        self.at.watermark_ms = logged.watermark_ms();
        self.at.move_past(&logged, &ranges, completion.next_watermark_ms);
        Ok(())
    }

    /// The sources' positions before batch 0, pinned on the first start of all.
    async fn first_positions(&self) -> Result<Vec<Position>> {
        let mut positions = Vec::with_capacity(self.flow.sources.len());
        for (index, source) in self.flow.sources.iter().enumerate() {
            let position = match self.checkpoint.source_start(index).await? {
                Some(pinned) => pinned,
                None => {
                    let first = source.initial_position().await?;
                    self.checkpoint.pin_source_start(index, first.clone()).await?;
                    first
                }
            };
            positions.push(position);
        }
        Ok(positions)
    }

    /// Ranges of a completed batch, of which only the ends and the details matter any more.
    async fn ended_ranges(&self, logged: &LoggedBatch) -> Result<Vec<SourceRange>> {
        let sources = self.flow.sources.len();
        if logged.ends().len() != sources {
            return Err(Error::invalid(
                "STREAMING_SOURCES_CHANGED",
                format!(
                    "There are [{}] sources in the checkpoint offsets and now there are \
                     [{sources}] sources requested by the query. Cannot continue.",
                    logged.ends().len()
                ),
            )
            .cure("Give the changed query a checkpoint of its own."));
        }
        let mut ranges = Vec::with_capacity(sources);
        for (index, end) in logged.ends().iter().enumerate() {
            let of_intent = logged.intent.as_ref().and_then(|i| i.sources.get(index).cloned());
            let range = match (of_intent.flatten(), end) {
                (Some(range), _) => range,
                (None, Some(end)) => SourceRange::empty(end.clone()),
                // A source without offsets so far still stands at its start.
                (None, None) => {
                    let start = match self.checkpoint.source_start(index).await? {
                        Some(start) => start,
                        None => return Err(no_position(index, logged.batch)),
                    };
                    SourceRange::empty(start)
                }
            };
            ranges.push(range);
        }
        Ok(ranges)
    }
}

/// The id of a sink's table, where it was known.
fn table_id(identity: &Identity, sink: usize) -> Option<&Value> {
    identity.sinks.get(sink)?.get("tableId").filter(|id| !id.is_null())
}

fn no_position(index: usize, batch: BatchId) -> Error {
    Error::corrupt(
        "CHECKPOINT_POSITION_MISSING",
        format!("Neither offsets/{batch} nor sources/{index}/0 has a position for source {index}."),
    )
    .cure("Restore the file from a backup, or run `millstream checkpoint doctor`.")
}
