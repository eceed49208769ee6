//! The proxy does to a connection what it was told, and nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{ApiKey, FetchRequest, MetadataRequest};
use millstream_testkit::{Client, Fault, KafkaHarness, Proxy, Rule, TestRecord};
use millstream_wire::{Batches, Codec};
use std::io;
use std::time::{Duration, Instant};
use uuid::Uuid;

const SHORT: Duration = Duration::from_millis(300);

struct Line {
    /// Keeps the broker alive.
    _kafka: KafkaHarness,
    proxy: Proxy,
    topic: Uuid,
}

async fn line() -> Line {
    let kafka = KafkaHarness::embedded();
    let topic = kafka.admin().await.create_topic("t", 1).await;
    let records: Vec<TestRecord> = (0..20).map(|n| TestRecord::value(vec![n; 500])).collect();
    kafka.producer().await.produce("t", 0, &records, Codec::None).await;
    let proxy = Proxy::start(&kafka.bootstrap_servers()).await;
    Line { _kafka: kafka, proxy, topic }
}

impl Line {
    async fn client(&self) -> Client {
        Client::connect(&self.proxy.bootstrap_servers()).await.unwrap()
    }

    async fn fetch(&self, client: &mut Client) -> io::Result<Vec<u8>> {
        let partition = FetchPartition::default().with_partition_max_bytes(1 << 20);
        let topic =
            FetchTopic::default().with_topic_id(self.topic).with_partitions(vec![partition]);
        let request = FetchRequest::default().with_max_wait_ms(10).with_topics(vec![topic]);
        let answer = client.call_up_to(&request, 13).await?;
        Ok(answer.responses[0].partitions[0].records.clone().unwrap_or_default().to_vec())
    }
}

fn is_sound(records: &[u8]) -> bool {
    !records.is_empty() && Batches::new(records).all(|b| b.is_ok_and(|b| b.verify().is_ok()))
}

#[tokio::test]
async fn answers_name_the_proxy_and_pass_unchanged() {
    let line = line().await;
    let mut client = line.client().await;
    let request = MetadataRequest::default().with_topics(None);
    let answer = client.call(&request).await.unwrap();
    let broker = &answer.brokers[0];
    assert_eq!(format!("{}:{}", broker.host, broker.port), line.proxy.bootstrap_servers());
    assert!(is_sound(&line.fetch(&mut client).await.unwrap()));
    assert_eq!((line.proxy.requests(ApiKey::Fetch), line.proxy.hits()), (1, 0));
}

#[tokio::test]
async fn connections_are_cut_before_and_within_an_answer() {
    let line = line().await;
    for fault in [Fault::Cut, Fault::CutInAnswer] {
        line.proxy.add(Rule::on(ApiKey::Fetch, fault).after(1).times(1));
        let mut client = line.client().await;
        line.fetch(&mut client).await.unwrap();
        let error = line.fetch(&mut client).await.unwrap_err();
        // The end of the stream may be seen before the reset.
        let ends = [io::ErrorKind::ConnectionReset, io::ErrorKind::UnexpectedEof];
        assert!(ends.contains(&error.kind()), "{fault:?}: {error}");
        assert!(is_sound(&line.fetch(&mut line.client().await).await.unwrap()), "{fault:?}");
    }
    assert_eq!(line.proxy.hits(), 2);
}

#[tokio::test]
async fn silence_lasts_as_long_as_the_connection() {
    let line = line().await;
    for fault in [Fault::HalfOpen, Fault::DropAnswer] {
        line.proxy.add(Rule::on(ApiKey::Fetch, fault).times(1));
        let mut client = line.client().await;
        let answer = tokio::time::timeout(SHORT, line.fetch(&mut client)).await;
        assert!(answer.is_err(), "{fault:?} answers: {answer:?}");
        assert!(is_sound(&line.fetch(&mut line.client().await).await.unwrap()), "{fault:?}");
    }
    // A half-open connection stays so after the faults are over.
    line.proxy.add(Rule::all(Fault::HalfOpen).after(1));
    let mut client = line.client().await;
    assert!(tokio::time::timeout(SHORT, line.fetch(&mut client)).await.is_err());
    line.proxy.pass();
    assert!(tokio::time::timeout(SHORT, line.fetch(&mut client)).await.is_err());
}

#[tokio::test]
async fn answers_come_late_and_slowly() {
    let line = line().await;
    let size = 20 * 500;
    for fault in [Fault::Delay(SHORT), Fault::Throttle(size * 1_000 / SHORT.as_millis() as u64)] {
        line.proxy.add(Rule::on(ApiKey::Fetch, fault).times(1));
        let mut client = line.client().await;
        let began = Instant::now();
        assert!(is_sound(&line.fetch(&mut client).await.unwrap()), "{fault:?}");
        assert!(began.elapsed() >= SHORT * 9 / 10, "{fault:?}: {:?}", began.elapsed());
    }
}

#[tokio::test]
async fn exactly_one_bit_is_flipped() {
    let line = line().await;
    let mut client = line.client().await;
    let sound = line.fetch(&mut client).await.unwrap();
    let bits = sound.len() as u64 * 8;
    for bit in [0, 61 * 8 + 3, bits - 1] {
        line.proxy.add(Rule::on(ApiKey::Fetch, Fault::FlipInRecords(bit)).times(1));
        let broken = line.fetch(&mut client).await.unwrap();
        let changed: Vec<u64> = (0..bits)
            .filter(|b| (sound[*b as usize / 8] ^ broken[*b as usize / 8]) >> (b % 8) & 1 == 1)
            .collect();
        assert_eq!(changed, [bit]);
    }
    // A fault that needs records waits for an answer that has some.
    line.proxy.add(Rule::all(Fault::FlipInRecords(900)).times(1));
    client.call(&MetadataRequest::default().with_topics(None)).await.unwrap();
    assert_eq!(line.proxy.hits(), 3);
    assert!(!is_sound(&line.fetch(&mut client).await.unwrap()));
    // The first bit behind the correlation id: the version of Fetch has its tagged fields there.
    line.proxy.add(Rule::on(ApiKey::Fetch, Fault::FlipInAnswer(0)).times(1));
    assert!(line.fetch(&mut client).await.is_err());
}
