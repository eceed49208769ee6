//! Fetch requests: topics by id where the brokers know ids, by name where they do not.

use super::state::PartitionState;
use crate::client::Connection;
use crate::config::ClientSettings;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchResponse, FetchableTopicResponse};
use millstream_core::Result;
use std::collections::HashMap;

/// The first version that names topics by id.
const BY_ID: i16 = 13;
/// Versions we speak. Later ones add what only followers use.
pub(crate) const VERSIONS: std::ops::RangeInclusive<i16> = 4..=16;
/// Without sessions every request lists its partitions; more of them wait for the next one.
pub(crate) const PARTITIONS_MAX: usize = 500;

const MIB: usize = 1 << 20;

/// Sends one Fetch for `asked`.
pub(crate) async fn fetch(
    connection: &mut Connection,
    settings: &ClientSettings,
    asked: &[PartitionState],
    budget: usize,
) -> Result<FetchResponse> {
    let has_ids = asked.iter().all(|s| s.id.is_some());
    let newest = if has_ids { *VERSIONS.end() } else { BY_ID - 1 };
    let version = connection.version::<FetchRequest>(*VERSIONS.start()..=newest)?;
    let share = budget / asked.len().max(1);
    let mut topics: Vec<FetchTopic> = Vec::new();
    for state in asked {
        let bytes = match settings.partition_max_bytes {
            Some(bytes) => usize::try_from(bytes).unwrap_or(MIB),
            None => share.max(MIB),
        };
        let partition = FetchPartition::default()
            .with_partition(state.origin.partition)
            .with_current_leader_epoch(state.epoch.unwrap_or(-1))
            .with_fetch_offset(state.next)
            .with_partition_max_bytes(to_i32(bytes.max(state.bytes_needed)));
        match topics.last_mut() {
            Some(last) if is_same(last, state, version) => last.partitions.push(partition),
            _ => topics.push(topic(state, version, partition)),
        }
    }
    let needed = asked.iter().map(|s| s.bytes_needed).max().unwrap_or(0);
    let request = FetchRequest::default()
        .with_max_wait_ms(to_i32(settings.fetch_max_wait.as_millis()))
        .with_min_bytes(settings.fetch_min_bytes)
        .with_max_bytes(to_i32(budget.max(needed)))
        .with_isolation_level(settings.isolation as i8)
        .with_topics(topics);
    connection.call(&request, version).await
}

fn topic(state: &PartitionState, version: i16, partition: FetchPartition) -> FetchTopic {
    let topic = FetchTopic::default().with_partitions(vec![partition]);
    match state.id {
        Some(id) if version >= BY_ID => topic.with_topic_id(id),
        _ => topic.with_topic(state.name.clone()),
    }
}

fn is_same(topic: &FetchTopic, state: &PartitionState, version: i16) -> bool {
    match state.id {
        Some(id) if version >= BY_ID => topic.topic_id == id,
        _ => topic.topic == state.name,
    }
}

fn to_i32<T: TryInto<i32>>(value: T) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

/// Which of the partitions asked for an answer belongs to.
#[derive(Debug, Default)]
pub(crate) struct Index {
    by_id: HashMap<(uuid::Uuid, i32), usize>,
    by_name: HashMap<(String, i32), usize>,
}

impl Index {
    pub(crate) fn of(asked: &[PartitionState]) -> Index {
        let mut index = Index::default();
        for (at, state) in asked.iter().enumerate() {
            let partition = state.origin.partition;
            if let Some(id) = state.id {
                index.by_id.insert((id, partition), at);
            }
            index.by_name.insert((state.origin.topic.to_string(), partition), at);
        }
        index
    }

    pub(crate) fn find(&self, topic: &FetchableTopicResponse, partition: i32) -> Option<usize> {
        if topic.topic_id.is_nil() {
            self.by_name.get(&(topic.topic.to_string(), partition)).copied()
        } else {
            self.by_id.get(&(topic.topic_id, partition)).copied()
        }
    }
}
