//! Producer ids and transactions.
//!
//! One lock, the coordinator's, orders everything that belongs to a transaction: no batch of a
//! transaction can be appended after the marker that ends it. The decision to commit or abort is
//! stored before the first marker is written, and finished at the next start if the broker dies
//! in between.

use crate::coordinator::{Committed, Coordinator, Offsets, Transaction};
use crate::shared::Shared;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest,
    AddPartitionsToTxnResponse, EndTxnRequest, EndTxnResponse, InitProducerIdRequest,
    InitProducerIdResponse, ProducerId, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use millstream_wire::{Producer, control_marker};
use std::sync::Arc;

/// Longest transaction timeout, Kafka's default.
const TIMEOUT_MS_MAX: i32 = 15 * 60 * 1000;
/// Partitions and offsets of one transaction.
const PARTS_MAX: usize = 100_000;

pub(crate) fn init_producer(
    shared: &Arc<Shared>,
    request: InitProducerIdRequest,
) -> InitProducerIdResponse {
    match init(shared, &request) {
        Ok((id, epoch)) => InitProducerIdResponse::default()
            .with_producer_id(ProducerId(id))
            .with_producer_epoch(epoch),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    }
}

fn init(shared: &Shared, request: &InitProducerIdRequest) -> Result<(i64, i16), ResponseError> {
    let mut coordinator = shared.coordinator.lock();
    let Some(id) = &request.transactional_id else {
        return Ok((coordinator.new_producer_id()?, 0));
    };
    if id.is_empty() {
        return Err(ResponseError::InvalidRequest);
    }
    let timeout_ms = request.transaction_timeout_ms;
    if !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms) {
        return Err(ResponseError::InvalidTransactionTimeout);
    }
    let mut known = coordinator.transaction(id).cloned();
    if let Some(t) = &known
        && *request.producer_id >= 0
        && (*request.producer_id != t.producer_id || request.producer_epoch != t.epoch)
    {
        return Err(ResponseError::ProducerFenced);
    }
    if known.as_ref().is_some_and(|t| t.ongoing) {
        abort_fenced(shared, &mut coordinator, id)?;
        known = coordinator.transaction(id).cloned();
    }
    let (producer_id, epoch) = match known {
        Some(t) if t.epoch < i16::MAX - 1 => (t.producer_id, t.epoch + 1),
        _ => (coordinator.new_producer_id()?, 0),
    };
    let fresh = Transaction { producer_id, epoch, timeout_ms, ..Transaction::default() };
    coordinator.put_transaction(id, fresh)?;
    Ok((producer_id, epoch))
}

/// Aborts an ongoing transaction under a new epoch, which fences the producer that began it.
fn abort_fenced(
    shared: &Shared,
    coordinator: &mut Coordinator,
    id: &str,
) -> Result<(), ResponseError> {
    if let Some(t) = coordinator.transaction(id) {
        let fenced = Transaction { epoch: t.epoch.saturating_add(1), ..t.clone() };
        coordinator.put_transaction(id, fenced)?;
    }
    finish(shared, coordinator, id, false)
}

/// The transaction of a producer that may still act.
fn of_producer(
    coordinator: &Coordinator,
    id: &str,
    producer_id: i64,
    epoch: i16,
    fenced: ResponseError,
) -> Result<Transaction, ResponseError> {
    let known = coordinator
        .transaction(id)
        .filter(|t| t.producer_id == producer_id)
        .ok_or(ResponseError::InvalidProducerIdMapping)?;
    if known.epoch == epoch { Ok(known.clone()) } else { Err(fenced) }
}

pub(crate) fn add_partitions(
    shared: &Arc<Shared>,
    request: AddPartitionsToTxnRequest,
) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics;
    let mut coordinator = shared.coordinator.lock();
    let id = request.v3_and_below_transactional_id;
    let known = of_producer(
        &coordinator,
        &id,
        *request.v3_and_below_producer_id,
        request.v3_and_below_producer_epoch,
        ResponseError::ProducerFenced,
    );
    let missing = |topic: &AddPartitionsToTxnTopic, partition: i32| {
        shared.topic(&topic.name).is_none_or(|t| t.partition(partition).is_none())
    };
    let any_missing = topics.iter().any(|t| t.partitions.iter().any(|p| missing(t, *p)));
    let added = known.and_then(|mut transaction| {
        if any_missing {
            return Err(ResponseError::OperationNotAttempted);
        }
        for topic in &topics {
            let name = topic.name.to_string();
            transaction.partitions.extend(topic.partitions.iter().map(|p| (name.clone(), *p)));
        }
        if transaction.partitions.len() > PARTS_MAX {
            return Err(ResponseError::InvalidRequest);
        }
        begin(shared, &mut transaction);
        coordinator.put_transaction(&id, transaction)
    });
    let error = added.err();
    let results = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let unknown = error == Some(ResponseError::OperationNotAttempted) && missing(topic, *p);
            let error = if unknown { Some(ResponseError::UnknownTopicOrPartition) } else { error };
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*p)
                .with_partition_error_code(error.map_or(0, |e| e.code()))
        });
        AddPartitionsToTxnTopicResult::default()
            .with_name(topic.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(results.collect())
}

fn begin(shared: &Shared, transaction: &mut Transaction) {
    if !transaction.ongoing {
        transaction.ongoing = true;
        transaction.since_ms = shared.now_ms();
        transaction.last_commit = None;
    }
}

pub(crate) fn add_offsets(
    shared: &Arc<Shared>,
    request: &AddOffsetsToTxnRequest,
) -> AddOffsetsToTxnResponse {
    let mut coordinator = shared.coordinator.lock();
    let id = &request.transactional_id;
    let added = of_producer(
        &coordinator,
        id,
        *request.producer_id,
        request.producer_epoch,
        ResponseError::ProducerFenced,
    )
    .and_then(|mut transaction| {
        transaction.offsets.entry(request.group_id.to_string()).or_default();
        begin(shared, &mut transaction);
        coordinator.put_transaction(id, transaction)
    });
    AddOffsetsToTxnResponse::default().with_error_code(added.err().map_or(0, |e| e.code()))
}

pub(crate) fn commit_offsets(
    shared: &Arc<Shared>,
    request: TxnOffsetCommitRequest,
) -> TxnOffsetCommitResponse {
    let mut offsets = Offsets::new();
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let of_topic = offsets.entry(topic.name.to_string()).or_default();
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for p in topic.partitions {
            partitions.push(p.partition_index);
            let committed = Committed {
                offset: p.committed_offset,
                leader_epoch: p.committed_leader_epoch,
                metadata: p.committed_metadata.map(|m| m.to_string()).unwrap_or_default(),
            };
            of_topic.insert(p.partition_index, committed);
        }
        topics.push((topic.name, partitions));
    }
    let group = request.group_id.to_string();
    let mut coordinator = shared.coordinator.lock();
    let held = of_producer(
        &coordinator,
        &request.transactional_id,
        *request.producer_id,
        request.producer_epoch,
        ResponseError::InvalidProducerEpoch,
    )
    .and_then(|mut transaction| {
        if request.generation_id >= 0 {
            return Err(ResponseError::IllegalGeneration);
        }
        let all = transaction.offsets.get_mut(&group).filter(|_| transaction.ongoing);
        let all = all.ok_or(ResponseError::InvalidTxnState)?;
        for (topic, partitions) in offsets {
            all.entry(topic).or_default().extend(partitions);
        }
        if all.values().map(|p| p.len()).sum::<usize>() > PARTS_MAX {
            return Err(ResponseError::InvalidCommitOffsetSize);
        }
        coordinator.put_transaction(&request.transactional_id, transaction)
    });
    let error = held.err().map_or(0, |e| e.code());
    let topics = topics.into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|p| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p)
                .with_error_code(error)
        });
        TxnOffsetCommitResponseTopic::default()
            .with_name(name)
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

pub(crate) fn end(shared: &Arc<Shared>, request: &EndTxnRequest) -> EndTxnResponse {
    let mut coordinator = shared.coordinator.lock();
    let id = &request.transactional_id;
    let ended = of_producer(
        &coordinator,
        id,
        *request.producer_id,
        request.producer_epoch,
        ResponseError::ProducerFenced,
    )
    .and_then(|transaction| {
        if transaction.ongoing {
            finish(shared, &mut coordinator, id, request.committed)
        } else if transaction.last_commit == Some(request.committed) {
            Ok(())
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    });
    EndTxnResponse::default().with_error_code(ended.err().map_or(0, |e| e.code()))
}

/// Ends an ongoing transaction: stores the decision, writes the markers, lets the offsets count.
fn finish(
    shared: &Shared,
    coordinator: &mut Coordinator,
    id: &str,
    commit: bool,
) -> Result<(), ResponseError> {
    let Some(mut transaction) = coordinator.transaction(id).cloned() else { return Ok(()) };
    // A decision that was stored before stands, whatever is asked now.
    let commit = *transaction.prepared.get_or_insert(commit);
    coordinator.put_transaction(id, transaction.clone())?;
    for (topic, partition) in &transaction.partitions {
        mark(shared, topic, *partition, &transaction, commit)?;
    }
    for (group, offsets) in std::mem::take(&mut transaction.offsets) {
        if commit && !offsets.is_empty() {
            coordinator.commit(&group, offsets)?;
        }
    }
    transaction.partitions.clear();
    transaction.ongoing = false;
    transaction.prepared = None;
    transaction.last_commit = Some(commit);
    coordinator.put_transaction(id, transaction)?;
    shared.arrived.notify_waiters();
    Ok(())
}

fn mark(
    shared: &Shared,
    topic: &str,
    partition: i32,
    transaction: &Transaction,
    commit: bool,
) -> Result<(), ResponseError> {
    let topic = shared.topic(topic);
    // A topic that was deleted meanwhile needs no marker.
    let Some(partition) = topic.as_ref().and_then(|t| t.partition(partition)) else {
        return Ok(());
    };
    let mut state = partition.state.lock();
    let producer =
        Producer { id: transaction.producer_id, epoch: transaction.epoch, base_sequence: -1 };
    let (end, epoch, now) = (state.log.end(), state.epoch, shared.now_ms());
    let marker = control_marker(end, epoch, producer, commit, 0, now)
        .map_err(|_| ResponseError::UnknownServerError)?;
    state.log.append(marker).map(|_| ())
}

/// Aborts what ran out of time, and finishes what a killed broker had decided.
pub(crate) fn end_expired(shared: &Shared) {
    let now = shared.now_ms();
    let mut coordinator = shared.coordinator.lock();
    let due: Vec<(String, bool)> = coordinator
        .transactions()
        .filter(|(_, t)| {
            let over = now.saturating_sub(t.since_ms) > i64::from(t.timeout_ms);
            t.ongoing && (over || t.prepared.is_some())
        })
        .map(|(id, t)| (id.clone(), t.prepared.is_some()))
        .collect();
    for (id, prepared) in due {
        let ended = if prepared {
            finish(shared, &mut coordinator, &id, false)
        } else {
            tracing::info!(transactional_id = %id, "a transaction ran out of time and is aborted");
            abort_fenced(shared, &mut coordinator, &id)
        };
        if let Err(error) = ended {
            tracing::warn!(transactional_id = %id, %error, "a transaction cannot be ended yet");
        }
    }
}
