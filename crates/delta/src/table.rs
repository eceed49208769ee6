//! Reading a table: its state, its live files, and what each commit did.

use crate::features;
use crate::log::actions::{AddFile, FileKey, Metadata, Protocol};
use crate::log::checkpoint_read::{self, Wanted};
use crate::log::checkpoint_write;
use crate::log::entry::{self, CommitEntry};
use crate::log::files::{LocalLog, LogFiles};
use crate::log::snapshot::{Followed, Snapshot};
use millstream_core::{Error, ErrorKind, Result};
use millstream_types::StructType;
use percent_encoding::percent_decode_str;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A table at one version. Everything here blocks.
#[derive(Debug)]
pub struct DeltaTable {
    path: PathBuf,
    files: Arc<dyn LogFiles>,
    snapshot: Snapshot,
}

impl DeltaTable {
    /// Opens the newest version of the table at `path`; `None` if there is no table.
    ///
    /// # Errors
    /// `DELTA_UNSUPPORTED_FEATURE`, `DELTA_LOG_CORRUPT`, `DELTA_LOG_INCOMPLETE`,
    /// `DELTA_CHECKPOINT_CORRUPT`, or what the disk says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Option<DeltaTable>> {
        let path = path.into();
        let files = Arc::new(LocalLog::new(&path));
        DeltaTable::open_log(path, files)
    }

    /// The same for a table whose log is kept by `files`.
    ///
    /// # Errors
    /// Those of [`DeltaTable::open`].
    pub fn open_log(
        path: impl Into<PathBuf>,
        files: Arc<dyn LogFiles>,
    ) -> Result<Option<DeltaTable>> {
        let path = path.into();
        let Some(snapshot) = Snapshot::open(files.as_ref())? else { return Ok(None) };
        features::check_readable(&snapshot.protocol, &snapshot.metadata)
            .map_err(|e| e.context(path.display()))?;
        Ok(Some(DeltaTable { path, files, snapshot }))
    }

    /// Goes to the newest version.
    ///
    /// # Errors
    /// Those of [`DeltaTable::open`]; `DELTA_TABLE_REPLACED` if the table is gone.
    pub fn refresh(&mut self) -> Result<()> {
        if self.snapshot.follow(self.files.as_ref())? == Followed::Lost {
            self.snapshot = Snapshot::open(self.files.as_ref())?.ok_or_else(|| {
                Error::new(
                    ErrorKind::Conflict,
                    "DELTA_TABLE_REPLACED",
                    format!("The table at `{}` is gone.", self.path.display()),
                )
            })?;
        }
        features::check_readable(&self.snapshot.protocol, &self.snapshot.metadata)
            .map_err(|e| e.context(self.path.display()))
    }

    /// The table's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The version.
    pub fn version(&self) -> u64 {
        self.snapshot.version
    }

    /// The table's id.
    pub fn id(&self) -> &str {
        &self.snapshot.metadata.id
    }

    /// The schema.
    pub fn schema(&self) -> &StructType {
        &self.snapshot.schema
    }

    /// The partition columns, in order.
    pub fn partition_columns(&self) -> &[String] {
        &self.snapshot.metadata.partition_columns
    }

    /// The table properties.
    pub fn properties(&self) -> &BTreeMap<String, String> {
        &self.snapshot.metadata.configuration
    }

    /// The whole metadata.
    pub fn metadata(&self) -> &Metadata {
        &self.snapshot.metadata
    }

    /// The protocol.
    pub fn protocol(&self) -> &Protocol {
        &self.snapshot.protocol
    }

    /// The version that an application has recorded.
    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.snapshot.txn(app_id).map(|seen| seen.txn.version)
    }

    /// All applications and their versions.
    pub fn txns(&self) -> BTreeMap<&str, i64> {
        self.snapshot.txns.iter().map(|(id, seen)| (id.as_str(), seen.txn.version)).collect()
    }

    /// What the commit of `version` did; `None` if its entry is not (or no longer) there.
    ///
    /// # Errors
    /// `DELTA_LOG_CORRUPT`, or what the disk says.
    pub fn read_commit(&self, version: u64) -> Result<Option<CommitEntry>> {
        entry::read_full(self.files.as_ref(), version)
    }

    /// The oldest version whose entry is in the log; `None` if there is none.
    ///
    /// # Errors
    /// What the disk says.
    pub fn oldest_commit(&self) -> Result<Option<u64>> {
        use crate::log::names::{LogName, parse};
        let names = self.files.names()?.unwrap_or_default();
        let versions = names.iter().filter_map(|name| match parse(name) {
            LogName::Entry(version) => Some(version),
            _ => None,
        });
        Ok(versions.min())
    }

    /// The version of the checkpoint that `_last_checkpoint` names and that is whole, by the names
    /// of its files; a hint, which opening does not rely on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn hinted_checkpoint(&self) -> Result<Option<u64>> {
        let hinted = checkpoint_write::hinted(self.files.as_ref())?;
        Ok(hinted.map(|written| written.checkpoint.version))
    }

    /// The files that make up this version, sorted by path. Takes memory for all of them.
    ///
    /// # Errors
    /// `DELTA_UNSUPPORTED_FEATURE` if rows of a file are deleted by a vector; otherwise those of
    /// [`DeltaTable::open`].
    pub fn active_files(&self) -> Result<Vec<AddFile>> {
        let mut live: Vec<AddFile> = Vec::new();
        replay(self.files.as_ref(), &self.snapshot, |add| live.push(add))?;
        if let Some(file) = live.iter().find(|add| add.deletion_vector.is_some()) {
            return Err(features::unsupported(&format!(
                "deletionVectors (rows of `{}` are deleted by one)",
                file.path
            ))
            .cure("Rewrite the file with another engine: REORG TABLE t APPLY (PURGE)."));
        }
        live.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(live)
    }
}

/// Calls `each` with every live file of a version: those of the checkpoint that the entries after
/// it leave, and those that the entries add. Memory grows with those entries only.
pub(crate) fn replay(
    files: &dyn LogFiles,
    snapshot: &Snapshot,
    mut each: impl FnMut(AddFile),
) -> Result<()> {
    let first = snapshot.checkpoint.as_ref().map_or(0, |c| c.version + 1);
    let mut added: HashMap<FileKey, AddFile> = HashMap::new();
    let mut touched: HashSet<FileKey> = HashSet::new();
    for version in first..=snapshot.version {
        let entry = entry::read_full(files, version)?.ok_or_else(|| {
            Error::corrupt(
                "DELTA_LOG_INCOMPLETE",
                format!("The log in `{}` lacks entry {version}.", files.dir().display()),
            )
            .cure("Another engine cleaned the log up meanwhile: read the table again.")
        })?;
        for remove in entry.removes {
            added.remove(&remove.key());
            touched.insert(remove.key());
        }
        for add in entry.adds {
            touched.insert(add.key());
            added.insert(add.key(), add);
        }
    }
    if let Some(checkpoint) = &snapshot.checkpoint {
        checkpoint_read::for_each_row(&checkpoint.paths(files), Wanted::Adds, |row| {
            if let Some(add) = row.add
                && !touched.contains(&add.key())
            {
                each(add);
            }
            Ok(())
        })?;
    }
    added.into_values().for_each(each);
    Ok(())
}

impl AddFile {
    /// Where the file is.
    ///
    /// # Errors
    /// `DELTA_UNSUPPORTED_LOCATION` for a file that is not on a local disk.
    pub fn local_path(&self, table: &Path) -> Result<PathBuf> {
        if self.path.contains("://") || self.path.starts_with("file:") {
            return crate::options::table_path(&self.path);
        }
        let decoded = percent_decode_str(&self.path).decode_utf8().map_err(|e| {
            Error::corrupt(
                "DELTA_LOG_CORRUPT",
                format!("The path `{}` in the log is not UTF-8.", self.path),
            )
            .caused_by(e)
        })?;
        Ok(table.join(decoded.as_ref()))
    }

    /// The number of rows, where the statistics say it.
    pub fn num_records(&self) -> Option<u64> {
        let stats: serde_json::Value = serde_json::from_str(self.stats.as_deref()?).ok()?;
        stats.get("numRecords")?.as_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_below_the_table_or_where_their_location_says() {
        let path = |path: &str| {
            let file = serde_json::json!({"path": path, "partitionValues": {}, "size": 1, "modificationTime": 1,
                "dataChange": true});
            let file: AddFile = serde_json::from_value(file).unwrap();
            file.local_path(Path::new("/t"))
        };
        assert_eq!(path("p=a%20b/x").unwrap(), Path::new("/t/p=a b/x"));
        for absolute in ["file:/other/x", "file:///other/x"] {
            assert_eq!(path(absolute).unwrap(), Path::new("/other/x"));
        }
        assert_eq!(path("s3://bucket/x").unwrap_err().code(), "DELTA_UNSUPPORTED_LOCATION");
        assert_eq!(path("%ff").unwrap_err().code(), "DELTA_LOG_CORRUPT");
    }
}
