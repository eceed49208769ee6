//! What a subscription has to offer at one moment: partitions, topic ids, leader epochs, first
//! and last offsets, all of the same topics.

use crate::client::{AT_END, AT_START, Cluster, Metadata};
use crate::config::{Isolation, KafkaConfig};
use crate::loss;
use crate::subscription::Subscription;
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Attempts to see the same topic ids before and after asking for offsets.
const STABLE_ATTEMPTS: u32 = 5;

/// The answer to "what is there?".
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) metadata: Metadata,
    pub(crate) partitions: Vec<TopicPartition>,
    pub(crate) earliest: BTreeMap<TopicPartition, i64>,
    pub(crate) latest: BTreeMap<TopicPartition, i64>,
    /// Ends of the logs with the records of open transactions, behind which `latest` may stall for
    /// readers of committed records.
    pub(crate) written: BTreeMap<TopicPartition, i64>,
}

impl Snapshot {
    pub(crate) fn id(&self, topic: &str) -> Option<Uuid> {
        self.metadata.topic_id(topic)
    }

    pub(crate) fn epoch(&self, tp: &TopicPartition) -> Option<i32> {
        self.metadata.partition(tp)?.epoch
    }
}

/// The partitions of the subscription, in order.
///
/// # Errors
/// `KAFKA_TOPIC_UNKNOWN` where a topic or partition named by the user does not exist.
pub(crate) fn partitions(
    subscription: &Subscription,
    metadata: &Metadata,
) -> Result<Vec<TopicPartition>> {
    let unknown = |what: String| {
        Error::invalid("KAFKA_TOPIC_UNKNOWN", format!("{what} does not exist."))
            .cure("Create it, or correct its name.")
    };
    let mut found: Vec<TopicPartition> = match subscription {
        Subscription::Assign(assigned) => {
            if let Some(tp) = assigned.iter().find(|tp| metadata.partition(tp).is_none()) {
                return Err(unknown(format!("Topic-partition {tp}")));
            }
            assigned.clone()
        }
        Subscription::Subscribe(_) => {
            if let Some(topic) = metadata.missing.first() {
                return Err(unknown(format!("Topic {topic}")));
            }
            all_partitions(metadata, |_| true)
        }
        Subscription::Pattern(pattern) => all_partitions(metadata, |t| pattern.matches(t)),
    };
    found.sort();
    Ok(found)
}

fn all_partitions(metadata: &Metadata, wanted: impl Fn(&str) -> bool) -> Vec<TopicPartition> {
    let by_pattern = |name: &str, internal: bool| !internal && wanted(name);
    let topics = metadata.topics.iter().filter(|(name, info)| {
        // A topic that was asked for by name is read even if it is internal.
        by_pattern(name, info.internal && metadata.lists_all)
    });
    let partitions = topics.flat_map(|(name, info)| {
        info.partitions.keys().map(|p| TopicPartition::new(name.clone(), *p))
    });
    partitions.collect()
}

/// Metadata of the subscription's topics, and its partitions. A missing topic is asked for again
/// as often as `fetchOffset.numRetries` says, since brokers that just started may not know it yet.
pub(crate) async fn discover(
    cluster: &Cluster,
    config: &KafkaConfig,
) -> Result<(Metadata, Vec<TopicPartition>)> {
    let topics = config.subscription.topics();
    let mut attempt = 1;
    loop {
        let metadata = cluster.metadata(topics.as_deref()).await?;
        match partitions(&config.subscription, &metadata) {
            Ok(found) => return Ok((metadata, found)),
            Err(error) if attempt >= config.offset_attempts => return Err(error),
            Err(error) => {
                tracing::warn!(attempt, %error, "asking again");
                attempt += 1;
                tokio::time::sleep(config.offset_retry_interval).await;
            }
        }
    }
}

/// A snapshot of everything the subscription has. ListOffsets goes by name, so topic ids are
/// compared before and after.
pub(crate) async fn take(cluster: &Cluster, config: &KafkaConfig) -> Result<Snapshot> {
    let mut before = discover(cluster, config).await?;
    for _ in 0..STABLE_ATTEMPTS {
        let (mut metadata, found) = before;
        let all = |offset| found.iter().map(|tp| (tp.clone(), offset)).collect();
        let (at_start, at_end) = (all(AT_START), all(AT_END));
        let (earliest, ends) = tokio::try_join!(
            cluster.list_offsets(&metadata, &at_start),
            cluster.list_offsets_with_epochs(&metadata, &at_end),
        )?;
        let latest = ends.offsets;
        let written = match config.client.isolation {
            Isolation::Committed => cluster.written_ends(&metadata, &at_end).await?,
            Isolation::Uncommitted => latest.clone(),
        };
        let after = discover(cluster, config).await?;
        let ids = |m: &Metadata| -> Vec<Option<Uuid>> {
            found.iter().map(|tp| m.topic_id(&tp.topic)).collect()
        };
        if ids(&metadata) == ids(&after.0) {
            // An end belongs to the epoch under which it was said: under the one before, the log
            // may have ended earlier, and would seem to be truncated.
            metadata.raise_epochs(&ends.epochs);
            return Ok(Snapshot { metadata, partitions: found, earliest, latest, written });
        }
        before = after;
    }
    Err(Error::unavailable(
        "KAFKA_TOPICS_UNSTABLE",
        "Topics are deleted and created again faster than their offsets can be listed.",
    ))
}

/// Offsets for `wanted`, which stand for themselves, [`AT_END`] or [`AT_START`]; `metadata` then has
/// the leader epochs under which they hold.
pub(crate) async fn resolve(
    cluster: &Cluster,
    metadata: &mut Metadata,
    wanted: &BTreeMap<TopicPartition, i64>,
) -> Result<BTreeMap<TopicPartition, i64>> {
    let open: BTreeMap<TopicPartition, i64> =
        wanted.iter().filter(|(_, o)| **o < 0).map(|(tp, o)| (tp.clone(), *o)).collect();
    let answered = cluster.list_offsets_with_epochs(metadata, &open).await?;
    metadata.raise_epochs(&answered.epochs);
    let mut resolved = answered.offsets;
    let lost: Vec<TopicPartition> =
        open.into_keys().filter(|tp| !resolved.contains_key(tp)).collect();
    if !lost.is_empty() {
        return Err(loss::initial_offset_not_found(&lost));
    }
    resolved.extend(wanted.iter().filter(|(_, o)| **o >= 0).map(|(tp, o)| (tp.clone(), *o)));
    Ok(resolved)
}
