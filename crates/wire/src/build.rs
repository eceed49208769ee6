//! Writing batches: for the embedded broker, the demo producer and tests.

use crate::header::{
    CONTROL_BIT, CRC_START, LENGTH_PREFIX, LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT,
};
use crate::varint::{put_varint, put_varlong};
use crate::{BatchHeader, Codec, HEADER_LEN, MAGIC, Result, WireError};
use bytes::Bytes;

/// The idempotent producer of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Producer {
    /// Producer id.
    pub id: i64,
    /// Producer epoch.
    pub epoch: i16,
    /// Sequence number of the batch's first record.
    pub base_sequence: i32,
}

impl Producer {
    /// No idempotent producer.
    pub const NONE: Producer = Producer { id: -1, epoch: -1, base_sequence: -1 };
}

/// Builds one record batch. Records are encoded as they are pushed.
#[derive(Debug, Clone)]
pub struct BatchBuilder {
    base_offset: i64,
    leader_epoch: i32,
    codec: Codec,
    producer: Producer,
    attributes: i16,
    append_time: Option<i64>,
    base_timestamp: Option<i64>,
    max_timestamp: i64,
    last_offset_delta: i32,
    next_delta: i32,
    count: i32,
    body: Vec<u8>,
    scratch: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch whose first record has `base_offset` (0 where a broker assigns offsets).
    pub fn new(base_offset: i64) -> Self {
        BatchBuilder {
            base_offset,
            leader_epoch: -1,
            codec: Codec::None,
            producer: Producer::NONE,
            attributes: 0,
            append_time: None,
            base_timestamp: None,
            max_timestamp: -1,
            last_offset_delta: 0,
            next_delta: 0,
            count: 0,
            body: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Sets the compression.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Sets the partition leader epoch.
    #[must_use]
    pub fn leader_epoch(mut self, epoch: i32) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Sets the idempotent producer.
    #[must_use]
    pub fn producer(mut self, producer: Producer) -> Self {
        self.producer = producer;
        self
    }

    /// Marks the batch as part of a transaction.
    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.attributes |= TRANSACTIONAL_BIT;
        self
    }

    /// Marks the batch as control records.
    #[must_use]
    pub fn control(mut self) -> Self {
        self.attributes |= CONTROL_BIT;
        self
    }

    /// Gives every record the broker's time.
    #[must_use]
    pub fn log_append_time(mut self, timestamp_ms: i64) -> Self {
        self.attributes |= LOG_APPEND_TIME_BIT;
        self.append_time = Some(timestamp_ms);
        self
    }

    /// Makes the batch end at `delta` whatever records it holds, as compaction leaves it. Call it
    /// after the records.
    #[must_use]
    pub fn ends_at_delta(mut self, delta: i32) -> Self {
        self.last_offset_delta = self.last_offset_delta.max(delta);
        self
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        usize::try_from(self.count).unwrap_or(0)
    }

    /// Whether there is no record yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the records so far, before compression.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// Adds a record at the next offset.
    pub fn push(
        &mut self,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        self.push_at(self.next_delta, timestamp_ms, key, value, headers)
    }

    /// Adds a record `delta` offsets behind the base, as compaction leaves holes.
    pub fn push_at(
        &mut self,
        delta: i32,
        timestamp_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) -> &mut Self {
        let base = *self.base_timestamp.get_or_insert(timestamp_ms);
        self.max_timestamp = self.max_timestamp.max(timestamp_ms);
        self.scratch.clear();
        self.scratch.push(0);
        put_varlong(&mut self.scratch, timestamp_ms.wrapping_sub(base));
        put_varint(&mut self.scratch, delta);
        put_nullable(&mut self.scratch, key);
        put_nullable(&mut self.scratch, value);
        put_len(&mut self.scratch, headers.len());
        for (name, content) in headers {
            put_len(&mut self.scratch, name.len());
            self.scratch.extend_from_slice(name.as_bytes());
            put_nullable(&mut self.scratch, *content);
        }
        put_len(&mut self.body, self.scratch.len());
        self.body.extend_from_slice(&self.scratch);
        self.last_offset_delta = self.last_offset_delta.max(delta);
        self.next_delta = delta.saturating_add(1);
        self.count = self.count.saturating_add(1);
        self
    }

    /// The encoded batch with its checksum.
    ///
    /// # Errors
    /// [`WireError`] where the codec fails or the batch is larger than the format can say.
    pub fn build(&self) -> Result<Bytes> {
        let packed;
        let body: &[u8] = match self.codec {
            Codec::None => &self.body,
            codec => {
                packed = codec.compress(&self.body).map_err(|why| WireError::Decompress {
                    offset: self.base_offset,
                    codec: codec.name(),
                    why,
                })?;
                &packed
            }
        };
        let length = i32::try_from(HEADER_LEN - LENGTH_PREFIX + body.len()).map_err(|_| {
            WireError::TooLarge { offset: self.base_offset, limit: i32::MAX as usize }
        })?;
        let mut out = Vec::with_capacity(HEADER_LEN + body.len());
        out.extend_from_slice(&self.base_offset.to_be_bytes());
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.to_be_bytes());
        out.extend_from_slice(&MAGIC.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let attributes = self.attributes | self.codec as i16;
        out.extend_from_slice(&attributes.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.unwrap_or(-1).to_be_bytes());
        out.extend_from_slice(&self.append_time.unwrap_or(self.max_timestamp).to_be_bytes());
        out.extend_from_slice(&self.producer.id.to_be_bytes());
        out.extend_from_slice(&self.producer.epoch.to_be_bytes());
        out.extend_from_slice(&self.producer.base_sequence.to_be_bytes());
        out.extend_from_slice(&self.count.to_be_bytes());
        out.extend_from_slice(body);
        write_crc(&mut out);
        Ok(Bytes::from(out))
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, i32::try_from(len).unwrap_or(i32::MAX));
}

fn put_nullable(out: &mut Vec<u8>, data: Option<&[u8]>) {
    match data {
        None => put_varint(out, -1),
        Some(data) => {
            put_len(out, data.len());
            out.extend_from_slice(data);
        }
    }
}

fn write_crc(batch: &mut [u8]) {
    let crc = crc32c::crc32c(batch.get(CRC_START..).unwrap_or_default());
    put(batch, 17, &crc.to_be_bytes());
}

fn put(batch: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = batch.get_mut(at..at + value.len()) {
        slot.copy_from_slice(value);
    }
}

/// The batch that ends a transaction: one control record.
///
/// # Errors
/// None in practice; the signature is that of [`BatchBuilder::build`].
pub fn control_marker(
    base_offset: i64,
    leader_epoch: i32,
    producer: Producer,
    commit: bool,
    coordinator_epoch: i32,
    timestamp_ms: i64,
) -> Result<Bytes> {
    let key = [0, 0, 0, u8::from(commit)];
    let mut value = [0; 6];
    put(&mut value, 2, &coordinator_epoch.to_be_bytes());
    let mut builder = BatchBuilder::new(base_offset)
        .leader_epoch(leader_epoch)
        .producer(Producer { base_sequence: -1, ..producer })
        .transactional()
        .control();
    builder.push(timestamp_ms, Some(&key), Some(&value), &[]);
    builder.build()
}

/// What a broker does to a producer's batch before it appends it: sets offset and leader epoch
/// (which the checksum does not cover) and, for topics with log append time, the timestamp (which
/// it does).
///
/// # Errors
/// [`WireError`] where `batch` is not one whole batch.
pub fn restamp(
    batch: &mut [u8],
    base_offset: i64,
    leader_epoch: i32,
    log_append_time: Option<i64>,
) -> Result<BatchHeader> {
    let malformed = WireError::Malformed { offset: base_offset, why: "it is not one whole batch" };
    match BatchHeader::parse(batch)? {
        Some(header) if header.length == batch.len() => {
            put(batch, 0, &base_offset.to_be_bytes());
            put(batch, 12, &leader_epoch.to_be_bytes());
            if let Some(timestamp) = log_append_time {
                let attributes = header.attributes | LOG_APPEND_TIME_BIT;
                put(batch, CRC_START, &attributes.to_be_bytes());
                put(batch, 35, &timestamp.to_be_bytes());
                write_crc(batch);
            }
            BatchHeader::parse(batch)?.ok_or(malformed)
        }
        _ => Err(malformed),
    }
}
