//! The mark: a second `txn` beside the query's own, whose version carries 48 bits of the intent's
//! digest, so that the table still says *which* batch N it has when its entry is long cleaned up.
//!
//! The version is (N mod 2^15) * 2^48 + the low 48 bits of the digest. It is not monotone, on
//! purpose. A mark whose low bits of N are not those of the query's `txn` is stale: another engine
//! went on.

use millstream_core::ids::{BatchId, Digest, QueryId};

const DIGEST_BITS: u32 = 48;
const BATCH_MASK: u64 = (1 << 15) - 1;
const DIGEST_MASK: u64 = (1 << DIGEST_BITS) - 1;

/// What the application id of a query's mark ends with.
pub const MARK_SUFFIX: &str = "#millstream";

/// The application id of a query's mark.
pub(crate) fn app_id(query: QueryId) -> String {
    format!("{query}{MARK_SUFFIX}")
}

/// Whether an application id is a mark's.
pub(crate) fn is_mark(app_id: &str) -> bool {
    app_id.ends_with(MARK_SUFFIX)
}

/// The version of the query's own `txn`.
pub(crate) fn version_of(batch: BatchId) -> i64 {
    i64::try_from(batch.0).unwrap_or(i64::MAX)
}

/// The mark's version.
pub(crate) fn encode(batch: BatchId, digest: Digest) -> i64 {
    let value = ((batch.0 & BATCH_MASK) << DIGEST_BITS) | (digest.low_48_bits() & DIGEST_MASK);
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The digest bits of a mark of `batch`; `None` if the mark is of another batch.
pub(crate) fn decode(version: i64, batch: BatchId) -> Option<u64> {
    let value = u64::try_from(version).ok()?;
    (value >> DIGEST_BITS == batch.0 & BATCH_MASK).then_some(value & DIGEST_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_mark_is_read_back_for_its_batch_only(batch in 0..u64::MAX / 2, bytes: [u8; 32]) {
            let (batch, digest) = (BatchId(batch), Digest(bytes));
            let version = encode(batch, digest);
            prop_assert!(version >= 0);
            prop_assert_eq!(decode(version, batch), Some(digest.low_48_bits()));
            prop_assert_eq!(decode(version, batch.next()), None);
            prop_assert_eq!(decode(version, BatchId(batch.0 + (1 << 15))), Some(digest.low_48_bits()));
        }
    }

    #[test]
    fn marks_have_the_written_layout() {
        let mut bytes = [0xff; 32];
        bytes[26..].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        assert_eq!(encode(BatchId(0x1_0002), Digest(bytes)), 0x0002_0102_0304_0506);
    }
}
