//! The fixed 61 bytes at the front of a record batch.

use crate::{Codec, Result, WireError};

/// Length of a batch header in bytes.
pub const HEADER_LEN: usize = 61;
/// The only message format this crate reads and writes.
pub const MAGIC: i8 = 2;
/// Bytes in front of what `batch_length` counts.
pub(crate) const LENGTH_PREFIX: usize = 12;
/// Where the bytes start that the checksum covers.
pub(crate) const CRC_START: usize = 21;

const TIMESTAMP_TYPE_BIT: i16 = 0b1000;
pub(crate) const TRANSACTIONAL_BIT: i16 = 0b1_0000;
pub(crate) const CONTROL_BIT: i16 = 0b10_0000;
pub(crate) const LOG_APPEND_TIME_BIT: i16 = TIMESTAMP_TYPE_BIT;
const CODEC_BITS: i16 = 0b111;

/// Who set a record's timestamp. The numbers are those of Kafka and of Spark's `timestampType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    CreateTime = 0,
    /// The broker.
    LogAppendTime = 1,
}

/// A parsed batch header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the batch's first position (compaction may have removed that record).
    pub base_offset: i64,
    /// Length of the batch in bytes, header included.
    pub length: usize,
    /// Leader epoch under which the batch was appended; -1 if unknown.
    pub leader_epoch: i32,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Codec, timestamp type, transactional and control bits.
    pub attributes: i16,
    /// Distance from the base offset to the last position of the batch.
    pub last_offset_delta: i32,
    /// Timestamp that record deltas are added to.
    pub base_timestamp: i64,
    /// Greatest timestamp; with log append time that of every record.
    pub max_timestamp: i64,
    /// Id of an idempotent producer; -1 if there is none.
    pub producer_id: i64,
    /// Its epoch; -1 if there is none.
    pub producer_epoch: i16,
    /// Sequence number of the first record; -1 if there is none.
    pub base_sequence: i32,
    /// Number of records that are present.
    pub record_count: i32,
}

fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..)?.first_chunk::<N>().copied()
}

impl BatchHeader {
    /// Parses the header at the front of `data`. `None` where the header itself is cut off.
    ///
    /// # Errors
    /// [`WireError::OldMagic`], [`WireError::UnknownMagic`], or [`WireError::Malformed`] where
    /// the numbers of the header contradict each other.
    pub fn parse(data: &[u8]) -> Result<Option<BatchHeader>> {
        let (Some(base), Some(length), Some(magic)) =
            (bytes(data, 0), bytes(data, 8), data.get(16).copied())
        else {
            return Ok(None);
        };
        let base_offset = i64::from_be_bytes(base);
        let length = i32::from_be_bytes(length);
        let malformed = |why| WireError::Malformed { offset: base_offset, why };
        let magic = i8::from_be_bytes([magic]);
        match magic {
            MAGIC => {}
            0 | 1 => return Err(WireError::OldMagic { magic, offset: base_offset }),
            _ => return Err(WireError::UnknownMagic { magic, offset: base_offset }),
        }
        let length = usize::try_from(length)
            .ok()
            .filter(|l| l + LENGTH_PREFIX >= HEADER_LEN)
            .ok_or_else(|| malformed("its length is shorter than a header"))?;
        let Some(header) = Self::fixed_fields(data, base_offset, length + LENGTH_PREFIX) else {
            return Ok(None);
        };
        if base_offset < 0 || base_offset.checked_add(1 << 32).is_none() {
            return Err(malformed("its base offset is out of range"));
        }
        if header.last_offset_delta < 0 {
            return Err(malformed("its last offset is before its first"));
        }
        if header.record_count < 0 {
            return Err(malformed("its record count is negative"));
        }
        Ok(Some(header))
    }

    fn fixed_fields(data: &[u8], base_offset: i64, length: usize) -> Option<BatchHeader> {
        Some(BatchHeader {
            base_offset,
            length,
            leader_epoch: i32::from_be_bytes(bytes(data, 12)?),
            crc: u32::from_be_bytes(bytes(data, 17)?),
            attributes: i16::from_be_bytes(bytes(data, 21)?),
            last_offset_delta: i32::from_be_bytes(bytes(data, 23)?),
            base_timestamp: i64::from_be_bytes(bytes(data, 27)?),
            max_timestamp: i64::from_be_bytes(bytes(data, 35)?),
            producer_id: i64::from_be_bytes(bytes(data, 43)?),
            producer_epoch: i16::from_be_bytes(bytes(data, 51)?),
            base_sequence: i32::from_be_bytes(bytes(data, 53)?),
            record_count: i32::from_be_bytes(bytes(data, 57)?),
        })
    }

    /// Offset of the batch's last position.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// The offset to fetch after this batch, whatever records it still holds.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// [`WireError::UnknownCodec`].
    pub fn codec(&self) -> Result<Codec> {
        let id = u8::try_from(self.attributes & CODEC_BITS).unwrap_or(u8::MAX);
        Codec::from_id(id).ok_or(WireError::UnknownCodec { offset: self.base_offset, id })
    }

    /// Who set the timestamps.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & TIMESTAMP_TYPE_BIT == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds control records, which readers never see.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }
}
