//! Topics and offsets from the outside, for either broker. Every failure is a panic that says what
//! was asked; where a test wants to see an error code, it uses [`Client`].

use crate::Client;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest,
    DeleteTopicsRequest, ElectLeadersRequest, ListOffsetsRequest, MetadataRequest,
    MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// How long the cluster may take to show a change.
const SETTLE: Duration = Duration::from_secs(30);
const TIMEOUT_MS: i32 = 20_000;

/// Administers a cluster.
#[derive(Debug)]
pub struct Admin {
    bootstrap: String,
    client: Client,
}

pub(crate) fn text(s: impl Into<String>) -> StrBytes {
    StrBytes::from_string(s.into())
}

pub(crate) fn topic_name(s: &str) -> TopicName {
    TopicName(text(s))
}

impl Admin {
    /// Connects to a cluster.
    pub async fn connect(bootstrap: &str) -> Admin {
        let client = Client::connect(bootstrap).await.expect("a broker answers");
        Admin { bootstrap: bootstrap.to_owned(), client }
    }

    /// Creates a topic and waits until every partition has a leader. Returns its id.
    pub async fn create_topic(&mut self, name: &str, partitions: i32) -> Uuid {
        self.create_topic_with(name, partitions, &[]).await
    }

    /// Creates a topic with settings.
    pub async fn create_topic_with(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Uuid {
        let spread =
            CreatableTopic::default().with_num_partitions(partitions).with_replication_factor(1);
        self.create(name, partitions, spread, settings).await
    }

    /// Creates a topic whose partitions have these replicas, the preferred leader first.
    pub async fn create_topic_on(
        &mut self,
        name: &str,
        replicas: &[&[i32]],
        settings: &[(&str, &str)],
    ) -> Uuid {
        let assignments = (0..).zip(replicas).map(|(partition, brokers)| {
            CreatableReplicaAssignment::default()
                .with_partition_index(partition)
                .with_broker_ids(brokers.iter().map(|b| BrokerId(*b)).collect())
        });
        let placed = CreatableTopic::default()
            .with_num_partitions(-1)
            .with_replication_factor(-1)
            .with_assignments(assignments.collect());
        let partitions = i32::try_from(replicas.len()).expect("a count");
        self.create(name, partitions, placed, settings).await
    }

    async fn create(
        &mut self,
        name: &str,
        partitions: i32,
        topic: CreatableTopic,
        settings: &[(&str, &str)],
    ) -> Uuid {
        let configs = settings.iter().map(|(name, value)| {
            CreatableTopicConfig::default().with_name(text(*name)).with_value(Some(text(*value)))
        });
        let topic = topic.with_name(topic_name(name)).with_configs(configs.collect());
        let request =
            CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.client.call(&request).await.expect("CreateTopics is answered");
        let result = answer.topics.first().expect("one result");
        assert_eq!(result.error_code, 0, "create {name}: {:?}", result.error_message);
        self.wait_for_partitions(name, partitions).await
    }

    /// Waits until a topic has `partitions` partitions with leaders. Returns its id.
    pub async fn wait_for_partitions(&mut self, name: &str, partitions: i32) -> Uuid {
        let wanted = usize::try_from(partitions).expect("a count");
        let topic = self
            .wait(name, |t| {
                t.error_code == 0
                    && t.partitions.len() == wanted
                    && t.partitions.iter().all(|p| p.error_code == 0 && p.leader_id >= BrokerId(0))
            })
            .await;
        // What Metadata shows and what the leader serves settle one after the other.
        for partition in 0..partitions {
            let until = Instant::now() + SETTLE;
            while self.list_offset(name, partition, -1).await.is_err() {
                assert!(Instant::now() < until, "{name}-{partition} never gets its leader");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        topic.topic_id
    }

    async fn wait(
        &mut self,
        name: &str,
        ready: impl Fn(&MetadataResponseTopic) -> bool,
    ) -> MetadataResponseTopic {
        let until = Instant::now() + SETTLE;
        loop {
            let topic = self.topic(name).await;
            if ready(&topic) {
                return topic;
            }
            assert!(Instant::now() < until, "topic {name} never settles: {topic:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Deletes a topic and waits until it is gone.
    pub async fn delete_topic(&mut self, name: &str) {
        let state = DeleteTopicState::default().with_name(Some(topic_name(name)));
        let request =
            DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.client.call(&request).await.expect("DeleteTopics is answered");
        let result = answer.responses.first().expect("one result");
        assert_eq!(result.error_code, 0, "delete {name}: {:?}", result.error_message);
        self.wait(name, |t| t.error_code == 3).await;
    }

    /// Deletes a topic and creates it again with as many partitions. Returns the new id.
    pub async fn recreate_topic(&mut self, name: &str) -> Uuid {
        let partitions = self.topic(name).await.partitions.len();
        self.delete_topic(name).await;
        self.create_topic(name, i32::try_from(partitions).expect("a count")).await
    }

    /// Gives a topic more partitions: `count` in all.
    pub async fn add_partitions(&mut self, name: &str, count: i32) {
        let topic = CreatePartitionsTopic::default()
            .with_name(topic_name(name))
            .with_count(count)
            .with_assignments(None);
        let request =
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let answer = self.client.call(&request).await.expect("CreatePartitions is answered");
        let result = answer.results.first().expect("one result");
        assert_eq!(result.error_code, 0, "grow {name}: {:?}", result.error_message);
        self.wait_for_partitions(name, count).await;
    }

    /// Deletes the records in front of `offset` (-1: all). Returns the partition's new start.
    pub async fn delete_records(&mut self, name: &str, partition: i32, offset: i64) -> i64 {
        let wanted =
            DeleteRecordsPartition::default().with_partition_index(partition).with_offset(offset);
        let topic =
            DeleteRecordsTopic::default().with_name(topic_name(name)).with_partitions(vec![wanted]);
        let request =
            DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
        let mut leader = self.leader(name, partition).await;
        let answer = leader.call(&request).await.expect("DeleteRecords is answered");
        let result = &answer.topics[0].partitions[0];
        assert_eq!(result.error_code, 0, "delete records of {name}-{partition}");
        result.low_watermark
    }

    /// Makes the preferred replica of each partition its leader again; all of them must be alive.
    pub async fn elect_preferred(&mut self, name: &str, partitions: i32) {
        let topic = TopicPartitions::default()
            .with_topic(topic_name(name))
            .with_partitions((0..partitions).collect());
        let request = ElectLeadersRequest::default()
            .with_election_type(0)
            .with_topic_partitions(Some(vec![topic]))
            .with_timeout_ms(TIMEOUT_MS);
        let answer = self.client.call(&request).await.expect("ElectLeaders is answered");
        assert_eq!(answer.error_code, 0, "preferred leaders of {name}");
        let results = answer.replica_election_results.iter().flat_map(|t| &t.partition_result);
        for result in results {
            // 84: it leads already.
            assert!([0, 84].contains(&result.error_code), "{name}: {result:?}");
        }
    }

    /// Waits until the partitions of a topic have this state of leaders and replicas.
    pub async fn wait_until(
        &mut self,
        name: &str,
        ready: impl Fn(&MetadataResponsePartition) -> bool,
    ) {
        self.wait(name, |t| t.error_code == 0 && t.partitions.iter().all(&ready)).await;
    }

    /// Everything Metadata says.
    pub async fn metadata(&mut self) -> MetadataResponse {
        let request = MetadataRequest::default().with_topics(None);
        self.client.call(&request).await.expect("Metadata is answered")
    }

    /// What Metadata says of one topic, existing or not.
    pub async fn topic(&mut self, name: &str) -> MetadataResponseTopic {
        let topic = MetadataRequestTopic::default().with_name(Some(topic_name(name)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let answer = self.client.call(&request).await.expect("Metadata is answered");
        answer.topics.into_iter().next().expect("one topic")
    }

    /// A connection to the leader of a partition.
    pub async fn leader(&mut self, name: &str, partition: i32) -> Client {
        let metadata = self.metadata().await;
        let topics = metadata.topics.iter();
        let leader = topics
            .filter(|t| t.name.as_ref().is_some_and(|n| n.as_str() == name))
            .flat_map(|t| &t.partitions)
            .find(|p| p.partition_index == partition)
            .map(|p| p.leader_id)
            .unwrap_or_else(|| panic!("{name}-{partition} has no leader"));
        let broker = metadata.brokers.iter().find(|b| b.node_id == leader).expect("its address");
        let address = format!("{}:{}", broker.host, broker.port);
        Client::connect(&address).await.expect("the leader answers")
    }

    /// The first offset that can be read.
    pub async fn start_offset(&mut self, name: &str, partition: i32) -> i64 {
        self.list_offset(name, partition, -2).await.expect("ListOffsets succeeds").0
    }

    /// The offset that the next record will get.
    pub async fn end_offset(&mut self, name: &str, partition: i32) -> i64 {
        self.list_offset(name, partition, -1).await.expect("ListOffsets succeeds").0
    }

    /// Offset and timestamp for a timestamp or one of the special values of ListOffsets, or the
    /// error code.
    ///
    /// # Errors
    /// The broker's error code.
    pub async fn list_offset(
        &mut self,
        name: &str,
        partition: i32,
        timestamp: i64,
    ) -> Result<(i64, i64), i16> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_timestamp(timestamp);
        let topic =
            ListOffsetsTopic::default().with_name(topic_name(name)).with_partitions(vec![asked]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let mut leader = self.leader(name, partition).await;
        let answer = leader.call(&request).await.expect("ListOffsets is answered");
        let p = &answer.topics[0].partitions[0];
        if p.error_code == 0 { Ok((p.offset, p.timestamp)) } else { Err(p.error_code) }
    }

    /// The addresses this administrator was given.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }
}
