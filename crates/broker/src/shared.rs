//! What all connections of a broker share.

use crate::catalog::{Catalog, Partition, PartitionState, Topic};
use crate::config::BrokerConfig;
use crate::coordinator::Coordinator;
use crate::faults::{Faults, Reach};
use kafka_protocol::ResponseError;
use millstream_core::env::SharedEnv;
use parking_lot::{Mutex, MutexGuard, RwLock};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(crate) struct Shared {
    pub config: BrokerConfig,
    pub env: SharedEnv,
    pub cluster_id: String,
    pub nodes: Vec<Node>,
    pub catalog: RwLock<Catalog>,
    pub coordinator: Mutex<Coordinator>,
    pub faults: Faults,
    /// Wakes fetches that wait for records.
    pub arrived: Notify,
    pub connections: AtomicUsize,
    pub stop: CancellationToken,
}

/// One node of the pretended cluster.
pub(crate) struct Node {
    pub id: i32,
    pub port: u16,
    pub reach: watch::Sender<Reach>,
}

impl Shared {
    pub(crate) fn now_ms(&self) -> i64 {
        self.env.now_ms()
    }

    pub(crate) fn topic(&self, name: &str) -> Option<Arc<Topic>> {
        self.catalog.read().by_name(name).cloned()
    }

    pub(crate) fn topic_by_id(&self, id: &Uuid) -> Option<Arc<Topic>> {
        self.catalog.read().by_id(id).cloned()
    }
}

/// The partition, locked, if `node` leads it and the caller's leader epoch (-1: none) is right.
pub(crate) fn led_by(
    partition: &Partition,
    node: i32,
    leader_epoch: i32,
) -> Result<MutexGuard<'_, PartitionState>, ResponseError> {
    let state = partition.state.lock();
    if state.deleted {
        return Err(ResponseError::UnknownTopicOrPartition);
    }
    if leader_epoch >= 0 && leader_epoch < state.epoch {
        return Err(ResponseError::FencedLeaderEpoch);
    }
    if leader_epoch > state.epoch {
        return Err(ResponseError::UnknownLeaderEpoch);
    }
    if state.leader != node {
        return Err(ResponseError::NotLeaderOrFollower);
    }
    Ok(state)
}
