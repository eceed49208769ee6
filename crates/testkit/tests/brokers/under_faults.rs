//! librdkafka's idempotent producer against an embedded broker that misbehaves: every record must
//! be in the log exactly once, in order.

use millstream_broker::{Action, ApiKey, Broker, BrokerConfig, Fault, ResponseError};
use millstream_testkit::Ledger;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};

const PARTITIONS: i32 = 3;
const RECORDS: u64 = 600;

fn plant(broker: &Broker) {
    let faults = broker.faults();
    let actions = [
        Action::CloseAfterWork,
        Action::ErrorAfterWork(ResponseError::RequestTimedOut),
        Action::CloseBeforeWork,
        Action::Error(ResponseError::NotLeaderOrFollower),
        Action::Delay(Duration::from_millis(30)),
        Action::ErrorAfterWork(ResponseError::NotEnoughReplicasAfterAppend),
        Action::DropAnswer,
    ];
    for (action, n) in actions.into_iter().cycle().zip(0..21) {
        faults.add(Fault::on(ApiKey::Produce, action).after(n % 4));
    }
}

async fn produce(broker: &Broker) -> Ledger {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("enable.idempotence", "true")
        .set("linger.ms", "1")
        .set("batch.num.messages", "7")
        .set("socket.timeout.ms", "400")
        .set("request.timeout.ms", "300")
        .set("retry.backoff.ms", "10")
        .set("retry.backoff.max.ms", "20")
        .set("reconnect.backoff.ms", "5")
        .set("reconnect.backoff.max.ms", "20")
        .create()
        .expect("a producer");
    let mut ledger = Ledger::new();
    let mut sent = Vec::new();
    for n in 0..RECORDS {
        let partition = i32::try_from(n % 3).expect("small");
        let number = ledger.next(partition).to_string();
        let record: FutureRecord<'_, str, str> =
            FutureRecord::to("t").partition(partition).payload(&number);
        sent.push(producer.send_result(record).map_err(|(e, _)| e).expect("it is queued"));
        if n % 20 == 19 {
            for delivery in sent.drain(..) {
                delivery.await.expect("an answer").expect("it is delivered");
            }
            let moved = i32::try_from(n / 20 % 3).expect("small");
            broker.change_leader("t", moved, (moved + 1) % 2).expect("the leader moves");
        }
    }
    ledger
}

/// All records as (partition, number), in the order of their offsets per partition.
fn consume(broker: &Broker) -> Vec<(i32, i64)> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap_servers())
        .set("group.id", "audit")
        .set("enable.partition.eof", "true")
        .set("fetch.wait.max.ms", "20")
        .create()
        .expect("a consumer");
    let mut list = TopicPartitionList::new();
    for p in 0..PARTITIONS {
        list.add_partition_offset("t", p, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&list).expect("assigned");
    let (mut rows, mut ended) = (Vec::new(), std::collections::BTreeSet::new());
    let until = Instant::now() + Duration::from_secs(60);
    while i32::try_from(ended.len()).expect("small") < PARTITIONS {
        assert!(Instant::now() < until, "the ends are never reached");
        match consumer.poll(Duration::from_millis(100)) {
            None => {}
            Some(Ok(m)) => {
                let number = std::str::from_utf8(m.payload().expect("a value")).expect("text");
                rows.push((m.partition(), number.parse().expect("a number")));
            }
            Some(Err(rdkafka::error::KafkaError::PartitionEOF(p))) => {
                ended.insert(p);
            }
            Some(Err(error)) => panic!("{error}"),
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_neither_lose_nor_repeat_nor_reorder() {
    let broker = Broker::start(BrokerConfig {
        nodes: 2,
        topics: vec![("t".into(), PARTITIONS)],
        ..BrokerConfig::default()
    })
    .expect("the broker starts");
    plant(&broker);
    let ledger = produce(&broker).await;
    assert_eq!(broker.faults().waiting(), 0, "every fault has struck");
    broker.faults().clear();
    let rows = consume(&broker);
    ledger.audit(rows.iter().copied()).assert_clean();
    for p in 0..PARTITIONS {
        let numbers: Vec<i64> = rows.iter().filter(|(q, _)| *q == p).map(|(_, n)| *n).collect();
        assert!(numbers.is_sorted(), "partition {p} is out of order");
    }
}
