//! Starting, stopping and handling a broker from the program it lives in.

use crate::catalog::{Catalog, PartitionState, TopicSettings};
use crate::config::BrokerConfig;
use crate::coordinator::Coordinator;
use crate::disk;
use crate::faults::{Faults, Reach};
use crate::handlers;
use crate::server;
use crate::shared::{Node, Shared};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use millstream_core::env::{Env, SystemEnv};
use millstream_core::{Error, ErrorKind, Result};
use millstream_wire::{BatchHeader, Batches};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const NODES_MAX: usize = 16;

/// A running broker. Dropping it stops it.
pub struct Broker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Held while the broker runs, so that no second one uses the directory.
    lock: Option<File>,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("at", &self.bootstrap_servers()).finish_non_exhaustive()
    }
}

#[derive(Serialize, Deserialize)]
struct SavedCluster {
    cluster_id: String,
}

/// A node's listening socket with its id.
type Listeners = Vec<(i32, TcpListener)>;

impl Broker {
    /// Starts a broker: opens its directory, binds its ports, creates the configured topics.
    /// When this returns, it serves.
    ///
    /// # Errors
    /// `BROKER_CONFIG`, `BROKER_BIND`, `BROKER_DIR`, `BROKER_DIR_IN_USE`, `BROKER_STATE_CORRUPT`,
    /// `BROKER_LOG_CORRUPT`.
    pub fn start(config: BrokerConfig) -> Result<Broker> {
        if !(1..=NODES_MAX).contains(&config.nodes) {
            return Err(Error::invalid(
                "BROKER_CONFIG",
                format!("A broker has 1 to {NODES_MAX} nodes, not {}.", config.nodes),
            ));
        }
        let lock = config.dir.as_deref().map(lock).transpose()?;
        let cluster_id = cluster_id(config.dir.as_deref())?;
        let mut catalog = Catalog::open(&config)?;
        for (name, partitions) in &config.topics {
            if catalog.by_name(name).is_none() {
                catalog
                    .create(name, *partitions, TopicSettings::default())
                    .map_err(|e| refused(&format!("Topic '{name}' cannot be created"), e))?;
            }
        }
        let coordinator = Coordinator::open(config.dir.as_deref())?;
        let (nodes, listeners) = bind(&config)?;
        let shared = Arc::new(Shared {
            env: Arc::new(SystemEnv),
            cluster_id,
            nodes,
            catalog: RwLock::new(catalog),
            coordinator: Mutex::new(coordinator),
            faults: Faults::default(),
            arrived: Notify::new(),
            connections: AtomicUsize::new(0),
            stop: CancellationToken::new(),
            config,
        });
        handlers::end_expired(&shared);
        let thread = run(Arc::clone(&shared), listeners)?;
        Ok(Broker { shared, thread: Some(thread), lock })
    }

    /// Addresses of all nodes, as clients want them.
    pub fn bootstrap_servers(&self) -> String {
        let all = self.shared.nodes.iter().map(|n| format!("127.0.0.1:{}", n.port));
        all.collect::<Vec<_>>().join(",")
    }

    /// Port of the first node.
    pub fn port(&self) -> u16 {
        self.shared.nodes.first().map_or(0, |n| n.port)
    }

    /// The cluster id that Metadata names.
    pub fn cluster_id(&self) -> &str {
        &self.shared.cluster_id
    }

    /// The faults on demand.
    pub fn faults(&self) -> Faults {
        self.shared.faults.clone()
    }

    /// Makes a node unreachable, silent or normal again.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown node.
    pub fn set_reach(&self, node: i32, reach: Reach) -> Result<()> {
        let found = self.shared.nodes.iter().find(|n| n.id == node);
        let found = found.ok_or_else(|| unknown(format!("Node {node}")))?;
        found.reach.send_replace(reach);
        Ok(())
    }

    /// Stops the broker: open connections are closed, logs go to the disk.
    pub fn stop(mut self) {
        self.halt();
    }

    fn halt(&mut self) {
        self.shared.stop.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the broker's thread ended in a panic");
        }
        // Closing the file would not do: a child process that is being started may share it for
        // a moment, and keep the lock.
        if let Some(lock) = self.lock.take()
            && let Err(error) = lock.unlock()
        {
            tracing::warn!(%error, "the lock of the broker's directory cannot be given back");
        }
    }

    /// Creates a topic and returns its id.
    ///
    /// # Errors
    /// `BROKER_REFUSED` with Kafka's reason.
    pub fn create_topic(&self, name: &str, partitions: i32) -> Result<Uuid> {
        self.create_topic_with(name, partitions, &[])
    }

    /// Creates a topic with settings such as `max.message.bytes` or `message.timestamp.type`.
    ///
    /// # Errors
    /// `BROKER_REFUSED` with Kafka's reason.
    pub fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<Uuid> {
        let given: BTreeMap<String, String> =
            settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let settings = TopicSettings::parse(given)
            .map_err(|why| Error::invalid("BROKER_REFUSED", format!("{why}.")))?;
        let created = self.shared.catalog.write().create(name, partitions, settings);
        created
            .map(|topic| topic.id)
            .map_err(|e| refused(&format!("Topic '{name}' cannot be created"), e))
    }

    /// Deletes a topic with its records and the offsets that groups committed for it.
    ///
    /// # Errors
    /// `BROKER_REFUSED` where there is none.
    pub fn delete_topic(&self, name: &str) -> Result<()> {
        let deleted = self.shared.catalog.write().delete(name);
        deleted.map_err(|e| refused(&format!("Topic '{name}' cannot be deleted"), e))?;
        self.shared.coordinator.lock().forget_topic(name);
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    /// Deletes a topic and creates it again, empty, under a new id, as fast as nobody can see it
    /// missing.
    ///
    /// # Errors
    /// `BROKER_REFUSED` where there is none.
    pub fn recreate_topic(&self, name: &str) -> Result<Uuid> {
        let mut catalog = self.shared.catalog.write();
        let old = catalog
            .delete(name)
            .map_err(|e| refused(&format!("Topic '{name}' cannot be deleted"), e))?;
        let partitions = i32::try_from(old.partitions.len()).unwrap_or(i32::MAX);
        let created = catalog.create(name, partitions, old.settings.clone());
        drop(catalog);
        self.shared.coordinator.lock().forget_topic(name);
        self.shared.arrived.notify_waiters();
        created
            .map(|topic| topic.id)
            .map_err(|e| refused(&format!("Topic '{name}' cannot be created"), e))
    }

    /// Gives a topic more partitions: `count` in all.
    ///
    /// # Errors
    /// `BROKER_REFUSED` with Kafka's reason.
    pub fn add_partitions(&self, name: &str, count: i32) -> Result<()> {
        let grown = self.shared.catalog.write().grow(name, count);
        grown.map_err(|e| refused(&format!("Topic '{name}' cannot grow"), e))
    }

    /// The id of a topic; `None` where there is none.
    pub fn topic_id(&self, name: &str) -> Option<Uuid> {
        self.shared.topic(name).map(|t| t.id)
    }

    /// The first offset that can be read.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition.
    pub fn start_offset(&self, topic: &str, partition: i32) -> Result<i64> {
        self.with(topic, partition, |state| Ok(state.log.start()))
    }

    /// The offset that the next record will get.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition.
    pub fn end_offset(&self, topic: &str, partition: i32) -> Result<i64> {
        self.with(topic, partition, |state| Ok(state.log.end()))
    }

    /// Leader node and leader epoch.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<(i32, i32)> {
        self.with(topic, partition, |state| Ok((state.leader, state.epoch)))
    }

    /// Hands a partition to another node (or to the same one again) under a new leader epoch:
    /// requests to the old leader, or with the old epoch, are refused as Kafka refuses them.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition or node.
    pub fn change_leader(&self, topic: &str, partition: i32, node: i32) -> Result<()> {
        if !self.shared.nodes.iter().any(|n| n.id == node) {
            return Err(unknown(format!("Node {node}")));
        }
        self.with(topic, partition, |state| {
            state.change_leader(node);
            Ok(())
        })?;
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    /// Makes a partition begin at `offset`, as retention does.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition, `BROKER_DIR`.
    pub fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.with(topic, partition, |state| {
            let done = state.log.delete_before(offset);
            state.save();
            done.map_err(|e| disk::dir_error(Path::new(topic), e))
        })
    }

    /// Cuts a partition's end off at `offset` (or at the front of the batch that spans it) under a
    /// new leader epoch, as an unclean election does.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition, `BROKER_DIR`.
    pub fn truncate(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        self.with(topic, partition, |state| {
            let done = state.log.truncate(offset);
            let leader = state.leader;
            state.change_leader(leader);
            done.map_err(|e| disk::dir_error(Path::new(topic), e))
        })?;
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    /// Takes the records of a partition away whose offset is `gone`, as compaction does. Only for
    /// brokers in memory.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition, a damaged batch, or a broker with a directory.
    pub fn compact(&self, topic: &str, partition: i32, gone: impl Fn(i64) -> bool) -> Result<()> {
        self.with(topic, partition, |state| {
            let done = state.log.compact(&gone);
            done.map_err(|e| refused("The log cannot be compacted", e))
        })
    }

    /// Moves the end of a partition on by `offsets` without any record, as compaction leaves it: a
    /// hole, once more records follow.
    ///
    /// # Errors
    /// `BROKER_REFUSED` for an unknown partition or beyond the last offset there is.
    pub fn plant_gap(&self, topic: &str, partition: i32, offsets: i64) -> Result<()> {
        self.with(topic, partition, |state| {
            let end = state.log.end().checked_add(offsets.max(0));
            // Kafka's offsets end there; batches need room behind their base.
            let end = end.filter(|e| *e < i64::MAX - (1 << 33));
            let end = end.ok_or_else(|| unknown("An offset beyond the last one".into()))?;
            state.log.skip_to(end);
            state.save();
            Ok(())
        })?;
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    /// Appends bytes as they are: batches with their own offsets (not below the end of the
    /// partition), control batches, compacted ones, damaged or old ones. What is not a whole batch
    /// of format v2 takes one position, and is kept by a broker in memory only.
    ///
    /// # Errors
    /// `BROKER_REFUSED` where the offsets go back, or the bytes cannot be kept.
    pub fn append_raw(&self, topic: &str, partition: i32, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        let on_disk = self.shared.config.dir.is_some();
        self.with(topic, partition, |state| {
            let failed = |e| refused("The bytes cannot be appended", e);
            match whole_batches(&bytes) {
                Some(batches) => {
                    for batch in batches {
                        state.log.append(batch).map_err(failed)?;
                    }
                    Ok(())
                }
                None if on_disk => Err(failed(ResponseError::CorruptMessage)),
                None => {
                    let end = state.log.end();
                    let (base, last) = span(&bytes).unwrap_or((end, end));
                    state.log.append_opaque(&bytes, base, last).map_err(failed)
                }
            }
        })?;
        self.shared.arrived.notify_waiters();
        Ok(())
    }

    fn with<T>(
        &self,
        topic: &str,
        partition: i32,
        work: impl FnOnce(&mut PartitionState) -> Result<T>,
    ) -> Result<T> {
        let found = self.shared.topic(topic);
        let partition = found
            .as_ref()
            .and_then(|t| t.partition(partition))
            .ok_or_else(|| unknown(format!("Partition {topic}-{partition}")))?;
        work(&mut partition.state.lock())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.halt();
    }
}

/// The batches of `bytes`, if they are whole and undamaged to the last byte.
fn whole_batches(bytes: &Bytes) -> Option<Vec<Bytes>> {
    let mut batches = Batches::new(bytes);
    let mut all = Vec::new();
    for batch in batches.by_ref() {
        let batch = batch.ok().filter(|b| b.verify().is_ok())?;
        all.push(bytes.slice_ref(batch.bytes()));
    }
    (batches.rest().is_empty() && !all.is_empty()).then_some(all)
}

/// Offsets that damaged or old bytes claim.
fn span(bytes: &Bytes) -> Option<(i64, i64)> {
    if let Ok(Some(header)) = BatchHeader::parse(bytes) {
        return Some((header.base_offset, header.last_offset()));
    }
    let base = i64::from_be_bytes(*bytes.first_chunk::<8>()?);
    Some((base, base))
}

fn refused(what: &str, error: ResponseError) -> Error {
    Error::invalid("BROKER_REFUSED", format!("{what}: {error}."))
}

fn unknown(what: String) -> Error {
    Error::invalid("BROKER_REFUSED", format!("{what} does not exist."))
}

fn lock(dir: &Path) -> Result<File> {
    let failed = |e| disk::dir_error(dir, e);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let file = File::create(dir.join(".lock")).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Conflict,
            "BROKER_DIR_IN_USE",
            format!("Another broker uses '{}'.", dir.display()),
        )
        .cure("Stop it, or give this one a directory of its own.")),
    }
}

fn cluster_id(dir: Option<&Path>) -> Result<String> {
    let fresh = || SystemEnv.uuid().simple().to_string();
    let Some(dir) = dir else { return Ok(fresh()) };
    let path = dir.join("cluster.json");
    if let Some(saved) = disk::load::<SavedCluster>(&path)? {
        return Ok(saved.cluster_id);
    }
    let saved = SavedCluster { cluster_id: fresh() };
    disk::save(&path, &saved).map_err(|e| disk::dir_error(&path, e))?;
    Ok(saved.cluster_id)
}

fn bind(config: &BrokerConfig) -> Result<(Vec<Node>, Listeners)> {
    let mut nodes = Vec::new();
    let mut listeners = Vec::new();
    for (id, _) in (0..).zip(0..config.nodes) {
        let port = if id == 0 { config.port } else { 0 };
        let failed = |error: std::io::Error| {
            Error::unavailable(
                "BROKER_BIND",
                format!("The broker cannot listen on 127.0.0.1:{port}."),
            )
            .caused_by(error)
            .cure("Choose another port, or 0 for any free one.")
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        nodes.push(Node { id, port, reach: watch::Sender::new(Reach::Up) });
        listeners.push((id, listener));
    }
    Ok((nodes, listeners))
}

/// Runs the broker on a thread with a runtime of its own, so that it can be started and dropped
/// anywhere.
fn run(shared: Arc<Shared>, listeners: Listeners) -> Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("millstream-broker")
        .enable_all()
        .build()
        .map_err(|e| Error::internal("The broker's threads cannot be started.").caused_by(e))?;
    let work = move || {
        runtime.block_on(async {
            let mut servers = tokio::task::JoinSet::new();
            for (id, listener) in listeners {
                let reach = shared.nodes.iter().find(|n| n.id == id).map(|n| n.reach.subscribe());
                match (tokio::net::TcpListener::from_std(listener), reach) {
                    (Ok(listener), Some(reach)) => {
                        servers.spawn(server::serve(Arc::clone(&shared), id, listener, reach));
                    }
                    (listener, _) => {
                        tracing::error!(node = id, error = ?listener.err(), "a node cannot listen");
                    }
                }
            }
            let mut clock = tokio::time::interval(Duration::from_millis(500));
            loop {
                tokio::select! {
                    () = shared.stop.cancelled() => break,
                    _ = clock.tick() => handlers::end_expired(&shared),
                }
            }
            servers.join_all().await;
        });
        shared.catalog.read().sync();
    };
    std::thread::Builder::new()
        .name("millstream-broker".into())
        .spawn(work)
        .map_err(|e| Error::internal("The broker's thread cannot be started.").caused_by(e))
}
