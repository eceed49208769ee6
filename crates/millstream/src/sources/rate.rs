//! The rate source (Spark's `RateStreamProvider`): `rowsPerSecond` rows of `(timestamp, value)`
//! every second, for learning and tests. Its position is a number of seconds since its start.

use super::{ScanSettings, StreamingSource};
use crate::plan::PartitionedScan;
use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::options::{OptionMap, OptionSpec, refuse_unknown};
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;

/// Options of the rate source.
pub const RATE_OPTIONS: &[OptionSpec] = &[OptionSpec {
    name: "rowsPerSecond",
    scope: "stream",
    default: "1",
    meaning: "Rows made for each second, a whole number from 1 to 10000000.",
    secret: false,
}];

const ROWS_PER_SECOND_MAX: i64 = 10_000_000;
const MICROS_PER_SECOND: i64 = 1_000_000;

/// A stream of numbered rows, so many a second.
pub struct RateStream {
    rows_per_second: i64,
    env: SharedEnv,
    schema: SchemaRef,
    pinned_ms: Mutex<Option<i64>>,
}

impl RateStream {
    /// Reads the options.
    ///
    /// # Errors
    /// `OPTION_UNKNOWN`, `OPTION_INVALID`.
    pub fn new(options: &OptionMap, env: SharedEnv) -> Result<Self> {
        refuse_unknown(options, &[RATE_OPTIONS], "The rate source")?;
        let rows_per_second = match options.get("rowsPerSecond") {
            None => 1,
            Some(text) => text
                .trim()
                .parse::<i64>()
                .ok()
                .filter(|n| (1..=ROWS_PER_SECOND_MAX).contains(n))
                .ok_or_else(|| {
                    Error::invalid(
                        "OPTION_INVALID",
                        format!(
                            "Invalid value '{text}'. The option 'rowsPerSecond' must be positive."
                        ),
                    )
                    .cure(format!("Give a whole number from 1 to {ROWS_PER_SECOND_MAX}."))
                })?,
        };
        let schema = Arc::new(Schema::new(vec![
            Field::new(
                "timestamp",
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
                true,
            ),
            Field::new("value", DataType::Int64, true),
        ]));
        Ok(RateStream { rows_per_second, env, schema, pinned_ms: Mutex::new(None) })
    }
}

impl RateStream {
    /// The position's fields: the start of the stream, pinned in `sources/<i>/0`, and the seconds
    /// since then. Rows and times up to there can be counted.
    fn parts(&self, position: &Position) -> Result<(i64, i64)> {
        let field = |name: &str| position.0.get(name).and_then(Value::as_i64);
        let counted = |start_ms: i64, seconds: i64| {
            seconds.checked_mul(self.rows_per_second)?;
            start_ms.checked_mul(1_000)?.checked_add(seconds.checked_mul(MICROS_PER_SECOND)?)
        };
        match (field("startMs"), field("seconds")) {
            (Some(start_ms), Some(seconds))
                if seconds >= 0 && counted(start_ms, seconds).is_some() =>
            {
                Ok((start_ms, seconds))
            }
            _ => Err(Error::corrupt(
                "RATE_OFFSET_MALFORMED",
                format!("`{}` is not a position of the rate source.", position.0),
            )),
        }
    }

    /// The start of the stream, and the seconds from one position of it to another.
    fn seconds_between(&self, start: &Position, end: &Position) -> Result<(i64, Range<i64>)> {
        let (start_ms, from) = self.parts(start)?;
        let (end_of, to) = self.parts(end)?;
        if start_ms != end_of || to < from {
            return Err(Error::corrupt(
                "RATE_OFFSET_MALFORMED",
                format!("There is no range from `{}` to `{}`.", start.0, end.0),
            ));
        }
        Ok((start_ms, from..to))
    }
}

fn position(start_ms: i64, seconds: i64) -> Position {
    Position(json!({ "startMs": start_ms, "seconds": seconds }))
}

#[async_trait]
impl Source for RateStream {
    fn describe(&self) -> String {
        format!("RateStreamV2[rowsPerSecond={}]", self.rows_per_second)
    }

    fn identity(&self) -> Value {
        json!({ "format": "rate", "rowsPerSecond": self.rows_per_second })
    }

    async fn initial_position(&self) -> Result<Position> {
        Ok(position(self.env.now_ms(), 0))
    }

    async fn pin_available_now(&self) -> Result<()> {
        *self.pinned_ms.lock() = Some(self.env.now_ms());
        Ok(())
    }

    async fn admit(
        &self,
        start: &Position,
        _detail: Option<&Value>,
        _limit: Limit,
    ) -> Result<Admitted> {
        let (start_ms, seconds) = self.parts(start)?;
        let now_ms = self.pinned_ms.lock().unwrap_or_else(|| self.env.now_ms());
        // A clock that went back must not take the stream back.
        let latest = ((now_ms - start_ms) / 1000).max(seconds);
        let end = position(start_ms, latest);
        let range = (latest > seconds).then(|| SourceRange::new(start.clone(), end.clone()));
        Ok(Admitted { range, latest: end })
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        self.seconds_between(start, end)?;
        Ok(SourceRange::new(start.clone(), end.clone()))
    }

    async fn completed(&self, _end: &Position) -> Result<()> {
        Ok(())
    }
}

impl StreamingSource for RateStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(
        self: Arc<Self>,
        range: &SourceRange,
        settings: ScanSettings,
    ) -> Result<Arc<dyn PartitionedScan>> {
        let (start_ms, seconds) = self.seconds_between(&range.start, &range.end)?;
        Ok(Arc::new(RateScan {
            schema: self.schema.clone(),
            rows_per_second: self.rows_per_second,
            start_ms,
            rows: seconds.start * self.rows_per_second..seconds.end * self.rows_per_second,
            batch_rows: i64::try_from(settings.batch_rows.max(1)).unwrap_or(i64::MAX),
        }))
    }

    fn is_replayable(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct RateScan {
    schema: SchemaRef,
    rows_per_second: i64,
    start_ms: i64,
    rows: Range<i64>,
    batch_rows: i64,
}

impl RateScan {
    fn batch(
        schema: &SchemaRef,
        start_ms: i64,
        rate: i64,
        rows: Range<i64>,
    ) -> Result<RecordBatch> {
        // Whole seconds first: at ten million rows a second the product of a row's number and a
        // million leaves 64 bits after ten days.
        let micros = rows.clone().map(|row| {
            let within = row % rate * MICROS_PER_SECOND / rate;
            start_ms * 1_000 + row / rate * MICROS_PER_SECOND + within
        });
        let timestamps = TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC");
        let values = Int64Array::from_iter_values(rows);
        RecordBatch::try_new(schema.clone(), vec![Arc::new(timestamps), Arc::new(values)])
            .map_err(|e| Error::internal(e.to_string()))
    }
}

impl PartitionedScan for RateScan {
    fn partitions(&self) -> usize {
        1
    }

    fn execute(
        &self,
        _partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = super::projected(&self.schema, projection)?;
        let (full, start_ms, rate) = (self.schema.clone(), self.start_ms, self.rows_per_second);
        let (step, end) = (self.batch_rows, self.rows.end);
        let columns: Option<Vec<usize>> = projection.map(<[usize]>::to_vec);
        let starts = (self.rows.start..end).step_by(usize::try_from(step).unwrap_or(usize::MAX));
        let batches = starts.map(move |from| {
            let rows = from..from.saturating_add(step).min(end);
            let batch =
                RateScan::batch(&full, start_ms, rate, rows).map_err(super::to_datafusion)?;
            match &columns {
                None => Ok(batch),
                Some(columns) => Ok(batch.project(columns)?),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches))))
    }
}
