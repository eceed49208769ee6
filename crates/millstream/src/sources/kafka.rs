//! Kafka as a streaming source: the engine's side of [`millstream_kafka::KafkaSource`].

mod scan;

pub(crate) use scan::{KafkaScan, SourceKey, StoredKafkaScan};

use super::{ScanSettings, SourceMetrics, StreamingSource};
use crate::plan::PartitionedScan;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::Result;
use millstream_core::contract::{Admitted, Limit, Position, Source, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::offsets::Offsets;
use millstream_core::options::OptionMap;
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode};
use serde_json::Value;
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_lag_is_told_as_spark_tells_it() {
        let lag = |end: Value, latest: Value| {
            let metrics = offsets_behind(&Position(end), &Position(latest)).unwrap();
            let of = |name: &str| metrics.get(&format!("{name}OffsetsBehindLatest")).unwrap();
            format!("{} {} {}", of("min"), of("max"), of("avg"))
        };
        let latest = json!({"t": {"0": 9, "1": 7}});
        assert_eq!(lag(json!({"t": {"0": 5, "1": 7}}), latest.clone()), "0 4 2.0");
        assert_eq!(lag(latest.clone(), latest.clone()), "0 0 0.0");
        assert_eq!(lag(json!({"t": {"0": 8, "1": 3}}), latest.clone()), "1 4 2.5");
        // A partition that no batch has read yet does not count; an end ahead is no lag.
        assert_eq!(lag(json!({"t": {"0": 12}}), latest), "0 0 0.0");
    }
}
