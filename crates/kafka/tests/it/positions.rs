//! Where a new query starts, and what a batch read covers: every starting and ending option.

use crate::support::*;
use millstream_core::contract::Source as _;
use millstream_testkit::{Producer, TestRecord};
use millstream_wire::Codec;

async fn initial(bootstrap: &str, pairs: &[(&str, &str)]) -> millstream_core::Result<String> {
    Ok(json(&source(bootstrap, pairs).initial_position().await?))
}

#[tokio::test]
async fn a_stream_starts_where_its_options_say() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    produce(&at, "t", 1, 0, 4).await;
    broker.delete_records("t", 0, 3).unwrap();
    for (name, value, expected) in [
        ("kafka.client.id", "x", r#"{"t":{"0":10,"1":4}}"#),
        ("startingOffsets", "latest", r#"{"t":{"0":10,"1":4}}"#),
        ("startingOffsets", "EARLIEST", r#"{"t":{"0":3,"1":0}}"#),
        ("startingOffsets", r#"{"t":{"0":7,"1":-1}}"#, r#"{"t":{"0":7,"1":4}}"#),
        ("startingOffsets", r#"{"t":{"0":-2,"1":2}}"#, r#"{"t":{"0":3,"1":2}}"#),
        ("startingTimestamp", "3", r#"{"t":{"0":3,"1":3}}"#),
        ("startingOffsetsByTimestamp", r#"{"t":{"0":5,"1":2}}"#, r#"{"t":{"0":5,"1":2}}"#),
    ] {
        let found = initial(&at, &[("subscribe", "t"), (name, value)]).await.unwrap();
        assert_eq!(found, expected, "{name}={value}");
    }
}

#[tokio::test]
async fn timestamps_come_before_offsets_and_one_before_many() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let all = [
        ("subscribe", "t"),
        ("startingOffsets", "earliest"),
        ("startingOffsetsByTimestamp", r#"{"t":{"0":5}}"#),
        ("startingTimestamp", "8"),
    ];
    assert_eq!(initial(&at, &all[..3]).await.unwrap(), r#"{"t":{"0":5}}"#);
    let first = [("subscribe", "t"), ("startingTimestamp", "0")];
    assert_eq!(initial(&at, &first).await.unwrap(), r#"{"t":{"0":0}}"#);
    assert_eq!(initial(&at, &all).await.unwrap(), r#"{"t":{"0":8}}"#);
}

#[tokio::test]
async fn a_timestamp_without_a_record_follows_the_strategy() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let late = [("subscribe", "t"), ("startingTimestamp", "99")];
    let error = initial(&at, &late).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_NO_OFFSET_FOR_TIMESTAMP");
    assert_eq!(
        error.message(),
        "No offset matched from request of topic-partition t-0 and timestamp 99."
    );
    for strategy in ["latest", "LATEST"] {
        let lenient = [late[0], late[1], ("startingOffsetsByTimestampStrategy", strategy)];
        assert_eq!(initial(&at, &lenient).await.unwrap(), r#"{"t":{"0":10}}"#);
    }
}

#[tokio::test]
async fn specific_offsets_must_name_all_partitions() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    let error = initial(&at, &[("subscribe", "t"), ("startingOffsets", r#"{"t":{"0":1}}"#)])
        .await
        .unwrap_err();
    assert_eq!(error.code(), "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED");
    assert!(error.message().ends_with("Specified: [t-0] Assigned: [t-0, t-1]"), "{error}");
    let option = ("startingOffsetsByTimestamp", r#"{"t":{"0":1}}"#);
    let error = initial(&at, &[("subscribe", "t"), option]).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_TIMESTAMP_OFFSET_DOES_NOT_MATCH_ASSIGNED");
    assert!(error.message().contains("timestamp based starting offsets"), "{error}");
}

#[tokio::test]
async fn subscriptions_choose_their_partitions() {
    let broker = broker(&[("events", 2), ("my-events", 1), ("other", 1)]);
    let at = broker.bootstrap_servers();
    for (name, value, expected) in [
        ("subscribe", " events ,, other", r#"{"events":{"0":0,"1":0},"other":{"0":0}}"#),
        ("subscribePattern", "ev.*", r#"{"events":{"0":0,"1":0},"my-events":{"0":0}}"#),
        ("subscribePattern", "^ev", r#"{"events":{"0":0,"1":0}}"#),
        ("assign", r#"{"events":[1],"other":[0]}"#, r#"{"events":{"1":0},"other":{"0":0}}"#),
    ] {
        assert_eq!(initial(&at, &[(name, value)]).await.unwrap(), expected, "{name}={value}");
    }
}

#[tokio::test]
async fn what_does_not_exist_is_named() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    for (name, value, what) in [
        ("subscribe", "t,nope", "Topic nope does not exist."),
        ("assign", r#"{"t":[0,7]}"#, "Topic-partition t-7 does not exist."),
        ("assign", r#"{"nope":[0]}"#, "Topic-partition nope-0 does not exist."),
    ] {
        let error = initial(&at, &[(name, value)]).await.unwrap_err();
        assert_eq!((error.code(), error.message()), ("KAFKA_TOPIC_UNKNOWN", what));
    }
    assert_eq!(initial(&at, &[("subscribePattern", "nope")]).await.unwrap(), "{}");
    assert_eq!(broker.topic_id("nope"), None, "asking for a topic does not create it");
}

#[tokio::test]
async fn a_topic_that_is_not_known_yet_is_asked_for_again() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let patient = [("subscribe", "t,late"), ("fetchOffset.numRetries", "500")];
    let (found, ()) = tokio::join!(initial(&at, &patient), async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        broker.create_topic("late", 1).unwrap();
    });
    assert_eq!(found.unwrap(), r#"{"late":{"0":0},"t":{"0":0}}"#);
}

#[tokio::test]
async fn a_batch_read_covers_what_its_options_say() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    produce(&at, "t", 1, 0, 4).await;
    for (pairs, start, end) in [
        (vec![], r#"{"t":{"0":0,"1":0}}"#, r#"{"t":{"0":10,"1":4}}"#),
        (
            vec![
                ("startingOffsets", r#"{"t":{"0":2,"1":-2}}"#),
                ("endingOffsets", r#"{"t":{"0":5,"1":-1}}"#),
            ],
            r#"{"t":{"0":2,"1":0}}"#,
            r#"{"t":{"0":5,"1":4}}"#,
        ),
        (
            vec![("startingOffsets", r#"{"t":{"0":7,"1":4}}"#)],
            r#"{"t":{"0":7,"1":4}}"#,
            r#"{"t":{"0":10,"1":4}}"#,
        ),
        (
            vec![("startingTimestamp", "1"), ("endingTimestamp", "3")],
            r#"{"t":{"0":1,"1":1}}"#,
            r#"{"t":{"0":3,"1":3}}"#,
        ),
        (
            vec![("endingOffsetsByTimestamp", r#"{"t":{"0":6,"1":99}}"#)],
            r#"{"t":{"0":0,"1":0}}"#,
            r#"{"t":{"0":6,"1":4}}"#,
        ),
    ] {
        let pairs = [vec![("subscribe", "t")], pairs].concat();
        let source = batch_source(&at, &pairs);
        let range = source.batch_range().await.unwrap();
        assert_eq!((json(&range.start).as_str(), json(&range.end).as_str()), (start, end));
        let expected: i64 = source.splits(&range, 1).unwrap().iter().map(|s| s.len()).sum();
        assert_eq!(rows(&source, &range).await.unwrap().len() as i64, expected);
    }
}

#[tokio::test]
async fn a_batch_that_ends_before_it_starts_is_refused() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let pairs = [("subscribe", "t"), ("startingOffsets", r#"{"t":{"0":50}}"#)];
    let error = batch_source(&at, &pairs).batch_range().await.unwrap_err();
    assert_eq!(error.code(), "RESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET");
    assert!(error.message().starts_with(
        "The resolved start offset 50 is greater than the resolved end offset 10 for topic t \
         partition 0."
    ));
}

#[tokio::test]
async fn a_batch_names_a_missing_partition_in_its_ends() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    let pairs = [("subscribe", "t"), ("endingOffsets", r#"{"t":{"0":0}}"#)];
    let error = batch_source(&at, &pairs).batch_range().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED");
    let pairs = [("subscribe", "t"), ("endingOffsetsByTimestamp", r#"{"t":{"0":0}}"#)];
    let error = batch_source(&at, &pairs).batch_range().await.unwrap_err();
    assert!(error.message().contains("timestamp based ending offsets"), "{error}");
}

#[tokio::test]
async fn group_offsets_are_committed_where_asked_and_never_read() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    producer.produce("t", 0, &[TestRecord::value("x")], Codec::None).await;
    let pairs = [("subscribe", "t"), ("kafka.group.id", "watch"), ("commitGroupOffsets", "true")];
    let watched = source(&at, &pairs);
    watched.completed(&position(r#"{"t":{"0":1}}"#)).await.unwrap();
    let requests = || broker.faults().requests(millstream_broker::ApiKey::OffsetCommit);
    assert_eq!(requests(), 1);
    assert_eq!(initial(&at, &pairs[..2]).await.unwrap(), r#"{"t":{"0":1}}"#);
    source(&at, &pairs[..2]).completed(&position(r#"{"t":{"0":1}}"#)).await.unwrap();
    assert_eq!(requests(), 1, "only where asked");
}
