//! The words for lost data and for offsets that do not fit together: Spark's error classes
//! (`kafka-error-conditions.json`) and ours for what Spark does not notice.

use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, ErrorKind};
use std::collections::BTreeMap;

const PREAMBLE: &str = "Some data may have been lost because they are not available in Kafka any \
    more; either the data was aged out by Kafka or the topic may have been deleted before all the \
    data in the topic was processed. If you don't want your streaming query to fail on such \
    cases, set the source option failOnDataLoss to false. Reason:";

/// Spark's warning about `kafka.group.id`.
pub(crate) const CUSTOM_GROUP_ID: &str = "Kafka option 'kafka.group.id' has been set on this \
    query, it is not recommended to set this option. This option is unsafe to use since multiple \
    concurrent queries or sources using the same group id will interfere with each other as they \
    are part of the same consumer group. Restarted queries may also suffer interference from the \
    previous run having the same group id. The user should have only one query per group id, \
    and/or set the option 'kafka.session.timeout.ms' to be very small so that the Kafka consumers \
    from the previous query are marked dead by the Kafka group coordinator before the restarted \
    query starts running.";

const RESTART: &str = "The error could be transient - restart your query, and report if you \
    still see the same issue.";

pub(crate) fn list<'a>(partitions: impl Iterator<Item = &'a TopicPartition>) -> String {
    let names: Vec<String> = partitions.map(ToString::to_string).collect();
    format!("[{}]", names.join(", "))
}

pub(crate) fn offsets(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    let pairs: Vec<String> = offsets.iter().map(|(tp, o)| format!("{tp} -> {o}")).collect();
    format!("[{}]", pairs.join(", "))
}

pub(crate) fn initial_offset_not_found(partitions: &[TopicPartition]) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_INITIAL_OFFSET_NOT_FOUND_FOR_PARTITIONS",
        format!(
            "{PREAMBLE} Cannot find initial offsets for partitions {}. They may have been deleted.",
            list(partitions.iter())
        ),
    )
}

pub(crate) fn added_partition(tp: &TopicPartition, start: i64) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO",
        format!("{PREAMBLE} Added partition {tp} starts from {start} instead of 0."),
    )
}

pub(crate) fn partitions_deleted(partitions: &[TopicPartition], with_group_id: bool) -> Error {
    let names = list(partitions.iter());
    if with_group_id {
        Error::new(
            ErrorKind::DataLoss,
            "KAFKA_DATA_LOSS_PARTITIONS_DELETED_AND_GROUP_ID_CONFIG_PRESENT",
            format!("{PREAMBLE} Partitions {names} have been deleted. {CUSTOM_GROUP_ID}"),
        )
    } else {
        Error::new(
            ErrorKind::DataLoss,
            "KAFKA_DATA_LOSS_PARTITIONS_DELETED",
            format!("{PREAMBLE} Partitions {names} have been deleted."),
        )
    }
}

pub(crate) fn partition_offset_changed(tp: &TopicPartition, previous: i64, new: i64) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED",
        format!(
            "{PREAMBLE} Partition {tp} offset was changed from {previous} to {new}. This could either be a \
             user error that the start offset is set too high and this is the first batch, or \
             the kafka topic-partition is broken, and some data may have been missed."
        ),
    )
}

pub(crate) fn could_not_read(
    tp: &TopicPartition,
    (start, end): (i64, i64),
    group: &str,
    why: &str,
) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE",
        format!(
            "{PREAMBLE} Could not read records in offset [{start}, {end}) for topic partition {tp} with \
             consumer group {group}. {why}"
        ),
    )
}

/// Spark reads a recreated topic on without a word where its offsets allow it.
pub(crate) fn topic_recreated(topic: &str, known: &str, now: &str) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_TOPIC_RECREATED",
        format!(
            "{PREAMBLE} Topic {topic} was deleted and created again: its id was {known} and is {now}. \
             Offsets of the old topic mean nothing in the new one."
        ),
    )
}

/// An election brought back an older log, which may have grown past our offset since.
pub(crate) fn log_truncated(tp: &TopicPartition, ours: i64, epoch: i32, end: i64) -> Error {
    Error::new(
        ErrorKind::DataLoss,
        "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED",
        format!(
            "{PREAMBLE} Partition {tp} offset was changed from {ours} to {end}: the log that \
             reached to offset {ours} under leader epoch {epoch} now ends that epoch at offset \
             {end}; its tail was truncated by an unclean leader election."
        ),
    )
}

pub(crate) fn mismatched_start_and_end<'a>(
    start: impl Iterator<Item = &'a TopicPartition>,
    end: impl Iterator<Item = &'a TopicPartition>,
) -> Error {
    Error::invalid(
        "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
        format!(
            "The specified start offset and end offset should have the same topic-partitions. \
             Topic-partitions for start offset: {}, topic-partitions for end offset: {}.",
            list(start),
            list(end)
        ),
    )
}

pub(crate) fn resolved_start_after_end(tp: &TopicPartition, start: i64, end: i64) -> Error {
    Error::invalid(
        "RESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
        format!(
            "The resolved start offset {start} is greater than the resolved end offset {end} for \
             topic {} partition {}. There may be multiple reasons: 1. Start offset is set to too \
             big a value that after resolution, end offset is smaller than it. There are \
             multiple input cases: (a) Start offset is set to a timestamp, and the end offset is \
             set to an index. (b) Start offset is set to an index, and the end offset is set to \
             a timestamp. (c) Start offset is set, and the end offset is set to latest. 2. The \
             Kafka topic partition is broken.",
            tp.topic, tp.partition
        ),
    )
}

pub(crate) fn start_does_not_match_assigned<'a>(
    specified: impl Iterator<Item = &'a TopicPartition>,
    assigned: impl Iterator<Item = &'a TopicPartition>,
) -> Error {
    Error::invalid(
        "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED",
        format!(
            "Partitions specified for Kafka start offsets don't match what are assigned. Maybe \
             topic partitions are created or deleted while the query is running. Use -1 for \
             latest, -2 for earliest. Specified: {} Assigned: {}",
            list(specified),
            list(assigned)
        ),
    )
}

pub(crate) fn timestamps_do_not_match_assigned<'a>(
    position: &str,
    specified: impl Iterator<Item = &'a TopicPartition>,
    assigned: impl Iterator<Item = &'a TopicPartition>,
) -> Error {
    Error::invalid(
        "KAFKA_TIMESTAMP_OFFSET_DOES_NOT_MATCH_ASSIGNED",
        format!(
            "Partitions specified for Kafka timestamp based {position} offsets don't match what \
             are assigned. Maybe topic partitions are created or deleted while the query is \
             running, or you didn't specify all the partitions. Specified: {} Assigned: {}",
            list(specified),
            list(assigned)
        ),
    )
}

pub(crate) fn no_offset_matched(tp: &TopicPartition, timestamp: i64) -> Error {
    Error::invalid(
        "KAFKA_NO_OFFSET_FOR_TIMESTAMP",
        format!(
            "No offset matched from request of topic-partition {tp} and timestamp {timestamp}."
        ),
    )
    .cure("Set 'startingOffsetsByTimestampStrategy' to latest to start at the end instead.")
}

/// The four refusals of Trigger.AvailableNow, whatever failOnDataLoss says.
pub(crate) mod available_now {
    use super::*;

    pub(crate) fn partitions_differ<'a>(
        pinned: impl Iterator<Item = &'a TopicPartition>,
        end: impl Iterator<Item = &'a TopicPartition>,
    ) -> Error {
        Error::new(
            ErrorKind::DataLoss,
            "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_END_OFFSET_AND_PREFETCHED",
            format!(
                "Kafka data source in Trigger.AvailableNow should provide the same topic \
                 partitions in pre-fetched offset to end offset for each microbatch. {RESTART} \
                 topic-partitions for pre-fetched offset: {}, topic-partitions for end offset: \
                 {}.",
                list(pinned),
                list(end)
            ),
        )
    }

    pub(crate) fn beyond_pinned(
        pinned: &BTreeMap<TopicPartition, i64>,
        end: &BTreeMap<TopicPartition, i64>,
    ) -> Error {
        Error::new(
            ErrorKind::DataLoss,
            "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_PREFETCHED",
            format!(
                "For Kafka data source with Trigger.AvailableNow, end offset should have lower \
                 or equal offset per each topic partition than pre-fetched offset. {RESTART} \
                 pre-fetched offset: {}, end offset: {}.",
                offsets(pinned),
                offsets(end)
            ),
        )
    }

    pub(crate) fn partitions_lost<'a>(
        latest: impl Iterator<Item = &'a TopicPartition>,
        end: impl Iterator<Item = &'a TopicPartition>,
    ) -> Error {
        Error::new(
            ErrorKind::DataLoss,
            "LOST_TOPIC_PARTITIONS_IN_END_OFFSET_WITH_TRIGGER_AVAILABLENOW",
            format!(
                "Some of partitions in Kafka topic(s) have been lost during running query with \
                 Trigger.AvailableNow. {RESTART} topic-partitions for latest offset: {}, \
                 topic-partitions for end offset: {}",
                list(latest),
                list(end)
            ),
        )
    }

    pub(crate) fn beyond_latest(
        latest: &BTreeMap<TopicPartition, i64>,
        end: &BTreeMap<TopicPartition, i64>,
    ) -> Error {
        Error::new(
            ErrorKind::DataLoss,
            "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_LATEST_WITH_TRIGGER_AVAILABLENOW",
            format!(
                "Some of partitions in Kafka topic(s) report available offset which is less than \
                 end offset during running query with Trigger.AvailableNow. {RESTART} latest \
                 offset: {}, end offset: {}",
                offsets(latest),
                offsets(end)
            ),
        )
    }
}

#[cfg(test)]
mod tests;
