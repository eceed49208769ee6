//! Cutting a range into the parts that tasks read (`KafkaOffsetRangeCalculator`).

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Parts of one range at most.
const PARTS_MAX: i64 = 100_000;

/// A part of a range: offsets `start` (inclusive) to `end` (exclusive) of one partition, with all
/// that is needed to read them from another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// Topic name.
    pub topic: String,
    /// Topic id, unless the brokers have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<Uuid>,
    /// Partition number.
    pub partition: i32,
    /// First offset.
    pub start: i64,
    /// Offset behind the last.
    pub end: i64,
    /// Leader epoch when the range was planned, to notice a log that was truncated since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
}

impl Split {
    /// Offsets in the part; there may be fewer records (compaction, transactions).
    pub fn len(&self) -> i64 {
        self.end.saturating_sub(self.start)
    }

    /// Whether there is no offset in it.
    pub fn is_empty(&self) -> bool {
        self.len() <= 0
    }

    fn part(&self, start: i64, end: i64) -> Split {
        Split { start, end, ..self.clone() }
    }
}

/// Cuts by `max_records` first, then by `min_partitions` if there are still fewer parts.
pub(crate) fn cut(
    ranges: Vec<Split>,
    max_records: Option<i64>,
    min_partitions: Option<i32>,
) -> Vec<Split> {
    let ranges: Vec<Split> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
    let ranges = match max_records {
        Some(most) => ranges.iter().flat_map(|r| divide(r, parts_of_at_most(r, most))).collect(),
        None => ranges,
    };
    match min_partitions {
        Some(wanted) if ranges.len() < usize::try_from(wanted).unwrap_or(0) => {
            to_min_partitions(&ranges, i64::from(wanted))
        }
        _ => ranges,
    }
}

fn parts_of_at_most(range: &Split, most: i64) -> i64 {
    let most = most.max(1);
    range.len() / most + i64::from(range.len() % most != 0)
}

/// Splits large ranges in proportion to their size; small ones stay whole and do not count in it.
fn to_min_partitions(ranges: &[Split], wanted: i64) -> Vec<Split> {
    let parts = |size: i64, total: i64, wanted: i64| -> i64 {
        // Java's Math.round: halves go up.
        ((size as f64 / total as f64 * wanted as f64 + 0.5).floor() as i64).max(1)
    };
    let total: i64 = ranges.iter().map(Split::len).fold(0, i64::saturating_add);
    let is_small = |r: &&Split| parts(r.len(), total, wanted) == 1;
    let small_total: i64 =
        ranges.iter().filter(is_small).map(Split::len).fold(0, i64::saturating_add);
    let small_count = ranges.iter().filter(is_small).count();
    let large_total = total - small_total;
    let large_wanted = (wanted - i64::try_from(small_count).unwrap_or(i64::MAX)).max(1);
    let split = ranges.iter().flat_map(|r| {
        let count = if is_small(&r) { 1 } else { parts(r.len(), large_total, large_wanted) };
        divide(r, count)
    });
    split.collect()
}

/// `count` parts of equal size, about; the last ones take what rounding leaves.
fn divide(range: &Split, count: i64) -> Vec<Split> {
    // A range over a huge hole in the offsets must not become a list of its size.
    let count = count.clamp(1, range.len().clamp(1, PARTS_MAX));
    let (mut start, mut left) = (range.start, range.len());
    let mut parts = Vec::new();
    for part in 0..count {
        let size = left / (count - part);
        left -= size;
        parts.push(range.part(start, start + size));
        start += size;
    }
    parts.retain(|p| !p.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(partition: i32, start: i64, end: i64) -> Split {
        Split { topic: "t".into(), topic_id: None, partition, start, end, leader_epoch: None }
    }

    fn spans(splits: &[Split]) -> Vec<(i32, i64, i64)> {
        splits.iter().map(|s| (s.partition, s.start, s.end)).collect()
    }

    #[test]
    fn one_part_per_partition_with_data() {
        let cut = cut(vec![range(0, 5, 9), range(1, 7, 7), range(2, 9, 3)], None, None);
        assert_eq!(spans(&cut), [(0, 5, 9)]);
    }

    #[test]
    fn min_partitions_splits_the_large_ones_only() {
        let ranges = vec![range(0, 0, 5), range(1, 0, 1_000)];
        assert_eq!(spans(&cut(ranges.clone(), None, Some(2))), [(0, 0, 5), (1, 0, 1_000)]);
        assert_eq!(
            spans(&cut(ranges, None, Some(4))),
            [(0, 0, 5), (1, 0, 333), (1, 333, 666), (1, 666, 1_000)]
        );
        assert_eq!(
            spans(&cut(vec![range(0, 0, 5)], None, Some(3))),
            [(0, 0, 1), (0, 1, 3), (0, 3, 5)]
        );
        assert_eq!(spans(&cut(vec![range(0, 0, 1)], None, Some(10))), [(0, 0, 1)]);
    }

    #[test]
    fn small_ranges_do_not_count_in_the_share_of_large_ones() {
        let ranges = vec![range(0, 0, 100), range(1, 0, 40), range(2, 0, 40), range(3, 0, 40)];
        let cut = cut(ranges, None, Some(5));
        assert_eq!(spans(&cut), [(0, 0, 50), (0, 50, 100), (1, 0, 40), (2, 0, 40), (3, 0, 40)]);
    }

    #[test]
    fn as_many_ranges_as_wanted_stay_whole() {
        let sizes = [750, 220, 5, 5, 5, 5, 5, 5];
        let ranges: Vec<Split> = (0..).zip(sizes).map(|(p, size)| range(p, 0, size)).collect();
        assert_eq!(cut(ranges.clone(), None, Some(8)), ranges);
        assert_eq!(cut(ranges.clone(), None, Some(7)), ranges);
    }

    #[test]
    fn max_records_comes_before_min_partitions() {
        let parts = cut(vec![range(0, 0, 10)], Some(4), Some(2));
        assert_eq!(spans(&parts), [(0, 0, 3), (0, 3, 6), (0, 6, 10)]);
        let even = cut(vec![range(0, 0, 8)], Some(4), None);
        assert_eq!(spans(&even), [(0, 0, 4), (0, 4, 8)]);
        assert_eq!(cut(vec![range(0, 0, 10)], Some(4), Some(6)).len(), 6);
    }

    proptest! {
        #[test]
        fn parts_cover_the_ranges_exactly(
            sizes in proptest::collection::vec(0_i64..10_000, 1..20),
            max in proptest::option::of(1_i64..5_000),
            min in proptest::option::of(1_i32..100),
        ) {
            let ranges: Vec<Split> =
                sizes.iter().zip(0..).map(|(size, p)| range(p, 7, 7 + size)).collect();
            let parts = cut(ranges.clone(), max, min);
            for whole in ranges.iter().filter(|r| !r.is_empty()) {
                let mut at = whole.start;
                for part in parts.iter().filter(|p| p.partition == whole.partition) {
                    prop_assert_eq!(part.start, at);
                    prop_assert!(!part.is_empty());
                    prop_assert!(max.is_none_or(|m| part.len() <= m));
                    at = part.end;
                }
                prop_assert_eq!(at, whole.end);
            }
        }
    }

    #[test]
    fn a_split_survives_its_serialised_form() {
        let split = Split { topic_id: Some(Uuid::from_u128(7)), ..range(3, 1, 2) };
        let text = serde_json::to_string(&split).unwrap();
        assert_eq!(serde_json::from_str::<Split>(&text).unwrap(), split);
    }
}
