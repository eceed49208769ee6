//! A sink that takes rows and drops them, for measuring (Spark's `noop`).

use super::{DataSink, StageInfo, TaskOutput, TaskWriter};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use serde_json::{Value, json};

/// Takes every row and keeps none.
pub struct NoopSink {
    schema: SchemaRef,
}

impl NoopSink {
    /// For rows of `schema`.
    pub fn new(schema: SchemaRef) -> Self {
        NoopSink { schema }
    }
}

#[async_trait]
impl Sink for NoopSink {
    fn describe(&self) -> String {
        "NoopTable".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "format": "noop" })
    }

    fn is_exactly_once(&self) -> bool {
        false
    }

    async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    async fn commit(&self, tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
        Ok(CommitOutcome::Committed { version: tag.batch.0 })
    }
}

impl DataSink for NoopSink {
    fn input_schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn writer(&self, _: BatchId, _: AttemptId, _: usize) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(Counting(0)))
    }

    fn stage(&self, _outputs: Vec<TaskOutput>, _info: &StageInfo) -> Result<Staged> {
        Ok(Staged(Value::Null))
    }
}

struct Counting(u64);

impl TaskWriter for Counting {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.0 += batch.num_rows() as u64;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<TaskOutput> {
        Ok(TaskOutput { value: Value::Null, rows: self.0 })
    }
}
