//! Metadata: brokers, topics with their ids, leaders.

use super::text;
use crate::catalog::{Topic, TopicSettings};
use crate::shared::Shared;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use std::sync::Arc;

pub(crate) fn metadata(
    shared: &Arc<Shared>,
    version: i16,
    request: MetadataRequest,
) -> MetadataResponse {
    let create =
        shared.config.auto_create_topics && (version < 4 || request.allow_auto_topic_creation);
    let topics = match request.topics {
        // Version 0 has no null; there an empty list means all.
        Some(topics) if version > 0 || !topics.is_empty() => {
            topics.into_iter().map(|t| named(shared, create, t)).collect()
        }
        _ => shared.catalog.read().all().map(|t| describe(t)).collect(),
    };
    let brokers = shared.nodes.iter().map(|n| {
        MetadataResponseBroker::default()
            .with_node_id(BrokerId(n.id))
            .with_host(text("127.0.0.1"))
            .with_port(i32::from(n.port))
    });
    MetadataResponse::default()
        .with_brokers(brokers.collect())
        .with_cluster_id(Some(text(shared.cluster_id.as_str())))
        .with_controller_id(BrokerId(0))
        .with_topics(topics)
}

fn named(shared: &Shared, create: bool, asked: MetadataRequestTopic) -> MetadataResponseTopic {
    let Some(name) = asked.name else {
        return match shared.topic_by_id(&asked.topic_id) {
            Some(topic) => describe(&topic),
            None => MetadataResponseTopic::default()
                .with_name(None)
                .with_topic_id(asked.topic_id)
                .with_error_code(ResponseError::UnknownTopicId.code()),
        };
    };
    if let Some(topic) = shared.topic(&name) {
        return describe(&topic);
    }
    let mut error = ResponseError::UnknownTopicOrPartition;
    if create {
        let partitions = shared.config.default_partitions;
        let created = shared.catalog.write().create(&name, partitions, TopicSettings::default());
        match created {
            Ok(topic) => return describe(&topic),
            Err(why) => error = why,
        }
    } else if shared.catalog.read().check_new(&name, 1) == Err(ResponseError::InvalidTopicException)
    {
        error = ResponseError::InvalidTopicException;
    }
    MetadataResponseTopic::default().with_name(Some(name)).with_error_code(error.code())
}

fn describe(topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().zip(0..).map(|(partition, index)| {
        let state = partition.state.lock();
        let leader = BrokerId(state.leader);
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(leader)
            .with_leader_epoch(state.epoch)
            .with_replica_nodes(vec![leader])
            .with_isr_nodes(vec![leader])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.as_str()))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
}
