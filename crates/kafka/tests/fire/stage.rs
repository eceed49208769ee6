//! The clusters, a reader that follows topics batch by batch, and the comparison.

use crate::support::{options, position, to_rows};
use futures::TryStreamExt as _;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use millstream_core::Result;
use millstream_core::contract::{Limit, Position, Source as _, SourceRange};
use millstream_core::env::SystemEnv;
use millstream_kafka::{KafkaConfig, KafkaSource, ReadMode, ReadOptions};
use millstream_testkit::{Admin, Producer, RealKafka, RealKafkaConfig, TestRecord, skip_or_fail};
use millstream_wire::{Batches, Codec, Decompressor};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

/// How long a broker may take to do what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The largest message of the one broker: what a batch of one 10 MB value takes, and no byte more.
pub const MESSAGE_BYTES_MAX: usize = (10 << 20) + 512;

/// Partition and offset.
pub type Place = (i32, i64);

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Bootstrap servers of the one broker: it cleans and expires without delay, and never dies.
pub fn one() -> Option<String> {
    static ONE: OnceLock<Option<RealKafka>> = OnceLock::new();
    let properties = settings(&[
        ("log.initial.task.delay.ms", "100"),
        ("log.retention.check.interval.ms", "100"),
        ("log.cleaner.backoff.ms", "100"),
        ("message.max.bytes", &MESSAGE_BYTES_MAX.to_string()),
        ("socket.request.max.bytes", "209715200"),
    ]);
    let config = RealKafkaConfig { properties, heap_mib: 640, ..RealKafkaConfig::default() };
    let start = || skip_or_fail("Apache Kafka", RealKafka::start_shared(&config));
    ONE.get_or_init(start).as_ref().map(RealKafka::bootstrap_servers)
}

/// Three brokers, for one test at a time. They notice a dead one after two seconds.
pub async fn three() -> Option<MutexGuard<'static, RealKafka>> {
    static THREE: OnceLock<Option<Mutex<RealKafka>>> = OnceLock::new();
    let properties = settings(&[
        ("broker.session.timeout.ms", "2000"),
        ("broker.heartbeat.interval.ms", "300"),
        ("replica.lag.time.max.ms", "3000"),
        ("leader.imbalance.check.interval.seconds", "3600"),
    ]);
    let config = RealKafkaConfig { brokers: 3, properties, heap_mib: 320 };
    let start = || skip_or_fail("three Apache Kafkas", RealKafka::start_shared(&config));
    let three =
        THREE.get_or_init(|| tokio::task::block_in_place(start).map(Mutex::new)).as_ref()?;
    Some(three.lock().await)
}

/// A source that reads `topic` from its beginning, with these options besides.
pub fn source(brokers: &str, topic: &str, more: &[(&str, &str)]) -> Arc<KafkaSource> {
    let base = [("subscribe", topic), ("startingOffsets", "earliest")];
    let options = options(brokers, &[&base[..], more].concat());
    let config = KafkaConfig::from_options(&options, ReadMode::Stream).unwrap();
    KafkaSource::new(config, Arc::new(SystemEnv))
}

/// Reads batch by batch as the engine does: plan after where the last batch ended, read, go on.
pub struct Follower {
    pub source: Arc<KafkaSource>,
    at: Position,
    detail: Option<serde_json::Value>,
    pub places: Vec<Place>,
}

impl Follower {
    /// From the first offsets there are.
    pub async fn start(source: Arc<KafkaSource>) -> Follower {
        let at = source.initial_position().await.unwrap();
        Follower { source, at, detail: None, places: Vec::new() }
    }

    /// As another process would go on after `range`.
    pub fn after(source: Arc<KafkaSource>, range: &SourceRange) -> Follower {
        let (at, detail) = (range.end.clone(), Some(range.detail.clone()));
        Follower { source, at, detail, places: Vec::new() }
    }

    /// The next range, or `None` where nothing is new. Its end is where the one after it starts.
    pub async fn plan(&mut self) -> Result<Option<SourceRange>> {
        let admitted = self.source.admit(&self.at, self.detail.as_ref(), Limit::Options).await?;
        if let Some(range) = &admitted.range {
            (self.at, self.detail) = (range.end.clone(), Some(range.detail.clone()));
        }
        Ok(admitted.range)
    }

    /// Plans and reads one batch; `false` where nothing is new.
    pub async fn batch(&mut self) -> Result<bool> {
        let Some(range) = self.plan().await? else { return Ok(false) };
        self.places.extend(read(&self.source, &range).await?);
        Ok(true)
    }

    /// Batches until nothing is new.
    pub async fn drain(&mut self) -> Result<()> {
        while self.batch().await? {}
        Ok(())
    }

    /// Batches until so many records have come.
    pub async fn until(&mut self, records: usize) {
        let until = Instant::now() + PATIENCE;
        while self.places.len() < records {
            assert!(Instant::now() < until, "{} of {records} records", self.places.len());
            if !self.batch().await.unwrap() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Places of all records of a range.
pub async fn read(source: &Arc<KafkaSource>, range: &SourceRange) -> Result<Vec<Place>> {
    let splits = source.splits(range, 2)?;
    let batches: Vec<_> = source.read(splits, None, ReadOptions::default()).try_collect().await?;
    Ok(to_rows(&batches).iter().map(|row| (row.partition, row.offset)).collect())
}

/// Offsets `from..to` of a partition.
pub fn span(partition: i32, offsets: std::ops::Range<i64>) -> impl Iterator<Item = Place> {
    offsets.map(move |offset| (partition, offset))
}

/// Compares multisets: nothing lost, nothing twice, nothing made up.
#[track_caller]
pub fn same(mut read: Vec<Place>, written: impl IntoIterator<Item = Place>) {
    let mut written: Vec<Place> = written.into_iter().collect();
    read.sort_unstable();
    written.sort_unstable();
    if read != written {
        let first = read.iter().zip(&written).position(|(r, w)| r != w);
        let at = first.unwrap_or(read.len().min(written.len()));
        let around = |v: &[Place]| v.iter().skip(at).take(5).copied().collect::<Vec<_>>();
        let (r, w) = (around(&read), around(&written));
        panic!("{} read, {} written; at {at}: {r:?}, {w:?}", read.len(), written.len());
    }
}

/// `count` records of `bytes` bytes each, in batches of about 100,000 bytes.
pub async fn fill(brokers: &str, topic: &str, partition: i32, count: usize, bytes: usize) {
    let mut producer = Producer::connect(brokers).await;
    let per_batch = (100_000 / bytes.max(1)).clamp(1, 500);
    for first in (0..count).step_by(per_batch) {
        let records: Vec<TestRecord> = (first..count.min(first + per_batch))
            .map(|n| TestRecord::value(noise(n, bytes)).key(format!("k{n}")).at(n as i64))
            .collect();
        producer.produce(topic, partition, &records, Codec::None).await;
    }
}

pub fn noise(seed: usize, bytes: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

/// What is in a partition, read with the plain client, batch by batch.
pub async fn in_log(brokers: &str, topic: &str, partition: i32) -> Vec<Place> {
    let mut admin = Admin::connect(brokers).await;
    let topic_id = admin.topic(topic).await.topic_id;
    let end = admin.end_offset(topic, partition).await;
    let mut leader = admin.leader(topic, partition).await;
    let mut next = admin.start_offset(topic, partition).await;
    let (mut places, mut decompressor) = (Vec::new(), Decompressor::new(1 << 30));
    let mut reconnects = 5;
    while next < end {
        let wanted = FetchPartition::default()
            .with_partition(partition)
            .with_fetch_offset(next)
            .with_partition_max_bytes(4 << 20);
        let wanted = FetchTopic::default().with_topic_id(topic_id).with_partitions(vec![wanted]);
        let request = FetchRequest::default().with_max_wait_ms(100).with_topics(vec![wanted]);
        let answer = match leader.call_up_to(&request, 13).await {
            Ok(answer) => answer,
            // A broker ends connections as it likes.
            Err(error) if reconnects > 0 => {
                println!("reading the log again after: {error}");
                reconnects -= 1;
                leader = admin.leader(topic, partition).await;
                continue;
            }
            Err(error) => panic!("{error}"),
        };
        let found = &answer.responses[0].partitions[0];
        assert_eq!(found.error_code, 0);
        let records = found.records.clone().unwrap_or_default();
        let before = next;
        for batch in Batches::new(&records).map(Result::unwrap) {
            for record in batch.records(&mut decompressor).unwrap().map(Result::unwrap) {
                places.push((partition, record.offset));
            }
            next = batch.header.next_offset();
        }
        assert!(next > before, "nothing at {next}, although the log ends at {end}");
    }
    places
}

/// Waits for a condition that is asked for again and again.
pub async fn wait_for(what: &str, mut ready: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !ready().await {
        assert!(Instant::now() < until, "{what} never comes");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A planned range of a topic's partition 0.
pub fn range_of(topic: &str, start: i64, end: i64) -> SourceRange {
    let at = |offset: i64| position(&format!(r#"{{"{topic}":{{"0":{offset}}}}}"#));
    SourceRange { start: at(start), end: at(end), detail: serde_json::Value::Null }
}
