//! Records into either broker, one batch per call, without any client library.

use crate::admin::{Admin, topic_name};
use crate::client::Client;
use bytes::Bytes;
use kafka_protocol::messages::ProduceRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use millstream_wire::{BatchBuilder, Codec, Producer as ProducerState};
use std::collections::HashMap;

/// Highest Produce version in which topics are named rather than identified.
const BY_NAME: i16 = 12;

/// One record to produce.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TestRecord {
    /// Key, or none.
    pub key: Option<Vec<u8>>,
    /// Value, or none: a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; names may repeat.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl TestRecord {
    /// A record with a value and nothing else, at time 0.
    pub fn value(value: impl Into<Vec<u8>>) -> Self {
        TestRecord { value: Some(value.into()), ..TestRecord::default() }
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn at(mut self, timestamp_ms: i64) -> Self {
        self.timestamp_ms = timestamp_ms;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: Option<&[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// Produces to any partition of a cluster.
#[derive(Debug)]
pub struct Producer {
    admin: Admin,
    leaders: HashMap<(String, i32), Client>,
}

impl Producer {
    /// Connects to a cluster.
    pub async fn connect(bootstrap: &str) -> Producer {
        Producer { admin: Admin::connect(bootstrap).await, leaders: HashMap::new() }
    }

    /// Produces one batch and returns the offset of its first record.
    pub async fn produce(
        &mut self,
        topic: &str,
        partition: i32,
        records: &[TestRecord],
        codec: Codec,
    ) -> i64 {
        let batch = encode(records, codec, ProducerState::NONE);
        self.produce_batch(topic, partition, batch).await.expect("the batch is accepted")
    }

    /// Produces one encoded batch: its offset, or the broker's error code.
    ///
    /// # Errors
    /// The broker's error code.
    pub async fn produce_batch(
        &mut self,
        topic: &str,
        partition: i32,
        batch: Bytes,
    ) -> Result<i64, i16> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic_data = TopicProduceData::default()
            .with_name(topic_name(topic))
            .with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(20_000)
            .with_topic_data(vec![topic_data]);
        let key = (topic.to_owned(), partition);
        if !self.leaders.contains_key(&key) {
            let leader = self.admin.leader(topic, partition).await;
            self.leaders.insert(key.clone(), leader);
        }
        let leader = self.leaders.get_mut(&key).expect("inserted above");
        let answer = match leader.call_up_to(&request, BY_NAME).await {
            Ok(answer) => answer,
            Err(error) => {
                self.leaders.remove(&key);
                panic!("Produce to {topic}-{partition}: {error}");
            }
        };
        let p = &answer.responses[0].partition_responses[0];
        if p.error_code == 0 {
            return Ok(p.base_offset);
        }
        self.leaders.remove(&key);
        Err(p.error_code)
    }
}

/// One batch of records.
pub fn encode(records: &[TestRecord], codec: Codec, producer: ProducerState) -> Bytes {
    build(BatchBuilder::new(0).codec(codec).producer(producer), records)
}

/// One batch of records of a transaction.
pub(crate) fn encode_within(records: &[TestRecord], producer: ProducerState) -> Bytes {
    build(BatchBuilder::new(0).producer(producer).transactional(), records)
}

fn build(mut builder: BatchBuilder, records: &[TestRecord]) -> Bytes {
    for r in records {
        let headers: Vec<(&str, Option<&[u8]>)> =
            r.headers.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect();
        builder.push(r.timestamp_ms, r.key.as_deref(), r.value.as_deref(), &headers);
    }
    builder.build().expect("records that fit a batch")
}
