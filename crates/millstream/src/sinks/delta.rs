//! Rows into a Delta table: the engine's side of [`millstream_delta::DeltaSink`].

use super::{DataSink, StageInfo, TaskOutput, TaskWriter};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::{Error, Result};
use millstream_delta::{AddFile, DeltaSink, DeltaWriter};
use serde_json::Value;

/// A Delta table as a streaming sink.
pub struct DeltaDataSink(DeltaSink);

impl DeltaDataSink {
    /// Wraps a prepared sink.
    pub fn new(sink: DeltaSink) -> Self {
        DeltaDataSink(sink)
    }
}

#[async_trait]
impl Sink for DeltaDataSink {
    fn describe(&self) -> String {
        self.0.describe()
    }

    fn identity(&self) -> Value {
        self.0.identity()
    }

    fn is_exactly_once(&self) -> bool {
        self.0.is_exactly_once()
    }

    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        self.0.probe(query, batch).await
    }

    async fn commit(&self, tag: &CommitTag, staged: &Staged) -> Result<CommitOutcome> {
        self.0.commit(tag, staged).await
    }

    async fn staged_is_complete(&self, staged: &Staged) -> Result<bool> {
        self.0.staged_is_complete(staged).await
    }

    async fn after_completion(&self) -> Result<()> {
        self.0.after_completion().await
    }

    async fn close(&self) -> Result<()> {
        self.0.finish_maintenance().await
    }
}

impl DataSink for DeltaDataSink {
    fn input_schema(&self) -> SchemaRef {
        self.0.input_schema()
    }

    fn writer(
        &self,
        _batch: BatchId,
        attempt: AttemptId,
        task: usize,
    ) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(DeltaTask { writer: self.0.writer(attempt, task), rows: 0 }))
    }

    fn check(&self, rows: &RecordBatch) -> Result<()> {
        self.0.check(rows)
    }

    fn stage(&self, outputs: Vec<TaskOutput>, info: &StageInfo) -> Result<Staged> {
        let mut files: Vec<AddFile> = Vec::new();
        let mut rows_out = 0;
        for output in outputs {
            rows_out += output.rows;
            let of_task: Vec<AddFile> = serde_json::from_value(output.value)
                .map_err(|e| Error::internal(format!("files of a task: {e}")))?;
            files.extend(of_task);
        }
        let info = millstream_delta::StageInfo {
            rows_in: info.rows_in,
            rows_out,
            ranges: info.ranges.clone(),
        };
        Ok(self.0.stage(files, info))
    }
}

struct DeltaTask {
    writer: DeltaWriter,
    rows: u64,
}

impl TaskWriter for DeltaTask {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        self.writer.write(batch)
    }

    fn finish(self: Box<Self>) -> Result<TaskOutput> {
        let files = self.writer.finish()?;
        let value = serde_json::to_value(&files)
            .map_err(|e| Error::internal(format!("files of a task: {e}")))?;
        Ok(TaskOutput { value, rows: self.rows })
    }
}
