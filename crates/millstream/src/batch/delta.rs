//! A Delta table as a read-only table of queries: the version that was newest when it was opened.

use crate::plan::{PartitionedScan, StreamScanExec};
use crate::sources::{projected, to_datafusion};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use millstream_core::{Error, ErrorKind};
use millstream_delta::{AddFile, DeltaTable};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Batches that a reading thread may be ahead of its consumer.
const READ_AHEAD: usize = 2;

/// A table to read.
#[derive(Debug)]
pub struct DeltaTableProvider {
    table: DeltaTable,
    schema: SchemaRef,
}

impl DeltaTableProvider {
    /// The table at its version.
    pub fn new(table: DeltaTable) -> Self {
        let schema = Arc::new(table.schema().to_arrow());
        DeltaTableProvider { table, schema }
    }
}

#[async_trait]
impl TableProvider for DeltaTableProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let files = self.table.active_files().map_err(to_datafusion)?;
        let scan = DeltaScan {
            path: self.table.path().to_owned(),
            schema: self.schema.clone(),
            partition_columns: self.table.partition_columns().to_vec(),
            tasks: deal(files, state.config().target_partitions()),
            batch_rows: state.config().batch_size(),
        };
        let hole = StreamScanExec::placeholder(0, self.schema.clone(), projection.cloned())?;
        Ok(Arc::new(hole.bound_to(Arc::new(scan))))
    }
}

/// Deals files to at most `tasks` tasks by size.
fn deal(mut files: Vec<AddFile>, tasks: usize) -> Vec<Vec<AddFile>> {
    let count = tasks.min(files.len()).max(1);
    let mut dealt: Vec<(i64, Vec<AddFile>)> = (0..count).map(|_| (0, Vec::new())).collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.size));
    for file in files {
        if let Some((load, task)) = dealt.iter_mut().min_by_key(|(load, _)| *load) {
            *load += file.size;
            task.push(file);
        }
    }
    dealt.into_iter().map(|(_, task)| task).collect()
}

#[derive(Debug)]
struct DeltaScan {
    path: PathBuf,
    schema: SchemaRef,
    partition_columns: Vec<String>,
    tasks: Vec<Vec<AddFile>>,
    batch_rows: usize,
}

impl PartitionedScan for DeltaScan {
    fn partitions(&self) -> usize {
        self.tasks.len()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> DataFusionResult<SendableRecordBatchStream> {
        let wanted = projected(&self.schema, projection)?;
        let files = self.tasks.get(partition).cloned().unwrap_or_default();
        let mut builder = RecordBatchReceiverStream::builder(wanted.clone(), READ_AHEAD);
        let sender = builder.tx();
        let (path, batch_rows) = (self.path.clone(), self.batch_rows);
        let partition_columns = self.partition_columns.clone();
        builder.spawn_blocking(move || {
            for file in &files {
                let place = FilePlace { table: &path, partition_columns: &partition_columns };
                for batch in place.read(file, &wanted, batch_rows)? {
                    if sender.blocking_send(batch).is_err() {
                        // Nobody reads any more: a LIMIT was reached.
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

struct FilePlace<'a> {
    table: &'a Path,
    partition_columns: &'a [String],
}

impl FilePlace<'_> {
    /// The rows of `file` with exactly the columns of `wanted`.
    fn read<'b>(
        &self,
        file: &'b AddFile,
        wanted: &'b SchemaRef,
        batch_rows: usize,
    ) -> DataFusionResult<impl Iterator<Item = DataFusionResult<RecordBatch>> + use<'b>> {
        let path = file.local_path(self.table).map_err(to_datafusion)?;
        let handle = File::open(&path).map_err(|e| to_datafusion(unreadable(&path, e)))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(handle)
            .map_err(|e| to_datafusion(unreadable(&path, e)))?;
        let of_file = |name: &str| !self.partition_columns.iter().any(|c| c == name);
        let columns: Vec<usize> = reader
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| of_file(f.name()) && wanted.index_of(f.name()).is_ok())
            .map(|(at, _)| at)
            .collect();
        let mask = ProjectionMask::roots(reader.parquet_schema(), columns);
        let reader = reader
            .with_projection(mask)
            .with_batch_size(batch_rows)
            .build()
            .map_err(|e| to_datafusion(unreadable(&path, e)))?;
        let partition_columns = self.partition_columns.to_vec();
        Ok(reader.map(move |batch| {
            let batch = batch.map_err(|e| to_datafusion(unreadable(&path, e)))?;
            complete(&batch, file, &partition_columns, wanted)
        }))
    }
}

/// Adds partition values, and nulls for columns that the file is too old to have.
fn complete(
    batch: &RecordBatch,
    file: &AddFile,
    partition_columns: &[String],
    wanted: &SchemaRef,
) -> DataFusionResult<RecordBatch> {
    let rows = batch.num_rows();
    let columns = wanted
        .fields()
        .iter()
        .map(|field| {
            if partition_columns.contains(field.name()) {
                let value = file.partition_values.get(field.name()).and_then(Option::as_deref);
                return constant(value, field.data_type(), rows);
            }
            match batch.column_by_name(field.name()) {
                Some(column) if column.data_type() == field.data_type() => Ok(column.clone()),
                Some(column) => Ok(arrow::compute::cast(column, field.data_type())?),
                None => Ok(new_null_array(field.data_type(), rows)),
            }
        })
        .collect::<DataFusionResult<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(wanted.clone(), columns, &options)?)
}

/// A partition value as a column (Delta protocol, "Partition Value Serialization").
fn constant(value: Option<&str>, to: &DataType, rows: usize) -> DataFusionResult<ArrayRef> {
    let Some(text) = value.filter(|text| !text.is_empty()) else {
        return Ok(new_null_array(to, rows));
    };
    let text: ArrayRef = Arc::new(StringArray::from_iter_values([text]));
    let one = match to {
        // Partition values are written in UTC; the cast of text without a zone would be refused.
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let naive = DataType::Timestamp(TimeUnit::Microsecond, None);
            let naive = arrow::compute::cast(&text, &naive)?;
            arrow::compute::cast(&naive, to)?
        }
        other => arrow::compute::cast(&text, other)?,
    };
    let indices = arrow::array::UInt32Array::from_iter_values(std::iter::repeat_n(0, rows));
    arrow::compute::take(&one, &indices, None).map_err(DataFusionError::from)
}

fn unreadable(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        "DELTA_DATA_FILE_UNREADABLE",
        format!("The data file `{}` cannot be read.", path.display()),
    )
    .caused_by(error)
    .cure("If another engine has vacuumed the table, read it again.")
}
