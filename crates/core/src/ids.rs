//! Identifiers as newtypes, so that a batch number is never taken for an epoch.

use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id! {
    /// A checkpoint's id, from its `metadata` file; the `appId` of the sink's `txn`.
    QueryId
}
uuid_id! {
    /// One life of a process on a checkpoint.
    RunId
}
uuid_id! {
    /// One execution of a batch. A batch may have several, of which at most one is committed.
    AttemptId
}
number_id! {
    /// Batch number, from 0.
    BatchId
}
number_id! {
    /// Number of a run's claim on a checkpoint; the highest one is the run that may go on.
    Epoch
}

impl BatchId {
    /// The batch after this one.
    #[must_use]
    pub fn next(self) -> BatchId {
        BatchId(self.0 + 1)
    }

    /// The batch before this one; `None` for batch 0.
    pub fn previous(self) -> Option<BatchId> {
        self.0.checked_sub(1).map(BatchId)
    }
}

/// SHA-256 of an intent file, in lower-case hexadecimal when printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Digest(sha2::Sha256::digest(bytes).into())
    }

    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.len() != 64 {
            return None;
        }
        let mut out = [0u8; 32];
        for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Some(Digest(out))
    }

    /// The low 48 bits that the Delta mark carries (protocol.md, Sinks).
    pub fn low_48_bits(&self) -> u64 {
        let mut low = [0u8; 8];
        low[2..].copy_from_slice(&self.0[26..]);
        u64::from_be_bytes(low)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every record has one, and is compared with one: a call for each byte would show.
        let digit = |half: u8| char::from(if half < 10 { b'0' + half } else { b'a' + half - 10 });
        let mut text = String::with_capacity(64);
        text.extend(self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        f.write_str(&text)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Digest::parse(&text).ok_or_else(|| serde::de::Error::custom("not a SHA-256 in hexadecimal"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_printed_in_full_and_marked_by_its_end() {
        let mut bytes = [0xFF; 32];
        bytes[26..].copy_from_slice(&[1, 2, 3, 4, 5, 6]);
        let digest = Digest(bytes);
        assert_eq!(digest.low_48_bits(), 0x0102_0304_0506);
        let text = format!("{}010203040506", "ff".repeat(26));
        assert_eq!((digest.to_string(), format!("{digest:?}")), (text.clone(), text.clone()));
        assert_eq!(Digest::parse(&text), Some(digest));
    }

    #[test]
    fn batches_follow_each_other_from_0() {
        assert_eq!(BatchId(0).previous(), None);
        assert_eq!(BatchId(3).previous(), Some(BatchId(2)));
        assert_eq!(BatchId(2).next(), BatchId(3));
    }
}
