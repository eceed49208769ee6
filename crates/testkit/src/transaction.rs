//! A transactional producer on the protocol's own messages: it begins, writes, commits, aborts, or
//! leaves its transaction open.

use crate::admin::{Admin, text, topic_name};
use crate::client::Client;
use crate::producer::{TestRecord, encode_within};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProduceRequest, ProducerId, TransactionalId,
};
use millstream_wire::Producer as ProducerState;
use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

const SETTLE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
const TIMEOUT_MS: i32 = 600_000;
/// `CONCURRENT_TRANSACTIONS`: the transaction before is still being ended.
const CONCURRENT: i16 = 51;
/// The last version of Produce in which a transaction's partitions are named beforehand.
const PRODUCE: i16 = 11;
const TRANSACTION: i16 = 3;

/// A producer with a transactional id.
#[derive(Debug)]
pub struct Transactional {
    admin: Admin,
    coordinator: Client,
    id: String,
    producer: ProducerId,
    epoch: i16,
    sequences: HashMap<(String, i32), i32>,
    /// What the transaction that is open has written to.
    open: BTreeSet<(String, i32)>,
}

impl Transactional {
    /// A producer whose transactions stay open for ten minutes.
    pub async fn connect(bootstrap: &str, id: &str) -> Transactional {
        let mut coordinator = coordinator(bootstrap, id).await;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(TIMEOUT_MS)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let until = Instant::now() + SETTLE;
        loop {
            let answer = coordinator.call_at(&request, 4).await.expect("it is answered");
            if answer.error_code == 0 {
                return Transactional {
                    admin: Admin::connect(bootstrap).await,
                    coordinator,
                    id: id.to_owned(),
                    producer: answer.producer_id,
                    epoch: answer.producer_epoch,
                    sequences: HashMap::new(),
                    open: BTreeSet::new(),
                };
            }
            assert!(Instant::now() < until, "no producer id: error {}", answer.error_code);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes one batch within the transaction, which begins with its first batch. Returns the
    /// offset of its first record.
    pub async fn produce(&mut self, topic: &str, partition: i32, records: &[TestRecord]) -> i64 {
        self.add(topic, partition).await;
        self.open.insert((topic.to_owned(), partition));
        let sequence = self.sequences.entry((topic.to_owned(), partition)).or_insert(0);
        let state =
            ProducerState { id: *self.producer, epoch: self.epoch, base_sequence: *sequence };
        *sequence += i32::try_from(records.len()).expect("records of one batch");
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(encode_within(records, state)));
        let data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text(self.id.as_str()))))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let mut leader = self.admin.leader(topic, partition).await;
        let answer = leader.call_at(&request, PRODUCE).await.expect("Produce is answered");
        let result = &answer.responses[0].partition_responses[0];
        assert_eq!(result.error_code, 0, "{topic}-{partition} within a transaction");
        result.base_offset
    }

    async fn add(&mut self, topic: &str, partition: i32) {
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(self.id.as_str())))
            .with_v3_and_below_producer_id(self.producer)
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let until = Instant::now() + SETTLE;
        loop {
            let answer =
                self.coordinator.call_at(&request, TRANSACTION).await.expect("it is answered");
            let result = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
            match result.partition_error_code {
                0 => return,
                CONCURRENT => assert!(Instant::now() < until, "the last transaction never ends"),
                code => panic!("a partition is not added: error {code}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Commits, and waits until the marker of each partition is in the log.
    pub async fn commit(&mut self) {
        self.end(true).await;
    }

    /// Aborts, and waits until the marker of each partition is in the log.
    pub async fn abort(&mut self) {
        self.end(false).await;
    }

    async fn end(&mut self, commit: bool) {
        let mut markers = Vec::new();
        for (topic, partition) in std::mem::take(&mut self.open) {
            let end = self.admin.end_offset(&topic, partition).await;
            markers.push((topic, partition, end + 1));
        }
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text(self.id.as_str())))
            .with_producer_id(self.producer)
            .with_producer_epoch(self.epoch)
            .with_committed(commit);
        let until = Instant::now() + SETTLE;
        loop {
            let answer =
                self.coordinator.call_at(&request, TRANSACTION).await.expect("it is answered");
            match answer.error_code {
                0 => break,
                CONCURRENT => assert!(Instant::now() < until, "the transaction never ends"),
                code => panic!("the transaction does not end: error {code}"),
            }
            tokio::time::sleep(PAUSE).await;
        }
        for (topic, partition, end) in markers {
            while self.admin.end_offset(&topic, partition).await < end {
                assert!(Instant::now() < until, "the marker of {topic}-{partition} never comes");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn coordinator(bootstrap: &str, id: &str) -> Client {
    let mut client = Client::connect(bootstrap).await.expect("a broker answers");
    let request =
        FindCoordinatorRequest::default().with_key_type(1).with_coordinator_keys(vec![text(id)]);
    let until = Instant::now() + SETTLE;
    loop {
        let answer = client.call(&request).await.expect("FindCoordinator is answered");
        let found = &answer.coordinators[0];
        if found.error_code == 0 {
            let address = format!("{}:{}", found.host, found.port);
            return Client::connect(&address).await.expect("the coordinator answers");
        }
        // Kafka creates its internal topic on the first question.
        assert!(Instant::now() < until, "no coordinator: error {}", found.error_code);
        tokio::time::sleep(PAUSE).await;
    }
}
