//! The pipeline's plan over the ranges of a batch that is long done: which rows it makes, by topic,
//! partition and offset. Nothing is written.

use super::places::Places;
use super::source::add_places;
use crate::execute::dead_letters::{self, DeadLetterTap, LetterRules};
use crate::plan::error::from_datafusion;
use crate::plan::{BatchBinding, FlowPlan, PartitionedScan, PhysicalTemplate, bind};
use crate::session::Session;
use crate::sinks::{DataSink, StageInfo, TaskOutput, TaskWriter};
use crate::sources::{ScanSettings, StreamingSource};
use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::execute_stream;
use futures::TryStreamExt as _;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, SourceRange, Staged};
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::log::LedgerEntry;
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

const SETTINGS: ScanSettings =
    ScanSettings { parallelism: 1, batch_rows: 8_192, batch_bytes: 4 << 20 };

/// A flow that is executed again, for its rows' places only.
pub(super) struct Replay {
    template: PhysicalTemplate,
    sources: Vec<Arc<dyn StreamingSource>>,
    /// The stream whose records may be dead letters, and which are.
    dead_letters: Option<(usize, LetterRules)>,
    context: Arc<TaskContext>,
}

impl Replay {
    /// Plans `plan` and opens its sources at `bootstrap_servers`.
    ///
    /// # Errors
    /// What planning and the sources' options say.
    pub(super) async fn new(
        session: &Session,
        plan: &FlowPlan,
        bootstrap_servers: &str,
    ) -> Result<Self> {
        let state = session.streaming_state();
        let mut sources = Vec::with_capacity(plan.streams.len());
        for (index, stream) in plan.streams.iter().enumerate() {
            let mut options = stream.options.clone();
            options.insert("kafka.bootstrap.servers", bootstrap_servers);
            if plan.dead_letters.as_ref().is_some_and(|d| d.stream == index) {
                options.insert("includeHeaders", "true");
            }
            sources.push(crate::sources::open(&stream.format, &options, &session.env())?);
        }
        let letters = match &plan.dead_letters {
            None => None,
            Some(letters) => {
                let source = sources
                    .get(letters.stream)
                    .map(|source| source.schema())
                    .ok_or_else(|| Error::internal("dead letters of a stream that is not there"))?;
                Some((letters.stream, LetterRules::of(letters, source, &state)?))
            }
        };
        Ok(Replay {
            template: PhysicalTemplate::new(plan, &state).await?,
            sources,
            dead_letters: letters,
            context: state.task_ctx(),
        })
    }

    /// The sources' identities, as a checkpoint remembers them.
    pub(super) fn identities(&self) -> Vec<Value> {
        self.sources.iter().map(|source| source.identity()).collect()
    }

    /// Places of the rows that a batch makes of `ranges`, dead letters among them.
    ///
    /// # Errors
    /// What reading and executing report.
    pub(super) async fn rows(&self, ranges: &[SourceRange], entry: &LedgerEntry) -> Result<Places> {
        let places = Arc::new(Mutex::new(Places::default()));
        let scans = self.scans(ranges, entry, &places)?;
        let binding = BatchBinding { batch_time_ms: entry.batch_time_ms, scans };
        let plan = bind(&self.template, &binding)?;
        let mut rows = execute_stream(plan, Arc::clone(&self.context)).map_err(from_datafusion)?;
        while let Some(batch) = rows.try_next().await.map_err(from_datafusion)? {
            add(&places, &batch)?;
        }
        Ok(std::mem::take(&mut *places.lock()))
    }

    fn scans(
        &self,
        ranges: &[SourceRange],
        entry: &LedgerEntry,
        places: &Arc<Mutex<Places>>,
    ) -> Result<Vec<Arc<dyn PartitionedScan>>> {
        if ranges.len() != self.sources.len() {
            return Err(Error::invalid(
                "VERIFY_OTHER_PIPELINE",
                format!(
                    "Batch {} has {} sources, the pipeline {}.",
                    entry.batch,
                    ranges.len(),
                    self.sources.len()
                ),
            )
            .cure("Name the pipeline that wrote the table, or its table and checkpoint alone."));
        }
        let mut scans: Vec<Arc<dyn PartitionedScan>> = Vec::with_capacity(ranges.len());
        for (at, (source, range)) in self.sources.iter().zip(ranges).enumerate() {
            let scan = Arc::clone(source).scan(range, SETTINGS)?;
            scans.push(match &self.dead_letters {
                Some((stream, rules)) if *stream == at => {
                    let sink = Arc::new(PlaceSink(Arc::clone(places)));
                    let attempt = AttemptId(Uuid::nil());
                    let tap = DeadLetterTap::new(sink, entry.query, entry.batch, attempt);
                    rules.apply(scan, source.schema(), &tap)
                }
                _ => scan,
            });
        }
        Ok(scans)
    }
}

/// Adds the places of rows that carry them among other columns.
fn add(places: &Mutex<Places>, batch: &RecordBatch) -> Result<()> {
    let wanted =
        [("topic", DataType::Utf8), ("partition", DataType::Int32), ("offset", DataType::Int64)];
    let mut columns = Vec::with_capacity(wanted.len());
    let mut fields = Vec::with_capacity(wanted.len());
    for (name, data_type) in wanted {
        let schema = batch.schema();
        let found = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name));
        let at = found.ok_or_else(|| Error::internal(format!("the rows have no `{name}`")))?;
        let column = cast(batch.column(at), &data_type)
            .map_err(|e| Error::internal(format!("column `{name}`: {e}")))?;
        columns.push(column);
        fields.push(Field::new(name, data_type, true));
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map_err(|e| Error::internal(format!("the places of rows: {e}")))?;
    add_places(&mut places.lock(), &batch)
}

/// Takes dead letters for their places.
struct PlaceSink(Arc<Mutex<Places>>);

#[async_trait]
impl Sink for PlaceSink {
    fn describe(&self) -> String {
        "places of dead letters".to_owned()
    }

    fn identity(&self) -> Value {
        json!({ "format": "noop" })
    }

    fn is_exactly_once(&self) -> bool {
        false
    }

    async fn probe(&self, _query: QueryId, _batch: BatchId) -> Result<Probe> {
        Ok(Probe::Absent)
    }

    async fn commit(&self, _tag: &CommitTag, _staged: &Staged) -> Result<CommitOutcome> {
        Err(Error::internal("nothing is committed while verifying"))
    }
}

impl DataSink for PlaceSink {
    fn input_schema(&self) -> SchemaRef {
        dead_letters::schema()
    }

    fn writer(&self, _: BatchId, _: AttemptId, _: usize) -> Result<Box<dyn TaskWriter>> {
        Ok(Box::new(PlaceWriter(Arc::clone(&self.0))))
    }

    fn stage(&self, _outputs: Vec<TaskOutput>, _info: &StageInfo) -> Result<Staged> {
        Ok(Staged(Value::Null))
    }
}

struct PlaceWriter(Arc<Mutex<Places>>);

impl TaskWriter for PlaceWriter {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        add(&self.0, batch)
    }

    fn finish(self: Box<Self>) -> Result<TaskOutput> {
        Ok(TaskOutput { value: Value::Null, rows: 0 })
    }
}
