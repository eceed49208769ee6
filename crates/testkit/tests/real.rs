//! The harness itself: Apache Kafka is killed, comes back, and ends with its owner.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use millstream_testkit::{
    Admin, KafkaHarness, Producer, RealKafka, RealKafkaConfig, TestRecord, kafka_tool, skip_or_fail,
};
use millstream_wire::Codec;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(PathBuf::from(format!("/proc/{pid}/stat")));
    stat.is_ok_and(|s| !s.contains(") Z "))
}

/// Not a test of its own: a process that starts a shared Kafka and is killed.
#[test]
#[allow(clippy::disallowed_methods)]
fn child_with_a_shared_kafka() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let kafka = RealKafka::shared().expect("Apache Kafka");
    println!("\nshares {} {}", kafka.pid(0).unwrap(), kafka.data_dir().display());
    let _ = std::io::stdin().lines().count();
}

const CHILD: &str = "MILLSTREAM_TEST_SHARED_KAFKA";

#[test]
fn a_shared_kafka_ends_with_a_process_that_is_killed() {
    if skip_or_fail("Apache Kafka", kafka_tool("none")).is_none() {
        return;
    }
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_with_a_shared_kafka", "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines
        .map_while(Result::ok)
        .find_map(|l| l.strip_prefix("shares ").map(str::to_owned))
        .expect("the child starts Kafka");
    let (pid, dir) = said.split_once(' ').unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(runs(pid) && Path::new(dir).exists());
    child.kill().unwrap();
    child.wait().unwrap();
    let until = Instant::now() + Duration::from_secs(30);
    while runs(pid) || Path::new(dir).exists() {
        assert!(Instant::now() < until, "Kafka {pid} or its data {dir} is left over");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a tool of Kafka prints.
fn tool(bootstrap: &str, class: &str, args: &[&str]) -> String {
    let mut command = kafka_tool(&format!("org.apache.kafka.tools.{class}")).unwrap();
    let done = command.args(["--bootstrap-server", bootstrap]).args(args).output().unwrap();
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let complained = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{class} {args:?}: {said}{complained}");
    said
}

#[test]
fn kafkas_own_tools_work_with_the_embedded_broker() {
    if skip_or_fail("Apache Kafka's tools", kafka_tool("none")).is_none() {
        return;
    }
    let kafka = KafkaHarness::embedded();
    let at = kafka.bootstrap_servers();
    let settings = ["--config", "max.message.bytes=2000000"];
    let create = ["--create", "--topic", "java", "--partitions", "2"];
    tool(&at, "TopicCommand", &[&create[..], &settings[..]].concat());
    let said = tool(&at, "TopicCommand", &["--describe", "--topic", "java"]);
    assert!(said.contains("PartitionCount: 2"), "{said}");
    assert!(said.contains("max.message.bytes=2000000"), "{said}");
    // The Java producer is idempotent by default.
    let produce = ["--topic", "java", "--num-records", "5000", "--record-size", "100"];
    let said = tool(&at, "ProducerPerformance", &[&produce[..], &["--throughput", "-1"]].concat());
    assert!(said.contains("5000 records sent"), "{said}");
    let said = tool(&at, "GetOffsetShell", &["--topic", "java"]);
    let ends = said.lines().filter_map(|l| l.rsplit_once(':')?.1.parse::<u64>().ok());
    assert_eq!(ends.sum::<u64>(), 5000, "{said}");
    let read = ["--topic", "java", "--partition", "1", "--offset", "earliest"];
    let read = [&read[..], &["--max-messages", "7"]].concat();
    let said = tool(&at, "consumer.ConsoleConsumer", &read);
    assert_eq!(said.lines().filter(|l| l.len() == 100).count(), 7, "{said}");
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
