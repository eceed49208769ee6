//! The range of a batch read, by its starting and ending options.

use super::{KafkaSource, position};
use crate::detail::Detail;
use crate::loss;
use crate::snapshot;
use millstream_core::contract::SourceRange;
use millstream_core::{Error, Result};

impl KafkaSource {
    /// What a batch read covers, resolved to offsets.
    ///
    /// # Errors
    /// Spark's classes for start and end that do not fit together, `KAFKA_TOPIC_UNKNOWN`,
    /// `KAFKA_UNREACHABLE` and its like.
    pub async fn batch_range(&self) -> Result<SourceRange> {
        let (mut metadata, partitions) =
            snapshot::discover_agreed(&self.cluster, &self.config).await?;
        let limits = |limit, is_start| self.limit_offsets(limit, is_start, &metadata, &partitions);
        let start = limits(&self.config.starting, true).await?;
        let end = limits(&self.config.ending, false).await?;
        if !start.keys().eq(end.keys()) {
            return Err(Error::invalid(
                "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
                format!(
                    "different topic partitions for starting offsets topics{} and ending offsets \
                     topics{}",
                    loss::list(start.keys()),
                    loss::list(end.keys())
                ),
            ));
        }
        let start = snapshot::resolve(&self.cluster, &mut metadata, &start).await?;
        let end = snapshot::resolve(&self.cluster, &mut metadata, &end).await?;
        for (tp, from) in &start {
            match end.get(tp) {
                Some(to) if from > to => {
                    return Err(loss::resolved_start_after_end(tp, *from, *to));
                }
                _ => {}
            }
        }
        let mut detail = Detail::default();
        for tp in &partitions {
            detail.remember(tp, &metadata);
        }
        Ok(SourceRange { start: position(&start)?, end: position(&end)?, detail: detail.to_json() })
    }
}
