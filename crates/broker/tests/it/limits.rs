//! Every limit is a refusal, and the broker goes on.

use crate::{read_all, values};
use kafka_protocol::messages::{
    JoinGroupRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest,
};
use millstream_broker::{Broker, BrokerConfig, ResponseError};
use millstream_testkit::{Client, Producer, TestRecord};
use millstream_wire::{BatchBuilder, Codec};

fn start(change: impl FnOnce(&mut BrokerConfig)) -> Broker {
    let mut config = BrokerConfig { topics: vec![("t".into(), 1)], ..BrokerConfig::default() };
    change(&mut config);
    Broker::start(config).unwrap()
}

fn batch(len: usize) -> bytes::Bytes {
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(&vec![b'x'; len]), &[]);
    builder.build().unwrap()
}

#[tokio::test]
async fn memory_for_records_ends_and_is_given_back() {
    let broker = start(|c| c.memory_bytes_max = 3000);
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    assert_eq!(producer.produce_batch("t", 0, batch(1000)).await, Ok(0));
    assert_eq!(producer.produce_batch("t", 0, batch(1000)).await, Ok(1));
    let full = ResponseError::KafkaStorageError.code();
    assert_eq!(producer.produce_batch("t", 0, batch(1000)).await, Err(full));
    broker.delete_records("t", 0, 1).unwrap();
    assert_eq!(producer.produce_batch("t", 0, batch(1000)).await, Ok(2));
    broker.delete_topic("t").unwrap();
    broker.create_topic("u", 1).unwrap();
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    assert_eq!(producer.produce_batch("u", 0, batch(2000)).await, Ok(0));
}

#[tokio::test]
async fn long_requests_and_many_connections_are_closed() {
    let broker = start(|c| {
        c.request_bytes_max = 10_000;
        c.connections_max = 2;
    });
    let mut first = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let mut second = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    assert!(Client::connect(&broker.bootstrap_servers()).await.is_err(), "two are enough");
    let sent = first.send_raw(&vec![0; 20_000]).await;
    assert!(sent.is_err() || first.receive().await.is_err(), "a long request is closed");
    let all = MetadataRequest::default().with_topics(None);
    assert_eq!(second.call(&all).await.unwrap().topics.len(), 1, "the others go on");
}

#[tokio::test]
async fn partitions_are_bounded() {
    let broker = start(|c| c.partitions_max = 10);
    assert!(broker.create_topic("nine", 9).is_ok());
    assert_eq!(broker.create_topic("one", 1).unwrap_err().code(), "BROKER_REFUSED");
    assert!(broker.add_partitions("t", 2).is_err());
    broker.delete_topic("nine").unwrap();
    broker.add_partitions("t", 10).unwrap();
}

#[tokio::test]
async fn group_members_and_what_cannot_be_read_are_refused() {
    let broker = start(|_| {});
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    assert!(client.call(&JoinGroupRequest::default()).await.is_err(), "it is not offered");
    assert!(client.call_at(&JoinGroupRequest::default(), 5).await.is_err(), "nor served");
    for garbage in [&[0_u8][..], &[0, 3, 0, 12, 0, 0], &[0, 1, 0, 13, 0, 0, 0, 1, 255, 255, 9, 9]] {
        let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
        client.send_raw(garbage).await.unwrap();
        assert!(client.receive().await.is_err(), "{garbage:?}");
    }
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let empty = OffsetCommitRequest::default();
    assert!(client.call_at(&empty, 8).await.unwrap().topics.is_empty());
    let acks = ProduceRequest::default().with_acks(-1);
    assert!(client.call_at(&acks, 9).await.unwrap().responses.is_empty());
}

#[test]
fn ports_and_node_counts_are_checked() {
    let broker = start(|_| {});
    let taken = BrokerConfig { port: broker.port(), ..BrokerConfig::default() };
    assert_eq!(Broker::start(taken).unwrap_err().code(), "BROKER_BIND");
    for nodes in [0, 17] {
        let config = BrokerConfig { nodes, ..BrokerConfig::default() };
        assert_eq!(Broker::start(config).unwrap_err().code(), "BROKER_CONFIG");
    }
}

#[tokio::test]
async fn topics_are_created_on_demand_only_where_that_is_wanted() {
    let ask =
        MetadataRequest::default().with_allow_auto_topic_creation(true).with_topics(Some(vec![
            kafka_protocol::messages::metadata_request::MetadataRequestTopic::default().with_name(
                Some(kafka_protocol::messages::TopicName(
                    kafka_protocol::protocol::StrBytes::from_static_str("new"),
                )),
            ),
        ]));
    for wanted in [false, true] {
        let broker = start(|c| {
            c.auto_create_topics = wanted;
            c.default_partitions = 3;
        });
        let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
        let answer = client.call(&ask).await.unwrap();
        assert_eq!(answer.topics[0].partitions.len(), if wanted { 3 } else { 0 });
        assert_eq!(broker.topic_id("new").is_some(), wanted);
    }
}

#[tokio::test]
async fn large_messages_pass_where_the_topic_allows_them() {
    let broker = start(|_| {});
    broker.create_topic_with("large", 1, &[("max.message.bytes", "20000000")]).unwrap();
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    let record = TestRecord::value("m".repeat(10 << 20));
    producer.produce("large", 0, &[record], Codec::None).await;
    producer.produce("large", 0, &values(0..1), Codec::None).await;
    let read = read_all(&broker.bootstrap_servers(), "large").await;
    assert_eq!(
        read.iter().map(|(o, v)| (*o, v.len())).collect::<Vec<_>>(),
        [(0, 10 << 20), (1, 7)]
    );
}
