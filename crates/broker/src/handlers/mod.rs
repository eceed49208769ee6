//! One function per served request.

mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod topics;
mod transactions;

pub(crate) use metadata::metadata as metadata_of;
pub(crate) use transactions::end_expired;

use crate::api;
use crate::server::{Call, Reply};
use crate::shared::Shared;
use kafka_protocol::messages::{RequestKind, ResponseKind};
use kafka_protocol::protocol::StrBytes;
use std::sync::Arc;

/// Serves one request.
pub(crate) async fn handle(shared: &Arc<Shared>, call: Call) -> Reply {
    let (node, version) = (call.node, call.version);
    match call.request {
        RequestKind::ApiVersions(_) => ResponseKind::ApiVersions(api::versions(0)).into(),
        RequestKind::Metadata(r) => {
            ResponseKind::Metadata(metadata::metadata(shared, version, r)).into()
        }
        RequestKind::Produce(r) => produce::produce(shared, node, version, r),
        RequestKind::Fetch(r) => {
            let answer = fetch::fetch(shared, node, version, r, call.empty_fetch).await;
            ResponseKind::Fetch(answer).into()
        }
        RequestKind::ListOffsets(r) => {
            ResponseKind::ListOffsets(offsets::list(shared, node, version, r)).into()
        }
        RequestKind::OffsetForLeaderEpoch(r) => {
            ResponseKind::OffsetForLeaderEpoch(offsets::leader_epochs(shared, node, r)).into()
        }
        RequestKind::CreateTopics(r) => {
            ResponseKind::CreateTopics(topics::create(shared, version, r)).into()
        }
        RequestKind::DeleteTopics(r) => {
            ResponseKind::DeleteTopics(topics::delete(shared, version, r)).into()
        }
        RequestKind::CreatePartitions(r) => {
            ResponseKind::CreatePartitions(topics::create_partitions(shared, r)).into()
        }
        RequestKind::DeleteRecords(r) => {
            ResponseKind::DeleteRecords(topics::delete_records(shared, node, r)).into()
        }
        RequestKind::DescribeConfigs(r) => {
            ResponseKind::DescribeConfigs(topics::describe_configs(shared, r)).into()
        }
        RequestKind::FindCoordinator(r) => {
            ResponseKind::FindCoordinator(groups::find(shared, version, r)).into()
        }
        RequestKind::OffsetCommit(r) => {
            ResponseKind::OffsetCommit(groups::commit(shared, r)).into()
        }
        RequestKind::OffsetFetch(r) => {
            ResponseKind::OffsetFetch(groups::fetch(shared, version, r)).into()
        }
        RequestKind::InitProducerId(r) => {
            ResponseKind::InitProducerId(transactions::init_producer(shared, r)).into()
        }
        RequestKind::AddPartitionsToTxn(r) => {
            ResponseKind::AddPartitionsToTxn(transactions::add_partitions(shared, r)).into()
        }
        RequestKind::AddOffsetsToTxn(r) => {
            ResponseKind::AddOffsetsToTxn(transactions::add_offsets(shared, &r)).into()
        }
        RequestKind::TxnOffsetCommit(r) => {
            ResponseKind::TxnOffsetCommit(transactions::commit_offsets(shared, r)).into()
        }
        RequestKind::EndTxn(r) => ResponseKind::EndTxn(transactions::end(shared, &r)).into(),
        // The table of served APIs lets nothing else through.
        _ => Reply::Close,
    }
}

fn text(s: impl Into<String>) -> StrBytes {
    StrBytes::from_string(s.into())
}
