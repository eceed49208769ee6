//! Producing, fetching and finding offsets.

use crate::coordination::numbered;
use crate::support::*;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{BrokerId, FetchRequest, OffsetForLeaderEpochRequest};
use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::{BatchHeader, Batches, Codec, Decompressor};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub async fn records_come_back_by_name_and_by_id(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("both-ways", 1).await;
    let mut producer = kafka.producer().await;
    let mut expected = Vec::new();
    for (codec, n) in Codec::ALL.into_iter().zip(0_i64..) {
        let values: Vec<Vec<u8>> =
            (0..3).map(|i| format!("{}-{i}", codec.name()).into_bytes()).collect();
        let records: Vec<_> = values.iter().map(|v| TestRecord::value(v.clone())).collect();
        assert_eq!(producer.produce("both-ways", 0, &records, codec).await, n * 3);
        expected.extend((n * 3..).zip(values));
    }
    let mut leader = admin.leader("both-ways", 0).await;
    for version in [4, 8, 11, 12, 13, 15, 16] {
        let data = fetch(&mut leader, "both-ways", id, version, Ask::at(0)).await.unwrap();
        assert_eq!(values(&data), expected, "version {version}");
        assert_eq!(data.high_watermark, 15);
        assert_eq!(data.log_start_offset, if version < 5 { -1 } else { 0 });
    }
    // From the middle of a batch, the whole batch comes.
    let data = fetch(&mut leader, "both-ways", id, 13, Ask::at(4)).await.unwrap();
    assert_eq!(values(&data), expected[3..]);
    let unknown = fetch(&mut leader, "no-such-topic", id, 12, Ask::at(0)).await;
    assert_eq!(unknown.unwrap_err(), UNKNOWN_TOPIC);
    let unknown = fetch(&mut leader, "", Uuid::from_u128(42), 13, Ask::at(0)).await;
    assert_eq!(unknown.unwrap_err(), UNKNOWN_TOPIC_ID);
}

pub async fn batches_are_cut_and_the_first_is_whole(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("cut", 1).await;
    let mut producer = kafka.producer().await;
    for n in 0_u8..4 {
        producer.produce("cut", 0, &[TestRecord::value(vec![n; 1000])], Codec::None).await;
    }
    let mut leader = admin.leader("cut", 0).await;
    let small = Ask { max_bytes: 10, ..Ask::at(0) };
    let data = fetch(&mut leader, "cut", id, 13, small).await.unwrap();
    assert_eq!(values(&data).len(), 1, "a batch larger than the limit comes alone and whole");
    let middle = Ask { max_bytes: 2500, ..Ask::at(0) };
    let data = fetch(&mut leader, "cut", id, 13, middle).await.unwrap();
    assert_eq!(values(&data).len(), 2);
    assert_eq!(data.records.unwrap().len(), 2500, "the batch at the limit is cut");
}

pub async fn fetch_waits_for_records(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("waiting", 1).await;
    let mut leader = admin.leader("waiting", 0).await;
    let mut producer = kafka.producer().await;
    let start = Instant::now();
    let empty = Ask { min_bytes: 1, wait_ms: 300, ..Ask::at(0) };
    let data = fetch(&mut leader, "waiting", id, 13, empty).await.unwrap();
    assert!(values(&data).is_empty());
    assert!(start.elapsed() >= Duration::from_millis(250), "it waits: {:?}", start.elapsed());
    let long = Ask { min_bytes: 1, wait_ms: 20_000, ..Ask::at(0) };
    let (data, _) = tokio::join!(fetch(&mut leader, "waiting", id, 13, long), async {
        tokio::task::yield_now().await;
        producer.produce("waiting", 0, &[TestRecord::value("now")], Codec::None).await
    });
    assert_eq!(values(&data.unwrap()).len(), 1);
    assert!(start.elapsed() < Duration::from_secs(15), "it is woken: {:?}", start.elapsed());
}

pub async fn fetch_sessions_need_not_be_granted(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("sessions", 1).await;
    let mut leader = admin.leader("sessions", 0).await;
    let unknown = Ask { session: 12345, ..Ask::at(0) };
    let answer = fetch(&mut leader, "sessions", id, 13, unknown).await;
    assert_eq!(answer.unwrap_err(), SESSION_UNKNOWN);
}

pub async fn offsets_are_found_by_time(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("times", 1).await;
    assert_eq!(admin.list_offset("times", 0, -3).await, Ok((-1, -1)), "no record, no timestamp");
    let mut producer = kafka.producer().await;
    for (codec, base) in [(Codec::None, 1000), (Codec::Zstd, 2000), (Codec::Gzip, 3000)] {
        let records: Vec<_> = (0..10).map(|i| TestRecord::value("x").at(base + i * 10)).collect();
        producer.produce("times", 0, &records, codec).await;
    }
    let expected = [
        (0, Ok((0, 1000))),
        (1000, Ok((0, 1000))),
        (1001, Ok((1, 1010))),
        (1090, Ok((9, 1090))),
        (1091, Ok((10, 2000))),
        (2055, Ok((16, 2060))),
        (3090, Ok((29, 3090))),
        (3091, Ok((-1, -1))),
        (-1, Ok((30, -1))),
        (-2, Ok((0, -1))),
        (-3, Ok((29, 3090))),
    ];
    for (asked, answer) in expected {
        assert_eq!(admin.list_offset("times", 0, asked).await, answer, "timestamp {asked}");
    }
}

pub async fn deleted_records_are_out_of_range(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("deleted", 1).await;
    let mut producer = kafka.producer().await;
    let ten: Vec<_> = (0..10).map(|i| TestRecord::value("x").at(i)).collect();
    producer.produce("deleted", 0, &ten, Codec::None).await;
    assert_eq!(admin.delete_records("deleted", 0, 4).await, 4);
    assert_eq!(admin.start_offset("deleted", 0).await, 4);
    let mut leader = admin.leader("deleted", 0).await;
    for (offset, version) in [(3, 12), (0, 13), (11, 13), (i64::MAX, 13)] {
        let answer = fetch(&mut leader, "deleted", id, version, Ask::at(offset)).await;
        assert_eq!(answer.unwrap_err(), OFFSET_OUT_OF_RANGE, "offset {offset}");
    }
    let data = fetch(&mut leader, "deleted", id, 13, Ask::at(4)).await.unwrap();
    assert_eq!(data.log_start_offset, 4);
    assert_eq!(values(&data).len(), 10, "the batch that holds the start comes whole");
    let end = fetch(&mut leader, "deleted", id, 13, Ask::at(10)).await.unwrap();
    assert!(values(&end).is_empty(), "the end itself is in range");
    assert_eq!(admin.list_offset("deleted", 0, 0).await, Ok((4, 4)));
    assert_eq!(admin.delete_records("deleted", 0, -1).await, 10);
    assert_eq!(admin.start_offset("deleted", 0).await, 10);
    assert_eq!(admin.end_offset("deleted", 0).await, 10);
}

pub async fn leader_epochs_are_checked(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("epochs", 1).await;
    let mut producer = kafka.producer().await;
    producer.produce("epochs", 0, &[TestRecord::value("x")], Codec::None).await;
    let epoch = admin.topic("epochs").await.partitions[0].leader_epoch;
    let mut leader = admin.leader("epochs", 0).await;
    let with = |epoch| Ask { epoch, ..Ask::at(0) };
    assert!(fetch(&mut leader, "epochs", id, 13, with(epoch)).await.is_ok());
    let newer = fetch(&mut leader, "epochs", id, 13, with(epoch + 1)).await;
    assert_eq!(newer.unwrap_err(), UNKNOWN_EPOCH);
    if epoch > 0 {
        let older = fetch(&mut leader, "epochs", id, 13, with(epoch - 1)).await;
        assert_eq!(older.unwrap_err(), FENCED_EPOCH);
    }
    let known = Ask { fetched_epoch: epoch, ..Ask::at(1) };
    let data = fetch(&mut leader, "epochs", id, 13, known).await.unwrap();
    assert_eq!(data.diverging_epoch.epoch, -1, "the same log does not diverge");
    let ask = |leader_epoch| {
        let partition = OffsetForLeaderPartition::default()
            .with_partition(0)
            .with_current_leader_epoch(-1)
            .with_leader_epoch(leader_epoch);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("epochs"))
            .with_partitions(vec![partition]);
        OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_topics(vec![topic])
    };
    for (asked, answer) in [(epoch, (epoch, 1)), (epoch + 5, (-1, -1))] {
        let got = leader.call(&ask(asked)).await.expect("it is answered");
        let p = &got.topics[0].partitions[0];
        assert_eq!((p.error_code, p.leader_epoch, p.end_offset), (0, answer.0, answer.1));
    }
}

pub async fn bad_batches_are_refused(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic_with("bad", 1, &[("max.message.bytes", "2000")]).await;
    let mut producer = kafka.producer().await;
    let good = numbered(-1, -1, -1, &["fine"]).build().expect("a batch");
    let mut damaged = good.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    let answer = producer.produce_batch("bad", 0, damaged.into()).await;
    assert_eq!(answer, Err(CORRUPT_MESSAGE));
    let large = numbered(-1, -1, -1, &["y".repeat(3000).as_str()]).build().expect("a batch");
    assert_eq!(producer.produce_batch("bad", 0, large).await, Err(TOO_LARGE));
    let two = [good.as_ref(), good.as_ref()].concat();
    assert_eq!(producer.produce_batch("bad", 0, two.into()).await, Err(INVALID_RECORD));
    let control = numbered(-1, -1, -1, &["c"]).control().build().expect("a batch");
    assert_eq!(producer.produce_batch("bad", 0, control).await, Err(INVALID_RECORD));
    assert_eq!(producer.produce_batch("bad", 0, good).await, Ok(0));
}

pub async fn append_time_replaces_the_producers(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let setting = [("message.timestamp.type", "LogAppendTime")];
    let id = admin.create_topic_with("append-time", 1, &setting).await;
    let mut producer = kafka.producer().await;
    let records = [TestRecord::value("a").at(5), TestRecord::value("b").at(6)];
    producer.produce("append-time", 0, &records, Codec::Lz4).await;
    let mut leader = admin.leader("append-time", 0).await;
    let data = fetch(&mut leader, "append-time", id, 13, Ask::at(0)).await.unwrap();
    let records = data.records.unwrap();
    let header = BatchHeader::parse(&records).unwrap().unwrap();
    assert_eq!(header.timestamp_type(), millstream_wire::TimestampType::LogAppendTime);
    assert!(header.max_timestamp > 1_000_000_000_000, "the broker's clock");
    let batch = Batches::new(&records).next().unwrap().unwrap();
    batch.verify().expect("the checksum follows");
    let mut decompressor = Decompressor::new(1 << 20);
    for record in batch.records(&mut decompressor).unwrap() {
        assert_eq!(record.unwrap().timestamp, header.max_timestamp);
    }
}

pub async fn partitions_share_the_limit_of_a_fetch(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("shared", 3).await;
    let mut producer = kafka.producer().await;
    for partition in [1, 2] {
        let records = [TestRecord::value(vec![b'x'; 2000])];
        producer.produce("shared", partition, &records, Codec::None).await;
    }
    let partitions = [0, 1, 2].map(|p| {
        FetchPartition::default()
            .with_partition(p)
            .with_last_fetched_epoch(-1)
            .with_current_leader_epoch(-1)
            .with_partition_max_bytes(1 << 20)
    });
    let topic = FetchTopic::default().with_topic_id(id).with_partitions(partitions.to_vec());
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_bytes(100)
        .with_session_epoch(-1)
        .with_topics(vec![topic]);
    let mut leader = admin.leader("shared", 0).await;
    let answer = leader.call_at(&request, 13).await.expect("it is answered");
    let mut counts = [0; 3];
    for p in &answer.responses[0].partitions {
        counts[usize::try_from(p.partition_index).unwrap()] = values(p).len();
    }
    assert_eq!(counts, [0, 1, 0], "an empty partition uses nothing up, the first batch all");
}

pub async fn emptiness_is_told_from_the_end(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let id = admin.create_topic("ends", 1).await;
    let mut leader = admin.leader("ends", 0).await;
    let data = fetch(&mut leader, "ends", id, 13, Ask::at(0)).await.unwrap();
    let found = (data.high_watermark, data.last_stable_offset, data.log_start_offset);
    assert_eq!(found, (0, 0, 0));
    assert!(data.records.unwrap_or_default().is_empty());
    for special in [-1, -2] {
        assert_eq!(admin.list_offset("ends", 0, special).await, Ok((0, -1)));
    }
}
