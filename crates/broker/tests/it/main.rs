//! What the embedded broker does beyond what it shares with Apache Kafka: survive its own death,
//! misbehave on demand, hold what no producer can write. What it shares is checked by the
//! conformance script of `millstream-testkit`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod disk;
mod faults;
mod limits;
mod nodes;
mod planted;
mod transactions;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_testkit::{Admin, Client, TestRecord};
use millstream_wire::{Batches, Decompressor};

fn fetch_request(topic: &str, offset: i64, epoch: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(epoch)
        .with_last_fetched_epoch(-1)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Fetches partition 0 from `offset`.
async fn fetch(client: &mut Client, topic: &str, offset: i64) -> PartitionData {
    let request = fetch_request(topic, offset, -1);
    let answer = client.call_at(&request, 12).await.expect("Fetch is answered");
    answer.responses[0].partitions[0].clone()
}

/// Offsets and values of an answer's records.
fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut decompressor = Decompressor::new(64 << 20);
    let mut out = Vec::new();
    for batch in Batches::new(&bytes) {
        let batch = batch.expect("a batch");
        batch.verify().expect("its checksum");
        for record in batch.records(&mut decompressor).expect("records") {
            let record = record.expect("a record");
            let value = String::from_utf8(record.value.unwrap_or_default().to_vec());
            out.push((record.offset, value.expect("text")));
        }
    }
    out
}

/// All records of partition 0 of a topic.
async fn read_all(bootstrap: &str, topic: &str) -> Vec<(i64, String)> {
    let mut next = Admin::connect(bootstrap).await.start_offset(topic, 0).await;
    let mut client = Client::connect(bootstrap).await.expect("it connects");
    let mut all: Vec<(i64, String)> = Vec::new();
    loop {
        let data = fetch(&mut client, topic, next).await;
        assert_eq!(data.error_code, 0, "at {next}");
        let more: Vec<_> = records(&data).into_iter().filter(|(o, _)| *o >= next).collect();
        let Some((last, _)) = more.last() else { return all };
        next = last + 1;
        all.extend(more);
    }
}

fn values(range: std::ops::Range<i64>) -> Vec<TestRecord> {
    range.map(|n| TestRecord::value(format!("value {n}")).at(1000 + n)).collect()
}
