//! Faults on demand, as a client sees them.

use crate::{fetch, fetch_request, read_all, records, values};
use kafka_protocol::messages::{InitProducerIdRequest, MetadataRequest, ProducerId};
use millstream_broker::{Action, ApiKey, Broker, BrokerConfig, Fault, Reach, ResponseError};
use millstream_testkit::{Client, Producer};
use millstream_wire::{BatchBuilder, Codec, Producer as ProducerState};
use std::time::{Duration, Instant};

async fn broker() -> (Broker, Client) {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    broker.create_topic("t", 1).unwrap();
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    producer.produce("t", 0, &values(0..3), Codec::None).await;
    let client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    (broker, client)
}

fn init_request() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None).with_producer_id(ProducerId(-1))
}

#[tokio::test]
async fn errors_are_counted_down() {
    let (broker, mut client) = broker().await;
    let faults = broker.faults();
    let error = Action::Error(ResponseError::NotLeaderOrFollower);
    faults.add(Fault::on(ApiKey::Fetch, error).after(1).times(2));
    let mut codes = Vec::new();
    for _ in 0..5 {
        codes.push(fetch(&mut client, "t", 0).await.error_code);
    }
    assert_eq!(codes, [0, 6, 6, 0, 0]);
    assert_eq!((faults.hits(), faults.waiting()), (2, 0));
    assert_eq!(faults.requests(ApiKey::Fetch), 5);
}

#[tokio::test]
async fn every_served_request_can_be_refused() {
    let (broker, mut client) = broker().await;
    let refused = || Action::Error(ResponseError::UnknownServerError);
    broker.faults().add(Fault::on(ApiKey::Metadata, refused()));
    let all = MetadataRequest::default().with_topics(None);
    for version in [1, 9, 12] {
        broker.faults().add(Fault::on(ApiKey::Metadata, refused()));
        let answer = client.call_at(&all, version).await.unwrap();
        assert_eq!(answer.topics[0].error_code, -1, "version {version}");
        assert!(!answer.brokers.is_empty());
    }
    broker.faults().clear();
    broker.faults().add(Fault::on_any(refused()));
    let init = init_request();
    assert_eq!(client.call_at(&init, 4).await.unwrap().error_code, -1);
    assert_eq!(client.call_at(&init, 4).await.unwrap().error_code, 0);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_work_done() {
    let (broker, _) = broker().await;
    for action in [Action::CloseAfterWork, Action::ErrorAfterWork(ResponseError::RequestTimedOut)] {
        let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
        let id = *client.call_at(&init_request(), 4).await.unwrap().producer_id;
        let before = broker.end_offset("t", 0).unwrap();
        let state = ProducerState { id, epoch: 0, base_sequence: 0 };
        let mut builder = BatchBuilder::new(0).producer(state);
        builder.push(0, None, Some(b"once"), &[]);
        let batch = builder.build().unwrap();
        broker.faults().add(Fault::on(ApiKey::Produce, action));
        let first = {
            let (bootstrap, batch) = (broker.bootstrap_servers(), batch.clone());
            tokio::spawn(async move {
                Producer::connect(&bootstrap).await.produce_batch("t", 0, batch).await
            })
            .await
        };
        assert!(!matches!(first, Ok(Ok(_))), "the first answer is lost: {first:?}");
        let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
        assert_eq!(producer.produce_batch("t", 0, batch).await, Ok(before), "the retry is known");
        assert_eq!(broker.end_offset("t", 0).unwrap(), before + 1);
    }
}

#[tokio::test]
async fn connections_close_before_any_work() {
    let (broker, mut client) = broker().await;
    broker.faults().add(Fault::on(ApiKey::Fetch, Action::CloseBeforeWork));
    assert!(client.call_at(&fetch_request("t", 0, -1), 12).await.is_err());
    assert_eq!(read_all(&broker.bootstrap_servers(), "t").await.len(), 3);
}

#[tokio::test]
async fn answers_are_delayed_dropped_throttled_and_emptied() {
    let (broker, mut client) = broker().await;
    let faults = broker.faults();
    faults.add(Fault::on(ApiKey::Fetch, Action::Delay(Duration::from_millis(120))));
    let start = Instant::now();
    assert_eq!(records(&fetch(&mut client, "t", 0).await).len(), 3);
    assert!(start.elapsed() >= Duration::from_millis(120));

    faults.add(Fault::on(ApiKey::Fetch, Action::Throttle(Duration::from_secs(7))));
    let answer = client.call_at(&fetch_request("t", 0, -1), 12).await.unwrap();
    assert_eq!(answer.throttle_time_ms, 7000);

    faults.add(Fault::on(ApiKey::Fetch, Action::EmptyFetch));
    let empty = fetch(&mut client, "t", 0).await;
    assert!(records(&empty).is_empty());
    assert_eq!(empty.high_watermark, 3, "the answer is like any other");

    faults.add(Fault::on(ApiKey::Fetch, Action::DropAnswer));
    let dropped = client.send(&fetch_request("t", 0, -1), 12).await.unwrap();
    let next = client.send(&fetch_request("t", 0, -1), 12).await.unwrap();
    let answer = client.receive().await.unwrap();
    let id = i32::from_be_bytes(answer[..4].try_into().unwrap());
    assert_eq!(id, next, "request {dropped} is never answered");
}

#[tokio::test]
async fn an_unreachable_node_cuts_and_refuses() {
    let (broker, mut client) = broker().await;
    broker.set_reach(0, Reach::Closed).unwrap();
    assert!(client.call_at(&fetch_request("t", 0, -1), 12).await.is_err());
    assert!(Client::connect(&broker.bootstrap_servers()).await.is_err());
    broker.set_reach(0, Reach::Up).unwrap();
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    broker.set_reach(0, Reach::Silent).unwrap();
    client.send(&fetch_request("t", 0, -1), 12).await.unwrap();
    let silent = tokio::time::timeout(Duration::from_millis(100), client.receive()).await;
    assert!(silent.is_err(), "no answer comes");
    broker.set_reach(0, Reach::Up).unwrap();
    assert!(broker.set_reach(3, Reach::Up).is_err(), "there is no such node");
}

#[tokio::test]
async fn a_new_leader_epoch_fences_the_old_one() {
    let (broker, mut client) = broker().await;
    let (leader, epoch) = broker.leader("t", 0).unwrap();
    broker.change_leader("t", 0, leader).unwrap();
    let stale = client.call_at(&fetch_request("t", 0, epoch), 12).await.unwrap();
    let stale = &stale.responses[0].partitions[0];
    assert_eq!(stale.error_code, ResponseError::FencedLeaderEpoch.code());
    assert_eq!(stale.current_leader.leader_epoch, epoch + 1);
    let fresh = client.call_at(&fetch_request("t", 0, epoch + 1), 12).await.unwrap();
    assert_eq!(fresh.responses[0].partitions[0].error_code, 0);
}

#[tokio::test]
async fn a_cut_log_diverges_from_what_was_read() {
    let (broker, mut client) = broker().await;
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    producer.produce("t", 0, &values(3..6), Codec::None).await;
    broker.truncate("t", 0, 4).unwrap();
    assert_eq!(broker.end_offset("t", 0).unwrap(), 3, "the batch that spans the cut goes");
    producer.produce("t", 0, &values(10..20), Codec::None).await;
    // A reader at offset 6 of epoch 0: the log has grown past it, with other records.
    let mut request = fetch_request("t", 6, -1);
    request.topics[0].partitions[0].last_fetched_epoch = 0;
    let answer = client.call_at(&request, 12).await.unwrap();
    let diverging = &answer.responses[0].partitions[0].diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (0, 3));
}
