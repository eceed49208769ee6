//! Rows of an attempt kept in memory between its tasks and its commit, for the sinks of learning
//! and tests. Bounded: a batch above the limit is refused, never cut.

use super::{TaskOutput, TaskWriter};
use arrow::array::RecordBatch;
use millstream_core::ids::AttemptId;
use millstream_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Rows that one batch may hold in such a sink.
const ROWS_MAX: usize = 10_000_000;

/// Rows by attempt and task.
#[derive(Default)]
pub(super) struct Attempts(Mutex<HashMap<AttemptId, Vec<(usize, RecordBatch)>>>);

impl Attempts {
    /// A writer that adds to `attempt`.
    pub(super) fn writer(self: &Arc<Self>, attempt: AttemptId, task: usize) -> Box<dyn TaskWriter> {
        Box::new(Collecting { attempts: self.clone(), attempt, task, batches: Vec::new(), rows: 0 })
    }

    /// Takes the rows of `attempt`, in the order of its tasks.
    pub(super) fn take(&self, attempt: AttemptId) -> Vec<RecordBatch> {
        let mut batches = self.0.lock().remove(&attempt).unwrap_or_default();
        batches.sort_by_key(|(task, _)| *task);
        batches.into_iter().map(|(_, batch)| batch).collect()
    }
}

struct Collecting {
    attempts: Arc<Attempts>,
    attempt: AttemptId,
    task: usize,
    batches: Vec<RecordBatch>,
    rows: usize,
}

impl TaskWriter for Collecting {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows();
        if self.rows > ROWS_MAX {
            return Err(Error::new(
                ErrorKind::Exhausted,
                "SINK_BATCH_TOO_LARGE",
                format!("A batch has more than {ROWS_MAX} rows, too many for this sink to hold."),
            )
            .cure("Limit the batch with `maxOffsetsPerTrigger`, or write to a table."));
        }
        self.batches.push(batch.clone());
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TaskOutput> {
        let rows = self.rows as u64;
        let mut attempts = self.attempts.0.lock();
        let of_attempt = attempts.entry(self.attempt).or_default();
        of_attempt.extend(self.batches.into_iter().map(|batch| (self.task, batch)));
        Ok(TaskOutput { value: Value::Null, rows })
    }
}
