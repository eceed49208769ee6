//! Produce: checks of one batch per partition, offsets, retries of idempotent producers.

use super::text;
use crate::catalog::{Partition, Topic};
use crate::sequence::Check;
use crate::server::Reply;
use crate::shared::{Shared, led_by};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::{
    LeaderIdAndEpoch, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{BrokerId, ProduceRequest, ProduceResponse, ResponseKind};
use millstream_wire::{BatchHeader, Batches, Codec, WireError, restamp};
use std::sync::Arc;

/// First version in which an answer can name topics by id only.
const BY_ID: i16 = 13;
/// First version whose clients know the error that asks them to abort their transaction.
const ABORTABLE: i16 = 11;
/// First version in which zstd may be used.
const ZSTD: i16 = 7;

/// Where a batch came to lie.
struct Appended {
    base_offset: i64,
    append_time: i64,
    log_start: i64,
}

pub(crate) fn produce(
    shared: &Arc<Shared>,
    node: i32,
    version: i16,
    request: ProduceRequest,
) -> Reply {
    let acks = request.acks;
    let topics = request.topic_data.into_iter().map(|t| one_topic(shared, node, version, acks, t));
    let topics: Vec<_> = topics.collect();
    shared.arrived.notify_waiters();
    if acks == 0 {
        return Reply::Nothing;
    }
    ResponseKind::Produce(ProduceResponse::default().with_responses(topics)).into()
}

fn one_topic(
    shared: &Shared,
    node: i32,
    version: i16,
    acks: i16,
    data: TopicProduceData,
) -> TopicProduceResponse {
    let (topic, unknown) = if version >= BY_ID {
        (shared.topic_by_id(&data.topic_id), ResponseError::UnknownTopicId)
    } else {
        (shared.topic(&data.name), ResponseError::UnknownTopicOrPartition)
    };
    let partitions = data.partition_data.into_iter().map(|p| {
        let index = p.index;
        let result = match (&topic, acks) {
            (_, ..-1 | 2..) => Err(refuse(ResponseError::InvalidRequiredAcks)),
            (None, _) => Err(refuse(unknown)),
            (Some(topic), _) => one_partition(shared, node, version, topic, p),
        };
        respond(version, topic.as_deref(), index, result)
    });
    let partitions = partitions.collect();
    TopicProduceResponse::default()
        .with_name(data.name)
        .with_topic_id(data.topic_id)
        .with_partition_responses(partitions)
}

type Refusal = (ResponseError, Option<String>);

fn refuse(error: ResponseError) -> Refusal {
    (error, None)
}

fn respond(
    version: i16,
    topic: Option<&Topic>,
    index: i32,
    result: Result<Appended, Refusal>,
) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match result {
        Ok(done) => response
            .with_base_offset(done.base_offset)
            .with_log_append_time_ms(done.append_time)
            .with_log_start_offset(done.log_start),
        Err((error, message)) => {
            let moved = matches!(
                error,
                ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch
            );
            let partition = topic.and_then(|t| t.partition(index)).filter(|_| moved);
            let response = response
                .with_error_code(error.code())
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
                .with_error_message(message.map(text));
            match partition {
                Some(partition) if version >= 10 => {
                    let state = partition.state.lock();
                    let leader = LeaderIdAndEpoch::default()
                        .with_leader_id(BrokerId(state.leader))
                        .with_leader_epoch(state.epoch);
                    response.with_current_leader(leader)
                }
                _ => response,
            }
        }
    }
}

fn one_partition(
    shared: &Shared,
    node: i32,
    version: i16,
    topic: &Topic,
    data: PartitionProduceData,
) -> Result<Appended, Refusal> {
    let index = data.index;
    let partition =
        topic.partition(index).ok_or_else(|| refuse(ResponseError::UnknownTopicOrPartition))?;
    let limit = topic.settings.message_bytes_max.unwrap_or(shared.config.message_bytes_max);
    let records = data.records.unwrap_or_default();
    let header = validate(&records, version, limit)?;
    // Held until the batch is in the log, so that no marker can come in between.
    let _transaction = if header.is_transactional() {
        let coordinator = shared.coordinator.lock();
        let (id, epoch) = (header.producer_id, header.producer_epoch);
        coordinator.may_write(id, epoch, &topic.name, index).map_err(|error| match error {
            ResponseError::InvalidTxnState if version >= ABORTABLE => {
                refuse(ResponseError::TransactionAbortable)
            }
            error => refuse(error),
        })?;
        Some(coordinator)
    } else {
        None
    };
    let append_time = topic.settings.log_append_time.then(|| shared.now_ms());
    append(partition, node, records, &header, append_time).map_err(refuse)
}

/// What can be said about a batch without its partition.
fn validate(records: &Bytes, version: i16, limit: usize) -> Result<BatchHeader, Refusal> {
    let wrong = |why: &str| (ResponseError::InvalidRecord, Some(why.to_owned()));
    let mut batches = Batches::new(records);
    let batch = match batches.next() {
        Some(Ok(batch)) => batch,
        Some(Err(WireError::OldMagic { .. } | WireError::UnknownMagic { .. })) => {
            return Err(wrong("Produce requests must contain batches of magic v2"));
        }
        Some(Err(error)) => {
            return Err((ResponseError::CorruptMessage, Some(error.to_string())));
        }
        None if records.is_empty() => {
            return Err(wrong("Produce requests must contain exactly one record batch"));
        }
        None => return Err(refuse(ResponseError::CorruptMessage)),
    };
    if !batches.rest().is_empty() {
        return Err(wrong("Produce requests must contain exactly one record batch"));
    }
    let header = batch.header;
    if header.length > limit {
        return Err(refuse(ResponseError::MessageTooLarge));
    }
    batch.verify().map_err(|e| (ResponseError::CorruptMessage, Some(e.to_string())))?;
    if header.is_control() {
        return Err(wrong("Clients are not allowed to write control records"));
    }
    if header.record_count < 1 || header.last_offset_delta != header.record_count - 1 {
        return Err(wrong("The record count does not agree with the last offset"));
    }
    if header.producer_id >= 0 && (header.producer_epoch < 0 || header.base_sequence < 0) {
        return Err(wrong("A batch with a producer id needs an epoch and a sequence"));
    }
    match header.codec() {
        Ok(Codec::Zstd) if version < ZSTD => Err(refuse(ResponseError::UnsupportedCompressionType)),
        Ok(_) => Ok(header),
        Err(error) => Err((ResponseError::CorruptMessage, Some(error.to_string()))),
    }
}

fn append(
    partition: &Partition,
    node: i32,
    records: Bytes,
    header: &BatchHeader,
    append_time: Option<i64>,
) -> Result<Appended, ResponseError> {
    let mut state = led_by(partition, node, -1)?;
    let log_start = state.log.start();
    if let Check::Duplicate { base_offset } = state.log.check(header)? {
        return Ok(Appended { base_offset, append_time: -1, log_start });
    }
    let (end, epoch) = (state.log.end(), state.epoch);
    let mut batch = Vec::from(records);
    restamp(&mut batch, end, epoch, append_time).map_err(|_| ResponseError::CorruptMessage)?;
    let stored = state.log.append(Bytes::from(batch))?;
    Ok(Appended {
        base_offset: stored.base_offset,
        append_time: append_time.unwrap_or(-1),
        log_start,
    })
}
