//! Topics: create, delete, grow; deleting records.

use super::text;
use crate::catalog::TopicSettings;
use crate::shared::{Shared, led_by};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeConfigsRequest, DescribeConfigsResponse, TopicName,
};
use std::sync::Arc;
use uuid::Uuid;

/// An error code with the sentence that goes with it.
type Refusal = (ResponseError, String);

fn refuse(error: ResponseError) -> Refusal {
    (error, error.to_string())
}

pub(crate) fn create(
    shared: &Arc<Shared>,
    version: i16,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        match create_one(shared, topic, request.validate_only) {
            Ok((id, partitions)) => {
                let result = result.with_configs(None).with_topic_id(id);
                if version < 5 {
                    return result;
                }
                result
                    .with_num_partitions(partitions)
                    .with_replication_factor(1)
                    .with_configs(Some(Vec::new()))
            }
            Err((error, message)) => {
                result.with_error_code(error.code()).with_error_message(Some(text(message)))
            }
        }
    });
    CreateTopicsResponse::default().with_topics(results.collect())
}

fn create_one(
    shared: &Shared,
    topic: CreatableTopic,
    validate_only: bool,
) -> Result<(Uuid, i32), Refusal> {
    let settings = topic
        .configs
        .into_iter()
        .map(|c| (c.name.to_string(), c.value.map(|v| v.to_string()).unwrap_or_default()));
    let settings = TopicSettings::parse(settings.collect())
        .map_err(|why| (ResponseError::InvalidConfig, why))?;
    let partitions = match (topic.assignments.len(), topic.num_partitions) {
        (0, -1) => shared.config.default_partitions,
        (0, n) => n,
        (n, _) => i32::try_from(n).unwrap_or(i32::MAX),
    };
    // Replicas are not kept, whatever their number; more than there are nodes is refused as
    // Kafka refuses it.
    let nodes = i16::try_from(shared.nodes.len()).unwrap_or(i16::MAX);
    let replicas = topic.replication_factor;
    if topic.assignments.is_empty() && replicas != -1 && !(1..=nodes).contains(&replicas) {
        return Err(refuse(ResponseError::InvalidReplicationFactor));
    }
    let mut catalog = shared.catalog.write();
    if validate_only {
        return catalog
            .check_new(&topic.name, partitions)
            .map(|_| (Uuid::nil(), partitions))
            .map_err(refuse);
    }
    let created = catalog.create(&topic.name, partitions, settings).map_err(refuse)?;
    Ok((created.id, partitions))
}

pub(crate) fn delete(
    shared: &Arc<Shared>,
    version: i16,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let named = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState::default().with_name(Some(name)).with_topic_id(Uuid::nil()));
    let wanted: Vec<_> = if version >= 6 { request.topics } else { named.collect() };
    let results = wanted.into_iter().map(|topic| delete_one(shared, version, topic)).collect();
    shared.arrived.notify_waiters();
    DeleteTopicsResponse::default().with_responses(results)
}

fn delete_one(shared: &Shared, version: i16, topic: DeleteTopicState) -> DeletableTopicResult {
    let result =
        DeletableTopicResult::default().with_name(topic.name.clone()).with_topic_id(topic.topic_id);
    let refused = |error: ResponseError| {
        let message = (version >= 5).then(|| text(error.to_string()));
        result.clone().with_error_code(error.code()).with_error_message(message)
    };
    let name = match &topic.name {
        Some(name) => name.to_string(),
        None => match shared.topic_by_id(&topic.topic_id) {
            Some(topic) => topic.name.clone(),
            None => return refused(ResponseError::UnknownTopicId),
        },
    };
    let deleted = match shared.catalog.write().delete(&name) {
        Ok(deleted) => deleted,
        Err(error) => return refused(error),
    };
    shared.coordinator.lock().forget_topic(&name);
    result.with_name(Some(TopicName(text(name)))).with_topic_id(deleted.id)
}

pub(crate) fn create_partitions(
    shared: &Arc<Shared>,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let results = request.topics.into_iter().map(|topic| {
        let mut catalog = shared.catalog.write();
        let grown = if request.validate_only {
            let known = catalog.by_name(&topic.name).map(|t| t.partitions.len());
            match known {
                None => Err(ResponseError::UnknownTopicOrPartition),
                Some(n) if usize::try_from(topic.count).is_ok_and(|c| c > n) => Ok(()),
                Some(_) => Err(ResponseError::InvalidPartitions),
            }
        } else {
            catalog.grow(&topic.name, topic.count)
        };
        let result = CreatePartitionsTopicResult::default().with_name(topic.name);
        match grown {
            Ok(()) => result,
            Err(error) => result
                .with_error_code(error.code())
                .with_error_message(Some(text(error.to_string()))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

pub(crate) fn delete_records(
    shared: &Arc<Shared>,
    node: i32,
    request: DeleteRecordsRequest,
) -> DeleteRecordsResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|p| {
            let result =
                DeleteRecordsPartitionResult::default().with_partition_index(p.partition_index);
            match delete_before(shared, node, &topic.name, p.partition_index, p.offset) {
                Ok(low) => result.with_low_watermark(low),
                Err(error) => result.with_low_watermark(-1).with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete_before(
    shared: &Shared,
    node: i32,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<i64, ResponseError> {
    let topic = shared.topic(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let partition = topic.partition(partition).ok_or(ResponseError::UnknownTopicOrPartition)?;
    let mut state = led_by(partition, node, -1)?;
    let offset = if offset == -1 { state.log.end() } else { offset };
    if offset < 0 || offset > state.log.end() {
        return Err(ResponseError::OffsetOutOfRange);
    }
    let done = state.log.delete_before(offset);
    state.save();
    done.map_err(|error| {
        tracing::warn!(%error, "segments cannot be removed");
        ResponseError::KafkaStorageError
    })?;
    Ok(state.log.start())
}

/// Kafka's numbers: a topic as a resource, and where a setting comes from.
const TOPIC_RESOURCE: i8 = 2;
const SET_ON_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;

/// The settings of topics that were given or that the broker acts upon.
pub(crate) fn describe_configs(
    shared: &Arc<Shared>,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let results = request.resources.into_iter().map(|asked| {
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name.clone())
            .with_error_message(None);
        if asked.resource_type != TOPIC_RESOURCE {
            // Brokers are asked about by the same request; they have nothing to say here.
            return result;
        }
        match settings_of(shared, &asked) {
            Some(configs) => result.with_configs(configs),
            None => result
                .with_error_code(ResponseError::UnknownTopicOrPartition.code())
                .with_error_message(Some(text("This topic does not exist."))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn settings_of(
    shared: &Shared,
    asked: &DescribeConfigsResource,
) -> Option<Vec<DescribeConfigsResourceResult>> {
    let topic = shared.topic(&asked.resource_name)?;
    let wanted = |name: &str| {
        let keys = asked.configuration_keys.as_ref();
        keys.is_none_or(|keys| keys.iter().any(|k| k.as_str() == name))
    };
    let defaults = [
        ("max.message.bytes", shared.config.message_bytes_max.to_string()),
        ("message.timestamp.type", "CreateTime".to_owned()),
        ("retention.ms", "-1".to_owned()),
    ];
    let given = &topic.settings.given;
    let defaults = defaults.into_iter().filter(|(name, _)| !given.contains_key(*name));
    let all = given
        .iter()
        .map(|(name, value)| (name.clone(), value.clone(), SET_ON_TOPIC))
        .chain(defaults.map(|(name, value)| (name.to_owned(), value, DEFAULT)));
    let one = |(name, value, source): (String, String, i8)| {
        DescribeConfigsResourceResult::default()
            .with_name(text(name))
            .with_value(Some(text(value)))
            .with_config_source(source)
            .with_documentation(None)
    };
    Some(all.filter(|(name, ..)| wanted(name)).map(one).collect())
}
