//! Where batch queries find tables: by name, by path, and through batch reads of sources.

use datafusion::catalog::TableProvider;
use millstream_core::Result;
use millstream_core::options::OptionMap;
use std::sync::Arc;

/// Finds read-only tables.
pub trait TableCatalog: Send + Sync {
    /// The table of a name in parts; `["delta", "/path"]` for `` delta.`/path` ``. `None` where
    /// there is no such table.
    ///
    /// # Errors
    /// Where there is one and it cannot be read.
    fn table(&self, name: &[String]) -> Result<Option<Arc<dyn TableProvider>>>;

    /// Names that [`TableCatalog::table`] finds, for "did you mean".
    fn names(&self) -> Vec<String>;

    /// A bounded read of a source: `read_kafka(..)` without `STREAM`.
    ///
    /// # Errors
    /// What the source says about its options, and unknown formats.
    fn source(&self, format: &str, options: &OptionMap) -> Result<Arc<dyn TableProvider>>;
}
