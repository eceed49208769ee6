//! One logged batch, from its execution to its completion (P5 to P15), and the roll forward of an
//! attempt that a sink already has.

use super::flow::Flow;
use super::progress::Stopwatch;
use super::run::Run;
use crate::checkpoint::LoggedBatch;
use crate::execute::dead_letters::DeadLetterTap;
use crate::execute::{name_the_record, run_attempt};
use crate::plan::{BatchBinding, bind};
use crate::sinks::{DataSink, StageInfo};
use millstream_core::contract::{CommitOutcome, CommitTag, SourceRange, Staged};
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{AttemptId, BatchId};
use millstream_core::log::{LedgerEntry, Metrics, Planner, Prepared};
use millstream_core::planted::{Mistake, makes};
use millstream_core::protocol::{Resolved, paths, resolve};
use millstream_core::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Probes of one unclear commit before the query gives up; the batch stays in doubt and the next
/// start settles it.
const DOUBT_PROBES_MAX: u32 = 20;
const DOUBT_PAUSE: Duration = Duration::from_millis(100);
const DOUBT_PAUSE_MAX: Duration = Duration::from_secs(5);

impl Run {
    /// Executes a batch that no sink has, and commits it.
    pub(super) async fn run_batch(
        &mut self,
        logged: &LoggedBatch,
        watch: &mut Stopwatch,
    ) -> Result<()> {
        let batch = logged.batch;
        self.shared.set_status("Processing new data", true, true);
        let ranges = self.ranges(logged).await?;
        let prepared = tokio::select! {
            prepared = self.attempt(logged, &ranges, watch) => prepared?,
            () = self.shared.abort.cancelled() => return Err(aborted()),
        };
        watch.lap("addBatch");
        if makes(Mistake::SealAfterCommit) {
            self.commit_and_complete(logged, &ranges, &prepared, watch).await?;
            return self.checkpoint.seal(&prepared).await;
        }
        // CRASH: dying before this file leaves staged files of an attempt that is never adopted.
        point("P9", Moment::Before, batch.0);
        self.checkpoint.seal(&prepared).await?;
        point("P9", Moment::After, batch.0);
        self.commit_and_complete(logged, &ranges, &prepared, watch).await
    }

    /// Commits a sealed attempt to every sink that does not have it, and completes the batch.
    pub(super) async fn commit_and_complete(
        &mut self,
        logged: &LoggedBatch,
        ranges: &[SourceRange],
        prepared: &Prepared,
        watch: &mut Stopwatch,
    ) -> Result<()> {
        let batch = logged.batch.0;
        point("P10", Moment::Before, batch);
        self.checkpoint.check_lease().await?;
        point("P10", Moment::After, batch);
        let sinks = self.flow.sinks();
        if sinks.len() != prepared.sinks.len() {
            return Err(Error::internal("the prepared attempt has other sinks than the flow"));
        }
        let tag = CommitTag {
            query: self.checkpoint.query(),
            batch: logged.batch,
            attempt: prepared.attempt,
            digest: logged.digest,
            previous: self.at.previous,
            epoch: self.checkpoint.epoch(),
        };
        if makes(Mistake::CompleteBeforeSinks) {
            self.complete(logged, ranges, Some(prepared), watch).await?;
            return commit_all(&sinks, &tag, prepared).await;
        }
        commit_all(&sinks, &tag, prepared).await?;
        watch.lap("sinkCommit");
        self.complete(logged, ranges, Some(prepared), watch).await
    }

    /// P13 to P15: writes the completion and moves on.
    pub(super) async fn complete(
        &mut self,
        logged: &LoggedBatch,
        ranges: &[SourceRange],
        prepared: Option<&Prepared>,
        watch: &mut Stopwatch,
    ) -> Result<()> {
        let batch = logged.batch;
        let next_watermark_ms = prepared.map_or(logged.watermark_ms(), |p| p.next_watermark_ms);
        let entry = LedgerEntry {
            query: self.checkpoint.query(),
            batch,
            digest: logged.digest,
            previous: self.at.previous,
            planner: if logged.intent.is_some() { Planner::Millstream } else { Planner::Other },
            attempt: prepared.map(|p| p.attempt),
            epoch: self.checkpoint.epoch(),
            batch_time_ms: logged.batch_time_ms(),
            sources: ranges.iter().cloned().map(Some).collect(),
            rows_in: prepared.map(|p| p.metrics.rows_in.clone()),
            rows_out: prepared.map(|p| p.metrics.rows_out.clone()),
        };
        point("P13", Moment::Before, batch.0);
        self.checkpoint.complete(&entry, next_watermark_ms).await?;
        point("P13", Moment::After, batch.0);
        watch.lap("commitOffsets");
        self.at.move_past(logged, ranges, next_watermark_ms);
        self.report_batch(logged, ranges, prepared, watch);
        self.afterwards(logged).await
    }

    /// P14 and P15: advice and cleaning. A failure is logged and costs nothing, unless it is one of
    /// an fsync.
    async fn afterwards(&mut self, logged: &LoggedBatch) -> Result<()> {
        let batch = logged.batch;
        point("P14", Moment::Before, batch.0);
        for (source, end) in self.flow.sources.iter().zip(&self.at.positions) {
            if let Err(error) = source.completed(end).await {
                tracing::warn!(%batch, %error, "the source was not told about the completed batch");
            }
        }
        point("P14", Moment::Inside, batch.0);
        for sink in self.flow.sinks() {
            if let Err(error) = sink.after_completion().await {
                if is_hopeless(&error) {
                    return Err(error);
                }
                tracing::warn!(%batch, %error, "housekeeping of the sink failed");
            }
        }
        point("P14", Moment::After, batch.0);
        self.note_batches_of_others().await?;
        point("P15", Moment::Before, batch.0);
        if let Err(error) = self.checkpoint.purge(batch, self.flow.batches_to_retain).await {
            tracing::warn!(%batch, %error, "the checkpoint was not purged");
        }
        point("P15", Moment::After, batch.0);
        Ok(())
    }

    /// The full ranges of a logged batch: its intent's, or, where another engine planned it, what
    /// lies between the ends of the batch before and its own.
    pub(super) async fn ranges(&self, logged: &LoggedBatch) -> Result<Vec<SourceRange>> {
        if let Some(intent) = &logged.intent {
            return intent
                .sources
                .iter()
                .zip(&self.at.positions)
                .map(|(range, start)| {
                    Ok(range.clone().unwrap_or_else(|| SourceRange::empty(start.clone())))
                })
                .collect();
        }
        let mut ranges = Vec::new();
        let ends = logged.ends().iter();
        for ((source, start), end) in self.flow.sources.iter().zip(&self.at.positions).zip(ends) {
            let end = end.as_ref().unwrap_or(start);
            let range = source.range_between(start, end).await;
            ranges.push(range.map_err(|error| self.blame_offsets_of(logged.batch, error))?);
        }
        Ok(ranges)
    }

    /// An error of a source that was asked about positions which another engine wrote: they may be
    /// damaged, and the file that has them is named.
    pub(super) fn blame_offsets_of(&self, batch: BatchId, error: Error) -> Error {
        let file = format!("{}/{}", self.checkpoint.describe(), paths::offsets(batch));
        let has_cure = error.cure_text().is_some();
        let error = error.context(file);
        if has_cure {
            return error;
        }
        error.cure(
            "Another engine wrote this file, and nothing repeats what it says. Restore it from a \
             backup if its offsets are not the ones that were planned.",
        )
    }

    /// P5 to P8: reads and executes the batch and stages its rows. Nothing becomes visible.
    async fn attempt(
        &self,
        logged: &LoggedBatch,
        ranges: &[SourceRange],
        watch: &mut Stopwatch,
    ) -> Result<Prepared> {
        let batch = logged.batch;
        let attempt = match makes(Mistake::ReuseAttemptId) {
            true => AttemptId(uuid::Uuid::from_u128(u128::from(batch.0) + 1)),
            false => AttemptId(self.env.uuid()),
        };
        point("P6", Moment::Before, batch.0);
        let tap = self.flow.dead_letters.as_ref().map(|letters| {
            DeadLetterTap::new(letters.sink.clone(), self.checkpoint.query(), batch, attempt)
        });
        let rows: Vec<Arc<AtomicU64>> =
            ranges.iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
        let scans = self.flow.scans(ranges, &rows, tap.as_ref())?;
        let binding = BatchBinding { batch_time_ms: logged.batch_time_ms(), scans };
        let plan = bind(&self.flow.template, &binding)?;
        watch.lap("queryPlanning");
        let context = self.flow.context.clone();
        let outputs = match run_attempt(plan, context, &self.flow.sink, batch, attempt).await {
            Ok(outputs) => outputs,
            Err(error) => {
                let Flow { template, context, sink, .. } = &self.flow;
                return Err(name_the_record(error, template, &binding, context, sink).await);
            }
        };
        point("P8", Moment::Before, batch.0);
        let letters = match &tap {
            Some(tap) => Some(tap.finish()?),
            None => None,
        };
        point("P8", Moment::Inside, batch.0);
        let rows_in: Vec<u64> = rows.iter().map(|r| r.load(Ordering::Relaxed)).collect();
        let info = StageInfo { rows_in: rows_in.iter().sum(), ranges: changed_ranges(ranges) };
        let mut staged = Vec::new();
        let mut rows_out = Vec::new();
        if let (Some(letters), Some(dead_letters)) = (letters, &self.flow.dead_letters) {
            rows_out.push(letters.iter().map(|o| o.rows).sum());
            staged.push(dead_letters.sink.stage(letters, &info)?);
        }
        rows_out.push(outputs.iter().map(|o| o.rows).sum());
        staged.push(self.flow.sink.stage(outputs, &info)?);
        point("P8", Moment::After, batch.0);
        Ok(Prepared {
            query: self.checkpoint.query(),
            batch,
            attempt,
            digest: logged.digest,
            epoch: self.checkpoint.epoch(),
            run: self.checkpoint.run(),
            sinks: staged,
            state: Vec::new(),
            next_watermark_ms: logged.watermark_ms(),
            input_watermarks_ms: Vec::new(),
            metrics: Metrics { rows_in, rows_out, extra: Value::Null },
        })
    }
}

/// P11: commits an attempt to all sinks, in their order.
async fn commit_all(
    sinks: &[Arc<dyn DataSink>],
    tag: &CommitTag,
    prepared: &Prepared,
) -> Result<()> {
    // CRASH: dying between two sinks leaves one of them ahead; recovery rolls this attempt forward
    // into the others from the sealed file.
    point("P11", Moment::Before, tag.batch.0);
    for (sink, staged) in sinks.iter().zip(&prepared.sinks) {
        commit(sink, tag, staged).await?;
    }
    // CRASH: dying here leaves a batch that all sinks have and commits/N does not say so; recovery
    // completes it without executing or committing anything.
    point("P11", Moment::After, tag.batch.0);
    Ok(())
}

/// P11 and P12: commits one sink; an unclear answer is probed until it is clear.
async fn commit(sink: &Arc<dyn DataSink>, tag: &CommitTag, staged: &Staged) -> Result<()> {
    match sink.commit(tag, staged).await? {
        CommitOutcome::Unknown(_) if makes(Mistake::UnknownIsCommitted) => return Ok(()),
        CommitOutcome::Unknown(_) if makes(Mistake::UnknownIsAbsent) => {
            return sink.commit(tag, staged).await.map(|_| ());
        }
        CommitOutcome::Committed { .. } => return Ok(()),
        CommitOutcome::AlreadyThere => settle(sink, tag, staged, None).await?,
        CommitOutcome::Unknown(error) => settle(sink, tag, staged, Some(error)).await?,
    }
    // CRASH: what the probe said is known to nobody else; the next run asks the sink again.
    point("P12", Moment::After, tag.batch.0);
    Ok(())
}

/// Probes until the sink says what became of the attempt. A sink that does not have it gets the
/// same attempt again: its atomic step lets only one of the two in.
async fn settle(
    sink: &Arc<dyn DataSink>,
    tag: &CommitTag,
    staged: &Staged,
    doubt: Option<Error>,
) -> Result<()> {
    let mut pause = DOUBT_PAUSE;
    let mut last = doubt;
    point("P12", Moment::Before, tag.batch.0);
    for turn in 1..=DOUBT_PROBES_MAX {
        if let Some(error) = last.take_if(|error| is_hopeless(error)) {
            return Err(error);
        }
        let answer = sink.probe(tag.query, tag.batch).await;
        point("P12", Moment::Inside, tag.batch.0);
        match answer {
            Err(error) => last = Some(error),
            Ok(probe) => match resolve(&sink.describe(), tag, &probe) {
                Resolved::Ours => return Ok(()),
                Resolved::Absent => match sink.commit(tag, staged).await? {
                    CommitOutcome::Committed { .. } => return Ok(()),
                    CommitOutcome::AlreadyThere => {}
                    CommitOutcome::Unknown(error) => last = Some(error),
                },
                Resolved::Lost { .. } | Resolved::Overtaken => return Err(lost(sink, tag)),
                Resolved::Refuse(refusal) => return Err(refusal.into()),
            },
        }
        if let Some(error) = &last {
            let sink = sink.describe();
            tracing::warn!(%sink, batch = %tag.batch, turn, %error, "whether the batch is committed is not clear yet");
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(DOUBT_PAUSE_MAX);
    }
    let error = Error::unavailable(
        "SINK_COMMIT_IN_DOUBT",
        format!("It could not be learnt whether {} has batch {}.", sink.describe(), tag.batch),
    )
    .cure("Start the query again when the sink answers; the batch is settled then.");
    Err(match last {
        Some(cause) => error.caused_by(cause),
        None => error,
    })
}

/// Whether `error` stays for the life of this process: after a failed fsync nothing that the page
/// cache says can be trusted. The batch stays in doubt, and the next start settles it from the disk.
pub(super) fn is_hopeless(error: &Error) -> bool {
    matches!(error.code(), "STORE_POISONED" | "STORE_SYNC_FAILED")
}

/// Whether `error` is [`lost`], after which the run recovers.
pub(super) fn is_lost(error: &Error) -> bool {
    error.code() == "ATTEMPT_LOST"
}

/// Another attempt of the batch is in the sink: this one has lost, and its files are left alone.
fn lost(sink: &Arc<dyn DataSink>, tag: &CommitTag) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "ATTEMPT_LOST",
        format!("{} has batch {} by another attempt.", sink.describe(), tag.batch),
    )
    .cure("Nothing is lost: recovery finishes the attempt that won.")
}

fn aborted() -> Error {
    Error::new(ErrorKind::Fenced, "QUERY_ABORTED", "The query was told to end at once.")
        .cure("The batch in flight is settled by the next start.")
}

/// Ranges of a batch as the sink's log keeps them: only partitions that moved.
fn changed_ranges(ranges: &[SourceRange]) -> Value {
    ranges.iter().map(|range| json!({ "start": range.start, "end": range.end })).collect()
}
