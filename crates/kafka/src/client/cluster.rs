//! The brokers of one cluster: who they are, idle connections to them, and what they say about
//! topics.

use super::{Connection, Retry, broker_error};
use crate::config::ClientSettings;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponse, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use millstream_core::offsets::TopicPartition;
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use uuid::Uuid;

/// Versions of Metadata we speak: from the one that can forbid auto-creation to the one with
/// topic ids in every answer.
pub(crate) const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;
/// Idle connections kept per broker; more are closed when they are given back.
const IDLE_MAX: usize = 16;

/// One cluster. Connects when it is first asked something.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) settings: ClientSettings,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// The cluster's id.
    cluster: Option<String>,
    /// Another id that the last answer named.
    doubted: Option<String>,
    brokers: BTreeMap<i32, (String, u16)>,
    idle: HashMap<i32, Vec<Connection>>,
}

/// What a cluster says about some topics at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Metadata {
    pub(crate) topics: BTreeMap<String, TopicInfo>,
    /// Topics that were asked for and do not exist.
    pub(crate) missing: Vec<String>,
    /// Whether all topics were asked for, the brokers' own among them.
    pub(crate) lists_all: bool,
    /// Addresses of the brokers.
    pub(crate) brokers: BTreeMap<i32, (String, u16)>,
}

/// One topic.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicInfo {
    /// `None` from brokers that have no topic ids (before Kafka 2.8).
    pub(crate) id: Option<Uuid>,
    pub(crate) internal: bool,
    pub(crate) partitions: BTreeMap<i32, PartitionInfo>,
}

/// One partition.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartitionInfo {
    /// `None` while there is no leader.
    pub(crate) leader: Option<i32>,
    pub(crate) epoch: Option<i32>,
}

impl Metadata {
    pub(crate) fn partition(&self, tp: &TopicPartition) -> Option<PartitionInfo> {
        self.topics.get(&tp.topic)?.partitions.get(&tp.partition).copied()
    }

    /// Notes leader epochs under which leaders answered. They stand even against a later one of
    /// this, which nobody has confirmed.
    pub(crate) fn confirm_epochs(&mut self, confirmed: &BTreeMap<TopicPartition, i32>) {
        for (tp, epoch) in confirmed {
            let topic = self.topics.get_mut(&tp.topic);
            if let Some(partition) = topic.and_then(|t| t.partitions.get_mut(&tp.partition)) {
                partition.epoch = Some(*epoch);
            }
        }
    }

    /// The leader of a partition and its address.
    pub(crate) fn leader_at(&self, tp: &TopicPartition) -> Option<(i32, &(String, u16))> {
        let leader = self.partition(tp)?.leader?;
        Some((leader, self.brokers.get(&leader)?))
    }

    pub(crate) fn topic_id(&self, topic: &str) -> Option<Uuid> {
        self.topics.get(topic)?.id
    }
}

impl Cluster {
    pub(crate) fn new(settings: ClientSettings) -> Self {
        Cluster { settings, known: Mutex::new(Known::default()) }
    }

    pub(crate) fn retry(&self) -> Retry {
        Retry::new(self.settings.api_timeout, self.settings.retry_backoff)
    }

    /// Metadata of `topics`, of all for `None`, from any broker that answers.
    pub(crate) async fn metadata(&self, topics: Option<&[String]>) -> Result<Metadata> {
        let mut retry = Retry::new(self.settings.api_timeout, self.settings.reconnect_backoff);
        loop {
            match self.try_metadata(topics).await {
                Ok(metadata) => return Ok(metadata),
                Err(error) => retry.pause(error).await?,
            }
        }
    }

    async fn try_metadata(&self, topics: Option<&[String]>) -> Result<Metadata> {
        let (broker, mut connection) = self.any_connection().await?;
        let version = connection.version::<MetadataRequest>(METADATA_VERSIONS)?;
        let topics = topics.map(|names| {
            let name = |n: &String| Some(TopicName(StrBytes::from_string(n.clone())));
            names.iter().map(|n| MetadataRequestTopic::default().with_name(name(n))).collect()
        });
        let request =
            MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(false);
        let answer = connection.call(&request, version).await.inspect_err(|_| {
            if let Some(broker) = broker {
                self.distrust(broker);
            }
        })?;
        self.check_cluster(&answer)?;
        if let Some(broker) = broker {
            self.give_back(broker, connection);
        }
        self.remember_brokers(&answer);
        let metadata = Metadata { lists_all: request.topics.is_none(), ..read_metadata(&answer)? };
        answers_what_was_asked(&request, &metadata)?;
        Ok(metadata)
    }

    /// An address that broke on the way may be that of another cluster, which has topics of its
    /// own under the same names. Only the bootstrap servers are believed about a new id.
    fn check_cluster(&self, answer: &MetadataResponse) -> Result<()> {
        let Some(id) = answer.cluster_id.as_ref().map(|id| id.to_string()) else { return Ok(()) };
        let mut known = self.known.lock();
        let Some(cluster) = known.cluster.clone() else {
            known.cluster = Some(id);
            return Ok(());
        };
        let doubted = known.doubted.take();
        if cluster == id {
            return Ok(());
        }
        if doubted.as_ref() == Some(&id) {
            tracing::warn!(%cluster, now = %id, "the bootstrap servers lead to another cluster");
            known.cluster = Some(id);
            return Ok(());
        }
        let message = format!("An answer to Metadata is of cluster {id}; this one is {cluster}.");
        known.doubted = Some(id);
        known.brokers.clear();
        known.idle.clear();
        Err(Error::unavailable("KAFKA_ANSWER_MALFORMED", message))
    }

    fn remember_brokers(&self, answer: &MetadataResponse) {
        let brokers = addresses(answer);
        if brokers.is_empty() {
            return;
        }
        let mut known = self.known.lock();
        let Known { brokers: before, idle, .. } = &mut *known;
        idle.retain(|id, _| before.get(id) == brokers.get(id));
        *before = brokers;
    }

    /// A connection to whichever broker answers: an idle one, a known broker, a bootstrap server.
    pub(super) async fn any_connection(&self) -> Result<(Option<i32>, Connection)> {
        let (idle, known) = {
            let mut known = self.known.lock();
            let idle = known.idle.iter_mut().find_map(|(id, c)| c.pop().map(|c| (*id, c)));
            (idle, known.brokers.clone())
        };
        if let Some((id, connection)) = idle {
            return Ok((Some(id), connection));
        }
        let mut failures = Vec::new();
        let bootstrap = self.settings.bootstrap.iter().map(|address| (None, address));
        for (id, (host, port)) in known.iter().map(|(id, a)| (Some(*id), a)).chain(bootstrap) {
            match Connection::open(&self.settings, host, *port).await {
                Ok(connection) => return Ok((id, connection)),
                Err(error) => failures.push(error.to_string()),
            }
        }
        failures.dedup();
        Err(Error::unavailable(
            "KAFKA_UNREACHABLE",
            format!("No broker answers: {}", failures.join("; ")),
        ))
    }

    /// A connection to one broker: an idle one, or a new one.
    pub(crate) async fn connection(&self, broker: i32) -> Result<Connection> {
        let (idle, address) = {
            let mut known = self.known.lock();
            let idle = known.idle.get_mut(&broker).and_then(Vec::pop);
            (idle, known.brokers.get(&broker).cloned())
        };
        if let Some(connection) = idle {
            return Ok(connection);
        }
        let (host, port) = address.ok_or_else(|| {
            Error::unavailable(
                "KAFKA_LEADER_UNAVAILABLE",
                format!("Broker {broker} leads partitions but is not in the cluster's list."),
            )
        })?;
        Connection::open(&self.settings, &host, port).await
    }

    /// Keeps a connection whose last call succeeded for the next caller. One that leads elsewhere
    /// than the broker is by now is closed: addresses change, and may break on the way.
    pub(crate) fn give_back(&self, broker: i32, connection: Connection) {
        let mut known = self.known.lock();
        let is_there = |(host, port): &(String, u16)| connection.leads_to(host, *port);
        if !known.brokers.get(&broker).is_some_and(is_there) {
            return;
        }
        let idle = known.idle.entry(broker).or_default();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// Lets all idle connections fall, so that a question that is asked again does not take the
    /// way on which its answer may have been damaged.
    pub(crate) fn distrust_all(&self) {
        self.known.lock().idle.clear();
    }

    /// Lets idle connections to a broker fall: it restarted or went away.
    pub(crate) fn distrust(&self, broker: i32) {
        self.known.lock().idle.remove(&broker);
    }
}

fn addresses(answer: &MetadataResponse) -> BTreeMap<i32, (String, u16)> {
    let brokers = answer.brokers.iter().filter_map(|b| {
        let port = u16::try_from(b.port).ok()?;
        Some((b.node_id.0, (b.host.to_string(), port)))
    });
    brokers.collect()
}

/// A name that broke on the way would be a topic that nobody subscribed to.
fn answers_what_was_asked(request: &MetadataRequest, answer: &Metadata) -> Result<()> {
    let asked = request.topics.iter().flatten().filter_map(|t| t.name.as_ref());
    let is_known = |name: &str| {
        answer.topics.contains_key(name) || answer.missing.iter().any(|missing| missing == name)
    };
    let unanswered = asked.map(|name| name.to_string()).find(|name| !is_known(name));
    let Some(name) = unanswered else { return Ok(()) };
    Err(Error::unavailable(
        "KAFKA_ANSWER_MALFORMED",
        format!("The answer to Metadata says nothing about topic {name}, which was asked for."),
    ))
}

pub(crate) fn read_metadata(answer: &MetadataResponse) -> Result<Metadata> {
    let mut metadata = Metadata { brokers: addresses(answer), ..Metadata::default() };
    for topic in &answer.topics {
        let name = topic.name.as_ref().map(|n| n.to_string()).unwrap_or_default();
        match ResponseError::try_from_code(topic.error_code) {
            None | Some(ResponseError::LeaderNotAvailable) => {
                metadata.topics.insert(name, read_topic(topic));
            }
            Some(ResponseError::UnknownTopicOrPartition | ResponseError::UnknownTopicId) => {
                metadata.missing.push(name);
            }
            Some(ResponseError::InvalidTopicException) => {
                return Err(Error::invalid(
                    "KAFKA_TOPIC_UNKNOWN",
                    format!("'{name}' is not a legal name of a topic."),
                ));
            }
            Some(error) => return Err(broker_error(&format!("Metadata of topic {name}"), error)),
        }
    }
    Ok(metadata)
}

fn read_topic(topic: &MetadataResponseTopic) -> TopicInfo {
    let partitions = topic.partitions.iter().map(|p| {
        let info = PartitionInfo {
            leader: Some(p.leader_id.0).filter(|l| *l >= 0),
            epoch: Some(p.leader_epoch).filter(|e| *e >= 0),
        };
        (p.partition_index, info)
    });
    TopicInfo {
        id: Some(topic.topic_id).filter(|id| !id.is_nil()),
        internal: topic.is_internal,
        partitions: partitions.collect(),
    }
}
