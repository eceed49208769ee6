//! The same source against Apache Kafka, and side by side with the embedded broker.

use crate::support::*;
use millstream_core::contract::Source as _;
use millstream_testkit::{KafkaHarness, Producer, TestRecord};
use millstream_wire::Codec;

/// What a source sees of a topic with five codecs, tombstones, headers, deleted records and a
/// recreation must be the same on both brokers.
async fn story(harness: &KafkaHarness) -> String {
    let at = harness.bootstrap_servers();
    let mut admin = harness.admin().await;
    admin.create_topic("story", 2).await;
    let mut producer = Producer::connect(&at).await;
    for (n, codec) in Codec::ALL.into_iter().enumerate() {
        producer.produce("story", 0, &records(n * 10, 10), codec).await;
    }
    let tombstone = TestRecord { key: Some(b"k".to_vec()), ..TestRecord::default() };
    producer.produce("story", 1, &[tombstone.header("h", None)], Codec::None).await;
    let mut log = Vec::new();
    let source = source(&at, &[("subscribe", "story"), ("maxOffsetsPerTrigger", "30")]);
    let mut start = (position(r#"{"story":{"0":0,"1":0}}"#), None);
    while let Some(range) = source
        .admit(&start.0, start.1.as_ref(), millstream_core::contract::Limit::Options)
        .await
        .unwrap()
        .range
    {
        log.push(format!("{} {}", json(&range.start), json(&range.end)));
        for row in rows(&source, &range).await.unwrap() {
            log.push(format!("{} {} {:?} {:?}", row.partition, row.offset, row.key, row.value));
        }
        start = (range.end, Some(range.detail));
    }
    admin.delete_records("story", 0, 20).await;
    let error = source
        .admit(
            &position(r#"{"story":{"0":0,"1":0}}"#),
            None,
            millstream_core::contract::Limit::None,
        )
        .await
        .unwrap_err();
    log.push(error.code().to_owned());
    let late = crate::support::source(&at, &[("subscribe", "story"), ("startingTimestamp", "25")]);
    log.push(json(
        &late.initial_position().await.unwrap_or_else(|e| position(&format!("{:?}", e.code()))),
    ));
    let group = crate::support::source(
        &at,
        &[("subscribe", "story"), ("kafka.group.id", "g"), ("commitGroupOffsets", "true")],
    );
    group.completed(&position(r#"{"story":{"0":20,"1":1}}"#)).await.unwrap();
    admin.recreate_topic("story").await;
    let error = source
        .admit(&start.0, start.1.as_ref(), millstream_core::contract::Limit::Options)
        .await
        .unwrap_err();
    log.push(error.code().to_owned());
    log.join("\n")
}

#[tokio::test]
async fn both_brokers_tell_the_same_story() {
    let embedded = story(&KafkaHarness::embedded()).await;
    assert!(embedded.ends_with("KAFKA_DATA_LOSS_TOPIC_RECREATED"), "{embedded}");
    let Some(real) = KafkaHarness::real() else { return };
    assert_eq!(story(&real).await, embedded);
}
