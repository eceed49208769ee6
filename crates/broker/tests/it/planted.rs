//! What no producer can write: holes, huge gaps, compacted and damaged batches.

use crate::{fetch, read_all, records, values};
use millstream_broker::{Broker, BrokerConfig};
use millstream_testkit::{Admin, Client, Producer};
use millstream_wire::{BatchBuilder, Codec};

fn start() -> Broker {
    let topics = vec![("t".into(), 1)];
    Broker::start(BrokerConfig { topics, ..BrokerConfig::default() }).unwrap()
}

#[tokio::test]
async fn huge_gaps_lie_between_records_and_at_the_end() {
    let broker = start();
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    producer.produce("t", 0, &values(0..2), Codec::None).await;
    let gap = 1_i64 << 45;
    broker.plant_gap("t", 0, gap).unwrap();
    assert_eq!(producer.produce("t", 0, &values(2..3), Codec::None).await, gap + 2);
    broker.plant_gap("t", 0, 100).unwrap();
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let in_gap = fetch(&mut client, "t", 1000).await;
    assert_eq!(records(&in_gap), [(gap + 2, "value 2".to_owned())], "the next batch behind it");
    let tail = fetch(&mut client, "t", gap + 3).await;
    assert_eq!((tail.error_code, tail.high_watermark), (0, gap + 103));
    assert!(records(&tail).is_empty());
    let mut admin = Admin::connect(&broker.bootstrap_servers()).await;
    assert_eq!(admin.list_offset("t", 0, 1002).await, Ok((gap + 2, 1002)));
    assert!(broker.plant_gap("t", 0, i64::MAX).is_err(), "offsets end somewhere");
}

#[tokio::test]
async fn compacted_batches_keep_their_offsets() {
    let broker = start();
    let mut holes = BatchBuilder::new(10);
    holes.push_at(2, 5, None, Some(b"at 12"), &[]);
    holes.push_at(5, 6, None, Some(b"at 15"), &[]);
    broker.append_raw("t", 0, holes.ends_at_delta(9).build().unwrap()).unwrap();
    let emptied = BatchBuilder::new(30).ends_at_delta(4);
    broker.append_raw("t", 0, emptied.build().unwrap()).unwrap();
    assert_eq!(broker.end_offset("t", 0).unwrap(), 35);
    let read = read_all(&broker.bootstrap_servers(), "t").await;
    assert_eq!(read, [(12, "at 12".to_owned()), (15, "at 15".to_owned())]);
    let back = BatchBuilder::new(3).ends_at_delta(0).build().unwrap();
    let refused = broker.append_raw("t", 0, back).unwrap_err();
    assert_eq!(refused.code(), "BROKER_REFUSED", "offsets do not go back");
}

#[tokio::test]
async fn damaged_and_old_batches_are_served_as_they_are() {
    let broker = start();
    let mut builder = BatchBuilder::new(0);
    builder.push(0, None, Some(b"damaged"), &[]);
    let mut damaged = builder.build().unwrap().to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    broker.append_raw("t", 0, damaged.clone()).unwrap();
    let mut old = vec![0; 40];
    old[7] = 1;
    old[11] = 28;
    old[16] = 1;
    broker.append_raw("t", 0, old.clone()).unwrap();
    assert_eq!(broker.end_offset("t", 0).unwrap(), 2);
    let mut client = Client::connect(&broker.bootstrap_servers()).await.unwrap();
    let served = fetch(&mut client, "t", 0).await.records.unwrap();
    assert_eq!(served, [damaged, old].concat());
}

#[tokio::test]
async fn a_recreated_topic_is_empty_and_another_one() {
    let broker = start();
    let mut producer = Producer::connect(&broker.bootstrap_servers()).await;
    producer.produce("t", 0, &values(0..5), Codec::None).await;
    let old = broker.topic_id("t").unwrap();
    let new = broker.recreate_topic("t").unwrap();
    assert_ne!(old, new);
    assert_eq!(broker.topic_id("t"), Some(new));
    assert_eq!(broker.end_offset("t", 0).unwrap(), 0);
}
