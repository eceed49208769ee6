//! The running queries of a session.

use super::Session;
use crate::query::StreamingQuery;
use crate::query::flow::Flow;
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use std::path::PathBuf;

/// Queries that were started, with their checkpoints.
#[derive(Default)]
pub(super) struct Running(Mutex<Vec<(PathBuf, StreamingQuery)>>);

impl Session {
    /// Queries that are active.
    pub fn active_queries(&self) -> Vec<StreamingQuery> {
        let mut running = self.0.queries.0.lock();
        running.retain(|(_, query)| query.is_active());
        running.iter().map(|(_, query)| query.clone()).collect()
    }

    /// Starts a flow. A query of this session on the same checkpoint is stopped first, as Spark's
    /// `stopActiveRunOnRestart` does.
    pub(crate) async fn start_flow(&self, flow: Flow) -> Result<StreamingQuery> {
        let checkpoint = flow.checkpoint.clone();
        self.refuse_second_name(&flow)?;
        for old in self.on_checkpoint(&checkpoint) {
            old.stop().await?;
        }
        let query = crate::query::start(flow, self.env()).await?;
        self.0.queries.0.lock().push((checkpoint, query.clone()));
        Ok(query)
    }

    fn refuse_second_name(&self, flow: &Flow) -> Result<()> {
        let Some(name) = &flow.name else { return Ok(()) };
        let running = self.0.queries.0.lock();
        let taken = running.iter().any(|(checkpoint, query)| {
            query.is_active() && query.name() == Some(name) && *checkpoint != flow.checkpoint
        });
        if taken {
            return Err(Error::invalid(
                "QUERY_NAME_TAKEN",
                format!(
                    "Cannot start query with name {name} as a query with that name is already \
                     active in this SparkSession"
                ),
            ));
        }
        Ok(())
    }

    fn on_checkpoint(&self, checkpoint: &PathBuf) -> Vec<StreamingQuery> {
        let running = self.0.queries.0.lock();
        let same = running.iter().filter(|(path, query)| path == checkpoint && query.is_active());
        same.map(|(_, query)| query.clone()).collect()
    }
}
