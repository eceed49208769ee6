//! Splitting a batch by the values of its partition columns.

use super::partition::{self, PartitionColumn};
use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute;
use arrow::row::{RowConverter, SortField};
use millstream_core::{Error, Result};
use std::collections::HashMap;

/// The rows of one partition in a batch.
#[derive(Debug)]
pub(super) struct Part {
    /// Tells partitions apart.
    pub key: Vec<u8>,
    /// One value per partition column.
    pub values: Vec<Option<String>>,
    pub rows: RecordBatch,
}

/// Splits batches.
#[derive(Debug)]
pub(super) struct Splitter {
    converter: RowConverter,
}

impl Splitter {
    pub(super) fn new(columns: &[PartitionColumn]) -> Result<Self> {
        let fields =
            columns.iter().map(|c| SortField::new(c.data_type.to_arrow())).collect::<Vec<_>>();
        let converter = RowConverter::new(fields).map_err(split_error)?;
        Ok(Splitter { converter })
    }

    /// The parts of `data`, in the order in which they appear. `columns` are all columns of the
    /// batch. A batch of one partition is not copied.
    pub(super) fn split(
        &self,
        partitioning: &[PartitionColumn],
        columns: &[ArrayRef],
        data: &RecordBatch,
    ) -> Result<Vec<Part>> {
        let mut keys = Vec::with_capacity(partitioning.len());
        for column in partitioning {
            let array = columns.get(column.index).ok_or_else(|| {
                Error::internal(format!("The partition column {} is missing.", column.name))
            })?;
            keys.push(partition::normalised(array));
        }
        let rows = self.converter.convert_columns(&keys).map_err(split_error)?;
        let mut places: HashMap<&[u8], usize> = HashMap::new();
        let mut found: Vec<(&[u8], Vec<u32>)> = Vec::new();
        for (row, index) in rows.iter().zip(0u32..) {
            let key = row.data();
            let place = *places.entry(key).or_insert_with(|| {
                found.push((key, Vec::new()));
                found.len() - 1
            });
            if let Some((_, indices)) = found.get_mut(place) {
                indices.push(index);
            }
        }
        let single = found.len() == 1;
        let mut parts = Vec::with_capacity(found.len());
        for (key, indices) in found {
            let first = indices.first().copied().unwrap_or(0) as usize;
            let mut values = Vec::with_capacity(partitioning.len());
            for (column, array) in partitioning.iter().zip(&keys) {
                values.push(partition::value(&column.data_type, array, first)?);
            }
            let rows = if single {
                data.clone()
            } else {
                compute::take_record_batch(data, &UInt32Array::from(indices))
                    .map_err(split_error)?
            };
            parts.push(Part { key: key.to_vec(), values, rows });
        }
        Ok(parts)
    }
}

fn split_error(error: arrow::error::ArrowError) -> Error {
    Error::internal("A batch could not be split by its partition columns.").caused_by(error)
}
