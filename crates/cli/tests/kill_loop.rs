//! The real binary against a real broker, killed with SIGKILL at random moments while records keep
//! coming, then audited by an independent reader: every record is in the table or in the dead
//! letters, once.
//!
//! `MILLSTREAM_KILLS` sets the number of kills (25 without it); `MILLSTREAM_SEED` the moments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, Ledger, Producer, TestRecord, reader, skip_or_fail};
use millstream_wire::Codec;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TOPIC: &str = "orders";
const PARTITIONS: i32 = 4;
/// One record in so many is malformed, one in so many a tombstone.
const MALFORMED: u64 = 50;
const TOMBSTONE: u64 = 97;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn pipeline(bootstrap: &str) -> String {
    format!(
        "CREATE OR REFRESH STREAMING TABLE orders AS
         SELECT data.order_id, data.amount, data.event_time, partition, offset
         FROM (
           SELECT from_json(CAST(value AS STRING),
                            'order_id STRING, amount DOUBLE, event_time TIMESTAMP') AS data,
                  partition, offset
           FROM STREAM read_kafka(
             bootstrapServers => '{bootstrap}',
             subscribe => '{TOPIC}',
             startingOffsets => 'earliest',
             maxOffsetsPerTrigger => 3000,
             deadLetter => 'orders_dead_letters'));\n"
    )
}

fn start(directory: &Path, trigger: Option<&str>) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.arg("run").arg(directory.join("pipeline.sql"));
    command.arg("--storage").arg(directory.join("lake"));
    command.args(["--progress", "none", "--log-level", "warn"]);
    if let Some(trigger) = trigger {
        command.args(["--trigger", trigger]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("the binary starts")
}

fn record(partition: i32, number: u64) -> TestRecord {
    let id = number * 16 + u64::try_from(partition).unwrap_or(0);
    let at = 1_700_000_000_000 + i64::try_from(number).unwrap_or(0);
    let key = format!("customer-{}", id % 1000);
    if id % MALFORMED == 3 {
        return TestRecord::value(format!("{{\"order_id\": \"{id}\", \"amount\": "))
            .key(key)
            .at(at);
    }
    if id % TOMBSTONE == 5 {
        return TestRecord { value: None, ..TestRecord::default().key(key).at(at) };
    }
    let amount = (id % 10_000) as f64 / 100.0;
    let json = format!(
        "{{\"order_id\":\"o-{id}\",\"amount\":{amount:?},\"event_time\":\"2026-01-02T03:04:05.123Z\"}}"
    );
    TestRecord::value(json).key(key).at(at)
}

/// Produces until told to stop; returns what was written.
async fn produce(mut producer: Producer, stop: Arc<AtomicBool>) -> Ledger {
    let mut ledger = Ledger::new();
    let codecs = [Codec::None, Codec::Lz4, Codec::Zstd, Codec::Gzip, Codec::Snappy];
    for codec in codecs.into_iter().cycle() {
        for partition in 0..PARTITIONS {
            let records: Vec<TestRecord> =
                (0..100).map(|_| record(partition, ledger.next(partition))).collect();
            producer.produce(TOPIC, partition, &records, codec).await;
        }
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ledger
}

async fn kill_at_random_moments(directory: &Path, kills: u64, seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    for kill in 0..kills {
        let mut child = start(directory, None);
        let life = Duration::from_millis(random.random_range(20..900));
        tokio::time::sleep(life).await;
        let ended_by_itself = child.try_wait().expect("the child can be waited for");
        assert!(ended_by_itself.is_none(), "run {kill} ended by itself: {ended_by_itself:?}");
        child.kill().expect("SIGKILL");
        child.wait().expect("the child is gone");
    }
}

fn rows(table: PathBuf) -> Vec<(i32, i64)> {
    reader::pairs(&table, "partition", "offset").expect("the independent reader reads the table")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_kills_lose_nothing_and_double_nothing_on_real_kafka() {
    let Some(kafka) = KafkaHarness::real() else { return };
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    kafka.admin().await.create_topic(TOPIC, PARTITIONS).await;
    std::fs::write(directory.path().join("pipeline.sql"), pipeline(&kafka.bootstrap_servers()))
        .expect("the pipeline file");
    let stop = Arc::new(AtomicBool::new(false));
    let producing = tokio::spawn(produce(kafka.producer().await, stop.clone()));
    let (kills, seed) = (number("MILLSTREAM_KILLS", 25), number("MILLSTREAM_SEED", 1));
    println!("{kills} kills, seed {seed}");
    kill_at_random_moments(directory.path(), kills, seed).await;
    stop.store(true, Ordering::Relaxed);
    let ledger = producing.await.expect("the producer");

    let status = start(directory.path(), Some("available-now")).wait().expect("the last run");
    assert!(status.success(), "the last run failed: {status}");

    let lake = directory.path().join("lake");
    let good = rows(lake.join("orders"));
    let letters = rows(lake.join("orders_dead_letters"));
    assert!(!letters.is_empty(), "malformed records must become dead letters");
    println!("{} rows, {} dead letters", good.len(), letters.len());
    ledger.audit(good.into_iter().chain(letters)).assert_clean();
}
