//! Splits a stream's records into those that fit and dead letters, decoding each once: `from_json`
//! here, the casts that a query names in `casts`.
//!
//! The scan yields the source's columns and one more, the decoded value ([`DECODED_COLUMN`]).
//! Records that Spark would put into the corrupt-record column (malformed, or a field that does
//! not fit) do not pass; they go to the dead-letter sink's writers with everything needed to
//! replay them. A NULL value (a tombstone) decodes to NULL and passes.

mod casts;
mod scan;

use casts::letter_casts;
pub use casts::{CAST_FAILED, LetterCast};
pub(crate) use casts::{CastingScan, StoredCastingScan};
pub use scan::DecodingScan;
pub(crate) use scan::StoredDecodingScan;

use crate::plan::from_json::FromJsonCall;
use crate::plan::{DeadLetterPlan, PartitionedScan};
use crate::sinks::{DataSink, TaskOutput, TaskWriter};
use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, UInt64Array, new_null_array,
};
use arrow::compute::{filter_record_batch, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;
use datafusion::execution::SessionState;
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::{Error, Result};
use millstream_json::BadRow;
use millstream_types::StructType;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// How the names of columns start that only the scan and the plan know. No Kafka column has such a
/// name, and no user may choose one.
pub const OWN_COLUMNS: &str = "__millstream_";

/// Name of the decoded column in the scan's schema.
pub const DECODED_COLUMN: &str = "__millstream_decoded";

/// How the names of the columns start that hold results of casts.
pub const CAST_COLUMNS: &str = "__millstream_cast_";

/// The column that `from_json` decodes.
const VALUE: &str = "value";

/// Columns of a record that a dead letter keeps, as Kafka's source names them.
const KEPT: [&str; 7] = ["key", "value", "headers", "topic", "partition", "offset", "timestamp"];

/// Schema of a dead-letter table.
pub fn schema() -> SchemaRef {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let header = DataType::Struct(
        vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)]
            .into(),
    );
    Arc::new(Schema::new(vec![
        Field::new("key", DataType::Binary, true),
        Field::new("value", DataType::Binary, true),
        Field::new("headers", DataType::List(Arc::new(Field::new("element", header, true))), true),
        Field::new("topic", DataType::Utf8, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("offset", DataType::Int64, true),
        Field::new("timestamp", utc, true),
        Field::new("reason", DataType::Utf8, true),
        Field::new("detail", DataType::Utf8, true),
        Field::new("query_id", DataType::Utf8, true),
        Field::new("batch_id", DataType::Int64, true),
    ]))
}

/// Takes the dead letters of one attempt, whichever task finds them.
pub struct DeadLetterTap {
    sink: Arc<dyn DataSink>,
    query: QueryId,
    batch: BatchId,
    attempt: AttemptId,
    writers: Mutex<BTreeMap<usize, Box<dyn TaskWriter>>>,
}

impl DeadLetterTap {
    /// For one attempt.
    pub fn new(
        sink: Arc<dyn DataSink>,
        query: QueryId,
        batch: BatchId,
        attempt: AttemptId,
    ) -> Arc<Self> {
        Arc::new(DeadLetterTap { sink, query, batch, attempt, writers: Mutex::default() })
    }

    /// Writes the rows of `records` that `bad` names.
    fn write(&self, task: usize, records: &RecordBatch, bad: &[BadRow]) -> Result<()> {
        let internal = |e: arrow::error::ArrowError| Error::internal(format!("dead letters: {e}"));
        let rows = UInt64Array::from_iter_values(bad.iter().map(|b| b.row as u64));
        let schema = self.sink.input_schema();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for field in schema.fields() {
            let name = field.name().as_str();
            let column: ArrayRef = match name {
                "reason" => Arc::new(StringArray::from_iter_values(bad.iter().map(|b| b.reason))),
                "detail" => {
                    Arc::new(StringArray::from_iter_values(bad.iter().map(|b| b.detail.as_str())))
                }
                "query_id" => {
                    let id = self.query.to_string();
                    Arc::new(StringArray::from_iter_values(bad.iter().map(|_| id.as_str())))
                }
                "batch_id" => {
                    let batch = i64::try_from(self.batch.0).unwrap_or(i64::MAX);
                    Arc::new(Int64Array::from_iter_values(bad.iter().map(|_| batch)))
                }
                kept => match records.column_by_name(kept) {
                    Some(column) => {
                        let taken = take(column, &rows, None).map_err(internal)?;
                        arrow::compute::cast(&taken, field.data_type()).map_err(internal)?
                    }
                    None => new_null_array(field.data_type(), bad.len()),
                },
            };
            columns.push(column);
        }
        let letters = RecordBatch::try_new(schema, columns).map_err(internal)?;
        let mut writers = self.writers.lock();
        let writer = match writers.entry(task) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(self.sink.writer(self.batch, self.attempt, task)?)
            }
        };
        writer.write(&letters)
    }

    /// Makes all dead letters of the attempt durable.
    ///
    /// # Errors
    /// What the sink says about its storage.
    pub fn finish(&self) -> Result<Vec<TaskOutput>> {
        let writers = std::mem::take(&mut *self.writers.lock());
        writers.into_values().map(TaskWriter::finish).collect()
    }
}

impl fmt::Debug for DeadLetterTap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetterTap").field("batch", &self.batch).finish_non_exhaustive()
    }
}

/// What makes a record of one stream a dead letter.
#[derive(Debug, Clone)]
pub(crate) struct LetterRules {
    /// Decodes the `value`, where the query does.
    pub(crate) decoding: Option<FromJsonCall>,
    /// The casts that count.
    pub(crate) casts: Vec<LetterCast>,
    /// The stream's schema in the plan: its own columns, the decoded one, those of the casts.
    pub(crate) schema: SchemaRef,
}

impl LetterRules {
    /// The rules of a plan, over a stream whose records have the schema `source`.
    ///
    /// # Errors
    /// Only defects: the plan was checked.
    pub(crate) fn of(
        plan: &DeadLetterPlan,
        source: SchemaRef,
        state: &SessionState,
    ) -> Result<LetterRules> {
        let records = match &plan.decoding {
            Some(decoding) => with_decoded(&source, decoding),
            None => source,
        };
        let casts = letter_casts(&plan.casts, &records, state)?;
        Ok(LetterRules { decoding: plan.decoding.clone(), casts, schema: plan.schema.clone() })
    }

    /// `scan`, whose rows have the schema `source`, without its dead letters.
    pub(crate) fn apply(
        &self,
        scan: Arc<dyn PartitionedScan>,
        source: SchemaRef,
        tap: &Arc<DeadLetterTap>,
    ) -> Arc<dyn PartitionedScan> {
        let (scan, source): (Arc<dyn PartitionedScan>, _) = match &self.decoding {
            None => (scan, source),
            Some(decoding) => {
                // Casts read any column of the record; without them the plan's are enough.
                let schema = match self.casts.is_empty() {
                    true => self.schema.clone(),
                    false => with_decoded(&source, decoding),
                };
                let decoding = decoding.clone();
                (DecodingScan::new(scan, source, schema.clone(), decoding, tap.clone()), schema)
            }
        };
        if self.casts.is_empty() {
            return scan;
        }
        CastingScan::new(scan, source, self.schema.clone(), self.casts.clone(), tap.clone())
    }
}

/// The columns of `source` and the decoded one.
pub(crate) fn with_decoded(source: &Schema, decoding: &FromJsonCall) -> SchemaRef {
    Arc::new(with_field(source, Field::new(DECODED_COLUMN, decoding.arrow_type(), true)))
}

/// `schema` with one more field at its end.
pub(crate) fn with_field(schema: &Schema, field: Field) -> Schema {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone()).chain([field]);
    Schema::new(fields.collect::<Vec<_>>())
}

/// Columns of `source` that a scan reads: those a dead letter keeps, those `wanted` above it, and
/// those it uses itself.
fn needed(source: &Schema, wanted: &Schema, uses: impl Fn(&str) -> bool) -> Vec<usize> {
    let kept = |name: &str| KEPT.contains(&name) || wanted.index_of(name).is_ok() || uses(name);
    let fields = source.fields().iter().enumerate();
    fields.filter(|(_, field)| kept(field.name())).map(|(at, _)| at).collect()
}

/// A schema that was written down with a scan.
fn stored_schema(text: &str) -> Result<SchemaRef> {
    Ok(Arc::new(StructType::from_json(text)?.to_arrow()))
}

/// `rows` without those that are named.
fn without(rows: &RecordBatch, bad: &[BadRow]) -> Result<RecordBatch, ArrowError> {
    let mut good = vec![true; rows.num_rows()];
    for bad in bad {
        if let Some(slot) = good.get_mut(bad.row) {
            *slot = false;
        }
    }
    filter_record_batch(rows, &BooleanArray::from(good))
}
