//! Clocks that jump, go back and stand still under a running query from Apache Kafka to a table:
//! what is read does not depend on them, batches keep coming, and batch times never go back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream::{Session, StreamingQuery, Trigger};
use millstream_core::env::{Env, SystemEnv};
use millstream_testkit::{Admin, Ledger, Producer, RealKafka, TestRecord, reader, skip_or_fail};
use millstream_wire::Codec;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use uuid::Uuid;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const PARTITIONS: i32 = 2;

/// The machine's clock, moved, or standing still.
#[derive(Default)]
struct Clock {
    moved_ms: AtomicI64,
    stands: AtomicBool,
}

impl Clock {
    /// Goes on from so far beside the machine's clock.
    fn jump(&self, moved_ms: i64) {
        self.stands.store(false, Ordering::SeqCst);
        self.moved_ms.store(moved_ms, Ordering::SeqCst);
    }

    /// Stands still at this time.
    fn freeze(&self) {
        let now = self.now_ms();
        self.moved_ms.store(now, Ordering::SeqCst);
        self.stands.store(true, Ordering::SeqCst);
    }
}

impl Env for Clock {
    fn now_ms(&self) -> i64 {
        let moved_ms = self.moved_ms.load(Ordering::SeqCst);
        if self.stands.load(Ordering::SeqCst) { moved_ms } else { SystemEnv.now_ms() + moved_ms }
    }

    fn uuid(&self) -> Uuid {
        SystemEnv.uuid()
    }
}

/// Starts a query of `topic` into `directory/t`.
async fn start(
    brokers: &str,
    topic: &str,
    directory: &Path,
    clock: &Arc<Clock>,
    (more, trigger): (&[(&str, &str)], Trigger),
) -> StreamingQuery {
    let session = Session::builder().env(clock.clone()).build().unwrap();
    let mut stream = session
        .read_stream()
        .format("kafka")
        .option("kafka.bootstrap.servers", brokers)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest");
    for (name, value) in more {
        stream = stream.option(*name, *value);
    }
    stream
        .load()
        .unwrap()
        .select_expr(["partition", "offset", "current_timestamp() AS seen"])
        .unwrap()
        .write_stream()
        .format("delta")
        .option("checkpointLocation", directory.join("checkpoint").display())
        .trigger(trigger)
        .start(directory.join("t"))
        .await
        .unwrap()
}

async fn produce(brokers: &str, topic: &str, ledger: &mut Ledger) {
    let mut producer = Producer::connect(brokers).await;
    for partition in 0..PARTITIONS {
        let records: Vec<TestRecord> = (0..30)
            .map(|_| {
                let number = ledger.next(partition);
                TestRecord::value(number.to_string()).at(1_000 * i64::try_from(number).unwrap())
            })
            .collect();
        producer.produce(topic, partition, &records, Codec::None).await;
    }
}

/// Waits until the table has everything, once.
async fn arrived(directory: &Path, ledger: &Ledger, when: &str) {
    let until = Instant::now() + Duration::from_secs(60);
    let table = directory.join("t");
    loop {
        let rows = reader::pairs(&table, "partition", "offset").unwrap_or_default();
        let audit = ledger.audit(rows);
        if audit.is_clean() {
            return;
        }
        assert_eq!((audit.duplicated, audit.phantom), (0, 0), "{when}: {audit}");
        assert!(Instant::now() < until, "{when}: {audit}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The times of all batches in order, as logged.
fn batch_times(directory: &Path) -> Vec<i64> {
    let mut batches: Vec<(u64, i64)> = std::fs::read_dir(directory.join("checkpoint/offsets"))
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let number = path.file_name()?.to_str()?.parse().ok()?;
            let text = std::fs::read_to_string(&path).unwrap();
            let metadata: serde_json::Value =
                serde_json::from_str(text.lines().nth(1).unwrap()).unwrap();
            Some((number, metadata["batchTimestampMs"].as_i64().unwrap()))
        })
        .collect();
    batches.sort_unstable();
    assert!(batches.iter().zip(0..).all(|((number, _), n)| *number == n), "all batches are kept");
    batches.into_iter().map(|(_, time)| time).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_jump_change_nothing_of_what_is_read() {
    let Some(kafka) = RealKafka::shared() else { return };
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    let brokers = kafka.bootstrap_servers();
    Admin::connect(&brokers).await.create_topic("clocks", PARTITIONS).await;
    let directory = tempfile::tempdir().unwrap();
    let (clock, mut ledger) = (Arc::new(Clock::default()), Ledger::new());
    let every = Trigger::ProcessingTime(Duration::from_millis(200));
    let gated = [("minOffsetsPerTrigger", "2"), ("maxTriggerDelay", "1s")];
    let run = || start(&brokers, "clocks", directory.path(), &clock, (&gated, every));
    let mut query = run().await;
    for moved_ms in [0, HOUR_MS, -HOUR_MS, DAY_MS, -DAY_MS, 40 * DAY_MS, -40 * DAY_MS, 0] {
        clock.jump(moved_ms);
        produce(&brokers, "clocks", &mut ledger).await;
        arrived(directory.path(), &ledger, &format!("{moved_ms} ms away")).await;
    }
    clock.freeze();
    for _ in 0..3 {
        produce(&brokers, "clocks", &mut ledger).await;
        arrived(directory.path(), &ledger, "standing still").await;
    }
    // The next process has a clock that is a day late.
    query.stop().await.unwrap();
    clock.jump(-DAY_MS);
    query = run().await;
    produce(&brokers, "clocks", &mut ledger).await;
    arrived(directory.path(), &ledger, "after a restart").await;
    query.stop().await.unwrap();
    let times = batch_times(directory.path());
    assert!(times.len() >= 12, "{times:?}");
    assert!(times.is_sorted(), "batch times go back: {times:?}");
    let ahead = SystemEnv.now_ms() + 39 * DAY_MS;
    assert!(times.last().is_some_and(|t| *t > ahead), "the newest time is kept: {times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_by_timestamp_is_the_records_business_and_not_the_clocks() {
    let Some(kafka) = RealKafka::shared() else { return };
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    let brokers = kafka.bootstrap_servers();
    Admin::connect(&brokers).await.create_topic("since", PARTITIONS).await;
    let mut ledger = Ledger::new();
    produce(&brokers, "since", &mut ledger).await;
    for moved_ms in [0, DAY_MS, -DAY_MS] {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(Clock::default());
        clock.jump(moved_ms);
        // Records have the times 0 s to 29 s.
        let since = [("startingTimestamp", "12500")];
        let plan = (&since[..], Trigger::AvailableNow);
        let query = start(&brokers, "since", directory.path(), &clock, plan).await;
        query.await_termination().await.unwrap();
        let mut rows = reader::pairs(&directory.path().join("t"), "partition", "offset").unwrap();
        rows.sort_unstable();
        let expected: Vec<(i32, i64)> =
            (0..PARTITIONS).flat_map(|p| (13..30).map(move |offset| (p, offset))).collect();
        assert_eq!(rows, expected, "{moved_ms} ms away");
    }
}
