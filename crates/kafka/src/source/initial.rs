//! Where a new query starts, and the limits of a batch read.

use super::KafkaSource;
use crate::client::{AT_END, AT_START};
use crate::config::{NoMatch, OffsetLimit};
use crate::loss;
use crate::snapshot;
use millstream_core::Result;
use millstream_core::offsets::TopicPartition;
use std::collections::BTreeMap;

type PartitionOffsets = BTreeMap<TopicPartition, i64>;

impl KafkaSource {
    /// The offsets a new stream starts from.
    pub(super) async fn initial_offsets(&self) -> Result<PartitionOffsets> {
        let (mut metadata, partitions) =
            snapshot::discover_agreed(&self.cluster, &self.config).await?;
        self.remember_ids(&metadata);
        let wanted =
            self.limit_offsets(&self.config.starting, true, &metadata, &partitions).await?;
        let offsets = snapshot::resolve(&self.cluster, &mut metadata, &wanted).await?;
        tracing::info!(offsets = %loss::offsets(&offsets), "initial offsets");
        Ok(offsets)
    }

    /// The offset of each partition for a limit; [`AT_END`] and [`AT_START`] stay symbols.
    pub(super) async fn limit_offsets(
        &self,
        limit: &OffsetLimit,
        is_start: bool,
        metadata: &crate::client::Metadata,
        partitions: &[TopicPartition],
    ) -> Result<PartitionOffsets> {
        let all = |offset: i64| partitions.iter().map(|tp| (tp.clone(), offset)).collect();
        match limit {
            OffsetLimit::Earliest => Ok(all(AT_START)),
            OffsetLimit::Latest => Ok(all(AT_END)),
            OffsetLimit::Specific(offsets) => {
                if !offsets.keys().eq(partitions.iter()) {
                    let (specified, assigned) = (offsets.keys(), partitions.iter());
                    return Err(loss::start_does_not_match_assigned(specified, assigned));
                }
                Ok(offsets.clone())
            }
            OffsetLimit::ByTimestamp(timestamps) => {
                if !timestamps.keys().eq(partitions.iter()) {
                    let position = if is_start { "starting" } else { "ending" };
                    return Err(loss::timestamps_do_not_match_assigned(
                        position,
                        timestamps.keys(),
                        partitions.iter(),
                    ));
                }
                self.by_timestamp(timestamps, is_start, metadata).await
            }
            OffsetLimit::Timestamp(ms) => self.by_timestamp(&all(*ms), is_start, metadata).await,
        }
    }

    async fn by_timestamp(
        &self,
        timestamps: &PartitionOffsets,
        is_start: bool,
        metadata: &crate::client::Metadata,
    ) -> Result<PartitionOffsets> {
        let mut found = self.cluster.list_offsets_agreed(metadata, timestamps).await?.offsets;
        for (tp, offset) in found.iter_mut().filter(|(_, offset)| **offset < 0) {
            if is_start && self.config.no_match == NoMatch::Error {
                let timestamp = timestamps.get(tp).copied().unwrap_or_default();
                return Err(loss::no_offset_matched(tp, timestamp));
            }
            *offset = AT_END;
        }
        Ok(found)
    }

    pub(super) fn remember_ids(&self, metadata: &crate::client::Metadata) {
        let mut state = self.state.lock();
        for (topic, info) in &metadata.topics {
            if let Some(id) = info.id {
                state.ids.entry(topic.clone()).or_insert(id);
            }
        }
    }
}
