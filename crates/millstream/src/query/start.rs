//! Claims a checkpoint and sets the batch loop going.

use super::flow::Flow;
use super::handle::{Shared, StreamingQuery};
use super::progress::Reported;
use super::run::{Run, Standing};
use crate::checkpoint::Checkpoint;
use millstream_core::env::SharedEnv;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::RunId;
use millstream_core::{Error, Result};

/// Starts `flow`. Its checkpoint is claimed before this returns; everything else that can go wrong
/// ends the query and is told by its handle.
///
/// # Errors
/// `CHECKPOINT_IN_USE` and everything else that opening a checkpoint can say.
pub(crate) async fn start(flow: Flow, env: SharedEnv) -> Result<StreamingQuery> {
    let run_id = RunId(env.uuid());
    point("P0", Moment::Before, 0);
    let checkpoint = Checkpoint::open_in(flow.store.clone(), run_id, &env).await?;
    point("P0", Moment::After, 0);
    let shared = Shared::new(checkpoint.query(), run_id, flow.name.clone(), flow.listeners.clone());
    let handle = StreamingQuery::new(shared.clone());
    let run = Run {
        flow,
        checkpoint,
        shared: shared.clone(),
        env,
        at: Standing::default(),
        reported: Reported::default(),
    };
    tokio::spawn(async move {
        let next = tokio::spawn(run.run()).await;
        let result = next.unwrap_or_else(|e| {
            Err(Error::internal(format!("the query's task ended abnormally: {e}")))
        });
        shared.finish(result);
    });
    Ok(handle)
}
