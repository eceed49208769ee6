//! Everything one query needs, resolved before its first batch.

use super::handle::ProgressListener;
use crate::execute::CountedScan;
use crate::execute::dead_letters::{DeadLetterTap, LetterRules};
use crate::plan::{PartitionedScan, PhysicalTemplate};
use crate::sinks::DataSink;
use crate::sources::{ScanSettings, StreamingSource};
use datafusion::execution::TaskContext;
use millstream_core::Result;
use millstream_core::contract::SourceRange;
use millstream_core::trigger::Trigger;
use millstream_store::Store;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A checked flow: from streams through a plan into a sink, with its checkpoint.
pub(crate) struct Flow {
    pub(crate) name: Option<String>,
    pub(crate) template: PhysicalTemplate,
    /// What the checkpoint compares at the next start: the analysed plan.
    pub(crate) plan: Value,
    /// Digest-like short form of `plan`, kept in every intent.
    pub(crate) fingerprint: String,
    pub(crate) sources: Vec<Arc<dyn StreamingSource>>,
    pub(crate) sink: Arc<dyn DataSink>,
    pub(crate) dead_letters: Option<DeadLetters>,
    pub(crate) checkpoint: PathBuf,
    /// The files in it.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) trigger: Trigger,
    /// Batches whose files the checkpoint keeps (`spark.sql.streaming.minBatchesToRetain`).
    pub(crate) batches_to_retain: u64,
    /// Session settings that Spark pins in `offsets/N`.
    pub(crate) conf: millstream_core::log::Conf,
    pub(crate) context: Arc<TaskContext>,
    pub(crate) scan: ScanSettings,
    pub(crate) listeners: Vec<ProgressListener>,
}

/// Where records go that do not fit, and which do not.
pub(crate) struct DeadLetters {
    pub(crate) sink: Arc<dyn DataSink>,
    /// The stream whose records they are.
    pub(crate) stream: usize,
    pub(crate) rules: LetterRules,
}

impl Flow {
    /// The sinks of every batch, in the order of their commits. The dead letters come first: who
    /// sees a batch in the table can rely on its dead letters being there.
    pub(crate) fn sinks(&self) -> Vec<Arc<dyn DataSink>> {
        let dead_letters = self.dead_letters.iter().map(|d| d.sink.clone());
        dead_letters.chain([self.sink.clone()]).collect()
    }

    /// The sinks' identities, for the checkpoint.
    pub(crate) fn sink_identities(&self) -> Vec<Value> {
        self.sinks().iter().map(|s| s.identity()).collect()
    }

    /// The sources' identities, for the checkpoint.
    pub(crate) fn source_identities(&self) -> Vec<Value> {
        self.sources.iter().map(|s| s.identity()).collect()
    }

    /// Fills the holes of the plan for one batch: rows are counted into `rows`, dead letters go to
    /// `tap`.
    ///
    /// # Errors
    /// Where a range is not one of its source's.
    pub(crate) fn scans(
        &self,
        ranges: &[SourceRange],
        rows: &[Arc<AtomicU64>],
        tap: Option<&Arc<DeadLetterTap>>,
    ) -> Result<Vec<Arc<dyn PartitionedScan>>> {
        let mut scans: Vec<Arc<dyn PartitionedScan>> = Vec::with_capacity(ranges.len());
        for (at, (source, range)) in self.sources.iter().zip(ranges).enumerate() {
            let scan = source.clone().scan(range, self.scan)?;
            let scan: Arc<dyn PartitionedScan> = match rows.get(at) {
                Some(rows) => CountedScan::new(scan, rows.clone()),
                None => scan,
            };
            scans.push(match (&self.dead_letters, tap) {
                (Some(letters), Some(tap)) if letters.stream == at => {
                    letters.rules.apply(scan, source.schema(), tap)
                }
                _ => scan,
            });
        }
        Ok(scans)
    }
}

#[cfg(test)]
mod tests;
