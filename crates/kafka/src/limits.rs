//! How much one batch takes: Spark's arithmetic (`KafkaMicroBatchStream`), as pure functions.

use millstream_core::offsets::TopicPartition;
use std::collections::{BTreeMap, HashMap};

type PartitionOffsets = BTreeMap<TopicPartition, i64>;

/// Shares `limit` offsets among the partitions in proportion to what each has between `from` and
/// `until`. A share below one is rounded up, so that no partition starves; others are rounded
/// down. With more partitions than the limit, the batch therefore exceeds it.
pub(crate) fn rate_limit(
    limit: i64,
    from: &PartitionOffsets,
    until: &PartitionOffsets,
) -> PartitionOffsets {
    let size = |tp, end: &i64| from.get(tp).map(|begin| end - begin).filter(|s| *s > 0);
    let total: f64 = until.iter().filter_map(|(tp, end)| size(tp, end)).map(|s| s as f64).sum();
    if total < 1.0 {
        return until.clone();
    }
    let ends = until.iter().map(|(tp, end)| {
        let limited = match (size(tp, end), from.get(tp)) {
            (Some(size), Some(begin)) => {
                let share = limit as f64 * (size as f64 / total);
                let rounded = if share < 1.0 { share.ceil() } else { share.floor() };
                begin.saturating_add(rounded as i64).min(*end)
            }
            _ => *end,
        };
        (tp.clone(), limited)
    });
    ends.collect()
}

/// Shares `limit` bytes among the partitions in proportion to their estimated bytes. Partitions
/// without an estimate take the mean of the others'. Every partition with data gives one offset.
pub(crate) fn byte_limit(
    limit: i64,
    from: &PartitionOffsets,
    until: &PartitionOffsets,
    bytes_per_offset: &HashMap<TopicPartition, f64>,
) -> PartitionOffsets {
    let known: Vec<f64> = until.keys().filter_map(|tp| bytes_per_offset.get(tp).copied()).collect();
    if known.is_empty() {
        return until.clone();
    }
    let mean = known.iter().sum::<f64>() / known.len() as f64;
    let size = |tp: &TopicPartition, end: &i64| {
        let offsets = from.get(tp).map(|begin| end - begin).filter(|s| *s > 0)?;
        Some((offsets, bytes_per_offset.get(tp).copied().unwrap_or(mean)))
    };
    let total: f64 =
        until.iter().filter_map(|(tp, end)| size(tp, end)).map(|(n, b)| n as f64 * b).sum();
    let fraction = limit as f64 / total;
    if total < 1.0 || fraction >= 1.0 {
        return until.clone();
    }
    let ends = until.iter().map(|(tp, end)| {
        let limited = match (size(tp, end), from.get(tp)) {
            (Some((offsets, _)), Some(begin)) => {
                let share = ((offsets as f64 * fraction).floor() as i64).max(1);
                begin.saturating_add(share).min(*end)
            }
            _ => *end,
        };
        (tp.clone(), limited)
    });
    ends.collect()
}

/// The gate of `minOffsetsPerTrigger`: whether a batch has to wait for more. `last_trigger_ms` is
/// that of the last batch let through, 0 at the start, so that the first one never waits. A clock
/// that was set back lets one through rather than wait until it is as late again.
pub(crate) fn must_wait(
    min: i64,
    available: i64,
    now_ms: i64,
    last_trigger_ms: i64,
    max_delay_ms: i64,
) -> bool {
    let waited_ms = now_ms.saturating_sub(last_trigger_ms);
    (0..max_delay_ms).contains(&waited_ms) && available < min
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn offsets(values: &[i64]) -> PartitionOffsets {
        let numbered = values.iter().zip(0..);
        numbered.map(|(o, p)| (TopicPartition::new("t", p), *o)).collect()
    }

    fn ends(limit: i64, from: &[i64], until: &[i64]) -> Vec<i64> {
        rate_limit(limit, &offsets(from), &offsets(until)).into_values().collect()
    }

    #[test]
    fn shares_follow_what_partitions_have() {
        assert_eq!(ends(100, &[0, 0], &[300, 100]), [75, 25]);
        assert_eq!(ends(10, &[0, 0, 0], &[100, 100, 100]), [3, 3, 3], "rounded down");
        assert_eq!(ends(2, &[0, 0, 0, 0], &[9, 9, 9, 9]), [1, 1, 1, 1], "rounded up below one");
        assert_eq!(ends(1_000, &[5, 7], &[10, 20]), [10, 20], "never past the end");
        assert_eq!(ends(10, &[5, 7], &[5, 7]), [5, 7], "nothing new");
    }

    #[test]
    fn partitions_without_data_keep_their_end() {
        assert_eq!(ends(10, &[5, 0], &[5, 100]), [5, 10]);
        assert_eq!(
            ends(10, &[9, 0], &[5, 100]),
            [5, 10],
            "end before start is planning's to judge"
        );
    }

    #[test]
    fn offsets_near_the_end_of_the_number_range_do_not_overflow() {
        let end = i64::MAX;
        assert_eq!(ends(i64::MAX, &[end - 10], &[end]), [end]);
        assert_eq!(ends(5, &[end - 10, end - 10], &[end, end]), [end - 8, end - 8]);
    }

    #[test]
    fn bytes_are_shared_by_estimate_and_always_move() {
        let rate = |values: &[f64]| -> HashMap<TopicPartition, f64> {
            let numbered = values.iter().zip(0..);
            numbered.map(|(b, p)| (TopicPartition::new("t", p), *b)).collect()
        };
        let limited = |limit, from: &[i64], until: &[i64], rates: &[f64]| -> Vec<i64> {
            let limited = byte_limit(limit, &offsets(from), &offsets(until), &rate(rates));
            limited.into_values().collect()
        };
        assert_eq!(limited(1_000, &[0], &[100], &[100.0]), [10]);
        assert_eq!(limited(1_000, &[0, 0], &[100, 100], &[100.0]), [5, 5], "mean for the unknown");
        assert_eq!(limited(1, &[3, 4], &[100, 4], &[1e9, 1.0]), [4, 4], "one offset at least");
        assert_eq!(limited(1 << 40, &[0], &[100], &[100.0]), [100]);
        assert_eq!(limited(10, &[0], &[100], &[]), [100], "no estimate, no limit");
    }

    #[test]
    fn the_gate_opens_for_enough_or_for_long_enough() {
        assert!(!must_wait(100, 0, 1_700_000_000_000, 0, 900_000), "the first trigger never waits");
        assert!(must_wait(100, 99, 1_000, 500, 900_000));
        assert!(!must_wait(100, 100, 1_000, 500, 900_000));
        assert!(!must_wait(100, 1, 900_500, 500, 900_000));
        assert!(!must_wait(100, 1, 500, 86_400_500, 900_000), "the clock was set back by a day");
    }

    proptest! {
        #[test]
        fn every_partition_with_data_moves_and_none_passes_its_end(
            limit in 1_i64..1_000_000,
            sizes in proptest::collection::vec((0_i64..1_000_000, 0_i64..1_000_000), 1..50),
        ) {
            let from = offsets(&sizes.iter().map(|s| s.0).collect::<Vec<_>>());
            let until = offsets(&sizes.iter().map(|s| s.0 + s.1).collect::<Vec<_>>());
            let ends = rate_limit(limit, &from, &until);
            let mut taken = 0;
            for (tp, end) in &ends {
                prop_assert!(*end <= until[tp] && *end >= from[tp]);
                prop_assert!(until[tp] == from[tp] || *end > from[tp]);
                taken += end - from[tp];
            }
            prop_assert!(taken <= limit.max(0) + sizes.len() as i64);
        }
    }
}
