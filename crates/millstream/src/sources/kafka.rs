//! Kafka as a streaming source: the engine's side of [`millstream_kafka::KafkaSource`].

use super::{ScanSettings, SourceMetrics, StreamingSource};
use crate::plan::PartitionedScan;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::offsets::Offsets;
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode, ReadOptions, Split};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// A Kafka subscription that the engine can plan and execute.
pub struct KafkaStream {
    source: Arc<KafkaSource>,
    schema: SchemaRef,
}

impl KafkaStream {
    /// Validates the options; the first connection is made by the first batch.
    ///
    /// # Errors
    /// Every refusal that needs no broker.
    pub fn new(options: &OptionMap, env: SharedEnv) -> Result<Self> {
        let config = KafkaConfig::from_options(options, ReadMode::Stream)?;
        let schema = config.schema();
        Ok(KafkaStream { source: KafkaSource::new(config, env), schema })
    }
}

#[async_trait]
impl Source for KafkaStream {
    fn describe(&self) -> String {
        self.source.describe()
    }

    fn identity(&self) -> Value {
        self.source.identity()
    }

    async fn initial_position(&self) -> Result<Position> {
        self.source.initial_position().await
    }

    async fn pin_available_now(&self) -> Result<()> {
        self.source.pin_available_now().await
    }

    async fn admit(
        &self,
        start: &Position,
        detail: Option<&Value>,
        limit: Limit,
    ) -> Result<Admitted> {
        self.source.admit(start, detail, limit).await
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        self.source.range_between(start, end).await
    }

    async fn completed(&self, end: &Position) -> Result<()> {
        self.source.completed(end).await
    }
}

impl StreamingSource for KafkaStream {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn scan(
        self: Arc<Self>,
        range: &SourceRange,
        settings: ScanSettings,
    ) -> Result<Arc<dyn PartitionedScan>> {
        Ok(Arc::new(KafkaScan::new(&self.source, self.schema.clone(), range, settings)?))
    }

    fn metrics(&self, end: &Position, latest: &Position) -> SourceMetrics {
        offsets_behind(end, latest).unwrap_or_default()
    }

    fn is_replayable(&self) -> bool {
        true
    }
}

/// Offsets that one more task must be worth; below it, a batch is read by fewer tasks and makes
/// fewer files.
const TASK_OFFSETS_MIN: i64 = 5_000;

/// Deals splits to at most `parallelism` tasks, the longest first to the task with the least.
fn deal(mut splits: Vec<Split>, parallelism: usize) -> Vec<Vec<Split>> {
    let total: i64 = splits.iter().map(Split::len).sum();
    let worthwhile = usize::try_from(total / TASK_OFFSETS_MIN).unwrap_or(usize::MAX).max(1);
    let tasks = parallelism.min(splits.len()).min(worthwhile).max(1);
    let mut dealt: Vec<(i64, Vec<Split>)> = (0..tasks).map(|_| (0, Vec::new())).collect();
    splits.sort_by_key(|split| std::cmp::Reverse(split.len()));
    for split in splits {
        if let Some((load, task)) = dealt.iter_mut().min_by_key(|(load, _)| *load) {
            *load += split.len();
            task.push(split);
        }
    }
    dealt.into_iter().map(|(_, task)| task).collect()
}

/// Spark's `minOffsetsBehindLatest` and its like (`KafkaMicroBatchStream.metrics`).
fn offsets_behind(end: &Position, latest: &Position) -> Option<SourceMetrics> {
    let end = Offsets::parse(&end.0.to_string()).ok()?;
    let latest = Offsets::parse(&latest.0.to_string()).ok()?;
    let behind: Vec<i64> =
        latest.0.iter().filter_map(|(tp, l)| end.get(tp).map(|e| (l - e).max(0))).collect();
    let (min, max) = (behind.iter().min()?, behind.iter().max()?);
    let average = behind.iter().sum::<i64>() as f64 / behind.len() as f64;
    Some(SourceMetrics::from([
        ("avgOffsetsBehindLatest".to_owned(), format!("{average:?}")),
        ("maxOffsetsBehindLatest".to_owned(), max.to_string()),
        ("minOffsetsBehindLatest".to_owned(), min.to_string()),
    ]))
}

/// One range of a Kafka subscription, dealt to tasks.
pub(crate) struct KafkaScan {
    source: Arc<KafkaSource>,
    schema: SchemaRef,
    tasks: Vec<Vec<Split>>,
    options: ReadOptions,
}

impl KafkaScan {
    pub(crate) fn new(
        source: &Arc<KafkaSource>,
        schema: SchemaRef,
        range: &SourceRange,
        settings: ScanSettings,
    ) -> Result<Self> {
        let splits = source.splits(range, settings.parallelism)?;
        Ok(KafkaScan {
            source: source.clone(),
            schema,
            tasks: deal(splits, settings.parallelism),
            options: ReadOptions {
                batch_rows: settings.batch_rows,
                batch_bytes: settings.batch_bytes,
                ..ReadOptions::default()
            },
        })
    }
}

impl fmt::Debug for KafkaScan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaScan").field("tasks", &self.tasks).finish_non_exhaustive()
    }
}

impl PartitionedScan for KafkaScan {
    fn partitions(&self) -> usize {
        self.tasks.len()
    }

    fn execute(
        &self,
        partition: usize,
        projection: Option<&[usize]>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = super::projected(&self.schema, projection)?;
        let splits = self.tasks.get(partition).cloned().ok_or_else(|| {
            let error = Error::internal(format!("task {partition} of {}", self.tasks.len()));
            super::to_datafusion(error)
        })?;
        let projection = projection.map(<[usize]>::to_vec);
        let batches = self
            .source
            .read(splits, projection, self.options.clone())
            .map(|batch| batch.map_err(super::to_datafusion));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }
}
