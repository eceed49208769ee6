//! Where each row of a data file came from: its topic, partition and offset columns, read from the
//! file itself or, for partition columns of the table, from the log.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType as ArrowType, FieldRef, Int32Type, Int64Type, Schema};
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use millstream_delta::AddFile;
use millstream_types::{DataType, StructType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

const COLUMNS: [(&str, ArrowType); 3] =
    [("topic", ArrowType::Utf8), ("partition", ArrowType::Int32), ("offset", ArrowType::Int64)];

/// Why rows cannot be audited; `None` if they can.
pub(super) fn missing<'a>(schemas: impl Iterator<Item = &'a StructType>) -> Option<String> {
    for schema in schemas {
        for (name, _) in &COLUMNS {
            let field = schema.fields.iter().find(|f| f.name.eq_ignore_ascii_case(name));
            let wanted = match *name {
                "topic" => DataType::String,
                "partition" => DataType::Integer,
                _ => DataType::Long,
            };
            if field.is_none_or(|f| f.data_type != wanted) {
                return Some(format!(
                    "the table has no column `{name}` of type {}; select topic, partition and \
                     offset to make its rows checkable",
                    wanted.sql()
                ));
            }
        }
    }
    None
}

/// Calls `take` with the place of each row of `file`. A row without a place has partition −1.
/// Returns what the log calls otherwise, in letters' case alone: (in the log, in the file). Spark
/// takes both for one name; a reader that does not finds no values.
pub(super) fn read(
    table: &Path,
    schema: &StructType,
    partition_columns: &[String],
    file: &AddFile,
    mut take: impl FnMut(&TopicPartition, i64),
) -> Result<Option<(String, String)>> {
    let path = file.local_path(table)?;
    let damaged = |e: Box<dyn std::error::Error + Send + Sync>| {
        Error::corrupt("VERIFY_FILE_UNREADABLE", format!("`{}` cannot be read.", path.display()))
            .caused_by(e)
            .cure("Restore the file from a backup.")
    };
    let opened = File::open(&path).map_err(|e| damaged(e.into()))?;
    let builder =
        ParquetRecordBatchReaderBuilder::try_new(opened).map_err(|e| damaged(e.into()))?;
    let other_case = in_other_case(schema, builder.schema());
    let wanted: Vec<String> = builder
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .filter(|name| COLUMNS.iter().any(|(column, _)| name.eq_ignore_ascii_case(column)))
        .collect();
    let mask = ProjectionMask::columns(builder.parquet_schema(), wanted.iter().map(String::as_str));
    let reader = builder.with_projection(mask).build().map_err(|e| damaged(e.into()))?;
    for batch in reader {
        let batch = batch.map_err(|e| damaged(e.into()))?;
        let [topics, partitions, offsets] = columns(&batch, partition_columns, file)?;
        let topics = topics.as_string::<i32>();
        let partitions = partitions.as_primitive::<Int32Type>();
        let offsets = offsets.as_primitive::<Int64Type>();
        let mut at = TopicPartition::new("", -1);
        for row in 0..batch.num_rows() {
            let valid = topics.is_valid(row) && partitions.is_valid(row) && offsets.is_valid(row);
            let (topic, partition) =
                if valid { (topics.value(row), partitions.value(row)) } else { ("", -1) };
            if at.topic != topic || at.partition != partition {
                at = TopicPartition::new(topic, partition);
            }
            take(&at, if valid { offsets.value(row) } else { -1 });
        }
    }
    Ok(other_case)
}

/// The first column of the table that a file has under a name of other case only.
fn in_other_case(table: &StructType, file: &Schema) -> Option<(String, String)> {
    table.fields.iter().find_map(|field| {
        if file.column_with_name(&field.name).is_some() {
            return None;
        }
        let same = |other: &&FieldRef| other.name().eq_ignore_ascii_case(&field.name);
        let other = file.fields().iter().find(same)?;
        Some((field.name.clone(), other.name().clone()))
    })
}

fn columns(
    batch: &RecordBatch,
    partition_columns: &[String],
    file: &AddFile,
) -> Result<[ArrayRef; 3]> {
    let [topic, partition, offset] = &COLUMNS;
    Ok([
        column(batch, partition_columns, file, topic)?,
        column(batch, partition_columns, file, partition)?,
        column(batch, partition_columns, file, offset)?,
    ])
}

fn column(
    batch: &RecordBatch,
    partition_columns: &[String],
    file: &AddFile,
    (name, to): &(&str, ArrowType),
) -> Result<ArrayRef> {
    let unreadable = |e: arrow::error::ArrowError| {
        let message = format!("Column `{name}` of `{}` cannot be read.", file.path);
        Error::corrupt("VERIFY_FILE_UNREADABLE", message).caused_by(e)
    };
    let schema = batch.schema();
    let found = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name));
    if let Some(at) = found {
        return cast(batch.column(at), to).map_err(unreadable);
    }
    let value = partition_columns
        .iter()
        .find(|c| c.eq_ignore_ascii_case(name))
        .and_then(|c| file.partition_values.get(c))
        .cloned()
        .flatten();
    let constant =
        arrow::array::StringArray::from_iter(std::iter::repeat_n(value, batch.num_rows()));
    cast(&constant, to).map_err(unreadable)
}
