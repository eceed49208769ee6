//! One flow of a pipeline: a query into a table, with its places on disk.

use super::table::PipelineTable;
use crate::dataframe::DataFrame;
use crate::plan::FlowPlan;
use crate::query::assemble::{FlowSpec, SinkSpec, assemble};
use crate::query::{ProgressListener, StreamingQuery};
use crate::writer::dead_letter_path;
use millstream_core::Result;
use millstream_core::trigger::Trigger;
use millstream_delta::{DeltaSinkOptions, table_path};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Directory of checkpoints inside the storage directory.
pub(super) const CHECKPOINTS: &str = "_checkpoints";

/// A checked flow.
pub struct PipelineFlow {
    /// Name; that of the table where the statement gives none.
    pub name: String,
    /// Where it goes.
    pub table: Arc<PipelineTable>,
    /// The query.
    pub data: DataFrame,
    /// The checked plan.
    pub plan: FlowPlan,
}

impl PipelineFlow {
    /// Where the table lies: `LOCATION`, or `<storage>/<table>`.
    ///
    /// # Errors
    /// Where `LOCATION` is no place that tables can lie in.
    pub fn table_path(&self, storage: &Path) -> Result<PathBuf> {
        match &self.table.location {
            Some(location) => table_path(location),
            None => Ok(storage.join(&self.table.name)),
        }
    }

    /// Where its checkpoint lies: `<storage>/_checkpoints/<table>/<flow>`.
    pub fn checkpoint_path(&self, storage: &Path) -> PathBuf {
        storage.join(CHECKPOINTS).join(&self.table.name).join(&self.name)
    }

    /// Where its dead letters go, if it has any.
    ///
    /// # Errors
    /// As [`PipelineFlow::table_path`].
    pub fn dead_letter_path(&self, storage: &Path) -> Result<Option<PathBuf>> {
        let Some(letters) = &self.plan.dead_letters else { return Ok(None) };
        // A name lies in the storage directory, wherever the table itself lies.
        let beside = match self.table.location {
            Some(_) if !letters.target.is_empty() => storage.join(&self.table.name),
            _ => self.table_path(storage)?,
        };
        dead_letter_path(&letters.target, &beside).map(Some)
    }

    /// Starts it. New columns of the query are added to the table.
    ///
    /// # Errors
    /// Everything that is wrong with the table or the checkpoint.
    pub async fn start(
        &self,
        storage: &Path,
        trigger: Trigger,
        listeners: Vec<ProgressListener>,
    ) -> Result<StreamingQuery> {
        let mut options = DeltaSinkOptions::new(self.table_path(storage)?);
        options.partition_by.clone_from(&self.table.partition_by);
        options.merge_schema = true;
        options.properties.clone_from(&self.table.properties);
        options.name = Some(self.table.name.clone());
        options.comment.clone_from(&self.table.comment);
        options.declared.clone_from(&self.table.declared);
        let session = self.data.session().clone();
        let spec = FlowSpec {
            name: Some(self.name.clone()),
            plan: self.plan.clone(),
            sink: SinkSpec::Delta(Box::new(options)),
            dead_letters: self.dead_letter_path(storage)?,
            checkpoint: self.checkpoint_path(storage),
            trigger,
            listeners,
        };
        let flow = assemble(&session, spec).await?;
        session.start_flow(flow).await
    }
}
