//! The Rust example as it is written, as a process of its own, against real Kafka; its table as an
//! independent reader sees it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, TestRecord, example_binary, reader, skip_or_fail};
use millstream_wire::Codec;
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs the example to its end; answers the progress it printed.
fn run(program: &Path, kafka: &KafkaHarness, lake: &Path) -> Vec<Value> {
    let output = Command::new(program)
        .arg(kafka.bootstrap_servers())
        .arg(lake)
        .stdin(Stdio::null())
        .output()
        .expect("the example starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", output.status);
    let lines = String::from_utf8(output.stdout).expect("text");
    lines.lines().map(|line| serde_json::from_str(line).expect("progress")).collect()
}

fn rows_of(progress: &[Value]) -> u64 {
    progress.iter().map(|p| p["numInputRows"].as_u64().expect("a number of rows")).sum()
}

/// An order of `number - 10` and a quarter: the first ten are below zero.
fn order(number: i64) -> TestRecord {
    TestRecord::value(format!("{{\"id\":\"o-{number}\",\"amount\":{}.25}}", number - 10))
}

/// What the table must hold of the orders up to `end`, sorted.
fn expected(end: i64) -> Vec<(String, String)> {
    let kept = (0..end).filter(|n| n - 10 >= 0);
    let mut rows: Vec<_> = kept.map(|n| (format!("o-{n}"), format!("{}.25", n - 10))).collect();
    rows.sort();
    rows
}

fn found(table: &Path) -> Option<Vec<(String, String)>> {
    let columns = ["id", "amount", "timestamp"];
    let rows = skip_or_fail("the deltalake wheel", reader::rows(table, &columns))?;
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| {
            assert!(row["timestamp"].is_string(), "{row}");
            (text(&row["id"]), text(&row["amount"]))
        })
        .collect();
    rows.sort();
    Some(rows)
}

async fn the_example_runs(kafka: &KafkaHarness) {
    let built = example_binary(env!("CARGO_MANIFEST_DIR"), "orders");
    let Some(program) = skip_or_fail("the Rust example", built) else { return };
    kafka.admin().await.create_topic("orders", 2).await;
    let mut producer = kafka.producer().await;
    let mut records: Vec<TestRecord> = (0..300).map(order).collect();
    // Neither can be read as an order; the example keeps what is above zero, so neither is kept.
    records.push(TestRecord::value("{\"id\": \"broken"));
    records.push(TestRecord { value: None, ..TestRecord::default() });
    producer.produce("orders", 0, &records, Codec::Zstd).await;
    producer.produce("orders", 1, &(300..500).map(order).collect::<Vec<_>>(), Codec::Lz4).await;

    let lake = tempfile::tempdir().expect("a directory");
    let table = lake.path().join("orders");
    let progress = run(&program, kafka, lake.path());
    assert_eq!(rows_of(&progress), 502, "{progress:?}");
    let Some(rows) = found(&table) else { return };
    assert_eq!(rows, expected(500));

    producer.produce("orders", 1, &(500..600).map(order).collect::<Vec<_>>(), Codec::None).await;
    let progress = run(&program, kafka, lake.path());
    assert_eq!(rows_of(&progress), 100, "{progress:?}");
    assert_eq!(found(&table).expect("read before"), expected(600));
    let progress = run(&program, kafka, lake.path());
    assert_eq!(rows_of(&progress), 0, "{progress:?}");
    assert_eq!(found(&table).expect("read before"), expected(600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_runs_against_the_embedded_broker() {
    the_example_runs(&KafkaHarness::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_runs_against_real_kafka() {
    let Some(kafka) = KafkaHarness::real() else { return };
    the_example_runs(&kafka).await;
}
