//! How Parquet is written: Spark's physical types and names, snappy.

use millstream_core::{Error, Result};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use std::path::Path;

/// Bytes of a string that footers keep of its minimum and maximum: enough for the 32 characters
/// that the log takes from them, however wide.
pub(super) const STATISTICS_BYTES: usize = 160;
/// Encoded bytes of one row group.
const ROW_GROUP_BYTES: usize = 128 << 20;

/// The options of every data file.
pub(super) fn options() -> ArrowWriterOptions {
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_created_by(concat!("millstream version ", env!("CARGO_PKG_VERSION")).to_owned())
        // Spark's names inside lists and maps.
        .set_coerce_types(true)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(STATISTICS_BYTES))
        .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
        .build();
    ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true)
        .with_schema_root("spark_schema".to_owned())
}

/// The error for a data file that could not be written.
pub(super) fn failed(path: &Path, error: ParquetError) -> Error {
    match error {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(io) => millstream_store::io_error(millstream_store::Operation::Write, path, *io),
            Err(other) => write_error(path).caused_by(other),
        },
        other => write_error(path).caused_by(other),
    }
}

fn write_error(path: &Path) -> Error {
    Error::internal(format!("The data file `{}` could not be encoded.", path.display()))
}

/// As [`failed`], for results.
pub(super) fn written<T>(path: &Path, result: Result<T, ParquetError>) -> Result<T> {
    result.map_err(|e| failed(path, e))
}
