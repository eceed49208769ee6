//! Answers that say one error everywhere: what a fault on demand sends.

use crate::handlers::metadata_of;
use crate::server::Call;
use crate::shared::Shared;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response as add_partitions;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response as delete_records;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::fetch_response as fetch;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::list_offsets_response as list_offsets;
use kafka_protocol::messages::offset_commit_response as offset_commit;
use kafka_protocol::messages::offset_fetch_response as offset_fetch;
use kafka_protocol::messages::offset_for_leader_epoch_response as leader_epoch;
use kafka_protocol::messages::produce_response as produce;
use kafka_protocol::messages::txn_offset_commit_response as txn_offsets;
use kafka_protocol::messages::*;
use std::sync::Arc;
use std::time::Duration;

/// The answer to `call` that refuses all of it with `error`.
pub(crate) fn refuse(shared: &Arc<Shared>, call: &Call, error: ResponseError) -> ResponseKind {
    let code = error.code();
    match &call.request {
        RequestKind::Produce(r) => ResponseKind::Produce(refuse_produce(r, code)),
        RequestKind::Fetch(r) => ResponseKind::Fetch(refuse_fetch(r, code)),
        RequestKind::ListOffsets(r) => ResponseKind::ListOffsets(refuse_list_offsets(r, code)),
        RequestKind::Metadata(r) => {
            let mut answer = metadata_of(shared, call.version, r.clone());
            for topic in &mut answer.topics {
                topic.error_code = code;
                topic.partitions.clear();
            }
            if call.version >= 13 {
                answer.error_code = if answer.topics.is_empty() { code } else { 0 };
            }
            ResponseKind::Metadata(answer)
        }
        RequestKind::OffsetForLeaderEpoch(r) => {
            ResponseKind::OffsetForLeaderEpoch(refuse_leader_epochs(r, code))
        }
        RequestKind::OffsetCommit(r) => ResponseKind::OffsetCommit(refuse_offset_commit(r, code)),
        RequestKind::OffsetFetch(r) => {
            ResponseKind::OffsetFetch(refuse_offset_fetch(r, call.version, code))
        }
        RequestKind::FindCoordinator(r) => {
            ResponseKind::FindCoordinator(refuse_find_coordinator(r, call.version, code))
        }
        RequestKind::InitProducerId(_) => {
            ResponseKind::InitProducerId(InitProducerIdResponse::default().with_error_code(code))
        }
        RequestKind::AddOffsetsToTxn(_) => {
            ResponseKind::AddOffsetsToTxn(AddOffsetsToTxnResponse::default().with_error_code(code))
        }
        RequestKind::EndTxn(_) => {
            ResponseKind::EndTxn(EndTxnResponse::default().with_error_code(code))
        }
        RequestKind::AddPartitionsToTxn(r) => {
            ResponseKind::AddPartitionsToTxn(refuse_add_partitions(r, code))
        }
        RequestKind::TxnOffsetCommit(r) => {
            ResponseKind::TxnOffsetCommit(refuse_txn_offsets(r, code))
        }
        other => refuse_admin(other, code),
    }
}

fn refuse_admin(request: &RequestKind, code: i16) -> ResponseKind {
    match request {
        RequestKind::CreateTopics(r) => {
            let topics = r.topics.iter().map(|t| {
                CreatableTopicResult::default().with_name(t.name.clone()).with_error_code(code)
            });
            let answer = CreateTopicsResponse::default().with_topics(topics.collect());
            ResponseKind::CreateTopics(answer)
        }
        RequestKind::DeleteTopics(r) => {
            let by_name = r.topic_names.iter().cloned().map(|name| {
                DeletableTopicResult::default().with_name(Some(name)).with_error_code(code)
            });
            let by_state = r.topics.iter().map(|t| {
                DeletableTopicResult::default()
                    .with_name(t.name.clone())
                    .with_topic_id(t.topic_id)
                    .with_error_code(code)
            });
            let all = by_name.chain(by_state).collect();
            ResponseKind::DeleteTopics(DeleteTopicsResponse::default().with_responses(all))
        }
        RequestKind::CreatePartitions(r) => {
            let results = r.topics.iter().map(|t| {
                CreatePartitionsTopicResult::default()
                    .with_name(t.name.clone())
                    .with_error_code(code)
            });
            let answer = CreatePartitionsResponse::default().with_results(results.collect());
            ResponseKind::CreatePartitions(answer)
        }
        RequestKind::DescribeConfigs(r) => {
            let results = r.resources.iter().map(|asked| {
                DescribeConfigsResult::default()
                    .with_resource_type(asked.resource_type)
                    .with_resource_name(asked.resource_name.clone())
                    .with_error_code(code)
            });
            let answer = DescribeConfigsResponse::default().with_results(results.collect());
            ResponseKind::DescribeConfigs(answer)
        }
        RequestKind::DeleteRecords(r) => {
            let topics = r.topics.iter().map(|t| {
                let partitions = t.partitions.iter().map(|p| {
                    delete_records::DeleteRecordsPartitionResult::default()
                        .with_partition_index(p.partition_index)
                        .with_low_watermark(-1)
                        .with_error_code(code)
                });
                delete_records::DeleteRecordsTopicResult::default()
                    .with_name(t.name.clone())
                    .with_partitions(partitions.collect())
            });
            let answer = DeleteRecordsResponse::default().with_topics(topics.collect());
            ResponseKind::DeleteRecords(answer)
        }
        _ => ResponseKind::ApiVersions(crate::api::versions(code)),
    }
}

fn refuse_produce(r: &ProduceRequest, code: i16) -> ProduceResponse {
    let topics = r.topic_data.iter().map(|t| {
        let partitions = t.partition_data.iter().map(|p| {
            produce::PartitionProduceResponse::default()
                .with_index(p.index)
                .with_error_code(code)
                .with_base_offset(-1)
                .with_log_append_time_ms(-1)
                .with_log_start_offset(-1)
        });
        produce::TopicProduceResponse::default()
            .with_name(t.name.clone())
            .with_topic_id(t.topic_id)
            .with_partition_responses(partitions.collect())
    });
    ProduceResponse::default().with_responses(topics.collect())
}

fn refuse_fetch(r: &FetchRequest, code: i16) -> FetchResponse {
    let topics = r.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            fetch::PartitionData::default()
                .with_partition_index(p.partition)
                .with_error_code(code)
                .with_high_watermark(-1)
                .with_records(Some(Bytes::new()))
        });
        fetch::FetchableTopicResponse::default()
            .with_topic(t.topic.clone())
            .with_topic_id(t.topic_id)
            .with_partitions(partitions.collect())
    });
    FetchResponse::default().with_responses(topics.collect())
}

fn refuse_list_offsets(r: &ListOffsetsRequest, code: i16) -> ListOffsetsResponse {
    let topics = r.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            list_offsets::ListOffsetsPartitionResponse::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code)
        });
        list_offsets::ListOffsetsTopicResponse::default()
            .with_name(t.name.clone())
            .with_partitions(partitions.collect())
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn refuse_leader_epochs(
    r: &OffsetForLeaderEpochRequest,
    code: i16,
) -> OffsetForLeaderEpochResponse {
    let topics = r.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            leader_epoch::EpochEndOffset::default()
                .with_partition(p.partition)
                .with_error_code(code)
        });
        leader_epoch::OffsetForLeaderTopicResult::default()
            .with_topic(t.topic.clone())
            .with_partitions(partitions.collect())
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}

fn refuse_offset_commit(r: &OffsetCommitRequest, code: i16) -> OffsetCommitResponse {
    let topics = r.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            offset_commit::OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code)
        });
        offset_commit::OffsetCommitResponseTopic::default()
            .with_name(t.name.clone())
            .with_partitions(partitions.collect())
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}

fn refuse_offset_fetch(r: &OffsetFetchRequest, version: i16, code: i16) -> OffsetFetchResponse {
    if version >= 8 {
        let groups = r.groups.iter().map(|g| {
            offset_fetch::OffsetFetchResponseGroup::default()
                .with_group_id(g.group_id.clone())
                .with_error_code(code)
        });
        return OffsetFetchResponse::default().with_groups(groups.collect());
    }
    let topics = r.topics.iter().flatten().map(|t| {
        let partitions = t.partition_indexes.iter().map(|p| {
            offset_fetch::OffsetFetchResponsePartition::default()
                .with_partition_index(*p)
                .with_committed_offset(-1)
                .with_error_code(code)
        });
        offset_fetch::OffsetFetchResponseTopic::default()
            .with_name(t.name.clone())
            .with_partitions(partitions.collect())
    });
    let top = if version >= 2 { code } else { 0 };
    OffsetFetchResponse::default().with_error_code(top).with_topics(topics.collect())
}

fn refuse_find_coordinator(
    r: &FindCoordinatorRequest,
    version: i16,
    code: i16,
) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse::default().with_error_code(code);
    }
    let all = r.coordinator_keys.iter().map(|key| {
        Coordinator::default()
            .with_key(key.clone())
            .with_node_id(BrokerId(-1))
            .with_port(-1)
            .with_error_code(code)
    });
    FindCoordinatorResponse::default().with_coordinators(all.collect())
}

fn refuse_add_partitions(r: &AddPartitionsToTxnRequest, code: i16) -> AddPartitionsToTxnResponse {
    let topics = r.v3_and_below_topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            add_partitions::AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(*p)
                .with_partition_error_code(code)
        });
        add_partitions::AddPartitionsToTxnTopicResult::default()
            .with_name(t.name.clone())
            .with_results_by_partition(partitions.collect())
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

fn refuse_txn_offsets(r: &TxnOffsetCommitRequest, code: i16) -> TxnOffsetCommitResponse {
    let topics = r.topics.iter().map(|t| {
        let partitions = t.partitions.iter().map(|p| {
            txn_offsets::TxnOffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code)
        });
        txn_offsets::TxnOffsetCommitResponseTopic::default()
            .with_name(t.name.clone())
            .with_partitions(partitions.collect())
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}

/// Sets the throttle time of an answer that has one.
pub(crate) fn throttle(answer: &mut ResponseKind, time: Duration) {
    let ms = i32::try_from(time.as_millis()).unwrap_or(i32::MAX);
    match answer {
        ResponseKind::Produce(r) => r.throttle_time_ms = ms,
        ResponseKind::Fetch(r) => r.throttle_time_ms = ms,
        ResponseKind::ListOffsets(r) => r.throttle_time_ms = ms,
        ResponseKind::Metadata(r) => r.throttle_time_ms = ms,
        ResponseKind::OffsetCommit(r) => r.throttle_time_ms = ms,
        ResponseKind::OffsetFetch(r) => r.throttle_time_ms = ms,
        ResponseKind::FindCoordinator(r) => r.throttle_time_ms = ms,
        ResponseKind::InitProducerId(r) => r.throttle_time_ms = ms,
        _ => tracing::debug!("this answer has no throttle time that a fault sets"),
    }
}
