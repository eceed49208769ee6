//! The data side: exact ranges, columns, codecs, transactions, holes, sizes.

use crate::support::*;
use arrow::array::{Array, AsArray};
use futures::TryStreamExt as _;
use millstream_broker::{Broker, BrokerConfig};
use millstream_kafka::{ReadOptions, Split};
use millstream_testkit::{Producer, TestRecord};
use millstream_wire::{BatchBuilder, Codec, Producer as ProducerState, control_marker};

const ALL: [(&str, &str); 1] = [("subscribe", "t")];

#[tokio::test]
async fn every_codec_yields_the_same_rows() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    for (n, codec) in Codec::ALL.into_iter().enumerate() {
        producer.produce("t", 0, &records(n * 100, 100), codec).await;
    }
    let (_, rows) = everything(&source(&at, &ALL), r#"{"t":{"0":0}}"#).await;
    assert_eq!(rows.len(), 500);
    for (n, row) in rows.iter().enumerate() {
        assert_eq!(row.offset, n as i64);
        assert_eq!(row.value.as_deref(), Some(format!("v{n}").as_bytes()));
        assert_eq!(row.key.as_deref(), Some(format!("k{n}").as_bytes()));
        assert_eq!((row.timestamp_us, row.timestamp_type), (n as i64 * 1_000, 0));
        assert_eq!((row.topic.as_str(), row.partition), ("t", 0));
    }
}

#[tokio::test]
async fn nulls_and_headers_survive() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    let with_headers =
        TestRecord::value("v").header("a", Some(b"1")).header("a", None).header("b", Some(&[0xff]));
    let tombstone = TestRecord { key: Some(b"k".to_vec()), ..TestRecord::default() };
    let empty = TestRecord::value("").key("");
    producer.produce("t", 0, &[with_headers, tombstone, empty], Codec::None).await;
    let source = source(&at, &[("subscribe", "t"), ("includeHeaders", "true")]);
    let range = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    let batches = batches(&source, &range).await.unwrap();
    let rows = to_rows(&batches);
    assert_eq!((rows[0].key.as_deref(), rows[0].value.as_deref()), (None, Some(&b"v"[..])));
    assert_eq!((rows[1].key.as_deref(), rows[1].value.as_deref()), (Some(&b"k"[..]), None));
    assert_eq!(
        (rows[2].key.as_deref(), rows[2].value.as_deref()),
        (Some(&b""[..]), Some(&b""[..]))
    );
    assert_eq!(batches[0].schema(), source.config().schema());
    let headers = batches[0].column_by_name("headers").unwrap().as_list::<i32>();
    assert!(headers.is_valid(0) && headers.is_null(1) && headers.is_null(2));
    let entries = headers.value(0);
    let entries = entries.as_struct();
    let keys: Vec<_> = entries.column(0).as_string::<i32>().iter().collect();
    assert_eq!(keys, [Some("a"), Some("a"), Some("b")]);
    let values: Vec<_> = entries.column(1).as_binary::<i32>().iter().collect();
    assert_eq!(values, [Some(&b"1"[..]), None, Some(&[0xff][..])]);
}

#[tokio::test]
async fn only_the_columns_asked_for_come_in_the_order_asked_for() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 5).await;
    let source = source(&at, &ALL);
    let range = admit(&source, r#"{"t":{"0":1}}"#).await.unwrap().range.unwrap();
    let splits = source.splits(&range, 1).unwrap();
    let read = |projection: Vec<usize>| {
        let stream = source.read(splits.clone(), Some(projection), ReadOptions::default());
        async move { stream.try_collect::<Vec<_>>().await.unwrap() }
    };
    let batches = read(vec![4, 1]).await;
    let names: Vec<String> =
        batches[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["offset", "value"]);
    assert_eq!(offsets(&to_rows(&batches)), [1, 2, 3, 4]);
    let counted = read(vec![]).await;
    assert_eq!((counted[0].num_columns(), counted[0].num_rows()), (0, 4));
}

#[tokio::test]
async fn batches_keep_to_rows_and_bytes() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    let big: Vec<TestRecord> = (0..50).map(|_| TestRecord::value(vec![7; 1_000])).collect();
    producer.produce("t", 0, &big, Codec::Zstd).await;
    let source = source(&at, &ALL);
    let range = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    for (batch_rows, batch_bytes, expected) in
        [(7, 1 << 20, vec![7; 7]), (1_000, 10_500, vec![10; 5]), (1_000, 10, vec![1; 50])]
    {
        let options = ReadOptions { batch_rows, batch_bytes, ..ReadOptions::default() };
        let splits = source.splits(&range, 1).unwrap();
        let read: Vec<_> = source.read(splits, None, options).try_collect().await.unwrap();
        let sizes: Vec<usize> = read.iter().map(|b| b.num_rows()).collect();
        assert_eq!(sizes[..expected.len()], expected);
        assert_eq!(sizes.iter().sum::<usize>(), 50);
    }
}

#[tokio::test]
async fn a_range_is_read_exactly_whatever_the_batches() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    for batch in 0..10 {
        produce(&at, "t", 0, batch * 10, 10).await;
    }
    let source = source(&at, &ALL);
    for (start, end) in [(0, 100), (3, 97), (10, 20), (15, 16), (99, 100), (0, 1), (9, 11)] {
        let split = Split {
            topic: "t".into(),
            topic_id: broker.topic_id("t"),
            partition: 0,
            start,
            end,
            leader_epoch: None,
        };
        let read: Vec<_> =
            source.read(vec![split], None, ReadOptions::default()).try_collect().await.unwrap();
        assert_eq!(offsets(&to_rows(&read)), (start..end).collect::<Vec<_>>());
    }
    assert!(source.metrics().records >= 200);
}

#[tokio::test]
async fn splits_of_one_partition_are_read_once_each() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 100).await;
    let source = source(&at, &[("subscribe", "t"), ("minPartitions", "7")]);
    let range = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    let mut splits = source.splits(&range, 1).unwrap();
    assert_eq!(splits.len(), 7);
    splits.remove(3);
    splits.reverse();
    let expected: i64 = splits.iter().map(Split::len).sum();
    let read: Vec<_> =
        source.read(splits, None, ReadOptions::default()).try_collect().await.unwrap();
    assert_eq!(to_rows(&read).len() as i64, expected);
}

/// Offsets 0-9 committed, 10 marker, 11-15 aborted, 16 marker, 17-18 plain, 19.. open.
fn transactions(broker: &Broker) {
    let batch = |base: i64, count: i32, id: i64| {
        let producer = ProducerState { id, epoch: 0, base_sequence: 0 };
        let mut builder = BatchBuilder::new(base).producer(producer).transactional();
        for n in 0..count {
            builder.push(0, None, Some(format!("{id}-{n}").as_bytes()), &[]);
        }
        builder.build().unwrap()
    };
    let marker = |at: i64, id: i64, commit: bool| {
        let producer = ProducerState { id, epoch: 0, base_sequence: -1 };
        control_marker(at, 0, producer, commit, 0, 0).unwrap()
    };
    let append = |bytes| broker.append_raw("t", 0, bytes).unwrap();
    append(batch(0, 10, 1));
    append(marker(10, 1, true));
    append(batch(11, 5, 2));
    append(marker(16, 2, false));
    let mut plain = BatchBuilder::new(17);
    plain.push(0, None, Some(b"p"), &[]).push(0, None, Some(b"p"), &[]);
    append(plain.build().unwrap());
}

#[tokio::test]
async fn read_committed_leaves_aborted_records_and_markers_out() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    transactions(&broker);
    let committed = source(&at, &[("subscribe", "t"), ("kafka.isolation.level", "read_committed")]);
    let (range, rows) = everything(&committed, r#"{"t":{"0":0}}"#).await;
    assert_eq!(json(&range.end), r#"{"t":{"0":19}}"#);
    let visible: Vec<i64> = (0..10).chain([17, 18]).collect();
    assert_eq!(offsets(&rows), visible);
    let (_, rows) = everything(&source(&at, &ALL), r#"{"t":{"0":0}}"#).await;
    let all: Vec<i64> = (0..10).chain(11..16).chain([17, 18]).collect();
    assert_eq!(offsets(&rows), all, "read_uncommitted sees aborted records, never markers");
}

#[tokio::test]
async fn a_range_of_nothing_but_aborted_records_ends() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    transactions(&broker);
    let committed = source(&at, &[("subscribe", "t"), ("kafka.isolation.level", "read_committed")]);
    for (start, end) in [(10, 11), (11, 17), (16, 17), (12, 14)] {
        let split = Split {
            topic: "t".into(),
            topic_id: broker.topic_id("t"),
            partition: 0,
            start,
            end,
            leader_epoch: None,
        };
        let read: Vec<_> =
            committed.read(vec![split], None, ReadOptions::default()).try_collect().await.unwrap();
        assert!(read.is_empty(), "[{start}, {end})");
    }
}

#[tokio::test]
async fn an_open_transaction_holds_read_committed_back() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    transactions(&broker);
    let producer = ProducerState { id: 3, epoch: 0, base_sequence: 0 };
    let mut open = BatchBuilder::new(19).producer(producer).transactional();
    open.push(0, None, Some(b"open"), &[]);
    broker.append_raw("t", 0, open.build().unwrap()).unwrap();
    let committed = source(&at, &[("subscribe", "t"), ("kafka.isolation.level", "read_committed")]);
    let (range, _) = everything(&committed, r#"{"t":{"0":0}}"#).await;
    assert_eq!(json(&range.end), r#"{"t":{"0":19}}"#);
    assert_eq!(admit_after(&committed, &range).await.unwrap().range, None);
}

#[tokio::test]
async fn holes_and_compacted_tails_are_read_over() {
    let broker = broker(&[("t", 2)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 3).await;
    broker.plant_gap("t", 0, 1 << 40).unwrap();
    produce(&at, "t", 0, 3, 2).await;
    broker.plant_gap("t", 0, 500).unwrap();
    produce(&at, "t", 1, 0, 2).await;
    let (range, rows) = everything(&source(&at, &ALL), r#"{"t":{"0":0,"1":0}}"#).await;
    let end = 3 + (1_i64 << 40) + 2 + 500;
    assert_eq!(json(&range.end), format!(r#"{{"t":{{"0":{end},"1":2}}}}"#));
    let far = 3 + (1_i64 << 40);
    assert_eq!(offsets(&rows), [0, 1, 2, far, far + 1, 0, 1]);
    let split = Split {
        topic: "t".into(),
        topic_id: None,
        partition: 0,
        start: 5,
        end: 9_000,
        leader_epoch: None,
    };
    let read: Vec<_> = source(&at, &ALL)
        .read(vec![split], None, ReadOptions::default())
        .try_collect()
        .await
        .unwrap();
    assert!(read.is_empty(), "a range inside a hole");
}

#[tokio::test]
async fn messages_larger_than_every_limit_come_whole() {
    let broker =
        Broker::start(BrokerConfig { message_bytes_max: 40 << 20, ..BrokerConfig::default() })
            .unwrap();
    broker.create_topic("t", 2).unwrap();
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    for partition in 0..2 {
        for size in [10, 12 << 20, 10, 25 << 20] {
            let noise: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            producer.produce("t", partition, &[TestRecord::value(noise)], Codec::None).await;
        }
    }
    let small = [
        ("subscribe", "t"),
        ("kafka.max.partition.fetch.bytes", "1000"),
        ("kafka.fetch.max.bytes", "2000"),
    ];
    for pairs in [&ALL[..], &small[..]] {
        let (_, rows) = everything(&source(&at, pairs), r#"{"t":{"0":0,"1":0}}"#).await;
        let sizes: Vec<usize> = rows.iter().map(|r| r.value.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [10, 12 << 20, 10, 25 << 20, 10, 12 << 20, 10, 25 << 20]);
    }
}

#[tokio::test]
async fn two_thousand_partitions_over_three_leaders() {
    let broker = Broker::start(BrokerConfig { nodes: 3, ..BrokerConfig::default() }).unwrap();
    broker.create_topic("t", 2_000).unwrap();
    let at = broker.bootstrap_servers();
    for partition in 0..2_000 {
        let mut builder = BatchBuilder::new(0);
        builder.push(0, None, Some(b"a"), &[]).push(0, None, Some(b"b"), &[]);
        broker.append_raw("t", partition, builder.build().unwrap()).unwrap();
    }
    let source = source(&at, &[("subscribe", "t"), ("startingOffsets", "earliest")]);
    use millstream_core::contract::Source as _;
    let start = source.initial_position().await.unwrap();
    let (_, rows) = everything(&source, &json(&start)).await;
    assert_eq!(rows.len(), 4_000);
    let mut partitions: Vec<i32> = rows.iter().map(|r| r.partition).collect();
    partitions.dedup();
    assert_eq!(partitions.len(), 2_000);
    assert!(source.metrics().fetches <= 20, "{:?}", source.metrics());
}

#[tokio::test]
async fn log_append_time_is_told() {
    let broker = broker(&[]);
    broker.create_topic_with("t", 1, &[("message.timestamp.type", "LogAppendTime")]).unwrap();
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 2).await;
    let (_, rows) = everything(&source(&at, &ALL), r#"{"t":{"0":0}}"#).await;
    assert!(rows.iter().all(|r| r.timestamp_type == 1 && r.timestamp_us > 1_000_000));
}

#[tokio::test]
async fn a_slow_reader_bounds_what_is_fetched() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut producer = Producer::connect(&at).await;
    let big: Vec<TestRecord> = (0..9).map(|_| TestRecord::value(vec![7; 100_000])).collect();
    for _ in 0..30 {
        producer.produce("t", 0, &big, Codec::None).await;
    }
    let source = source(&at, &ALL);
    let range = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    let options = ReadOptions { prefetch_bytes: 4 << 20, ..ReadOptions::default() };
    let mut stream = source.read(source.splits(&range, 1).unwrap(), None, options);
    stream.try_next().await.unwrap().unwrap();
    let held = source.metrics().fetched_bytes;
    assert!(held <= 14 << 20, "{held} bytes for a batch of 8 MiB and a budget of 4 MiB");
    let rest: Vec<_> = stream.try_collect().await.unwrap();
    assert_eq!(rest.iter().map(|b| b.num_rows()).sum::<usize>() + 83, 270);
}
