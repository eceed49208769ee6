//! What a writer of a table can choose, and where tables are.

use millstream_core::{Error, Result};
use millstream_types::StructType;
use percent_encoding::percent_decode_str;
use std::path::PathBuf;

/// Largest data file aimed at, in bytes.
const TARGET_FILE_BYTES: u64 = 256 << 20;

/// Options of a [`crate::DeltaSink`].
#[derive(Debug, Clone)]
pub struct DeltaSinkOptions {
    /// The table's directory.
    pub path: PathBuf,
    /// Partition columns; `None` leaves an existing table's as they are.
    pub partition_by: Option<Vec<String>>,
    /// Adds columns that the table lacks.
    pub merge_schema: bool,
    /// Properties of a table that is created. An existing table keeps its own.
    pub properties: Vec<(String, String)>,
    /// Name of a table that is created.
    pub name: Option<String>,
    /// Comment of a table that is created.
    pub comment: Option<String>,
    /// Columns of a table that is created, where a statement declares them.
    pub declared: Option<StructType>,
    /// Most rows in one data file.
    pub max_records_per_file: Option<u64>,
    /// Size at which a data file is closed.
    pub target_file_bytes: u64,
    /// Goes into `commitInfo`.
    pub user_metadata: Option<String>,
    /// Whether a missing table is created.
    pub create: bool,
}

impl DeltaSinkOptions {
    /// The defaults for the table at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        DeltaSinkOptions {
            path: path.into(),
            partition_by: None,
            merge_schema: false,
            properties: Vec::new(),
            name: None,
            comment: None,
            declared: None,
            max_records_per_file: None,
            target_file_bytes: TARGET_FILE_BYTES,
            user_metadata: None,
            create: true,
        }
    }
}

/// The directory that a table's location means: a plain path, `file:/p` or `file:///p`.
///
/// # Errors
/// `DELTA_UNSUPPORTED_LOCATION` for other schemes.
pub fn table_path(location: &str) -> Result<PathBuf> {
    let refused = || {
        Error::invalid("DELTA_UNSUPPORTED_LOCATION", format!("`{location}` is not a local path."))
            .cure("Tables lie on local disks: give a path or a file: URL.")
    };
    if let Some(rest) = location.strip_prefix("file:") {
        let path = match rest.strip_prefix("//") {
            Some(path) if path.starts_with('/') => path,
            Some(_) => return Err(refused()),
            None => rest,
        };
        let path = percent_decode_str(path).decode_utf8().map_err(|_| refused())?;
        return if path.is_empty() { Err(refused()) } else { Ok(PathBuf::from(path.as_ref())) };
    }
    let scheme = location.split_once("://").map(|(scheme, _)| scheme);
    if location.is_empty() || scheme.is_some_and(|s| !s.contains('/')) {
        return Err(refused());
    }
    Ok(PathBuf::from(location))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_local_paths() {
        for (location, path) in [
            ("/a/b", "/a/b"),
            ("rel/t", "rel/t"),
            ("file:/a/b", "/a/b"),
            ("file:///a/b%20c", "/a/b c"),
        ] {
            assert_eq!(table_path(location).unwrap(), PathBuf::from(path));
        }
        for bad in ["", "s3://b/t", "file://host/t", "abfss://x@y/t", "file:"] {
            assert_eq!(table_path(bad).unwrap_err().code(), "DELTA_UNSUPPORTED_LOCATION", "{bad}");
        }
    }
}
