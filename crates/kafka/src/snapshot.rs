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

/// The same, once two answers in a row name the same topics and partitions: a partition that is
/// missing when a query starts would be taken for a new one later.
pub(crate) async fn discover_agreed(
    cluster: &Cluster,
    config: &KafkaConfig,
) -> Result<(Metadata, Vec<TopicPartition>)> {
    let mut before = discover(cluster, config).await?;
    for _ in 0..STABLE_ATTEMPTS {
        let after = discover(cluster, config).await?;
        if is_same(&before, &after) {
            return Ok(after);
        }
        cluster.distrust_all();
        before = after;
    }
    Err(unstable())
}

/// Whether two looks show the same topics and partitions, and no leader under two addresses: one
/// of them would be somebody else's, who may know the topics by name.
fn is_same(a: &(Metadata, Vec<TopicPartition>), b: &(Metadata, Vec<TopicPartition>)) -> bool {
    let is_same_topic = |tp: &TopicPartition| a.0.topic_id(&tp.topic) == b.0.topic_id(&tp.topic);
    let is_same_place = |tp: &TopicPartition| match (a.0.leader_at(tp), b.0.leader_at(tp)) {
        (Some((before, here)), Some((after, there))) => before != after || here == there,
        _ => true,
    };
    a.1 == b.1 && a.1.iter().all(|tp| is_same_topic(tp) && is_same_place(tp))
}

fn unstable() -> Error {
    Error::unavailable(
        "KAFKA_TOPICS_UNSTABLE",
        "Topics or partitions are deleted and created faster than their offsets can be listed.",
    )
}

/// A snapshot of everything the subscription has, for a stream that is at `reached`.
///
/// ListOffsets goes by name, so topic ids are compared before and after; partitions are, too. No
/// checksum covers an answer, so that one is not enough for an end that a batch would be planned
/// with, which nothing could read later if it was too high, nor for a start behind `reached`, which
/// says that records are gone. Of two answers the lower one counts: an end that is too low makes a
/// smaller batch, and a start that is too low is told by the broker when it is read from.
pub(crate) async fn take(
    cluster: &Cluster,
    config: &KafkaConfig,
    reached: &BTreeMap<TopicPartition, i64>,
) -> Result<Snapshot> {
    let mut before = discover(cluster, config).await?;
    for _ in 0..STABLE_ATTEMPTS {
        let (metadata, found) = before;
        let all = |offset| found.iter().map(|tp| (tp.clone(), offset)).collect();
        let (at_start, at_end) = (all(AT_START), all(AT_END));
        let (mut earliest, mut ends) = tokio::try_join!(
            cluster.list_offsets(&metadata, &at_start),
            cluster.list_offsets_with_epochs(&metadata, &at_end),
        )?;
        // What is asked again, on other connections, while the metadata is.
        let (lost, new) =
            (beyond(&earliest, reached, AT_START), beyond(&ends.offsets, reached, AT_END));
        let written = async {
            match config.client.isolation {
                Isolation::Committed => cluster.written_ends(&metadata, &at_end).await.map(Some),
                Isolation::Uncommitted => Ok(None),
            }
        };
        let (starts_again, ends_again, written, after) = tokio::try_join!(
            cluster.list_offsets(&metadata, &lost),
            cluster.list_offsets_with_epochs(&metadata, &new),
            written,
            discover(cluster, config),
        )?;
        lower(&mut earliest, &starts_again);
        lower(&mut ends.offsets, &ends_again.offsets);
        ends.confirm(&ends_again.epochs);
        let latest = ends.offsets;
        let written = written.unwrap_or_else(|| latest.clone());
        let before_it = (metadata, found);
        let is_whole =
            before_it.1.iter().all(|tp| earliest.contains_key(tp) && latest.contains_key(tp));
        if is_whole && is_same(&before_it, &after) {
            let (mut metadata, partitions) = before_it;
            // An end belongs to the epoch under which it was said: under the one before, the log
            // may have ended earlier, and would seem to be truncated.
            metadata.confirm_epochs(&ends.epochs);
            return Ok(Snapshot { metadata, partitions, earliest, latest, written });
        }
        cluster.distrust_all();
        before = after;
    }
    Err(unstable())
}

/// The partitions with an offset behind the one that was reached, with what to ask for again.
fn beyond(
    offsets: &BTreeMap<TopicPartition, i64>,
    reached: &BTreeMap<TopicPartition, i64>,
    symbol: i64,
) -> BTreeMap<TopicPartition, i64> {
    let beyond = offsets.iter().filter(|(tp, o)| **o > reached.get(*tp).copied().unwrap_or(0));
    beyond.map(|(tp, _)| (tp.clone(), symbol)).collect()
}

/// Keeps the lower of two offsets.
fn lower(offsets: &mut BTreeMap<TopicPartition, i64>, again: &BTreeMap<TopicPartition, i64>) {
    for (tp, offset) in offsets {
        if let Some(again) = again.get(tp).filter(|again| *again != offset) {
            tracing::debug!(partition = %tp, offset, again, "two answers differ; the lower counts");
            *offset = (*offset).min(*again);
        }
    }
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
    let answered = cluster.list_offsets_agreed(metadata, &open).await?;
    metadata.confirm_epochs(&answered.epochs);
    let mut resolved = answered.offsets;
    let lost: Vec<TopicPartition> =
        open.into_keys().filter(|tp| !resolved.contains_key(tp)).collect();
    if !lost.is_empty() {
        return Err(loss::initial_offset_not_found(&lost));
    }
    resolved.extend(wanted.iter().filter(|(_, o)| **o >= 0).map(|(tp, o)| (tp.clone(), *o)));
    Ok(resolved)
}
