//! The loop against sinks that another run reaches first, and whose housekeeping fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::assemble::{FlowSpec, SinkSpec, assemble};
use super::flow::Flow;
use crate::Session;
use crate::sinks::{DataSink, StageInfo, TaskOutput, TaskWriter};
use crate::sources::MemoryStream;
use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::log::{Prepared, Record};
use millstream_core::trigger::Trigger;
use millstream_core::{Error, Result};
use millstream_delta::DeltaSinkOptions;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A table into which, just before some commits, a dead run's late commit of the same batch arrives,
/// and whose housekeeping may fail.
struct Overtaken {
    table: Arc<dyn DataSink>,
    checkpoint: PathBuf,
    /// Commits that are overtaken from now on.
    times: AtomicU32,
    /// Codes with which the housekeeping after a batch, and the one at the end, fails.
    after: Option<&'static str>,
    close: Option<&'static str>,
}

fn failing(code: Option<&'static str>) -> Result<()> {
    code.map_or(Ok(()), |code| Err(Error::unavailable(code, "It failed.")))
}

impl Overtaken {
    /// Seals the attempt a second time, as the run did that is dead now, and says under which name.
    fn seal_as_another(&self, tag: &CommitTag) -> AttemptId {
        let sealed = self.checkpoint.join(format!("millstream/prepared/{}", tag.batch));
        let mine = std::fs::read(sealed.join(tag.attempt.to_string())).unwrap();
        let attempt = AttemptId(uuid_like(&tag.attempt.to_string()));
        let other = Prepared { attempt, ..Prepared::decode(&mine).unwrap() };
        std::fs::write(sealed.join(attempt.to_string()), other.encode().unwrap()).unwrap();
        attempt
    }
}

/// The id with its first digit changed.
fn uuid_like(id: &str) -> uuid::Uuid {
    let first = if id.starts_with('0') { '1' } else { '0' };
    let changed: String = std::iter::once(first).chain(id.chars().skip(1)).collect();
    changed.parse().unwrap()
}

#[async_trait]
impl Sink for Overtaken {
    fn describe(&self) -> String {
        self.table.describe()
    }

    fn identity(&self) -> Value {
        self.table.identity()
    }

    fn is_exactly_once(&self) -> bool {
        self.table.is_exactly_once()
    }

    async fn staged_is_complete(&self, staged: &Staged) -> Result<bool> {
        self.table.staged_is_complete(staged).await
    }

    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        self.table.probe(query, batch).await
    }

    async fn commit(&self, tag: &CommitTag, staged: &Staged) -> Result<CommitOutcome> {
        let left = |n: u32| n.checked_sub(1);
        if self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            let late = CommitTag { attempt: self.seal_as_another(tag), ..tag.clone() };
            let outcome = self.table.commit(&late, staged).await?;
            assert!(matches!(outcome, CommitOutcome::Committed { .. }));
        }
        self.table.commit(tag, staged).await
    }

    async fn after_completion(&self) -> Result<()> {
        failing(self.after)
    }

    async fn close(&self) -> Result<()> {
        failing(self.close)
    }
}

impl DataSink for Overtaken {
    fn input_schema(&self) -> SchemaRef {
        self.table.input_schema()
    }

    fn writer(
        &self,
        batch: BatchId,
        attempt: AttemptId,
        task: usize,
    ) -> Result<Box<dyn TaskWriter>> {
        self.table.writer(batch, attempt, task)
    }

    fn stage(&self, outputs: Vec<TaskOutput>, info: &StageInfo) -> Result<Staged> {
        self.table.stage(outputs, info)
    }
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(range))]).unwrap()
}

/// The numbers in the table, sorted.
async fn in_table(dir: &Path) -> Vec<i64> {
    let session = Session::builder().build().unwrap();
    session.set_catalog(Arc::new(crate::batch::LakeCatalog::new(dir)));
    let rows = session.sql("SELECT n FROM t ORDER BY n").unwrap().collect().await.unwrap();
    let column = |batch: &RecordBatch| {
        let array = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().clone();
        array.values().to_vec()
    };
    rows.iter().flat_map(column).collect()
}

/// A flow from the stream to the table `t`.
async fn flow(session: &Session, stream: &Arc<MemoryStream>, dir: &Path, trigger: Trigger) -> Flow {
    let spec = FlowSpec {
        name: None,
        plan: session.read_memory(stream).unwrap().flow_plan(None).unwrap(),
        sink: SinkSpec::Delta(Box::new(DeltaSinkOptions::new(dir.join("t")))),
        dead_letters: None,
        checkpoint: dir.join("checkpoint"),
        trigger,
        listeners: Vec::new(),
    };
    assemble(session, spec).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_commit_of_a_dead_run_is_rolled_forward_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let session = Session::builder().build().unwrap();
    let stream = MemoryStream::new(numbers(0..0).schema());
    stream.add_data(numbers(0..10)).unwrap();
    let mut flow = flow(&session, &stream, dir.path(), Trigger::AsFastAsPossible).await;
    flow.sink = Arc::new(Overtaken {
        table: flow.sink.clone(),
        checkpoint: dir.path().join("checkpoint"),
        times: AtomicU32::new(1),
        after: None,
        close: None,
    });
    let query = session.start_flow(flow).await.unwrap();
    query.process_all_available().await.unwrap();
    // The same run goes on, with the next batch after the one that it lost.
    stream.add_data(numbers(10..20)).unwrap();
    query.process_all_available().await.unwrap();
    query.stop().await.unwrap();
    assert_eq!(in_table(dir.path()).await, (0..20).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn housekeeping_may_fail_unless_it_is_an_fsync_that_failed() {
    const SYNC: Option<&str> = Some("STORE_SYNC_FAILED");
    const OTHER: Option<&str> = Some("STORE_IO");
    for (after, close, ends_with) in [
        (OTHER, OTHER, None),
        (SYNC, None, SYNC),
        (None, SYNC, SYNC),
        (None, Some("STORE_POISONED"), Some("STORE_POISONED")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let session = Session::builder().build().unwrap();
        let stream = MemoryStream::new(numbers(0..0).schema());
        stream.add_data(numbers(0..10)).unwrap();
        let mut flow = flow(&session, &stream, dir.path(), Trigger::AvailableNow).await;
        flow.sink = Arc::new(Overtaken {
            table: flow.sink.clone(),
            checkpoint: dir.path().join("checkpoint"),
            times: AtomicU32::new(0),
            after,
            close,
        });
        let query = session.start_flow(flow).await.unwrap();
        let ended = query.await_termination().await;
        assert_eq!(ended.err().map(|error| error.code()), ends_with, "{after:?}, {close:?}");
        assert_eq!(in_table(dir.path()).await, (0..10).collect::<Vec<_>>());
    }
}
