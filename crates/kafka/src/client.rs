//! Talking to a cluster: connections with deadlines, metadata with topic ids, offsets, retries
//! that end.

mod cluster;
mod connection;
mod group;
mod offsets;
mod retry;

pub(crate) use cluster::{Cluster, Metadata};
#[cfg(test)]
pub(crate) use cluster::{PartitionInfo, TopicInfo};
pub(crate) use connection::Connection;
pub(crate) use offsets::{AT_END, AT_START};
pub(crate) use retry::Retry;

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
