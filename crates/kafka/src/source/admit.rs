//! Admission: what the next batch reads.

use super::{KafkaSource, position};
use crate::client::Reached;
use crate::config::Isolation;
use crate::detail::Detail;
use crate::limits::{byte_limit, must_wait, rate_limit};
use crate::loss::{self, available_now};
use crate::plan::{self, Before, Rules, Start};
use crate::read::sample_bytes_per_offset;
use crate::snapshot::{self, Snapshot};
use millstream_core::Result;
use millstream_core::contract::{Admitted, Limit, SourceRange};
use millstream_core::offsets::TopicPartition;
use std::collections::{BTreeMap, BTreeSet};

type PartitionOffsets = BTreeMap<TopicPartition, i64>;

/// Partitions found to end below where the last batch ended.
#[derive(Debug, Default)]
struct Behind {
    truncated: PartitionOffsets,
    waiting: BTreeSet<TopicPartition>,
}

impl KafkaSource {
    /// Fixes the ends of an `AvailableNow` run. Of two looks the higher end counts: where an
    /// answer broke on the way, the run would end before what it was started for.
    pub(super) async fn pin(&self) -> Result<()> {
        let nothing = PartitionOffsets::new();
        let mut seen = snapshot::take(&self.cluster, &self.config, &nothing).await?;
        let again = snapshot::take(&self.cluster, &self.config, &nothing).await?;
        for (tp, end) in &mut seen.latest {
            *end = (*end).max(again.latest.get(tp).copied().unwrap_or(*end));
        }
        self.remember_ids(&seen.metadata);
        self.state.lock().pinned = Some(seen.latest);
        Ok(())
    }

    pub(super) async fn admit_offsets(
        &self,
        start: &PartitionOffsets,
        detail: Option<&Detail>,
        limit: Limit,
    ) -> Result<Admitted> {
        let (mut seen, behind) = self.look(start, detail).await?;
        let (ids, pinned) = {
            let state = self.state.lock();
            (state.ids.clone(), state.pinned.clone())
        };
        if let Some(pinned) = &pinned {
            // An `AvailableNow` run reads the partitions it pinned; new ones are the next run's.
            seen.partitions.retain(|tp| pinned.contains_key(tp));
        }
        let before = Before {
            end: start,
            detail,
            ids: &ids,
            truncated: &behind.truncated,
            waiting: &behind.waiting,
        };
        let begin = plan::start(before, &seen, self.rules())?;
        self.remember_ids(&seen.metadata);
        // What there is, but never less than where a waiting partition already is.
        let known = pinned.as_ref().unwrap_or(&seen.latest);
        let latest: PartitionOffsets = known
            .iter()
            .filter_map(|(tp, latest)| {
                Some((tp.clone(), (*latest).max(begin.from.get(tp).copied()?)))
            })
            .collect();
        // What is shown as newest counts open transactions: who waits for one lags behind it.
        let newest = pinned.as_ref().unwrap_or(&seen.written);
        self.state.lock().latest = newest.clone();
        let end = self.limited_end(start, &begin, &latest, &seen, limit).await?;
        let latest = position(newest)?;
        if end == *start && begin.gaps.is_empty() {
            return Ok(Admitted { range: None, latest });
        }
        if let Some(pinned) = &pinned {
            verify_available_now(pinned, &end, &seen.latest, &behind.waiting)?;
        }
        self.report_gaps(&begin);
        let range = self.range(begin, &end, &seen)?;
        Ok(Admitted { range: Some(range), latest })
    }

    /// A snapshot, and what became of partitions whose end is below where we are. Like Spark, an
    /// end that makes no sense is asked for again first: it may be stale (KAFKA-7703).
    async fn look(
        &self,
        start: &PartitionOffsets,
        detail: Option<&Detail>,
    ) -> Result<(Snapshot, Behind)> {
        let mut attempt = 1;
        let pinned = self.state.lock().pinned.clone().unwrap_or_default();
        // One answer may have broken on the way.
        let attempts = self.config.offset_attempts.max(2);
        loop {
            let seen = snapshot::take(&self.cluster, &self.config, start).await?;
            let behind = self.behind(start, detail, &seen).await?;
            let is_odd = start.iter().any(|(tp, from)| {
                let least = pinned.get(tp).unwrap_or(from).max(from);
                seen.latest.get(tp).is_some_and(|latest| latest < least)
                    && !behind.waiting.contains(tp)
                    && !behind.truncated.contains_key(tp)
                    && !self.is_recreated(tp, detail, &seen)
            });
            if !is_odd || attempt >= attempts {
                return Ok((seen, behind));
            }
            tracing::warn!(attempt, "a partition ends before the offset reached; asking again");
            attempt += 1;
            self.cluster.distrust_all();
            tokio::time::sleep(self.config.offset_retry_interval).await;
        }
    }

    fn known_id(&self, topic: &str, detail: Option<&Detail>) -> Option<uuid::Uuid> {
        let in_detail = detail.and_then(|d| d.topics.get(topic)).copied();
        in_detail.or_else(|| self.state.lock().ids.get(topic).copied())
    }

    fn is_recreated(&self, tp: &TopicPartition, detail: Option<&Detail>, seen: &Snapshot) -> bool {
        match (self.known_id(&tp.topic, detail), seen.id(&tp.topic)) {
            (Some(known), Some(now)) => known != now,
            _ => false,
        }
    }

    /// Tells a lagging end (same topic, same log) from a truncated log, which may even have grown
    /// past us again: the leader is asked where the epoch we read under ends.
    async fn behind(
        &self,
        start: &PartitionOffsets,
        detail: Option<&Detail>,
        seen: &Snapshot,
    ) -> Result<Behind> {
        let mut behind = Behind::default();
        let Some(detail) = detail else { return Ok(behind) };
        let mut asked = BTreeMap::new();
        for (tp, from) in start {
            let same_topic =
                detail.topics.contains_key(&tp.topic) && !self.is_recreated(tp, Some(detail), seen);
            let (Some(known), Some(now)) = (detail.epoch(tp), seen.epoch(tp)) else { continue };
            if !same_topic {
                continue;
            }
            if known < now {
                asked.insert(tp.clone(), Reached { epoch: known, offset: *from });
            } else if known == now && seen.latest.get(tp).is_some_and(|latest| latest < from) {
                behind.waiting.insert(tp.clone());
            }
        }
        if asked.is_empty() {
            return Ok(behind);
        }
        let ends = self.cluster.leader_epoch_ends(&seen.metadata, &asked).await?;
        for (tp, end) in ends.into_iter().filter(|(_, end)| *end >= 0) {
            let from = start.get(&tp).copied().unwrap_or(0);
            if end < from {
                behind.truncated.insert(tp, end);
            } else if seen.latest.get(&tp).is_some_and(|latest| *latest < from) {
                behind.waiting.insert(tp);
            }
        }
        Ok(behind)
    }

    fn rules(&self) -> Rules<'_> {
        Rules {
            fail_on_data_loss: self.config.fail_on_data_loss,
            has_group_id: self.config.group_id.is_some(),
            group: &self.group,
        }
    }

    /// Spark's precedence: no limit, then the gate, then the limits, then everything.
    async fn limited_end(
        &self,
        start: &PartitionOffsets,
        begin: &Start,
        latest: &PartitionOffsets,
        seen: &Snapshot,
        limit: Limit,
    ) -> Result<PartitionOffsets> {
        if limit == Limit::None {
            let config = &self.config;
            let limits = [config.max_offsets, config.min_offsets, config.max_bytes];
            if limits.iter().any(Option::is_some) {
                let source = &config.subscription;
                tracing::warn!(%source, "read limits are ignored when Trigger.Once is used");
            }
            return Ok(latest.clone());
        }
        if let Some(min) = self.config.min_offsets {
            let now = self.env.now_ms();
            let available: i64 = latest
                .iter()
                .map(|(tp, l)| l - start.get(tp).copied().unwrap_or(0))
                .fold(0, i64::saturating_add);
            let delay = i64::try_from(self.config.max_trigger_delay.as_millis());
            let mut state = self.state.lock();
            let last = state.last_trigger_ms;
            if must_wait(min, available, now, last, delay.unwrap_or(i64::MAX)) {
                return Ok(start.clone());
            }
            state.last_trigger_ms = now;
        }
        let mut end = match self.config.max_offsets {
            Some(max) => rate_limit(max, &begin.from, latest),
            None => latest.clone(),
        };
        if let Some(max) = self.config.max_bytes {
            let unknown: PartitionOffsets = {
                let state = self.state.lock();
                let unknown = begin.from.iter().filter(|(tp, from)| {
                    !state.bytes_per_offset.contains_key(*tp)
                        && end.get(*tp).is_some_and(|e| e > from)
                });
                unknown.map(|(tp, from)| (tp.clone(), *from)).collect()
            };
            let sampled = sample_bytes_per_offset(&self.cluster, &seen.metadata, &unknown).await?;
            let mut state = self.state.lock();
            state.bytes_per_offset.extend(sampled);
            end = byte_limit(max, &begin.from, &end, &state.bytes_per_offset);
        }
        Ok(end)
    }

    fn report_gaps(&self, begin: &Start) {
        let lost = begin.gaps.len() as u64;
        crate::metrics::add(&self.counters.data_loss, lost);
    }

    fn range(&self, begin: Start, end: &PartitionOffsets, seen: &Snapshot) -> Result<SourceRange> {
        let mut detail = Detail { gaps: begin.gaps, gone: begin.gone, ..Detail::default() };
        let mut from = PartitionOffsets::new();
        for tp in end.keys() {
            detail.remember(tp, &seen.metadata);
            from.insert(tp.clone(), begin.from.get(tp).copied().unwrap_or(0));
        }
        Ok(SourceRange { start: position(&from)?, end: position(end)?, detail: detail.to_json() })
    }

    /// A snapshot for a batch whose ends are fixed. A log that ends below one of them is looked at
    /// again: one answer may have broken on the way.
    async fn look_for_ends(
        &self,
        start: &PartitionOffsets,
        end: &PartitionOffsets,
    ) -> Result<Snapshot> {
        let seen = snapshot::take(&self.cluster, &self.config, start).await?;
        let is_below = |(tp, end): (&TopicPartition, &i64)| {
            seen.latest.get(tp).is_some_and(|latest| latest < end)
        };
        if !end.iter().any(is_below) {
            return Ok(seen);
        }
        self.cluster.distrust_all();
        snapshot::take(&self.cluster, &self.config, start).await
    }

    /// The range of a batch whose ends another engine fixed: Spark's rules of planning between
    /// two positions.
    pub(super) async fn range_of_ends(
        &self,
        start: &PartitionOffsets,
        end: &PartitionOffsets,
    ) -> Result<SourceRange> {
        let seen = self.look_for_ends(start, end).await?;
        let ids = self.state.lock().ids.clone();
        let added: Vec<&TopicPartition> =
            end.keys().filter(|tp| !start.contains_key(*tp)).collect();
        let vanished: Vec<TopicPartition> = added
            .iter()
            .filter(|tp| !seen.earliest.contains_key(**tp))
            .map(|tp| (*tp).clone())
            .collect();
        if !vanished.is_empty() && self.config.fail_on_data_loss {
            return Err(loss::initial_offset_not_found(&vanished));
        }
        let deleted: Vec<TopicPartition> =
            start.keys().filter(|tp| !end.contains_key(*tp)).cloned().collect();
        if !deleted.is_empty() && self.config.fail_on_data_loss {
            return Err(loss::partitions_deleted(&deleted, self.config.group_id.is_some()));
        }
        // Nobody else would notice before the read has waited for such records in vain. What a
        // transaction that is still open holds back is there already.
        let beyond = |(tp, end): &(&TopicPartition, &i64)| {
            seen.latest.get(*tp).is_some_and(|latest| latest < end)
        };
        let waits = self.config.client.isolation == Isolation::Committed;
        if self.config.fail_on_data_loss
            && !waits
            && let Some((tp, planned)) = end.iter().find(beyond)
        {
            let latest = seen.latest.get(tp).copied().unwrap_or_default();
            return Err(loss::partition_offset_changed(tp, *planned, latest));
        }
        // Planning looks at what the ends name, with those ends as the newest offsets.
        let planned = Snapshot {
            partitions: end.keys().filter(|tp| seen.earliest.contains_key(*tp)).cloned().collect(),
            latest: end.clone(),
            ..seen
        };
        let kept: PartitionOffsets = start
            .iter()
            .filter(|(tp, _)| end.contains_key(*tp))
            .map(|(tp, o)| (tp.clone(), *o))
            .collect();
        let (truncated, waiting) = (BTreeMap::new(), BTreeSet::new());
        let before = Before {
            end: &kept,
            detail: None,
            ids: &ids,
            truncated: &truncated,
            waiting: &waiting,
        };
        let begin = plan::start(before, &planned, self.rules())?;
        self.remember_ids(&planned.metadata);
        self.report_gaps(&begin);
        // The position is the other engine's; a partition that cannot be read any more yields
        // nothing.
        let mut readable = begin.clone();
        for (tp, to) in end {
            readable.from.entry(tp.clone()).or_insert(*to);
        }
        self.range(readable, end, &planned)
    }
}

/// Spark's four checks of an `AvailableNow` batch.
fn verify_available_now(
    pinned: &PartitionOffsets,
    end: &PartitionOffsets,
    latest: &PartitionOffsets,
    waiting: &BTreeSet<TopicPartition>,
) -> Result<()> {
    if !end.keys().all(|tp| latest.contains_key(tp))
        || pinned.keys().any(|tp| !latest.contains_key(tp))
    {
        return Err(available_now::partitions_lost(latest.keys(), pinned.keys()));
    }
    if !pinned.keys().eq(end.keys()) {
        return Err(available_now::partitions_differ(pinned.keys(), end.keys()));
    }
    let exceeds = |of: &PartitionOffsets| {
        end.iter().any(|(tp, e)| !waiting.contains(tp) && of.get(tp).is_some_and(|o| e > o))
    };
    if exceeds(pinned) {
        return Err(available_now::beyond_pinned(pinned, end));
    }
    if exceeds(latest) {
        return Err(available_now::beyond_latest(latest, end));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
