//! The example pipelines as they are, through the real binary against real Kafka: run, read, prove,
//! lose the checkpoint, make it anew, go on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::Codec;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn millstream(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_millstream"))
        .args(arguments)
        .args(["--log-level", "warn"])
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs")
}

/// Runs a command that must succeed; returns what it printed.
fn succeed(arguments: &[&str]) -> String {
    let output = millstream(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {}\n{errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

struct Lake {
    directory: tempfile::TempDir,
    brokers: String,
}

impl Lake {
    fn new(kafka: &KafkaHarness) -> Self {
        let brokers = format!("brokers={}", kafka.bootstrap_servers());
        Lake { directory: tempfile::tempdir().expect("a directory"), brokers }
    }

    fn storage(&self) -> &str {
        self.directory.path().to_str().expect("a path in UTF-8")
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.storage())
    }

    fn run(&self, name: &str) {
        let file = example(name);
        let file = file.to_str().expect("a path in UTF-8");
        succeed(&[
            "run",
            file,
            "--storage",
            self.storage(),
            "--set",
            &self.brokers,
            "--trigger",
            "available-now",
        ]);
    }

    fn sql(&self, query: &str) -> String {
        succeed(&["sql", "-e", query, "--storage", self.storage(), "--format", "csv"])
    }

    fn verify(&self, name: &str) -> String {
        let file = example(name);
        let file = file.to_str().expect("a path in UTF-8");
        succeed(&["verify", file, "--storage", self.storage(), "--set", &self.brokers])
    }
}

fn order(number: u64) -> TestRecord {
    let json = format!(
        "{{\"id\":\"o-{number}\",\"customer\":\"c-{}\",\"amount\":{number}.25,\"country\":\"{}\",\
         \"ordered_at\":\"2026-01-01T00:00:00.250Z\"}}",
        number % 7,
        ["DE", "FR"][usize::try_from(number % 2).unwrap_or(0)]
    );
    TestRecord::value(json)
}

async fn orders_of(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("orders", 2).await;
    let mut producer = kafka.producer().await;
    let mut records: Vec<TestRecord> = (0..500).map(order).collect();
    records.push(TestRecord::value("{\"id\": \"broken"));
    records.push(TestRecord { value: None, ..TestRecord::default() });
    producer.produce("orders", 0, &records, Codec::Zstd).await;
    producer.produce("orders", 1, &(500..900).map(order).collect::<Vec<_>>(), Codec::Lz4).await;
}

async fn orders_run_and_go_on_from_a_rebuilt_checkpoint(kafka: &KafkaHarness) {
    orders_of(kafka).await;
    let lake = Lake::new(kafka);
    lake.run("orders.sql");
    let counts = "SELECT count(*), count(DISTINCT order_id), sum(amount) FROM orders";
    assert_eq!(lake.sql(counts).lines().nth(1), Some("900,900,404775.00"));
    let letters = lake.sql("SELECT count(*), min(reason) FROM orders_dead_letters");
    assert!(letters.lines().nth(1).is_some_and(|l| l.starts_with("1,")), "{letters}");
    let report = lake.verify("orders.sql");
    assert!(report.contains("verdict     clean"), "{report}");

    let checkpoint = lake.path("_checkpoints/orders/orders");
    let inspection = succeed(&["checkpoint", "inspect", &checkpoint]);
    assert!(inspection.contains("orders"), "{inspection}");
    succeed(&["checkpoint", "doctor", &checkpoint]);
    std::fs::remove_dir_all(&checkpoint).expect("the checkpoint is lost");
    succeed(&["checkpoint", "rebuild", "--table", &lake.path("orders"), &checkpoint]);
    let more: Vec<TestRecord> = (900..1_000).map(order).collect();
    kafka.producer().await.produce("orders", 1, &more, Codec::None).await;
    lake.run("orders.sql");
    assert_eq!(lake.sql(counts).lines().nth(1), Some("1000,1000,499750.00"));
}

async fn two_flows_fill_one_partitioned_table(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let mut producer = kafka.producer().await;
    for (topic, range) in [("web-orders", 0..100), ("shop-orders", 100..150)] {
        admin.create_topic(topic, 1).await;
        producer.produce(topic, 0, &range.map(order).collect::<Vec<_>>(), Codec::Gzip).await;
    }
    let lake = Lake::new(kafka);
    lake.run("two_flows.sql");
    lake.run("two_flows.sql");
    let counts = lake.sql(
        "SELECT channel, country, count(*) FROM all_orders GROUP BY channel, country \
         ORDER BY channel, country",
    );
    let rows: Vec<&str> = counts.lines().skip(1).collect();
    assert_eq!(rows, ["shop,DE,25", "shop,FR,25", "web,DE,50", "web,FR,50"]);
    assert!(Path::new(&lake.path("all_orders/country=DE")).is_dir());
    // Which of the two queries is which.
    let (table, anew) = (lake.path("all_orders"), lake.path("anew"));
    let several = millstream(&["checkpoint", "rebuild", "--table", &table, &anew]);
    let why = String::from_utf8_lossy(&several.stderr).into_owned();
    assert!(!several.status.success() && why.contains("REBUILD_SEVERAL_QUERIES"), "{why}");
    for topic in ["`web-orders`", "`shop-orders`"] {
        assert!(why.contains(&format!("Z, reads {topic})")), "{why}");
    }
}

async fn a_raw_copy_is_proved_row_by_row(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("events-a", 3).await;
    let mut producer = kafka.producer().await;
    for partition in 0..3 {
        let records: Vec<TestRecord> =
            (0..200).map(|n| order(n).key("k").header("h", Some(b"v"))).collect();
        producer.produce("events-a", partition, &records, Codec::Snappy).await;
    }
    let lake = Lake::new(kafka);
    lake.run("raw_copy.sql");
    let report = lake.verify("raw_copy.sql");
    assert!(report.contains("600 rows, 0 twice, 0 phantom; gaps checked in"), "{report}");
    assert!(!report.contains("gaps checked in 0 of"), "{report}");
}

async fn all(kafka: &KafkaHarness) {
    orders_run_and_go_on_from_a_rebuilt_checkpoint(kafka).await;
    two_flows_fill_one_partitioned_table(kafka).await;
    a_raw_copy_is_proved_row_by_row(kafka).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_run_against_the_embedded_broker() {
    all(&KafkaHarness::embedded()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn examples_run_against_real_kafka() {
    let Some(kafka) = KafkaHarness::real() else { return };
    all(&kafka).await;
}

#[test]
fn every_example_passes_its_check_without_a_broker() {
    for entry in example(".").read_dir().expect("examples").flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|e| e == "sql") {
            let said = succeed(&["check", path.to_str().expect("a path in UTF-8")]);
            assert!(said.contains("guarantee   exactly-once"), "{said}");
        }
    }
}
