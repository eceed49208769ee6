//! Talking to a cluster: connections with deadlines, metadata with topic ids, offsets, retries
//! that end.

mod cluster;
mod connection;
mod frame;
mod group;
mod offsets;
mod retry;
mod shape;

pub(crate) use cluster::{Cluster, METADATA_VERSIONS, Metadata, read_metadata};
#[cfg(test)]
pub(crate) use cluster::{PartitionInfo, TopicInfo};
pub(crate) use connection::{Connection, is_unsupported, read_versions};
pub(crate) use frame::{decode_body, open_frame, read_frame};
pub(crate) use group::{FIND_COORDINATOR_VERSIONS, OFFSET_COMMIT_VERSIONS, read_coordinator};
pub(crate) use offsets::{
    AT_END, AT_START, LEADER_EPOCH_VERSIONS, LIST_OFFSETS_VERSIONS, Reached, epoch_rows,
    offset_rows,
};
pub(crate) use retry::Retry;
pub(crate) use shape::Answered;

use kafka_protocol::ResponseError;
use millstream_core::{Error, ErrorKind};

/// Whether the same question may get a better answer later, perhaps from another broker.
pub(crate) fn is_retriable(error: ResponseError) -> bool {
    error.is_retriable()
        || matches!(
            error,
            ResponseError::UnknownTopicId
                | ResponseError::InconsistentTopicId
                | ResponseError::FencedLeaderEpoch
                | ResponseError::UnknownLeaderEpoch
        )
}

/// An error a broker answered, as ours.
pub(crate) fn broker_error(what: &str, error: ResponseError) -> Error {
    match error {
        ResponseError::TopicAuthorizationFailed
        | ResponseError::GroupAuthorizationFailed
        | ResponseError::ClusterAuthorizationFailed => Error::invalid(
            "KAFKA_UNAUTHORIZED",
            format!("{what}: the broker refuses access ({error:?})."),
        )
        .cure("Grant Describe and Read on the topic, and Read on the group, to this client."),
        other if is_retriable(other) => Error::unavailable(
            "KAFKA_BROKER_ERROR",
            format!("{what}: the broker answers {other:?}."),
        ),
        other => Error::new(
            ErrorKind::Unavailable,
            "KAFKA_BROKER_REFUSED",
            format!("{what}: the broker answers {other:?}."),
        ),
    }
}
