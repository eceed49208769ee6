//! Offsets of partitions from their leaders: first, last, by timestamp, and the end of a leader
//! epoch.

use super::{Cluster, Metadata, broker_error, is_retriable};
use crate::config::Isolation;
use futures::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;

/// Stands for the end in ListOffsets: high watermark or last stable offset, by isolation.
pub(crate) const AT_END: i64 = -1;
/// Stands for the first offset that is still there.
pub(crate) const AT_START: i64 = -2;

pub(crate) const LIST_OFFSETS_VERSIONS: std::ops::RangeInclusive<i16> = 2..=7;
pub(crate) const LEADER_EPOCH_VERSIONS: std::ops::RangeInclusive<i16> = 2..=4;

/// A partition, an error code, and the offset that was asked for.
pub(crate) type OffsetRow = (TopicPartition, i16, i64);

/// Offsets that leaders answered, and the leader epochs under which they did.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) offsets: BTreeMap<TopicPartition, i64>,
    pub(crate) epochs: BTreeMap<TopicPartition, i32>,
}

impl Answered {
    /// Notes epochs under which leaders answered again: the newer ones.
    pub(crate) fn confirm(&mut self, epochs: &BTreeMap<TopicPartition, i32>) {
        for (tp, epoch) in epochs {
            let known = self.epochs.entry(tp.clone()).or_insert(*epoch);
            *known = (*known).max(*epoch);
        }
    }
}

/// How far a log was read, and under which leader epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reached {
    pub(crate) epoch: i32,
    pub(crate) offset: i64,
}

/// How often a question is asked again before its answers agree.
const AGREE_ATTEMPTS: u32 = 4;

/// What came of asking one leader.
type Answers = (BTreeMap<TopicPartition, i64>, Option<Error>);

impl Cluster {
    /// The offset of every partition in `wanted` for its timestamp ([`AT_END`], [`AT_START`] or
    /// milliseconds); -1 where no record is as young. Partitions that vanished are left out.
    pub(crate) async fn list_offsets(
        &self,
        metadata: &Metadata,
        wanted: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(self.list_offsets_with_epochs(metadata, wanted).await?.offsets)
    }

    /// The same, with the epochs of the leaders that answered: newer ones than `metadata` has where
    /// leaders changed meanwhile.
    pub(crate) async fn list_offsets_with_epochs(
        &self,
        metadata: &Metadata,
        wanted: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Answered> {
        self.ask_leaders(metadata, wanted, Question::Timestamp).await
    }

    /// The same, asked until two answers in a row agree, for what is asked once in the life of a
    /// query and decides where it starts, or where a batch read ends: no checksum covers an answer.
    /// Ends that grow faster than they are asked for are the lower of the last two.
    pub(crate) async fn list_offsets_agreed(
        &self,
        metadata: &Metadata,
        wanted: &BTreeMap<TopicPartition, i64>,
    ) -> Result<Answered> {
        let mut found = self.list_offsets_with_epochs(metadata, wanted).await?;
        let mut open = wanted.clone();
        for attempt in 1..=AGREE_ATTEMPTS {
            let again = self.list_offsets_with_epochs(metadata, &open).await?;
            open.retain(|tp, _| found.offsets.get(tp) != again.offsets.get(tp));
            found.confirm(&again.epochs);
            if open.is_empty() {
                break;
            }
            tracing::warn!(partitions = open.len(), "two answers about offsets differ");
            self.distrust_all();
            for tp in open.keys() {
                let before = found.offsets.remove(tp);
                let now = again.offsets.get(tp).copied();
                let lower = before.into_iter().chain(now).min();
                let kept = if attempt == AGREE_ATTEMPTS { lower } else { now };
                found.offsets.extend(kept.map(|offset| (tp.clone(), offset)));
            }
        }
        Ok(found)
    }

    /// Where the log of each partition ends, with the records of transactions that are still open:
    /// the high watermark, whatever the isolation.
    pub(crate) async fn written_ends(
        &self,
        metadata: &Metadata,
        wanted: &BTreeMap<TopicPartition, i64>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        Ok(self.ask_leaders(metadata, wanted, Question::Written).await?.offsets)
    }

    /// Where the log of each partition ends for the leader epoch given: where a later epoch
    /// begins, or the end of the log; -1 where the leader does not know.
    ///
    /// What ends below the offset `reached` under that epoch has lost records. That is said only
    /// when two answers in a row say the same.
    ///
    /// # Errors
    /// `KAFKA_ANSWER_MALFORMED` where the answers go on to differ, and what connections report.
    pub(crate) async fn leader_epoch_ends(
        &self,
        metadata: &Metadata,
        asked: &BTreeMap<TopicPartition, Reached>,
    ) -> Result<BTreeMap<TopicPartition, i64>> {
        let mut open: BTreeMap<TopicPartition, i64> =
            asked.iter().map(|(tp, r)| (tp.clone(), i64::from(r.epoch))).collect();
        let mut said: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        let mut agreed = BTreeMap::new();
        for _ in 0..=AGREE_ATTEMPTS {
            let ends = self.ask_leaders(metadata, &open, Question::LeaderEpoch).await?.offsets;
            for (tp, end) in &ends {
                let is_reached = |end: i64| asked.get(tp).is_some_and(|r| r.offset <= end);
                let before = said.get(tp).copied();
                // The end of an epoch that is still led moves on, which is as good.
                if before.is_some_and(|b| b == *end || (is_reached(b) && is_reached(*end))) {
                    agreed.insert(tp.clone(), *end);
                }
            }
            // Who is not answered for has vanished.
            open.retain(|tp, _| ends.contains_key(tp) && !agreed.contains_key(tp));
            if open.is_empty() {
                return Ok(agreed);
            }
            if !said.is_empty() {
                tracing::warn!(partitions = open.len(), "two answers about epochs differ");
                self.distrust_all();
            }
            said = ends;
        }
        Err(Error::unavailable(
            "KAFKA_ANSWER_MALFORMED",
            format!(
                "No two answers about the ends of leader epochs agree for {}.",
                crate::loss::list(open.keys())
            ),
        ))
    }

    async fn ask_leaders(
        &self,
        metadata: &Metadata,
        wanted: &BTreeMap<TopicPartition, i64>,
        question: Question,
    ) -> Result<Answered> {
        let mut found = Answered::default();
        let mut left = wanted.clone();
        let mut metadata = std::borrow::Cow::Borrowed(metadata);
        let mut retry = self.retry();
        while !left.is_empty() {
            let mut failure = None;
            let mut by_leader: BTreeMap<i32, BTreeMap<TopicPartition, i64>> = BTreeMap::new();
            for (tp, value) in &left {
                match metadata.partition(tp).map(|p| p.leader) {
                    Some(Some(leader)) => {
                        by_leader.entry(leader).or_default().insert(tp.clone(), *value);
                    }
                    Some(None) => failure = Some(leaderless(tp)),
                    None => {}
                }
            }
            left.retain(|tp, _| metadata.partition(tp).is_some());
            let asked = by_leader
                .iter()
                .map(|(leader, group)| self.ask_leader(*leader, group, &metadata, question));
            for (answers, error) in join_all(asked).await {
                left.retain(|tp, _| !answers.contains_key(tp));
                let epochs = answers
                    .keys()
                    .filter_map(|tp| Some((tp.clone(), metadata.partition(tp)?.epoch?)));
                found.epochs.extend(epochs);
                found.offsets.extend(answers);
                failure = failure.or(error);
            }
            if let Some(error) = failure {
                retry.pause(error).await?;
                let mut topics: Vec<String> = left.keys().map(|tp| tp.topic.clone()).collect();
                topics.dedup();
                metadata = std::borrow::Cow::Owned(self.metadata(Some(&topics)).await?);
            }
        }
        Ok(found)
    }

    async fn ask_leader(
        &self,
        leader: i32,
        group: &BTreeMap<TopicPartition, i64>,
        metadata: &Metadata,
        question: Question,
    ) -> Answers {
        let asked = match question {
            Question::Timestamp => {
                self.ask_timestamps(leader, group, metadata, self.settings.isolation).await
            }
            Question::Written => {
                self.ask_timestamps(leader, group, metadata, Isolation::Uncommitted).await
            }
            Question::LeaderEpoch => self.ask_epochs(leader, group, metadata).await,
        };
        let answered = match asked {
            Ok(answered) => answered,
            Err(error) => {
                self.distrust(leader);
                return (BTreeMap::new(), Some(error));
            }
        };
        let (mut offsets, mut failure) = (BTreeMap::new(), None);
        if !are_distinct(&answered, group) {
            // One of the rows is another partition's, and which one no checksum tells.
            self.distrust(leader);
            let error = Error::unavailable(
                "KAFKA_ANSWER_MALFORMED",
                format!("Broker {leader} answers for partitions that were not asked for."),
            );
            return (offsets, Some(error));
        }
        for (tp, code, offset) in answered {
            match ResponseError::try_from_code(code) {
                // Only a time may be behind all records; a log always has a start and an end.
                None if offset < 0 && question.is_of_log(group.get(&tp)) => {}
                None => {
                    offsets.insert(tp, offset);
                }
                Some(error) => {
                    let error = broker_error(&format!("Offsets of {tp}"), error);
                    failure = failure.or(Some(error));
                }
            }
        }
        if failure.is_none() && group.keys().any(|tp| !offsets.contains_key(tp)) {
            failure = Some(Error::unavailable(
                "KAFKA_ANSWER_MALFORMED",
                format!("Broker {leader} has no answer for some partitions that were asked for."),
            ));
        }
        (offsets, failure)
    }

    async fn ask_timestamps(
        &self,
        leader: i32,
        group: &BTreeMap<TopicPartition, i64>,
        metadata: &Metadata,
        isolation: Isolation,
    ) -> Result<Vec<OffsetRow>> {
        let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (tp, timestamp) in group {
            topics.entry(&tp.topic).or_default().push(
                ListOffsetsPartition::default()
                    .with_partition_index(tp.partition)
                    .with_current_leader_epoch(current_epoch(metadata, tp))
                    .with_timestamp(*timestamp),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(partitions)
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation as i8)
            .with_topics(topics.collect());
        let mut connection = self.connection(leader).await?;
        let version = connection.version::<ListOffsetsRequest>(LIST_OFFSETS_VERSIONS)?;
        let request = if version < 4 { without_epochs(request) } else { request };
        let answer = connection.call(&request, version).await?;
        self.give_back(leader, connection);
        Ok(offset_rows(&answer))
    }

    async fn ask_epochs(
        &self,
        leader: i32,
        group: &BTreeMap<TopicPartition, i64>,
        metadata: &Metadata,
    ) -> Result<Vec<OffsetRow>> {
        let mut topics: BTreeMap<&str, Vec<OffsetForLeaderPartition>> = BTreeMap::new();
        for (tp, epoch) in group {
            topics.entry(&tp.topic).or_default().push(
                OffsetForLeaderPartition::default()
                    .with_partition(tp.partition)
                    .with_current_leader_epoch(current_epoch(metadata, tp))
                    .with_leader_epoch(i32::try_from(*epoch).unwrap_or(-1)),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            OffsetForLeaderTopic::default().with_topic(topic_name(name)).with_partitions(partitions)
        });
        let mut connection = self.connection(leader).await?;
        let version = connection.version::<OffsetForLeaderEpochRequest>(LEADER_EPOCH_VERSIONS)?;
        // Replica -1 is a consumer, -2 a debugger; version 2 has no such field.
        let replica = if version >= 3 { -1 } else { -2 };
        let request = OffsetForLeaderEpochRequest::default()
            .with_replica_id(BrokerId(replica))
            .with_topics(topics.collect());
        let answer = connection.call(&request, version).await?;
        self.give_back(leader, connection);
        Ok(epoch_rows(&answer))
    }
}

#[derive(Debug, Clone, Copy)]
enum Question {
    Timestamp,
    Written,
    LeaderEpoch,
}

impl Question {
    /// Whether the start or the end of a log is asked for.
    fn is_of_log(self, wanted: Option<&i64>) -> bool {
        match self {
            Question::Timestamp => wanted.is_some_and(|w| *w < 0),
            Question::Written => true,
            Question::LeaderEpoch => false,
        }
    }
}

/// Whether rows are of partitions that were asked for, each once.
fn are_distinct(rows: &[OffsetRow], asked: &BTreeMap<TopicPartition, i64>) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    rows.iter().all(|(tp, ..)| asked.contains_key(tp) && seen.insert(tp))
}

pub(crate) fn offset_rows(answer: &ListOffsetsResponse) -> Vec<OffsetRow> {
    let rows = answer.topics.iter().flat_map(|t| {
        t.partitions.iter().map(|p| {
            let tp = TopicPartition::new(t.name.to_string(), p.partition_index);
            (tp, p.error_code, p.offset)
        })
    });
    rows.collect()
}

pub(crate) fn epoch_rows(answer: &OffsetForLeaderEpochResponse) -> Vec<OffsetRow> {
    let rows = answer.topics.iter().flat_map(|t| {
        t.partitions.iter().map(|p| {
            let tp = TopicPartition::new(t.topic.to_string(), p.partition);
            (tp, p.error_code, p.end_offset)
        })
    });
    rows.collect()
}

fn current_epoch(metadata: &Metadata, tp: &TopicPartition) -> i32 {
    metadata.partition(tp).and_then(|p| p.epoch).unwrap_or(-1)
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// Version 3 and below have no field for the epoch and refuse to encode one.
fn without_epochs(mut request: ListOffsetsRequest) -> ListOffsetsRequest {
    for partition in request.topics.iter_mut().flat_map(|t| t.partitions.iter_mut()) {
        partition.current_leader_epoch = -1;
    }
    request
}

fn leaderless(tp: &TopicPartition) -> Error {
    debug_assert!(is_retriable(ResponseError::LeaderNotAvailable));
    Error::unavailable("KAFKA_LEADER_UNAVAILABLE", format!("Partition {tp} has no leader."))
}
