//! Records of every kind and size, logs that are compacted, groups that others use.

use crate::stage::*;
use crate::support::{batches, position, to_rows};
use arrow::array::{Array as _, AsArray as _};
use futures::TryStreamExt as _;
use millstream_core::contract::Source as _;
use millstream_kafka::ReadOptions;
use millstream_testkit::{Admin, Producer, TestRecord, kafka_tool};
use millstream_wire::{BatchBuilder, Codec};
use std::collections::BTreeMap;
use std::process::Stdio;

/// Bytes that are no text, or text that is easily spoilt.
const BYTES: [&[u8]; 9] = [
    b"",
    b"\0",
    b"a\0b",
    b"\xff\xfe\xfd",
    b"\xef\xbb\xbfwith a mark",
    b"\xed\xa0\x80 half of a pair",
    b"\xf0\x9f\x8c\x8a",
    b"\xc3",
    b"line\r\nline",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_bytes_are_written_come_back() {
    let Some(brokers) = one() else { return };
    Admin::connect(&brokers).await.create_topic("bytes", 1).await;
    let mut written: Vec<TestRecord> = Vec::new();
    for bytes in BYTES {
        written.push(TestRecord::value(bytes).key(bytes));
        written.push(TestRecord { value: None, ..TestRecord::default().key(bytes) });
        written.push(TestRecord::value(bytes).header("h", Some(bytes)).header("h", None));
    }
    written.push(TestRecord::default());
    let mut producer = Producer::connect(&brokers).await;
    for codec in Codec::ALL {
        producer.produce("bytes", 0, &written, codec).await;
    }
    let source = source(&brokers, "bytes", &[("includeHeaders", "true")]);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    let read = batches(&source, &range).await.unwrap();
    let rows = to_rows(&read);
    assert_eq!(rows.len(), written.len() * Codec::ALL.len());
    for (row, record) in rows.iter().zip(written.iter().cycle()) {
        assert_eq!((&row.key, &row.value), (&record.key, &record.value), "offset {}", row.offset);
    }
    let headers: Vec<_> = read
        .iter()
        .flat_map(|batch| {
            let lists = batch.column_by_name("headers").unwrap().as_list::<i32>();
            (0..lists.len())
                .map(|at| lists.is_valid(at).then(|| lists.value(at)))
                .collect::<Vec<_>>()
        })
        .collect();
    for (read, record) in headers.iter().zip(written.iter().cycle()) {
        let expected: Vec<_> = record.headers.iter().map(|(_, v)| v.as_deref()).collect();
        let values: Vec<Option<Vec<u8>>> = read.as_ref().map_or_else(Vec::new, |list| {
            let values = list.as_struct().column(1).as_binary::<i32>().clone();
            values.iter().map(|v| v.map(<[u8]>::to_vec)).collect()
        });
        assert_eq!(values.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }
}

/// The size of a batch that holds one value of `bytes` bytes.
fn batch_bytes(bytes: usize) -> usize {
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(&noise(1, bytes)), &[]);
    builder.build().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_as_large_as_the_broker_takes_them_come_whole_and_larger_ones_are_not_there() {
    let Some(brokers) = one() else { return };
    let limit = MESSAGE_BYTES_MAX.to_string();
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic_with("huge", 1, &[("max.message.bytes", &limit)]).await;
    let largest = (0..MESSAGE_BYTES_MAX).rev().find(|n| batch_bytes(*n) == MESSAGE_BYTES_MAX);
    let largest = largest.expect("a batch of exactly the limit");
    assert!(largest > 10 << 20);
    let mut producer = Producer::connect(&brokers).await;
    let mut sizes = Vec::new();
    for size in [0, largest, 1, largest] {
        producer.produce("huge", 0, &[TestRecord::value(noise(size, size))], Codec::None).await;
        sizes.push(size);
        // One byte more is refused by the broker, and takes no offset.
        let mut builder = BatchBuilder::new(0);
        builder.push(0, None, Some(&noise(1, largest + 1)), &[]);
        let refused = producer.produce_batch("huge", 0, builder.build().unwrap()).await;
        assert_eq!(refused, Err(10), "MESSAGE_TOO_LARGE");
    }
    let small = [("kafka.max.partition.fetch.bytes", "1000"), ("kafka.fetch.max.bytes", "2000")];
    for more in [&[][..], &small[..]] {
        let source = source(&brokers, "huge", more);
        let mut follower = Follower::start(source.clone()).await;
        let range = follower.plan().await.unwrap().unwrap();
        let rows = to_rows(&batches(&source, &range).await.unwrap());
        let read: Vec<usize> = rows.iter().map(|r| r.value.as_ref().unwrap().len()).collect();
        assert_eq!(read, sizes);
        assert!(rows.iter().all(|r| r.value
            == Some(noise(r.value.as_ref().unwrap().len(), r.value.as_ref().unwrap().len()))));
    }
    // By bytes, a batch takes at least one record, and not many.
    let source = source(&brokers, "huge", &[("maxBytesPerTrigger", "1000000")]);
    let mut follower = Follower::start(source).await;
    let mut batches = 0;
    while follower.batch().await.unwrap() {
        batches += 1;
    }
    assert!(batches >= 3, "{batches} batches");
    same(follower.places, span(0, 0..4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_nothing_but_huge_values_is_fetched_a_few_at_a_time() {
    let Some(brokers) = one() else { return };
    let limit = MESSAGE_BYTES_MAX.to_string();
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic_with("all-huge", 1, &[("max.message.bytes", &limit)]).await;
    const HUGE: usize = 10 << 20;
    let value = noise(7, HUGE);
    let mut producer = Producer::connect(&brokers).await;
    for _ in 0..12 {
        producer.produce("all-huge", 0, &[TestRecord::value(value.clone())], Codec::None).await;
    }
    let source = source(&brokers, "all-huge", &[]);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    let options = ReadOptions { prefetch_bytes: 4 << 20, ..ReadOptions::default() };
    let mut stream = source.read(source.splits(&range, 1).unwrap(), None, options);
    let (mut rows, mut most) = (0, 0);
    while let Some(batch) = stream.try_next().await.unwrap() {
        assert_eq!(batch.num_rows(), 1, "one value fills a batch");
        rows += batch.num_rows();
        let ahead = source.metrics().fetched_bytes as usize - rows * HUGE;
        most = most.max(ahead);
    }
    assert_eq!(rows, 12);
    assert!(most <= 3 * HUGE + (1 << 20), "{most} bytes were fetched ahead of the reader");
}

/// Keyed records of which all but the newest of each key may go.
async fn keyed(brokers: &str, topic: &str, count: usize, keys: usize) {
    let mut producer = Producer::connect(brokers).await;
    for first in (0..count).step_by(10) {
        let records: Vec<TestRecord> = (first..first + 10)
            .map(|n| TestRecord::value(noise(n, 10_000)).key(format!("k{}", n % keys)))
            .collect();
        producer.produce(topic, 0, &records, Codec::None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_compacted_before_and_after_planning_is_read_over_its_holes() {
    let Some(brokers) = one() else { return };
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.bytes", "1048576"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "1"),
    ];
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic_with("compacted", 1, &settings).await;
    keyed(&brokers, "compacted", 500, 500).await;
    let source = source(&brokers, "compacted", &[]);
    let mut follower = Follower::start(source.clone()).await;
    let planned = follower.plan().await.unwrap().unwrap();

    // The same keys again and again: whatever was planned is overwritten, its end included.
    let mut written = 500;
    loop {
        keyed(&brokers, "compacted", 250, 50).await;
        written += 250;
        let left = in_log(&brokers, "compacted", 0).await;
        if left.iter().filter(|(_, offset)| *offset < 500).count() < 460 && left.len() < written {
            break;
        }
        assert!(written < 20_000, "the cleaner never comes");
    }
    // The cleaner may go on while we read; what was there before and after is what was there.
    let (places, expected) = loop {
        let expected = in_log(&brokers, "compacted", 0).await;
        let places = read(&source, &planned).await.unwrap();
        if in_log(&brokers, "compacted", 0).await == expected {
            break (places, expected);
        }
    };
    let within = |places: &[Place], end: i64| -> Vec<Place> {
        places.iter().filter(|(_, offset)| *offset < end).copied().collect()
    };
    same(places, within(&expected, 500));
    // From its beginning in small batches, some of which lie in holes altogether.
    let limits = [("maxOffsetsPerTrigger", "37")];
    let (follower, expected) = loop {
        let expected = in_log(&brokers, "compacted", 0).await;
        let limited = crate::stage::source(&brokers, "compacted", &limits);
        let mut follower = Follower::start(limited).await;
        follower.drain().await.unwrap();
        if in_log(&brokers, "compacted", 0).await == expected {
            break (follower, expected);
        }
    };
    same(follower.places, expected);
    assert_eq!(follower.source.metrics().data_loss, 0, "holes are no loss");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_consumer_of_the_same_group_changes_nothing() {
    let Some(brokers) = one() else { return };
    let mut admin = Admin::connect(&brokers).await;
    admin.create_topic("grouped", 2).await;
    let grouped = [
        ("kafka.group.id", "contested"),
        ("commitGroupOffsets", "true"),
        ("maxOffsetsPerTrigger", "30"),
    ];
    let source = source(&brokers, "grouped", &grouped);
    let mut follower = Follower::start(source.clone()).await;
    for partition in 0..2 {
        fill(&brokers, "grouped", partition, 100, 20).await;
    }
    // Nobody is in the group: our offsets are committed to it.
    assert!(follower.batch().await.unwrap());
    source.completed(&position(r#"{"grouped":{"0":1,"1":1}}"#)).await.unwrap();
    let mut foreign = kafka_tool("org.apache.kafka.tools.consumer.ConsoleConsumer")
        .unwrap()
        .args(["--bootstrap-server", &brokers, "--topic", "grouped", "--group", "contested"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // It has joined when the group is no longer ours to commit to.
    let mut codes = BTreeMap::new();
    wait_for("a member of the group", async || {
        follower.batch().await.unwrap();
        let told = source.completed(&position(r#"{"grouped":{"0":2,"1":2}}"#)).await;
        let code = told.err().map_or("", |e| e.code());
        *codes.entry(code).or_insert(0) += 1;
        code == "KAFKA_GROUP_IN_USE"
    })
    .await;
    for partition in 0..2 {
        fill(&brokers, "grouped", partition, 50, 20).await;
    }
    follower.until(300).await;
    foreign.kill().unwrap();
    foreign.wait().unwrap();
    follower.drain().await.unwrap();
    same(follower.places, span(0, 0..150).chain(span(1, 0..150)));
}
