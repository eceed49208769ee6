//! Answers of brokers in the oldest and the newest version that is asked, and one between.

use crate::Seeds;
use crate::records::batch;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, SupportedFeatureKey,
};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, NodeEndpoint, PartitionData,
};
use kafka_protocol::messages::find_coordinator_response::{Coordinator, FindCoordinatorResponse};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponse, OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{BrokerId, ProducerId, TopicName};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use millstream_kafka::answers::Question;
use millstream_wire::{Codec, Producer, control_marker};
use uuid::Uuid;

pub fn add(seeds: &mut Seeds) {
    for (at, question) in Question::ALL.into_iter().enumerate() {
        let versions = question.versions();
        for version in versions.clone() {
            let front = [at as u8, u8::try_from(version - versions.start()).unwrap(), 3, 2];
            match question {
                Question::Versions if (1..=2).contains(&version) => {}
                Question::Versions => put(seeds, front, &api_versions(version), version),
                Question::Topics => put(seeds, front, &metadata(), version),
                Question::Offsets => put(seeds, front, &list_offsets(), version),
                Question::LeaderEpochs => put(seeds, front, &leader_epochs(), version),
                Question::Coordinator => put(seeds, front, &coordinator(version), version),
                Question::CommitOffsets => put(seeds, front, &offset_commit(), version),
                Question::Records => {
                    for codec in Codec::ALL {
                        let answer = fetch(version, codec);
                        // Committed and uncommitted, with and without checksums.
                        for config in 0..4 {
                            let flags = front[0] | config << 3;
                            let front = [flags, front[1], 3, 40];
                            put(seeds, front, &answer, version);
                        }
                    }
                }
            }
        }
    }
    // A length and an id of its own.
    let whole = [&6_u32.to_be_bytes()[..], &[1, 2, 3, 4, 0, 35]].concat();
    seeds.add("kafka_answers", &[0x80, 0, 0, 0], whole);
    seeds.add("kafka_answers", &[0x80, 0, 0, 0], b"HTTP/1.1 400 Bad Request\r\n");
}

fn put<A: Encodable + HeaderVersion>(seeds: &mut Seeds, front: [u8; 4], answer: &A, version: i16) {
    let mut bytes = BytesMut::new();
    // The tagged fields of the header, where it has any.
    if A::header_version(version) > 0 {
        bytes.extend_from_slice(&[0]);
    }
    answer.encode(&mut bytes, version).unwrap();
    seeds.add("kafka_answers", &front, bytes);
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic() -> TopicName {
    TopicName(text("topic"))
}

fn api_versions(version: i16) -> ApiVersionsResponse {
    let api = |key| ApiVersion::default().with_api_key(key).with_max_version(9);
    let answer = ApiVersionsResponse::default().with_api_keys(vec![api(1), api(3), api(18)]);
    if version < 3 {
        return answer;
    }
    let feature = SupportedFeatureKey::default().with_name(text("f")).with_max_version(3);
    answer.with_supported_features(vec![feature]).with_finalized_features_epoch(3)
}

fn metadata() -> MetadataResponse {
    let partition = |index| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(1))
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(1)])
    };
    let known = MetadataResponseTopic::default()
        .with_name(Some(topic()))
        .with_topic_id(Uuid::from_u128(0))
        .with_partitions(vec![partition(0), partition(1)]);
    let unknown = MetadataResponseTopic::default()
        .with_name(Some(TopicName(text("gone"))))
        .with_error_code(3);
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(1))
        .with_host(text("h"))
        .with_port(9092)
        .with_rack(Some(text("r")));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text("c")))
        .with_topics(vec![known, unknown])
}

fn list_offsets() -> ListOffsetsResponse {
    let partition = ListOffsetsPartitionResponse::default().with_offset(7).with_timestamp(5);
    let moved = partition.clone().with_partition_index(1).with_error_code(6);
    let topic = ListOffsetsTopicResponse::default()
        .with_name(topic())
        .with_partitions(vec![partition, moved]);
    ListOffsetsResponse::default().with_topics(vec![topic])
}

fn leader_epochs() -> OffsetForLeaderEpochResponse {
    let end = EpochEndOffset::default().with_leader_epoch(2).with_end_offset(70);
    let topic =
        OffsetForLeaderTopicResult::default().with_topic(topic()).with_partitions(vec![end]);
    OffsetForLeaderEpochResponse::default().with_topics(vec![topic])
}

fn coordinator(version: i16) -> FindCoordinatorResponse {
    if version < 4 {
        return FindCoordinatorResponse::default().with_host(text("h")).with_port(9092);
    }
    let coordinator = Coordinator::default().with_key(text("g")).with_host(text("h"));
    FindCoordinatorResponse::default().with_coordinators(vec![coordinator])
}

fn offset_commit() -> OffsetCommitResponse {
    let partition = OffsetCommitResponsePartition::default().with_error_code(16);
    let topic = OffsetCommitResponseTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition.clone(), partition.with_partition_index(1)]);
    OffsetCommitResponse::default().with_topics(vec![topic])
}

/// Records of an aborted transaction with its marker, and some that are of none.
fn fetch(version: i16, codec: Codec) -> FetchResponse {
    let producer = Producer { id: 7, epoch: 0, base_sequence: 0 };
    let marker = control_marker(6, 0, producer, false, 0, 0).unwrap();
    let mut later = millstream_wire::BatchBuilder::new(7).codec(codec);
    later.push(5, Some(b"k"), Some(b"v"), &[("h", None)]).push(6, None, None, &[]);
    let later = later.build().unwrap();
    let records = [&batch(codec, producer)[..], &marker, &later].concat();
    let aborted =
        AbortedTransaction::default().with_producer_id(ProducerId(7)).with_first_offset(3);
    let partition = PartitionData::default()
        .with_high_watermark(9)
        .with_last_stable_offset(9)
        .with_aborted_transactions(Some(vec![aborted]))
        .with_records(Some(Bytes::from(records)));
    let mut topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    if version < 13 {
        topic = topic.with_topic(self::topic());
    }
    let answer = FetchResponse::default().with_responses(vec![topic]);
    if version < 16 {
        return answer;
    }
    let node = NodeEndpoint::default().with_host(text("h")).with_rack(Some(text("r")));
    answer.with_node_endpoints(vec![node])
}
