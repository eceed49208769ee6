//! Every source against the rules of sources; Kafka's against the embedded broker and against
//! Apache Kafka.

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use millstream::sources::{
    KafkaStream, MemoryStream, RateStream, ScanSettings, StreamingSource, open,
};
use millstream::{Error, Result};
use millstream_core::contract::{Position, SourceRange};
use millstream_core::env::{Env, SharedEnv, SystemEnv};
use millstream_core::options::OptionMap;
use millstream_testkit::conformance::source::check;
use millstream_testkit::{KafkaHarness, SourceHarness, TestRecord};
use millstream_wire::Codec;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use uuid::Uuid;

/// Reads a range as the engine does: all its tasks, all columns; one text a row.
async fn read(source: &Arc<dyn StreamingSource>, range: &SourceRange) -> Result<Vec<String>> {
    let settings = ScanSettings { parallelism: 4, batch_rows: 5, batch_bytes: 1 << 20 };
    let scan = Arc::clone(source).scan(range, settings)?;
    let mut rows = Vec::new();
    for partition in 0..scan.partitions() {
        let batches = scan.execute(partition, None).map_err(internal)?;
        let batches: Vec<RecordBatch> = batches.try_collect().await.map_err(internal)?;
        for batch in batches {
            rows.extend((0..batch.num_rows()).map(|row| text(&batch, row)));
        }
    }
    Ok(rows)
}

fn internal(error: impl std::fmt::Display) -> Error {
    Error::internal(error.to_string())
}

fn text(batch: &RecordBatch, row: usize) -> String {
    let cells = batch.columns().iter().map(|c| array_value_to_string(c, row).unwrap());
    cells.collect::<Vec<_>>().join("|")
}

/// Positions that none of the sources makes.
fn nobodys() -> Vec<Position> {
    let damaged = [json!("7"), json!(-1), json!({ "t": { "0": "x" } }), json!([1]), Value::Null];
    damaged.map(Position).into()
}

const PARTITIONS: i32 = 3;

/// A topic of its own on a broker that all checks share.
struct Topic<'a> {
    kafka: &'a KafkaHarness,
    name: String,
    fed: AtomicUsize,
}

impl Topic<'_> {
    async fn new(kafka: &KafkaHarness) -> Topic<'_> {
        let name = format!("conformance-{}", Uuid::new_v4());
        kafka.admin().await.create_topic(&name, PARTITIONS).await;
        Topic { kafka, name, fed: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl SourceHarness for Topic<'_> {
    type Source = dyn StreamingSource;

    async fn open(&self, records_max: Option<usize>) -> Result<Arc<dyn StreamingSource>> {
        let mut options = OptionMap::new();
        options.insert("kafka.bootstrap.servers", self.kafka.bootstrap_servers());
        options.insert("subscribe", &self.name);
        options.insert("startingOffsets", "earliest");
        if let Some(max) = records_max {
            options.insert("maxOffsetsPerTrigger", max.to_string());
        }
        Ok(Arc::new(KafkaStream::new(&options, Arc::new(SystemEnv))?))
    }

    /// Spark rounds each partition's share up.
    fn slack(&self) -> Option<usize> {
        Some(PARTITIONS as usize - 1)
    }

    async fn feed(&self, records: usize) -> Result<Vec<String>> {
        let mut producer = self.kafka.producer().await;
        let (mut fed, codecs) = (Vec::new(), [Codec::None, Codec::Lz4, Codec::Zstd]);
        for partition in 0..PARTITIONS {
            let mut batch = Vec::new();
            let mine = (0..records).filter(|n| n % PARTITIONS as usize == partition as usize);
            for _ in mine {
                let value = format!("record {}", self.fed.fetch_add(1, Ordering::SeqCst));
                batch.push(TestRecord::value(value.clone()));
                fed.push(value);
            }
            if !batch.is_empty() {
                let codec = codecs[partition as usize];
                producer.produce(&self.name, partition, &batch, codec).await;
            }
        }
        Ok(fed)
    }

    async fn read(
        &self,
        source: &Arc<dyn StreamingSource>,
        range: &SourceRange,
    ) -> Result<Vec<String>> {
        let rows = read(source, range).await?;
        // The value, printed as hexadecimal digits, is the second column.
        let value = |row: &String| {
            let hex = row.split('|').nth(1).unwrap_or_default();
            let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
            String::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
        };
        Ok(rows.iter().map(value).collect())
    }

    fn foreign(&self) -> Vec<Position> {
        let mut all = nobodys();
        all.push(Position(json!({ "startMs": 0, "seconds": 5 })));
        all.push(Position(json!({ &self.name: { "0": "5" } })));
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_conforms_on_the_embedded_broker() {
    let kafka = KafkaHarness::embedded();
    check(async || Ok(Topic::new(&kafka).await)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_conforms_on_apache_kafka() {
    let Some(kafka) = KafkaHarness::real() else { return };
    check(async || Ok(Topic::new(&kafka).await)).await.unwrap();
}

/// A clock that only the test moves.
#[derive(Debug)]
struct Clock(AtomicI64);

impl Env for Clock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }

    fn uuid(&self) -> Uuid {
        SystemEnv.uuid()
    }
}

/// One row a second; feeding is waiting.
struct Rate {
    clock: Arc<Clock>,
    start_ms: i64,
}

impl Rate {
    fn new() -> Self {
        let start_ms = 1_700_000_000_123;
        Rate { clock: Arc::new(Clock(AtomicI64::new(start_ms))), start_ms }
    }
}

#[async_trait]
impl SourceHarness for Rate {
    type Source = dyn StreamingSource;

    async fn open(&self, _: Option<usize>) -> Result<Arc<dyn StreamingSource>> {
        let clock: SharedEnv = self.clock.clone();
        open("rate", &OptionMap::new(), &clock)
    }

    fn slack(&self) -> Option<usize> {
        None
    }

    async fn feed(&self, records: usize) -> Result<Vec<String>> {
        let seconds = i64::try_from(records).unwrap();
        let from = (self.clock.now_ms() - self.start_ms) / 1000;
        self.clock.0.fetch_add(seconds * 1000, Ordering::SeqCst);
        Ok((from..from + seconds).map(|n| n.to_string()).collect())
    }

    async fn read(
        &self,
        source: &Arc<dyn StreamingSource>,
        range: &SourceRange,
    ) -> Result<Vec<String>> {
        let rows = read(source, range).await?;
        let value = |row: &String| row.split('|').nth(1).unwrap_or_default().to_owned();
        Ok(rows.iter().map(value).collect())
    }

    fn foreign(&self) -> Vec<Position> {
        let mut all = nobodys();
        all.push(Position(json!({ "startMs": self.start_ms })));
        all.push(Position(json!({ "startMs": self.start_ms, "seconds": -5 })));
        all.push(Position(json!({ "startMs": self.start_ms, "seconds": i64::MAX })));
        all
    }
}

#[tokio::test]
async fn the_rate_source_conforms() {
    check(async || Ok(Rate::new())).await.unwrap();
}

#[test]
fn a_range_over_two_starts_of_a_rate_stream_is_refused() {
    let clock: SharedEnv = Rate::new().clock;
    let source = Arc::new(RateStream::new(&OptionMap::new(), clock).unwrap());
    let at =
        |start_ms: i64, seconds: i64| Position(json!({ "startMs": start_ms, "seconds": seconds }));
    for (start, end) in [(at(0, 1), at(1, 2)), (at(0, 2), at(0, 1))] {
        let range = SourceRange { start, end, detail: Value::Null };
        let settings = ScanSettings { parallelism: 1, batch_rows: 5, batch_bytes: 1 << 20 };
        let error = Arc::clone(&source).scan(&range, settings).unwrap_err();
        assert_eq!(error.code(), "RATE_OFFSET_MALFORMED");
    }
}

#[tokio::test]
async fn times_of_a_fast_rate_stream_are_right_after_weeks() {
    let clock: SharedEnv = Rate::new().clock;
    let options = [("rowsPerSecond", "10000000")].into_iter().collect();
    let source: Arc<dyn StreamingSource> = open("rate", &options, &clock).unwrap();
    let weeks = 21 * 24 * 3_600;
    let at = |seconds: i64| Position(json!({ "startMs": 0, "seconds": seconds }));
    let range = SourceRange { start: at(weeks), end: at(weeks + 1), detail: Value::Null };
    let settings = ScanSettings { parallelism: 1, batch_rows: 5, batch_bytes: 1 << 20 };
    let scan = source.scan(&range, settings).unwrap();
    let first = scan.execute(0, None).unwrap().try_next().await.unwrap().unwrap();
    assert_eq!(text(&first, 0), "1970-01-22T00:00:00Z|18144000000000");
}

/// A stream of single rows.
struct Memory {
    stream: Arc<MemoryStream>,
    fed: AtomicI64,
}

fn row(number: i64) -> RecordBatch {
    let column = Arc::new(Int64Array::from(vec![number])) as ArrayRef;
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

impl Memory {
    fn new() -> Self {
        Memory { stream: MemoryStream::new(row(0).schema()), fed: AtomicI64::new(0) }
    }
}

#[async_trait]
impl SourceHarness for Memory {
    type Source = dyn StreamingSource;

    async fn open(&self, _: Option<usize>) -> Result<Arc<dyn StreamingSource>> {
        Ok(Arc::new(self.stream.source()))
    }

    fn slack(&self) -> Option<usize> {
        None
    }

    async fn feed(&self, records: usize) -> Result<Vec<String>> {
        let mut fed = Vec::new();
        for _ in 0..records {
            let number = self.fed.fetch_add(1, Ordering::SeqCst);
            self.stream.add_data(row(number))?;
            fed.push(number.to_string());
        }
        Ok(fed)
    }

    async fn read(
        &self,
        source: &Arc<dyn StreamingSource>,
        range: &SourceRange,
    ) -> Result<Vec<String>> {
        read(source, range).await
    }

    fn foreign(&self) -> Vec<Position> {
        let mut all = nobodys();
        // Behind the end: another process's stream.
        all.push(Position(json!(1_000)));
        all
    }
}

#[tokio::test]
async fn the_memory_source_conforms() {
    check(async || Ok::<_, Error>(Memory::new())).await.unwrap();
}
