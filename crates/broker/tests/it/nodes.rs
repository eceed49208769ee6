//! A pretended cluster of several nodes.

use crate::{fetch, records, values};
use millstream_broker::{Broker, BrokerConfig, Reach, ResponseError};
use millstream_testkit::{Admin, Client, Producer};
use millstream_wire::Codec;

fn start() -> Broker {
    Broker::start(BrokerConfig {
        nodes: 3,
        topics: vec![("t".into(), 4)],
        ..BrokerConfig::default()
    })
    .unwrap()
}

#[tokio::test]
async fn nodes_share_the_partitions_and_serve_their_own() {
    let broker = start();
    let bootstrap = broker.bootstrap_servers();
    let addresses: Vec<&str> = bootstrap.split(',').collect();
    assert_eq!(addresses.len(), 3);
    let mut admin = Admin::connect(&bootstrap).await;
    let metadata = admin.metadata().await;
    assert_eq!(metadata.brokers.len(), 3);
    let leaders: Vec<i32> = metadata.topics[0].partitions.iter().map(|p| *p.leader_id).collect();
    assert_eq!(leaders, [0, 1, 2, 0]);
    let mut producer = Producer::connect(&bootstrap).await;
    for partition in 0..4 {
        producer.produce("t", partition, &values(0..2), Codec::None).await;
    }
    let mut right = Client::connect(addresses[0]).await.unwrap();
    assert_eq!(records(&fetch(&mut right, "t", 0).await).len(), 2);
    let mut wrong = Client::connect(addresses[1]).await.unwrap();
    let refused = fetch(&mut wrong, "t", 0).await;
    assert_eq!(refused.error_code, ResponseError::NotLeaderOrFollower.code());
    assert_eq!(*refused.current_leader.leader_id, 0, "it says who leads");
}

#[tokio::test]
async fn a_leader_moves_and_the_old_node_may_go() {
    let broker = start();
    let bootstrap = broker.bootstrap_servers();
    let addresses: Vec<&str> = bootstrap.split(',').collect();
    let mut producer = Producer::connect(&bootstrap).await;
    producer.produce("t", 0, &values(0..5), Codec::None).await;
    broker.change_leader("t", 0, 2).unwrap();
    broker.set_reach(0, Reach::Closed).unwrap();
    let mut admin = Admin::connect(addresses[1]).await;
    assert_eq!(admin.end_offset("t", 0).await, 5);
    let mut leader = admin.leader("t", 0).await;
    assert_eq!(records(&fetch(&mut leader, "t", 0).await).len(), 5);
    assert_eq!(broker.leader("t", 0).unwrap(), (2, 1));
    assert!(broker.change_leader("t", 0, 9).is_err());
}
