//! Scans of plans that travel: what each kind writes down, and what makes scans of it again.

use super::kafka::{SourceKey, StoredKafkaScan};
use crate::execute::dead_letters::{
    CastingScan, DeadLetterTap, DecodingScan, StoredCastingScan, StoredDecodingScan,
};
use crate::plan::{PartitionedScan, ScanResolver, malformed, not_serializable};
use millstream_core::env::SharedEnv;
use millstream_core::options::OptionMap;
use millstream_core::{Error, Result};
use millstream_kafka::KafkaSource;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a scan of ours writes down.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "scan", rename_all = "camelCase")]
pub(crate) enum StoredScan {
    /// Splits of Kafka partitions.
    Kafka(StoredKafkaScan),
    /// Another scan whose records are decoded, those that do not decode being dead letters.
    Decoding(StoredDecodingScan),
    /// Another scan some of whose values are cast, with records that do not fit as dead letters.
    Casting(StoredCastingScan),
}

impl StoredScan {
    /// As a description.
    ///
    /// # Errors
    /// Only defects.
    pub(crate) fn to_json(&self) -> Result<Value> {
        serde_json::to_value(self).map_err(|e| not_serializable(&e.to_string()))
    }
}

/// Makes scans of plans that come from elsewhere, through connections of its own. Plans of one
/// source share them, so keep the resolver for as long as such plans come.
pub struct SourceScans {
    env: SharedEnv,
    connection: OptionMap,
    dead_letters: Option<Arc<DeadLetterTap>>,
    kafka: Mutex<BTreeMap<SourceKey, Arc<KafkaSource>>>,
}

impl SourceScans {
    /// A resolver with the machine's clock and ids of `env`.
    pub fn new(env: SharedEnv) -> Self {
        SourceScans {
            env,
            connection: OptionMap::new(),
            dead_letters: None,
            kafka: Mutex::default(),
        }
    }

    /// Options of the connections here, laid over those of the plan: credentials, which no plan
    /// holds, or the addresses under which this process reaches the brokers.
    #[must_use]
    pub fn connection(mut self, options: OptionMap) -> Self {
        self.connection = options;
        self
    }

    /// Where plans that ask for dead letters put them.
    #[must_use]
    pub fn dead_letters(mut self, tap: Arc<DeadLetterTap>) -> Self {
        self.dead_letters = Some(tap);
        self
    }

    fn rebuild(&self, stored: StoredScan) -> Result<Arc<dyn PartitionedScan>> {
        match stored {
            StoredScan::Kafka(stored) => {
                let source = self.kafka_source(&stored)?;
                Ok(Arc::new(stored.scan(source)?))
            }
            StoredScan::Decoding(stored) => {
                let records = self.rebuild(stored.records()?)?;
                Ok(DecodingScan::restored(&stored, records, self.tap()?)?)
            }
            StoredScan::Casting(stored) => {
                let records = self.rebuild(stored.records()?)?;
                Ok(CastingScan::restored(&stored, records, self.tap()?)?)
            }
        }
    }

    fn tap(&self) -> Result<Arc<DeadLetterTap>> {
        self.dead_letters.clone().ok_or_else(|| {
            Error::invalid(
                "DEAD_LETTERS_NO_TABLE",
                "The plan has dead letters, and who runs it gave no place for them.",
            )
            .cure("Give the resolver the attempt's dead letters.")
        })
    }

    fn kafka_source(&self, stored: &StoredKafkaScan) -> Result<Arc<KafkaSource>> {
        let mut sources = self.kafka.lock();
        if let Some(source) = sources.get(&stored.source_key()) {
            return Ok(Arc::clone(source));
        }
        let source = stored.source(&self.connection, Arc::clone(&self.env))?;
        sources.insert(stored.source_key(), Arc::clone(&source));
        Ok(source)
    }
}

impl ScanResolver for SourceScans {
    fn scan(&self, _stream_index: usize, description: &Value) -> Result<Arc<dyn PartitionedScan>> {
        let stored = StoredScan::deserialize(description).map_err(|e| malformed(&e))?;
        self.rebuild(stored)
    }
}
