//! Records of a batch as slices.

use crate::varint::Reader;
use crate::{BatchHeader, Result, TimestampType, WireError};

/// One record. Slices live as long as the fetch answer or the decompression buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch, by the batch's timestamp type; -1 if the producer gave none.
    pub timestamp: i64,
    /// Key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// Value; `None` is null (a tombstone).
    pub value: Option<&'a [u8]>,
    /// Headers, parsed when they are asked for.
    pub headers: Headers<'a>,
}

/// The headers of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: u32,
    data: &'a [u8],
    offset: i64,
}

/// One header: a key that need not be unique, and a value that may be null.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Key bytes: UTF-8 by Kafka's rules, which this crate does not check.
    pub key: &'a [u8],
    /// Value; `None` is null.
    pub value: Option<&'a [u8]>,
}

impl<'a> Headers<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Bytes they take in the record.
    pub fn byte_len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The headers in order. Ends with an error where the bytes do not hold what the count says.
    pub fn iter(&self) -> impl Iterator<Item = Result<Header<'a>>> + use<'a> {
        let mut reader = Reader::new(self.data);
        let (count, offset) = (self.count, self.offset);
        let mut seen = 0;
        std::iter::from_fn(move || {
            if seen == count {
                return None;
            }
            seen += 1;
            let header = Self::one(&mut reader);
            if header.is_none() {
                seen = count;
            }
            Some(header.ok_or(WireError::Malformed { offset, why: "a header is cut off" }))
        })
    }

    fn one(reader: &mut Reader<'a>) -> Option<Header<'a>> {
        let key_len = usize::try_from(reader.varint()?).ok()?;
        let key = reader.take(key_len)?;
        Some(Header { key, value: reader.nullable_bytes()? })
    }
}

/// The records of one batch, in offset order. Ends after the header's count, or with an error.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    reader: Reader<'a>,
    left: i32,
    base_offset: i64,
    last_offset_delta: i32,
    base_timestamp: i64,
    /// Set where the broker's append time stands for every record.
    append_time: Option<i64>,
}

impl<'a> Records<'a> {
    pub(crate) fn new(header: &BatchHeader, plain: &'a [u8]) -> Self {
        let append_time = (header.timestamp_type() == TimestampType::LogAppendTime)
            .then_some(header.max_timestamp);
        Records {
            reader: Reader::new(plain),
            left: header.record_count,
            base_offset: header.base_offset,
            last_offset_delta: header.last_offset_delta,
            base_timestamp: header.base_timestamp,
            append_time,
        }
    }

    #[inline]
    fn one(&mut self) -> Option<Record<'a>> {
        let len = usize::try_from(self.reader.varint()?).ok()?;
        let mut body = Reader::new(self.reader.take(len)?);
        let _attributes = body.byte()?;
        let timestamp_delta = body.varlong()?;
        let offset_delta = body.varint()?;
        if !(0..=self.last_offset_delta).contains(&offset_delta) {
            return None;
        }
        let key = body.nullable_bytes()?;
        let value = body.nullable_bytes()?;
        let count = u32::try_from(body.varint()?).ok()?;
        let data = body.rest();
        // A header takes two bytes at least.
        if (count as usize) > data.len() / 2 {
            return None;
        }
        let offset = self.base_offset + i64::from(offset_delta);
        Some(Record {
            offset,
            timestamp: self
                .append_time
                .unwrap_or_else(|| self.base_timestamp.wrapping_add(timestamp_delta)),
            key,
            value,
            headers: Headers { count, data, offset },
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let malformed = |why| Some(Err(WireError::Malformed { offset: self.base_offset, why }));
        if self.left <= 0 {
            if self.left == 0 && !self.reader.rest().is_empty() {
                self.left = -1;
                return malformed("bytes are left behind its last record");
            }
            return None;
        }
        match self.one() {
            Some(record) => {
                self.left -= 1;
                Some(Ok(record))
            }
            None => {
                self.left = -1;
                Some(Err(WireError::Malformed {
                    offset: self.base_offset,
                    why: "a record contradicts its length",
                }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The header's count is not trusted for memory: a record takes seven bytes at least.
        let left = usize::try_from(self.left).unwrap_or(0).min(self.reader.rest().len() / 7);
        (0, Some(left + 1))
    }
}

/// What a control record says, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The producer's transaction was aborted.
    Abort,
    /// The producer's transaction was committed.
    Commit,
    /// Anything else (leader changes, snapshots of the metadata log, future types).
    Other(i16),
}

impl ControlType {
    /// Reads the key of a control record; `None` where it is too short to be one.
    pub fn parse(key: Option<&[u8]>) -> Option<ControlType> {
        let number = key?.get(2..)?.first_chunk::<2>().copied().map(i16::from_be_bytes)?;
        Some(match number {
            0 => ControlType::Abort,
            1 => ControlType::Commit,
            other => ControlType::Other(other),
        })
    }
}
