//! What a batch starts from, given where the last one ended and what is there now: every
//! data-loss rule of planning, as a pure function.

use crate::detail::{Detail, Gap, GapReason, Gone};
use crate::loss;
use crate::snapshot::Snapshot;
use millstream_core::Result;
use millstream_core::offsets::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What is known from before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before<'a> {
    /// Where the last batch ended.
    pub(crate) end: &'a BTreeMap<TopicPartition, i64>,
    /// What its range remembered; `None` for the first batch and after another engine's.
    pub(crate) detail: Option<&'a Detail>,
    /// Topic ids seen by this process, for when there is no detail.
    pub(crate) ids: &'a BTreeMap<String, Uuid>,
    /// Partitions whose log was found to end below `end`, with the offset it ends at.
    pub(crate) truncated: &'a BTreeMap<TopicPartition, i64>,
    /// Partitions whose end lags behind `end` although nothing was lost: they wait.
    pub(crate) waiting: &'a BTreeSet<TopicPartition>,
}

/// How strict to be, and Spark's words for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) fail_on_data_loss: bool,
    pub(crate) has_group_id: bool,
    pub(crate) group: &'a str,
}

/// Where the batch starts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) from: BTreeMap<TopicPartition, i64>,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) gone: Vec<Gone>,
}

impl Before<'_> {
    fn known_id(&self, topic: &str) -> Option<Uuid> {
        let in_detail = self.detail.and_then(|d| d.topics.get(topic));
        in_detail.or_else(|| self.ids.get(topic)).copied()
    }
}

/// Decides where each partition of `seen` starts.
///
/// # Errors
/// The first loss found, where `failOnDataLoss` is on.
pub(crate) fn start(before: Before<'_>, seen: &Snapshot, rules: Rules<'_>) -> Result<Start> {
    let mut start = Start::default();
    let recreated = recreated_topics(before, seen, rules)?;
    let gone = before.detail.map(|d| d.gone.as_slice()).unwrap_or_default();
    let mut lost_initial = Vec::new();
    for tp in &seen.partitions {
        let Some(earliest) = seen.earliest.get(tp).copied() else {
            lost_initial.push(tp.clone());
            continue;
        };
        let back = gone
            .iter()
            .find(|g| g.topic == tp.topic && g.partition == tp.partition && g.id.is_some())
            .filter(|g| g.id == seen.id(&tp.topic));
        let previous = before.end.get(tp).copied().or(back.map(|g| g.offset));
        let from = match previous {
            Some(previous) if recreated.contains(tp.topic.as_str()) => {
                start.gap(tp, previous, earliest, GapReason::Recreated);
                earliest
            }
            Some(previous) => {
                known_partition(&mut start, tp, previous, earliest, before, seen, rules)?
            }
            None if recreated.contains(tp.topic.as_str()) => earliest,
            None => added_partition(&mut start, tp, earliest, rules)?,
        };
        start.from.insert(tp.clone(), from);
    }
    if !lost_initial.is_empty() && rules.fail_on_data_loss {
        return Err(loss::initial_offset_not_found(&lost_initial));
    }
    deleted_partitions(&mut start, before, seen, rules)?;
    carry_gone(&mut start, gone, seen);
    Ok(start)
}

fn recreated_topics<'s>(
    before: Before<'_>,
    seen: &'s Snapshot,
    rules: Rules<'_>,
) -> Result<BTreeSet<&'s str>> {
    let mut recreated = BTreeSet::new();
    for (topic, info) in &seen.metadata.topics {
        let is_read = before.end.keys().any(|tp| tp.topic == *topic);
        if let (true, Some(known), Some(now)) = (is_read, before.known_id(topic), info.id)
            && known != now
        {
            if rules.fail_on_data_loss {
                return Err(loss::topic_recreated(topic, &known.to_string(), &now.to_string())
                    .cure(RECREATED_CURE));
            }
            tracing::warn!(%topic, %known, %now, "topic was recreated; reading the new one");
            recreated.insert(topic.as_str());
        }
    }
    Ok(recreated)
}

/// What to do about a recreated topic.
pub(crate) const RECREATED_CURE: &str =
    "Start a new query, or set failOnDataLoss to false to read the new topic from its start.";

/// A partition that was read before: it may have lost its front or its tail.
fn known_partition(
    start: &mut Start,
    tp: &TopicPartition,
    previous: i64,
    earliest: i64,
    before: Before<'_>,
    seen: &Snapshot,
    rules: Rules<'_>,
) -> Result<i64> {
    if let Some(end) = before.truncated.get(tp).copied() {
        if rules.fail_on_data_loss {
            let epoch = before.detail.and_then(|d| d.epoch(tp)).unwrap_or(-1);
            return Err(loss::log_truncated(tp, previous, epoch, end));
        }
        let to = end.max(earliest);
        start.gap(tp, previous, to, GapReason::Truncated);
        return Ok(to);
    }
    if previous < earliest {
        if rules.fail_on_data_loss {
            let why = format!("The first offset that is still there is {earliest}.");
            return Err(loss::could_not_read(tp, (previous, earliest), rules.group, &why));
        }
        start.gap(tp, previous, earliest, GapReason::Expired);
        return Ok(earliest);
    }
    let latest = seen.latest.get(tp).copied().unwrap_or(previous);
    if latest < previous && !before.waiting.contains(tp) {
        if rules.fail_on_data_loss {
            return Err(loss::partition_offset_changed(tp, previous, latest));
        }
        start.gap(tp, previous, latest, GapReason::Truncated);
        return Ok(latest);
    }
    Ok(previous)
}

/// A partition that was not there before starts at its beginning, which should be offset 0.
fn added_partition(
    start: &mut Start,
    tp: &TopicPartition,
    earliest: i64,
    rules: Rules<'_>,
) -> Result<i64> {
    if earliest != 0 {
        if rules.fail_on_data_loss {
            return Err(loss::added_partition(tp, earliest));
        }
        start.gap(tp, 0, earliest, GapReason::AddedLate);
    }
    Ok(earliest)
}

fn deleted_partitions(
    start: &mut Start,
    before: Before<'_>,
    seen: &Snapshot,
    rules: Rules<'_>,
) -> Result<()> {
    let deleted: Vec<TopicPartition> =
        before.end.keys().filter(|tp| !seen.partitions.contains(tp)).cloned().collect();
    if deleted.is_empty() {
        return Ok(());
    }
    if rules.fail_on_data_loss {
        return Err(loss::partitions_deleted(&deleted, rules.has_group_id));
    }
    for tp in deleted {
        let offset = before.end.get(&tp).copied().unwrap_or(0);
        start.gap(&tp, offset, offset, GapReason::Deleted);
        let id = before.known_id(&tp.topic);
        start.gone.push(Gone { topic: tp.topic, partition: tp.partition, offset, id });
    }
    Ok(())
}

/// Partitions that vanished earlier and did not come back are remembered on.
fn carry_gone(start: &mut Start, gone: &[Gone], seen: &Snapshot) {
    for old in gone {
        let tp = TopicPartition::new(old.topic.clone(), old.partition);
        if !seen.partitions.contains(&tp) && start.gone.len() < GONE_MAX {
            start.gone.push(old.clone());
        }
    }
}

/// Vanished partitions remembered at most.
const GONE_MAX: usize = 10_000;

impl Start {
    fn gap(&mut self, tp: &TopicPartition, from: i64, to: i64, reason: GapReason) {
        tracing::warn!(partition = %tp, from, to, ?reason, "records are gone; the gap is recorded");
        let topic = tp.topic.clone();
        self.gaps.push(Gap { topic, partition: tp.partition, from, to, reason });
    }
}

#[cfg(test)]
mod tests;
