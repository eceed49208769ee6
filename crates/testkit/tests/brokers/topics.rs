//! Versions and topics.

use crate::support::*;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest,
};
use millstream_testkit::{Client, KafkaHarness};
use uuid::Uuid;

pub async fn versions_are_negotiated(kafka: &KafkaHarness) {
    let client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let needed = [
        (ApiKey::Fetch, 12, 13),
        (ApiKey::Metadata, 12, 12),
        (ApiKey::Produce, 9, 9),
        (ApiKey::ListOffsets, 7, 7),
        (ApiKey::OffsetForLeaderEpoch, 4, 4),
        (ApiKey::OffsetFetch, 8, 8),
    ];
    for (api, low, high) in needed {
        let (min, max) = client.versions(api).expect("the API is served");
        assert!(min <= low && max >= high, "{api:?}: {min}..={max}");
    }
    // A version from the future is answered with error 35 in the layout of version 0.
    let mut client = client;
    let mut frame = Vec::new();
    frame.extend_from_slice(&18_i16.to_be_bytes());
    frame.extend_from_slice(&99_i16.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(&[0, 1, b'x', 0, 2, b'a', 2, b'b', 0]);
    client.send_raw(&frame).await.expect("it is sent");
    let answer = client.receive().await.expect("it is answered");
    assert_eq!(&answer[..4], &7_i32.to_be_bytes());
    assert_eq!(&answer[4..6], &35_i16.to_be_bytes());
    let count = i32::from_be_bytes(answer[6..10].try_into().unwrap());
    assert!(count > 0, "the served versions are in the answer");
}

pub async fn unknown_requests_close_the_connection(kafka: &KafkaHarness) {
    // An unknown API, and a known one in an unknown version.
    for (api, version) in [(900_i16, 0_i16), (3, 90)] {
        let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
        let mut frame = Vec::new();
        frame.extend_from_slice(&api.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'x', 0]);
        client.send_raw(&frame).await.expect("it is sent");
        assert!(client.receive().await.is_err(), "API {api} version {version} is answered");
    }
}

pub async fn topics_have_ids_that_recreation_changes(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let first = admin.create_topic("ids", 2).await;
    assert!(!first.is_nil());
    assert_eq!(admin.topic("ids").await.topic_id, first);
    let mut leader = admin.leader("ids", 0).await;
    assert!(fetch(&mut leader, "ids", first, 13, Ask::at(0)).await.is_ok());
    let second = admin.recreate_topic("ids").await;
    assert_ne!(first, second, "a topic that is created again has another id");
    let old = fetch(&mut leader, "ids", first, 13, Ask::at(0)).await;
    assert_eq!(old.unwrap_err(), UNKNOWN_TOPIC_ID);
    assert!(fetch(&mut leader, "ids", second, 13, Ask::at(0)).await.is_ok());
    admin.delete_topic("ids").await;
    assert_eq!(admin.topic("ids").await.error_code, UNKNOWN_TOPIC);
}

pub async fn topics_are_refused_as_kafka_refuses_them(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("taken", 1).await;
    let topic = |n: &str| {
        CreatableTopic::default()
            .with_name(name(n))
            .with_num_partitions(1)
            .with_replication_factor(1)
    };
    let odd = CreatableTopicConfig::default()
        .with_name(text("no.such.setting"))
        .with_value(Some(text("1")));
    let cases = [
        (topic("taken"), TOPIC_EXISTS),
        (topic("not/allowed"), INVALID_TOPIC),
        (topic(".."), INVALID_TOPIC),
        (topic("none").with_num_partitions(0), INVALID_PARTITIONS),
        (topic("replicas").with_replication_factor(3), INVALID_REPLICATION),
        (topic("odd").with_configs(vec![odd]), INVALID_CONFIG),
    ];
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    for (topic, error) in cases {
        let what = topic.name.to_string();
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = client.call(&request).await.expect("it is answered");
        assert_eq!(answer.topics[0].error_code, error, "create {what}");
    }
}

pub async fn partitions_are_added(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("growing", 1).await;
    admin.add_partitions("growing", 3).await;
    assert_eq!(admin.end_offset("growing", 2).await, 0);
    let fewer = CreatePartitionsTopic::default().with_name(name("growing")).with_count(2);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![fewer.with_assignments(None)])
        .with_timeout_ms(10_000);
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let answer = client.call(&request).await.expect("it is answered");
    assert_eq!(answer.results[0].error_code, INVALID_PARTITIONS);
}

pub async fn topics_are_named_by_their_ids(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("by-id", 2).await;
    let unknown = Uuid::from_u128(77);
    let asked =
        [id, unknown].map(|id| MetadataRequestTopic::default().with_topic_id(id).with_name(None));
    let request = MetadataRequest::default().with_topics(Some(asked.to_vec()));
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let answer = client.call_at(&request, 12).await.expect("it is answered");
    for topic in answer.topics {
        let name = topic.name.as_ref().map(|n| n.as_str());
        let found = (topic.topic_id, topic.error_code, topic.partitions.len());
        if topic.topic_id == id {
            assert_eq!((name, found), (Some("by-id"), (id, 0, 2)));
        } else {
            assert_eq!((name, found), (None, (unknown, UNKNOWN_TOPIC_ID, 0)));
        }
    }
    let wanted =
        [unknown, id].map(|id| DeleteTopicState::default().with_name(None).with_topic_id(id));
    let request =
        DeleteTopicsRequest::default().with_topics(wanted.to_vec()).with_timeout_ms(10_000);
    let answer = client.call_at(&request, 6).await.expect("it is answered");
    let mut codes: Vec<_> = answer.responses.iter().map(|t| (t.topic_id, t.error_code)).collect();
    codes.sort_unstable_by_key(|(_, code)| *code);
    assert_eq!(codes, [(id, 0), (unknown, UNKNOWN_TOPIC_ID)]);
}
