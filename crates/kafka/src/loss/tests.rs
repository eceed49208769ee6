//! Every text in full: users search for them, and Spark's are Spark's word for word, with spaces
//! where Spark breaks the line.

use super::*;

const LOST: &str = "Some data may have been lost because they are not available in Kafka any more; \
either the data was aged out by Kafka or the topic may have been deleted before all the data in \
the topic was processed. If you don't want your streaming query to fail on such cases, set the \
source option failOnDataLoss to false. Reason: ";

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

fn at(offsets: &[i64]) -> BTreeMap<TopicPartition, i64> {
    offsets.iter().zip(0..).map(|(offset, partition)| (tp(partition), *offset)).collect()
}

#[track_caller]
fn loss(error: &Error, class: &str, reason: &str) {
    assert_eq!(error.kind(), ErrorKind::DataLoss);
    assert_eq!(error.code(), format!("KAFKA_DATA_LOSS_{class}"));
    assert_eq!(error.message(), format!("{LOST}{reason}"));
}

#[track_caller]
fn says(error: &Error, kind: ErrorKind, code: &str, message: &str) {
    assert_eq!((error.kind(), error.code(), error.message()), (kind, code, message));
}

#[test]
fn lost_data_is_told_in_sparks_words() {
    loss(
        &initial_offset_not_found(&[tp(0), tp(3)]),
        "INITIAL_OFFSET_NOT_FOUND_FOR_PARTITIONS",
        "Cannot find initial offsets for partitions [t-0, t-3]. They may have been deleted.",
    );
    loss(
        &added_partition(&tp(1), 7),
        "ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO",
        "Added partition t-1 starts from 7 instead of 0.",
    );
    loss(
        &partitions_deleted(&[tp(1)], false),
        "PARTITIONS_DELETED",
        "Partitions [t-1] have been deleted.",
    );
    loss(
        &partitions_deleted(&[tp(1)], true),
        "PARTITIONS_DELETED_AND_GROUP_ID_CONFIG_PRESENT",
        "Partitions [t-1] have been deleted. Kafka option 'kafka.group.id' has been set on this \
         query, it is not recommended to set this option. This option is unsafe to use since \
         multiple concurrent queries or sources using the same group id will interfere with each \
         other as they are part of the same consumer group. Restarted queries may also suffer \
         interference from the previous run having the same group id. The user should have only \
         one query per group id, and/or set the option 'kafka.session.timeout.ms' to be very \
         small so that the Kafka consumers from the previous query are marked dead by the Kafka \
         group coordinator before the restarted query starts running.",
    );
    loss(
        &partition_offset_changed(&tp(0), 9, 4),
        "PARTITION_OFFSET_CHANGED",
        "Partition t-0 offset was changed from 9 to 4. This could either be a user error that the \
         start offset is set too high and this is the first batch, or the kafka topic-partition \
         is broken, and some data may have been missed.",
    );
    loss(
        &could_not_read(&tp(0), (2, 9), "g", "The log ends at 5."),
        "COULD_NOT_READ_OFFSET_RANGE",
        "Could not read records in offset [2, 9) for topic partition t-0 with consumer group g. \
         The log ends at 5.",
    );
}

#[test]
fn what_spark_does_not_notice_is_told_in_the_same_frame() {
    loss(
        &topic_recreated("t", "A", "B"),
        "TOPIC_RECREATED",
        "Topic t was deleted and created again: its id was A and is B. Offsets of the old topic \
         mean nothing in the new one.",
    );
    loss(
        &log_truncated(&tp(0), 20, 3, 15),
        "PARTITION_OFFSET_CHANGED",
        "Partition t-0 offset was changed from 20 to 15: the log that reached to offset 20 under \
         leader epoch 3 now ends that epoch at offset 15; its tail was truncated by an unclean \
         leader election.",
    );
}

#[test]
fn starts_and_ends_that_do_not_fit_are_told_in_sparks_words() {
    let invalid = ErrorKind::Invalid;
    says(
        &mismatched_start_and_end([tp(0)].iter(), [tp(1)].iter()),
        invalid,
        "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_START_OFFSET_AND_END_OFFSET",
        "The specified start offset and end offset should have the same topic-partitions. \
         Topic-partitions for start offset: [t-0], topic-partitions for end offset: [t-1].",
    );
    says(
        &resolved_start_after_end(&tp(2), 9, 4),
        invalid,
        "RESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
        "The resolved start offset 9 is greater than the resolved end offset 4 for topic t \
         partition 2. There may be multiple reasons: 1. Start offset is set to too big a value \
         that after resolution, end offset is smaller than it. There are multiple input cases: \
         (a) Start offset is set to a timestamp, and the end offset is set to an index. (b) Start \
         offset is set to an index, and the end offset is set to a timestamp. (c) Start offset is \
         set, and the end offset is set to latest. 2. The Kafka topic partition is broken.",
    );
    says(
        &start_does_not_match_assigned([tp(0)].iter(), [tp(0), tp(1)].iter()),
        invalid,
        "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED",
        "Partitions specified for Kafka start offsets don't match what are assigned. Maybe topic \
         partitions are created or deleted while the query is running. Use -1 for latest, -2 for \
         earliest. Specified: [t-0] Assigned: [t-0, t-1]",
    );
    says(
        &timestamps_do_not_match_assigned("starting", [tp(0)].iter(), [tp(1)].iter()),
        invalid,
        "KAFKA_TIMESTAMP_OFFSET_DOES_NOT_MATCH_ASSIGNED",
        "Partitions specified for Kafka timestamp based starting offsets don't match what are \
         assigned. Maybe topic partitions are created or deleted while the query is running, or \
         you didn't specify all the partitions. Specified: [t-0] Assigned: [t-1]",
    );
    let error = no_offset_matched(&tp(0), 77);
    says(
        &error,
        invalid,
        "KAFKA_NO_OFFSET_FOR_TIMESTAMP",
        "No offset matched from request of topic-partition t-0 and timestamp 77.",
    );
    assert!(error.cure_text().is_some());
}

#[test]
fn available_now_is_told_in_sparks_words() {
    let data_loss = ErrorKind::DataLoss;
    says(
        &available_now::partitions_differ([tp(0)].iter(), [tp(0), tp(1)].iter()),
        data_loss,
        "MISMATCHED_TOPIC_PARTITIONS_BETWEEN_END_OFFSET_AND_PREFETCHED",
        "Kafka data source in Trigger.AvailableNow should provide the same topic partitions in \
         pre-fetched offset to end offset for each microbatch. The error could be transient - \
         restart your query, and report if you still see the same issue. topic-partitions for \
         pre-fetched offset: [t-0], topic-partitions for end offset: [t-0, t-1].",
    );
    says(
        &available_now::beyond_pinned(&at(&[5]), &at(&[6])),
        data_loss,
        "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_PREFETCHED",
        "For Kafka data source with Trigger.AvailableNow, end offset should have lower or equal \
         offset per each topic partition than pre-fetched offset. The error could be transient - \
         restart your query, and report if you still see the same issue. pre-fetched offset: \
         [t-0 -> 5], end offset: [t-0 -> 6].",
    );
    says(
        &available_now::partitions_lost([tp(0)].iter(), [tp(0), tp(1)].iter()),
        data_loss,
        "LOST_TOPIC_PARTITIONS_IN_END_OFFSET_WITH_TRIGGER_AVAILABLENOW",
        "Some of partitions in Kafka topic(s) have been lost during running query with \
         Trigger.AvailableNow. The error could be transient - restart your query, and report if \
         you still see the same issue. topic-partitions for latest offset: [t-0], \
         topic-partitions for end offset: [t-0, t-1]",
    );
    says(
        &available_now::beyond_latest(&at(&[5]), &at(&[6])),
        data_loss,
        "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_LATEST_WITH_TRIGGER_AVAILABLENOW",
        "Some of partitions in Kafka topic(s) report available offset which is less than end \
         offset during running query with Trigger.AvailableNow. The error could be transient - \
         restart your query, and report if you still see the same issue. latest offset: [t-0 -> \
         5], end offset: [t-0 -> 6]",
    );
}
