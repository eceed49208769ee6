//! Group offsets and idempotent producers.

use crate::support::*;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    FindCoordinatorRequest, GroupId, InitProducerIdRequest, InitProducerIdResponse,
    OffsetCommitRequest, OffsetFetchRequest, ProducerId, TransactionalId,
};
use millstream_testkit::{Client, KafkaHarness};
use millstream_wire::{BatchBuilder, Producer};
use std::time::{Duration, Instant};

/// A connection to a group's coordinator, once it is there.
pub async fn coordinator(kafka: &KafkaHarness, key: &str, key_type: i8) -> Client {
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let request = FindCoordinatorRequest::default()
        .with_key_type(key_type)
        .with_coordinator_keys(vec![text(key)]);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call(&request).await.expect("it is answered");
        let found = &answer.coordinators[0];
        if found.error_code == 0 {
            let address = format!("{}:{}", found.host, found.port);
            return Client::connect(&address).await.expect("the coordinator answers");
        }
        // Kafka creates its internal topic on the first question.
        assert!(Instant::now() < until, "no coordinator: {}", found.error_code);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn group_offsets_keep_their_metadata(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("groups", 2).await;
    let mut client = coordinator(kafka, "g1", 0).await;
    let commit = |partition, offset, metadata: &str| {
        let p = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(metadata)));
        let topic =
            OffsetCommitRequestTopic::default().with_name(name("groups")).with_partitions(vec![p]);
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g1")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call(&commit(0, 17, "intent 42")).await.expect("it is answered");
        match answer.topics[0].partitions[0].error_code {
            0 => break,
            // The coordinator is still loading.
            14..=16 => assert!(Instant::now() < until, "the coordinator never loads"),
            error => panic!("error {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = client.call(&commit(9, 1, "")).await.expect("it is answered");
    assert_eq!(answer.topics[0].partitions[0].error_code, UNKNOWN_TOPIC);
    let topic = OffsetFetchRequestTopics::default()
        .with_name(name("groups"))
        .with_partition_indexes(vec![0, 1]);
    for (group, expected) in [("g1", (17, "intent 42")), ("g-unknown", (-1, ""))] {
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic.clone()]));
        let request =
            OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(true);
        let answer = client.call_up_to(&request, 8).await.expect("it is answered");
        let found = &answer.groups[0].topics[0].partitions;
        let metadata = found[0].metadata.as_ref().map(|m| m.as_str());
        assert_eq!((found[0].committed_offset, metadata), (expected.0, Some(expected.1)));
        assert_eq!((found[1].committed_offset, found[1].error_code), (-1, 0));
    }
}

pub async fn init_producer(
    client: &mut Client,
    transactional: Option<&str>,
) -> InitProducerIdResponse {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(transactional.map(|t| TransactionalId(text(t))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call_up_to(&request, 4).await.expect("it is answered");
        match answer.error_code {
            0 => return answer,
            14..=16 | 51 => assert!(Instant::now() < until, "error {}", answer.error_code),
            error => panic!("error {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn numbered(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0).producer(Producer { id, epoch, base_sequence });
    for value in values {
        builder.push(1, None, Some(value.as_bytes()), &[]);
    }
    builder
}

pub async fn repeated_batches_are_stored_once(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("once", 1).await;
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let state = init_producer(&mut client, None).await;
    let (id, epoch) = (*state.producer_id, state.producer_epoch);
    let batch = |epoch, sequence, values: &[&str]| {
        numbered(id, epoch, sequence, values).build().expect("a batch")
    };
    let mut producer = kafka.producer().await;
    let first = batch(epoch, 0, &["a", "b"]);
    assert_eq!(producer.produce_batch("once", 0, first.clone()).await, Ok(0));
    assert_eq!(producer.produce_batch("once", 0, first.clone()).await, Ok(0), "sent again");
    assert_eq!(producer.produce_batch("once", 0, batch(epoch, 2, &["c"])).await, Ok(2));
    assert_eq!(producer.produce_batch("once", 0, first).await, Ok(0), "sent again, late");
    let gap = producer.produce_batch("once", 0, batch(epoch, 7, &["x"])).await;
    assert_eq!(gap, Err(OUT_OF_ORDER));
    assert_eq!(producer.produce_batch("once", 0, batch(epoch + 1, 0, &["d"])).await, Ok(3));
    let zombie = producer.produce_batch("once", 0, batch(epoch, 3, &["z"])).await;
    assert_eq!(zombie, Err(INVALID_PRODUCER_EPOCH));
    assert_eq!(kafka.admin().await.end_offset("once", 0).await, 4);
}

pub async fn all_offsets_of_a_group_are_listed(kafka: &KafkaHarness) {
    let mut client = coordinator(kafka, "g1", 0).await;
    for (group, topics) in [("g1", vec![("groups", 17)]), ("g-unknown", vec![])] {
        let found = offsets_of(&mut client, group, None, true).await;
        let found: Vec<_> = found.iter().map(|(t, _, o, _)| (t.as_str(), *o)).collect();
        assert_eq!(found, topics, "{group}");
    }
}

/// Topic, partition, offset and error of a group's offsets: those asked for, or all.
pub async fn offsets_of(
    client: &mut Client,
    group: &str,
    topic: Option<&str>,
    stable: bool,
) -> Vec<(String, i32, i64, i16)> {
    let topics = topic.map(|t| {
        let topic =
            OffsetFetchRequestTopics::default().with_name(name(t)).with_partition_indexes(vec![0]);
        vec![topic]
    });
    let asked = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text(group)))
        .with_member_epoch(-1)
        .with_topics(topics);
    let request =
        OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(stable);
    let answer = client.call_up_to(&request, 8).await.expect("it is answered");
    let topics = answer.groups[0].topics.iter();
    let partitions = topics.flat_map(|t| t.partitions.iter().map(move |p| (t, p)));
    partitions
        .map(|(t, p)| (t.name.to_string(), p.partition_index, p.committed_offset, p.error_code))
        .collect()
}
