//! The harness itself: Apache Kafka is killed, comes back, and ends with its owner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use millstream_testkit::{Admin, Producer, RealKafka, RealKafkaConfig, TestRecord, skip_or_fail};
use millstream_wire::Codec;
use std::path::PathBuf;

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat")));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_is_killed_and_comes_back_with_its_records() {
    let Some(mut kafka) = skip_or_fail("Apache Kafka", RealKafka::start()) else { return };
    let bootstrap = kafka.bootstrap_servers();
    let id = Admin::connect(&bootstrap).await.create_topic("kept", 1).await;
    let mut producer = Producer::connect(&bootstrap).await;
    producer.produce("kept", 0, &[TestRecord::value("a")], Codec::Zstd).await;
    let first = kafka.pid(0).unwrap();
    kafka.kill(0);
    assert!(!runs(first));
    kafka.restart(0).unwrap();
    let mut admin = Admin::connect(&bootstrap).await;
    assert_eq!(admin.wait_for_partitions("kept", 1).await, id);
    assert_eq!(admin.end_offset("kept", 0).await, 1);
    let second = kafka.pid(0).unwrap();
    drop(kafka);
    assert!(!runs(second), "it ends with its owner");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_two_brokers_survives_the_loss_of_one() {
    let config = RealKafkaConfig { brokers: 2, heap_mib: 256, ..RealKafkaConfig::default() };
    let started = RealKafka::start_with(&config);
    let Some(mut kafka) = skip_or_fail("two Apache Kafkas", started) else { return };
    let bootstrap = kafka.bootstrap_servers();
    let mut admin = Admin::connect(&bootstrap).await;
    admin.create_topic("spread", 4).await;
    let topic = admin.topic("spread").await;
    let mut leaders: Vec<i32> = topic.partitions.iter().map(|p| *p.leader_id).collect();
    leaders.sort_unstable();
    leaders.dedup();
    assert_eq!(leaders, [0, 1], "both lead");
    kafka.stop(1);
    let first = bootstrap.split(',').next().unwrap();
    let mut admin = Admin::connect(first).await;
    assert_eq!(admin.topic("spread").await.partitions.len(), 4);
}
