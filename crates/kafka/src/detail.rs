//! What a range remembers besides its offsets, so that it is read again exactly, and so that the
//! next batch notices when a topic or its log is no longer the one that was read.

use millstream_core::contract::SourceRange;
use millstream_core::offsets::{Offsets, TopicPartition};
use millstream_core::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The JSON behind [`SourceRange::detail`]. Fields may be added, never renamed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Detail {
    /// Ids of the topics read.
    pub(crate) topics: BTreeMap<String, Uuid>,
    /// Leader epoch of each partition when the batch was planned.
    pub(crate) epochs: BTreeMap<String, BTreeMap<i32, i32>>,
    /// Offsets that this batch steps over because their records are gone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gaps: Vec<Gap>,
    /// Partitions that vanished, with the offset to go on from should the same topic come back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) gone: Vec<Gone>,
    /// Set where the brokers have no topic ids, so that a recreated topic cannot be told.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) without_topic_ids: bool,
}

/// Records that were lost before they were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gap {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// First offset that was not read.
    pub(crate) from: i64,
    /// Where reading goes on.
    pub(crate) to: i64,
    pub(crate) reason: GapReason,
}

/// Why there is a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum GapReason {
    /// Retention or a deletion of records took the front of the log.
    Expired,
    /// A new partition did not start at offset 0.
    AddedLate,
    /// The topic was deleted and created again.
    Recreated,
    /// The log ends before the offset reached.
    Truncated,
    /// The partition or its topic was deleted.
    Deleted,
}

/// A partition that vanished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) id: Option<Uuid>,
}

impl Detail {
    pub(crate) fn from_json(value: &serde_json::Value) -> Result<Detail> {
        Detail::deserialize(value).map_err(|e| {
            Error::corrupt("KAFKA_DETAIL_MALFORMED", "The recorded range of a batch is damaged.")
                .caused_by(e)
        })
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or(serde_json::Value::Null)
    }

    pub(crate) fn epoch(&self, tp: &TopicPartition) -> Option<i32> {
        self.epochs.get(&tp.topic)?.get(&tp.partition).copied()
    }
}

/// A range with its parts parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParsedRange {
    pub(crate) start: Offsets,
    pub(crate) end: Offsets,
    pub(crate) detail: Detail,
}

impl ParsedRange {
    /// # Errors
    /// `KAFKA_OFFSETS_MALFORMED`, `KAFKA_DETAIL_MALFORMED`.
    pub(crate) fn parse(range: &SourceRange) -> Result<ParsedRange> {
        let detail = match &range.detail {
            serde_json::Value::Null => Detail::default(),
            value => Detail::from_json(value)?,
        };
        Ok(ParsedRange {
            start: Offsets::parse(&range.start.0.to_string())?,
            end: Offsets::parse(&range.end.0.to_string())?,
            detail,
        })
    }
}

impl Detail {
    /// Notes id and leader epoch of a partition that is read.
    pub(crate) fn remember(&mut self, tp: &TopicPartition, metadata: &crate::client::Metadata) {
        match metadata.topic_id(&tp.topic) {
            Some(id) => {
                self.topics.insert(tp.topic.clone(), id);
            }
            None => self.without_topic_ids = true,
        }
        if let Some(epoch) = metadata.partition(tp).and_then(|p| p.epoch) {
            self.epochs.entry(tp.topic.clone()).or_default().insert(tp.partition, epoch);
        }
    }
}
