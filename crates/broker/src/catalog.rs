//! The topics of the broker and their partitions, and how they lie on the disk.
//!
//! `topics/<topic id>/topic.json` names a topic, `topics/<topic id>/<partition>/` holds its
//! segments and `state.json`. A topic that is deleted loses its directory; one that is created
//! again under the same name gets a new id.

use crate::config::BrokerConfig;
use crate::disk;
use crate::log::{MemoryBudget, PartitionLog};
use kafka_protocol::ResponseError;
use millstream_core::env::{Env, SystemEnv};
use millstream_core::{Error, Result};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use uuid::Uuid;

/// Topic settings that are accepted and acted upon, or accepted because they change nothing that
/// this broker does. Others are refused by name.
const SETTINGS: &[&str] = &[
    "cleanup.policy",
    "compression.type",
    "delete.retention.ms",
    "file.delete.delay.ms",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "max.compaction.lag.ms",
    "max.message.bytes",
    "message.timestamp.type",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "min.insync.replicas",
    "preallocate",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.index.bytes",
    "segment.jitter.ms",
    "segment.ms",
    "unclean.leader.election.enable",
];

#[derive(Debug)]
pub(crate) struct Topic {
    pub name: String,
    pub id: Uuid,
    pub settings: TopicSettings,
    pub partitions: Vec<Arc<Partition>>,
}

impl Topic {
    pub(crate) fn partition(&self, index: i32) -> Option<&Arc<Partition>> {
        self.partitions.get(usize::try_from(index).ok()?)
    }
}

/// The settings the broker acts upon, and all of them as they were given.
#[derive(Debug, Clone, Default)]
pub(crate) struct TopicSettings {
    pub given: BTreeMap<String, String>,
    pub message_bytes_max: Option<usize>,
    pub log_append_time: bool,
}

impl TopicSettings {
    pub(crate) fn parse(given: BTreeMap<String, String>) -> Result<Self, String> {
        let mut settings = TopicSettings::default();
        for (name, value) in &given {
            let wrong = || format!("Invalid value {value} for configuration {name}");
            match name.as_str() {
                "max.message.bytes" => {
                    settings.message_bytes_max = Some(value.parse().map_err(|_| wrong())?);
                }
                "message.timestamp.type" => {
                    settings.log_append_time = match value.as_str() {
                        "CreateTime" => false,
                        "LogAppendTime" => true,
                        _ => return Err(wrong()),
                    };
                }
                name if SETTINGS.contains(&name) => {}
                _ => return Err(format!("Unknown topic config name: {name}")),
            }
        }
        settings.given = given;
        Ok(settings)
    }
}

#[derive(Debug)]
pub(crate) struct Partition {
    pub state: Mutex<PartitionState>,
}

#[derive(Debug)]
pub(crate) struct PartitionState {
    pub log: PartitionLog,
    /// Node that leads the partition.
    pub leader: i32,
    pub epoch: i32,
    /// Set when the topic is deleted, so that requests that still hold the partition stop.
    pub deleted: bool,
    path: Option<PathBuf>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SavedPartition {
    log_start: i64,
    end: i64,
    leader: i32,
    epoch: i32,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTopic {
    name: String,
    id: Uuid,
    partitions: usize,
    settings: BTreeMap<String, String>,
}

impl PartitionState {
    /// Writes what the log itself does not say. A failure is reported and does not stop anything:
    /// after a restart the log would begin earlier, or a planted end be missing.
    pub(crate) fn save(&self) {
        let Some(path) = &self.path else { return };
        let saved = SavedPartition {
            log_start: self.log.start(),
            end: self.log.end(),
            leader: self.leader,
            epoch: self.epoch,
        };
        if let Err(error) = disk::save(path, &saved) {
            tracing::warn!(path = %path.display(), %error, "a partition's state cannot be written");
        }
    }

    /// Hands the partition to `node` under a new leader epoch.
    pub(crate) fn change_leader(&mut self, node: i32) {
        self.leader = node;
        self.epoch += 1;
        self.log.begin_epoch(self.epoch);
        self.save();
    }
}

/// All topics, by name and by id.
#[derive(Debug)]
pub(crate) struct Catalog {
    topics: BTreeMap<String, Arc<Topic>>,
    names: HashMap<Uuid, String>,
    dir: Option<PathBuf>,
    budget: MemoryBudget,
    segment_bytes: u64,
    partitions_max: usize,
    nodes: i32,
}

impl Catalog {
    /// Opens the topics of the configured directory, or an empty catalog in memory.
    pub(crate) fn open(config: &BrokerConfig) -> Result<Catalog> {
        let mut catalog = Catalog {
            topics: BTreeMap::new(),
            names: HashMap::new(),
            dir: config.dir.as_ref().map(|d| d.join("topics")),
            budget: MemoryBudget {
                used: Arc::new(AtomicUsize::new(0)),
                max: config.memory_bytes_max,
            },
            segment_bytes: config.segment_bytes.max(1),
            partitions_max: config.partitions_max,
            nodes: i32::try_from(config.nodes).unwrap_or(1),
        };
        if let Some(dir) = catalog.dir.clone() {
            catalog.recover(&dir)?;
        }
        Ok(catalog)
    }

    fn recover(&mut self, dir: &Path) -> Result<()> {
        let failed = |e| disk::dir_error(dir, e);
        std::fs::create_dir_all(dir).map_err(failed)?;
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let Some(saved) = disk::load::<SavedTopic>(&path.join("topic.json"))? else {
                // What is left of a topic whose creation or deletion did not finish.
                std::fs::remove_dir_all(&path).map_err(|e| disk::dir_error(&path, e))?;
                continue;
            };
            let settings = TopicSettings::parse(saved.settings).map_err(|why| {
                Error::corrupt("BROKER_STATE_CORRUPT", format!("{}: {why}", path.display()))
            })?;
            let partitions = (0..saved.partitions)
                .map(|at| self.open_partition(saved.id, at))
                .collect::<Result<Vec<_>>>()?;
            self.insert(Topic { name: saved.name, id: saved.id, settings, partitions });
        }
        Ok(())
    }

    fn insert(&mut self, topic: Topic) -> Arc<Topic> {
        let topic = Arc::new(topic);
        self.names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), Arc::clone(&topic));
        topic
    }

    fn open_partition(&self, topic: Uuid, at: usize) -> Result<Arc<Partition>> {
        let spread = i32::try_from(at).unwrap_or(0) % self.nodes.max(1);
        let (log, mut saved, path) = match &self.dir {
            None => {
                let saved = SavedPartition { leader: spread, ..SavedPartition::default() };
                (PartitionLog::in_memory(self.budget.clone()), saved, None)
            }
            Some(dir) => {
                let dir = dir.join(topic.to_string()).join(at.to_string());
                let path = dir.join("state.json");
                let saved = match disk::load::<SavedPartition>(&path)? {
                    // A broker that comes back leads under a new epoch.
                    Some(saved) => SavedPartition { epoch: saved.epoch + 1, ..saved },
                    None => SavedPartition { leader: spread, ..SavedPartition::default() },
                };
                let log = PartitionLog::open(&dir, self.segment_bytes, saved.log_start, saved.end)?;
                (log, saved, Some(path))
            }
        };
        if saved.leader >= self.nodes {
            saved.leader = spread;
        }
        let (leader, epoch) = (saved.leader, saved.epoch);
        let mut state = PartitionState { log, leader, epoch, deleted: false, path };
        state.log.begin_epoch(epoch);
        state.save();
        Ok(Arc::new(Partition { state: Mutex::new(state) }))
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    pub(crate) fn by_id(&self, id: &Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(id)?)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// Whether a topic of this shape could be created.
    pub(crate) fn check_new(&self, name: &str, partitions: i32) -> Result<usize, ResponseError> {
        if !valid_name(name) {
            return Err(ResponseError::InvalidTopicException);
        }
        if self.topics.contains_key(name) {
            return Err(ResponseError::TopicAlreadyExists);
        }
        self.check_room(partitions)
    }

    fn check_room(&self, more: i32) -> Result<usize, ResponseError> {
        let used: usize = self.topics.values().map(|t| t.partitions.len()).sum();
        usize::try_from(more)
            .ok()
            .filter(|n| *n > 0 && used + n <= self.partitions_max)
            .ok_or(ResponseError::InvalidPartitions)
    }

    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: i32,
        settings: TopicSettings,
    ) -> Result<Arc<Topic>, ResponseError> {
        let count = self.check_new(name, partitions)?;
        let id = SystemEnv.uuid();
        let partitions = self.open_partitions(id, 0..count)?;
        let topic = Topic { name: name.to_owned(), id, settings, partitions };
        self.save_topic(&topic)?;
        Ok(self.insert(topic))
    }

    fn open_partitions(
        &self,
        id: Uuid,
        range: std::ops::Range<usize>,
    ) -> Result<Vec<Arc<Partition>>, ResponseError> {
        range.map(|at| self.open_partition(id, at)).collect::<Result<_>>().map_err(|error| {
            tracing::warn!(%error, "a partition cannot be created");
            ResponseError::KafkaStorageError
        })
    }

    /// Gives a topic more partitions: `count` in all.
    pub(crate) fn grow(&mut self, name: &str, count: i32) -> Result<(), ResponseError> {
        let old = self.by_name(name).ok_or(ResponseError::UnknownTopicOrPartition)?.clone();
        let have = i32::try_from(old.partitions.len()).unwrap_or(i32::MAX);
        let more = self.check_room(count.saturating_sub(have))?;
        let mut partitions = old.partitions.clone();
        let from = partitions.len();
        partitions.extend(self.open_partitions(old.id, from..from + more)?);
        let (name, settings) = (old.name.clone(), old.settings.clone());
        let topic = Topic { name, id: old.id, settings, partitions };
        self.save_topic(&topic)?;
        self.insert(topic);
        Ok(())
    }

    fn save_topic(&self, topic: &Topic) -> Result<(), ResponseError> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let saved = SavedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions: topic.partitions.len(),
            settings: topic.settings.given.clone(),
        };
        let path = dir.join(topic.id.to_string()).join("topic.json");
        disk::save(&path, &saved).map_err(|error| {
            tracing::warn!(path = %path.display(), %error, "a topic cannot be written");
            ResponseError::KafkaStorageError
        })
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<Arc<Topic>, ResponseError> {
        let topic = self.topics.remove(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.names.remove(&topic.id);
        for partition in &topic.partitions {
            partition.state.lock().deleted = true;
        }
        if let Some(dir) = &self.dir {
            let dir = dir.join(topic.id.to_string());
            // Without its topic.json the directory is swept away at the next start.
            let gone = std::fs::remove_file(dir.join("topic.json"))
                .and_then(|()| std::fs::remove_dir_all(&dir));
            if let Err(error) = gone {
                tracing::warn!(path = %dir.display(), %error, "a deleted topic's files remain");
            }
        }
        Ok(topic)
    }

    /// Asks the system to put every log on the disk.
    pub(crate) fn sync(&self) {
        for partition in self.topics.values().flat_map(|t| &t.partitions) {
            let state = partition.state.lock();
            state.save();
            if let Err(error) = state.log.sync() {
                tracing::warn!(%error, "a log cannot be synced");
            }
        }
    }
}

/// Kafka's rule for topic names.
fn valid_name(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= 249
        && name != "."
        && name != ".."
        && name.chars().all(allowed)
}
