//! A minimal Kafka producer for the demo: one connection, uncompressed batches, every answer
//! awaited, so that the ledger knows the offset of each record.

use super::orders::Record;
use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use kafka_protocol::records::{
    Compression, Record as WireRecord, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};
use millstream_core::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Flexible, and still by topic name.
const PRODUCE_VERSION: i16 = 9;
const TIMEOUT_MS: i32 = 30_000;
const ANSWER_BYTES_MAX: u32 = 1 << 20;

/// A connection that produces to one topic.
pub struct Producer {
    connection: TcpStream,
    topic: String,
    next_correlation: i32,
}

impl Producer {
    /// Connects to `address`.
    ///
    /// # Errors
    /// `DEMO_PRODUCE_FAILED` where nobody listens there.
    pub async fn connect(address: &str, topic: &str) -> Result<Self> {
        let connection = TcpStream::connect(address).await.map_err(failed)?;
        connection.set_nodelay(true).map_err(failed)?;
        Ok(Producer { connection, topic: topic.to_owned(), next_correlation: 1 })
    }

    /// Appends `records` to `partition` and answers the offset of the first.
    ///
    /// # Errors
    /// `DEMO_PRODUCE_FAILED` where the broker refuses or cannot be reached.
    pub async fn send(&mut self, partition: i32, records: &[Record], now_ms: i64) -> Result<i64> {
        let request = self.request(partition, records, now_ms)?;
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::Produce as i16)
            .with_request_api_version(PRODUCE_VERSION)
            .with_correlation_id(self.next_correlation)
            .with_client_id(Some(StrBytes::from_static_str("millstream-demo")));
        self.next_correlation = self.next_correlation.wrapping_add(1);
        header
            .encode(&mut frame, ProduceRequest::header_version(PRODUCE_VERSION))
            .and_then(|()| request.encode(&mut frame, PRODUCE_VERSION))
            .map_err(failed)?;
        let length = u32::try_from(frame.len()).map_err(failed)?;
        self.connection.write_all(&length.to_be_bytes()).await.map_err(failed)?;
        self.connection.write_all(&frame).await.map_err(failed)?;
        first_offset(self.answer().await?)
    }

    fn request(&self, partition: i32, records: &[Record], now_ms: i64) -> Result<ProduceRequest> {
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        let wire: Vec<WireRecord> =
            records.iter().zip(0i32..).map(|(record, n)| wire_record(record, n, now_ms)).collect();
        let mut batch = BytesMut::new();
        RecordBatchEncoder::encode(&mut batch, wire.iter(), &options).map_err(failed)?;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(batch.freeze()));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(self.topic.clone())))
            .with_partition_data(vec![data]);
        Ok(ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(TIMEOUT_MS)
            .with_topic_data(vec![topic]))
    }

    async fn answer(&mut self) -> Result<Bytes> {
        let mut length = [0u8; 4];
        self.connection.read_exact(&mut length).await.map_err(failed)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES_MAX {
            return Err(failed(format!("an answer of {length} bytes")));
        }
        let mut body = vec![0u8; length as usize];
        self.connection.read_exact(&mut body).await.map_err(failed)?;
        Ok(Bytes::from(body))
    }
}

fn wire_record(record: &Record, n: i32, now_ms: i64) -> WireRecord {
    WireRecord {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: i64::from(n),
        // The encoder wants sequences in step with offsets; the batch then starts at -1, which is
        // how a batch without a producer id says that it has none.
        sequence: n - 1,
        timestamp: now_ms,
        key: Some(Bytes::copy_from_slice(&record.key)),
        value: record.value.as_deref().map(Bytes::copy_from_slice),
        headers: indexmap::IndexMap::new(),
    }
}

fn first_offset(mut answer: Bytes) -> Result<i64> {
    let header_version = ProduceResponse::header_version(PRODUCE_VERSION);
    ResponseHeader::decode(&mut answer, header_version).map_err(failed)?;
    let response = ProduceResponse::decode(&mut answer, PRODUCE_VERSION).map_err(failed)?;
    if answer.has_remaining() {
        return Err(failed("an answer that is longer than it should be"));
    }
    let partition = response.responses.first().and_then(|t| t.partition_responses.first());
    match partition {
        Some(p) if p.error_code == 0 => Ok(p.base_offset),
        Some(p) => Err(failed(format!("the broker answers error {}", p.error_code))),
        None => Err(failed("an empty answer")),
    }
}

fn failed(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable("DEMO_PRODUCE_FAILED", "The demo could not produce to its broker.")
        .caused_by(cause)
}
