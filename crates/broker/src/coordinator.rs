//! Group offsets, producer ids and transactions: what Kafka keeps in its internal topics.
//!
//! With a directory, each is a small file that is replaced as a whole on every change.

use crate::disk;
use kafka_protocol::ResponseError;
use millstream_core::Result;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Producer ids taken from the file at once.
const PRODUCER_ID_BLOCK: i64 = 1000;
/// Groups and transactional ids the broker remembers.
const NAMES_MAX: usize = 10_000;
/// Bytes of a name that still fits a file name in hexadecimal.
const NAME_BYTES_MAX: usize = 125;

/// An offset that a group committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Committed {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Offsets by topic and partition.
pub(crate) type Offsets = BTreeMap<String, BTreeMap<i32, Committed>>;

#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    dir: Option<PathBuf>,
    groups: BTreeMap<String, Offsets>,
    transactions: BTreeMap<String, Transaction>,
    next_producer_id: i64,
    /// Ids below this one may be given out without writing the file.
    reserved: i64,
}

/// One transactional id.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Transaction {
    pub producer_id: i64,
    pub epoch: i16,
    pub ongoing: bool,
    pub timeout_ms: i32,
    /// When the ongoing transaction began.
    pub since_ms: i64,
    /// Partitions that need a marker at the end.
    pub partitions: BTreeSet<(String, i32)>,
    /// Offsets that become visible with a commit, by group.
    pub offsets: BTreeMap<String, Offsets>,
    /// The decision about the ongoing transaction, stored before its first marker is written.
    pub prepared: Option<bool>,
    /// How the last transaction ended, so that a repeated EndTxn is answered alike.
    pub last_commit: Option<bool>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Named<T> {
    name: String,
    value: T,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct SavedIds {
    next_producer_id: i64,
}

impl Coordinator {
    pub(crate) fn open(dir: Option<&Path>) -> Result<Self> {
        let Some(dir) = dir else { return Ok(Coordinator::default()) };
        let ids: SavedIds = disk::load(&dir.join("ids.json"))?.unwrap_or_default();
        Ok(Coordinator {
            dir: Some(dir.to_path_buf()),
            groups: load_all(&dir.join("groups"))?,
            transactions: load_all(&dir.join("transactions"))?,
            next_producer_id: ids.next_producer_id,
            reserved: ids.next_producer_id,
        })
    }

    /// An id that no producer had before.
    pub(crate) fn new_producer_id(&mut self) -> Result<i64, ResponseError> {
        let id = self.next_producer_id;
        if id >= self.reserved {
            let reserved = id + PRODUCER_ID_BLOCK;
            if let Some(dir) = &self.dir {
                let saved = SavedIds { next_producer_id: reserved };
                disk::save(&dir.join("ids.json"), &saved).map_err(storage_error)?;
            }
            self.reserved = reserved;
        }
        self.next_producer_id += 1;
        Ok(id)
    }

    pub(crate) fn offsets(&self, group: &str) -> Option<&Offsets> {
        self.groups.get(group)
    }

    /// Commits offsets of a group.
    pub(crate) fn commit(&mut self, group: &str, offsets: Offsets) -> Result<(), ResponseError> {
        if !self.groups.contains_key(group) && self.groups.len() >= NAMES_MAX {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        let all = self.groups.entry(group.to_owned()).or_default();
        for (topic, partitions) in offsets {
            all.entry(topic).or_default().extend(partitions);
        }
        match &self.dir {
            Some(dir) => save_named(&dir.join("groups"), group, all),
            None => Ok(()),
        }
    }

    /// Whether a transaction holds an offset of this partition back.
    pub(crate) fn is_pending(&self, group: &str, topic: &str, partition: i32) -> bool {
        self.transactions.values().filter(|t| t.ongoing).any(|t| {
            let offsets = t.offsets.get(group).and_then(|o| o.get(topic));
            offsets.is_some_and(|o| o.contains_key(&partition))
        })
    }

    /// Forgets the offsets of a topic that is deleted, as Kafka does.
    pub(crate) fn forget_topic(&mut self, topic: &str) {
        let mut changed = Vec::new();
        for (group, offsets) in &mut self.groups {
            if offsets.remove(topic).is_some() {
                changed.push(group.clone());
            }
        }
        let Some(dir) = &self.dir else { return };
        for group in changed {
            if let Some(offsets) = self.groups.get(&group) {
                // The file of a group that cannot be written keeps offsets of a topic that is
                // gone; the warning is in storage_error.
                let _ = save_named(&dir.join("groups"), &group, offsets);
            }
        }
    }

    pub(crate) fn transaction(&self, id: &str) -> Option<&Transaction> {
        self.transactions.get(id)
    }

    pub(crate) fn transactions(&self) -> impl Iterator<Item = (&String, &Transaction)> {
        self.transactions.iter()
    }

    /// Whether a producer may write to a partition within its transaction.
    pub(crate) fn may_write(
        &self,
        producer_id: i64,
        epoch: i16,
        topic: &str,
        partition: i32,
    ) -> Result<(), ResponseError> {
        let mut of_producer = self.transactions.values().filter(|t| t.producer_id == producer_id);
        let Some(t) = of_producer.next() else { return Err(ResponseError::InvalidTxnState) };
        if epoch < t.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        let added = t.partitions.contains(&(topic.to_owned(), partition));
        if t.ongoing && t.prepared.is_none() && added {
            Ok(())
        } else {
            Err(ResponseError::InvalidTxnState)
        }
    }

    pub(crate) fn put_transaction(
        &mut self,
        id: &str,
        transaction: Transaction,
    ) -> Result<(), ResponseError> {
        if !self.transactions.contains_key(id) && self.transactions.len() >= NAMES_MAX {
            return Err(ResponseError::CoordinatorNotAvailable);
        }
        if let Some(dir) = &self.dir {
            save_named(&dir.join("transactions"), id, &transaction)?;
        }
        self.transactions.insert(id.to_owned(), transaction);
        Ok(())
    }
}

fn storage_error(error: std::io::Error) -> ResponseError {
    tracing::warn!(%error, "the coordinator's state cannot be written");
    ResponseError::CoordinatorNotAvailable
}

/// Names are free text, so the file is named by the bytes in hexadecimal.
fn save_named<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), ResponseError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(ResponseError::InvalidGroupId);
    }
    let file: String = name.bytes().map(|b| format!("{b:02x}")).collect();
    std::fs::create_dir_all(dir).map_err(storage_error)?;
    let named = Named { name: name.to_owned(), value };
    disk::save(&dir.join(format!("{file}.json")), &named).map_err(storage_error)
}

fn load_all<T: serde::de::DeserializeOwned>(dir: &Path) -> Result<BTreeMap<String, T>> {
    let mut all = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(all),
        Err(error) => return Err(disk::dir_error(dir, error)),
    };
    for entry in entries {
        let path = entry.map_err(|e| disk::dir_error(dir, e))?.path();
        if path.extension().is_some_and(|e| e == "json")
            && let Some(named) = disk::load::<Named<T>>(&path)?
        {
            all.insert(named.name, named.value);
        }
    }
    Ok(all)
}
