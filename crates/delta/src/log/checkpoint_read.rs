//! Reading classic checkpoints: only the columns that are asked for, batch by batch.

use super::actions::Row;
use super::footer;
use arrow::array::{Array, BooleanArray, RecordBatch};
use arrow::compute;
use millstream_core::{Error, Result};
use millstream_store::{Operation, io_error};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::file::metadata::ParquetMetaData;
use std::fs::File;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Rows decoded at a time.
const BATCH_ROWS: usize = 1024;

/// Fields of the actions that are read; everything else in a checkpoint is derived from them.
const ADD_FIELDS: &[&str] = &[
    "path",
    "partitionValues",
    "size",
    "modificationTime",
    "dataChange",
    "stats",
    "tags",
    "deletionVector",
];
const REMOVE_FIELDS: &[&str] = &[
    "path",
    "deletionTimestamp",
    "dataChange",
    "extendedFileMetadata",
    "partitionValues",
    "size",
    "tags",
    "deletionVector",
];

/// Which actions a reader of a checkpoint wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// `protocol`, `metaData`, `txn`.
    State,
    /// `add`.
    Adds,
    /// `add` and `remove`.
    Files,
}

/// Calls `each` with every action of the wanted kinds in `paths` (the parts of one checkpoint).
pub(crate) fn for_each_row(
    paths: &[PathBuf],
    wanted: Wanted,
    mut each: impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    for path in paths {
        let failed = |e| io_error(Operation::Read, path, e);
        let mut file = File::open(path).map_err(failed)?;
        if !footer::is_bounded(&mut file).map_err(failed)? {
            return Err(damaged(path, "The footer claims more booleans than it has bytes."));
        }
        // An Arrow schema in the file says nothing that its Parquet types do not, and the decoder
        // of a damaged one panics.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = decoding(path, || {
            ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
                .map_err(|e| damaged(path, e))
        })?;
        let leaves: Vec<usize> = builder
            .parquet_schema()
            .columns()
            .iter()
            .enumerate()
            .filter(|(_, column)| is_wanted(column.path().parts(), wanted))
            .map(|(leaf, _)| leaf)
            .collect();
        if leaves.is_empty() {
            continue;
        }
        check_columns(path, builder.metadata(), &leaves)?;
        let mask = ProjectionMask::leaves(builder.parquet_schema(), leaves);
        let builder = builder.with_projection(mask).with_batch_size(BATCH_ROWS);
        let mut reader = decoding(path, || builder.build().map_err(|e| damaged(path, e)))?;
        let mut next = || reader.next().transpose().map_err(|e| damaged(path, e));
        while let Some(batch) = decoding(path, &mut next)? {
            rows_of(path, &batch, &mut each)?;
        }
    }
    Ok(())
}

/// What the Parquet library decodes; where it panics, as it does at some damage, that is damage.
fn decoding<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    // What was being decoded is dropped, so that no half-made state is seen.
    panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged(path, "The decoder did not get through it.")))
}

/// Finds what the library panics at, or reads for hours: columns whose place is before the file or
/// whose length is less than nothing, and damaged page headers.
fn check_columns(path: &Path, metadata: &ParquetMetaData, leaves: &[usize]) -> Result<()> {
    let failed = |e| io_error(Operation::Read, path, e);
    let mut file = File::open(path).map_err(failed)?;
    for group in metadata.row_groups() {
        for column in leaves.iter().filter_map(|leaf| group.columns().get(*leaf)) {
            let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
            let (Ok(start), Ok(length)) =
                (u64::try_from(start), u64::try_from(column.compressed_size()))
            else {
                return Err(damaged(
                    path,
                    "A column begins before the file, or ends before it begins.",
                ));
            };
            if !footer::are_pages_whole(&mut file, start, length).map_err(failed)? {
                return Err(damaged(path, "A page header is damaged."));
            }
        }
    }
    Ok(())
}

fn is_wanted(parts: &[String], wanted: Wanted) -> bool {
    let (Some(action), Some(field)) = (parts.first(), parts.get(1)) else { return false };
    match (wanted, action.as_str()) {
        (Wanted::State, "protocol" | "metaData" | "txn") => true,
        (Wanted::Adds | Wanted::Files, "add") => ADD_FIELDS.contains(&field.as_str()),
        (Wanted::Files, "remove") => REMOVE_FIELDS.contains(&field.as_str()),
        _ => false,
    }
}

fn rows_of(
    path: &Path,
    batch: &RecordBatch,
    each: &mut impl FnMut(Row) -> Result<()>,
) -> Result<()> {
    let keep: BooleanArray = (0..batch.num_rows())
        .map(|row| Some(batch.columns().iter().any(|column| column.is_valid(row))))
        .collect();
    let kept = compute::filter_record_batch(batch, &keep).map_err(|e| damaged(path, e))?;
    if kept.num_rows() == 0 {
        return Ok(());
    }
    let mut writer = arrow::json::writer::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, arrow::json::writer::LineDelimited>(Vec::new());
    writer.write(&kept).map_err(|e| damaged(path, e))?;
    for line in writer.into_inner().split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        each(serde_json::from_slice(line).map_err(|e| damaged(path, e))?)?;
    }
    Ok(())
}

pub(crate) fn damaged(
    path: &Path,
    cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::corrupt(
        "DELTA_CHECKPOINT_CORRUPT",
        format!("The table checkpoint `{}` is damaged.", path.display()),
    )
    .caused_by(cause)
    .cure("Restore the file, or delete it if the log still has all entries from version 0.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_read() {
        use Wanted::{Adds, Files, State};
        for (column, readers) in [
            ("protocol.minReaderVersion", &[State][..]),
            ("metaData.id", &[State]),
            ("txn.appId", &[State]),
            ("add.path", &[Adds, Files]),
            ("add.stats_parsed", &[]),
            ("remove.path", &[Files]),
            ("remove.later", &[]),
            ("sidecar.path", &[]),
            ("add", &[]),
        ] {
            let parts: Vec<String> = column.split('.').map(str::to_owned).collect();
            for wanted in [State, Adds, Files] {
                let is_read = readers.contains(&wanted);
                assert_eq!(is_wanted(&parts, wanted), is_read, "{column} for {wanted:?}");
            }
        }
    }
}
