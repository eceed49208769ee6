//! Checks with the plain protocol client: single requests, exact answers.

use bytes::Bytes;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiKey, BrokerId, CreatePartitionsRequest, CreateTopicsRequest,
    EndTxnRequest, FetchRequest, GroupId, InitProducerIdRequest, OffsetCommitRequest,
    OffsetFetchRequest, OffsetForLeaderEpochRequest, ProduceRequest, TopicName, TransactionalId,
};
use kafka_protocol::messages::{FindCoordinatorRequest, InitProducerIdResponse};
use kafka_protocol::protocol::StrBytes;
use millstream_testkit::{Client, KafkaHarness, TestRecord};
use millstream_wire::{BatchBuilder, BatchHeader, Batches, Codec, Decompressor, Producer};
use std::time::{Duration, Instant};
use uuid::Uuid;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC: i16 = 3;
const TOO_LARGE: i16 = 10;
const INVALID_TOPIC: i16 = 17;
const TOPIC_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION: i16 = 38;
const INVALID_CONFIG: i16 = 40;
const OUT_OF_ORDER: i16 = 45;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const FENCED_EPOCH: i16 = 74;
const UNKNOWN_EPOCH: i16 = 75;
const SESSION_UNKNOWN: i16 = 70;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

fn name(s: &str) -> TopicName {
    TopicName(text(s))
}

/// What a fetch asks of one partition.
#[derive(Clone, Copy)]
struct Ask {
    offset: i64,
    max_bytes: i32,
    min_bytes: i32,
    wait_ms: i32,
    committed_only: bool,
    epoch: i32,
    fetched_epoch: i32,
    session: i32,
}

impl Ask {
    fn at(offset: i64) -> Ask {
        Ask {
            offset,
            max_bytes: 1 << 20,
            min_bytes: 0,
            wait_ms: 0,
            committed_only: false,
            epoch: -1,
            fetched_epoch: -1,
            session: 0,
        }
    }
}

async fn fetch(
    client: &mut Client,
    topic: &str,
    id: Uuid,
    version: i16,
    ask: Ask,
) -> Result<PartitionData, i16> {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(ask.offset)
        .with_current_leader_epoch(ask.epoch)
        .with_last_fetched_epoch(ask.fetched_epoch)
        .with_partition_max_bytes(ask.max_bytes);
    let topic = FetchTopic::default()
        .with_topic(if version < 13 { name(topic) } else { TopicName::default() })
        .with_topic_id(if version < 13 { Uuid::nil() } else { id })
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(ask.wait_ms)
        .with_min_bytes(ask.min_bytes)
        .with_max_bytes(ask.max_bytes)
        .with_isolation_level(i8::from(ask.committed_only))
        .with_session_id(ask.session)
        .with_session_epoch(if ask.session == 0 { -1 } else { 1 })
        .with_topics(vec![topic]);
    let answer = client.call_at(&request, version).await.expect("Fetch is answered");
    if answer.error_code != 0 {
        return Err(answer.error_code);
    }
    let partition = answer.responses[0].partitions[0].clone();
    if partition.error_code == 0 { Ok(partition) } else { Err(partition.error_code) }
}

/// The values of the whole batches of an answer.
fn values(data: &PartitionData) -> Vec<(i64, Vec<u8>)> {
    let records = data.records.clone().unwrap_or_default();
    let mut decompressor = Decompressor::new(64 << 20);
    let mut out = Vec::new();
    for batch in Batches::new(&records) {
        let batch = batch.expect("a batch");
        batch.verify().expect("its checksum");
        if batch.header.is_control() {
            continue;
        }
        for record in batch.records(&mut decompressor).expect("its records") {
            let record = record.expect("a record");
            out.push((record.offset, record.value.unwrap_or_default().to_vec()));
        }
    }
    out
}

pub async fn versions_are_negotiated(kafka: &KafkaHarness) {
    let client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let needed = [
        (ApiKey::Fetch, 12, 13),
        (ApiKey::Metadata, 12, 12),
        (ApiKey::Produce, 9, 9),
        (ApiKey::ListOffsets, 7, 7),
        (ApiKey::OffsetForLeaderEpoch, 4, 4),
        (ApiKey::OffsetFetch, 8, 8),
    ];
    for (api, low, high) in needed {
        let (min, max) = client.versions(api).expect("the API is served");
        assert!(min <= low && max >= high, "{api:?}: {min}..={max}");
    }
    // A version from the future is answered with error 35 in the layout of version 0.
    let mut client = client;
    let mut frame = Vec::new();
    frame.extend_from_slice(&18_i16.to_be_bytes());
    frame.extend_from_slice(&99_i16.to_be_bytes());
    frame.extend_from_slice(&7_i32.to_be_bytes());
    frame.extend_from_slice(&[0, 1, b'x', 0, 2, b'a', 2, b'b', 0]);
    client.send_raw(&frame).await.expect("it is sent");
    let answer = client.receive().await.expect("it is answered");
    assert_eq!(&answer[..4], &7_i32.to_be_bytes());
    assert_eq!(&answer[4..6], &35_i16.to_be_bytes());
    let count = i32::from_be_bytes(answer[6..10].try_into().unwrap());
    assert!(count > 0, "the served versions are in the answer");
}

pub async fn unknown_requests_close_the_connection(kafka: &KafkaHarness) {
    // An unknown API, and a known one in an unknown version.
    for (api, version) in [(900_i16, 0_i16), (3, 90)] {
        let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
        let mut frame = Vec::new();
        frame.extend_from_slice(&api.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0, 1, b'x', 0]);
        client.send_raw(&frame).await.expect("it is sent");
        assert!(client.receive().await.is_err(), "API {api} version {version} is answered");
    }
}

pub async fn topics_have_ids_that_recreation_changes(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let first = admin.create_topic("ids", 2).await;
    assert!(!first.is_nil());
    assert_eq!(admin.topic("ids").await.topic_id, first);
    let mut leader = admin.leader("ids", 0).await;
    assert!(fetch(&mut leader, "ids", first, 13, Ask::at(0)).await.is_ok());
    let second = admin.recreate_topic("ids").await;
    assert_ne!(first, second, "a topic that is created again has another id");
    let old = fetch(&mut leader, "ids", first, 13, Ask::at(0)).await;
    assert_eq!(old.unwrap_err(), UNKNOWN_TOPIC_ID);
    assert!(fetch(&mut leader, "ids", second, 13, Ask::at(0)).await.is_ok());
    admin.delete_topic("ids").await;
    assert_eq!(admin.topic("ids").await.error_code, UNKNOWN_TOPIC);
}

pub async fn topics_are_refused_as_kafka_refuses_them(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("taken", 1).await;
    let topic = |n: &str| {
        CreatableTopic::default()
            .with_name(name(n))
            .with_num_partitions(1)
            .with_replication_factor(1)
    };
    let odd = CreatableTopicConfig::default()
        .with_name(text("no.such.setting"))
        .with_value(Some(text("1")));
    let cases = [
        (topic("taken"), TOPIC_EXISTS),
        (topic("not/allowed"), INVALID_TOPIC),
        (topic(".."), INVALID_TOPIC),
        (topic("none").with_num_partitions(0), INVALID_PARTITIONS),
        (topic("replicas").with_replication_factor(3), INVALID_REPLICATION),
        (topic("odd").with_configs(vec![odd]), INVALID_CONFIG),
    ];
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    for (topic, error) in cases {
        let what = topic.name.to_string();
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = client.call(&request).await.expect("it is answered");
        assert_eq!(answer.topics[0].error_code, error, "create {what}");
    }
}

pub async fn partitions_are_added(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("growing", 1).await;
    admin.add_partitions("growing", 3).await;
    assert_eq!(admin.end_offset("growing", 2).await, 0);
    let fewer = CreatePartitionsTopic::default().with_name(name("growing")).with_count(2);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![fewer.with_assignments(None)])
        .with_timeout_ms(10_000);
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let answer = client.call(&request).await.expect("it is answered");
    assert_eq!(answer.results[0].error_code, INVALID_PARTITIONS);
}

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

/// A connection to a group's coordinator, once it is there.
async fn coordinator(kafka: &KafkaHarness, key: &str, key_type: i8) -> Client {
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let request = FindCoordinatorRequest::default()
        .with_key_type(key_type)
        .with_coordinator_keys(vec![text(key)]);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call(&request).await.expect("it is answered");
        let found = &answer.coordinators[0];
        if found.error_code == 0 {
            let address = format!("{}:{}", found.host, found.port);
            return Client::connect(&address).await.expect("the coordinator answers");
        }
        // Kafka creates its internal topic on the first question.
        assert!(Instant::now() < until, "no coordinator: {}", found.error_code);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn group_offsets_keep_their_metadata(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("groups", 2).await;
    let mut client = coordinator(kafka, "g1", 0).await;
    let commit = |partition, offset, metadata: &str| {
        let p = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(-1)
            .with_committed_metadata(Some(text(metadata)));
        let topic =
            OffsetCommitRequestTopic::default().with_name(name("groups")).with_partitions(vec![p]);
        OffsetCommitRequest::default()
            .with_group_id(GroupId(text("g1")))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![topic])
    };
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call(&commit(0, 17, "intent 42")).await.expect("it is answered");
        match answer.topics[0].partitions[0].error_code {
            0 => break,
            // The coordinator is still loading.
            14..=16 => assert!(Instant::now() < until, "the coordinator never loads"),
            error => panic!("error {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = client.call(&commit(9, 1, "")).await.expect("it is answered");
    assert_eq!(answer.topics[0].partitions[0].error_code, UNKNOWN_TOPIC);
    let topic = OffsetFetchRequestTopics::default()
        .with_name(name("groups"))
        .with_partition_indexes(vec![0, 1]);
    for (group, expected) in [("g1", (17, "intent 42")), ("g-unknown", (-1, ""))] {
        let asked = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(group)))
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic.clone()]));
        let request =
            OffsetFetchRequest::default().with_groups(vec![asked]).with_require_stable(true);
        let answer = client.call_up_to(&request, 8).await.expect("it is answered");
        let found = &answer.groups[0].topics[0].partitions;
        let metadata = found[0].metadata.as_ref().map(|m| m.as_str());
        assert_eq!((found[0].committed_offset, metadata), (expected.0, Some(expected.1)));
        assert_eq!((found[1].committed_offset, found[1].error_code), (-1, 0));
    }
}

async fn init_producer(client: &mut Client, transactional: Option<&str>) -> InitProducerIdResponse {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(transactional.map(|t| TransactionalId(text(t))))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id(kafka_protocol::messages::ProducerId(-1))
        .with_producer_epoch(-1);
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = client.call_up_to(&request, 4).await.expect("it is answered");
        match answer.error_code {
            0 => return answer,
            14..=16 | 51 => assert!(Instant::now() < until, "error {}", answer.error_code),
            error => panic!("error {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn numbered(id: i64, epoch: i16, base_sequence: i32, values: &[&str]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(0).producer(Producer { id, epoch, base_sequence });
    for value in values {
        builder.push(1, None, Some(value.as_bytes()), &[]);
    }
    builder
}

pub async fn repeated_batches_are_stored_once(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("once", 1).await;
    let mut client = Client::connect(&kafka.bootstrap_servers()).await.expect("it connects");
    let state = init_producer(&mut client, None).await;
    let (id, epoch) = (*state.producer_id, state.producer_epoch);
    let batch = |epoch, sequence, values: &[&str]| {
        numbered(id, epoch, sequence, values).build().expect("a batch")
    };
    let mut producer = kafka.producer().await;
    let first = batch(epoch, 0, &["a", "b"]);
    assert_eq!(producer.produce_batch("once", 0, first.clone()).await, Ok(0));
    assert_eq!(producer.produce_batch("once", 0, first.clone()).await, Ok(0), "sent again");
    assert_eq!(producer.produce_batch("once", 0, batch(epoch, 2, &["c"])).await, Ok(2));
    assert_eq!(producer.produce_batch("once", 0, first).await, Ok(0), "sent again, late");
    let gap = producer.produce_batch("once", 0, batch(epoch, 7, &["x"])).await;
    assert_eq!(gap, Err(OUT_OF_ORDER));
    assert_eq!(producer.produce_batch("once", 0, batch(epoch + 1, 0, &["d"])).await, Ok(3));
    let zombie = producer.produce_batch("once", 0, batch(epoch, 3, &["z"])).await;
    assert_eq!(zombie, Err(INVALID_PRODUCER_EPOCH));
    assert_eq!(kafka.admin().await.end_offset("once", 0).await, 4);
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

async fn produce_in_transaction(client: &mut Client, id: &str, batch: Bytes) -> i16 {
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let topic = TopicProduceData::default().with_name(name("txn")).with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_transactional_id(Some(TransactionalId(text(id))))
        .with_acks(-1)
        .with_timeout_ms(10_000)
        .with_topic_data(vec![topic]);
    // Version 11 is the last in which a transaction's partitions are named beforehand.
    let answer = client.call_at(&request, 11).await.expect("it is answered");
    answer.responses[0].partition_responses[0].error_code
}

pub async fn transactions_hide_aborted_records(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    let topic_id = admin.create_topic("txn", 1).await;
    let mut client = coordinator(kafka, "t1", 1).await;
    let state = init_producer(&mut client, Some("t1")).await;
    let (id, epoch) = (state.producer_id, state.producer_epoch);
    let mut leader = admin.leader("txn", 0).await;
    let committed = |offset| Ask { committed_only: true, ..Ask::at(offset) };
    for (n, commit) in [(0, true), (2, false), (4, true)] {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(name("txn")).with_partitions(vec![0]);
        let add = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text("t1")))
            .with_v3_and_below_producer_id(id)
            .with_v3_and_below_producer_epoch(epoch)
            .with_v3_and_below_topics(vec![topic]);
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = client.call_at(&add, 3).await.expect("it is answered");
            let result = &answer.results_by_topic_v3_and_below[0].results_by_partition[0];
            match result.partition_error_code {
                0 => break,
                // The markers of the transaction before are still being written.
                51 => assert!(Instant::now() < until, "the last transaction never ends"),
                error => panic!("error {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let batch = numbered(*id, epoch, n, &["x", "y"]).transactional().build().expect("a batch");
        assert_eq!(produce_in_transaction(&mut leader, "t1", batch).await, 0);
        let open = fetch(&mut leader, "txn", topic_id, 13, committed(i64::from(n) / 2 * 3)).await;
        let open = open.unwrap();
        assert_eq!(open.last_stable_offset, open.high_watermark - 2, "open records are unstable");
        assert!(values(&open).is_empty());
        let end = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(text("t1")))
            .with_producer_id(id)
            .with_producer_epoch(epoch)
            .with_committed(commit);
        assert_eq!(client.call_at(&end, 3).await.expect("it is answered").error_code, 0);
        let until = Instant::now() + Duration::from_secs(30);
        while admin.end_offset("txn", 0).await < i64::from(n) / 2 * 3 + 3 {
            assert!(Instant::now() < until, "the marker is never written");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // Apache Kafka begins a new file where timestamps jump, and a fetch ends with its file.
    let mut all = Vec::new();
    for start in [0, 2, 3, 5, 6] {
        let data = fetch(&mut leader, "txn", topic_id, 13, Ask::at(start)).await.unwrap();
        all.extend(values(&data));
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 6, "who reads uncommitted records sees all of them");
    let data = fetch(&mut leader, "txn", topic_id, 13, committed(3)).await.unwrap();
    assert_eq!((data.high_watermark, data.last_stable_offset), (9, 9));
    let aborted = data.aborted_transactions.expect("the list is there");
    let aborted: Vec<_> = aborted.iter().map(|a| (*a.producer_id, a.first_offset)).collect();
    assert_eq!(aborted, [(*id, 3)]);
    // A restarted producer fences the old one.
    let again = init_producer(&mut client, Some("t1")).await;
    assert_eq!(again.producer_id, id);
    assert!(again.producer_epoch > epoch);
}
