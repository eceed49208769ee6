//! The main line through the library: the embedded broker, a query, a Delta table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream::batch::LakeCatalog;
use millstream::{Session, Trigger};
use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::Codec;
use std::path::Path;
use std::sync::Arc;

const SCHEMA: &str = "order_id STRING, amount DOUBLE, event_time TIMESTAMP";

fn order(id: u32) -> TestRecord {
    let json = format!(
        "{{\"order_id\":\"o-{id}\",\"amount\":{}.5,\"event_time\":\"2026-01-02T03:04:05Z\"}}",
        id % 100
    );
    TestRecord::value(json).key(format!("k{id}")).at(1_700_000_000_000 + i64::from(id))
}

async fn produce(kafka: &KafkaHarness, topic: &str, partitions: i32, ids: std::ops::Range<u32>) {
    let mut producer = kafka.producer().await;
    for partition in 0..partitions {
        let mine: Vec<TestRecord> = ids
            .clone()
            .filter(|id| i32::try_from(*id).unwrap() % partitions == partition)
            .map(order)
            .collect();
        producer.produce(topic, partition, &mine, Codec::Lz4).await;
    }
}

async fn run(kafka: &KafkaHarness, directory: &Path, topic: &str) {
    let session = Session::builder().build().unwrap();
    let query = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", 300)
        .load()
        .unwrap()
        .select_expr([
            &format!("from_json(CAST(value AS STRING), '{SCHEMA}') AS data"),
            "partition",
            "offset",
        ])
        .unwrap()
        .select_expr(["data.*", "partition", "offset"])
        .unwrap()
        .write_stream()
        .format("delta")
        .output_mode("append")
        .option("checkpointLocation", directory.join("checkpoint").display())
        .trigger(Trigger::AvailableNow)
        .start(directory.join("orders"))
        .await
        .unwrap();
    query.await_termination().await.unwrap();
}

async fn count(directory: &Path) -> Vec<String> {
    let session = Session::builder().build().unwrap();
    session.set_catalog(Arc::new(LakeCatalog::new(directory)));
    let rows = session
        .sql(
            "SELECT count(1), count(DISTINCT order_id), count(event_time), sum(amount) \
             FROM orders",
        )
        .unwrap()
        .collect()
        .await
        .unwrap();
    let mut out = Vec::new();
    for batch in &rows {
        for column in batch.columns() {
            out.push(arrow::util::display::array_value_to_string(column, 0).unwrap());
        }
    }
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_reach_the_table_once_over_two_runs() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("orders", 3).await;
    let directory = tempfile::tempdir().unwrap();
    produce(&kafka, "orders", 3, 0..1_000).await;
    run(&kafka, directory.path(), "orders").await;
    assert_eq!(count(directory.path()).await, ["1000", "1000", "1000", "50000.0"]);
    produce(&kafka, "orders", 3, 1_000..1_500).await;
    run(&kafka, directory.path(), "orders").await;
    assert_eq!(count(directory.path()).await, ["1500", "1500", "1500", "75000.0"]);
    // Nothing new: no batch, and nothing changes.
    run(&kafka, directory.path(), "orders").await;
    assert_eq!(count(directory.path()).await, ["1500", "1500", "1500", "75000.0"]);
}

/// Starts a query over one topic into `directory/t` and waits for its end.
async fn run_to_end(
    kafka: &KafkaHarness,
    directory: &Path,
    exprs: &[&str],
) -> millstream::Result<()> {
    let session = Session::builder().build()?;
    let query = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
        .option("subscribe", "topic")
        .option("startingOffsets", "earliest")
        .load()?
        .select_expr(exprs)?
        .write_stream()
        .option("checkpointLocation", directory.join("checkpoint").display())
        .trigger(Trigger::AvailableNow)
        .start(directory.join("t"))
        .await?;
    query.await_termination().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_fails_the_query_is_named() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 2).await;
    let mut producer = kafka.producer().await;
    let good: Vec<TestRecord> = (0..700).map(|n| TestRecord::value(format!("{n}"))).collect();
    producer.produce("topic", 0, &good, Codec::None).await;
    let mut bad = good.clone();
    bad[431] = TestRecord::value("not a number");
    producer.produce("topic", 1, &bad, Codec::Zstd).await;
    let directory = tempfile::tempdir().unwrap();
    let exprs = ["CAST(CAST(value AS STRING) AS INT) AS n", "offset"];
    let error = run_to_end(&kafka, directory.path(), &exprs).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("topic topic, partition 1, offset 431"), "{text}");
    assert!(text.contains("CAST_INVALID_INPUT"), "{text}");
    assert!(!directory.path().join("t/_delta_log").exists(), "nothing was committed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_lost_its_logs_is_refused() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let mut producer = kafka.producer().await;
    let records: Vec<TestRecord> = (0..10).map(|n| TestRecord::value(format!("{n}"))).collect();
    producer.produce("topic", 0, &records, Codec::None).await;
    let directory = tempfile::tempdir().unwrap();
    let exprs = ["CAST(value AS STRING) AS v"];
    run_to_end(&kafka, directory.path(), &exprs).await.unwrap();
    // Spark would start at batch 0 under the same id, and the table would skip the batches.
    for log in ["offsets", "commits"] {
        std::fs::remove_dir_all(directory.path().join("checkpoint").join(log)).unwrap();
    }
    producer.produce("topic", 0, &records, Codec::None).await;
    let error = run_to_end(&kafka, directory.path(), &exprs).await.unwrap_err();
    assert_eq!(error.code(), "CHECKPOINT_LOGS_GONE", "{error}");
}
