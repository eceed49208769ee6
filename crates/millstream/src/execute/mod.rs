//! Runs one attempt of a batch: the bound plan's partitions side by side, each into its own task
//! writer of the sink. Nothing here commits.

mod counting;
pub mod dead_letters;
mod diagnose;

pub use counting::CountedScan;
pub use diagnose::name_the_record;

use crate::plan::error::from_datafusion;
use crate::sinks::{DataSink, TaskOutput, TaskWriter};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::StreamExt as _;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{AttemptId, BatchId};
use millstream_core::{Error, Result};
use std::sync::Arc;
use tokio::task::JoinSet;

/// Executes every partition of `plan` and returns the tasks' outputs in partition order.
///
/// Rows stream through: a task holds one Arrow batch and what its writer buffers. The first error
/// stops all tasks; what they staged stays behind under the attempt's own names, never referenced.
///
/// # Errors
/// The first error of a source, an operator or the sink's writer.
pub async fn run_attempt(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    sink: &Arc<dyn DataSink>,
    batch: BatchId,
    attempt: AttemptId,
) -> Result<Vec<TaskOutput>> {
    let partitions = plan.output_partitioning().partition_count();
    let mut tasks = JoinSet::new();
    for partition in 0..partitions {
        let stream = plan.execute(partition, context.clone()).map_err(from_datafusion)?;
        let writer = sink.writer(batch, attempt, partition)?;
        tasks.spawn(async move { (partition, run_task(stream, writer, batch).await) });
    }
    let mut outputs = Vec::with_capacity(partitions);
    while let Some(joined) = tasks.join_next().await {
        let (partition, output) = joined.map_err(task_failed)?;
        outputs.push((partition, output?));
    }
    outputs.sort_by_key(|(partition, _)| *partition);
    Ok(outputs.into_iter().map(|(_, output)| output).collect())
}

async fn run_task(
    mut stream: datafusion::execution::SendableRecordBatchStream,
    mut writer: Box<dyn TaskWriter>,
    batch: BatchId,
) -> Result<TaskOutput> {
    while let Some(rows) = stream.next().await {
        let rows = rows.map_err(from_datafusion)?;
        if rows.num_rows() > 0 {
            point("P6", Moment::Inside, batch.0);
            writer.write(&rows)?;
            point("P7", Moment::Inside, batch.0);
        }
    }
    point("P7", Moment::After, batch.0);
    // Finishing waits for the disk; the other tasks go on meanwhile.
    tokio::task::spawn_blocking(move || writer.finish()).await.map_err(task_failed)?
}

fn task_failed(error: tokio::task::JoinError) -> Error {
    Error::internal(format!("a task of the batch ended abnormally: {error}"))
}
