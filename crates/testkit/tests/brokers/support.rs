//! Single requests with the plain protocol client, and Kafka's error codes by name.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_testkit::Client;
use millstream_wire::{Batches, Decompressor};
use uuid::Uuid;

pub const OFFSET_OUT_OF_RANGE: i16 = 1;
pub const CORRUPT_MESSAGE: i16 = 2;
pub const UNKNOWN_TOPIC: i16 = 3;
pub const TOO_LARGE: i16 = 10;
pub const INVALID_TOPIC: i16 = 17;
pub const TOPIC_EXISTS: i16 = 36;
pub const INVALID_PARTITIONS: i16 = 37;
pub const INVALID_REPLICATION: i16 = 38;
pub const INVALID_CONFIG: i16 = 40;
pub const OUT_OF_ORDER: i16 = 45;
pub const INVALID_PRODUCER_EPOCH: i16 = 47;
pub const INVALID_TXN_STATE: i16 = 48;
pub const INVALID_MAPPING: i16 = 49;
pub const FENCED_EPOCH: i16 = 74;
pub const UNKNOWN_EPOCH: i16 = 75;
pub const SESSION_UNKNOWN: i16 = 70;
pub const INVALID_RECORD: i16 = 87;
pub const UNSTABLE_OFFSETS: i16 = 88;
pub const PRODUCER_FENCED: i16 = 90;
pub const UNKNOWN_TOPIC_ID: i16 = 100;
pub const ABORTABLE: i16 = 120;

pub fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub fn name(s: &str) -> TopicName {
    TopicName(text(s))
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy)]
pub struct Ask {
    pub offset: i64,
    pub max_bytes: i32,
    pub min_bytes: i32,
    pub wait_ms: i32,
    pub committed_only: bool,
    pub epoch: i32,
    pub fetched_epoch: i32,
    pub session: i32,
}

impl Ask {
    pub fn at(offset: i64) -> Ask {
        Ask {
            offset,
            max_bytes: 1 << 20,
            min_bytes: 0,
            wait_ms: 0,
            committed_only: false,
            epoch: -1,
            fetched_epoch: -1,
            session: 0,
        }
    }
}

pub async fn fetch(
    client: &mut Client,
    topic: &str,
    id: Uuid,
    version: i16,
    ask: Ask,
) -> Result<PartitionData, i16> {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(ask.offset)
        .with_current_leader_epoch(ask.epoch)
        .with_last_fetched_epoch(ask.fetched_epoch)
        .with_partition_max_bytes(ask.max_bytes);
    let topic = FetchTopic::default()
        .with_topic(if version < 13 { name(topic) } else { TopicName::default() })
        .with_topic_id(if version < 13 { Uuid::nil() } else { id })
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(ask.wait_ms)
        .with_min_bytes(ask.min_bytes)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(i8::from(ask.committed_only))
        .with_session_id(ask.session)
        .with_session_epoch(if ask.session == 0 { -1 } else { 1 })
        .with_topics(vec![topic]);
    let answer = client.call_at(&request, version).await.expect("Fetch is answered");
    if answer.error_code != 0 {
        return Err(answer.error_code);
    }
    let partition = answer.responses[0].partitions[0].clone();
    if partition.error_code == 0 { Ok(partition) } else { Err(partition.error_code) }
}

/// The values of the whole batches of an answer.
pub fn values(data: &PartitionData) -> Vec<(i64, Vec<u8>)> {
    let records = data.records.clone().unwrap_or_default();
    let mut decompressor = Decompressor::new(64 << 20);
    let mut out = Vec::new();
    for batch in Batches::new(&records) {
        let batch = batch.expect("a batch");
        batch.verify().expect("its checksum");
        if batch.header.is_control() {
            continue;
        }
        for record in batch.records(&mut decompressor).expect("its records") {
            let record = record.expect("a record");
            out.push((record.offset, record.value.unwrap_or_default().to_vec()));
        }
    }
    out
}
