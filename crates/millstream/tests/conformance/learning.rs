//! Memory streams and memory tables in a session: one query after another.

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use millstream::sources::MemoryStream;
use millstream::{Result, Session, StreamingQuery, Trigger};
use std::path::Path;
use std::sync::Arc;

fn ids(ids: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(ids.to_vec())) as ArrayRef;
    RecordBatch::try_from_iter([("id", column)]).unwrap()
}

async fn start(
    session: &Session,
    stream: &Arc<MemoryStream>,
    checkpoint: &Path,
    trigger: Trigger,
) -> Result<StreamingQuery> {
    session
        .read_memory(stream)?
        .write_stream()
        .format("memory")
        .query_name("numbers")
        .option("checkpointLocation", checkpoint.display())
        .trigger(trigger)
        .start_query()
        .await
}

/// Sum of the table `numbers`, through SQL.
async fn sum(session: &Session) -> i64 {
    let rows = session.sql("SELECT sum(id) AS s FROM numbers").unwrap().collect().await.unwrap();
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test]
async fn a_memory_stream_is_read_by_one_query_after_another() {
    let directory = tempfile::tempdir().unwrap();
    let stream = MemoryStream::new(ids(&[]).schema());
    let session = Session::builder().build().unwrap();
    stream.add_data(ids(&[1, 2])).unwrap();
    let now = start(&session, &stream, &directory.path().join("a"), Trigger::AvailableNow).await;
    now.unwrap().await_termination().await.unwrap();
    assert_eq!(sum(&session).await, 3);

    // The run before had fixed its end; this one has an end of its own.
    stream.add_data(ids(&[10])).unwrap();
    let now = start(&session, &stream, &directory.path().join("b"), Trigger::AvailableNow).await;
    now.unwrap().await_termination().await.unwrap();
    assert_eq!(sum(&session).await, 13, "the table begins anew with its query");
}

#[tokio::test]
async fn rows_show_up_in_the_table_while_the_query_runs() {
    let directory = tempfile::tempdir().unwrap();
    let stream = MemoryStream::new(ids(&[]).schema());
    let session = Session::builder().build().unwrap();
    let query = start(&session, &stream, directory.path(), Trigger::default()).await.unwrap();
    let frame = session.sql("SELECT id FROM numbers WHERE id > 1").unwrap();
    assert!(frame.clone().collect().await.unwrap().iter().all(|b| b.num_rows() == 0));
    for (add, expected) in [(ids(&[1, 2]), 1), (ids(&[3]), 2)] {
        stream.add_data(add).unwrap();
        query.process_all_available().await.unwrap();
        let rows = frame.clone().collect().await.unwrap();
        assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), expected);
    }
    query.stop().await.unwrap();
}

#[tokio::test]
async fn batches_of_another_process_are_not_taken_for_those_of_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let stream = MemoryStream::new(ids(&[]).schema());
    let session = Session::builder().build().unwrap();
    for id in [1, 2, 3] {
        stream.add_data(ids(&[id])).unwrap();
    }
    into_nothing(&session, &stream, directory.path()).await.unwrap();

    // The stream of the next process is empty, and its checkpoint is three batches further.
    let next = MemoryStream::new(ids(&[]).schema());
    next.add_data(ids(&[7])).unwrap();
    let session = Session::builder().build().unwrap();
    let error = into_nothing(&session, &next, directory.path()).await.unwrap_err();
    assert_eq!(error.code(), "MEMORY_STREAM_GONE", "{error}");
}

/// Reads what there is into a sink that keeps nothing.
async fn into_nothing(
    session: &Session,
    stream: &Arc<MemoryStream>,
    checkpoint: &Path,
) -> Result<()> {
    let writer = session.read_memory(stream)?.write_stream().format("noop");
    let writer = writer.option("checkpointLocation", checkpoint.display());
    let query = writer.trigger(Trigger::AvailableNow).start_query().await?;
    query.await_termination().await
}

#[tokio::test]
async fn a_memory_table_is_not_continued_with_rows_missing() {
    let directory = tempfile::tempdir().unwrap();
    let stream = MemoryStream::new(ids(&[]).schema());
    let session = Session::builder().build().unwrap();
    stream.add_data(ids(&[1, 2])).unwrap();
    let query = start(&session, &stream, directory.path(), Trigger::AvailableNow).await.unwrap();
    query.await_termination().await.unwrap();
    stream.add_data(ids(&[3])).unwrap();
    let error = start(&session, &stream, directory.path(), Trigger::AvailableNow).await;
    assert_eq!(error.unwrap_err().code(), "MEMORY_SINK_NOT_RECOVERABLE");
    assert_eq!(sum(&session).await, 3, "the rows of the query before stay");
}
