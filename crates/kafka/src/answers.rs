//! What a client makes of the bytes of a broker, without a broker.
//!
//! Connections and reads use the same frames, decoders and rules. This is for programs that check
//! them against bytes from anywhere: the fuzz targets under `fuzz/`.

use crate::KafkaConfig;
use crate::client::{
    Answered, FIND_COORDINATOR_VERSIONS, LEADER_EPOCH_VERSIONS, LIST_OFFSETS_VERSIONS,
    METADATA_VERSIONS, OFFSET_COMMIT_VERSIONS, decode_body, epoch_rows, is_unsupported,
    offset_rows, open_frame, read_coordinator, read_frame, read_metadata, read_versions,
};
use crate::read::ReadOptions;
use crate::read::answer::{Standpoint, walk};
use crate::read::columns::{Columns, Origin};
use crate::read::decode::{Chunk, Decoder, corrupt};
use crate::read::request::VERSIONS as FETCH_VERSIONS;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, FindCoordinatorRequest, ListOffsetsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetForLeaderEpochRequest,
};
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use tokio::io::AsyncRead;
use uuid::Uuid;

/// What a broker was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Which versions it speaks.
    Versions,
    /// Topics and their partitions.
    Topics,
    /// Offsets of timestamps.
    Offsets,
    /// Ends of leader epochs.
    LeaderEpochs,
    /// Records.
    Records,
    /// The coordinator of a group.
    Coordinator,
    /// To keep offsets for a group.
    CommitOffsets,
}

impl Question {
    /// All questions.
    pub const ALL: [Question; 7] = [
        Question::Versions,
        Question::Topics,
        Question::Offsets,
        Question::LeaderEpochs,
        Question::Records,
        Question::Coordinator,
        Question::CommitOffsets,
    ];

    /// The versions in which a client asks it.
    pub fn versions(self) -> RangeInclusive<i16> {
        match self {
            Question::Versions => 0..=3,
            Question::Topics => METADATA_VERSIONS,
            Question::Offsets => LIST_OFFSETS_VERSIONS,
            Question::LeaderEpochs => LEADER_EPOCH_VERSIONS,
            Question::Records => FETCH_VERSIONS,
            Question::Coordinator => FIND_COORDINATOR_VERSIONS,
            Question::CommitOffsets => OFFSET_COMMIT_VERSIONS,
        }
    }
}

/// What an answer says.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Understood {
    /// Lowest and highest version by API key.
    Versions(BTreeMap<i16, (i16, i16)>),
    /// Topics with their ids and numbers of partitions.
    Topics(BTreeMap<String, (Option<Uuid>, usize)>),
    /// Partition, error code and offset.
    Offsets(Vec<(TopicPartition, i16, i64)>),
    /// The records of each partition: from its number to batches with the schema of `config`.
    Records(Vec<(i32, Vec<RecordBatch>)>),
    /// Error code and broker.
    Coordinator(i16, i32),
    /// Error codes of partitions.
    Codes(Vec<i16>),
}

/// The part of a partition that is wanted of fetched records.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// First offset.
    pub from: i64,
    /// Offset behind the last one.
    pub end: i64,
    /// Bounds of the batches.
    pub options: ReadOptions,
}

/// Reads one answer from `stream` as a connection does, and what it says. `bytes_max` bounds its
/// length.
///
/// # Errors
/// `KAFKA_CONNECTION_LOST` where the stream ends or the answer is too long;
/// `KAFKA_ANSWER_MALFORMED` where it cannot be read; for records what [`crate::KafkaSource::read`]
/// reports.
pub async fn understand<S: AsyncRead + Unpin>(
    stream: &mut S,
    question: Question,
    version: i16,
    correlation: i32,
    bytes_max: usize,
    config: &KafkaConfig,
    wanted: &Wanted,
) -> Result<Understood> {
    let frame = read_frame(stream, bytes_max).await.map_err(|e| {
        Error::unavailable("KAFKA_CONNECTION_LOST", "The connection broke.").caused_by(e)
    })?;
    let at = (version, correlation);
    Ok(match question {
        Question::Versions => versions(frame, at)?,
        Question::Topics => {
            let metadata = read_metadata(&answer::<MetadataRequest>(frame, at)?)?;
            let topics = metadata.topics.into_iter();
            Understood::Topics(topics.map(|(n, t)| (n, (t.id, t.partitions.len()))).collect())
        }
        Question::Offsets => {
            Understood::Offsets(offset_rows(&answer::<ListOffsetsRequest>(frame, at)?))
        }
        Question::LeaderEpochs => {
            Understood::Offsets(epoch_rows(&answer::<OffsetForLeaderEpochRequest>(frame, at)?))
        }
        Question::Records => {
            let answer = answer::<FetchRequest>(frame, at)?;
            let partitions = answer.responses.into_iter().flat_map(|t| t.partitions);
            let rows = partitions.map(|p| Ok((p.partition_index, records(p, config, wanted)?)));
            Understood::Records(rows.collect::<Result<_>>()?)
        }
        Question::Coordinator => {
            let (code, broker) = read_coordinator(&answer::<FindCoordinatorRequest>(frame, at)?);
            Understood::Coordinator(code, broker)
        }
        Question::CommitOffsets => {
            let answer = answer::<OffsetCommitRequest>(frame, at)?;
            let partitions = answer.topics.iter().flat_map(|t| &t.partitions);
            Understood::Codes(partitions.map(|p| p.error_code).collect())
        }
    })
}

fn answer<R: Answered>(frame: Bytes, (version, correlation): (i16, i32)) -> Result<R::Response> {
    open_frame::<R>(frame, version, correlation)
        .and_then(|body| decode_body::<R>(body, version))
        .map_err(malformed)
}

fn malformed(why: String) -> Error {
    Error::unavailable("KAFKA_ANSWER_MALFORMED", format!("The answer cannot be read: {why}."))
}

/// A broker that does not know the version says so in the oldest one.
fn versions(frame: Bytes, (version, correlation): (i16, i32)) -> Result<Understood> {
    let body = open_frame::<ApiVersionsRequest>(frame, version, correlation).map_err(malformed)?;
    let version = if is_unsupported(&body) { 0 } else { version };
    let versions = decode_body::<ApiVersionsRequest>(body, version).and_then(|a| read_versions(&a));
    Ok(Understood::Versions(versions.map_err(malformed)?.into_iter().collect()))
}

/// The rows of a partition: walked by the headers first, as the fetching task does, then decoded.
fn records(
    partition: PartitionData,
    config: &KafkaConfig,
    wanted: &Wanted,
) -> Result<Vec<RecordBatch>> {
    let origin = Origin { topic: "topic".into(), partition: partition.partition_index };
    let records = partition.records.unwrap_or_default();
    let from = Standpoint { offset: wanted.from, is_boundary: false, hole_seen: None };
    let walked = walk(&records, from, wanted.end, config.client.check_crcs)
        .map_err(|e| corrupt(&origin, e))?;
    if walked.bytes == 0 {
        return Ok(Vec::new());
    }
    let aborted = partition.aborted_transactions.unwrap_or_default();
    let columns = Columns::new(&config.schema(), None, &wanted.options)?;
    let committed = config.client.isolation == crate::config::Isolation::Committed;
    let limit = wanted.options.decompressed_bytes_max;
    let mut decoder = Decoder::new(columns, committed, limit, Arc::default());
    decoder.feed(Chunk {
        origin,
        from: wanted.from,
        end: wanted.end,
        records,
        aborted: aborted.iter().map(|t| (t.producer_id.0, t.first_offset)).collect(),
        permit: None,
    });
    while decoder.step()? {}
    let mut batches: Vec<RecordBatch> = std::iter::from_fn(|| decoder.pop()).collect();
    batches.extend(decoder.finish()?);
    Ok(batches)
}
