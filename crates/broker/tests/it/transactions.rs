//! Transactions that outlive the broker, or their own time.

use crate::values;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest, ProducerId, TopicName,
    TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use millstream_broker::{Broker, BrokerConfig};
use millstream_testkit::{Client, Producer};
use millstream_wire::{BatchBuilder, Codec, Producer as ProducerState};
use std::path::Path;
use std::time::{Duration, Instant};

fn start(dir: &Path) -> Broker {
    let topics = vec![("t".into(), 1)];
    let dir = Some(dir.to_path_buf());
    Broker::start(BrokerConfig { dir, topics, ..BrokerConfig::default() }).unwrap()
}

fn text(s: &'static str) -> StrBytes {
    StrBytes::from_static_str(s)
}

/// Begins a transaction and writes one record within it.
async fn begin(broker: &Broker, timeout_ms: i32) -> (ProducerId, i16) {
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let init = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(text("x"))))
        .with_transaction_timeout_ms(timeout_ms)
        .with_producer_id(ProducerId(-1))
        .with_producer_epoch(-1);
    let state = client.call_at(&init, 4).await.unwrap();
    assert_eq!(state.error_code, 0);
    let (id, epoch) = (state.producer_id, state.producer_epoch);
    let topic =
        AddPartitionsToTxnTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(TransactionalId(text("x")))
        .with_v3_and_below_producer_id(id)
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    let added = client.call_at(&add, 3).await.unwrap();
    let added = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(added.partition_error_code, 0);
    let state = ProducerState { id: *id, epoch, base_sequence: 0 };
    let mut builder = BatchBuilder::new(0).producer(state).transactional();
    builder.push(0, None, Some(b"in a transaction"), &[]);
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    let offset = producer.produce_batch("t", 0, builder.build().unwrap()).await;
    assert!(offset.is_ok(), "{offset:?}");
    (id, epoch)
}

async fn end(broker: &Broker, id: ProducerId, epoch: i16) -> i16 {
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let end = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text("x")))
        .with_producer_id(id)
        .with_producer_epoch(epoch)
        .with_committed(true);
    client.call_at(&end, 3).await.unwrap().error_code
}

async fn stable_end(broker: &Broker) -> i64 {
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    crate::fetch(&mut client, "t", 0).await.last_stable_offset
}

#[tokio::test]
async fn an_open_transaction_is_still_open_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    producer.produce("t", 0, &values(0..3), Codec::None).await;
    let (id, epoch) = begin(&broker, 60_000).await;
    broker.stop();
    let broker = start(dir.path());
    assert_eq!(stable_end(&broker).await, 3, "its record is unstable");
    assert_eq!(end(&broker, id, epoch).await, 0);
    assert_eq!(stable_end(&broker).await, 5, "record and marker");
    broker.stop();
    let broker = start(dir.path());
    assert_eq!(stable_end(&broker).await, 5);
    assert_eq!(end(&broker, id, epoch).await, 0, "the end is remembered");
    assert_eq!(broker.end_offset("t", 0).unwrap(), 5, "and not repeated");
}

#[tokio::test]
async fn a_transaction_that_runs_out_of_time_is_aborted() {
    let dir = tempfile::tempdir().unwrap();
    let broker = start(dir.path());
    let (id, epoch) = begin(&broker, 50).await;
    let until = Instant::now() + Duration::from_secs(20);
    while stable_end(&broker).await < 2 {
        assert!(Instant::now() < until, "it stays open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(end(&broker, id, epoch).await, 90, "its producer is fenced");
}
