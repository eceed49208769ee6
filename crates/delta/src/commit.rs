//! One commit: what is staged for it, the lines of its entry, and the loop that creates it.
//!
//! The entry is created exclusively at the version after the newest one that this process knows
//! and has just looked at again; whoever creates it has committed. What other writers did since
//! the data was written is checked on the state right before each try, so that a lost race is
//! nothing more than another look.

use crate::features;
use crate::log::actions::{Action, AddFile, Metadata, Protocol, Txn};
use crate::log::entry::LightEntry;
use crate::log::files::LogFiles;
use crate::log::names;
use crate::log::snapshot::{Followed, Snapshot};
use crate::mark;
use crate::schema;
use millstream_core::contract::{CommitOutcome, CommitTag};
use millstream_core::env::Env;
use millstream_core::fault::{Moment, point};
use millstream_core::planted::{Mistake, makes};
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::Created;
use millstream_types::StructType;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Lost races after which a commit gives up; each costs one small read.
const COMMIT_ATTEMPTS_MAX: u32 = 200;
/// Lost races that are tried again at once.
const EAGER_ATTEMPTS: u32 = 4;
/// Longest pause between two tries, in milliseconds.
const PAUSE_MS_MAX: u64 = 64;

/// Version of the staged form.
const STAGED_FORMAT: u32 = 1;

/// Who commits, in `commitInfo`.
pub(crate) const ENGINE_INFO: &str = concat!("Millstream/", env!("CARGO_PKG_VERSION"));

/// The table that a commit creates if there is none.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StagedTable {
    pub protocol: Protocol,
    pub metadata: Metadata,
}

/// Everything a later process needs to commit without executing the batch again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StagedCommit {
    pub format: u32,
    /// The table the files were written for; `None` if it did not exist.
    pub table_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create: Option<StagedTable>,
    /// Schema of the rows in the files, as StructType JSON.
    pub schema_string: String,
    pub partition_columns: Vec<String>,
    pub merge_schema: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_metadata: Option<String>,
    pub rows_in: u64,
    pub rows_out: u64,
    pub ranges: Value,
    pub adds: Vec<AddFile>,
}

impl StagedCommit {
    pub(crate) const FORMAT: u32 = STAGED_FORMAT;

    /// Reads the staged form.
    ///
    /// # Errors
    /// `DELTA_STAGED_INVALID`, `DELTA_STAGED_FORMAT`.
    pub(crate) fn parse(value: &Value) -> Result<StagedCommit> {
        let staged: StagedCommit = serde_json::from_value(value.clone()).map_err(|e| {
            Error::corrupt("DELTA_STAGED_INVALID", "The staged commit cannot be read.")
                .caused_by(e)
                .cure("Restore the checkpoint's prepared folder from a backup.")
        })?;
        if staged.format != STAGED_FORMAT {
            return Err(Error::invalid(
                "DELTA_STAGED_FORMAT",
                format!("The staged commit has format {}, not {STAGED_FORMAT}.", staged.format),
            )
            .cure("Finish the batch with the version of Millstream that began it."));
        }
        Ok(staged)
    }
}

/// The state of a table as its writer follows it.
#[derive(Debug, Default)]
pub(crate) struct TableState {
    pub snapshot: Option<Snapshot>,
    /// The table this writer belongs to, once it is known.
    pub table_id: Option<String>,
    /// The newest version that was ever seen.
    pub seen: Option<u64>,
    /// Why nothing more is committed: the log contradicts what it said before.
    pub broken: Option<Error>,
}

impl TableState {
    /// Goes to the newest version, and makes sure that it is still the same table.
    ///
    /// # Errors
    /// `DELTA_TABLE_REPLACED`, or what reading the log finds.
    pub(crate) fn catch_up(&mut self, files: &dyn LogFiles) -> Result<()> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let followed = match &mut self.snapshot {
            Some(snapshot) => snapshot.follow(files),
            None => Ok(Followed::Lost),
        };
        match followed {
            Ok(Followed::UpToDate) => {}
            Ok(Followed::Lost) => {
                let opened = Snapshot::open(files)?;
                self.broken = contradiction(files, self.snapshot.as_ref(), opened.as_ref());
                self.snapshot = opened;
                if let Some(error) = &self.broken {
                    return Err(error.clone());
                }
            }
            Err(error) => {
                self.snapshot = None;
                return Err(error);
            }
        }
        let version = self.snapshot.as_ref().map(|s| s.version);
        let found = self.snapshot.as_ref().map(|s| s.metadata.id.as_str());
        if found.is_some() && found == self.table_id.as_deref() && version < self.seen {
            return Err(went_back(files, self.seen.unwrap_or(0), version.unwrap_or(0)));
        }
        self.seen = version.or(self.seen);
        match (&self.table_id, found) {
            (Some(expected), found) if found != Some(expected.as_str()) => {
                let found =
                    found.map_or("there is none now".to_owned(), |id| format!("it is {id} now"));
                Err(Error::new(
                    ErrorKind::Conflict,
                    "DELTA_TABLE_REPLACED",
                    format!(
                        "The table at `{}` had the id {expected}; {found}.",
                        files.dir().display()
                    ),
                )
                .cure("Restore the table, or start the query over with a new checkpoint."))
            }
            (None, Some(found)) => {
                self.table_id = Some(found.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// An entry that was there and is another one now: its writer's `txn` is gone with it. Writers
/// that rename over existing entries do this.
fn contradiction(
    files: &dyn LogFiles,
    before: Option<&Snapshot>,
    now: Option<&Snapshot>,
) -> Option<Error> {
    let (before, now) = (before?, now?);
    if before.metadata.id != now.metadata.id || before.version > now.version {
        return None;
    }
    let lost = before
        .txns
        .values()
        .filter(|seen| seen.entry == Some(before.version) && !mark::is_mark(&seen.txn.app_id))
        .find(|seen| {
            now.txn(&seen.txn.app_id).is_none_or(|now| now.txn.version < seen.txn.version)
        })?;
    Some(
        Error::corrupt(
            "DELTA_LOG_ENTRY_REPLACED",
            format!(
                "Entry {} of the log in `{}` was replaced by another writer: the commit {} of \
                 application {} was in it and is gone.",
                before.version,
                files.dir().display(),
                lost.txn.version,
                lost.txn.app_id
            ),
        )
        .cure("Stop writers that do not create entries exclusively, and restore the entry."),
    )
}

fn went_back(files: &dyn LogFiles, seen: u64, found: u64) -> Error {
    Error::corrupt(
        "DELTA_LOG_WENT_BACK",
        format!(
            "The log in `{}` was at version {seen} and ends at version {found} now.",
            files.dir().display()
        ),
    )
    .cure("Restore the missing entries; a commit here would take the place of a lost one.")
}

/// Creates the entry of `staged`.
///
/// # Errors
/// An error means that nothing was committed.
pub(crate) fn commit(
    files: &dyn LogFiles,
    env: &dyn Env,
    state: &mut TableState,
    tag: &CommitTag,
    staged: &StagedCommit,
) -> Result<CommitOutcome> {
    let written =
        StructType::from_json(&staged.schema_string).map_err(|e| e.context("the staged schema"))?;
    for attempt in 0..COMMIT_ATTEMPTS_MAX {
        pause(env, attempt);
        state.catch_up(files)?;
        let app_id = tag.query.to_string();
        let newest = state.snapshot.as_ref().and_then(|s| s.txn(&app_id));
        let blind = makes(Mistake::BlindRepeat) || makes(Mistake::UnknownIsAbsent);
        if !blind && newest.is_some_and(|seen| seen.txn.version >= mark::version_of(tag.batch)) {
            return Ok(CommitOutcome::AlreadyThere);
        }
        let entry = plan_entry(state.snapshot.as_ref(), env, tag, staged, &written)?;
        // CRASH: dying here leaves data files that no entry names; dying after the creation leaves
        // a commit that the next run finds by its txn.
        match files.create(&names::entry(entry.version), &entry.bytes) {
            Ok(Created::Created) => {
                point("P11", Moment::Inside, tag.batch.0);
                let version = entry.version;
                landed(files, state, entry, &staged.create);
                return Ok(CommitOutcome::Committed { version });
            }
            Ok(Created::Exists) => {
                tracing::debug!(version = entry.version, attempt, "another writer was first");
            }
            Err(error) => return doubt(files, &entry, error),
        }
    }
    Err(Error::unavailable(
        "DELTA_COMMIT_RETRIES_EXHAUSTED",
        format!(
            "Other writers of `{}` were first {COMMIT_ATTEMPTS_MAX} times in a row.",
            files.dir().display()
        ),
    )
    .cure("Start the query again, with less concurrent writing; the batch is kept."))
}

/// Takes over the entry that was just created. Failing here loses nothing: the next look reads it.
fn landed(
    files: &dyn LogFiles,
    state: &mut TableState,
    entry: PlannedEntry,
    create: &Option<StagedTable>,
) {
    state.seen = Some(entry.version);
    let followed = match &mut state.snapshot {
        Some(snapshot) => snapshot.advance(files, entry.light),
        None => Ok(Followed::Lost),
    };
    if !matches!(followed, Ok(Followed::UpToDate)) {
        state.snapshot = None;
        if let (None, Some(table)) = (&state.table_id, create) {
            state.table_id = Some(table.metadata.id.clone());
        }
    }
}

/// What an error of the creation means: usually that nobody knows.
fn doubt(files: &dyn LogFiles, entry: &PlannedEntry, error: Error) -> Result<CommitOutcome> {
    let refused = matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Exhausted);
    let name = names::entry(entry.version);
    if refused && files.read(&name).is_ok_and(|found| found.is_none_or(|f| f != entry.bytes)) {
        return Err(error);
    }
    Ok(CommitOutcome::Unknown(error))
}

fn pause(env: &dyn Env, attempt: u32) {
    if attempt >= EAGER_ATTEMPTS {
        std::thread::sleep(pause_of(attempt, env.uuid().as_fields().0));
    }
}

/// A random share of a span that doubles with each attempt.
fn pause_of(attempt: u32, random: u32) -> Duration {
    let doublings = attempt.saturating_sub(EAGER_ATTEMPTS).saturating_add(1);
    let most = 1u64.checked_shl(doublings).unwrap_or(u64::MAX).min(PAUSE_MS_MAX);
    Duration::from_millis(u64::from(random) % most + 1)
}

struct PlannedEntry {
    version: u64,
    bytes: Vec<u8>,
    light: LightEntry,
}

/// The entry that commits `staged` on top of `table`.
fn plan_entry(
    table: Option<&Snapshot>,
    env: &dyn Env,
    tag: &CommitTag,
    staged: &StagedCommit,
    written: &StructType,
) -> Result<PlannedEntry> {
    let (metadata, protocol) = match table {
        Some(table) => (rebase(table, staged, written)?, None),
        None => {
            let create = staged.create.as_ref().ok_or_else(table_is_gone)?;
            (Some(create.metadata.clone()), Some(create.protocol.clone()))
        }
    };
    let now = env.now_ms();
    let txns = [
        Txn {
            app_id: tag.query.to_string(),
            version: mark::version_of(tag.batch),
            last_updated: Some(now),
        },
        Txn {
            app_id: mark::app_id(tag.query),
            version: mark::encode(tag.batch, tag.digest),
            last_updated: Some(now),
        },
    ];
    let info = commit_info(table.map(|t| t.version), now, tag, staged);
    let mut actions = vec![Action::CommitInfo(&info)];
    actions.extend(metadata.as_ref().map(Action::MetaData));
    actions.extend(protocol.as_ref().map(Action::Protocol));
    actions.extend(txns.iter().map(Action::Txn));
    actions.extend(staged.adds.iter().map(Action::Add));
    let mut bytes = Vec::with_capacity(1024 + 512 * staged.adds.len());
    for action in &actions {
        serde_json::to_writer(&mut bytes, action)
            .map_err(|e| Error::internal("A log action cannot be written.").caused_by(e))?;
        bytes.push(b'\n');
    }
    let version = table.map_or(0, |t| t.version + 1);
    let light = LightEntry { metadata, protocol, txns: txns.into() };
    Ok(PlannedEntry { version, bytes, light })
}

/// Checks the staged files against the table as it is now; answers the metadata to write, if the
/// commit adds columns.
fn rebase(
    table: &Snapshot,
    staged: &StagedCommit,
    written: &StructType,
) -> Result<Option<Metadata>> {
    if staged.table_id.as_ref().is_some_and(|id| *id != table.metadata.id) {
        return Err(changed("it was replaced by another table"));
    }
    features::check_writable(&table.protocol, &table.metadata, &table.schema)?;
    if staged.partition_columns != table.metadata.partition_columns {
        return Err(changed("its partition columns are different"));
    }
    if schema::fits(written, &table.schema) {
        return Ok(None);
    }
    if !staged.merge_schema {
        return Err(changed("its schema is different"));
    }
    let merged = schema::merge(&table.schema, written);
    if !schema::fits(written, &merged) {
        return Err(changed("its schema is different"));
    }
    let metadata = Metadata { schema_string: merged.to_json(), ..table.metadata.clone() };
    features::check_writable(&table.protocol, &metadata, &merged)?;
    Ok(Some(metadata))
}

fn changed(how: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        "DELTA_METADATA_CHANGED",
        format!("The table was changed while the batch was written: {how}."),
    )
    .cure("Start the query again: the batch is then planned for the table as it is now.")
}

fn table_is_gone() -> Error {
    Error::new(
        ErrorKind::Conflict,
        "DELTA_TABLE_REPLACED",
        "The table that the batch was written for is gone.",
    )
    .cure("Restore the table, or start the query over with a new checkpoint.")
}

/// Spark's `commitInfo` of a streaming append, with ours under `millstream`.
fn commit_info(
    read_version: Option<u64>,
    now: i64,
    tag: &CommitTag,
    staged: &StagedCommit,
) -> Value {
    let bytes: i64 = staged.adds.iter().map(|add| add.size).sum();
    let mut info = json!({
        "timestamp": now,
        "operation": "STREAMING UPDATE",
        "operationParameters": {
            "outputMode": "Append",
            "queryId": tag.query.to_string(),
            "epochId": tag.batch.to_string(),
        },
    });
    if let Some(version) = read_version {
        info["readVersion"] = json!(version);
    }
    info["isolationLevel"] = json!("Serializable");
    info["isBlindAppend"] = json!(true);
    info["operationMetrics"] = json!({
        "numRemovedFiles": "0",
        "numOutputRows": staged.rows_out.to_string(),
        "numOutputBytes": bytes.to_string(),
        "numAddedFiles": staged.adds.len().to_string(),
    });
    if let Some(text) = &staged.user_metadata {
        info["userMetadata"] = json!(text);
    }
    info["engineInfo"] = json!(ENGINE_INFO);
    info["txnId"] = json!(tag.attempt.to_string());
    info["millstream"] = json!({
        "attempt": tag.attempt,
        "digest": tag.digest,
        "previous": tag.previous,
        "epoch": tag.epoch,
        "ranges": staged.ranges,
        "rowsIn": staged.rows_in,
        "rowsOut": staged.rows_out,
    });
    info
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;
    use uuid::Uuid;

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        for (attempt, random, ms) in [
            (4, 0, 1),
            (4, 1, 2),
            (4, 2, 1),
            (5, 3, 4),
            (5, 4, 1),
            (9, 63, 64),
            (10, 63, 64),
            (10, 64, 1),
            (199, 200, 9),
        ] {
            let pause = pause_of(attempt, random);
            assert_eq!(pause, Duration::from_millis(ms), "{attempt}, {random}");
        }
    }

    #[test]
    fn the_first_lost_races_are_tried_again_at_once() {
        #[derive(Debug, Default)]
        struct Counted(AtomicU32);
        impl Env for Counted {
            fn now_ms(&self) -> i64 {
                0
            }
            fn uuid(&self) -> Uuid {
                self.0.fetch_add(1, Ordering::SeqCst);
                Uuid::from_fields(63, 0, 0, &[0; 8])
            }
        }
        let env = Counted::default();
        (0..EAGER_ATTEMPTS).for_each(|attempt| pause(&env, attempt));
        assert_eq!(env.0.load(Ordering::SeqCst), 0);
        let started = Instant::now();
        pause(&env, 20);
        assert!(started.elapsed() >= Duration::from_millis(64));
        pause(&env, EAGER_ATTEMPTS);
        assert_eq!(env.0.load(Ordering::SeqCst), 2);
    }
}
