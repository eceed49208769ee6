//! Kafka record batches, message format v2: headers, checksums, codecs, records as slices.
//!
//! Reading borrows: a fetch answer's bytes are walked batch by batch ([`Batches`]), a batch's
//! records are slices of those bytes or of one reused decompression buffer ([`Decompressor`]).
//! Nothing is allocated per record. Writing ([`BatchBuilder`]) serves the embedded broker, the
//! demo producer and tests.
//!
//! Invariant: no input makes this crate panic or allocate beyond the caller's limit; what is not
//! a batch of format v2 ends in a [`WireError`].
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod batch;
mod build;
mod codec;
mod header;
mod record;
mod varint;

pub use batch::{Batch, Batches};
pub use build::{BatchBuilder, Producer, control_marker, restamp};
pub use codec::{Codec, Decompressor};
pub use header::{BatchHeader, HEADER_LEN, MAGIC, TimestampType};
pub use record::{ControlType, Header, Headers, Record, Records};

/// Why bytes are not a readable record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Formats v0 and v1 (before Kafka 0.11) are not read.
    #[error(
        "message format v{magic} at offset {offset} is not supported; only record batches v2 are \
         (written by default since Kafka 0.11)"
    )]
    OldMagic {
        /// The magic byte: 0 or 1.
        magic: i8,
        /// Base offset of the message set.
        offset: i64,
    },
    /// A format newer than this crate.
    #[error("record batch at offset {offset} has unknown format v{magic}")]
    UnknownMagic {
        /// The magic byte.
        magic: i8,
        /// Base offset of the batch.
        offset: i64,
    },
    /// The batch's bytes are not those its producer or broker wrote.
    #[error(
        "record batch at offset {offset} has CRC32C {actual:#010x} where its header says \
         {expected:#010x}"
    )]
    Checksum {
        /// Base offset of the batch.
        offset: i64,
        /// CRC32C of the header.
        expected: u32,
        /// CRC32C of the bytes.
        actual: u32,
    },
    /// Codec bits without a meaning.
    #[error("record batch at offset {offset} has unknown compression codec {id}")]
    UnknownCodec {
        /// Base offset of the batch.
        offset: i64,
        /// The three codec bits.
        id: u8,
    },
    /// Compressed bytes that do not decompress.
    #[error("record batch at offset {offset}: {codec} data does not decompress: {why}")]
    Decompress {
        /// Base offset of the batch.
        offset: i64,
        /// Name of the codec.
        codec: &'static str,
        /// The codec's own words.
        why: String,
    },
    /// A batch that would become larger than the caller allows.
    #[error("record batch at offset {offset} decompresses to more than {limit} bytes")]
    TooLarge {
        /// Base offset of the batch.
        offset: i64,
        /// The caller's limit in bytes.
        limit: usize,
    },
    /// Lengths or counts that contradict each other.
    #[error("record batch at offset {offset} is malformed: {why}")]
    Malformed {
        /// Base offset of the batch.
        offset: i64,
        /// What does not fit.
        why: &'static str,
    },
}

/// The result of reading or writing batches.
pub type Result<T, E = WireError> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
