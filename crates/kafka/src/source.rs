//! The control side of the source: first positions, admission, ends, group offsets.

mod admit;
mod batch;
mod initial;

use crate::client::Cluster;
use crate::config::KafkaConfig;
use crate::detail::{Detail, ParsedRange};
use crate::metrics::{Counters, KafkaMetrics};
use crate::split::{Split, cut};
use async_trait::async_trait;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::offsets::{Offsets, TopicPartition};
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use uuid::Uuid;

/// A Kafka source. Connects when it is first asked something.
pub struct KafkaSource {
    pub(crate) config: KafkaConfig,
    env: SharedEnv,
    pub(crate) cluster: Arc<Cluster>,
    /// The group named in messages.
    pub(crate) group: String,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<State>,
}

/// What the source remembers between batches of one run. Nothing here decides what is read; it
/// only decides how much, and helps to notice loss earlier.
#[derive(Debug, Default)]
struct State {
    /// Ends of an `AvailableNow` run.
    pinned: Option<BTreeMap<TopicPartition, i64>>,
    last_trigger_ms: i64,
    /// Ids of topics when this process first saw them.
    ids: BTreeMap<String, Uuid>,
    bytes_per_offset: HashMap<TopicPartition, f64>,
    latest: BTreeMap<TopicPartition, i64>,
}

/// How far a position is behind the newest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lag {
    /// Smallest distance of a partition, in offsets.
    pub min: i64,
    /// Largest distance.
    pub max: i64,
    /// Mean distance.
    pub avg: f64,
    /// Sum of all distances.
    pub total: i64,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("subscription", &self.config.subscription)
            .finish_non_exhaustive()
    }
}

impl KafkaSource {
    /// A source of `config`. Does nothing yet.
    pub fn new(config: KafkaConfig, env: SharedEnv) -> Arc<Self> {
        let group = match &config.group_id {
            Some(group) => group.clone(),
            None => format!("{}-{}", config.group_id_prefix, env.uuid()),
        };
        let cluster = Arc::new(Cluster::new(config.client.clone()));
        Arc::new(KafkaSource {
            config,
            env,
            cluster,
            group,
            counters: Arc::default(),
            state: Mutex::default(),
        })
    }

    /// The settings it was made with.
    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// The parts of `range` that tasks read: one per partition with data, more where the options
    /// ask for it. `parallelism` is the number of tasks that could run at once; like Spark, the
    /// source does not split partitions for its sake.
    ///
    /// # Errors
    /// `KAFKA_OFFSETS_MALFORMED`, `KAFKA_DETAIL_MALFORMED` where `range` is not one of ours.
    pub fn splits(&self, range: &SourceRange, _parallelism: usize) -> Result<Vec<Split>> {
        let ParsedRange { start, end, detail } = ParsedRange::parse(range)?;
        let ranges = end.0.iter().filter_map(|(tp, end)| {
            Some(Split {
                topic: tp.topic.clone(),
                topic_id: detail.topics.get(&tp.topic).copied(),
                partition: tp.partition,
                start: start.get(tp)?,
                end: *end,
                leader_epoch: detail.epoch(tp),
            })
        });
        Ok(cut(ranges.collect(), self.config.max_records_per_partition, self.config.min_partitions))
    }

    /// How far `end` is behind the newest position seen, `None` before anything was seen.
    ///
    /// # Errors
    /// `KAFKA_OFFSETS_MALFORMED`.
    pub fn lag(&self, end: &Position) -> Result<Option<Lag>> {
        let end = Offsets::parse(&end.0.to_string())?;
        let state = self.state.lock();
        let behind = state.latest.iter();
        let behind: Vec<i64> =
            behind.filter_map(|(tp, l)| end.get(tp).map(|e| (l - e).max(0))).collect();
        let (Some(min), Some(max)) = (behind.iter().min(), behind.iter().max()) else {
            return Ok(None);
        };
        let total = behind.iter().fold(0_i64, |sum, n| sum.saturating_add(*n));
        let avg = total as f64 / behind.len() as f64;
        Ok(Some(Lag { min: *min, max: *max, avg, total }))
    }

    /// Learns how many stored bytes an offset of a partition takes, recent data counting more.
    pub(crate) fn observe(&self, tp: &TopicPartition, bytes: usize, offsets: i64) {
        if self.config.max_bytes.is_none() || offsets <= 0 {
            return;
        }
        let rate = bytes as f64 / offsets as f64;
        let mut state = self.state.lock();
        let known = state.bytes_per_offset.entry(tp.clone()).or_insert(rate);
        *known = *known * 0.7 + rate * 0.3;
    }

    /// Counts since the source was made.
    pub fn metrics(&self) -> KafkaMetrics {
        self.counters.snapshot()
    }
}

/// A position of these offsets.
fn position(offsets: &BTreeMap<TopicPartition, i64>) -> Result<Position> {
    let text = Offsets(offsets.clone()).to_json();
    serde_json::from_str(&text)
        .map(Position)
        .map_err(|e| Error::internal(format!("offsets are not JSON: {e}")))
}

fn offsets(position: &Position) -> Result<BTreeMap<TopicPartition, i64>> {
    Ok(Offsets::parse(&position.0.to_string())?.0)
}

#[async_trait]
impl Source for KafkaSource {
    fn describe(&self) -> String {
        format!("KafkaV2[{}]", self.config.subscription)
    }

    fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({ "format": "kafka" });
        if let (Some(to), serde_json::Value::Object(from)) =
            (identity.as_object_mut(), self.config.subscription.identity())
        {
            to.extend(from);
        }
        identity
    }

    async fn initial_position(&self) -> Result<Position> {
        position(&self.initial_offsets().await?)
    }

    async fn pin_available_now(&self) -> Result<()> {
        self.pin().await
    }

    async fn admit(
        &self,
        start: &Position,
        detail: Option<&serde_json::Value>,
        limit: Limit,
    ) -> Result<Admitted> {
        let detail = detail.filter(|d| !d.is_null()).map(Detail::from_json).transpose()?;
        self.admit_offsets(&offsets(start)?, detail.as_ref(), limit).await
    }

    async fn range_between(&self, start: &Position, end: &Position) -> Result<SourceRange> {
        self.range_of_ends(&offsets(start)?, &offsets(end)?).await
    }

    async fn completed(&self, end: &Position) -> Result<()> {
        let Some(group) =
            self.config.group_id.as_ref().filter(|_| self.config.commit_group_offsets)
        else {
            return Ok(());
        };
        let offsets = offsets(end)?;
        if offsets.is_empty() {
            return Ok(());
        }
        self.cluster.commit_group_offsets(group, &offsets).await
    }
}

#[cfg(test)]
mod tests;
