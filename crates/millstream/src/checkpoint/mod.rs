//! A query's checkpoint directory: typed, durable reads and writes of every file that the batch
//! protocol names. Grammar and checksums are `millstream_core::log`'s, durability is the store's;
//! what to do about the facts is `millstream_core::protocol`'s.
//!
//! * this file: opening, claiming, identity, starting positions
//! * `batches`: intents, prepared attempts, completions
//! * `purge`: what is deleted after a completed batch, and the ledger's bounds
//! * `history`: the ledger, and batches that another engine completed
//! * `look`: reading a checkpoint that somebody else may own
//! * `facts`: what recovery decides from; `findings`: damage that only shows later
//! * `inspect`, `doctor`, `rebuild`: the `millstream checkpoint` commands
//!
//! Invariants: a file of ours is created once and never changed; `offsets/N` is created after the
//! intent it names; the Hadoop twin `.N.crc` of a file that is created or deleted is removed before.

mod batches;
mod doctor;
mod facts;
mod findings;
mod history;
mod inspect;
mod look;
mod purge;
mod rebuild;
mod twins;

pub use batches::LoggedBatch;
pub use doctor::{Doctor, Treatment, Witness};
pub(crate) use facts::{facts, standing_after};
pub(crate) use history::derived;
pub use history::ledger;
pub use inspect::{BatchReport, Inspection};
pub use look::{open_read_only, query_id, scan};
pub use rebuild::{Rebuild, rebuild};

use millstream_core::contract::Position;
use millstream_core::env::SharedEnv;
use millstream_core::fault::{Moment, point};
use millstream_core::ids::{BatchId, Epoch, QueryId, RunId};
use millstream_core::log::{Identity, Lease, Metadata, Record, SourceStart, hadoop_twin};
use millstream_core::planted::{Mistake, makes};
use millstream_core::protocol::{Scan, paths};
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::{Access, Created, FileLock, LocalStore, Locked, Store};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Claims that are tried before giving up: each failure means that another run claimed first.
const CLAIMS_MAX: u64 = 100;

/// Creations that are tried while the store says both that a file is there and that it is not.
const CREATIONS_MAX: u32 = 3;

/// Directories where an interrupted creation may have left a temporary file.
const SWEPT: [&str; 8] = [
    "",
    paths::OFFSETS,
    paths::COMMITS,
    "sources/0",
    paths::OURS,
    paths::LEASES,
    paths::INTENTS,
    paths::LEDGER,
];

/// An open checkpoint that this run has claimed.
#[derive(Debug)]
pub struct Checkpoint {
    store: Arc<dyn Store>,
    query: QueryId,
    run: RunId,
    epoch: Epoch,
    /// Whether this run has purged before.
    has_purged: AtomicBool,
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
        Self::open_in(local_store(dir), run, env).await
    }

    /// As [`Checkpoint::open`], in any store whose root is the checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub async fn open_in(store: Arc<dyn Store>, run: RunId, env: &SharedEnv) -> Result<Checkpoint> {
        let lock = lock(&*store).await?;
        for dir in SWEPT {
            store.sweep(dir).await?;
        }
        let query = read_or_create_metadata(&store, env).await?;
        point("P0", Moment::Inside, 0);
        let epoch = claim(&store, query, run, env).await?;
        let checkpoint = Checkpoint {
            store,
            query,
            run,
            epoch,
            has_purged: AtomicBool::new(false),
            _lock: lock,
        };
        if makes(Mistake::PurgeUnfinished) {
            checkpoint.purge(BatchId(u64::MAX), u64::MAX).await?;
        }
        Ok(checkpoint)
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

    /// P4 and P10: whether this run still has the highest epoch.
    ///
    /// # Errors
    /// `RUN_FENCED` if a newer run has claimed the checkpoint, `CHECKPOINT_GONE` if the claim of this
    /// run is there no more.
    pub async fn check_lease(&self) -> Result<()> {
        // Every name counts, not only the next one: old claims are deleted.
        let newest = paths::numbers(&self.store.list(paths::LEASES).await?).pop();
        if newest.is_some_and(|newest| newest > self.epoch.0) {
            return Err(Error::new(
                ErrorKind::Fenced,
                "RUN_FENCED",
                format!("A newer run has taken over the checkpoint {}.", self.describe()),
            )
            .cure("This run stops; do not restart it while the other one runs."));
        }
        // Only a newer claim deletes this one. Going on would fill a directory that somebody has
        // taken away, or put back from an older copy.
        if newest != Some(self.epoch.0) {
            return Err(Error::new(
                ErrorKind::Conflict,
                "CHECKPOINT_GONE",
                format!(
                    "The checkpoint {} was deleted, moved or replaced while this run used it.",
                    self.describe()
                ),
            )
            .cure(
                "The tables have every batch that was reported. Put the checkpoint back as it was, or \
                 make it anew: millstream checkpoint rebuild.",
            ));
        }
        Ok(())
    }

    /// Looks at every file that the decision about the newest batch needs (P2).
    ///
    /// # Errors
    /// What the store says.
    pub async fn scan(&self) -> Result<Scan> {
        look::scan(&*self.store).await
    }

    /// The newest identity that was stored; `None` for a new checkpoint, and for Spark's.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub async fn identity(&self) -> Result<Option<Identity>> {
        let names = self.store.list(paths::OURS).await?;
        let newest = names.iter().filter_map(|name| paths::identity_revision(name)).max();
        match newest {
            Some(revision) => self.record(&paths::identity(revision)).await,
            None => Ok(None),
        }
    }

    /// Stores an identity under its revision.
    ///
    /// # Errors
    /// `RUN_FENCED` if another run stored that revision first.
    pub async fn remember_identity(&self, identity: &Identity) -> Result<()> {
        self.create_ours(&paths::identity(identity.revision), &identity.encode()?).await
    }

    /// The starting position pinned for source `index`.
    ///
    /// # Errors
    /// `Corrupt` for a damaged file.
    pub async fn source_start(&self, index: usize) -> Result<Option<Position>> {
        let path = format!("sources/{index}/0");
        match self.store.read(&path).await? {
            None => Ok(None),
            Some(bytes) => {
                self.store.settle(&path).await?;
                let start = SourceStart::decode(&bytes).map_err(|e| e.context(self.name(&path)))?;
                twins::check(&*self.store, &path, &bytes).await?;
                Ok(Some(start.position))
            }
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
            Some(bytes) => R::decode(&bytes).map(Some).map_err(|e| e.context(self.name(path))),
        }
    }

    async fn create_ours(&self, path: &str, bytes: &[u8]) -> Result<()> {
        match create_or_find(&*self.store, path, bytes).await? {
            Placed::Created => Ok(()),
            // Two runs may complete a batch with the same bytes; only the newer one goes on.
            Placed::Same => self.check_lease().await,
            Placed::Other => Err(self.overtaken(path)),
        }
    }

    async fn create_sparks(&self, dir: &str, name: &str, bytes: &[u8]) -> Result<()> {
        // A twin left by Spark for an older file of this name would make Spark refuse the new one;
        // and a run would take the new one for damaged.
        self.store.delete(&format!("{dir}/{}", hadoop_twin(name))).await?;
        let path = format!("{dir}/{name}");
        if makes(Mistake::OverwriteOffsets) && dir == "offsets" {
            return self.store.replace(&path, bytes).await;
        }
        self.create_ours(&path, bytes).await
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

/// What is at a path after an exclusive creation.
enum Placed {
    /// This call made the file.
    Created,
    /// Exactly these bytes were there: this writer's own, where they name it.
    Same,
    /// Something else was there.
    Other,
}

/// Creates `path`. A store that retries below may answer that a path is taken where its own first
/// try took it, or where a conflict left nothing at all; so what is there decides.
async fn create_or_find(store: &dyn Store, path: &str, bytes: &[u8]) -> Result<Placed> {
    for _ in 0..CREATIONS_MAX {
        if store.create(path, bytes).await? == Created::Created {
            return Ok(Placed::Created);
        }
        match store.read(path).await? {
            Some(there) if there == bytes => {
                store.settle(path).await?;
                return Ok(Placed::Same);
            }
            Some(_) => return Ok(Placed::Other),
            None => {}
        }
    }
    Err(Error::unavailable(
        "STORE_IO",
        format!("`{}/{path}` is said to exist, and is not there.", store.describe()),
    ))
}

/// Everything rests on one of two creators of a path being told that it came second. So the claim
/// that was just made is made once more, with the same bytes, before anything is planned.
async fn refuse_liar(store: &dyn Store, epoch: Epoch, path: &str, bytes: &[u8]) -> Result<()> {
    if store.create(path, bytes).await? == Created::Exists {
        return Ok(());
    }
    // Newer runs delete old claims.
    let newest = paths::numbers(&store.list(paths::LEASES).await?).pop();
    if newest.is_some_and(|newest| newest > epoch.0) {
        return Err(in_use(&store.describe(), ""));
    }
    Err(Error::invalid(
        "STORE_UNSUITABLE",
        format!("{} created `{path}` twice, without saying that it exists.", store.describe()),
    )
    .cure("Use a store that creates a file only where there is none; nothing was written yet."))
}

/// The store of a checkpoint in a directory of a local disk. Does no I/O.
pub(crate) fn local_store(dir: &Path) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(dir, Access::Owner))
}

/// Takes the file lock, where the store has locks.
async fn lock(store: &dyn Store) -> Result<Option<FileLock>> {
    match store.try_lock(paths::LOCK).await? {
        Locked::Held(lock) => Ok(Some(lock)),
        Locked::Unsupported => Ok(None),
        Locked::Busy { holder } => Err(in_use(&store.describe(), &holder)),
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
        let metadata = Metadata::decode(&bytes)
            .map_err(|e| e.context(format!("{}/metadata", store.describe())))?;
        twins::check(&**store, "metadata", &bytes).await?;
        return Ok(metadata.id);
    }
    // A claim or an identity is younger than the `metadata` it was made under.
    for log in ["offsets", "commits", "sources", "state", paths::LEASES, paths::INTENTS] {
        if !store.list(log).await?.is_empty() {
            return Err(Error::corrupt(
                "STREAMING_CHECKPOINT_MISSING_METADATA_FILE",
                format!("{}/{log} has files, but `metadata` is missing.", store.describe()),
            )
            .cure(
                "Run `millstream checkpoint doctor`: it writes `metadata` again where another file \
                 has the id; a new id would write every record once more.",
            ));
        }
    }
    let id = QueryId(env.uuid());
    store.delete(&hadoop_twin("metadata")).await?;
    match create_or_find(&**store, "metadata", &Metadata { id }.encode()).await? {
        Placed::Created | Placed::Same => Ok(id),
        Placed::Other => Err(in_use(&store.describe(), "")),
    }
}

async fn claim(
    store: &Arc<dyn Store>,
    query: QueryId,
    run: RunId,
    env: &SharedEnv,
) -> Result<Epoch> {
    let mut least = 1;
    for _ in 0..CLAIMS_MAX {
        let names = store.list("millstream/lease").await?;
        let claims = paths::numbers(&names);
        let Some(next) = claims.last().map_or(Some(1), |newest| newest.checked_add(1)) else {
            return Err(findings::last_claim().context(store.describe()));
        };
        // A listing may lag behind what this claim has found taken.
        let epoch = Epoch(next.max(least));
        least = epoch.0.saturating_add(1);
        let process = std::process::id();
        let lease = Lease { query, epoch, run, process, claimed_ms: env.now_ms() };
        let path = paths::lease(epoch);
        let bytes = lease.encode()?;
        let placed = create_or_find(&**store, &path, &bytes).await?;
        if matches!(placed, Placed::Created | Placed::Same) {
            refuse_liar(&**store, epoch, &path, &bytes).await?;
            // Older leases say nothing any more. One is kept as history.
            for old in claims.into_iter().filter(|old| old + 1 < epoch.0) {
                match store.delete(&paths::lease(Epoch(old))).await {
                    // A directory is no claim, and in nobody's way.
                    Err(e) if e.code() == "STORE_NOT_A_DIRECTORY" => {}
                    deleted => drop(deleted?),
                }
            }
            return Ok(epoch);
        }
    }
    Err(in_use(&store.describe(), "several, one after another"))
}

#[cfg(test)]
mod tests;
