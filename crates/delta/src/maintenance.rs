//! Table checkpoints and log clean-up, beside the stream.

use crate::log::files::LogFiles;
use crate::log::snapshot::Snapshot;
use millstream_core::Result;
use millstream_core::env::SharedEnv;
use std::sync::Arc;

/// The housekeeping of one sink.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {}

impl Maintenance {
    /// Does what is due.
    pub(crate) async fn run(
        &self,
        _files: Arc<dyn LogFiles>,
        _env: SharedEnv,
        _snapshot: Snapshot,
    ) -> Result<()> {
        Ok(())
    }
}
