//! What a writer keeps of a table: version, protocol, metadata and how far every application is.
//! Nothing here grows with the number of files or of commits.
//!
//! Opening lists the log once. The listing shows both the newest checkpoint and the newest entry,
//! so that neither a missing nor a stale `_last_checkpoint` can hide entries; from there on the
//! log is followed by name.

use super::actions::{Metadata, Protocol, Txn};
use super::checkpoint_read::{self, Wanted};
use super::entry::{self, LightEntry};
use super::files::{LogFiles, Stamp};
use super::names::{self, LogName};
use millstream_core::{Error, Result};
use millstream_types::StructType;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

/// Openings that are begun anew because files vanished meanwhile (another engine cleans up).
const OPEN_ATTEMPTS_MAX: usize = 5;

/// How far an application is, and where the log says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenTxn {
    pub txn: Txn,
    /// The entry it was read from; `None` if it came from a checkpoint.
    pub entry: Option<u64>,
}

/// A complete classic checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointRef {
    pub version: u64,
    pub files: Vec<String>,
}

impl CheckpointRef {
    pub(crate) fn paths(&self, files: &dyn LogFiles) -> Vec<PathBuf> {
        self.files.iter().map(|name| files.dir().join(name)).collect()
    }
}

/// A table at one version.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub version: u64,
    pub protocol: Protocol,
    pub metadata: Metadata,
    pub schema: StructType,
    pub txns: HashMap<String, SeenTxn>,
    pub checkpoint: Option<CheckpointRef>,
    /// The file that shows `version`, and what it was when it was read.
    head: (String, Stamp),
}

/// What following the log found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Followed {
    /// The snapshot is at the newest version.
    UpToDate,
    /// The entry the snapshot stands on is gone or is another file: open anew.
    Lost,
}

impl Snapshot {
    /// Opens the newest version; `None` if there is no log or an empty one.
    pub(crate) fn open(files: &dyn LogFiles) -> Result<Option<Snapshot>> {
        let mut last = None;
        for _ in 0..OPEN_ATTEMPTS_MAX {
            let Some(listing) = Listing::read(files)? else { return Ok(None) };
            match open_listed(files, &listing) {
                Ok(snapshot) => return Ok(Some(snapshot)),
                Err(error) => {
                    // Files that were listed may have been cleaned up since; a listing that says
                    // the same again is the truth.
                    let again = Listing::read(files)?;
                    if again.as_ref() == Some(&listing) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("A log could not be opened.")))
    }

    /// Follows the log to its newest version.
    pub(crate) fn follow(&mut self, files: &dyn LogFiles) -> Result<Followed> {
        if files.stamp(&self.head.0)? != Some(self.head.1) {
            return Ok(Followed::Lost);
        }
        while let Some(entry) = entry::read_light(files, self.version + 1)? {
            if self.advance(files, entry)? == Followed::Lost {
                return Ok(Followed::Lost);
            }
        }
        Ok(Followed::UpToDate)
    }

    /// Takes over the next entry, which was read or has just been created.
    pub(crate) fn advance(&mut self, files: &dyn LogFiles, entry: LightEntry) -> Result<Followed> {
        let version = self.version + 1;
        let name = names::entry(version);
        let Some(stamp) = files.stamp(&name)? else { return Ok(Followed::Lost) };
        self.apply(version, entry)?;
        self.head = (name, stamp);
        Ok(Followed::UpToDate)
    }

    /// How far an application is.
    pub(crate) fn txn(&self, app_id: &str) -> Option<&SeenTxn> {
        self.txns.get(app_id)
    }

    /// The file that shows this version.
    pub(crate) fn head_name(&self) -> &str {
        &self.head.0
    }

    fn apply(&mut self, version: u64, entry: LightEntry) -> Result<()> {
        if let Some(metadata) = entry.metadata {
            self.schema = parse_schema(&format!("the entry of version {version}"), &metadata)?;
            self.metadata = metadata;
        }
        if let Some(protocol) = entry.protocol {
            self.protocol = protocol;
        }
        for txn in entry.txns {
            self.txns.insert(txn.app_id.clone(), SeenTxn { txn, entry: Some(version) });
        }
        self.version = version;
        Ok(())
    }
}

fn parse_schema(place: &str, metadata: &Metadata) -> Result<StructType> {
    StructType::from_json(&metadata.schema_string).map_err(|e| {
        Error::invalid(
            "DELTA_UNSUPPORTED_SCHEMA",
            format!("The schema in {place} cannot be used: {}", e.message()),
        )
        .cure(
            "Use a table whose types this version of Millstream knows; or restore the log from a \
             backup, where it is damaged.",
        )
    })
}

/// What a listing of the log shows.
#[derive(Debug, PartialEq, Eq)]
struct Listing {
    newest: u64,
    oldest_entry: Option<u64>,
    /// Complete classic checkpoints, newest first.
    checkpoints: Vec<CheckpointRef>,
    newest_v2: Option<u64>,
}

impl Listing {
    fn read(files: &dyn LogFiles) -> Result<Option<Listing>> {
        let Some(found) = files.names()? else { return Ok(None) };
        let (mut newest, mut oldest_entry, mut newest_v2) = (None, None, None);
        let mut complete: BTreeMap<u64, CheckpointRef> = BTreeMap::new();
        let mut parts: BTreeMap<(u64, u32), u32> = BTreeMap::new();
        for name in found {
            match names::parse(&name) {
                LogName::Entry(version) => {
                    newest = newest.max(Some(version));
                    oldest_entry = Some(oldest_entry.map_or(version, |old: u64| old.min(version)));
                }
                LogName::Checkpoint(version) => {
                    complete.insert(version, CheckpointRef { version, files: vec![name] });
                }
                LogName::CheckpointPart { version, parts: all, .. } => {
                    *parts.entry((version, all)).or_default() += 1;
                }
                LogName::CheckpointV2(version) => newest_v2 = newest_v2.max(Some(version)),
                LogName::Derived(_) | LogName::Other => {}
            }
        }
        for ((version, all), found) in parts {
            if found == all {
                complete.entry(version).or_insert_with(|| CheckpointRef {
                    version,
                    files: (1..=all)
                        .map(|part| names::checkpoint_part(version, part, all))
                        .collect(),
                });
            }
        }
        newest = newest.max(complete.keys().next_back().copied()).max(newest_v2);
        let checkpoints = complete.into_values().rev().collect();
        Ok(newest.map(|newest| Listing { newest, oldest_entry, checkpoints, newest_v2 }))
    }
}

fn open_listed(files: &dyn LogFiles, listing: &Listing) -> Result<Snapshot> {
    let mut first_error = None;
    for checkpoint in &listing.checkpoints {
        match open_from(files, listing, Some(checkpoint)) {
            Ok(snapshot) => {
                if let Some(error) = first_error {
                    tracing::warn!(%error, "an older table checkpoint is used instead");
                }
                return Ok(snapshot);
            }
            // Only a damaged checkpoint has a substitute; a damaged entry has none.
            Err(error) if error.code() == "DELTA_CHECKPOINT_CORRUPT" => {
                first_error.get_or_insert(error);
            }
            Err(error) => return Err(first_error.unwrap_or(error)),
        }
    }
    if listing.oldest_entry == Some(0) {
        return open_from(files, listing, None).map_err(|e| first_error.unwrap_or(e));
    }
    if let Some(error) = first_error {
        return Err(error);
    }
    if let Some(version) = listing.newest_v2 {
        return Err(Error::invalid(
            "DELTA_UNSUPPORTED_FEATURE",
            format!(
                "The log in `{}` needs its checkpoint of version {version}, which has the V2 form \
                 (feature `v2Checkpoint`).",
                files.dir().display()
            ),
        )
        .cure(
            "Set delta.checkpointPolicy to classic and write a checkpoint with another engine.",
        ));
    }
    Err(hole(files, 0))
}

fn open_from(
    files: &dyn LogFiles,
    listing: &Listing,
    checkpoint: Option<&CheckpointRef>,
) -> Result<Snapshot> {
    let mut state = LightEntry::default();
    let mut txns = HashMap::new();
    if let Some(checkpoint) = checkpoint {
        checkpoint_read::for_each_row(&checkpoint.paths(files), Wanted::State, |row| {
            state.metadata = row.meta_data.or(state.metadata.take());
            state.protocol = row.protocol.or(state.protocol.take());
            if let Some(txn) = row.txn {
                txns.insert(txn.app_id.clone(), SeenTxn { txn, entry: None });
            }
            Ok(())
        })?;
    }
    let mut next = checkpoint.map_or(0, |c| c.version + 1);
    let mut head = None;
    while let Some(entry) = entry::read_light(files, next)? {
        state.metadata = entry.metadata.or(state.metadata);
        state.protocol = entry.protocol.or(state.protocol);
        for txn in entry.txns {
            txns.insert(txn.app_id.clone(), SeenTxn { txn, entry: Some(next) });
        }
        head = Some(names::entry(next));
        next += 1;
    }
    if next <= listing.newest {
        return Err(hole(files, next));
    }
    let version = next.saturating_sub(1);
    // The checkpoint's own entry may have been cleaned up; then the checkpoint shows the version.
    let candidates = [head, Some(names::entry(version))].into_iter().flatten();
    let candidates = candidates.chain(checkpoint.iter().flat_map(|c| c.files.first().cloned()));
    let mut head = None;
    for name in candidates {
        if let Some(stamp) = files.stamp(&name)? {
            head = Some((name, stamp));
            break;
        }
    }
    let (Some(metadata), Some(protocol), Some(head)) = (state.metadata, state.protocol, head)
    else {
        return Err(Error::corrupt(
            "DELTA_LOG_CORRUPT",
            format!(
                "The log in `{}` has no protocol or no metaData up to version {version}.",
                files.dir().display()
            ),
        )
        .cure("Restore the log from a backup."));
    };
    let schema = parse_schema(&format!("`{}`", files.dir().display()), &metadata)?;
    let checkpoint = checkpoint.cloned();
    Ok(Snapshot { version, protocol, metadata, schema, txns, checkpoint, head })
}

fn hole(files: &dyn LogFiles, version: u64) -> Error {
    Error::corrupt(
        "DELTA_LOG_INCOMPLETE",
        format!(
            "The log in `{}` lacks entry {version}, and no checkpoint replaces it.",
            files.dir().display()
        ),
    )
    .cure("Restore the missing files; nothing is read or written past a hole.")
}
