use super::*;
use crate::client::frame::decode_body;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::api_versions_response::{
    ApiVersion, ApiVersionsResponse, SupportedFeatureKey,
};
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
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
use kafka_protocol::messages::{BrokerId, TopicName};
use kafka_protocol::protocol::{Encodable, StrBytes};
use std::ops::RangeInclusive;

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

/// Every version of `answer` fits and decodes, no shorter front of it fits, and nothing is left.
fn fits_exactly<R: Answered>(versions: RangeInclusive<i16>, answer: impl Fn(i16) -> R::Response) {
    for version in versions {
        let mut bytes = BytesMut::new();
        answer(version).encode(&mut bytes, version).unwrap();
        let body = bytes.freeze();
        let mut walk = Walk { rest: &body, version };
        assert!(walk.structure(R::SHAPE).is_some(), "version {version}");
        assert!(walk.rest.is_empty(), "version {version} leaves {} bytes", walk.rest.len());
        decode_body::<R>(body.clone(), version).unwrap();
        for end in 0..body.len() {
            assert!(!R::SHAPE.fits(version, &body[..end]), "version {version} cut at {end}");
        }
    }
}

#[test]
fn answers_of_every_version_fit_exactly() {
    fits_exactly::<ApiVersionsRequest>(0..=3, |version| {
        let answer = ApiVersionsResponse::default().with_api_keys(vec![ApiVersion::default(); 3]);
        if version < 3 {
            return answer;
        }
        let feature = SupportedFeatureKey::default().with_name(text("f"));
        answer.with_supported_features(vec![feature]).with_finalized_features_epoch(3)
    });
    fits_exactly::<MetadataRequest>(4..=12, |_| {
        let partition = MetadataResponsePartition::default()
            .with_replica_nodes(vec![BrokerId(1), BrokerId(2)])
            .with_isr_nodes(vec![BrokerId(1)]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(text("t"))))
            .with_partitions(vec![partition; 2]);
        let broker = MetadataResponseBroker::default().with_host(text("h"));
        MetadataResponse::default()
            .with_brokers(vec![broker.clone().with_rack(Some(text("r"))), broker])
            .with_cluster_id(Some(text("c")))
            .with_topics(vec![topic; 2])
    });
    fits_exactly::<ListOffsetsRequest>(2..=7, |_| {
        let topic = ListOffsetsTopicResponse::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![ListOffsetsPartitionResponse::default(); 2]);
        ListOffsetsResponse::default().with_topics(vec![topic; 2])
    });
    fits_exactly::<OffsetForLeaderEpochRequest>(2..=4, |_| {
        let topic = OffsetForLeaderTopicResult::default()
            .with_topic(TopicName(text("t")))
            .with_partitions(vec![EpochEndOffset::default(); 2]);
        OffsetForLeaderEpochResponse::default().with_topics(vec![topic; 2])
    });
    fits_exactly::<FindCoordinatorRequest>(1..=4, |version| {
        if version < 4 {
            return FindCoordinatorResponse::default().with_host(text("h"));
        }
        let coordinator = Coordinator::default().with_key(text("k")).with_host(text("h"));
        FindCoordinatorResponse::default().with_coordinators(vec![coordinator; 2])
    });
    fits_exactly::<OffsetCommitRequest>(2..=8, |_| {
        let topic = OffsetCommitResponseTopic::default()
            .with_name(TopicName(text("t")))
            .with_partitions(vec![OffsetCommitResponsePartition::default(); 2]);
        OffsetCommitResponse::default().with_topics(vec![topic; 2])
    });
}

#[test]
fn fetch_answers_of_every_version_fit_exactly() {
    fits_exactly::<FetchRequest>(4..=16, |version| {
        let partition = PartitionData::default()
            .with_aborted_transactions(Some(vec![AbortedTransaction::default(); 2]))
            .with_records(Some(Bytes::from_static(b"records")));
        let moved = LeaderIdAndEpoch::default().with_leader_id(BrokerId(3)).with_leader_epoch(4);
        let moved = partition.clone().with_current_leader(moved);
        let mut topic = FetchableTopicResponse::default().with_partitions(vec![
            partition.clone(),
            if version >= 12 { moved } else { partition },
        ]);
        if version < 13 {
            topic = topic.with_topic(TopicName(text("t")));
        }
        let answer = FetchResponse::default().with_responses(vec![topic; 2]);
        if version < 16 {
            return answer;
        }
        let node = NodeEndpoint::default().with_host(text("h")).with_rack(Some(text("r")));
        answer.with_node_endpoints(vec![node; 2])
    });
}

/// Without the walk these abort the process: two thousand million items are reserved at once.
#[test]
fn announced_items_that_did_not_come_reserve_nothing() {
    let old = [&[0, 0][..], &i32::MAX.to_be_bytes()].concat();
    let refused = decode_body::<ApiVersionsRequest>(old.into(), 0).unwrap_err();
    assert_eq!(refused, "it ends before what it announces");
    let compact = Bytes::from_static(&[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(decode_body::<ApiVersionsRequest>(compact, 3).is_err());
    // In a tagged field, behind an honest front.
    let tagged = Bytes::from_static(&[0, 0, 1, 0, 0, 0, 0, 1, 2, 1, 0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert!(decode_body::<ApiVersionsRequest>(tagged, 3).is_err());
    let nested = [&[0; 4][..], &1_i32.to_be_bytes(), &[0, 1, b't'], &[0x7f, 0xff, 0xff, 0xff]];
    assert!(decode_body::<FetchRequest>(nested.concat().into(), 4).is_err());
}
