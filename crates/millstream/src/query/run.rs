//! The life of a query, as prose: claim the checkpoint, settle what the last run left in doubt,
//! then plan, log, execute and commit one batch after another (protocol steps P0 to P16).

use super::batch::is_hopeless;
use super::flow::Flow;
use super::handle::Shared;
use super::pace::Pacer;
use super::progress::{Reported, Stopwatch};
use crate::checkpoint::{Checkpoint, LoggedBatch};
use millstream_core::Result;
use millstream_core::contract::{Limit, Position, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{BatchId, Digest};
use millstream_core::log::{Intent, OffsetsMetadata};
use millstream_core::trigger::Trigger;
use serde_json::Value;
use std::sync::Arc;

/// One run of a query on its checkpoint.
pub(crate) struct Run {
    pub(crate) flow: Flow,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) shared: Arc<Shared>,
    pub(crate) env: SharedEnv,
    pub(crate) at: Standing,
    pub(crate) reported: Reported,
}

/// Where a query stands between two batches.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing {
    /// The next batch.
    pub(crate) next: u64,
    /// Position of every source: the end of the batch before.
    pub(crate) positions: Vec<Position>,
    /// The batch before, where another engine planned it: nothing repeats what its `offsets/N` says.
    pub(crate) unrepeated: Option<BatchId>,
    /// The newest batch that was there at the start, as long as it is not seen to that the batches
    /// up to it, which may be another engine's, have their history.
    pub(crate) unnoted: Option<BatchId>,
    /// What every source remembered with the batch before.
    pub(crate) details: Vec<Option<Value>>,
    /// Digest of the batch before.
    pub(crate) previous: Option<Digest>,
    /// Watermark for the next batch.
    pub(crate) watermark_ms: i64,
    /// Time of the newest planned batch; batch times never go back.
    pub(crate) batch_time_ms: i64,
}

impl Run {
    /// Runs until the trigger ends, the query is asked to stop, or an error ends it.
    pub(crate) async fn run(mut self) -> Result<()> {
        self.check_identity().await?;
        let settled = self.recover().await?;
        if settled && self.flow.trigger == Trigger::Once {
            // As in Spark: the batch that was left in doubt is the one batch of this run.
            return self.close().await;
        }
        if self.flow.trigger == Trigger::AvailableNow {
            for source in &self.flow.sources {
                tokio::select! {
                    pinned = source.pin_available_now() => pinned?,
                    () = self.shared.drain.cancelled() => break,
                }
            }
        }
        let mut pacer = Pacer::new(self.flow.trigger, self.env.clone());
        while !self.shared.drain.is_cancelled() {
            pacer.wait(&self.shared).await;
            if self.shared.drain.is_cancelled() {
                break;
            }
            let mut watch = Stopwatch::start(&self.env);
            // Nothing is fixed before P4, so that a stop need not wait for an answer of the source.
            let shared = self.shared.clone();
            let planned = tokio::select! {
                planned = self.plan_next(&mut watch) => planned?,
                () = shared.drain.cancelled() => break,
            };
            let Some(planned) = planned else {
                self.shared.found_nothing_to_do();
                self.report_idle(&watch);
                if pacer.ends_when_idle() {
                    break;
                }
                pacer.looked(false);
                continue;
            };
            pacer.looked(true);
            let logged = self.log(planned, &mut watch).await?;
            if let Err(error) = self.run_batch(&logged, &mut watch).await {
                self.recover_from(error).await?;
            }
            if self.flow.trigger == Trigger::Once {
                break;
            }
        }
        self.close().await
    }

    /// P16: waits for housekeeping that is under way; its failure costs nothing, unless an fsync
    /// failed.
    async fn close(&self) -> Result<()> {
        point("P16", Moment::Before, self.at.next);
        let mut hopeless = None;
        for sink in self.flow.sinks() {
            match sink.close().await {
                Ok(()) => {}
                Err(error) if is_hopeless(&error) => {
                    hopeless.get_or_insert(error);
                }
                Err(error) => tracing::warn!(%error, "housekeeping of the sink failed"),
            }
        }
        point("P16", Moment::After, self.at.next);
        hopeless.map_or(Ok(()), Err)
    }

    /// P3: asks every source what there is to read. `None` when there is nothing.
    async fn plan_next(&mut self, watch: &mut Stopwatch) -> Result<Option<Vec<SourceRange>>> {
        let batch = self.at.next;
        point("P3", Moment::Before, batch);
        let limit = match self.flow.trigger {
            Trigger::Once => Limit::None,
            _ => Limit::Options,
        };
        let mut ranges = Vec::with_capacity(self.flow.sources.len());
        let mut found = false;
        let sources = self.flow.sources.iter().zip(&self.at.positions).zip(&self.at.details);
        for ((source, start), detail) in sources {
            self.shared.set_status(
                &format!("Getting offsets from {}", source.describe()),
                false,
                true,
            );
            let admitted = source.admit(start, detail.as_ref(), limit).await;
            let admitted = admitted.map_err(|error| match self.at.unrepeated {
                Some(before) => self.blame_offsets_of(before, error),
                None => error,
            })?;
            found |= admitted.range.is_some();
            watch.latest.push(admitted.latest);
            // A source without news reads an empty range, so that the batch names every source.
            ranges.push(admitted.range.unwrap_or_else(|| SourceRange {
                detail: detail.clone().unwrap_or(Value::Null),
                ..SourceRange::empty(start.clone())
            }));
        }
        watch.lap("latestOffset");
        // The sources know the positions that the batches of others end with.
        self.note_batches_of_others().await?;
        point("P3", Moment::After, batch);
        Ok(found.then_some(ranges))
    }

    /// Once a run: what another engine completed before it gets its history, before its files are
    /// purged, and not before something has agreed with them: a refused run changes nothing.
    pub(super) async fn note_batches_of_others(&mut self) -> Result<()> {
        match self.at.unnoted.take() {
            Some(newest) => self.checkpoint.note_batches_of_others(newest).await,
            None => Ok(()),
        }
    }

    /// P4: fixes the batch. From here on it is done exactly as logged, by whichever run.
    async fn log(
        &mut self,
        ranges: Vec<SourceRange>,
        watch: &mut Stopwatch,
    ) -> Result<LoggedBatch> {
        let batch = BatchId(self.at.next);
        self.shared.set_status("Writing offsets to log", true, true);
        let batch_time_ms = self.env.now_ms().max(self.at.batch_time_ms);
        let intent = Intent {
            query: self.checkpoint.query(),
            batch,
            id: self.env.uuid(),
            previous: self.at.previous,
            epoch: self.checkpoint.epoch(),
            run: self.checkpoint.run(),
            batch_time_ms,
            watermark_ms: self.at.watermark_ms,
            input_watermarks_ms: Vec::new(),
            plan: self.flow.fingerprint.clone(),
            sources: ranges.into_iter().map(Some).collect(),
        };
        let metadata = OffsetsMetadata {
            watermark_ms: self.at.watermark_ms,
            timestamp_ms: batch_time_ms,
            conf: self.flow.conf.clone(),
            source_info: None,
        };
        // CRASH: dying before offsets/N leaves an intent that nobody names; it is purged.
        // CRASH: dying after it leaves a batch in doubt, which recovery executes as logged.
        point("P4", Moment::Before, batch.0);
        self.checkpoint.check_lease().await?;
        let logged = self.checkpoint.log_intent(intent, metadata).await?;
        point("P4", Moment::After, batch.0);
        watch.lap("walCommit");
        Ok(logged)
    }
}
