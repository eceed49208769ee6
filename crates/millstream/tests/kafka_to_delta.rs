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

/// The rows of a batch query over the tables in `directory`, as text.
async fn rows(directory: &Path, sql: &str) -> Vec<Vec<String>> {
    let session = Session::builder().build().unwrap();
    session.set_catalog(Arc::new(LakeCatalog::new(directory)));
    let mut out = Vec::new();
    for batch in session.sql(sql).unwrap().collect().await.unwrap() {
        for row in 0..batch.num_rows() {
            let text = |column| arrow::util::display::array_value_to_string(column, row).unwrap();
            out.push(batch.columns().iter().map(|column| text(column.as_ref())).collect());
        }
    }
    out
}

async fn count(directory: &Path) -> Vec<String> {
    let sql =
        "SELECT count(1), count(DISTINCT order_id), count(event_time), sum(amount) FROM orders";
    rows(directory, sql).await.remove(0)
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
async fn a_record_that_the_table_refuses_is_named() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let mut values: Vec<String> = (0..50).map(|n| format!("v{}", n % 5)).collect();
    values[33] = "x".repeat(300);
    let records: Vec<TestRecord> = values.into_iter().map(TestRecord::value).collect();
    kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
    let directory = tempfile::tempdir().unwrap();
    let session = Session::builder().build().unwrap();
    let query = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
        .option("subscribe", "topic")
        .option("startingOffsets", "earliest")
        .load()
        .unwrap()
        .select_expr(["CAST(value AS STRING) AS v", "offset"])
        .unwrap()
        .write_stream()
        .option("checkpointLocation", directory.path().join("checkpoint").display())
        .partition_by(["v"])
        .trigger(Trigger::AvailableNow)
        .start(directory.path().join("t"))
        .await
        .unwrap();
    let text = query.await_termination().await.unwrap_err().to_string();
    assert!(text.contains("DELTA_PARTITION_VALUE_TOO_LONG"), "{text}");
    assert!(text.contains("topic topic, partition 0, offset 33"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_fail_a_named_cast_are_dead_letters() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let mut producer = kafka.producer().await;
    let records: Vec<TestRecord> = [
        ("1", Some(r#"{"amount":"10","day":"2026-01-02"}"#)),
        ("2", Some(r#"{"amount":"ten","day":"2026-01-02"}"#)),
        ("x", Some(r#"{"amount":"11","day":"2026-01-02"}"#)),
        ("4", Some("no json")),
        // Both casts fail: one dead letter, by the first.
        ("5", Some(r#"{"amount":"","day":"tomorrow"}"#)),
        ("6", Some(r#"{"amount":"99999999999","day":"2026-01-02"}"#)),
        // NULL casts to NULL.
        ("7", Some(r#"{"day":null}"#)),
        // A cast that nobody named may fail as the session says; this one is not reached.
        ("tombstone", None),
        ("9", Some(r#"{"amount":" 12 ","day":"2026-01-03"}"#)),
    ]
    .into_iter()
    .map(|(key, value)| match value {
        Some(value) => TestRecord::value(value).key(key),
        None => TestRecord::default().key(key),
    })
    .collect();
    producer.produce("topic", 0, &records, Codec::None).await;
    let directory = tempfile::tempdir().unwrap();
    for ansi in ["true", "false"] {
        let directory = directory.path().join(ansi);
        let session = Session::builder().build().unwrap();
        session.sql(&format!("SET spark.sql.ansi.enabled = {ansi}")).unwrap();
        let query = session
            .read_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
            .option("subscribe", "topic")
            .option("startingOffsets", "earliest")
            .load()
            .unwrap()
            .filter(millstream::functions::expr("value IS NOT NULL").unwrap())
            .unwrap()
            .select_expr([
                "from_json(CAST(value AS STRING), 'amount STRING, day STRING') AS d",
                "CAST(CAST(key AS STRING) AS INT) AS id",
                "offset",
            ])
            .unwrap()
            .select_expr([
                "id",
                "CAST(d.amount AS INT) AS amount",
                "CAST(d.day AS DATE) AS day",
                "offset",
            ])
            .unwrap()
            .write_stream()
            .option("checkpointLocation", directory.join("checkpoint").display())
            .option("deadLetter", "")
            .option("deadLetterCasts", "id, amount, day")
            .trigger(Trigger::AvailableNow)
            .start(directory.join("t"))
            .await
            .unwrap();
        query.await_termination().await.unwrap();
        let batch = query.recent_progress().into_iter().find(|p| p.num_input_rows > 0).unwrap();
        assert_eq!((batch.num_input_rows, batch.sink.num_output_rows), (9, 3));
        assert_eq!(batch.sink.metrics, [("numDeadLetters".to_owned(), "5".to_owned())].into());
        assert_eq!(
            rows(&directory, "SELECT id, amount, day, offset FROM t ORDER BY offset").await,
            [["1", "10", "2026-01-02", "0"], ["7", "", "", "6"], ["9", "12", "2026-01-03", "8"]]
        );
        let letters = rows(
            &directory,
            "SELECT offset, reason, detail, CAST(key AS STRING) FROM t_dead_letters ORDER BY offset",
        )
        .await;
        let short: Vec<[&str; 3]> =
            letters.iter().map(|row| [row[0].as_str(), row[1].as_str(), row[3].as_str()]).collect();
        assert_eq!(
            short,
            [
                ["1", "CAST_FAILED", "2"],
                ["2", "CAST_FAILED", "x"],
                ["3", "MALFORMED_JSON", "4"],
                ["4", "CAST_FAILED", "5"],
                ["5", "CAST_FAILED", "6"],
            ]
        );
        assert!(
            letters[0][2].starts_with("`amount`: [CAST_INVALID_INPUT] The value 'ten'"),
            "{letters:?}"
        );
        assert!(letters[1][2].starts_with("`id`: [CAST_INVALID_INPUT]"), "{letters:?}");
    }
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn once_is_one_batch_and_a_batch_in_doubt_comes_first() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let mut producer = kafka.producer().await;
    let records: Vec<TestRecord> = (0..10).map(|n| TestRecord::value(format!("{n}"))).collect();
    let directory = tempfile::tempdir().unwrap();
    let once = || async {
        let session = Session::builder().build().unwrap();
        let query = session
            .read_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", kafka.bootstrap_servers())
            .option("subscribe", "topic")
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", 3)
            .load()
            .unwrap()
            .select_expr(["CAST(value AS STRING) AS v"])
            .unwrap()
            .write_stream()
            .option("checkpointLocation", directory.path().join("checkpoint").display())
            .trigger(Trigger::Once)
            .start(directory.path().join("t"))
            .await
            .unwrap();
        query.await_termination().await.unwrap();
        let commits = directory.path().join("checkpoint/commits");
        let names = std::fs::read_dir(commits).unwrap().map(|e| e.unwrap().file_name());
        let names = names.map(|n| n.into_string().unwrap()).filter(|n| n.parse::<u64>().is_ok());
        names.count()
    };
    producer.produce("topic", 0, &records, Codec::None).await;
    assert_eq!(once().await, 1, "ten records, whatever maxOffsetsPerTrigger says");
    producer.produce("topic", 0, &records, Codec::None).await;
    // The completion of batch 0 is lost: settling it is all that the next run does.
    std::fs::remove_file(directory.path().join("checkpoint/commits/0")).unwrap();
    assert_eq!(once().await, 1);
    assert!(!directory.path().join("checkpoint/offsets/1").exists());
    assert_eq!(once().await, 2);
    assert!(directory.path().join("checkpoint/offsets/1").exists());
}

#[tokio::test]
async fn bad_options_are_told_by_load_and_brokers_are_asked_by_the_query() {
    let session = Session::builder().build().unwrap();
    let load = |name: &str, value: &str| {
        let reader = session.read_stream().format("kafka").option("subscribe", "t");
        // Nobody listens there.
        reader.option("kafka.bootstrap.servers", "127.0.0.1:1").option(name, value).load().map(drop)
    };
    load("startingOffsets", "earliest").unwrap();
    let error = load("endingOffsets", "latest").unwrap_err();
    assert_eq!(error.message(), "ending offset not valid in streaming queries");
    assert_eq!(load("minPartitions", "0").unwrap_err().code(), "KAFKA_OPTION_INVALID");
    assert_eq!(load("no.such.option", "0").unwrap_err().code(), "OPTION_UNKNOWN");
}
