//! ListOffsets and OffsetForLeaderEpoch.

use crate::shared::{Shared, led_by};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};
use std::sync::Arc;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

/// First version that carries leader epochs.
const EPOCHS: i16 = 4;

pub(crate) fn list(
    shared: &Arc<Shared>,
    node: i32,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let committed_only = request.isolation_level == 1;
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer =
                ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            match find(shared, node, &topic.name, asked, committed_only) {
                Ok((offset, timestamp, epoch)) => answer
                    .with_offset(offset)
                    .with_timestamp(timestamp)
                    .with_leader_epoch(if version >= EPOCHS { epoch } else { -1 }),
                Err(error) => {
                    answer.with_error_code(error.code()).with_offset(-1).with_timestamp(-1)
                }
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    shared: &Shared,
    node: i32,
    topic: &str,
    asked: &ListOffsetsPartition,
    committed_only: bool,
) -> Result<(i64, i64, i32), ResponseError> {
    let topic = shared.topic(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition =
        topic.partition(asked.partition_index).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let state = led_by(partition, node, asked.current_leader_epoch)?;
    let log = &state.log;
    let end = if committed_only { log.last_stable() } else { log.end() };
    let found = match asked.timestamp {
        LATEST => return Ok((end, -1, state.epoch)),
        EARLIEST | EARLIEST_LOCAL => {
            return Ok((log.start(), -1, log.epoch_at(log.start())));
        }
        LATEST_TIERED => return Ok((-1, -1, -1)),
        MAX_TIMESTAMP => log.find_max_time(),
        timestamp if timestamp >= 0 => log.find_time(timestamp, end),
        _ => return Err(ResponseError::InvalidRequest),
    };
    let found = found.map_err(|error| {
        tracing::warn!(%error, "a log cannot be read");
        ResponseError::KafkaStorageError
    })?;
    Ok(found.map_or((-1, -1, -1), |f| (f.offset, f.timestamp, f.epoch)))
}

pub(crate) fn leader_epochs(
    shared: &Arc<Shared>,
    node: i32,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match epoch_end(shared, node, &topic.topic, asked) {
                Ok((epoch, end)) => answer.with_leader_epoch(epoch).with_end_offset(end),
                Err(error) => {
                    answer.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(-1)
                }
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn epoch_end(
    shared: &Shared,
    node: i32,
    topic: &str,
    asked: &OffsetForLeaderPartition,
) -> Result<(i32, i64), ResponseError> {
    let topic = shared.topic(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition =
        topic.partition(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let state = led_by(partition, node, asked.current_leader_epoch)?;
    Ok(state.log.epoch_end(asked.leader_epoch))
}
