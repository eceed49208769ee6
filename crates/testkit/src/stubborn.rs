//! A producer that outlives its brokers: every batch has a sequence number and is sent until it is
//! acknowledged, so that a record that was sent is in the log once, whatever broke on the way.

use crate::admin::topic_name;
use crate::client::Client;
use crate::producer::{TestRecord, encode};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    InitProducerIdRequest, MetadataRequest, MetadataResponse, ProduceRequest, ProducerId,
};
use millstream_wire::{Codec, Producer as ProducerState};
use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

/// How long one batch may take, with all the deaths of brokers meanwhile.
const PATIENCE: Duration = Duration::from_secs(180);
const PAUSE: Duration = Duration::from_millis(50);
/// Highest Produce version in which topics are named rather than identified.
const BY_NAME: i16 = 12;
/// `DUPLICATE_SEQUENCE_NUMBER`: the batch is in the log, and its first answer was lost.
const DUPLICATE: i16 = 46;
/// Errors of an order that is broken for good: waiting cannot help, and hiding them would hide a
/// lost or a doubled batch.
const FATAL: [i16; 4] = [45, 47, 59, 90];

/// An idempotent producer to one topic.
#[derive(Debug)]
pub struct StubbornProducer {
    bootstrap: String,
    topic: String,
    id: ProducerId,
    epoch: i16,
    /// The next sequence number of each partition.
    sequences: HashMap<i32, i32>,
    leaders: HashMap<i32, Client>,
    repeated: u64,
}

impl StubbornProducer {
    /// A producer with an id of its own.
    pub async fn connect(bootstrap: &str, topic: &str) -> StubbornProducer {
        let mut client = Client::connect(bootstrap).await.expect("a broker answers");
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let until = Instant::now() + PATIENCE;
        let (id, epoch) = loop {
            let answer = client.call_up_to(&request, 4).await.expect("InitProducerId is answered");
            match answer.error_code {
                0 => break (answer.producer_id, answer.producer_epoch),
                // The coordinator is still loading.
                14..=16 => assert!(Instant::now() < until, "no producer id"),
                code => panic!("no producer id: error {code}"),
            }
            tokio::time::sleep(PAUSE).await;
        };
        StubbornProducer {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            id,
            epoch,
            sequences: HashMap::new(),
            leaders: HashMap::new(),
            repeated: 0,
        }
    }

    /// Batches that were sent more than once.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Appends one batch, however often it has to be sent.
    pub async fn produce(&mut self, partition: i32, records: &[TestRecord], codec: Codec) {
        let sequence = self.sequences.entry(partition).or_insert(0);
        let state = ProducerState { id: *self.id, epoch: self.epoch, base_sequence: *sequence };
        *sequence += i32::try_from(records.len()).expect("records of one batch");
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(encode(records, codec, state)));
        let topic = TopicProduceData::default()
            .with_name(topic_name(&self.topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(5_000)
            .with_topic_data(vec![topic]);
        let until = Instant::now() + PATIENCE;
        let mut failure = String::new();
        for attempt in 0_u64.. {
            match self.send(partition, &request).await {
                Ok(0 | DUPLICATE) => return,
                Ok(code) => {
                    assert!(!FATAL.contains(&code), "the log's order is broken: error {code}");
                    failure = format!("error {code}");
                }
                Err(error) => failure = error.to_string(),
            }
            self.leaders.remove(&partition);
            self.repeated += u64::from(attempt == 0);
            assert!(Instant::now() < until, "{}-{partition}: {failure}", self.topic);
            tokio::time::sleep(PAUSE).await;
        }
        unreachable!("{failure}");
    }

    async fn send(&mut self, partition: i32, request: &ProduceRequest) -> io::Result<i16> {
        if !self.leaders.contains_key(&partition) {
            let leader = self.leader(partition).await?;
            self.leaders.insert(partition, leader);
        }
        let leader = self.leaders.get_mut(&partition).expect("inserted above");
        let answer = leader.call_up_to(request, BY_NAME).await?;
        Ok(answer.responses[0].partition_responses[0].error_code)
    }

    async fn leader(&self, partition: i32) -> io::Result<Client> {
        let mut client = Client::connect(&self.bootstrap).await?;
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&self.topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let answer: MetadataResponse = client.call(&request).await?;
        let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
        let leader = partitions
            .filter(|p| p.partition_index == partition)
            .find_map(|p| answer.brokers.iter().find(|b| b.node_id == p.leader_id))
            .ok_or_else(|| io::Error::other("no leader"))?;
        Client::connect(&format!("{}:{}", leader.host, leader.port)).await
    }
}
