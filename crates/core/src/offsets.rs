//! Offsets of a Kafka subscription in Spark's grammar (`{"topic":{"0":23}}`, Spark's
//! `JsonUtils.partitionOffsets`) and the arithmetic of ranges.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::fmt;

/// A topic and a partition of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic` and `partition` together.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The next offset to read of every partition (an exclusive end), ordered by topic and partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets(pub BTreeMap<TopicPartition, i64>);

impl Offsets {
    /// Parses Spark's JSON; keys in any order, partitions as decimal strings.
    ///
    /// # Errors
    /// `KAFKA_OFFSETS_MALFORMED` where the text is anything else.
    pub fn parse(text: &str) -> Result<Self> {
        let malformed = |why: String| {
            Error::invalid(
                "KAFKA_OFFSETS_MALFORMED",
                format!("Expected e.g. {{\"topicA\":{{\"0\":23,\"1\":-1}}}}, got {text}: {why}"),
            )
        };
        let raw: BTreeMap<String, BTreeMap<String, i64>> =
            serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        let mut out = BTreeMap::new();
        for (topic, partitions) in raw {
            for (partition, offset) in partitions {
                let number = partition
                    .parse::<i32>()
                    .ok()
                    .filter(|p| *p >= 0)
                    .ok_or_else(|| malformed(format!("`{partition}` is not a partition")))?;
                out.insert(TopicPartition::new(topic.clone(), number), offset);
            }
        }
        Ok(Offsets(out))
    }

    /// Spark's JSON, topics and partitions in ascending order.
    pub fn to_json(&self) -> String {
        let mut by_topic: BTreeMap<&str, BTreeMap<i32, i64>> = BTreeMap::new();
        for (tp, offset) in &self.0 {
            by_topic.entry(&tp.topic).or_default().insert(tp.partition, *offset);
        }
        // Integer keys become decimal strings in numeric order.
        serde_json::to_string(&by_topic).unwrap_or_default()
    }

    /// The offset of a partition.
    pub fn get(&self, tp: &TopicPartition) -> Option<i64> {
        self.0.get(tp).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparks_json_comes_in_numeric_order() {
        let text = r#"{"b":{"10":5,"2":-1,"0":0},"a":{"1":9}}"#;
        let offsets = Offsets::parse(text).unwrap();
        assert_eq!(offsets.to_json(), r#"{"a":{"1":9},"b":{"0":0,"2":-1,"10":5}}"#);
        assert_eq!(offsets.get(&TopicPartition::new("b", 10)), Some(5));
        assert_eq!(offsets.get(&TopicPartition::new("b", 1)), None);
        assert_eq!(TopicPartition::new("b", 10).to_string(), "b-10");
        assert_eq!(Offsets::default().to_json(), "{}");
    }

    #[test]
    fn what_is_no_partition_is_refused() {
        for text in [r#"{"a":{"-1":0}}"#, r#"{"a":{"x":0}}"#, r#"{"a":{"0":"1"}}"#, "[]", ""] {
            assert_eq!(Offsets::parse(text).unwrap_err().code(), "KAFKA_OFFSETS_MALFORMED");
        }
    }
}
