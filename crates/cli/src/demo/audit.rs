//! Reads the finished tables back, file by file, for the comparison with the ledger. It takes
//! nothing from the engine but the list of live files in the table's own log.

use super::ledger::{Place, TableRow};
use super::orders::Order;
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, Int32Type, Int64Type};
use millstream_core::{Error, ErrorKind, Result};
use millstream_delta::DeltaTable;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::fs::File;
use std::path::Path;

/// A table as the audit read it.
#[derive(Debug)]
pub struct Contents<T> {
    /// Its rows, in no order.
    pub rows: Vec<T>,
    /// Its version.
    pub version: u64,
    /// Number of data files.
    pub files: usize,
}

/// Reads the orders.
///
/// # Errors
/// `DEMO_AUDIT_FAILED` where table or files cannot be read.
pub fn orders(table: &Path) -> Result<Contents<TableRow>> {
    let columns = ["partition", "offset", "order_id", "customer", "amount"];
    read(table, &columns, |batch, rows| {
        let places = places(batch)?;
        let ids = column(batch, "order_id", &DataType::Utf8)?;
        let customers = column(batch, "customer", &DataType::Utf8)?;
        let amounts = column(batch, "amount", &DataType::Decimal128(12, 2))?;
        let (ids, customers) = (ids.as_string::<i32>(), customers.as_string::<i32>());
        let amounts = amounts.as_primitive::<Decimal128Type>();
        for (n, place) in places.into_iter().enumerate() {
            rows.push(TableRow {
                place,
                order: Order {
                    id: text(ids, n),
                    customer: text(customers, n),
                    cents: if amounts.is_null(n) {
                        i64::MIN
                    } else {
                        i64::try_from(amounts.value(n)).unwrap_or(i64::MIN)
                    },
                },
            });
        }
        Ok(())
    })
}

/// Reads where the dead letters came from.
///
/// # Errors
/// `DEMO_AUDIT_FAILED` where table or files cannot be read.
pub fn letters(table: &Path) -> Result<Contents<Place>> {
    read(table, &["partition", "offset"], |batch, rows| {
        rows.extend(places(batch)?);
        Ok(())
    })
}

fn text(column: &arrow::array::StringArray, row: usize) -> String {
    if column.is_null(row) { "NULL".to_owned() } else { column.value(row).to_owned() }
}

/// Partition and offset of each row; a NULL becomes a place that no record has.
fn places(batch: &RecordBatch) -> Result<Vec<Place>> {
    let partitions = column(batch, "partition", &DataType::Int32)?;
    let offsets = column(batch, "offset", &DataType::Int64)?;
    let (partitions, offsets) =
        (partitions.as_primitive::<Int32Type>(), offsets.as_primitive::<Int64Type>());
    let pairs = partitions.iter().zip(offsets.iter());
    Ok(pairs.map(|(p, o)| (p.unwrap_or(-1), o.unwrap_or(-1))).collect())
}

fn column(batch: &RecordBatch, name: &str, to: &DataType) -> Result<arrow::array::ArrayRef> {
    let column = batch
        .column_by_name(name)
        .ok_or_else(|| failed(format!("column `{name}` is missing"), None))?;
    cast(column, to).map_err(|e| failed(format!("column `{name}`"), Some(e.into())))
}

fn read<T>(
    dir: &Path,
    columns: &[&str],
    mut take: impl FnMut(&RecordBatch, &mut Vec<T>) -> Result<()>,
) -> Result<Contents<T>> {
    let table = DeltaTable::open(dir)?
        .ok_or_else(|| failed(format!("`{}` is no table", dir.display()), None))?;
    let files = table.active_files()?;
    let mut rows = Vec::new();
    for file in &files {
        let path = file.local_path(dir)?;
        let trouble = |e: Box<dyn std::error::Error + Send + Sync>| {
            failed(format!("`{}`", path.display()), Some(e))
        };
        let open = File::open(&path).map_err(|e| trouble(e.into()))?;
        let builder =
            ParquetRecordBatchReaderBuilder::try_new(open).map_err(|e| trouble(e.into()))?;
        let mask = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
        let reader = builder.with_projection(mask).build().map_err(|e| trouble(e.into()))?;
        for batch in reader {
            take(&batch.map_err(|e| trouble(e.into()))?, &mut rows)?;
        }
    }
    Ok(Contents { rows, version: table.version(), files: files.len() })
}

type Cause = Option<Box<dyn std::error::Error + Send + Sync>>;

fn failed(what: String, cause: Cause) -> Error {
    let message = format!("The audit could not read the table: {what}.");
    let error = Error::new(ErrorKind::Internal, "DEMO_AUDIT_FAILED", message);
    match cause {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}
