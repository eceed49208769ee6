//! A query's checkpoint directory: typed, durable reads and writes of every file that the batch
//! protocol names. Grammar and checksums are `millstream_core::log`'s, durability is the store's;
//! what to do about the facts is `millstream_core::protocol`'s.
//!
//! * this file: opening, claiming, identity, starting positions
//! * `batches`: intents, prepared attempts, completions, purge
//!
//! Invariants: a file of ours is created once and never changed; `offsets/N` is created after the
//! intent it names; the Hadoop twin `.N.crc` of a file that is created or deleted is removed.

mod batches;

pub use batches::{LoggedBatch, Logs};

use millstream_core::contract::Position;
use millstream_core::env::SharedEnv;
use millstream_core::ids::{Epoch, QueryId, RunId};
use millstream_core::log::{Identity, Lease, Metadata, Record, SourceStart, hadoop_twin};
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::{Access, Created, FileLock, LocalStore, Locked, Store};
use std::path::Path;
use std::sync::Arc;

/// Claims that are tried before giving up: each failure means that another run claimed first.
const CLAIMS_MAX: u64 = 100;

/// An open checkpoint that this run has claimed.
#[derive(Debug)]
pub struct Checkpoint {
    store: Arc<dyn Store>,
    query: QueryId,
    run: RunId,
    epoch: Epoch,
    /// Held for the life of the run; the system releases it if the process dies.
    _lock: Option<FileLock>,
}

impl Checkpoint {
    /// Opens or creates the checkpoint in `dir` and claims it for `run` (P0): takes the file lock
    /// where the store has locks, then the next epoch.
    ///
    /// # Errors
    /// `CHECKPOINT_IN_USE` (Fenced) where another process holds the lock;
    /// `STREAMING_CHECKPOINT_MISSING_METADATA_FILE` where the logs exist without `metadata`;
    /// `Corrupt` for a damaged file, which the message names.
    pub async fn open(dir: &Path, run: RunId, env: &SharedEnv) -> Result<Checkpoint> {
        let store: Arc<dyn Store> = Arc::new(LocalStore::new(dir, Access::Owner));
        let lock = match store.try_lock("millstream/lock").await? {
            Locked::Held(lock) => Some(lock),
            Locked::Unsupported => None,
            Locked::Busy { holder } => return Err(in_use(&store.describe(), &holder)),
        };
        for dir in ["", "offsets", "commits", "millstream/lease", "millstream/intents"] {
            store.sweep(dir).await?;
        }
        let query = read_or_create_metadata(&store, env).await?;
        let epoch = claim(&store, query, run, env).await?;
        Ok(Checkpoint { store, query, run, epoch, _lock: lock })
    }

    /// The id that the checkpoint gives its query.
    pub fn query(&self) -> QueryId {
        self.query
    }

    /// The run that claimed it.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// The epoch of the claim.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Where it is, for messages.
    pub fn describe(&self) -> String {
        self.store.describe()
    }

    /// P10: whether this run still has the highest epoch.
    ///
    /// # Errors
    /// `RUN_FENCED` if a newer run has claimed the checkpoint.
    pub async fn check_lease(&self) -> Result<()> {
        let next = format!("millstream/lease/{}", self.epoch.0 + 1);
        if self.store.exists(&next).await? {
            return Err(Error::new(
                ErrorKind::Fenced,
                "RUN_FENCED",
                format!("A newer run has taken over the checkpoint {}.", self.describe()),
            )
            .cure("This run stops; do not restart it while the other one runs."));
        }
        Ok(())
    }

    /// The newest identity that was stored; `None` for a new checkpoint, and for Spark's.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub async fn identity(&self) -> Result<Option<Identity>> {
        let names = self.store.list("millstream").await?;
        let newest = names
            .iter()
            .filter_map(|name| match name.strip_prefix("identity") {
                Some("") => Some((0, name)),
                Some(rest) => Some((rest.strip_prefix('.')?.parse::<u64>().ok()?, name)),
                None => None,
            })
            .max_by_key(|(revision, _)| *revision);
        match newest {
            Some((_, name)) => self.record(&format!("millstream/{name}")).await,
            None => Ok(None),
        }
    }

    /// Stores an identity under its revision.
    ///
    /// # Errors
    /// `RUN_FENCED` if another run stored that revision first.
    pub async fn remember_identity(&self, identity: &Identity) -> Result<()> {
        let path = match identity.revision {
            0 => "millstream/identity".to_owned(),
            n => format!("millstream/identity.{n}"),
        };
        self.create_ours(&path, &identity.encode()?).await
    }

    /// The starting position pinned for source `index`.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub async fn source_start(&self, index: usize) -> Result<Option<Position>> {
        let path = format!("sources/{index}/0");
        match self.store.read(&path).await? {
            None => Ok(None),
            Some(bytes) => SourceStart::decode(&bytes)
                .map(|start| Some(start.position))
                .map_err(|e| e.context(self.name(&path))),
        }
    }

    /// Pins the starting position of source `index`.
    ///
    /// # Errors
    /// `RUN_FENCED` if another run pinned one first.
    pub async fn pin_source_start(&self, index: usize, position: Position) -> Result<()> {
        let bytes = SourceStart { position }.encode();
        self.create_sparks(&format!("sources/{index}"), "0", &bytes).await
    }

    /// A record of ours; `None` if the file is not there.
    async fn record<R: Record>(&self, path: &str) -> Result<Option<R>> {
        match self.store.read(path).await? {
            None => Ok(None),
            Some(bytes) => {
                R::decode(&bytes).map(Some).map_err(|e| e.context(self.name(path)))
            }
        }
    }

    async fn create_ours(&self, path: &str, bytes: &[u8]) -> Result<()> {
        match self.store.create(path, bytes).await? {
            Created::Created => Ok(()),
            Created::Exists => Err(self.overtaken(path)),
        }
    }

    async fn create_sparks(&self, dir: &str, name: &str, bytes: &[u8]) -> Result<()> {
        // A twin left by Spark for an older file of this name would make Spark refuse the new one.
        self.store.delete(&format!("{dir}/{}", hadoop_twin(name))).await?;
        self.create_ours(&format!("{dir}/{name}"), bytes).await
    }

    fn overtaken(&self, path: &str) -> Error {
        Error::new(
            ErrorKind::Fenced,
            "CONCURRENT_STREAM_LOG_UPDATE",
            format!("`{}` was created by another run of this query.", self.name(path)),
        )
        .cure("Let only one process run on a checkpoint.")
    }

    fn name(&self, path: &str) -> String {
        format!("{}/{path}", self.describe())
    }
}

fn in_use(place: &str, holder: &str) -> Error {
    let who = if holder.is_empty() { String::new() } else { format!(" ({holder})") };
    Error::new(
        ErrorKind::Fenced,
        "CHECKPOINT_IN_USE",
        format!("Another process{who} runs on the checkpoint {place}."),
    )
    .cure("Stop it first, or give this query a checkpoint of its own.")
}

async fn read_or_create_metadata(store: &Arc<dyn Store>, env: &SharedEnv) -> Result<QueryId> {
    if let Some(bytes) = store.read("metadata").await? {
        // Another engine, or a run that died while creating it, may not have made it durable.
        store.settle("metadata").await?;
        return Metadata::decode(&bytes)
            .map(|m| m.id)
            .map_err(|e| e.context(format!("{}/metadata", store.describe())));
    }
    for log in ["offsets", "commits", "sources", "state"] {
        if !store.list(log).await?.is_empty() {
            return Err(Error::corrupt(
                "STREAMING_CHECKPOINT_MISSING_METADATA_FILE",
                format!("{}/{log} has files, but `metadata` is missing.", store.describe()),
            )
            .cure(
                "Restore `metadata` from a backup, or rebuild the checkpoint from the table with \
                 `millstream checkpoint rebuild`; a new id would write every record once more.",
            ));
        }
    }
    let id = QueryId(env.uuid());
    store.delete(&hadoop_twin("metadata")).await?;
    match store.create("metadata", &Metadata { id }.encode()).await? {
        Created::Created => Ok(id),
        Created::Exists => Err(in_use(&store.describe(), "")),
    }
}

async fn claim(
    store: &Arc<dyn Store>,
    query: QueryId,
    run: RunId,
    env: &SharedEnv,
) -> Result<Epoch> {
    for _ in 0..CLAIMS_MAX {
        let names = store.list("millstream/lease").await?;
        let newest = names.iter().filter_map(|name| name.parse::<u64>().ok()).max().unwrap_or(0);
        let epoch = Epoch(newest + 1);
        let process = std::process::id();
        let lease = Lease { query, epoch, run, process, claimed_ms: env.now_ms() };
        let path = format!("millstream/lease/{epoch}");
        if store.create(&path, &lease.encode()?).await? == Created::Created {
            // Older leases say nothing any more. One is kept as history.
            for old in names.iter().filter_map(|name| name.parse::<u64>().ok()) {
                if old + 1 < epoch.0 {
                    store.delete(&format!("millstream/lease/{old}")).await?;
                }
            }
            return Ok(epoch);
        }
    }
    Err(in_use(&store.describe(), "several, one after another"))
}
