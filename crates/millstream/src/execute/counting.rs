//! Counts the rows that a scan yields, for `numInputRows`.

use crate::plan::PartitionedScan;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A scan that counts what passes.
#[derive(Debug)]
pub struct CountedScan {
    inner: Arc<dyn PartitionedScan>,
    rows: Arc<AtomicU64>,
}

impl CountedScan {
    /// Counts the rows of `inner` into `rows`.
    pub fn new(inner: Arc<dyn PartitionedScan>, rows: Arc<AtomicU64>) -> Arc<Self> {
        Arc::new(CountedScan { inner, rows })
    }
}

impl PartitionedScan for CountedScan {
    fn partitions(&self) -> usize {
        self.inner.partitions()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let stream = self.inner.execute(partition, projection)?;
        let (schema, rows) = (stream.schema(), self.rows.clone());
        let counted = stream.inspect(move |batch| {
            if let Ok(batch) = batch {
                rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }

    /// That of the scan: who executes the plan counts for himself.
    fn description(&self) -> millstream_core::Result<serde_json::Value> {
        self.inner.description()
    }
}
