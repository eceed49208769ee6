//! Topics that are deleted, recreated and enlarged: before a batch, in a batch, between batches.

use crate::stage::*;
use crate::support::to_rows;
use futures::TryStreamExt as _;
use millstream_core::contract::SourceRange;
use millstream_kafka::{KafkaSource, ReadOptions};
use millstream_testkit::Admin;
use std::sync::Arc;

const LENIENT: [(&str, &str); 1] = [("failOnDataLoss", "false")];
/// Records of a topic's first life, and sizes of its second: shorter, equal and longer.
const FIRST: i64 = 60;
const SECOND: [i64; 3] = [20, FIRST, 200];

/// A topic with its first life, planned whole and not read.
async fn planned(brokers: &str, topic: &str) -> (Arc<KafkaSource>, Follower, SourceRange) {
    Admin::connect(brokers).await.create_topic(topic, 1).await;
    fill(brokers, topic, 0, FIRST as usize, 20).await;
    let source = source(brokers, topic, &[]);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    (source, follower, range)
}

async fn live_again(brokers: &str, topic: &str, records: i64) {
    Admin::connect(brokers).await.recreate_topic(topic).await;
    fill(brokers, topic, 0, records as usize, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_recreated_before_its_batch_is_read_gives_nothing() {
    let Some(brokers) = one() else { return };
    for records in SECOND {
        let topic = format!("recreated-planned-{records}");
        let (strict, _, range) = planned(&brokers, &topic).await;
        live_again(&brokers, &topic, records).await;
        let error = read(&strict, &range).await.unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "{records}: {error}");
        // Another process, with the intent alone.
        let lenient = source(&brokers, &topic, &LENIENT);
        same(read(&lenient, &range).await.unwrap(), []);
        assert_eq!(lenient.metrics().data_loss, 1, "{records}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_recreated_between_batches_is_read_from_its_new_beginning_or_refused() {
    let Some(brokers) = one() else { return };
    for records in SECOND {
        let topic = format!("recreated-between-{records}");
        let (strict, mut follower, range) = planned(&brokers, &topic).await;
        same(read(&strict, &range).await.unwrap(), span(0, 0..FIRST));
        live_again(&brokers, &topic, records).await;
        let error = follower.plan().await.unwrap_err();
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "{records}: {error}");
        let mut follower = Follower::after(source(&brokers, &topic, &LENIENT), &range);
        let next = follower.plan().await.unwrap().unwrap();
        let gap = &next.detail["gaps"][0];
        assert_eq!((&gap["reason"], &gap["from"]), (&"recreated".into(), &FIRST.into()), "{gap}");
        same(read(&follower.source, &next).await.unwrap(), span(0, 0..records));
        follower.drain().await.unwrap();
        same(follower.places, []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_recreated_while_it_is_read_gives_nothing_of_its_second_life() {
    let Some(brokers) = one() else { return };
    for records in [10, 500] {
        let topic = format!("recreated-read-{records}");
        Admin::connect(&brokers).await.create_topic(&topic, 1).await;
        fill(&brokers, &topic, 0, 200, 50_000).await;
        let source = source(&brokers, &topic, &[]);
        let mut follower = Follower::start(source.clone()).await;
        let range = follower.plan().await.unwrap().unwrap();
        // A reader that holds two answers of a megabyte, and is not read.
        let options = ReadOptions { prefetch_bytes: 2 << 20, batch_rows: 1, ..<_>::default() };
        let mut stream = source.read(source.splits(&range, 1).unwrap(), None, options);
        let mut read = vec![stream.try_next().await.unwrap().unwrap()];
        live_again(&brokers, &topic, records).await;
        let error = loop {
            match stream.try_next().await {
                Ok(Some(batch)) => read.push(batch),
                Ok(None) => panic!("the rest of the range is gone, and nobody said so"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), "KAFKA_DATA_LOSS_TOPIC_RECREATED", "{error}");
        let rows = to_rows(&read);
        assert!(rows.len() < 200, "all of it had been fetched before");
        // Values tell the lives apart: 50,000 bytes in the first one.
        assert!(rows.iter().all(|r| r.value.as_ref().is_some_and(|v| v.len() == 50_000)));
        same(rows.iter().map(|r| (0, r.offset)).collect(), span(0, 0..rows.len() as i64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_topic_is_named_wherever_it_is_missed() {
    let Some(brokers) = one() else { return };
    let topic = "deleted-1";
    let mut admin = Admin::connect(&brokers).await;
    let (strict, mut follower, range) = planned(&brokers, topic).await;
    admin.delete_topic(topic).await;
    let error = read(&strict, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED", "{error}");
    assert!(error.message().contains("deleted-1-0"), "{error}");
    same(read(&source(&brokers, topic, &LENIENT), &range).await.unwrap(), []);
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_TOPIC_UNKNOWN", "a topic named by the user must exist");

    // By pattern, the others are read on, and the one that vanished is remembered.
    for name in ["gone-a", "gone-b"] {
        admin.create_topic(name, 1).await;
        fill(&brokers, name, 0, 10, 10).await;
    }
    let by_pattern = |more: &[(&str, &str)]| {
        let base = [("subscribePattern", "^gone-"), ("startingOffsets", "earliest")];
        let options = crate::support::options(&brokers, &[&base, more].concat());
        let mode = millstream_kafka::ReadMode::Stream;
        let config = millstream_kafka::KafkaConfig::from_options(&options, mode).unwrap();
        KafkaSource::new(config, Arc::new(millstream_core::env::SystemEnv))
    };
    let strict = by_pattern(&[]);
    let mut follower = Follower::start(strict.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    same(read(&strict, &range).await.unwrap(), span(0, 0..10).chain(span(0, 0..10)));
    admin.delete_topic("gone-a").await;
    fill(&brokers, "gone-b", 0, 5, 10).await;
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_DATA_LOSS_PARTITIONS_DELETED", "{error}");
    let mut follower = Follower::after(by_pattern(&LENIENT), &range);
    let next = follower.plan().await.unwrap().unwrap();
    assert_eq!(next.detail["gone"][0]["offset"], 10);
    same(read(&follower.source, &next).await.unwrap(), span(0, 10..15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_added_while_reading_are_read_from_their_beginning() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("grows", 1).await;
    fill(&brokers, "grows", 0, 30, 20).await;
    let mut follower =
        Follower::start(source(&brokers, "grows", &[("maxOffsetsPerTrigger", "25")])).await;
    follower.until(20).await;
    admin.add_partitions("grows", 3).await;
    for partition in 0..3 {
        fill(&brokers, "grows", partition, 40, 20).await;
    }
    follower.until(150).await;
    follower.drain().await.unwrap();
    same(follower.places, span(0, 0..70).chain(span(1, 0..40)).chain(span(2, 0..40)));
}
