//! Sources with short patience, and rows as plain values.

use arrow::array::{Array, AsArray, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::TryStreamExt as _;
use millstream_broker::{Broker, BrokerConfig};
use millstream_core::Result;
use millstream_core::contract::{Admitted, Limit, Position, Source as _, SourceRange};
use millstream_core::env::SystemEnv;
use millstream_core::options::OptionMap;
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode, ReadOptions};
use millstream_testkit::{Producer, TestRecord};
use millstream_wire::Codec;
use std::sync::Arc;

/// One row; columns that were not read keep their default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub timestamp_us: i64,
    pub timestamp_type: i32,
}

pub fn options(bootstrap: &str, pairs: &[(&str, &str)]) -> OptionMap {
    let mut options: OptionMap = [
        ("kafka.bootstrap.servers", bootstrap),
        ("fetchOffset.retryIntervalMs", "20"),
        ("kafka.retry.backoff.ms", "5"),
        ("kafka.retry.backoff.max.ms", "40"),
        ("kafka.reconnect.backoff.ms", "5"),
        ("kafka.reconnect.backoff.max.ms", "40"),
        ("kafka.default.api.timeout.ms", "10000"),
    ]
    .into_iter()
    .collect();
    for (name, value) in pairs {
        options.insert(*name, *value);
    }
    options
}

pub fn source(bootstrap: &str, pairs: &[(&str, &str)]) -> Arc<KafkaSource> {
    let config = KafkaConfig::from_options(&options(bootstrap, pairs), ReadMode::Stream).unwrap();
    KafkaSource::new(config, Arc::new(SystemEnv))
}

pub fn batch_source(bootstrap: &str, pairs: &[(&str, &str)]) -> Arc<KafkaSource> {
    let config = KafkaConfig::from_options(&options(bootstrap, pairs), ReadMode::Batch).unwrap();
    KafkaSource::new(config, Arc::new(SystemEnv))
}

pub fn broker(topics: &[(&str, i32)]) -> Broker {
    let topics = topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    Broker::start(BrokerConfig { topics, ..BrokerConfig::default() }).unwrap()
}

pub fn position(text: &str) -> Position {
    Position(serde_json::from_str(text).unwrap())
}

pub fn json(position: &Position) -> String {
    position.0.to_string()
}

/// `count` records `<first>..` with times of as many milliseconds.
pub fn records(first: usize, count: usize) -> Vec<TestRecord> {
    (first..first + count)
        .map(|n| TestRecord::value(format!("v{n}")).key(format!("k{n}")).at(n as i64))
        .collect()
}

pub async fn produce(bootstrap: &str, topic: &str, partition: i32, first: usize, count: usize) {
    let mut producer = Producer::connect(bootstrap).await;
    producer.produce(topic, partition, &records(first, count), Codec::None).await;
}

pub async fn admit(source: &KafkaSource, start: &str) -> Result<Admitted> {
    source.admit(&position(start), None, Limit::Options).await
}

pub async fn admit_after(source: &KafkaSource, range: &SourceRange) -> Result<Admitted> {
    source.admit(&range.end, Some(&range.detail), Limit::Options).await
}

pub async fn batches(source: &Arc<KafkaSource>, range: &SourceRange) -> Result<Vec<RecordBatch>> {
    let splits = source.splits(range, 2)?;
    source.read(splits, None, ReadOptions::default()).try_collect().await
}

/// All rows of a range, by topic, partition and offset.
pub async fn rows(source: &Arc<KafkaSource>, range: &SourceRange) -> Result<Vec<Row>> {
    Ok(to_rows(&batches(source, range).await?))
}

pub fn to_rows(batches: &[RecordBatch]) -> Vec<Row> {
    let mut rows: Vec<Row> = batches.iter().flat_map(batch_rows).collect();
    rows.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
    rows
}

fn batch_rows(batch: &RecordBatch) -> Vec<Row> {
    let binary = |name: &str| batch.column_by_name(name).map(|c| c.as_binary::<i32>().clone());
    let (key, value): (Option<BinaryArray>, Option<BinaryArray>) = (binary("key"), binary("value"));
    let topic: Option<StringArray> =
        batch.column_by_name("topic").map(|c| c.as_string::<i32>().clone());
    let int =
        |name: &str| batch.column_by_name(name).map(|c| c.as_primitive::<Int32Type>().clone());
    let (partition, kind): (Option<Int32Array>, Option<Int32Array>) =
        (int("partition"), int("timestampType"));
    let offset: Option<Int64Array> =
        batch.column_by_name("offset").map(|c| c.as_primitive::<Int64Type>().clone());
    let time = batch
        .column_by_name("timestamp")
        .map(|c| c.as_primitive::<TimestampMicrosecondType>().clone());
    let bytes = |column: &Option<BinaryArray>, at: usize| {
        column.as_ref().filter(|c| c.is_valid(at)).map(|c| c.value(at).to_vec())
    };
    (0..batch.num_rows())
        .map(|at| Row {
            topic: topic.as_ref().map(|c| c.value(at).to_owned()).unwrap_or_default(),
            partition: partition.as_ref().map_or(0, |c| c.value(at)),
            offset: offset.as_ref().map_or(0, |c| c.value(at)),
            key: bytes(&key, at),
            value: bytes(&value, at),
            timestamp_us: time.as_ref().map_or(0, |c| c.value(at)),
            timestamp_type: kind.as_ref().map_or(0, |c| c.value(at)),
        })
        .collect()
}

pub fn offsets(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|r| r.offset).collect()
}

/// Everything there is, from `start`.
pub async fn everything(source: &Arc<KafkaSource>, start: &str) -> (SourceRange, Vec<Row>) {
    let range = admit(source, start).await.unwrap().range.expect("there is something to read");
    let rows = rows(source, &range).await.unwrap();
    (range, rows)
}
