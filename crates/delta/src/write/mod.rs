//! Writing data files: batches in, durable Parquet files and their `add` actions out.
//!
//! A writer belongs to one task of one attempt; its files carry the attempt's id in their names,
//! so that files of another attempt are never taken for its own. Nothing is visible to readers of
//! the table before the commit.
//!
//! Bounds: at most [`OPEN_FILES_MAX`] files are open; rows of further partitions wait in memory up
//! to a limit, then the least recently used file makes room. Encoded rows that wait in memory are
//! flushed beyond [`BUFFERED_BYTES_MAX`].

mod file;
mod nulls;
pub(crate) mod partition;
mod pending;
mod physical;
mod split;
pub(crate) mod stats;

use crate::log::actions::AddFile;
use crate::log::files::settle_upwards;
use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute;
use arrow::datatypes::{Schema, SchemaRef};
use file::OpenFile;
use millstream_core::env::SharedEnv;
use millstream_core::ids::AttemptId;
use millstream_core::{Error, Result};
use millstream_store::durable::{self, Access};
use millstream_types::{DataType, StructType};
use partition::PartitionColumn;
use pending::Pending;
use split::Splitter;
use stats::StatsPlan;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files open at a time.
pub const OPEN_FILES_MAX: usize = 64;
/// Encoded bytes in memory, over all open files, beyond which the largest file is flushed.
pub const BUFFERED_BYTES_MAX: usize = 192 << 20;
/// Rows handed to one file at a time, so that file sizes are looked at often enough.
const CHUNK_ROWS_MAX: usize = 65_536;

/// What every writer of one sink shares.
pub(crate) struct WriteConfig {
    pub root: PathBuf,
    pub env: SharedEnv,
    /// The table's schema.
    pub schema: StructType,
    /// What batches must look like: `schema` in Arrow, everything nullable.
    pub input_schema: SchemaRef,
    /// Positions of the columns that are stored in files.
    pub data_columns: Vec<usize>,
    pub data_schema: SchemaRef,
    pub partition_columns: Vec<PartitionColumn>,
    pub stats: StatsPlan,
    pub max_records_per_file: u64,
    pub target_file_bytes: u64,
    /// Set once the table's directory is known to be durable.
    pub root_settled: AtomicBool,
}

/// Choices of [`WriteConfig`] that are not the schema's.
#[derive(Debug, Clone)]
pub(crate) struct WriteLimits {
    pub max_records_per_file: Option<u64>,
    pub target_file_bytes: u64,
}

impl std::fmt::Debug for WriteConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WriteConfig").field("root", &self.root).finish_non_exhaustive()
    }
}

impl WriteConfig {
    pub(crate) fn new(
        root: PathBuf,
        env: SharedEnv,
        schema: StructType,
        partition_by: &[String],
        properties: &BTreeMap<String, String>,
        limits: &WriteLimits,
    ) -> Result<Self> {
        let nullable = schema.as_nullable();
        let input_schema = Arc::new(nullable.to_arrow());
        let mut partition_columns = Vec::new();
        for name in partition_by {
            let index = schema.index_of(name).ok_or_else(|| {
                Error::corrupt(
                    "DELTA_LOG_CORRUPT",
                    format!("The partition column `{name}` is not in the table's schema."),
                )
            })?;
            let data_type =
                schema.fields.get(index).map_or(DataType::Null, |f| f.data_type.clone());
            partition_columns.push(PartitionColumn { index, name: name.clone(), data_type });
        }
        let data_columns: Vec<usize> = (0..schema.fields.len())
            .filter(|index| partition_columns.iter().all(|p| p.index != *index))
            .collect();
        let data_fields: StructType =
            data_columns.iter().filter_map(|at| nullable.fields.get(*at)).cloned().collect();
        let stats = StatsPlan::new(&data_fields, properties);
        Ok(WriteConfig {
            root,
            env,
            input_schema,
            data_schema: Arc::new(data_fields.to_arrow()),
            schema,
            data_columns,
            partition_columns,
            stats,
            max_records_per_file: limits.max_records_per_file.unwrap_or(u64::MAX).max(1),
            target_file_bytes: limits.target_file_bytes.max(1),
            root_settled: AtomicBool::new(false),
        })
    }
}

/// Writes the data files of one task of one attempt.
#[derive(Debug)]
pub struct DeltaWriter {
    config: Arc<WriteConfig>,
    attempt: AttemptId,
    task: usize,
    splitter: Option<Splitter>,
    open: HashMap<Vec<u8>, OpenFile>,
    pending: Pending,
    /// Counts writes; files remember theirs.
    clock: u64,
    files_begun: usize,
    ready_dirs: BTreeSet<PathBuf>,
    done: Vec<AddFile>,
    rows: u64,
}

impl DeltaWriter {
    pub(crate) fn new(config: Arc<WriteConfig>, attempt: AttemptId, task: usize) -> Self {
        DeltaWriter {
            config,
            attempt,
            task,
            splitter: None,
            open: HashMap::new(),
            pending: Pending::default(),
            clock: 0,
            files_begun: 0,
            ready_dirs: BTreeSet::new(),
            done: Vec::new(),
            rows: 0,
        }
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes a batch of the sink's [`input_schema`](crate::DeltaSink::input_schema). Blocks.
    ///
    /// # Errors
    /// `DELTA_NOT_NULL_CONSTRAINT_VIOLATED`, `DELTA_BATCH_SCHEMA` for another schema, or what
    /// the disk says.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = self.conform(batch)?;
        nulls::check(&self.config.schema, &columns)?;
        self.rows += batch.num_rows() as u64;
        let config = Arc::clone(&self.config);
        let data: Vec<ArrayRef> =
            config.data_columns.iter().filter_map(|at| columns.get(*at)).cloned().collect();
        let data = RecordBatch::try_new(Arc::clone(&config.data_schema), data)
            .map_err(|e| Error::internal("A batch could not be put together.").caused_by(e))?;
        if config.partition_columns.is_empty() {
            self.write_partition(&[], &[], &data)?;
            return self.flush_if_large();
        }
        if self.splitter.is_none() {
            self.splitter = Some(Splitter::new(&config.partition_columns)?);
        }
        let Some(splitter) = &self.splitter else { return Ok(()) };
        for part in splitter.split(&config.partition_columns, &columns, &data)? {
            if self.open.contains_key(&part.key) || self.open.len() < OPEN_FILES_MAX {
                self.write_partition(&part.key, &part.values, &part.rows)?;
            } else {
                self.pending.push(part.key, part.values, part.rows);
            }
        }
        while self.pending.is_too_much() {
            let Some((key, waiting)) = self.pending.take_largest() else { break };
            if let Some(rows) = waiting.rows()? {
                self.write_partition(&key, &waiting.values, &rows)?;
            }
        }
        self.flush_if_large()
    }

    /// Refuses rows that [`DeltaWriter::write`] would refuse for what they hold. Writes nothing.
    ///
    /// # Errors
    /// `DELTA_NOT_NULL_CONSTRAINT_VIOLATED`, `DELTA_PARTITION_VALUE_TOO_LONG`,
    /// `DELTA_BATCH_SCHEMA`.
    pub fn check(&self, batch: &RecordBatch) -> Result<()> {
        let columns = self.conform(batch)?;
        nulls::check(&self.config.schema, &columns)?;
        let partitioning = &self.config.partition_columns;
        if partitioning.is_empty() || batch.num_rows() == 0 {
            return Ok(());
        }
        for part in Splitter::new(partitioning)?.split(partitioning, &columns, batch)? {
            partition::check_names(partitioning, &part.values)?;
        }
        Ok(())
    }

    /// Closes all files and makes them durable with their directories.
    ///
    /// # Errors
    /// What the disk says.
    pub fn finish(mut self) -> Result<Vec<AddFile>> {
        let keys: Vec<Vec<u8>> = self.open.keys().cloned().collect();
        for key in keys {
            self.close(&key)?;
        }
        while let Some((key, waiting)) = self.pending.take_any() {
            if let Some(rows) = waiting.rows()? {
                self.write_partition(&key, &waiting.values, &rows)?;
                self.close(&key)?;
            }
        }
        // Every file is durable in itself; its name is once its directory is, in all its parents.
        let root = &self.config.root;
        let all: BTreeSet<&Path> = self
            .ready_dirs
            .iter()
            .flat_map(|dir| dir.ancestors().take_while(|at| at.starts_with(root)))
            .collect();
        for dir in all.iter().rev() {
            durable::fsync_dir(dir)?;
        }
        if !all.is_empty() && !self.config.root_settled.load(Ordering::Acquire) {
            settle_upwards(root)?;
            self.config.root_settled.store(true, Ordering::Release);
        }
        self.done.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(std::mem::take(&mut self.done))
    }

    /// The columns of `batch` in exactly the expected types.
    fn conform(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        let expected = &self.config.input_schema;
        if Arc::ptr_eq(expected, batch.schema_ref()) {
            return Ok(batch.columns().to_vec());
        }
        if batch.num_columns() != expected.fields().len() {
            return Err(wrong_schema(expected, batch.schema_ref()));
        }
        let mut columns = Vec::with_capacity(batch.num_columns());
        for (field, column) in expected.fields().iter().zip(batch.columns()) {
            if column.data_type() == field.data_type() {
                columns.push(Arc::clone(column));
                continue;
            }
            let found = DataType::from_arrow(column.data_type()).ok().map(|t| t.as_nullable());
            if found.is_none() || found != DataType::from_arrow(field.data_type()).ok() {
                return Err(wrong_schema(expected, batch.schema_ref()));
            }
            // Only nullability or the encoding differs; no value changes.
            columns.push(
                compute::cast(column, field.data_type())
                    .map_err(|e| wrong_schema(expected, batch.schema_ref()).caused_by(e))?,
            );
        }
        Ok(columns)
    }

    fn write_partition(
        &mut self,
        key: &[u8],
        values: &[Option<String>],
        rows: &RecordBatch,
    ) -> Result<()> {
        let (rows_max, bytes_max) =
            (self.config.max_records_per_file, self.config.target_file_bytes);
        let mut at = 0;
        while at < rows.num_rows() {
            let clock = self.clock;
            let file = self.file_for(key, values)?;
            let room = usize::try_from(rows_max.saturating_sub(file.rows())).unwrap_or(usize::MAX);
            let count = room.min(CHUNK_ROWS_MAX).min(rows.num_rows() - at);
            file.write(&rows.slice(at, count), clock)?;
            let full = file.rows() >= rows_max || file.bytes() >= bytes_max;
            at += count;
            if full {
                self.close(key)?;
            }
        }
        Ok(())
    }

    /// The open file of a partition, begun if there is none.
    fn file_for(&mut self, key: &[u8], values: &[Option<String>]) -> Result<&mut OpenFile> {
        self.clock += 1;
        if !self.open.contains_key(key) {
            if self.open.len() >= OPEN_FILES_MAX
                && let Some(oldest) =
                    self.open.iter().min_by_key(|(_, f)| f.last_used()).map(|(k, _)| k.clone())
            {
                self.close(&oldest)?;
            }
            let file = self.begin(values)?;
            self.open.insert(key.to_vec(), file);
        }
        self.open.get_mut(key).ok_or_else(|| Error::internal("An open file is missing."))
    }

    fn begin(&mut self, values: &[Option<String>]) -> Result<OpenFile> {
        let name = format!(
            "part-{:05}-{}-c{:03}.snappy.parquet",
            self.task, self.attempt, self.files_begun
        );
        self.files_begun += 1;
        partition::check_names(&self.config.partition_columns, values)?;
        let dir = partition::directory(&self.config.partition_columns, values);
        self.make_dir(&dir)?;
        OpenFile::create(&self.config, &dir, &name, values)
    }

    /// Makes the directory of a partition, and the log's, which tells a table without a commit
    /// from a directory of somebody else's files.
    fn make_dir(&mut self, relative: &str) -> Result<()> {
        let dir = self.config.root.join(relative);
        if self.ready_dirs.contains(&dir) {
            return Ok(());
        }
        if self.ready_dirs.is_empty() {
            durable::create_dirs(&self.config.root.join("_delta_log"), Access::Umask)?;
        }
        durable::create_dirs(&dir, Access::Umask)?;
        self.ready_dirs.insert(dir);
        Ok(())
    }

    fn close(&mut self, key: &[u8]) -> Result<()> {
        if let Some(file) = self.open.remove(key) {
            let add = file.close(&self.config)?;
            self.done.push(add);
        }
        Ok(())
    }

    fn flush_if_large(&mut self) -> Result<()> {
        let buffered: usize = self.open.values().map(OpenFile::memory).sum();
        if buffered <= BUFFERED_BYTES_MAX {
            return Ok(());
        }
        match self.open.values_mut().max_by_key(|file| file.memory()) {
            Some(largest) => largest.flush(),
            None => Ok(()),
        }
    }
}

fn wrong_schema(expected: &Schema, found: &Schema) -> Error {
    Error::new(
        millstream_core::ErrorKind::Internal,
        "DELTA_BATCH_SCHEMA",
        format!("A batch has another schema than the table needs: {found}, not {expected}."),
    )
}
