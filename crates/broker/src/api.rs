//! Which requests the broker serves, in which versions.

use crate::server;
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, ResponseKind};
use std::io;

/// Served APIs with their lowest and highest version, within what Apache Kafka 4 serves and the
/// codec knows. Consumer groups with members (JoinGroup and its kin) are not served: a client that
/// needs them sees that they are missing.
pub(crate) const SERVED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 10),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::OffsetCommit, 2, 9),
    (ApiKey::OffsetFetch, 1, 9),
    (ApiKey::FindCoordinator, 0, 6),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 5),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 4),
    (ApiKey::EndTxn, 0, 4),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::CreatePartitions, 0, 3),
];

/// Whether `version` of `api` is served.
pub(crate) fn serves(api: ApiKey, version: i16) -> bool {
    SERVED.iter().any(|(a, min, max)| *a == api && (*min..=*max).contains(&version))
}

/// The answer to ApiVersions.
pub(crate) fn versions(error: i16) -> ApiVersionsResponse {
    let keys = SERVED.iter().map(|(api, min, max)| {
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*min)
            .with_max_version(*max)
    });
    ApiVersionsResponse::default().with_error_code(error).with_api_keys(keys.collect())
}

/// The answer to an ApiVersions request of a version that is not served: version 0 of the answer
/// with the served versions, from which the client picks one.
pub(crate) fn too_new(frame: &Bytes) -> io::Result<Bytes> {
    let Some(id) = server::correlation_id(frame) else {
        return Err(server::invalid("a request is shorter than its header"));
    };
    let answer = ResponseKind::ApiVersions(versions(ResponseError::UnsupportedVersion.code()));
    server::encode(ApiKey::ApiVersions, 0, id, &answer)
}
