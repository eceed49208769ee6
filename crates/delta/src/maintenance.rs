//! Table checkpoints and log clean-up, beside the stream: at most one runs at a time, and a batch
//! never waits for it.

use crate::log::checkpoint_write::{self, Written};
use crate::log::cleanup;
use crate::log::files::LogFiles;
use crate::log::snapshot::Snapshot;
use crate::properties;
use millstream_core::env::SharedEnv;
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Entries after which a small table gets a checkpoint, unless a property says otherwise.
const INTERVAL_MIN: u64 = 100;
/// Entries after which the largest table gets one: what an opening has to read of the tail.
const INTERVAL_MAX: u64 = 1000;
/// Live files that make up for one more entry in the tail.
const FILES_PER_ENTRY: u64 = 100;

/// The housekeeping of one sink.
#[derive(Debug, Default)]
pub(crate) struct Maintenance {
    task: tokio::sync::Mutex<Option<JoinHandle<Result<()>>>>,
    newest: Arc<Mutex<Option<Written>>>,
}

impl Maintenance {
    /// Begins what is due, unless something is still running.
    ///
    /// # Errors
    /// What ended the work that was begun before.
    pub(crate) async fn run(
        &self,
        files: Arc<dyn LogFiles>,
        env: SharedEnv,
        snapshot: Snapshot,
    ) -> Result<()> {
        let mut task = self.task.lock().await;
        if task.as_ref().is_some_and(|running| !running.is_finished()) {
            return Ok(());
        }
        let before = match task.take() {
            Some(finished) => joined(finished).await,
            None => Ok(()),
        };
        let newest = Arc::clone(&self.newest);
        if is_due(&snapshot, newest.lock().as_ref()) {
            *task = Some(tokio::task::spawn_blocking(move || {
                let done = work(&*files, &env, &snapshot, &newest);
                // Commits sync the same directory, and would not be told what this one was.
                if done.as_ref().is_err_and(|error| error.code() == "STORE_SYNC_FAILED") {
                    files.distrust();
                }
                done
            }));
        }
        before
    }

    /// Waits for what is running.
    pub(crate) async fn finish(&self) -> Result<()> {
        match self.task.lock().await.take() {
            Some(running) => joined(running).await,
            None => Ok(()),
        }
    }
}

async fn joined(task: JoinHandle<Result<()>>) -> Result<()> {
    task.await.map_err(|e| Error::internal("A table checkpoint did not end.").caused_by(e))?
}

fn is_due(snapshot: &Snapshot, newest: Option<&Written>) -> bool {
    let opened = snapshot.checkpoint.as_ref().map_or(0, |c| c.version);
    let last = newest.map_or(0, |w| w.checkpoint.version).max(opened);
    let live_files = newest.map_or(0, |w| w.live_files);
    snapshot.version.saturating_sub(last) >= interval(&snapshot.metadata.configuration, live_files)
}

/// Entries between two checkpoints. A checkpoint costs what the table has in files, an opening
/// what the tail has in entries.
fn interval(table: &BTreeMap<String, String>, live_files: u64) -> u64 {
    properties::checkpoint_interval(table)
        .unwrap_or_else(|| (live_files / FILES_PER_ENTRY).clamp(INTERVAL_MIN, INTERVAL_MAX))
}

fn work(
    files: &dyn LogFiles,
    env: &SharedEnv,
    snapshot: &Snapshot,
    newest: &Mutex<Option<Written>>,
) -> Result<()> {
    let table = &snapshot.metadata.configuration;
    if !properties::flag(table, "delta.checkpoint.writeStatsAsJson", true) {
        return Err(Error::invalid(
            "DELTA_UNSUPPORTED_FEATURE",
            "delta.checkpoint.writeStatsAsJson is false: a checkpoint written here would lose the \
             statistics.",
        )
        .cure("Set it to true, or let another engine write the table's checkpoints."));
    }
    let hinted =
        checkpoint_write::hinted(files)?.filter(|hint| hint.checkpoint.version <= snapshot.version);
    let known = newest.lock().clone();
    let mut base = snapshot.checkpoint.clone();
    for found in [known, hinted].into_iter().flatten() {
        if base.as_ref().is_none_or(|b| b.version < found.checkpoint.version) {
            base = Some(found.checkpoint.clone());
        }
        if newest.lock().as_ref().is_none_or(|n| n.checkpoint.version < found.checkpoint.version) {
            *newest.lock() = Some(found);
        }
    }
    // Another engine may have done the work, or the table's size may be known only now.
    if !is_due(snapshot, newest.lock().as_ref()) {
        return Ok(());
    }
    let written =
        checkpoint_write::write(files, snapshot, base.as_ref(), env.now_ms(), env.uuid())?;
    tracing::info!(version = snapshot.version, files = written.live_files, "table checkpoint");
    *newest.lock() = Some(written);
    let deleted = cleanup::clean_up(files, table, env.now_ms())?;
    if deleted > 0 {
        tracing::info!(deleted, "expired files of the table log deleted");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_table_unless_a_property_sets_it() {
        let unset = BTreeMap::new();
        for (live_files, entries) in [(0, 100), (9_999, 100), (50_000, 500), (10_000_000, 1000)] {
            assert_eq!(interval(&unset, live_files), entries);
        }
        let set = BTreeMap::from([("delta.checkpointInterval".to_owned(), "10".to_owned())]);
        assert_eq!(interval(&set, 10_000_000), 10);
    }
}
