//! Names the record that made a batch fail.
//!
//! The hot path does not carry topic, partition and offset through every operator. When a batch
//! fails on its data, the range is read once more, Arrow batch by Arrow batch, and the first that
//! fails is halved until one record is left. Only a query that is about to end pays for this.

use crate::plan::{BatchBinding, PartitionedScan, PhysicalTemplate, bind};
use crate::sinks::DataSink;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlanProperties;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Adds topic, partition and offset of the offending record to `error`, where one record is to
/// blame. Any failure of the search itself leaves the error as it was.
pub async fn name_the_record(
    error: Error,
    template: &PhysicalTemplate,
    binding: &BatchBinding,
    context: &Arc<TaskContext>,
    sink: &Arc<dyn DataSink>,
) -> Error {
    if error.kind() != ErrorKind::Invalid {
        return error;
    }
    for (stream, scan) in binding.scans.iter().enumerate() {
        let search = Search { template, binding, context, sink, stream };
        if let Ok(Some(place)) = search.first_failing(scan).await {
            return error.context(place);
        }
    }
    error
}

struct Search<'a> {
    template: &'a PhysicalTemplate,
    binding: &'a BatchBinding,
    context: &'a Arc<TaskContext>,
    sink: &'a Arc<dyn DataSink>,
    stream: usize,
}

impl Search<'_> {
    async fn first_failing(&self, scan: &Arc<dyn PartitionedScan>) -> Result<Option<String>> {
        for partition in 0..scan.partitions() {
            let mut batches =
                scan.execute(partition, None).map_err(crate::plan::error::from_datafusion)?;
            while let Some(Ok(batch)) = batches.next().await {
                if self.fails(&batch).await? {
                    return self.narrow(batch).await.map(Some);
                }
            }
        }
        Ok(None)
    }

    /// The first failing record of a batch that fails.
    async fn narrow(&self, mut batch: RecordBatch) -> Result<String> {
        while batch.num_rows() > 1 {
            let half = batch.num_rows() / 2;
            let first = batch.slice(0, half);
            batch = if self.fails(&first).await? {
                first
            } else {
                batch.slice(half, batch.num_rows() - half)
            };
        }
        Ok(place(&batch))
    }

    async fn fails(&self, batch: &RecordBatch) -> Result<bool> {
        let mut binding = self.binding.clone();
        for (stream, scan) in binding.scans.iter_mut().enumerate() {
            // The other streams are read as empty: what is searched for lies in this one.
            let rows = if stream == self.stream { Some(batch.clone()) } else { None };
            *scan = Arc::new(OneBatch { rows, empty_like: scan.clone() });
        }
        let plan = bind(self.template, &binding)?;
        for partition in 0..plan.output_partitioning().partition_count() {
            let Ok(mut stream) = plan.execute(partition, self.context.clone()) else {
                return Ok(true);
            };
            while let Some(result) = stream.next().await {
                if result.is_err() || result.is_ok_and(|rows| self.sink.check(&rows).is_err()) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}

/// `record topic-partition@offset`, as far as the columns are there.
fn place(batch: &RecordBatch) -> String {
    let text = |name: &str| {
        let column = batch.column_by_name(name)?.as_string_opt::<i32>()?.clone();
        (!column.is_empty() && column.is_valid(0)).then(|| column.value(0).to_owned())
    };
    let partition = batch
        .column_by_name("partition")
        .and_then(|c| c.as_primitive_opt::<Int32Type>())
        .filter(|c| !c.is_empty())
        .map(|c| c.value(0));
    let offset = batch
        .column_by_name("offset")
        .and_then(|c| c.as_primitive_opt::<Int64Type>())
        .filter(|c| !c.is_empty())
        .map(|c| c.value(0));
    match (text("topic"), partition, offset) {
        (Some(topic), Some(partition), Some(offset)) => {
            format!("record at topic {topic}, partition {partition}, offset {offset}")
        }
        _ => "one record of the batch".to_owned(),
    }
}

/// A scan of one batch that is at hand, or of none.
#[derive(Debug)]
struct OneBatch {
    rows: Option<RecordBatch>,
    empty_like: Arc<dyn PartitionedScan>,
}

impl PartitionedScan for OneBatch {
    fn partitions(&self) -> usize {
        1
    }

    fn execute(
        &self,
        _partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let Some(rows) = &self.rows else {
            let schema = self.empty_like.execute(0, projection)?.schema();
            return Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::empty())));
        };
        let rows = match projection {
            None => rows.clone(),
            Some(columns) => rows.project(columns)?,
        };
        let schema = rows.schema();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(rows)]))))
    }
}
