//! Committing offsets to a group that is never joined, so that Kafka's own tools show the lag.

use super::{Cluster, broker_error};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, GroupId, OffsetCommitRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;

pub(crate) const FIND_COORDINATOR_VERSIONS: std::ops::RangeInclusive<i16> = 1..=4;
pub(crate) const OFFSET_COMMIT_VERSIONS: std::ops::RangeInclusive<i16> = 2..=8;

impl Cluster {
    /// Commits `offsets` to `group` as a simple consumer (no generation, no member).
    pub(crate) async fn commit_group_offsets(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<()> {
        let mut retry = self.retry();
        loop {
            match self.try_commit(group, offsets).await {
                Ok(()) => return Ok(()),
                Err(error) => retry.pause(error).await?,
            }
        }
    }

    async fn coordinator(&self, group: &str) -> Result<i32> {
        // Metadata first: it fills the list of brokers the coordinator is looked up in.
        self.metadata(Some(&[])).await?;
        let (broker, mut connection) = self.any_connection().await?;
        let version = connection.version::<FindCoordinatorRequest>(FIND_COORDINATOR_VERSIONS)?;
        let key = StrBytes::from_string(group.to_owned());
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        } else {
            FindCoordinatorRequest::default().with_key(key)
        };
        let answer = connection.call(&request, version).await?;
        if let Some(broker) = broker {
            self.give_back(broker, connection);
        }
        let (code, node) = read_coordinator(&answer);
        match ResponseError::try_from_code(code) {
            None => Ok(node),
            Some(error) => Err(broker_error(&format!("Coordinator of group {group}"), error)),
        }
    }

    async fn try_commit(&self, group: &str, offsets: &BTreeMap<TopicPartition, i64>) -> Result<()> {
        let coordinator = self.coordinator(group).await?;
        let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
        for (tp, offset) in offsets {
            topics.entry(&tp.topic).or_default().push(
                OffsetCommitRequestPartition::default()
                    .with_partition_index(tp.partition)
                    .with_committed_offset(*offset)
                    .with_committed_metadata(Some(StrBytes::from_static_str(""))),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetCommitRequestTopic::default()
                .with_name(TopicName(StrBytes::from_string(name.to_owned())))
                .with_partitions(partitions)
        });
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(topics.collect());
        let mut connection = self.connection(coordinator).await?;
        let version = connection.version::<OffsetCommitRequest>(OFFSET_COMMIT_VERSIONS)?;
        let answer = connection.call(&request, version).await.inspect_err(|_| {
            self.distrust(coordinator);
        })?;
        self.give_back(coordinator, connection);
        let codes = answer.topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.error_code));
        match codes.filter_map(ResponseError::try_from_code).next() {
            None => Ok(()),
            Some(ResponseError::UnknownMemberId | ResponseError::IllegalGeneration) => {
                Err(Error::invalid(
                    "KAFKA_GROUP_IN_USE",
                    format!("Group {group} has members of its own; offsets cannot be committed."),
                )
                .cure("Give 'kafka.group.id' a group that nobody joins."))
            }
            Some(error) => Err(broker_error(&format!("Offsets of group {group}"), error)),
        }
    }
}

/// Error code and broker of an answer in any version.
pub(crate) fn read_coordinator(answer: &FindCoordinatorResponse) -> (i16, i32) {
    match answer.coordinators.first() {
        Some(first) => (first.error_code, first.node_id.0),
        None => (answer.error_code, answer.node_id.0),
    }
}
