//! One partition while it is fetched.

use super::columns::Origin;
use crate::split::Split;
use kafka_protocol::messages::TopicName;
use kafka_protocol::protocol::StrBytes;
use millstream_core::offsets::TopicPartition;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;
use uuid::Uuid;

/// Where a partition's fetching stands.
#[derive(Debug)]
pub(crate) struct PartitionState {
    pub(crate) origin: Origin,
    pub(crate) name: TopicName,
    pub(crate) id: Option<Uuid>,
    /// Ranges behind the one being fetched.
    later: VecDeque<(i64, i64)>,
    /// The next offset to fetch.
    pub(crate) next: i64,
    /// Whether the batch before ended at `next`.
    pub(crate) is_boundary: bool,
    /// Where the range being fetched ends.
    pub(crate) end: i64,
    /// Leader epoch by the last metadata.
    pub(crate) epoch: Option<i32>,
    /// Leader epoch under which the log is known to reach to the end of the ranges.
    pub(crate) sound_epoch: Option<i32>,
    /// Bytes this partition needs in an answer, where one batch is larger than usual.
    pub(crate) bytes_needed: usize,
    /// Since when nothing has come.
    pub(crate) since: Instant,
    /// Odd answers since something last came.
    pub(crate) doubts: Doubts,
}

/// Answers in a row that may be right or may pass, by kind: each has its own patience.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Doubts {
    /// Another leader, a lost connection.
    pub(crate) moved: u32,
    /// The partition does not exist.
    pub(crate) missing: u32,
    /// The topic is said to have this id.
    pub(crate) recreated: Option<Uuid>,
    /// The offset does not exist.
    pub(crate) out_of_range: u32,
    /// The bytes are damaged.
    pub(crate) corrupt: u32,
    /// There is nothing although the end lies further on.
    pub(crate) empty: u32,
    /// The next batch is said to begin here, behind a hole.
    pub(crate) hole: Option<i64>,
}

impl PartitionState {
    /// One state per partition; ranges of the same partition follow one another, merged where
    /// they touch.
    pub(crate) fn of_splits(mut splits: Vec<Split>) -> Vec<PartitionState> {
        splits.retain(|s| !s.is_empty());
        splits.sort_by(|a, b| {
            (&a.topic, a.partition, a.start).cmp(&(&b.topic, b.partition, b.start))
        });
        let mut names: BTreeMap<String, Arc<str>> = BTreeMap::new();
        let mut states: Vec<PartitionState> = Vec::new();
        for split in splits {
            let name =
                names.entry(split.topic.clone()).or_insert_with(|| split.topic.as_str().into());
            match states.last_mut() {
                Some(last)
                    if last.origin.topic == *name
                        && last.origin.partition == split.partition
                        && last.id == split.topic_id =>
                {
                    last.append(split.start, split.end);
                }
                _ => states.push(PartitionState {
                    origin: Origin { topic: name.clone(), partition: split.partition },
                    name: TopicName(StrBytes::from_string(split.topic)),
                    id: split.topic_id,
                    later: VecDeque::new(),
                    next: split.start,
                    is_boundary: false,
                    end: split.end,
                    epoch: None,
                    sound_epoch: split.leader_epoch,
                    bytes_needed: 0,
                    since: Instant::now(),
                    doubts: Doubts::default(),
                }),
            }
        }
        states
    }

    fn append(&mut self, start: i64, end: i64) {
        match self.later.back_mut() {
            Some((_, last)) if *last == start => *last = end,
            None if self.end == start => self.end = end,
            _ => self.later.push_back((start, end)),
        }
    }

    pub(crate) fn tp(&self) -> TopicPartition {
        TopicPartition::new(self.origin.topic.to_string(), self.origin.partition)
    }

    /// Notes that something came.
    pub(crate) fn advance(&mut self, next: i64) {
        (self.next, self.is_boundary) = (next, false);
        self.since = Instant::now();
        (self.doubts, self.bytes_needed) = (Doubts::default(), 0);
    }

    /// Goes on to the next range; `false` when there is none.
    pub(crate) fn next_range(&mut self) -> bool {
        let Some((start, end)) = self.later.pop_front() else { return false };
        (self.next, self.is_boundary, self.end) = (start, false, end);
        self.since = Instant::now();
        true
    }

    /// Where the last range ends.
    pub(crate) fn last_end(&self) -> i64 {
        self.later.back().map_or(self.end, |(_, end)| *end)
    }

    /// Gives up what lies at `offset` or behind.
    pub(crate) fn cut_at(&mut self, offset: i64) {
        self.later.retain(|(start, _)| *start < offset);
        self.later.iter_mut().for_each(|(_, end)| *end = (*end).min(offset));
        self.end = self.end.min(offset);
        self.next = self.next.min(self.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(topic: &str, partition: i32, start: i64, end: i64) -> Split {
        Split { topic: topic.into(), topic_id: None, partition, start, end, leader_epoch: None }
    }

    #[test]
    fn ranges_of_a_partition_are_merged_or_queued() {
        let mut states = PartitionState::of_splits(vec![
            split("a", 0, 20, 30),
            split("a", 0, 0, 10),
            split("a", 0, 10, 15),
            split("b", 0, 5, 5),
            split("a", 1, 3, 4),
        ]);
        assert_eq!(states.len(), 2, "the empty split is dropped");
        assert_eq!((states[0].next, states[0].end, states[0].last_end()), (0, 15, 30));
        assert!(states[0].next_range());
        assert_eq!((states[0].next, states[0].end), (20, 30));
        assert!(!states[0].next_range());
        assert_eq!((states[1].next, states[1].end), (3, 4));
    }
}
