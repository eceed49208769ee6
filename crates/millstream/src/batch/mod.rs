//! Reading without STREAM: tables of a lake by name or path, and bounded reads of Kafka.

mod delta;
mod kafka;
mod script;

pub use delta::DeltaTableProvider;
pub use kafka::KafkaBatchProvider;

use crate::session::TableCatalog;
use datafusion::catalog::TableProvider;
use millstream_core::env::{SharedEnv, SystemEnv};
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_delta::{DeltaTable, table_path};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tables under one directory, by name, and every table by path.
#[derive(Debug)]
pub struct LakeCatalog {
    storage: PathBuf,
}

impl LakeCatalog {
    /// The tables under `storage`.
    pub fn new(storage: impl Into<PathBuf>) -> Self {
        LakeCatalog { storage: storage.into() }
    }

    /// The table of a name, in the case of its directory where only that differs.
    fn named(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = Self::open(&self.storage.join(name))? {
            return Ok(Some(table));
        }
        let same = |other: &String| other.to_lowercase() == name.to_lowercase();
        match self.names().iter().filter(|other| same(other)).collect::<Vec<_>>().as_slice() {
            [twin] => Self::open(&self.storage.join(twin)),
            _ => Ok(None),
        }
    }

    fn open(path: &Path) -> Result<Option<Arc<dyn TableProvider>>> {
        let table = DeltaTable::open(path)?;
        Ok(table.map(|table| Arc::new(DeltaTableProvider::new(table)) as Arc<dyn TableProvider>))
    }
}

impl TableCatalog for LakeCatalog {
    fn table(&self, name: &[String]) -> Result<Option<Arc<dyn TableProvider>>> {
        match name {
            [format, path] if format.eq_ignore_ascii_case("delta") => {
                Self::open(&table_path(path)?)
            }
            [name] | [_, name] if is_plain(name) => self.named(name),
            _ => Ok(None),
        }
    }

    fn names(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(&self.storage) else { return Vec::new() };
        let tables = entries.flatten().filter(|entry| entry.path().join("_delta_log").is_dir());
        let mut names: Vec<String> =
            tables.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    fn source(&self, format: &str, options: &OptionMap) -> Result<Arc<dyn TableProvider>> {
        let env: SharedEnv = Arc::new(SystemEnv);
        match format.to_ascii_lowercase().as_str() {
            "kafka" => Ok(Arc::new(KafkaBatchProvider::new(options, env)?)),
            other => Err(Error::invalid(
                "SOURCE_FORMAT_UNKNOWN",
                format!("A source of format `{other}` cannot be read as a batch."),
            )),
        }
    }
}

/// Whether a table's name is a plain directory name, so that no query leaves the storage.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0'])
}
