//! Measures a trigger and turns it into Spark's progress record.

use super::run::{Run, Standing};
use crate::checkpoint::LoggedBatch;
use millstream_core::contract::{Position, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::log::Prepared;
use millstream_core::progress::{
    DEAD_LETTERS, QueryProgress, SinkProgress, SourceProgress, rate, timestamp,
};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// An idle query reports this often (`spark.sql.streaming.noDataProgressEventInterval`).
const IDLE_REPORT_MS: i64 = 10_000;

/// Phases of one trigger.
pub(crate) struct Stopwatch {
    started_ms: i64,
    started: Instant,
    lap: Instant,
    laps: BTreeMap<String, i64>,
    /// Newest position of every source, as this trigger saw it.
    pub(crate) latest: Vec<Position>,
}

impl Stopwatch {
    pub(crate) fn start(env: &SharedEnv) -> Self {
        let now = Instant::now();
        Stopwatch {
            started_ms: env.now_ms(),
            started: now,
            lap: now,
            laps: BTreeMap::new(),
            latest: Vec::new(),
        }
    }

    /// Ends the phase `name`, which began where the one before ended.
    pub(crate) fn lap(&mut self, name: &str) {
        let now = Instant::now();
        *self.laps.entry(name.to_owned()).or_default() += millis(now - self.lap);
        self.lap = now;
    }

    fn total_ms(&self) -> i64 {
        millis(self.started.elapsed())
    }
}

fn millis(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// When the query last reported, for rates and for the pause between idle reports.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    batch_started_ms: Option<i64>,
    any_ms: Option<i64>,
}

impl Standing {
    /// Moves to the state after a completed batch.
    pub(crate) fn move_past(
        &mut self,
        logged: &LoggedBatch,
        ranges: &[SourceRange],
        next_watermark_ms: i64,
    ) {
        self.next = logged.batch.0 + 1;
        self.positions = ranges.iter().map(|r| r.end.clone()).collect();
        self.details =
            ranges.iter().map(|r| logged.intent.is_some().then(|| r.detail.clone())).collect();
        self.unrepeated = logged.intent.is_none().then_some(logged.batch);
        self.previous = Some(logged.digest);
        self.watermark_ms = self.watermark_ms.max(next_watermark_ms);
        self.batch_time_ms = self.batch_time_ms.max(logged.batch_time_ms());
    }
}

impl Run {
    /// Reports a completed batch.
    pub(super) fn report_batch(
        &mut self,
        logged: &LoggedBatch,
        ranges: &[SourceRange],
        prepared: Option<&Prepared>,
        watch: &Stopwatch,
    ) {
        let rows_in = prepared.map(|p| p.metrics.rows_in.clone()).unwrap_or_default();
        // In the order of the sinks: dead letters, where there are any, then the table.
        let mut rows_out =
            prepared.map(|p| p.metrics.rows_out.iter().copied()).into_iter().flatten();
        let letters = self.flow.dead_letters.as_ref().and_then(|_| rows_out.next());
        let rows_out = rows_out.last();
        let since_ms = self.reported.batch_started_ms.map(|at| watch.started_ms - at);
        let duration_ms = watch.total_ms();
        let rates =
            |rows: u64| (since_ms.map_or(0.0, |ms| rate(rows, ms)), rate(rows, duration_ms));
        let sources = ranges.iter().enumerate().map(|(at, range)| {
            let rows = rows_in.get(at).copied().unwrap_or(0);
            let (input, processed) = rates(rows);
            self.source_progress(at, range, rows, input, processed, logged.batch.0, watch)
        });
        let sources = sources.collect();
        let total: u64 = rows_in.iter().sum();
        let (input, processed) = rates(total);
        let mut progress = self.progress(watch, logged.batch.0);
        progress.num_input_rows = total;
        progress.input_rows_per_second = input;
        progress.processed_rows_per_second = processed;
        progress.sources = sources;
        progress.sink.num_output_rows =
            rows_out.and_then(|rows| i64::try_from(rows).ok()).unwrap_or(-1);
        let letters = letters.map(|rows| (DEAD_LETTERS.to_owned(), rows.to_string()));
        progress.sink.metrics.extend(letters);
        self.reported.batch_started_ms = Some(watch.started_ms);
        self.reported.any_ms = Some(watch.started_ms);
        self.shared.report(progress);
    }

    /// Reports a trigger without data, now and then.
    pub(super) fn report_idle(&mut self, watch: &Stopwatch) {
        let quiet = self.reported.any_ms.map(|at| watch.started_ms - at);
        if quiet.is_some_and(|ms| ms < IDLE_REPORT_MS) {
            return;
        }
        let mut progress = self.progress(watch, self.at.next);
        let at_rest = self.at.positions.iter().enumerate().map(|(at, position)| {
            let range = SourceRange::empty(position.clone());
            self.source_progress(at, &range, 0, 0.0, 0.0, self.at.next, watch)
        });
        progress.sources = at_rest.collect();
        self.reported.any_ms = Some(watch.started_ms);
        self.shared.report(progress);
    }

    #[allow(clippy::too_many_arguments)]
    fn source_progress(
        &self,
        at: usize,
        range: &SourceRange,
        rows: u64,
        input: f64,
        processed: f64,
        batch: u64,
        watch: &Stopwatch,
    ) -> SourceProgress {
        let latest = watch.latest.get(at);
        let source = self.flow.sources.get(at);
        SourceProgress {
            description: source.map(|s| s.describe()).unwrap_or_default(),
            start_offset: if batch == 0 { Value::Null } else { range.start.0.clone() },
            end_offset: range.end.0.clone(),
            latest_offset: latest.map_or(Value::Null, |p| p.0.clone()),
            num_input_rows: rows,
            input_rows_per_second: input,
            processed_rows_per_second: processed,
            metrics: match (source, latest) {
                (Some(source), Some(latest)) => source.metrics(&range.end, latest),
                _ => BTreeMap::new(),
            },
        }
    }

    fn progress(&self, watch: &Stopwatch, batch: u64) -> QueryProgress {
        let mut duration_ms = watch.laps.clone();
        duration_ms.insert("triggerExecution".to_owned(), watch.total_ms());
        QueryProgress {
            id: self.shared.id.to_string(),
            run_id: self.shared.run_id.to_string(),
            name: self.shared.name.clone(),
            timestamp: timestamp(watch.started_ms),
            batch_id: batch,
            batch_duration: watch.total_ms(),
            num_input_rows: 0,
            input_rows_per_second: 0.0,
            processed_rows_per_second: 0.0,
            duration_ms,
            event_time: BTreeMap::new(),
            state_operators: Vec::new(),
            sources: Vec::new(),
            sink: SinkProgress {
                description: self.flow.sink.describe(),
                num_output_rows: -1,
                metrics: BTreeMap::new(),
            },
            observed_metrics: BTreeMap::new(),
        }
    }
}
