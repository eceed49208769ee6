//! Fetch: by name up to version 12, by topic id from version 13 on.
//!
//! Fetch sessions are never granted, which every client has to accept: each request lists its
//! partitions in full.

use crate::catalog::{Partition, Topic};
use crate::shared::{Shared, led_by};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, LeaderIdAndEpoch, PartitionData,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse, ProducerId};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// First version that names topics by id.
const BY_ID: i16 = 13;
/// First version that tells a client about a log that was cut behind its back.
const DIVERGING: i16 = 12;

/// What one pass over the partitions gave.
struct Pass {
    topics: Vec<FetchableTopicResponse>,
    bytes: usize,
    /// Something a client must hear about at once.
    urgent: bool,
}

/// What is left of the request's limits, and how it wants to read.
struct Budget {
    left: usize,
    /// Nothing was returned yet, so the next batch is returned whatever its size.
    first: bool,
    committed_only: bool,
}

pub(crate) async fn fetch(
    shared: &Arc<Shared>,
    node: i32,
    version: i16,
    request: FetchRequest,
    empty: bool,
) -> FetchResponse {
    if request.session_id != 0 {
        let error = ResponseError::FetchSessionIdNotFound.code();
        return FetchResponse::default().with_error_code(error);
    }
    let wait = u64::try_from(request.max_wait_ms).unwrap_or(0);
    let deadline = Instant::now() + Duration::from_millis(wait);
    let min_bytes = usize::try_from(request.min_bytes).unwrap_or(0);
    loop {
        // Registered before the logs are read, so that nothing that arrives between is missed.
        let arrived = shared.arrived.notified();
        tokio::pin!(arrived);
        arrived.as_mut().enable();
        let pass = pass(shared, node, version, &request, empty);
        if pass.bytes >= min_bytes || pass.urgent || Instant::now() >= deadline {
            return FetchResponse::default().with_responses(pass.topics);
        }
        tokio::select! {
            () = arrived => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
    }
}

fn pass(shared: &Shared, node: i32, version: i16, request: &FetchRequest, empty: bool) -> Pass {
    let max = usize::try_from(request.max_bytes).unwrap_or(0).min(shared.config.fetch_bytes_max);
    let mut budget =
        Budget { left: max, first: true, committed_only: request.isolation_level == 1 };
    if empty {
        budget.left = 0;
        budget.first = false;
    }
    let mut pass = Pass { topics: Vec::new(), bytes: 0, urgent: empty };
    for asked in &request.topics {
        let topic = find(shared, version, asked);
        let mut partitions = Vec::with_capacity(asked.partitions.len());
        for p in &asked.partitions {
            let data = one_partition(&topic, node, version, p, &mut budget);
            pass.bytes += data.records.as_ref().map_or(0, Bytes::len);
            pass.urgent |= data.error_code != 0 || data.diverging_epoch.epoch >= 0;
            partitions.push(data);
        }
        let answer = FetchableTopicResponse::default()
            .with_topic(asked.topic.clone())
            .with_topic_id(asked.topic_id)
            .with_partitions(partitions);
        pass.topics.push(answer);
    }
    pass
}

fn find(shared: &Shared, version: i16, asked: &FetchTopic) -> Result<Arc<Topic>, ResponseError> {
    if version >= BY_ID {
        shared.topic_by_id(&asked.topic_id).ok_or(ResponseError::UnknownTopicId)
    } else {
        shared.topic(&asked.topic).ok_or(ResponseError::UnknownTopicOrPartition)
    }
}

fn one_partition(
    topic: &Result<Arc<Topic>, ResponseError>,
    node: i32,
    version: i16,
    asked: &FetchPartition,
    budget: &mut Budget,
) -> PartitionData {
    let partition = match topic {
        Ok(topic) => topic.partition(asked.partition).ok_or(ResponseError::UnknownTopicOrPartition),
        Err(error) => Err(*error),
    };
    let read = partition.and_then(|p| read(p, node, version, asked, budget));
    read.unwrap_or_else(|error| {
        let data = PartitionData::default()
            .with_partition_index(asked.partition)
            .with_error_code(error.code())
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_log_start_offset(-1)
            .with_aborted_transactions(Some(Vec::new()))
            .with_records(Some(Bytes::new()));
        match partition {
            Ok(partition) => with_leader(data, partition, version, error),
            Err(_) => data,
        }
    })
}

/// Names the leader where the error says that it is another one.
fn with_leader(
    data: PartitionData,
    partition: &Partition,
    version: i16,
    error: ResponseError,
) -> PartitionData {
    let moved =
        matches!(error, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch);
    if !moved || version < DIVERGING {
        return data;
    }
    let state = partition.state.lock();
    data.with_current_leader(
        LeaderIdAndEpoch::default()
            .with_leader_id(BrokerId(state.leader))
            .with_leader_epoch(state.epoch),
    )
}

fn read(
    partition: &Partition,
    node: i32,
    version: i16,
    asked: &FetchPartition,
    budget: &mut Budget,
) -> Result<PartitionData, ResponseError> {
    let state = led_by(partition, node, asked.current_leader_epoch)?;
    let log = &state.log;
    let (start, end, stable) = (log.start(), log.end(), log.last_stable());
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(end)
        .with_last_stable_offset(stable)
        .with_log_start_offset(start)
        .with_records(Some(Bytes::new()))
        .with_aborted_transactions(None);
    let offset = asked.fetch_offset;
    if version >= DIVERGING && asked.last_fetched_epoch >= 0 {
        let (epoch, end_offset) = log.epoch_end(asked.last_fetched_epoch);
        if epoch < 0 {
            return Err(ResponseError::OffsetOutOfRange);
        }
        if epoch < asked.last_fetched_epoch || end_offset < offset {
            let diverging = EpochEndOffset::default().with_epoch(epoch).with_end_offset(end_offset);
            return Ok(data.with_diverging_epoch(diverging));
        }
    }
    if offset < start || offset > end {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let to = if budget.committed_only { stable } else { end };
    let most = usize::try_from(asked.partition_max_bytes).unwrap_or(0).min(budget.left);
    let records = log.read(offset, to, most, budget.first).map_err(|error| {
        tracing::warn!(%error, "a log cannot be read");
        ResponseError::KafkaStorageError
    })?;
    budget.left = budget.left.saturating_sub(records.len());
    budget.first &= records.is_empty();
    let data = data.with_records(Some(records));
    if !budget.committed_only {
        return Ok(data);
    }
    let aborted = log.aborted(offset, to).into_iter().map(|a| {
        AbortedTransaction::default()
            .with_producer_id(ProducerId(a.producer_id))
            .with_first_offset(a.first_offset)
    });
    Ok(data.with_aborted_transactions(Some(aborted.collect())))
}
