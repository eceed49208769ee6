//! Streaming sources: the control side of [`millstream_core::contract::Source`] plus the Arrow
//! side that executes a range.
//!
//! Only this registry and the one of sinks name connectors; the batch loop sees traits.

mod kafka;
mod memory;
mod rate;
mod stored;

pub(crate) use kafka::KafkaScan;
pub use kafka::KafkaStream;
pub(crate) use memory::identity as memory_identity;
pub use memory::{MemorySource, MemoryStream};
pub use rate::RateStream;
pub use stored::SourceScans;
pub(crate) use stored::StoredScan;

use crate::plan::PartitionedScan;
use arrow::datatypes::SchemaRef;
use millstream_core::contract::{Source, SourceRange};
use millstream_core::env::SharedEnv;
use millstream_core::options::{OptionMap, did_you_mean};
use millstream_core::{Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the engine wants a range to be read.
#[derive(Debug, Clone, Copy)]
pub struct ScanSettings {
    /// How many tasks may run side by side.
    pub parallelism: usize,
    /// Rows of one Arrow batch, at most.
    pub batch_rows: usize,
    /// Bytes of one Arrow batch, about.
    pub batch_bytes: usize,
}

/// Numbers a source adds to `progress.sources[].metrics`, by name.
pub type SourceMetrics = BTreeMap<String, String>;

/// A source that the engine can both plan and execute.
pub trait StreamingSource: Source {
    /// Schema of every row it yields.
    fn schema(&self) -> SchemaRef;

    /// The executable form of `range`.
    ///
    /// # Errors
    /// Where the range is not one of this source's.
    fn scan(
        self: Arc<Self>,
        range: &SourceRange,
        settings: ScanSettings,
    ) -> Result<Arc<dyn PartitionedScan>>;

    /// Distance of `end` behind the newest position, as Spark's Kafka source reports it.
    fn metrics(
        &self,
        _end: &millstream_core::contract::Position,
        _latest: &millstream_core::contract::Position,
    ) -> SourceMetrics {
        SourceMetrics::new()
    }

    /// Whether a crashed batch can be read again with exactly the same rows.
    fn is_replayable(&self) -> bool;
}

/// Formats that `read_stream().format(..)` and SQL know.
pub const FORMATS: &[&str] = &["kafka", "rate", "memory"];

/// Opens a source by the name of its format. Validates options without I/O.
///
/// # Errors
/// `SOURCE_FORMAT_UNKNOWN`, or what the source says about its options.
pub fn open(
    format: &str,
    options: &OptionMap,
    env: &SharedEnv,
) -> Result<Arc<dyn StreamingSource>> {
    match format.to_ascii_lowercase().as_str() {
        "kafka" => Ok(Arc::new(KafkaStream::new(options, env.clone())?)),
        "rate" => Ok(Arc::new(RateStream::new(options, env.clone())?)),
        "memory" => Err(Error::invalid(
            "SOURCE_FORMAT_UNKNOWN",
            "A memory stream is made with `MemoryStream::new`, not with `format(\"memory\")`.",
        )),
        other => {
            let mut error = Error::invalid(
                "SOURCE_FORMAT_UNKNOWN",
                format!("There is no streaming source of format `{other}`."),
            );
            if let Some(near) = did_you_mean(other, FORMATS.iter().copied()) {
                error = error.cure(format!("Did you mean `{near}`?"));
            }
            Err(error)
        }
    }
}

/// The schema of the columns that a scan is asked for; all of them without a projection.
pub(crate) fn projected(
    schema: &SchemaRef,
    projection: Option<&[usize]>,
) -> datafusion::error::Result<SchemaRef> {
    match projection {
        None => Ok(schema.clone()),
        Some(columns) => Ok(Arc::new(schema.project(columns)?)),
    }
}

/// Carries an error of ours through DataFusion; `plan::error::from_datafusion` takes it out again.
pub(crate) fn to_datafusion(error: Error) -> datafusion::error::DataFusionError {
    datafusion::error::DataFusionError::External(Box::new(error))
}
