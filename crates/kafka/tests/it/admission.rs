//! What one batch takes: limits, gates, pinned ends, new partitions, other engines' batches.

use crate::support::*;
use millstream_broker::{ApiKey, Broker};
use millstream_core::contract::{Limit, Source as _, SourceRange};
use millstream_core::env::Env;
use millstream_core::offsets::Offsets;
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

const ALL: (&str, &str) = ("subscribe", "t");

fn ends(range: &SourceRange) -> Vec<i64> {
    Offsets::parse(&json(&range.end)).unwrap().0.into_values().collect()
}

#[tokio::test]
async fn everything_new_is_admitted_and_then_nothing() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    let source = source(&at, &[ALL]);
    let start = r#"{"t":{"0":0,"1":0}}"#;
    let nothing = admit(&source, start).await.unwrap();
    assert_eq!((nothing.range, json(&nothing.latest).as_str()), (None, start));
    produce(&at, "t", 1, 0, 3).await;
    let admitted = admit(&source, start).await.unwrap();
    let range = admitted.range.unwrap();
    assert_eq!(json(&range.start), start);
    assert_eq!(json(&range.end), r#"{"t":{"0":0,"1":3}}"#);
    assert_eq!(range.detail["topics"]["t"], broker.topic_id("t").unwrap().to_string());
    assert_eq!(range.detail["epochs"]["t"]["0"], 0);
    let lag = source.lag(&position(start)).unwrap().unwrap();
    assert_eq!((lag.min, lag.max, lag.avg, lag.total), (0, 3, 1.5, 3));
    let lag = source.lag(&position(r#"{"t":{"0":9,"1":2}}"#)).unwrap().unwrap();
    assert_eq!((lag.min, lag.max, lag.avg, lag.total), (0, 1, 0.5, 1));
    assert_eq!(admit_after(&source, &range).await.unwrap().range, None);
}

#[tokio::test]
async fn a_rate_limit_is_shared_and_lifted_for_once() {
    let broker = broker(&[("t", 3)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 60).await;
    produce(&at, "t", 1, 0, 30).await;
    produce(&at, "t", 2, 0, 10).await;
    let source = source(&at, &[ALL, ("maxOffsetsPerTrigger", "10")]);
    let start = r#"{"t":{"0":0,"1":0,"2":0}}"#;
    let range = admit(&source, start).await.unwrap().range.unwrap();
    assert_eq!(ends(&range), [6, 3, 1]);
    let range = admit_after(&source, &range).await.unwrap().range.unwrap();
    assert_eq!(ends(&range), [12, 6, 2]);
    let all = source.admit(&position(start), None, Limit::None).await.unwrap().range.unwrap();
    assert_eq!(ends(&all), [60, 30, 10]);
}

#[tokio::test]
async fn a_byte_limit_is_met_about() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    for partition in 0..2 {
        for n in 0..20 {
            produce(&at, "t", partition, n * 100, 100).await;
        }
    }
    let source = source(&at, &[ALL, ("maxBytesPerTrigger", "6000")]);
    let range = admit(&source, r#"{"t":{"0":0,"1":0}}"#).await.unwrap().range.unwrap();
    let read = rows(&source, &range).await.unwrap();
    let bytes: usize = read.len() * 18;
    assert!((3_000..9_000).contains(&bytes), "{} rows", read.len());
    let mut range = range;
    let mut batches = 1;
    while let Some(next) = admit_after(&source, &range).await.unwrap().range {
        assert_eq!(next.start, range.end);
        (range, batches) = (next, batches + 1);
    }
    assert_eq!(ends(&range), [2_000, 2_000]);
    assert!((5..50).contains(&batches), "{batches}");
    let tiny = crate::support::source(&at, &[ALL, ("maxBytesPerTrigger", "1")]);
    let range = admit(&tiny, r#"{"t":{"0":0,"1":0}}"#).await.unwrap().range.unwrap();
    assert_eq!(ends(&range), [1, 1], "one record at least");
}

struct Clock(AtomicI64);

impl Env for Clock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }
}

#[tokio::test]
async fn the_gate_waits_for_enough_or_long_enough() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 5).await;
    let clock = Arc::new(Clock(AtomicI64::new(1_700_000_000_000)));
    let pairs = [
        ALL,
        ("minOffsetsPerTrigger", "4"),
        ("maxOffsetsPerTrigger", "5"),
        ("maxTriggerDelay", "10s"),
    ];
    let config = KafkaConfig::from_options(&options(&at, &pairs), ReadMode::Stream).unwrap();
    let source = KafkaSource::new(config, clock.clone());
    let range = admit(&source, r#"{"t":{"0":3}}"#).await.unwrap().range.unwrap();
    assert_eq!(ends(&range), [5], "the first trigger never waits");
    produce(&at, "t", 0, 5, 3).await;
    let waiting = admit_after(&source, &range).await.unwrap();
    assert_eq!((waiting.range, json(&waiting.latest).as_str()), (None, r#"{"t":{"0":8}}"#));
    produce(&at, "t", 0, 8, 6).await;
    let range = admit_after(&source, &range).await.unwrap().range.unwrap();
    assert_eq!(ends(&range), [10], "enough, and then the upper limit");
    assert_eq!(admit(&source, r#"{"t":{"0":13}}"#).await.unwrap().range, None);
    clock.0.fetch_add(10_000, Ordering::SeqCst);
    assert!(admit(&source, r#"{"t":{"0":13}}"#).await.unwrap().range.is_some(), "long enough");
}

#[tokio::test]
async fn once_takes_everything_past_the_gate_and_the_limit() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 8).await;
    let limits = [ALL, ("minOffsetsPerTrigger", "5"), ("maxOffsetsPerTrigger", "6")];
    let source = source(&at, &limits);
    let first = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    assert_eq!(ends(&first), [6]);
    assert_eq!(admit_after(&source, &first).await.unwrap().range, None, "two are not enough");
    let once = source.admit(&first.end, Some(&first.detail), Limit::None).await.unwrap();
    assert_eq!(ends(&once.range.unwrap()), [8]);
    // When the last batch went through is not remembered over a restart: the first never waits.
    let restarted = crate::support::source(&at, &limits);
    assert_eq!(ends(&admit_after(&restarted, &first).await.unwrap().range.unwrap()), [8]);
}

#[tokio::test]
async fn available_now_leaves_a_remainder_below_the_gate_to_the_next_run() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 8).await;
    let source = source(&at, &[ALL, ("minOffsetsPerTrigger", "3"), ("maxOffsetsPerTrigger", "6")]);
    source.pin_available_now().await.unwrap();
    let first = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    assert_eq!(ends(&first), [6]);
    produce(&at, "t", 0, 8, 50).await;
    assert_eq!(admit_after(&source, &first).await.unwrap().range, None, "only two were pinned");
}

#[tokio::test]
async fn limits_count_offsets_and_not_records() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 2).await;
    broker.plant_gap("t", 0, 10).unwrap();
    produce(&at, "t", 0, 2, 2).await;
    let source = source(&at, &[ALL, ("maxOffsetsPerTrigger", "7")]);
    let first = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    assert_eq!((ends(&first), rows(&source, &first).await.unwrap().len()), (vec![7], 2));
    let second = admit_after(&source, &first).await.unwrap().range.unwrap();
    assert_eq!((ends(&second), rows(&source, &second).await.unwrap().len()), (vec![14], 2));
}

#[tokio::test]
async fn partitions_without_data_make_no_task_and_large_ones_are_split() {
    let broker = broker(&[("t", 3)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 100).await;
    produce(&at, "t", 2, 0, 4).await;
    let tasks = |pairs: &[(&str, &str)]| source(&at, &[&[ALL], pairs].concat());
    let spans = |source: &KafkaSource, range: &SourceRange| -> Vec<(i32, i64, i64)> {
        let splits = source.splits(range, 8).unwrap();
        splits.iter().map(|s| (s.partition, s.start, s.end)).collect()
    };
    let plain = tasks(&[]);
    let range = admit(&plain, r#"{"t":{"0":0,"1":0,"2":0}}"#).await.unwrap().range.unwrap();
    assert_eq!(spans(&plain, &range), [(0, 0, 100), (2, 0, 4)]);
    let min = tasks(&[("minPartitions", "3")]);
    assert_eq!(spans(&min, &range), [(0, 0, 50), (0, 50, 100), (2, 0, 4)]);
    let max = tasks(&[("maxRecordsPerPartition", "60"), ("minPartitions", "2")]);
    assert_eq!(spans(&max, &range), [(0, 0, 50), (0, 50, 100), (2, 0, 4)]);
}

#[tokio::test]
async fn new_partitions_and_topics_start_at_their_beginning() {
    let broker = broker(&[("t-a", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t-a", 0, 0, 3).await;
    let source = source(&at, &[("subscribePattern", "^t-"), ("startingOffsets", "latest")]);
    let start = json(&source.initial_position().await.unwrap());
    assert_eq!(start, r#"{"t-a":{"0":3}}"#);
    broker.add_partitions("t-a", 2).unwrap();
    broker.create_topic("t-b", 1).unwrap();
    produce(&at, "t-a", 1, 0, 2).await;
    produce(&at, "t-b", 0, 0, 1).await;
    let (range, read) = everything(&source, &start).await;
    assert_eq!(json(&range.start), r#"{"t-a":{"0":3,"1":0},"t-b":{"0":0}}"#);
    assert_eq!(json(&range.end), r#"{"t-a":{"0":3,"1":2},"t-b":{"0":1}}"#);
    assert_eq!(read.len(), 3);
}

#[tokio::test]
async fn available_now_ends_where_it_was_pinned() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let source = source(&at, &[ALL, ("maxOffsetsPerTrigger", "4")]);
    source.pin_available_now().await.unwrap();
    produce(&at, "t", 0, 10, 10).await;
    produce(&at, "t", 1, 0, 10).await;
    broker.add_partitions("t", 3).unwrap();
    let mut range = admit(&source, r#"{"t":{"0":0,"1":0}}"#).await.unwrap().range.unwrap();
    let mut seen = vec![ends(&range)];
    while let Some(next) = admit_after(&source, &range).await.unwrap().range {
        seen.push(ends(&next));
        range = next;
    }
    assert_eq!(seen, [vec![4, 0], vec![8, 0], vec![10, 0]]);
}

#[tokio::test]
async fn available_now_refuses_what_it_pinned_and_lost() {
    for lenient in ["true", "false"] {
        let broker = broker(&[("t-a", 1), ("t-b", 1)]);
        let at = broker.bootstrap_servers();
        produce(&at, "t-a", 0, 0, 10).await;
        let pattern = ("subscribePattern", "^t-");
        let pinned = source(&at, &[pattern, ("failOnDataLoss", lenient)]);
        pinned.pin_available_now().await.unwrap();
        broker.delete_topic("t-b").unwrap();
        let error = admit(&pinned, r#"{"t-a":{"0":0}}"#).await.unwrap_err();
        assert_eq!(error.code(), "LOST_TOPIC_PARTITIONS_IN_END_OFFSET_WITH_TRIGGER_AVAILABLENOW");
        let pinned = source(&at, &[pattern, ("failOnDataLoss", lenient)]);
        pinned.pin_available_now().await.unwrap();
        broker.truncate("t-a", 0, 0).unwrap();
        let error = admit(&pinned, r#"{"t-a":{"0":0}}"#).await.unwrap_err();
        assert_eq!(
            error.code(),
            "END_OFFSET_HAS_GREATER_OFFSET_FOR_TOPIC_PARTITION_THAN_LATEST_WITH_TRIGGER_AVAILABLENOW"
        );
    }
}

#[tokio::test]
async fn a_batch_of_another_engine_is_read_between_its_ends() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    produce(&at, "t", 1, 0, 10).await;
    let source = source(&at, &[ALL]);
    let start = position(r#"{"t":{"0":4}}"#);
    let end = position(r#"{"t":{"0":9,"1":2}}"#);
    let range = source.range_between(&start, &end).await.unwrap();
    assert_eq!(json(&range.start), r#"{"t":{"0":4,"1":0}}"#);
    assert_eq!(range.end, end);
    assert_eq!(rows(&source, &range).await.unwrap().len(), 7);
    let again: SourceRange = serde_json::from_str(&serde_json::to_string(&range).unwrap()).unwrap();
    assert_eq!(again, range, "an intent survives its file");
    let gone = position(r#"{"t":{"0":4,"1":0}}"#);
    let error = source.range_between(&gone, &start).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED");
    let error = source.range_between(&end, &gone).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    let beyond = position(r#"{"t":{"0":11,"1":2}}"#);
    let error = source.range_between(&start, &beyond).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    let lenient = crate::support::source(&at, &[ALL, ("failOnDataLoss", "false")]);
    let range = lenient.range_between(&start, &beyond).await.unwrap();
    assert_eq!(range.end, beyond, "it is the other engine's");
    let newest = position(r#"{"t":{"0":10,"1":10}}"#);
    assert_eq!(source.range_between(&start, &newest).await.unwrap().end, newest);
    let unknown = position(r#"{"t":{"0":4,"7":1}}"#);
    let error = source.range_between(&start, &unknown).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_INITIAL_OFFSET_NOT_FOUND_FOR_PARTITIONS");
}

#[tokio::test]
async fn partitions_that_another_engine_did_not_know_are_not_planned() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    produce(&at, "t", 1, 0, 10).await;
    broker.delete_records("t", 1, 3).unwrap();
    let (start, end) = (position(r#"{"t":{"0":4}}"#), position(r#"{"t":{"0":9}}"#));
    let range = source(&at, &[ALL]).range_between(&start, &end).await.unwrap();
    assert_eq!((range.start, range.end), (start, end));
}

/// Requests of one admission.
async fn asked(broker: &Broker, source: &KafkaSource, start: &str, api: ApiKey) -> u64 {
    let before = broker.faults().requests(api);
    admit(source, start).await.unwrap();
    broker.faults().requests(api) - before
}

#[tokio::test]
async fn what_makes_sense_is_asked_for_once_and_a_new_end_twice() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let patient = source(&at, &[ALL, ("fetchOffset.numRetries", "30")]);
    for (start, requests) in [(r#"{"t":{"0":10}}"#, 2), (r#"{"t":{"0":4}}"#, 3)] {
        let lists = asked(&broker, &patient, start, ApiKey::ListOffsets).await;
        assert_eq!(lists, requests, "first and last offsets from {start}, an end behind it twice");
    }
}

#[tokio::test]
async fn an_end_that_makes_no_sense_is_asked_for_again() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 5).await;
    let patient = source(&at, &[ALL, ("fetchOffset.numRetries", "500")]);
    let (admitted, ()) = tokio::join!(admit(&patient, r#"{"t":{"0":8}}"#), async {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        produce(&at, "t", 0, 5, 5).await;
    });
    let range = admitted.unwrap().range.unwrap();
    assert_eq!((json(&range.start), ends(&range)), (r#"{"t":{"0":8}}"#.to_owned(), vec![10]));

    let lists = broker.faults().requests(ApiKey::ListOffsets);
    let hasty = source(&at, &[ALL, ("fetchOffset.numRetries", "3")]);
    let error = admit(&hasty, r#"{"t":{"0":80}}"#).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITION_OFFSET_CHANGED");
    assert_eq!(broker.faults().requests(ApiKey::ListOffsets) - lists, 6, "three times");
}

#[tokio::test]
async fn only_what_has_data_and_no_known_size_is_sampled() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 10).await;
    let limited = source(&at, &[ALL, ("maxBytesPerTrigger", "100")]);
    let nothing_new = r#"{"t":{"0":10}}"#;
    assert_eq!(asked(&broker, &limited, nothing_new, ApiKey::Fetch).await, 0);
    let unknown = r#"{"t":{"0":0}}"#;
    assert!(asked(&broker, &limited, unknown, ApiKey::Fetch).await > 0);
    assert_eq!(asked(&broker, &limited, unknown, ApiKey::Fetch).await, 0, "known by now");
}

#[test]
fn the_source_says_what_it_is() {
    let subscribed = source("h:1", &[("subscribe", "b,a"), ("kafka.client.id", "secret")]);
    assert_eq!(subscribed.describe(), "KafkaV2[Subscribe[b, a]]");
    let identity = serde_json::json!({"format": "kafka", "subscribe": ["a", "b"]});
    assert_eq!(subscribed.identity(), identity);
    let debug = format!("{subscribed:?}");
    assert!(debug.contains("subscription") && !debug.contains("secret"), "{debug}");
    let assigned = source("h:1", &[("assign", r#"{"t":[1,0]}"#)]);
    assert_eq!(assigned.describe(), "KafkaV2[Assign[t-0, t-1]]");
    assert_eq!(assigned.identity()["assign"], serde_json::json!({"t": [0, 1]}));
    let pattern = source("h:1", &[("subscribePattern", "t.*")]);
    assert_eq!(pattern.describe(), "KafkaV2[SubscribePattern[t.*]]");
}
