//! Checks with librdkafka, a client that knows nothing of us.

use millstream_testkit::KafkaHarness;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(30);

fn config(kafka: &KafkaHarness) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.bootstrap_servers());
    config
}

fn consumer(kafka: &KafkaHarness, group: &str) -> BaseConsumer {
    config(kafka)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("check.crcs", "true")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.queue.backoff.ms", "5")
        .set("isolation.level", "read_committed")
        .create()
        .expect("a consumer")
}

/// A record as it was read: key, value, headers, timestamp.
type Read = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<(String, Option<Vec<u8>>)>, i64);

/// Reads `count` records of partition 0 from its start.
fn read(consumer: &BaseConsumer, topic: &str, count: usize) -> Vec<Read> {
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Beginning).expect("an offset");
    consumer.assign(&list).expect("assigned");
    let mut out = Vec::new();
    let until = Instant::now() + TIMEOUT;
    while out.len() < count {
        assert!(Instant::now() < until, "{} of {count} records of {topic}", out.len());
        let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
        let message = message.expect("a message");
        let headers = message.headers().map_or_else(Vec::new, |h| {
            h.iter().map(|h| (h.key.to_owned(), h.value.map(<[u8]>::to_vec))).collect()
        });
        out.push((
            message.key().map(<[u8]>::to_vec),
            message.payload().map(<[u8]>::to_vec),
            headers,
            message.timestamp().to_millis().expect("a timestamp"),
        ));
    }
    out
}

fn records() -> Vec<Read> {
    let mut all: Vec<Read> = (0..500)
        .map(|i| {
            let value = format!("{{\"id\":{i},\"text\":\"{}\"}}", "mill ".repeat(i % 40));
            (
                Some(format!("k{}", i % 7).into_bytes()),
                Some(value.into_bytes()),
                vec![],
                1000 + i as i64,
            )
        })
        .collect();
    all.push((None, Some(vec![]), vec![], 7));
    all.push((Some(b"tombstone".to_vec()), None, vec![], 8));
    let headers = vec![
        ("a".to_owned(), Some(b"1".to_vec())),
        ("a".to_owned(), Some(vec![0, 255])),
        ("none".to_owned(), None),
    ];
    all.push((Some(vec![]), Some(b"with headers".to_vec()), headers, 9));
    all
}

async fn send(producer: &FutureProducer, topic: &str, records: &[Read]) {
    let mut sent = Vec::new();
    for (key, value, headers, timestamp) in records {
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic).partition(0).timestamp(*timestamp);
        if let Some(key) = key {
            record = record.key(key);
        }
        if let Some(value) = value {
            record = record.payload(value);
        }
        if !headers.is_empty() {
            let all = headers.iter().fold(OwnedHeaders::new(), |all, (key, value)| {
                all.insert(Header { key, value: value.as_deref() })
            });
            record = record.headers(all);
        }
        sent.push(producer.send_result(record).map_err(|(e, _)| e).expect("it is queued"));
    }
    for (delivery, offset) in sent.into_iter().zip(0..) {
        let done = delivery.await.expect("an answer").expect("it is delivered");
        assert_eq!(done.offset, offset, "in order");
    }
}

pub async fn every_codec_comes_back_equal(kafka: &KafkaHarness) {
    let records = records();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = format!("rd-{codec}");
        kafka.admin().await.create_topic(&topic, 1).await;
        let producer: FutureProducer = config(kafka)
            .set("compression.type", codec)
            .set("linger.ms", "20")
            .create()
            .expect("a producer");
        send(&producer, &topic, &records).await;
        let consumer = consumer(kafka, "rd-codecs");
        assert_eq!(read(&consumer, &topic, records.len()), records, "{codec}");
        let (low, high) = consumer.fetch_watermarks(&topic, 0, TIMEOUT).expect("watermarks");
        assert_eq!((low, high), (0, records.len() as i64));
    }
}

pub async fn idempotent_producers_keep_order(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("rd-idempotent", 1).await;
    let producer: FutureProducer = config(kafka)
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .create()
        .expect("a producer");
    let records = records();
    send(&producer, "rd-idempotent", &records).await;
    let consumer = consumer(kafka, "rd-idempotent");
    assert_eq!(read(&consumer, "rd-idempotent", records.len()), records);
}

pub async fn offsets_for_times_agree(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("rd-times", 1).await;
    let producer: FutureProducer = config(kafka).create().expect("a producer");
    let records: Vec<Read> = (0..100)
        .map(|i| (None, Some(format!("{i}").into_bytes()), vec![], 10_000 + i * 100))
        .collect();
    send(&producer, "rd-times", &records).await;
    let consumer = consumer(kafka, "rd-times");
    for (time, expected) in [
        (0, Offset::Offset(0)),
        (10_000, Offset::Offset(0)),
        (15_050, Offset::Offset(51)),
        (19_900, Offset::Offset(99)),
        (19_901, Offset::End),
    ] {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset("rd-times", 0, Offset::Offset(time)).expect("a time");
        let found = consumer.offsets_for_times(list, TIMEOUT).expect("offsets");
        assert_eq!(found.elements()[0].offset(), expected, "at {time}");
    }
}

pub async fn deleted_topics_are_unknown(kafka: &KafkaHarness) {
    let mut admin = kafka.admin().await;
    admin.create_topic("rd-gone", 3).await;
    let consumer = consumer(kafka, "rd-gone");
    let known = consumer.fetch_metadata(Some("rd-gone"), TIMEOUT).expect("metadata");
    assert_eq!(known.topics()[0].partitions().len(), 3);
    admin.delete_topic("rd-gone").await;
    let gone = consumer.fetch_metadata(Some("rd-gone"), TIMEOUT).expect("metadata");
    assert!(gone.topics()[0].error().is_some(), "a deleted topic is an error");
}

pub async fn transactions_carry_offsets(kafka: &KafkaHarness) {
    kafka.admin().await.create_topic("rd-txn", 1).await;
    let bootstrap = kafka.bootstrap_servers();
    // librdkafka blocks; the runtime must not.
    tokio::task::spawn_blocking(move || transactions(&bootstrap)).await.expect("no panic");
    let consumer = consumer(kafka, "rd-txn-group");
    let values: Vec<_> = read(&consumer, "rd-txn", 2).into_iter().filter_map(|r| r.1).collect();
    assert_eq!(values, [b"first".to_vec(), b"third".to_vec()], "the aborted record is not seen");
    let mut list = TopicPartitionList::new();
    list.add_partition("rd-txn", 0);
    let committed = consumer.committed_offsets(list, TIMEOUT).expect("offsets");
    let committed = &committed.elements()[0];
    assert_eq!(committed.offset(), Offset::Offset(3), "only committed offsets count");
    assert_eq!(committed.metadata(), "from third");
}

fn transactions(bootstrap: &str) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    let consumer: BaseConsumer =
        config.clone().set("group.id", "rd-txn-group").create().expect("a consumer");
    let producer: BaseProducer =
        config.set("transactional.id", "rd-txn").create().expect("a producer");
    producer.init_transactions(TIMEOUT).expect("init");
    for (offset, value, commit) in [(1, "first", true), (2, "second", false), (3, "third", true)] {
        producer.begin_transaction().expect("begin");
        let record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to("rd-txn").partition(0).payload(value.as_bytes());
        producer.send(record).map_err(|(e, _)| e).expect("queued");
        let mut list = TopicPartitionList::new();
        let mut partition = list.add_partition("rd-txn", 0);
        partition.set_offset(Offset::Offset(offset)).expect("an offset");
        partition.set_metadata(format!("from {value}"));
        let group = consumer.group_metadata().expect("a group");
        producer.send_offsets_to_transaction(&list, &group, TIMEOUT).expect("offsets");
        if commit {
            producer.commit_transaction(TIMEOUT).expect("commit");
        } else {
            producer.flush(TIMEOUT).expect("flush");
            producer.abort_transaction(TIMEOUT).expect("abort");
        }
    }
}
