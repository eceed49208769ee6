//! Lines between the source and the broker that break, stall, crawl and garble.

use crate::stage::*;
use crate::support::{batches, to_rows};
use millstream_core::contract::SourceRange;
use millstream_kafka::KafkaSource;
use millstream_testkit::{Admin, Fault, Ledger, Proxy, Rule, StubbornProducer, TestRecord};
use millstream_wire::{Codec, HEADER_LEN};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kafka_protocol::messages::ApiKey;

/// A client that gives up on an answer soon, and on nothing else.
const IMPATIENT: [(&str, &str); 2] =
    [("kafka.request.timeout.ms", "250"), ("kafka.socket.connection.setup.timeout.ms", "250")];

/// A topic of 2 x 200 records with a proxy in front of its broker.
async fn line(topic: &str) -> Option<(String, Proxy)> {
    let brokers = one()?;
    Admin::connect(&brokers).await.create_topic(topic, 2).await;
    for partition in 0..2 {
        fill(&brokers, topic, partition, 200, 1_000).await;
    }
    Some((brokers.clone(), Proxy::start(&brokers).await))
}

fn all() -> impl Iterator<Item = Place> {
    span(0, 0..200).chain(span(1, 0..200))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_survives_every_fault_of_its_connection() {
    let Some((_, proxy)) = line("faulty").await else { return };
    let at = proxy.bootstrap_servers();
    // 30,000 bytes per second: an answer of 100,000 takes longer than the client waits.
    let faults = [
        Fault::Cut,
        Fault::HalfOpen,
        Fault::DropAnswer,
        Fault::CutInAnswer,
        Fault::Delay(Duration::from_millis(400)),
        Fault::Delay(Duration::from_millis(50)),
        Fault::Throttle(30_000),
    ];
    for api in [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::Fetch] {
        for fault in faults {
            let before = proxy.hits();
            let mut follower = Follower::start(source(&at, "faulty", &IMPATIENT)).await;
            // New connections, the first one with a fault, and pooled ones, whose second has one.
            proxy.add(Rule::on(api, fault).times(1));
            if api == ApiKey::ApiVersions {
                follower = Follower::start(source(&at, "faulty", &IMPATIENT)).await;
            }
            follower.drain().await.unwrap();
            same(follower.places, all());
            assert_eq!(proxy.hits(), before + 1, "{api:?} {fault:?} did not happen");
            proxy.pass();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_is_half_open_is_named_in_bounded_time_and_read_when_it_is_whole() {
    let Some((_, proxy)) = line("half-open").await else { return };
    let at = proxy.bootstrap_servers();
    let brief = [
        IMPATIENT[0],
        IMPATIENT[1],
        ("kafka.default.api.timeout.ms", "1000"),
        ("kafkaConsumer.pollTimeoutMs", "1500"),
    ];
    let source = source(&at, "half-open", &brief);
    let mut follower = Follower::start(source.clone()).await;
    let range = follower.plan().await.unwrap().unwrap();
    let idle = proxy.requests(ApiKey::ApiVersions);
    // All connections, the idle ones of the pool too, go silent without being closed.
    proxy.add(Rule::all(Fault::HalfOpen));
    let began = Instant::now();
    let error = follower.plan().await.unwrap_err();
    assert_eq!(error.kind(), millstream_core::ErrorKind::Unavailable, "{error}");
    let error = read(&source, &range).await.unwrap_err();
    assert_eq!(error.kind(), millstream_core::ErrorKind::Unavailable, "{error}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(proxy.requests(ApiKey::ApiVersions) > idle, "no new connection was tried");
    proxy.pass();
    same(read(&source, &range).await.unwrap(), all());
    assert!(!follower.batch().await.unwrap());
}

/// A topic of one batch of 20 records with a proxy in front of its broker, and a planned range.
async fn one_batch(
    topic: &str,
    more: &[(&str, &str)],
) -> Option<(String, Proxy, Arc<KafkaSource>, SourceRange)> {
    let brokers = one()?;
    Admin::connect(&brokers).await.create_topic(topic, 1).await;
    let records: Vec<TestRecord> =
        (0..20).map(|n| TestRecord::value(format!("value {n}")).key(format!("k{n}"))).collect();
    let mut producer = millstream_testkit::Producer::connect(&brokers).await;
    // Records before and behind, so that the range begins and ends within the log.
    for _ in 0..3 {
        producer.produce(topic, 0, &records, Codec::None).await;
    }
    let proxy = Proxy::start(&brokers).await;
    let source = source(&proxy.bootstrap_servers(), topic, more);
    let mut follower = Follower::start(source.clone()).await;
    let mut range = follower.plan().await.unwrap().unwrap();
    (range.start, range.end) = (range_of(topic, 20, 40).start, range_of(topic, 20, 40).end);
    Some((brokers, proxy, source, range))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_of_a_record_batch_gets_through() {
    let Some((_, proxy, source, range)) = one_batch("flipped", &[]).await else { return };
    let sound = to_rows(&batches(&source, &range).await.unwrap());
    same(sound.iter().map(|r| (0, r.offset)).collect(), span(0, 20..40));
    // Every bit of the header, also of the part that no checksum covers, and some of the records.
    let header = HEADER_LEN as u64 * 8;
    let records = (0..100).map(|n| header + n * 25);
    let (mut noticed, mut named) = (0, Vec::new());
    for bit in (0..header).chain(records) {
        let before = source.metrics().fetches;
        proxy.add(Rule::on(ApiKey::Fetch, Fault::FlipInRecords(bit)).times(1));
        match batches(&source, &range).await {
            Ok(read) => assert_eq!(to_rows(&read), sound, "bit {bit} got through"),
            Err(error) => {
                assert_eq!(error.code(), "KAFKA_CORRUPT_BATCH", "bit {bit}: {error}");
                named.push(bit);
            }
        }
        noticed += u64::from(source.metrics().fetches > before + 1);
        proxy.pass();
    }
    assert_eq!(proxy.hits(), header + 100);
    // The leader epoch says nothing about the records, and nothing checks it.
    assert!(noticed >= header - 32 + 100, "{noticed} flips were noticed");
    // A batch that seems to begin before the range is told by the one behind it, too late to be
    // fetched again: of 20, the bits of 4 and 16, in the last byte of the offset.
    assert_eq!(named, [7 * 8 + 2, 7 * 8 + 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_of_an_answer_gets_through_or_stops_the_next_read() {
    let brief = [IMPATIENT[0], IMPATIENT[1], ("kafkaConsumer.pollTimeoutMs", "1000")];
    let Some((_, proxy, source, range)) = one_batch("flipped-answer", &brief).await else {
        return;
    };
    let sound = to_rows(&batches(&source, &range).await.unwrap());
    // Behind the correlation id, the tags and the throttling, which would only be obeyed: errors,
    // topic, partition, marks of the log, lengths, the front of the records.
    for bit in 5 * 8..90 * 8 {
        proxy.add(Rule::on(ApiKey::Fetch, Fault::FlipInAnswer(bit)).times(1));
        // Some flips read as an error of the broker's that ends a read. None changes what is read.
        match batches(&source, &range).await {
            Ok(read) => assert_eq!(to_rows(&read), sound, "bit {bit} got through"),
            Err(error) => assert!(error.code().starts_with("KAFKA_"), "bit {bit}: {error}"),
        }
        proxy.pass();
    }
    assert_eq!(to_rows(&batches(&source, &range).await.unwrap()), sound);
}

/// The whole of it is on the embedded broker (`it/flips.rs`); here Apache Kafka's own answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_flipped_bit_of_a_plan_loses_or_repeats_a_record() {
    let Some(brokers) = one() else { return };
    Admin::connect(&brokers).await.create_topic("flipped-plan", 2).await;
    for partition in 0..2 {
        fill(&brokers, "flipped-plan", partition, 60, 20).await;
    }
    let proxy = Proxy::start(&brokers).await;
    let at = proxy.bootstrap_servers();
    let brief = [
        IMPATIENT[0],
        IMPATIENT[1],
        ("kafka.default.api.timeout.ms", "1500"),
        ("kafkaConsumer.pollTimeoutMs", "1500"),
    ];
    for loss in ["true", "false"] {
        let options = [&brief[..], &[("failOnDataLoss", loss)]].concat();
        let limited = [&options[..], &[("maxOffsetsPerTrigger", "60")]].concat();
        let first = source(&at, "flipped-plan", &limited);
        let first = Follower::start(first).await.plan().await.unwrap().unwrap();
        for (api, answers) in [(ApiKey::Metadata, 3), (ApiKey::ListOffsets, 3)] {
            for after in 0..answers {
                for bit in (after..proxy.answer_bits(api)).step_by(31) {
                    let source = source(&at, "flipped-plan", &options);
                    let mut follower = Follower::after(source.clone(), &first);
                    proxy.add(Rule::on(api, Fault::FlipInAnswer(bit)).after(after).times(1));
                    let planned = match follower.plan().await {
                        Ok(planned) => planned,
                        Err(error) => {
                            assert!(error.code().starts_with("KAFKA_"), "bit {bit}: {error}");
                            None
                        }
                    };
                    // What was planned is read, whatever it took to plan it.
                    proxy.pass();
                    if let Some(range) = planned {
                        follower.places = read(&source, &range).await.unwrap();
                    }
                    follower.drain().await.unwrap();
                    same(follower.places, span(0, 30..60).chain(span(1, 30..60)));
                    assert_eq!(source.metrics().data_loss, 0, "bit {bit} of {api:?} {after}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_stay_corrupt_are_named_with_their_place() {
    let Some((_, proxy, source, range)) = one_batch("corrupt", &[]).await else { return };
    let bit = (HEADER_LEN as u64 + 30) * 8;
    proxy.add(Rule::on(ApiKey::Fetch, Fault::FlipInRecords(bit)));
    let error = read(&source, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_CORRUPT_BATCH", "{error}");
    assert!(error.message().contains("Topic corrupt partition 0"), "{error}");
    assert!(error.message().contains("offset 20"), "{error}");
    assert!(proxy.hits() >= 3, "it was fetched again before it was believed");
    proxy.pass();
    same(read(&source, &range).await.unwrap(), span(0, 20..40));
}

/// A small generator, so that a seed makes a campaign again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn fault(&mut self) -> Fault {
        match self.roll(7) {
            0 => Fault::Cut,
            1 => Fault::HalfOpen,
            2 => Fault::DropAnswer,
            3 => Fault::CutInAnswer,
            4 => Fault::Delay(Duration::from_millis(self.roll(400))),
            5 => Fault::Throttle(20_000 + self.roll(1 << 20)),
            _ => Fault::FlipInRecords(self.roll(1 << 20)),
        }
    }
}

/// Rounds of faults: `MILLSTREAM_FAULT_ROUNDS`, 60 without it, as in CI.
fn rounds() -> u64 {
    #[allow(clippy::disallowed_methods)]
    let rounds = std::env::var("MILLSTREAM_FAULT_ROUNDS").ok().and_then(|n| n.parse().ok());
    rounds.unwrap_or(60)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_line_neither_loses_nor_repeats_a_record() {
    let Some(brokers) = one() else { return };
    Admin::connect(&brokers).await.create_topic("bad-line", 3).await;
    let proxy = Proxy::start(&brokers).await;
    let patient = [IMPATIENT[0], IMPATIENT[1], ("maxOffsetsPerTrigger", "500")];
    let mut follower =
        Follower::start(source(&proxy.bootstrap_servers(), "bad-line", &patient)).await;
    let mut producer = StubbornProducer::connect(&brokers, "bad-line").await;
    let (mut ledger, mut dice) = (Ledger::new(), Dice(0x5eed));
    for _ in 0..rounds() {
        for partition in 0..3 {
            let records: Vec<TestRecord> = (0..100)
                .map(|_| TestRecord::value(noise(ledger.next(partition) as usize, 300)))
                .collect();
            producer.produce(partition, &records, Codec::Lz4).await;
        }
        proxy.pass();
        for _ in 0..2 {
            proxy.add(Rule::all(dice.fault()).after(dice.roll(6)).times(1 + dice.roll(2)));
        }
        follower.batch().await.unwrap();
    }
    proxy.pass();
    follower.drain().await.unwrap();
    assert!(proxy.hits() > rounds() / 2, "{} faults", proxy.hits());
    ledger.audit(follower.places).assert_clean();
}
