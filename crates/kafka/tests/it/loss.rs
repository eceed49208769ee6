//! Lost records at every point where they can be noticed, with failOnDataLoss on and off.

use crate::support::*;
use futures::TryStreamExt as _;
use millstream_broker::Broker;
use millstream_core::contract::{Source as _, SourceRange};
use millstream_kafka::{KafkaSource, ReadOptions};
use std::sync::Arc;

const ALL: [(&str, &str); 1] = [("subscribe", "t")];
const LENIENT: [(&str, &str); 2] = [("subscribe", "t"), ("failOnDataLoss", "false")];

async fn with_records(count: usize) -> (Broker, String) {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    for first in (0..count).step_by(5) {
        produce(&at, "t", 0, first, 5).await;
    }
    (broker, at)
}

/// A range [0, 20) that was planned before something happened.
async fn planned(source: &Arc<KafkaSource>) -> SourceRange {
    admit(source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap()
}

#[tokio::test]
async fn records_that_expire_before_planning() {
    let (broker, at) = with_records(20).await;
    broker.delete_records("t", 0, 10).unwrap();
    let error = admit(&source(&at, &ALL), r#"{"t":{"0":2}}"#).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE");
    let lenient = source(&at, &LENIENT);
    let (range, read) = everything(&lenient, r#"{"t":{"0":2}}"#).await;
    assert_eq!(json(&range.start), r#"{"t":{"0":10}}"#);
    assert_eq!(range.detail["gaps"][0]["from"], 2);
    assert_eq!(range.detail["gaps"][0]["to"], 10);
    assert_eq!(range.detail["gaps"][0]["reason"], "expired");
    assert_eq!(offsets(&read), (10..20).collect::<Vec<_>>());
    assert_eq!(lenient.metrics().data_loss, 1);
}

#[tokio::test]
async fn records_that_expire_between_planning_and_reading() {
    let (broker, at) = with_records(20).await;
    let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
    let range = planned(&strict).await;
    broker.delete_records("t", 0, 7).unwrap();
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE");
    assert!(
        error
            .message()
            .contains("records in offset [0, 20) for topic partition t-0 with consumer group"),
        "{error}"
    );
    assert!(error.message().contains("The first offset that is still there is 7."), "{error}");
    assert_eq!(offsets(&rows(&lenient, &range).await.unwrap()), (7..20).collect::<Vec<_>>());
    assert_eq!(lenient.metrics().offset_out_of_range, 1);
    broker.delete_records("t", 0, 20).unwrap();
    assert!(rows(&lenient, &range).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_log_that_was_cut_between_planning_and_reading() {
    let (broker, at) = with_records(20).await;
    let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
    let range = planned(&strict).await;
    broker.truncate("t", 0, 5).unwrap();
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    assert!(error.message().contains("reached to offset 20 under leader epoch 0"), "{error}");
    assert_eq!(offsets(&rows(&lenient, &range).await.unwrap()), [0, 1, 2, 3, 4]);
    produce(&at, "t", 0, 100, 40).await;
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "it has grown again");
    assert_eq!(offsets(&rows(&lenient, &range).await.unwrap()), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn an_offset_behind_the_end_of_the_log() {
    let (_broker, at) = with_records(5).await;
    let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
    let detail = serde_json::Value::Null;
    let (start, end) = (position(r#"{"t":{"0":12}}"#), position(r#"{"t":{"0":20}}"#));
    let range = SourceRange { start, end, detail };
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_COULD_NOT_READ_OFFSET_RANGE");
    assert!(error.message().contains("The log ends at 5."), "{error}");
    assert!(rows(&lenient, &range).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_log_that_was_cut_between_two_batches() {
    for grown in [0, 40] {
        let (broker, at) = with_records(20).await;
        let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
        let range = planned(&strict).await;
        broker.truncate("t", 0, 15).unwrap();
        if grown > 0 {
            produce(&at, "t", 0, 100, grown).await;
        }
        let error = admit_after(&strict, &range).await.unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "grown by {grown}");
        let next = admit_after(&lenient, &range).await.unwrap().range.unwrap();
        assert_eq!(json(&next.start), r#"{"t":{"0":15}}"#);
        assert_eq!(next.detail["gaps"][0]["reason"], "truncated");
        assert_eq!(rows(&lenient, &next).await.unwrap().len(), grown);
    }
}

#[tokio::test]
async fn a_new_leader_without_loss_is_nothing() {
    let (broker, at) = with_records(20).await;
    let source = source(&at, &ALL);
    let range = planned(&source).await;
    broker.change_leader("t", 0, broker.leader("t", 0).unwrap().0).unwrap();
    assert_eq!(admit_after(&source, &range).await.unwrap().range, None);
    produce(&at, "t", 0, 20, 5).await;
    let next = admit_after(&source, &range).await.unwrap().range.unwrap();
    assert_eq!(next.detail["epochs"]["t"]["0"], 1);
    assert_eq!(offsets(&rows(&source, &next).await.unwrap()), (20..25).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_leader_that_changes_while_ends_are_listed_is_no_loss() {
    use millstream_broker::{Action, ApiKey, Fault};
    let (broker, at) = with_records(20).await;
    let slow = Action::Delay(std::time::Duration::from_millis(300));
    broker.faults().add(Fault::on(ApiKey::ListOffsets, slow).times(2));
    let source = source(&at, &ALL);
    let planning = tokio::spawn({
        let source = source.clone();
        async move { admit(&source, r#"{"t":{"0":0}}"#).await }
    });
    // Metadata is read, and the ends are asked for: now another epoch begins, with more records.
    while broker.faults().requests(ApiKey::ListOffsets) < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    broker.change_leader("t", 0, broker.leader("t", 0).unwrap().0).unwrap();
    produce(&at, "t", 0, 20, 5).await;
    let range = planning.await.unwrap().unwrap().range.unwrap();
    assert_eq!(json(&range.end), r#"{"t":{"0":25}}"#);
    assert_eq!(range.detail["epochs"]["t"]["0"], 1, "the epoch under which it ends at 25");
    assert_eq!(offsets(&rows(&source, &range).await.unwrap()), (0..25).collect::<Vec<_>>());
    assert_eq!(admit_after(&source, &range).await.unwrap().range, None);
}

#[tokio::test]
async fn an_end_that_only_lags_is_waited_for() {
    let (_broker, at) = with_records(20).await;
    let source = source(&at, &ALL);
    let mut range = planned(&source).await;
    range.end = position(r#"{"t":{"0":23}}"#);
    let waiting = admit_after(&source, &range).await.unwrap();
    assert_eq!(waiting.range, None, "same topic, same epoch");
    assert_eq!(json(&waiting.latest), r#"{"t":{"0":20}}"#);
    let error = admit(&source, r#"{"t":{"0":23}}"#).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED", "nothing is known");
}

/// An end may lag behind what its epoch reached: a new leader that has not heard of it yet, or
/// here a transaction that is still open.
#[tokio::test]
async fn an_end_that_lags_behind_a_new_epoch_is_waited_for() {
    use millstream_wire::{BatchBuilder, Producer as ProducerState};
    let (broker, at) = with_records(20).await;
    let committed = source(&at, &[ALL[0], ("kafka.isolation.level", "read_committed")]);
    let mut range = planned(&committed).await;
    let producer = ProducerState { id: 3, epoch: 0, base_sequence: 0 };
    let mut open = BatchBuilder::new(20).producer(producer).transactional();
    for _ in 0..5 {
        open.push(0, None, Some(b"open"), &[]);
    }
    broker.append_raw("t", 0, open.build().unwrap()).unwrap();
    broker.change_leader("t", 0, broker.leader("t", 0).unwrap().0).unwrap();
    range.end = position(r#"{"t":{"0":23}}"#);
    assert_eq!(admit_after(&committed, &range).await.unwrap().range, None);
}

/// Only a topic and an epoch that are known to be the same excuse an end that is too low.
#[tokio::test]
async fn an_end_is_not_waited_for_on_a_guess() {
    let (_broker, at) = with_records(20).await;
    let source = source(&at, &ALL);
    let mut range = planned(&source).await;
    range.end = position(r#"{"t":{"0":23}}"#);
    let mut later_epoch = range.clone();
    later_epoch.detail["epochs"]["t"]["0"] = 5.into();
    let mut no_id = range;
    no_id.detail["topics"] = serde_json::json!({});
    for range in [later_epoch, no_id] {
        let error = admit_after(&source, &range).await.unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    }
}

#[tokio::test]
async fn a_topic_that_is_recreated_before_its_first_batch_is_noticed() {
    use millstream_broker::ApiKey;
    let (broker, at) = with_records(20).await;
    let patient =
        source(&at, &[ALL[0], ("startingOffsets", "latest"), ("fetchOffset.numRetries", "30")]);
    let start = json(&patient.initial_position().await.unwrap());
    assert_eq!(start, r#"{"t":{"0":20}}"#);
    broker.recreate_topic("t").unwrap();
    let lists = broker.faults().requests(ApiKey::ListOffsets);
    let error = admit(&patient, &start).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED");
    let lists = broker.faults().requests(ApiKey::ListOffsets) - lists;
    assert_eq!(lists, 2, "an end below the start is no wonder then, and not asked for again");
}

#[tokio::test]
async fn a_recreated_topic_is_noticed_in_the_next_batch() {
    for records in [5, 20, 50] {
        let (broker, at) = with_records(20).await;
        let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
        let range = planned(&strict).await;
        broker.recreate_topic("t").unwrap();
        for first in (0..records).step_by(5) {
            produce(&at, "t", 0, first, 5).await;
        }
        let error = admit_after(&strict, &range).await.unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "{records} records");
        let next = admit_after(&lenient, &range).await.unwrap().range.unwrap();
        assert_eq!(json(&next.start), r#"{"t":{"0":0}}"#);
        assert_eq!(next.detail["gaps"][0]["reason"], "recreated");
        assert_eq!(rows(&lenient, &next).await.unwrap().len(), records);
        assert_eq!(admit_after(&lenient, &next).await.unwrap().range, None);
    }
}

#[tokio::test]
async fn a_recreated_topic_is_never_read_under_the_old_range() {
    let (broker, at) = with_records(20).await;
    let (strict, lenient) = (source(&at, &ALL), source(&at, &LENIENT));
    let range = planned(&strict).await;
    broker.recreate_topic("t").unwrap();
    produce(&at, "t", 0, 500, 40).await;
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED");
    assert!(rows(&lenient, &range).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_topic_recreated_while_it_is_read_yields_nothing_of_the_new_one() {
    let (broker, at) = with_records(20).await;
    let strict = source(&at, &[ALL[0], ("kafka.max.partition.fetch.bytes", "1")]);
    let range = planned(&strict).await;
    let options = ReadOptions { batch_rows: 1, ..ReadOptions::default() };
    let splits = strict.splits(&range, 1).unwrap();
    // Four batches: the first answer is one batch, then the topic changes under the reader.
    let held = broker.faults();
    held.add(
        millstream_broker::Fault::on(
            millstream_broker::ApiKey::Fetch,
            millstream_broker::Action::Delay(std::time::Duration::from_millis(300)),
        )
        .after(1),
    );
    let mut stream = strict.read(splits, None, options);
    stream.try_next().await.unwrap().unwrap();
    broker.recreate_topic("t").unwrap();
    produce(&at, "t", 0, 500, 40).await;
    let mut seen = vec![0];
    let error = loop {
        match stream.try_next().await {
            Ok(Some(batch)) => seen.extend(offsets(&to_rows(&[batch]))),
            Ok(None) => panic!("the rest of the range is gone, and nobody said so: {seen:?}"),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED");
    assert!(seen.iter().all(|o| *o < 20));
    assert!(stream.try_next().await.unwrap().is_none(), "an error ends the stream");
}

#[tokio::test]
async fn deleted_topics() {
    let (broker, at) = with_records(20).await;
    broker.create_topic("t2", 1).unwrap();
    let pattern = ("subscribePattern", "^t");
    let strict = source(&at, &[pattern]);
    let lenient = source(&at, &[pattern, ("failOnDataLoss", "false")]);
    let start = r#"{"t":{"0":0},"t2":{"0":0}}"#;
    let range = admit(&strict, start).await.unwrap().range.unwrap();
    broker.delete_topic("t").unwrap();
    let error = admit_after(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED");
    let error = rows(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED");
    assert!(rows(&lenient, &range).await.unwrap().is_empty());
    let next = admit_after(&lenient, &range).await.unwrap().range.unwrap();
    assert_eq!(json(&next.end), r#"{"t2":{"0":0}}"#);
    assert_eq!(next.detail["gone"][0]["offset"], 20);
    let subscribed = source(&at, &LENIENT);
    let error = admit_after(&subscribed, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_TOPIC_UNKNOWN", "fatal whatever the option says, as in Spark");
}

#[tokio::test]
async fn a_partition_that_is_added_late() {
    let (broker, at) = with_records(20).await;
    broker.add_partitions("t", 2).unwrap();
    produce(&at, "t", 1, 0, 10).await;
    broker.delete_records("t", 1, 4).unwrap();
    let error = admit(&source(&at, &ALL), r#"{"t":{"0":20}}"#).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_ADDED_PARTITION_DOES_NOT_START_FROM_OFFSET_ZERO");
    let (range, read) = everything(&source(&at, &LENIENT), r#"{"t":{"0":20}}"#).await;
    assert_eq!(range.detail["gaps"][0]["reason"], "added-late");
    assert_eq!(read.len(), 6);
}
