//! A stream fed by the program itself (Spark's `MemoryStream`), for tests and learning. Its
//! position is the number of batches added; the data lives as long as the stream object.

use super::{ScanSettings, StreamingSource};
use crate::plan::PartitionedScan;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Batches that the program adds and a query reads.
pub struct MemoryStream {
    schema: SchemaRef,
    batches: Mutex<Vec<RecordBatch>>,
    pinned: Mutex<Option<usize>>,
}

impl MemoryStream {
    /// An empty stream of rows of `schema`.
    pub fn new(schema: SchemaRef) -> Arc<Self> {
        Arc::new(MemoryStream { schema, batches: Mutex::new(Vec::new()), pinned: Mutex::new(None) })
    }

    /// Adds rows; a running query reads them in its next batch.
    ///
    /// # Errors
    /// `MEMORY_STREAM_SCHEMA` where the batch has another schema than the stream.
    pub fn add_data(&self, batch: RecordBatch) -> Result<()> {
        if batch.schema() != self.schema {
            return Err(Error::invalid(
                "MEMORY_STREAM_SCHEMA",
                format!("The stream has {:?}, the batch has {:?}.", self.schema, batch.schema()),
            ));
        }
        self.batches.lock().push(batch);
        Ok(())
    }
}

fn index(position: &Position) -> Result<usize> {
    position.0.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
        Error::corrupt(
            "MEMORY_OFFSET_MALFORMED",
            format!("`{}` is not a position of a memory stream.", position.0),
        )
    })
}

#[async_trait]
impl Source for MemoryStream {
    fn describe(&self) -> String {
        "MemoryStream".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "format": "memory" })
    }

    async fn initial_position(&self) -> Result<Position> {
        Ok(Position(json!(0)))
    }

    async fn pin_available_now(&self) -> Result<()> {
        *self.pinned.lock() = Some(self.batches.lock().len());
        Ok(())
    }

    async fn admit(
        &self,
        start: &Position,
        _detail: Option<&Value>,
        _limit: Limit,
    ) -> Result<Admitted> {
        let from = index(start)?;
        let len = self.batches.lock().len();
        let to = self.pinned.lock().map_or(len, |pinned| pinned.min(len)).max(from);
        let end = Position(json!(to));
        let range = (to > from).then(|| SourceRange {
            start: start.clone(),
            end: end.clone(),
            detail: Value::Null,
        });
        Ok(Admitted { range, latest: Position(json!(len)) })
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        Ok(SourceRange { start: start.clone(), end: end.clone(), detail: Value::Null })
    }

    async fn completed(&self, _end: &Position) -> Result<()> {
        Ok(())
    }
}

impl StreamingSource for MemoryStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(
        self: Arc<Self>,
        range: &SourceRange,
        _settings: ScanSettings,
    ) -> Result<Arc<dyn PartitionedScan>> {
        let (from, to) = (index(&range.start)?, index(&range.end)?);
        let batches = self.batches.lock().get(from..to).map(<[RecordBatch]>::to_vec);
        let batches = batches.ok_or_else(|| {
            Error::new(
                millstream_core::ErrorKind::DataLoss,
                "MEMORY_STREAM_GONE",
                format!("The memory stream no longer holds batches {from} to {to}."),
            )
            .cure("A memory stream lives in one process; start with a new checkpoint.")
        })?;
        Ok(Arc::new(MemoryScan { schema: self.schema.clone(), batches }))
    }

    fn is_replayable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct MemoryScan {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl PartitionedScan for MemoryScan {
    fn partitions(&self) -> usize {
        1
    }

    fn execute(
        &self,
        _partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = super::projected(&self.schema, projection)?;
        let columns: Option<Vec<usize>> = projection.map(<[usize]>::to_vec);
        let batches: Vec<_> = self
            .batches
            .iter()
            .map(|batch| match &columns {
                None => Ok(batch.clone()),
                Some(columns) => Ok(batch.project(columns)?),
            })
            .collect();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))))
    }
}
