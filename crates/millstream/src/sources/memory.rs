//! A stream fed by the program itself (Spark's `MemoryStream`), for tests and learning. Its
//! position is the number of batches added; the data lives as long as the stream object.

use super::{ScanSettings, StreamingSource};
use crate::plan::PartitionedScan;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

/// Batches that the program adds and a query reads.
///
/// ```
/// use arrow::array::{ArrayRef, Int32Array, RecordBatch};
/// use millstream::Session;
/// use millstream::sources::MemoryStream;
/// use std::sync::Arc;
///
/// fn ids(ids: &[i32]) -> RecordBatch {
///     let column = Arc::new(Int32Array::from(ids.to_vec())) as ArrayRef;
///     RecordBatch::try_from_iter([("id", column)]).expect("a batch")
/// }
///
/// # #[tokio::main]
/// # async fn main() -> millstream::Result<()> {
/// let stream = MemoryStream::new(ids(&[]).schema());
/// let session = Session::builder().build()?;
/// let query = session
///     .read_memory(&stream)?
///     .select_expr(["id", "id * 10 AS tenfold"])?
///     .write_stream()
///     .format("memory")
///     .query_name("numbers")
///     .start_query()
///     .await?;
///
/// stream.add_data(ids(&[1, 2]))?;
/// query.process_all_available().await?;
/// stream.add_data(ids(&[3]))?;
/// query.process_all_available().await?;
/// query.stop().await?;
///
/// let sum = session.sql("SELECT sum(tenfold) AS sum FROM numbers")?.collect().await?;
/// let sum = arrow::util::display::array_value_to_string(sum[0].column(0), 0);
/// assert_eq!(sum.expect("a number"), "60");
/// # Ok(())
/// # }
/// ```
pub struct MemoryStream {
    schema: SchemaRef,
    batches: Mutex<Vec<RecordBatch>>,
}

impl MemoryStream {
    /// An empty stream of rows of `schema`.
    pub fn new(schema: SchemaRef) -> Arc<Self> {
        Arc::new(MemoryStream { schema, batches: Mutex::new(Vec::new()) })
    }

    /// Adds rows; a running query reads them in its next batch.
    ///
    /// # Errors
    /// `MEMORY_STREAM_SCHEMA` where the batch has another schema than the stream.
    pub fn add_data(&self, batch: RecordBatch) -> Result<()> {
        if batch.schema() != self.schema {
            return Err(Error::invalid(
                "MEMORY_STREAM_SCHEMA",
                format!("The stream has {:?}, the batch has {:?}.", self.schema, batch.schema()),
            ));
        }
        self.batches.lock().push(batch);
        Ok(())
    }

    /// Schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// The stream as a source of one query.
    pub fn source(self: &Arc<Self>) -> MemorySource {
        MemorySource { stream: self.clone(), pinned: Mutex::new(None) }
    }

    fn len(&self) -> usize {
        self.batches.lock().len()
    }
}

/// One query's reading of a [`MemoryStream`].
pub struct MemorySource {
    stream: Arc<MemoryStream>,
    /// Where an `AvailableNow` run ends.
    pinned: Mutex<Option<usize>>,
}

/// What a checkpoint remembers of a memory stream.
pub(crate) fn identity() -> Value {
    json!({ "format": "memory" })
}

fn index(position: &Position) -> Result<usize> {
    position.0.as_u64().and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
        Error::corrupt(
            "MEMORY_OFFSET_MALFORMED",
            format!("`{}` is not a position of a memory stream.", position.0),
        )
    })
}

/// A position of a stream of another process: its batches are not here, and those that are added
/// here must not be taken for them.
fn gone(from: usize, len: usize) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "MEMORY_STREAM_GONE",
        format!(
            "The memory stream no longer holds the batches from {from} on: there are {len} here."
        ),
    )
    .cure("A memory stream lives in one process; start with a new checkpoint.")
}

#[async_trait]
impl Source for MemorySource {
    fn describe(&self) -> String {
        "MemoryStream".to_owned()
    }

    fn identity(&self) -> Value {
        identity()
    }

    async fn initial_position(&self) -> Result<Position> {
        Ok(Position(json!(0)))
    }

    async fn pin_available_now(&self) -> Result<()> {
        *self.pinned.lock() = Some(self.stream.len());
        Ok(())
    }

    async fn admit(
        &self,
        start: &Position,
        _detail: Option<&Value>,
        _limit: Limit,
    ) -> Result<Admitted> {
        let from = index(start)?;
        let len = self.stream.len();
        if from > len {
            return Err(gone(from, len));
        }
        let to = self.pinned.lock().map_or(len, |pinned| pinned.min(len)).max(from);
        let end = Position(json!(to));
        let range = (to > from).then(|| SourceRange::new(start.clone(), end.clone()));
        Ok(Admitted { range, latest: Position(json!(len)) })
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        let (from, to) = (index(start)?, index(end)?);
        let len = self.stream.len();
        if to > len {
            return Err(gone(from, len));
        }
        if to < from {
            return Err(Error::corrupt(
                "MEMORY_OFFSET_MALFORMED",
                format!("There is no range from `{from}` to `{to}`."),
            ));
        }
        Ok(SourceRange::new(start.clone(), end.clone()))
    }

    async fn completed(&self, _end: &Position) -> Result<()> {
        Ok(())
    }
}

impl StreamingSource for MemorySource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    fn scan(
        self: Arc<Self>,
        range: &SourceRange,
        _settings: ScanSettings,
    ) -> Result<Arc<dyn PartitionedScan>> {
        let (from, to) = (index(&range.start)?, index(&range.end)?);
        let batches = self.stream.batches.lock().get(from..to).map(<[RecordBatch]>::to_vec);
        let batches = batches.ok_or_else(|| gone(from, self.stream.len()))?;
        Ok(Arc::new(MemoryScan { schema: self.stream.schema(), batches }))
    }

    fn is_replayable(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct MemoryScan {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl PartitionedScan for MemoryScan {
    fn partitions(&self) -> usize {
        1
    }

    fn execute(
        &self,
        _partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = super::projected(&self.schema, projection)?;
        let columns: Option<Vec<usize>> = projection.map(<[usize]>::to_vec);
        let batches: Vec<_> = self
            .batches
            .iter()
            .map(|batch| match &columns {
                None => Ok(batch.clone()),
                Some(columns) => Ok(batch.project(columns)?),
            })
            .collect();
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))))
    }
}
