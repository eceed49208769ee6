//! Streaming sinks: the control side of [`millstream_core::contract::Sink`] plus the Arrow side
//! that stages the rows of one attempt.

mod collect;
mod console;
mod delta;
mod memory;
mod noop;

pub use console::{CONSOLE_OPTIONS, ConsoleSink};
pub use delta::DeltaDataSink;
pub use memory::{MemorySink, MemoryTables};
pub use noop::NoopSink;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use millstream_core::Result;
use millstream_core::contract::{Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What one task hands back after it wrote its rows.
#[derive(Debug, Clone)]
pub struct TaskOutput {
    /// What the sink needs to commit the task's rows; the sink's own JSON.
    pub value: Value,
    /// Rows written.
    pub rows: u64,
}

/// Counts and ranges of an attempt, for the sink's log.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StageInfo {
    /// Rows read from the sources.
    pub rows_in: u64,
    /// Ranges of the batch, source by source.
    pub ranges: Value,
}

/// Writes the rows of one task of one attempt. Nothing it writes is visible before the commit.
pub trait TaskWriter: Send {
    /// Adds rows of [`DataSink::input_schema`].
    ///
    /// # Errors
    /// What the sink says about the rows or its storage.
    fn write(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Makes everything durable and says what to commit.
    ///
    /// # Errors
    /// What the sink says about its storage.
    fn finish(self: Box<Self>) -> Result<TaskOutput>;
}

/// A sink that the engine can both commit to and write to.
pub trait DataSink: Sink {
    /// The schema that rows must have.
    fn input_schema(&self) -> SchemaRef;

    /// A writer for one task of an attempt.
    ///
    /// # Errors
    /// What the sink says about its storage.
    fn writer(
        &self,
        batch: BatchId,
        attempt: AttemptId,
        task: usize,
    ) -> Result<Box<dyn TaskWriter>>;

    /// Refuses rows that a writer would refuse for what they hold, without writing: how the record
    /// that made a batch fail is found.
    ///
    /// # Errors
    /// What is wrong with them.
    fn check(&self, _rows: &RecordBatch) -> Result<()> {
        Ok(())
    }

    /// Puts the outputs of all tasks together into what [`Sink::commit`] needs.
    ///
    /// # Errors
    /// Where an output is not one of this sink's.
    fn stage(&self, outputs: Vec<TaskOutput>, info: &StageInfo) -> Result<Staged>;
}
