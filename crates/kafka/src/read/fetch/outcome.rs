//! What one partition's part of an answer means: data, nothing yet, the end, another leader, or
//! lost records.

use super::Fetcher;
use crate::client::{AT_END, AT_START, Metadata, Reached, broker_error, is_retriable};
use crate::config::Isolation;
use crate::loss;
use crate::metrics::add;
use crate::plan::RECREATED_CURE;
use crate::read::answer::{Standpoint, Walk, walk};
use crate::read::decode::{Chunk, corrupt};
use crate::read::state::PartitionState;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_response::PartitionData;
use millstream_core::Result;
use millstream_core::offsets::TopicPartition;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Empty answers in a row that make a compacted tail. One would do by the protocol; a broker that
/// reads from slow tiers may give up on a read and say nothing.
const EMPTY_ANSWERS: u32 = 3;

/// What is next for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The range is read.
    Done,
    /// Something came; go on behind the others.
    Fed,
    /// Nothing came; go on in front of the others.
    Hungry,
    /// Ask the cluster who leads it.
    Moved,
}

impl Fetcher {
    /// Judges a partition's part of an answer; data goes to `chunks`. `is_conclusive` says that
    /// no other partition used the byte limit up and the broker did not throttle, so that an empty
    /// answer means that there is nothing.
    pub(super) async fn judge(
        &self,
        state: &mut PartitionState,
        partition: &PartitionData,
        is_conclusive: bool,
        chunks: &mut Vec<Chunk>,
    ) -> Result<Verdict> {
        match ResponseError::try_from_code(partition.error_code) {
            None => {}
            Some(ResponseError::OffsetOutOfRange) => return self.out_of_range(state).await,
            Some(_) => return self.doubt(state, partition.error_code),
        }
        let records = partition.records.clone().unwrap_or_default();
        let is_empty = records.is_empty();
        let Some(walk) = self.walk(state, &records)? else { return Ok(Verdict::Moved) };
        if walk.bytes > 0 {
            let offsets = walk.next - state.next;
            self.source.observe(&state.tp(), walk.bytes, offsets);
            let aborted = partition.aborted_transactions.iter().flatten();
            chunks.push(Chunk {
                origin: state.origin.clone(),
                from: state.next,
                end: state.end,
                records: records.slice(..walk.bytes),
                aborted: aborted.map(|t| (t.producer_id.0, t.first_offset)).collect(),
                permit: None,
            });
            state.advance(walk.next);
            state.is_boundary = true;
        }
        if walk.is_done {
            return Ok(Verdict::Done);
        }
        if walk.bytes > 0 {
            return Ok(Verdict::Fed);
        }
        if let Some(begins) = walk.hole {
            state.doubts.hole = Some(begins);
            return Ok(Verdict::Hungry);
        }
        if let Some(size) = walk.cut {
            state.bytes_needed = size;
            return Ok(Verdict::Hungry);
        }
        let readable = match self.source.config.client.isolation {
            Isolation::Committed => partition.last_stable_offset,
            Isolation::Uncommitted => partition.high_watermark,
        };
        if is_conclusive && is_empty && readable >= state.end {
            state.doubts.empty += 1;
            if state.doubts.empty >= EMPTY_ANSWERS {
                // Compaction took everything up to the end.
                state.advance(state.end);
                return Ok(Verdict::Done);
            }
        }
        Ok(Verdict::Hungry)
    }

    /// How far the batches of an answer lead; `None` where they are broken: bytes may break on the
    /// way, and are fetched again before they are believed.
    fn walk(&self, state: &mut PartitionState, records: &[u8]) -> Result<Option<Walk>> {
        let from = Standpoint {
            offset: state.next,
            is_boundary: state.is_boundary,
            hole_seen: state.doubts.hole,
        };
        match walk(records, from, state.end, self.source.config.client.check_crcs) {
            Ok(walk) => Ok(Some(walk)),
            Err(error) if state.doubts.corrupt < self.source.config.offset_attempts => {
                tracing::warn!(partition = %state.tp(), %error, "fetching again");
                state.doubts.corrupt += 1;
                Ok(None)
            }
            Err(error) => Err(corrupt(&state.origin, error)),
        }
    }

    /// An error that another broker, or the same one later, may not give.
    pub(super) fn doubt(&self, state: &mut PartitionState, code: i16) -> Result<Verdict> {
        let error = ResponseError::try_from_code(code).unwrap_or(ResponseError::UnknownServerError);
        let is_known_to_pass = is_retriable(error);
        if !is_known_to_pass && error != ResponseError::UnknownServerError {
            return Err(broker_error(&format!("Fetch of {}", state.tp()), error));
        }
        tracing::debug!(partition = %state.tp(), ?error, "asking for the leader again");
        state.doubts.moved = state.doubts.moved.saturating_add(1);
        Ok(Verdict::Moved)
    }

    /// The offset asked for is not in the log: its front is gone, or its tail.
    async fn out_of_range(&self, state: &mut PartitionState) -> Result<Verdict> {
        add(&self.source.counters.offset_out_of_range, 1);
        let (cluster, config) = (&self.source.cluster, &self.source.config);
        let tp = state.tp();
        let metadata = cluster.metadata(Some(std::slice::from_ref(&tp.topic))).await?;
        let is_same = state.id.is_none() || metadata.topic_id(&tp.topic) == state.id;
        if !is_same || metadata.partition(&tp).is_none() {
            // Routing tells a recreated topic from a deleted one.
            state.doubts.moved = state.doubts.moved.saturating_add(1);
            return Ok(Verdict::Moved);
        }
        let ask = |offset| BTreeMap::from([(tp.clone(), offset)]);
        // A start that broke on the way would skip what is still there.
        let first = cluster.list_offsets_agreed(&metadata, &ask(AT_START)).await?;
        let first = first.offsets.get(&tp).copied();
        let last = cluster.list_offsets(&metadata, &ask(AT_END)).await?.get(&tp).copied();
        let (Some(first), Some(last)) = (first, last) else { return Ok(Verdict::Moved) };
        let range = (state.next, state.last_end());
        if state.next < first {
            let why = format!("The first offset that is still there is {first}.");
            if config.fail_on_data_loss {
                return Err(loss::could_not_read(&tp, range, &self.source.group, &why));
            }
            add(&self.source.counters.data_loss, 1);
            let to = first.min(state.end);
            tracing::warn!(partition = %tp, from = state.next, to, "records are gone; skipped");
            state.advance(to);
            return Ok(if to >= state.end { Verdict::Done } else { Verdict::Fed });
        }
        state.doubts.out_of_range = state.doubts.out_of_range.saturating_add(1);
        if state.next < last || state.doubts.out_of_range < config.offset_attempts.max(2) {
            return Ok(Verdict::Moved);
        }
        let why = format!("The log ends at {last}.");
        if config.fail_on_data_loss {
            return Err(loss::could_not_read(&tp, range, &self.source.group, &why));
        }
        add(&self.source.counters.data_loss, 1);
        tracing::warn!(partition = %tp, from = state.next, last, "the log was truncated; skipped");
        state.cut_at(state.next);
        Ok(Verdict::Done)
    }

    /// Whether a new leader still has the log that the range was planned on: it says where the
    /// epoch known before ends there. Without this, a log that was truncated and has grown again
    /// would be read as if nothing had happened.
    pub(super) async fn check_epochs(
        &self,
        metadata: &Metadata,
        states: &mut [PartitionState],
    ) -> Result<()> {
        let asked: BTreeMap<TopicPartition, Reached> = states
            .iter()
            .filter_map(|s| match (s.sound_epoch, s.epoch) {
                (Some(epoch), Some(now)) if epoch < now => {
                    Some((s.tp(), Reached { epoch, offset: s.last_end() }))
                }
                _ => None,
            })
            .collect();
        if asked.is_empty() {
            return Ok(());
        }
        let ends = self.source.cluster.leader_epoch_ends(metadata, &asked).await?;
        for state in states {
            let tp = state.tp();
            let Some(end) = ends.get(&tp).copied().filter(|end| *end >= 0) else { continue };
            let (epoch, last) = (state.sound_epoch.unwrap_or(-1), state.last_end());
            if end < last {
                if self.source.config.fail_on_data_loss {
                    return Err(loss::log_truncated(&tp, last, epoch, end));
                }
                add(&self.source.counters.data_loss, 1);
                tracing::warn!(partition = %tp, end, last, "the log was truncated; skipped");
                state.cut_at(end);
            }
            state.sound_epoch = state.epoch;
        }
        Ok(())
    }

    /// The metadata does not know the partition; `true` to ask again.
    pub(super) fn vanished(&self, state: &mut PartitionState) -> Result<bool> {
        let config = &self.source.config;
        state.doubts.missing = state.doubts.missing.saturating_add(1);
        if state.doubts.missing < config.offset_attempts.max(2) {
            return Ok(true);
        }
        if config.fail_on_data_loss {
            return Err(loss::partitions_deleted(&[state.tp()], config.group_id.is_some()));
        }
        add(&self.source.counters.data_loss, 1);
        tracing::warn!(partition = %state.tp(), from = state.next, "the partition was deleted");
        Ok(false)
    }

    /// The topic has another id than the one the batch was planned with; `true` to ask again: one
    /// answer may have broken on the way.
    pub(super) fn recreated(&self, state: &mut PartitionState, now: Uuid) -> Result<bool> {
        if state.doubts.recreated.replace(now) != Some(now) {
            self.source.cluster.distrust_all();
            return Ok(true);
        }
        let known = state.id.map(|id| id.to_string()).unwrap_or_default();
        if self.source.config.fail_on_data_loss {
            let error = loss::topic_recreated(&state.origin.topic, &known, &now.to_string());
            return Err(error.cure(RECREATED_CURE));
        }
        add(&self.source.counters.data_loss, 1);
        tracing::warn!(partition = %state.tp(), from = state.next, "the topic was recreated");
        Ok(false)
    }
}
