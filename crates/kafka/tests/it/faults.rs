//! Brokers that move, break, stall, throttle and garble: the range still comes exactly, or a
//! named error does, in bounded time.

use crate::support::*;
use futures::TryStreamExt as _;
use millstream_broker::{Action, ApiKey, Broker, BrokerConfig, Fault, Reach, ResponseError};
use millstream_core::contract::Source as _;
use millstream_kafka::ReadOptions;
use millstream_wire::{BatchBuilder, Codec};
use std::time::{Duration, Instant};

const ALL: [(&str, &str); 1] = [("subscribe", "t")];

async fn cluster(nodes: usize, partitions: i32) -> (Broker, String) {
    let broker = Broker::start(BrokerConfig { nodes, ..BrokerConfig::default() }).unwrap();
    broker.create_topic("t", partitions).unwrap();
    let at = broker.bootstrap_servers();
    for partition in 0..partitions {
        for first in [0, 50] {
            produce(&at, "t", partition, first, 50).await;
        }
    }
    (broker, at)
}

fn start(partitions: i32) -> String {
    let offsets: Vec<String> = (0..partitions).map(|p| format!(r#""{p}":0"#)).collect();
    format!(r#"{{"t":{{{}}}}}"#, offsets.join(","))
}

#[tokio::test]
async fn several_brokers_serve_one_read() {
    let (_broker, at) = cluster(3, 7).await;
    let first_only = at.split(',').next().unwrap();
    let (_, rows) = everything(&source(first_only, &ALL), &start(7)).await;
    assert_eq!(rows.len(), 700);
}

#[tokio::test]
async fn every_passing_error_is_repeated() {
    let (broker, at) = cluster(1, 2).await;
    for error in [
        ResponseError::NotLeaderOrFollower,
        ResponseError::FencedLeaderEpoch,
        ResponseError::UnknownLeaderEpoch,
        ResponseError::LeaderNotAvailable,
        ResponseError::ReplicaNotAvailable,
        ResponseError::KafkaStorageError,
        ResponseError::OffsetNotAvailable,
        ResponseError::UnknownTopicOrPartition,
        ResponseError::UnknownTopicId,
        ResponseError::InconsistentTopicId,
        ResponseError::RequestTimedOut,
        ResponseError::CorruptMessage,
        ResponseError::UnknownServerError,
    ] {
        let faults = broker.faults();
        faults.add(Fault::on(ApiKey::Fetch, Action::Error(error)).times(2));
        faults
            .add(Fault::on(ApiKey::ListOffsets, Action::Error(ResponseError::NotLeaderOrFollower)));
        let source = source(&at, &ALL);
        let (_, rows) = everything(&source, &start(2)).await;
        assert_eq!(rows.len(), 200, "{error:?}");
        assert_eq!(faults.waiting(), 0, "{error:?}");
        assert!(source.metrics().retries >= 1, "{error:?}");
    }
}

#[tokio::test]
async fn lost_connections_are_made_again() {
    let (broker, at) = cluster(1, 2).await;
    for api in [ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::Fetch, ApiKey::ApiVersions] {
        for action in [Action::CloseBeforeWork, Action::CloseAfterWork] {
            broker.faults().add(Fault::on(api, action.clone()).times(2));
            let (_, rows) = everything(&source(&at, &ALL), &start(2)).await;
            assert_eq!(rows.len(), 200, "{api:?} {action:?}");
            broker.faults().clear();
        }
    }
}

#[tokio::test]
async fn an_answer_that_never_comes_has_a_deadline() {
    let (broker, at) = cluster(1, 1).await;
    let impatient = [ALL[0], ("kafka.request.timeout.ms", "100")];
    for api in [ApiKey::Metadata, ApiKey::ListOffsets, ApiKey::Fetch] {
        broker.faults().add(Fault::on(api, Action::DropAnswer));
        let (_, rows) = everything(&source(&at, &impatient), &start(1)).await;
        assert_eq!(rows.len(), 100, "{api:?}");
    }
}

#[tokio::test]
async fn a_leader_that_moves_while_it_is_read_is_followed() {
    let (broker, at) = cluster(3, 3).await;
    let source = source(&at, &[ALL[0], ("kafka.max.partition.fetch.bytes", "1")]);
    let range = admit(&source, &start(3)).await.unwrap().range.unwrap();
    // Each leader answers once with one of two batches; the second request finds another leader.
    let delay = Action::Delay(Duration::from_millis(300));
    broker.faults().add(Fault::on(ApiKey::Fetch, delay).after(3).times(3));
    let options = ReadOptions { batch_rows: 10, ..ReadOptions::default() };
    let mut stream = source.read(source.splits(&range, 1).unwrap(), None, options);
    let mut read = vec![stream.try_next().await.unwrap().unwrap()];
    for partition in 0..3 {
        let (leader, _) = broker.leader("t", partition).unwrap();
        broker.change_leader("t", partition, if leader == 1 { 2 } else { 1 }).unwrap();
    }
    read.extend(stream.try_collect::<Vec<_>>().await.unwrap());
    let read = to_rows(&read);
    let expected: Vec<i64> = (0..3).flat_map(|_| 0..100).collect();
    assert_eq!(offsets(&read), expected);
    assert!(source.metrics().retries >= 1);
}

#[tokio::test]
async fn a_broker_that_comes_back_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let config = |port| BrokerConfig {
        dir: Some(dir.path().to_owned()),
        port,
        topics: vec![("t".into(), 1)],
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config(0)).unwrap();
    let (at, port) = (broker.bootstrap_servers(), broker.port());
    produce(&at, "t", 0, 0, 100).await;
    let source = source(&at, &ALL);
    let range = admit(&source, &start(1)).await.unwrap().range.unwrap();
    broker.stop();
    let reading = tokio::spawn({
        let (source, range) = (source.clone(), range.clone());
        async move { rows(&source, &range).await }
    });
    // The reader is certain to meet a dead port before the broker is back.
    while source.metrics().retries == 0 && !reading.is_finished() {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            break;
        }
    }
    let _broker = Broker::start(config(port)).unwrap();
    assert_eq!(reading.await.unwrap().unwrap().len(), 100);
}

#[tokio::test]
async fn an_unreachable_broker_is_named_in_bounded_time() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let brief = [ALL[0], ("kafka.default.api.timeout.ms", "300")];
    let at = format!("127.0.0.1:{}", closed.port());
    let began = Instant::now();
    let error = source(&at, &brief).initial_position().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_UNREACHABLE");
    assert!(error.to_string().contains(&at), "{error}");
    assert!(error.cure_text().unwrap().contains("tried"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_silent_broker_is_named_in_bounded_time() {
    let (broker, at) = cluster(1, 1).await;
    broker.set_reach(1, Reach::Silent).or_else(|_| broker.set_reach(0, Reach::Silent)).unwrap();
    let brief = [
        ALL[0],
        ("kafka.default.api.timeout.ms", "300"),
        ("kafka.socket.connection.setup.timeout.ms", "100"),
        ("kafka.request.timeout.ms", "100"),
    ];
    let began = Instant::now();
    let error = source(&at, &brief).initial_position().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_UNREACHABLE", "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn something_that_is_no_broker_is_told_apart() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let brief = [ALL[0], ("kafka.default.api.timeout.ms", "200")];
    let error = source(&at, &brief).initial_position().await.unwrap_err();
    assert!(error.to_string().contains("is this a Kafka port without TLS?"), "{error}");
}

#[tokio::test]
async fn a_partition_that_never_answers_ends_the_read() {
    let (broker, at) = cluster(1, 1).await;
    let impatient = [ALL[0], ("kafkaConsumer.pollTimeoutMs", "200")];
    let source = source(&at, &impatient);
    let range = admit(&source, &start(1)).await.unwrap().range.unwrap();
    let error = Action::Error(ResponseError::NotLeaderOrFollower);
    broker.faults().add(Fault::on(ApiKey::Fetch, error).times(u64::MAX));
    let error = rows(&source, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_FETCH_TIMEOUT");
    assert!(
        error.message().starts_with("Cannot fetch record for offset 0 in 200 milliseconds"),
        "{error}"
    );
}

#[tokio::test]
async fn throttling_is_followed() {
    let (broker, at) = cluster(1, 3).await;
    let throttle = Action::Throttle(Duration::from_millis(20));
    broker.faults().add(Fault::on(ApiKey::Fetch, throttle));
    let source = source(&at, &ALL);
    let (_, rows) = everything(&source, &start(3)).await;
    assert_eq!((rows.len(), source.metrics().throttled_ms), (300, 20));
}

#[tokio::test]
async fn an_empty_answer_is_not_taken_for_the_end() {
    for partitions in [1, 3] {
        let (broker, at) = cluster(1, partitions).await;
        broker.faults().add(Fault::on(ApiKey::Fetch, Action::EmptyFetch).times(2));
        let (_, rows) = everything(&source(&at, &ALL), &start(partitions)).await;
        assert_eq!(rows.len(), 100 * partitions as usize);
    }
}

#[tokio::test]
async fn bytes_that_break_on_the_way_are_fetched_again_and_then_named() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    produce(&at, "t", 0, 0, 5).await;
    let mut builder = BatchBuilder::new(5).codec(Codec::None);
    builder.push(0, None, Some(b"good"), &[]);
    let mut bad = builder.build().unwrap().to_vec();
    let last = bad.len() - 2;
    bad[last] ^= 0x40;
    broker.append_raw("t", 0, bad).unwrap();
    let checking = source(&at, &ALL);
    let range = admit(&checking, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    let error = rows(&checking, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_CORRUPT_BATCH");
    assert!(error.message().contains("Topic t partition 0: record batch at offset 5"), "{error}");
    let trusting = source(&at, &[ALL[0], ("kafka.check.crcs", "false")]);
    assert_eq!(rows(&trusting, &range).await.unwrap().len(), 6);
}

#[tokio::test]
async fn old_message_formats_are_refused_by_name() {
    let broker = broker(&[("t", 1)]);
    let at = broker.bootstrap_servers();
    let mut old = vec![0_u8; 60];
    old[8..12].copy_from_slice(&48_i32.to_be_bytes());
    old[16] = 1;
    broker.append_raw("t", 0, old).unwrap();
    let source = source(&at, &ALL);
    let range = admit(&source, r#"{"t":{"0":0}}"#).await.unwrap().range.unwrap();
    let error = rows(&source, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_FORMAT_UNSUPPORTED");
    assert!(error.message().contains("message format v1"), "{error}");
}

#[tokio::test]
async fn refused_access_is_not_repeated() {
    let (broker, at) = cluster(1, 1).await;
    let source = source(&at, &ALL);
    let range = admit(&source, &start(1)).await.unwrap().range.unwrap();
    let refusal = Action::Error(ResponseError::TopicAuthorizationFailed);
    broker.faults().add(Fault::on(ApiKey::Fetch, refusal.clone()));
    let error = rows(&source, &range).await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_UNAUTHORIZED");
    broker.faults().add(Fault::on(ApiKey::Metadata, refusal));
    let error = source.initial_position().await.unwrap_err();
    assert_eq!(error.code(), "KAFKA_UNAUTHORIZED");
}

#[tokio::test]
async fn a_dropped_stream_stops_fetching() {
    let (broker, at) = cluster(1, 1).await;
    let source = source(&at, &[ALL[0], ("kafka.max.partition.fetch.bytes", "1")]);
    let range = admit(&source, &start(1)).await.unwrap().range.unwrap();
    let splits = source.splits(&range, 1).unwrap();
    let delay = Action::Delay(Duration::from_millis(50));
    broker.faults().add(Fault::on(ApiKey::Fetch, delay).times(u64::MAX));
    let mut stream = source.read(splits, None, millstream_kafka::ReadOptions::default());
    let pending = futures::poll!(futures::StreamExt::next(&mut stream));
    assert!(pending.is_pending());
    drop(stream);
    tokio::time::sleep(Duration::from_millis(120)).await;
    let seen = broker.faults().requests(ApiKey::Fetch);
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert_eq!(broker.faults().requests(ApiKey::Fetch), seen);
}
