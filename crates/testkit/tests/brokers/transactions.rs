//! Transactions: what is seen of open, committed and aborted ones, and who is fenced.

use crate::coordination::{coordinator, init_producer, numbered, offsets_of};
use crate::support::*;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, GroupId, ProduceRequest,
    ProducerId, TransactionalId, TxnOffsetCommitRequest,
};
use millstream_testkit::{Admin, Client, KafkaHarness};
use std::time::{Duration, Instant};
use uuid::Uuid;

const CONCURRENT: i16 = 51;

/// A transactional producer to partition 0 of a topic of its own.
struct Transactional {
    admin: Admin,
    coordinator: Client,
    leader: Client,
    topic: String,
    topic_id: Uuid,
    id: String,
    producer: ProducerId,
    epoch: i16,
}

impl Transactional {
    async fn new(kafka: &KafkaHarness, name: &str) -> Transactional {
        let mut admin = kafka.admin().await;
        let topic_id = admin.create_topic(name, 1).await;
        let mut coordinator = coordinator(kafka, name, 1).await;
        let state = init_producer(&mut coordinator, Some(name)).await;
        let leader = admin.leader(name, 0).await;
        Transactional {
            admin,
            coordinator,
            leader,
            topic: name.to_owned(),
            topic_id,
            id: name.to_owned(),
            producer: state.producer_id,
            epoch: state.producer_epoch,
        }
    }

    fn id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    /// Adds the partition to the transaction, once the one before has ended everywhere.
    async fn add(&mut self) -> i16 {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(name(&self.topic))
            .with_partitions(vec![0]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.id())
            .with_v3_and_below_producer_id(self.producer)
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.coordinator.call_at(&request, 3).await.expect("it is answered");
            let result = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
            if result.partition_error_code != CONCURRENT {
                return result.partition_error_code;
            }
            assert!(Instant::now() < until, "the last transaction never ends");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn produce(&mut self, sequence: i32, values: &[&str]) -> i16 {
        let batch = numbered(*self.producer, self.epoch, sequence, values);
        let batch = batch.transactional().build().expect("a batch");
        let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
        let topic = TopicProduceData::default()
            .with_name(name(&self.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.id()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        // Version 11 is the last in which a transaction's partitions are named beforehand.
        let answer = self.leader.call_at(&request, 11).await.expect("it is answered");
        answer.responses[0].partition_responses[0].error_code
    }

    async fn end(&mut self, commit: bool) -> i16 {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(self.producer)
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.coordinator.call_at(&request, 3).await.expect("it is answered");
            if answer.error_code != CONCURRENT {
                return answer.error_code;
            }
            assert!(Instant::now() < until, "the last transaction never ends");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ends the transaction and waits for its marker: the partition's end is then `end`.
    async fn end_at(&mut self, commit: bool, end: i64) {
        assert_eq!(self.end(commit).await, 0);
        let until = Instant::now() + Duration::from_secs(30);
        while self.admin.end_offset(&self.topic, 0).await < end {
            assert!(Instant::now() < until, "the marker is never written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn fetch(&mut self, ask: Ask) -> kafka_protocol::messages::fetch_response::PartitionData {
        let fetched = fetch(&mut self.leader, &self.topic, self.topic_id, 13, ask).await;
        fetched.expect("Fetch succeeds")
    }

    async fn add_offsets(&mut self, group: &str, offset: i64) -> i16 {
        let add = AddOffsetsToTxnRequest::default()
            .with_transactional_id(self.id())
            .with_producer_id(self.producer)
            .with_producer_epoch(self.epoch)
            .with_group_id(GroupId(text(group)));
        let until = Instant::now() + Duration::from_secs(30);
        while self.coordinator.call_at(&add, 3).await.expect("it is answered").error_code != 0 {
            assert!(Instant::now() < until, "offsets cannot be added");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(0)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text("intent")));
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(name(&self.topic))
            .with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.id())
            .with_group_id(GroupId(text(group)))
            .with_producer_id(self.producer)
            .with_producer_epoch(self.epoch)
            .with_generation_id(-1)
            .with_group_instance_id(None)
            .with_topics(vec![topic]);
        let answer = self.coordinator.call_at(&request, 3).await.expect("it is answered");
        answer.topics[0].partitions[0].error_code
    }
}

fn committed(offset: i64) -> Ask {
    Ask { committed_only: true, ..Ask::at(offset) }
}

pub async fn transactions_hide_aborted_records(kafka: &KafkaHarness) {
    let mut txn = Transactional::new(kafka, "txn").await;
    for (n, commit) in [(0_i32, true), (1, false), (2, true)] {
        assert_eq!(txn.add().await, 0);
        assert_eq!(txn.produce(n * 2, &["x", "y"]).await, 0);
        let start = i64::from(n) * 3;
        let open = txn.fetch(committed(start)).await;
        assert_eq!(open.last_stable_offset, open.high_watermark - 2, "open records are unstable");
        assert!(values(&open).is_empty());
        txn.end_at(commit, start + 3).await;
    }
    // Apache Kafka begins a new file where timestamps jump, and a fetch ends with its file.
    let mut all = Vec::new();
    for start in [0, 2, 3, 5, 6] {
        all.extend(values(&txn.fetch(Ask::at(start)).await));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "who reads uncommitted records sees all of them");
    let data = txn.fetch(committed(3)).await;
    assert_eq!((data.high_watermark, data.last_stable_offset), (9, 9));
    let aborted = data.aborted_transactions.expect("the list is there");
    let aborted: Vec<_> = aborted.iter().map(|a| (*a.producer_id, a.first_offset)).collect();
    assert_eq!(aborted, [(*txn.producer, 3)]);
    let behind = txn.fetch(committed(6)).await.aborted_transactions;
    assert!(behind.is_none_or(|a| a.is_empty()), "nothing was aborted behind the marker");
}

pub async fn restarted_producers_fence_and_abort(kafka: &KafkaHarness) {
    let mut old = Transactional::new(kafka, "fenced").await;
    assert_eq!(old.add().await, 0);
    assert_eq!(old.produce(0, &["left open"]).await, 0);
    let mut client = coordinator(kafka, "fenced", 1).await;
    let fresh = init_producer(&mut client, Some("fenced")).await;
    assert_eq!(fresh.producer_id, old.producer);
    assert!(fresh.producer_epoch > old.epoch);
    let data = old.fetch(committed(0)).await;
    assert_eq!((data.last_stable_offset, data.high_watermark), (2, 2), "the rest is aborted");
    let aborted = data.aborted_transactions.map_or(0, |a| a.len());
    assert_eq!(aborted, 1);
    assert_eq!(old.produce(1, &["zombie"]).await, INVALID_PRODUCER_EPOCH);
    assert_eq!(old.add().await, PRODUCER_FENCED);
    assert_eq!(old.end(true).await, PRODUCER_FENCED);
    old.producer = ProducerId(*old.producer + 1000);
    assert_eq!(old.end(true).await, INVALID_MAPPING);
}

pub async fn ends_may_be_repeated_but_not_changed(kafka: &KafkaHarness) {
    let mut txn = Transactional::new(kafka, "repeated").await;
    assert_eq!(txn.end(true).await, INVALID_TXN_STATE, "nothing was begun");
    assert_eq!(txn.add().await, 0);
    assert_eq!(txn.produce(0, &["x"]).await, 0);
    txn.end_at(true, 2).await;
    assert_eq!(txn.end(true).await, 0, "the answer was lost");
    assert_eq!(txn.end(false).await, INVALID_TXN_STATE);
    assert_eq!(txn.admin.end_offset("repeated", 0).await, 2, "one marker");
}

pub async fn batches_need_an_open_transaction(kafka: &KafkaHarness) {
    let mut txn = Transactional::new(kafka, "not-added").await;
    assert_eq!(txn.produce(0, &["x"]).await, ABORTABLE);
    assert_eq!(txn.admin.end_offset("not-added", 0).await, 0);
}

pub async fn offsets_wait_for_their_transaction(kafka: &KafkaHarness) {
    let mut txn = Transactional::new(kafka, "waits").await;
    let mut group = coordinator(kafka, "waits-group", 0).await;
    for (n, commit, before, after) in [(5, true, -1, 5), (6, false, 5, 5), (7, true, 5, 7)] {
        assert_eq!(txn.add().await, 0);
        assert_eq!(txn.add_offsets("waits-group", n).await, 0);
        let pending = offsets_of(&mut group, "waits-group", Some("waits"), true).await;
        assert_eq!(pending[0].3, UNSTABLE_OFFSETS);
        let old = offsets_of(&mut group, "waits-group", Some("waits"), false).await;
        assert_eq!((old[0].2, old[0].3), (before, 0));
        assert_eq!(txn.end(commit).await, 0);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let found = offsets_of(&mut group, "waits-group", Some("waits"), true).await;
            if found[0].3 == 0 {
                assert_eq!(found[0].2, after);
                break;
            }
            assert!(Instant::now() < until, "offsets stay pending");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
