//! One range of Kafka partitions as a scan, here or written down for another process.

use super::super::ScanSettings;
use crate::plan::PartitionedScan;
use crate::sources::stored::StoredScan;
use crate::sources::{projected, to_datafusion};
use arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use millstream_core::contract::SourceRange;
use millstream_core::env::SharedEnv;
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode, ReadOptions, Split};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

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

/// One range of a Kafka subscription, dealt to tasks.
pub(crate) struct KafkaScan {
    source: Arc<KafkaSource>,
    schema: SchemaRef,
    tasks: Vec<Vec<Split>>,
    options: ReadOptions,
    /// Options that travel with the plan. Those that this process added to its own connections are
    /// not among them.
    portable: OptionMap,
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
            portable: source.config().portable_options().clone(),
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

/// A [`KafkaScan`] as it travels: every split with its topic id and leader epoch, and the options
/// that are no secret. What a connection needs beyond them is added where the plan runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StoredKafkaScan {
    options: BTreeMap<String, String>,
    batch_read: bool,
    tasks: Vec<Vec<Split>>,
    batch_rows: usize,
    batch_bytes: usize,
    prefetch_bytes: usize,
    decompressed_bytes_max: usize,
}

/// A source as plans describe it, to tell one from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SourceKey(bool, BTreeMap<String, String>);

impl StoredKafkaScan {
    /// A source of the stored options; `own` are laid over them.
    ///
    /// # Errors
    /// What the source says about its options.
    pub(crate) fn source(&self, own: &OptionMap, env: SharedEnv) -> Result<Arc<KafkaSource>> {
        let mut options: OptionMap =
            self.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (name, value) in own.iter() {
            options.insert(name, value);
        }
        let mode = if self.batch_read { ReadMode::Batch } else { ReadMode::Stream };
        Ok(KafkaSource::new(KafkaConfig::from_options(&options, mode)?, env))
    }

    /// What tells one source from another.
    pub(crate) fn source_key(&self) -> SourceKey {
        SourceKey(self.batch_read, self.options.clone())
    }

    /// The scan, read through `source`.
    ///
    /// # Errors
    /// `PLAN_MALFORMED` where there is no task.
    pub(crate) fn scan(self, source: Arc<KafkaSource>) -> Result<KafkaScan> {
        if self.tasks.is_empty() {
            return Err(crate::plan::malformed(&"a scan of Kafka has no task"));
        }
        Ok(KafkaScan {
            schema: source.config().schema(),
            source,
            portable: self.options.into_iter().collect(),
            tasks: self.tasks,
            options: ReadOptions {
                batch_rows: self.batch_rows,
                batch_bytes: self.batch_bytes,
                prefetch_bytes: self.prefetch_bytes,
                decompressed_bytes_max: self.decompressed_bytes_max,
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
        let schema = projected(&self.schema, projection)?;
        let splits = self.tasks.get(partition).cloned().ok_or_else(|| {
            let error = Error::internal(format!("task {partition} of {}", self.tasks.len()));
            to_datafusion(error)
        })?;
        let projection = projection.map(<[usize]>::to_vec);
        let batches = self
            .source
            .read(splits, projection, self.options.clone())
            .map(|batch| batch.map_err(to_datafusion));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn description(&self) -> Result<serde_json::Value> {
        let options = self.portable.iter();
        StoredScan::Kafka(StoredKafkaScan {
            options: options.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            batch_read: self.source.config().mode() == ReadMode::Batch,
            tasks: self.tasks.clone(),
            batch_rows: self.options.batch_rows,
            batch_bytes: self.options.batch_bytes,
            prefetch_bytes: self.options.prefetch_bytes,
            decompressed_bytes_max: self.options.decompressed_bytes_max,
        })
        .to_json()
    }
}
