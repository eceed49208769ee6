//! The offsets of consumer groups, without members: who commits says so by generation -1.

use super::text;
use crate::coordinator::{Committed, Offsets};
use crate::shared::Shared;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{
    BrokerId, FindCoordinatorRequest, FindCoordinatorResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use std::sync::Arc;

/// Longest metadata string of an offset, Kafka's default.
const METADATA_BYTES_MAX: usize = 4096;
/// First version that asks for several groups or coordinators at once.
const MANY_COORDINATORS: i16 = 4;
const MANY_GROUPS: i16 = 8;

/// The first node coordinates everything.
pub(crate) fn find(
    shared: &Arc<Shared>,
    version: i16,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let port = shared.nodes.first().map_or(0, |n| i32::from(n.port));
    // Groups and transactions; share groups are not served.
    let error = match request.key_type {
        0 | 1 => 0,
        _ => ResponseError::InvalidRequest.code(),
    };
    if version < MANY_COORDINATORS {
        return FindCoordinatorResponse::default()
            .with_error_code(error)
            .with_node_id(BrokerId(0))
            .with_host(text("127.0.0.1"))
            .with_port(port);
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(error)
            .with_node_id(BrokerId(0))
            .with_host(text("127.0.0.1"))
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

pub(crate) fn commit(shared: &Arc<Shared>, request: OffsetCommitRequest) -> OffsetCommitResponse {
    let refused = if request.group_id.is_empty() {
        Some(ResponseError::InvalidGroupId)
    } else if request.generation_id_or_member_epoch >= 0 {
        Some(ResponseError::IllegalGeneration)
    } else {
        None
    };
    let mut offsets = Offsets::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let known = shared.topic(&topic.name);
        let count = known.map_or(0, |t| t.partitions.len());
        let partitions = topic.partitions.into_iter().map(|p| {
            let error = refused.or_else(|| check(count, &p)).map_or(0, |e| e.code());
            let index = p.partition_index;
            if error == 0 {
                let to = offsets.entry(topic.name.to_string()).or_default();
                to.insert(index, committed(p));
            }
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(error)
        });
        let partitions = partitions.collect();
        topics.push(
            OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions),
        );
    }
    if let Err(error) = shared.coordinator.lock().commit(&request.group_id, offsets) {
        for p in topics.iter_mut().flat_map(|t| &mut t.partitions) {
            p.error_code = error.code();
        }
    }
    OffsetCommitResponse::default().with_topics(topics)
}

fn check(count: usize, asked: &OffsetCommitRequestPartition) -> Option<ResponseError> {
    if usize::try_from(asked.partition_index).map_or(true, |i| i >= count) {
        return Some(ResponseError::UnknownTopicOrPartition);
    }
    let metadata = asked.committed_metadata.as_ref().map_or(0, |m| m.len());
    (metadata > METADATA_BYTES_MAX).then_some(ResponseError::OffsetMetadataTooLarge)
}

fn committed(asked: OffsetCommitRequestPartition) -> Committed {
    Committed {
        offset: asked.committed_offset,
        leader_epoch: asked.committed_leader_epoch,
        metadata: asked.committed_metadata.map(|m| m.to_string()).unwrap_or_default(),
    }
}

pub(crate) fn fetch(
    shared: &Arc<Shared>,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if version >= MANY_GROUPS {
        let groups = request.groups.into_iter().map(|g| one_group(shared, stable, g));
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let wanted = request.topics.map(|topics| {
        topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect()
    });
    let found = lookup(shared, stable, &request.group_id, wanted);
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|found| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(found.partition)
                .with_committed_offset(found.committed.offset)
                .with_committed_leader_epoch(if version >= 5 {
                    found.committed.leader_epoch
                } else {
                    -1
                })
                .with_metadata(Some(text(found.committed.metadata)))
                .with_error_code(found.error)
        });
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

fn one_group(
    shared: &Shared,
    stable: bool,
    group: OffsetFetchRequestGroup,
) -> OffsetFetchResponseGroup {
    let wanted = group.topics.map(|topics| {
        topics.into_iter().map(|t| (t.name.to_string(), t.partition_indexes)).collect()
    });
    let found = lookup(shared, stable, &group.group_id, wanted);
    let topics = found.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|found| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(found.partition)
                .with_committed_offset(found.committed.offset)
                .with_committed_leader_epoch(found.committed.leader_epoch)
                .with_metadata(Some(text(found.committed.metadata)))
                .with_error_code(found.error)
        });
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default().with_group_id(group.group_id).with_topics(topics.collect())
}

struct Found {
    partition: i32,
    committed: Committed,
    error: i16,
}

/// The asked partitions, or all that the group committed.
fn lookup(
    shared: &Shared,
    stable: bool,
    group: &str,
    wanted: Option<Vec<(String, Vec<i32>)>>,
) -> Vec<(String, Vec<Found>)> {
    let coordinator = shared.coordinator.lock();
    let offsets = coordinator.offsets(group);
    let wanted = wanted.unwrap_or_else(|| {
        let all = offsets.into_iter().flatten();
        all.map(|(topic, partitions)| (topic.clone(), partitions.keys().copied().collect()))
            .collect()
    });
    let none = Committed { offset: -1, leader_epoch: -1, metadata: String::new() };
    let found = wanted.into_iter().map(|(topic, partitions)| {
        let of_topic = offsets.and_then(|o| o.get(&topic));
        let found = partitions.into_iter().map(|partition| {
            if stable && coordinator.is_pending(group, &topic, partition) {
                let error = ResponseError::UnstableOffsetCommit.code();
                return Found { partition, committed: none.clone(), error };
            }
            let committed = of_topic.and_then(|p| p.get(&partition)).unwrap_or(&none).clone();
            Found { partition, committed, error: 0 }
        });
        let found = found.collect();
        (topic, found)
    });
    found.collect()
}
