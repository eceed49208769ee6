//! `read_kafka(..)` without STREAM: the offsets from start to end as one bounded table.

use crate::plan::StreamScanExec;
use crate::sources::{KafkaScan, ScanSettings, to_datafusion};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use millstream_core::Result;
use millstream_core::env::SharedEnv;
use millstream_core::options::OptionMap;
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode};
use std::fmt;
use std::sync::Arc;

/// Bytes of one Arrow batch, about.
const BATCH_BYTES: usize = 4 << 20;

/// A bounded read of Kafka. Every scan looks up its offsets anew.
pub struct KafkaBatchProvider {
    source: Arc<KafkaSource>,
    schema: SchemaRef,
}

impl KafkaBatchProvider {
    /// Validates the options; connects when it is scanned.
    ///
    /// # Errors
    /// What the source says about its options.
    pub fn new(options: &OptionMap, env: SharedEnv) -> Result<Self> {
        let config = KafkaConfig::from_options(options, ReadMode::Batch)?;
        let schema = config.schema();
        Ok(KafkaBatchProvider { source: KafkaSource::new(config, env), schema })
    }
}

impl fmt::Debug for KafkaBatchProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaBatchProvider").field("schema", &self.schema).finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for KafkaBatchProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let range = self.source.batch_range().await.map_err(to_datafusion)?;
        let settings = ScanSettings {
            parallelism: state.config().target_partitions(),
            batch_rows: state.config().batch_size(),
            batch_bytes: BATCH_BYTES,
        };
        let scan = KafkaScan::new(&self.source, self.schema.clone(), &range, settings)
            .map_err(to_datafusion)?;
        let hole = StreamScanExec::placeholder(0, self.schema.clone(), projection.cloned())?;
        Ok(Arc::new(hole.bound_to(Arc::new(scan))))
    }
}
