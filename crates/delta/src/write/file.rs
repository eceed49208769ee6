//! One open data file.

use super::WriteConfig;
use super::partition;
use super::physical;
use super::stats::Collected;
use crate::log::actions::{AddFile, PartitionValues};
use arrow::array::RecordBatch;
use millstream_core::Result;
use millstream_store::{Operation, durable, io_error};
use parquet::arrow::ArrowWriter;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// A data file that is being written.
pub(super) struct OpenFile {
    /// Absolute path.
    path: PathBuf,
    /// Path in the log.
    log_path: String,
    partition_values: PartitionValues,
    /// The same file as the writer's, to make it durable when the writer is done.
    file: Arc<File>,
    writer: ArrowWriter<Arc<File>>,
    collected: Collected,
    rows: u64,
    last_used: u64,
}

impl std::fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenFile").field("path", &self.path).field("rows", &self.rows).finish()
    }
}

impl OpenFile {
    pub(super) fn create(
        config: &WriteConfig,
        dir: &str,
        name: &str,
        values: &[Option<String>],
    ) -> Result<OpenFile> {
        let relative = if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") };
        let path = config.root.join(&relative);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(|e| io_error(Operation::Write, &path, e))?;
        let file = Arc::new(file);
        let schema = Arc::clone(&config.data_schema);
        let writer =
            ArrowWriter::try_new_with_options(Arc::clone(&file), schema, physical::options());
        let writer = physical::written(&path, writer)?;
        let partition_values = config
            .partition_columns
            .iter()
            .zip(values)
            .map(|(column, value)| (column.name.clone(), value.clone()))
            .collect();
        Ok(OpenFile {
            log_path: partition::encode_path(&relative),
            path,
            partition_values,
            file,
            writer,
            collected: Collected::new(&config.stats),
            rows: 0,
            last_used: 0,
        })
    }

    pub(super) fn write(&mut self, rows: &RecordBatch, clock: u64) -> Result<()> {
        self.last_used = clock;
        self.rows += rows.num_rows() as u64;
        self.collected.look(rows);
        physical::written(&self.path, self.writer.write(rows))
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn last_used(&self) -> u64 {
        self.last_used
    }

    /// Bytes on disk and waiting.
    pub(super) fn bytes(&self) -> u64 {
        (self.writer.bytes_written() + self.writer.in_progress_size()) as u64
    }

    /// Bytes waiting in memory.
    pub(super) fn memory(&self) -> usize {
        self.writer.memory_size()
    }

    /// Writes what waits in memory as a row group.
    pub(super) fn flush(&mut self) -> Result<()> {
        physical::written(&self.path, self.writer.flush())
    }

    /// Ends the file and makes its content durable; its name becomes so with the directory.
    pub(super) fn close(self, config: &WriteConfig) -> Result<AddFile> {
        let metadata = physical::written(&self.path, self.writer.close())?;
        durable::sync(&self.file, &self.path)?;
        let found = self.file.metadata();
        let size = found.map_err(|e| io_error(Operation::Read, &self.path, e))?.len();
        Ok(AddFile {
            stats: Some(self.collected.to_json(self.rows, &metadata)),
            path: self.log_path,
            partition_values: self.partition_values,
            size: i64::try_from(size).unwrap_or(i64::MAX),
            modification_time: config.env.now_ms(),
            data_change: true,
            tags: None,
            deletion_vector: None,
        })
    }
}
