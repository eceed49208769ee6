//! What every bench is told: the binary, where its lakes lie, and where its record goes.

use crate::Result;
use std::path::PathBuf;
use tempfile::TempDir;

/// Where a bench finds and puts things.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// The release binary of Millstream.
    #[arg(long)]
    pub millstream: PathBuf,
    /// Where the record goes.
    #[arg(long)]
    pub result: PathBuf,
    /// Directory of the lakes; on a real disk, since every commit is synced.
    #[arg(long)]
    lakes: Option<PathBuf>,
}

impl Place {
    /// A directory for lakes, which goes away with the answer.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn lakes(&self) -> Result<TempDir> {
        let above = self.lakes.clone().unwrap_or_else(std::env::temp_dir);
        Ok(tempfile::Builder::new().prefix("millstream-bench-").tempdir_in(above)?)
    }
}
