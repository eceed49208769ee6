//! The Delta sink: plans a write, hands out writers, and commits what they staged.

use crate::commit::{self, StagedCommit, StagedTable, TableState};
use crate::log::actions::AddFile;
use crate::log::entry;
use crate::log::files::{LocalLog, LogFiles, absent_is_none};
use crate::log::names::{self, LogName};
use crate::log::snapshot::Snapshot;
use crate::maintenance::Maintenance;
use crate::mark;
use crate::options::DeltaSinkOptions;
use crate::plan::{self, ColumnSource, WritePlan};
use crate::write::{DeltaWriter, WriteConfig, WriteLimits};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use millstream_core::contract::{CommitOutcome, CommitTag, Probe, Sink, Staged};
use millstream_core::env::SharedEnv;
use millstream_core::ids::{AttemptId, BatchId, QueryId};
use millstream_core::planted::{Mistake, makes};
use millstream_core::{Error, ErrorKind, Result};
use millstream_store::{Operation, io_error};
use millstream_types::StructType;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What a batch tells about itself when it is staged.
#[derive(Debug, Clone, Default)]
pub struct StageInfo {
    /// Records read.
    pub rows_in: u64,
    /// Rows written.
    pub rows_out: u64,
    /// The ranges of the sources that changed, for `verify`.
    pub ranges: Value,
}

/// A Delta table as the sink of one query. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DeltaSink {
    inner: Arc<Inner>,
}

struct Inner {
    options: DeltaSinkOptions,
    files: Arc<dyn LogFiles>,
    env: SharedEnv,
    plan: WritePlan,
    write: Arc<WriteConfig>,
    state: Mutex<TableState>,
    maintenance: Maintenance,
}

impl DeltaSink {
    /// Checks that rows of `query` can be written to the table, and plans how. Nothing is
    /// written; a new table is created by the first commit. Blocks.
    ///
    /// # Errors
    /// `DELTA_NOT_A_TABLE`, `DELTA_TABLE_NOT_FOUND`, `DELTA_UNSUPPORTED_FEATURE`,
    /// `DELTA_UNSUPPORTED_TRANSACTION_RETENTION`, `DELTA_EMPTY_DATA`,
    /// `DELTA_NULL_SCHEMA_IN_STREAMING_WRITE`, `DELTA_DUPLICATE_COLUMNS_FOUND`,
    /// `DELTA_INVALID_CHARACTERS_IN_COLUMN_NAMES`, `DELTA_SCHEMA_MISMATCH`,
    /// `DELTA_FAILED_TO_MERGE_FIELDS`, `DELTA_MISSING_NOT_NULL_COLUMN_VALUE`,
    /// `DELTA_PARTITION_MISMATCH`, `DELTA_PARTITION_COLUMN_NOT_FOUND`,
    /// `DELTA_INVALID_PARTITION_COLUMN_TYPE`, `DELTA_CANNOT_USE_ALL_COLUMNS_FOR_PARTITION`,
    /// `DELTA_UNKNOWN_CONFIGURATION`, `DELTA_INVALID_PROPERTY`, and what reading the log finds.
    pub fn prepare(
        options: DeltaSinkOptions,
        query: &StructType,
        env: SharedEnv,
    ) -> Result<DeltaSink> {
        let path = std::path::absolute(&options.path)
            .map_err(|e| io_error(Operation::Read, &options.path, e))?;
        let options = DeltaSinkOptions { path, ..options };
        let files = Arc::new(LocalLog::new(&options.path));
        Self::prepare_with(options, query, env, files)
    }

    /// As [`DeltaSink::prepare`], over a log that a test can make fail.
    ///
    /// # Errors
    /// Those of [`DeltaSink::prepare`].
    pub fn prepare_with(
        options: DeltaSinkOptions,
        query: &StructType,
        env: SharedEnv,
        files: Arc<dyn LogFiles>,
    ) -> Result<DeltaSink> {
        let snapshot = Snapshot::open(&*files)?;
        if snapshot.is_none() {
            refuse_foreign_directory(&options.path)?;
        }
        let plan = plan::plan(snapshot.as_ref(), &options, query, &*env)?;
        let limits = WriteLimits {
            max_records_per_file: options.max_records_per_file,
            target_file_bytes: options.target_file_bytes,
        };
        let write = WriteConfig::new(
            options.path.clone(),
            Arc::clone(&env),
            plan.schema.clone(),
            &plan.partition_columns,
            &plan.properties,
            &limits,
        )?;
        let table_id = snapshot.as_ref().map(|s| s.metadata.id.clone());
        let seen = snapshot.as_ref().map(|s| s.version);
        Ok(DeltaSink {
            inner: Arc::new(Inner {
                options,
                files,
                env,
                plan,
                write: Arc::new(write),
                state: Mutex::new(TableState { snapshot, table_id, seen, broken: None }),
                maintenance: Maintenance::default(),
            }),
        })
    }

    /// The table's directory, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.options.path
    }

    /// The Arrow schema of the batches that writers take: the table's columns in the table's
    /// order, all nullable.
    pub fn input_schema(&self) -> SchemaRef {
        Arc::clone(&self.inner.write.input_schema)
    }

    /// The table's schema, with the columns that this write adds.
    pub fn table_schema(&self) -> &StructType {
        &self.inner.plan.schema
    }

    /// What each column of [`DeltaSink::input_schema`] is filled with.
    pub fn columns(&self) -> &[ColumnSource] {
        &self.inner.plan.columns
    }

    /// The partition columns.
    pub fn partition_columns(&self) -> &[String] {
        &self.inner.plan.partition_columns
    }

    /// The table's id; `None` until it exists.
    pub fn table_id(&self) -> Option<String> {
        self.inner.state.lock().table_id.clone()
    }

    /// The newest version of the table that this sink has seen; `None` until it exists.
    pub fn version(&self) -> Option<u64> {
        self.inner.state.lock().seen
    }

    /// A writer of data files for one task of an attempt. Does no I/O.
    pub fn writer(&self, attempt: AttemptId, task: usize) -> DeltaWriter {
        DeltaWriter::new(Arc::clone(&self.inner.write), attempt, task)
    }

    /// Refuses rows that a writer would refuse for what they hold. Does no I/O.
    ///
    /// # Errors
    /// As [`DeltaWriter::check`].
    pub fn check(&self, rows: &RecordBatch) -> Result<()> {
        self.writer(AttemptId(uuid::Uuid::nil()), 0).check(rows)
    }

    /// What has to be kept so that any process can commit these files.
    pub fn stage(&self, files: Vec<AddFile>, info: StageInfo) -> Staged {
        let inner = &self.inner;
        let table_id = inner.state.lock().table_id.clone();
        let create = match (&table_id, &inner.plan.create) {
            (None, Some(new)) => {
                Some(StagedTable { protocol: new.protocol.clone(), metadata: new.metadata.clone() })
            }
            _ => None,
        };
        let staged = StagedCommit {
            format: StagedCommit::FORMAT,
            table_id,
            create,
            schema_string: inner.plan.schema.to_json(),
            partition_columns: inner.plan.partition_columns.clone(),
            merge_schema: inner.options.merge_schema,
            user_metadata: inner.options.user_metadata.clone(),
            rows_in: info.rows_in,
            rows_out: info.rows_out,
            ranges: info.ranges,
            adds: files,
        };
        Staged(serde_json::to_value(staged).unwrap_or(Value::Null))
    }

    /// Waits for a table checkpoint that is being written beside the stream.
    ///
    /// # Errors
    /// What ended it; the table is whole without it.
    pub async fn finish_maintenance(&self) -> Result<()> {
        self.inner.maintenance.finish().await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|e| Error::internal("A step of the Delta sink did not end.").caused_by(e))?
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeltaSink").field("path", &self.options.path).finish_non_exhaustive()
    }
}

impl Inner {
    fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        let mut state = self.state.lock();
        state.catch_up(&*self.files)?;
        let Some(snapshot) = &state.snapshot else { return Ok(Probe::Absent) };
        let (seen, mark) = (snapshot.txn(&query.to_string()), snapshot.txn(&mark::app_id(query)));
        // One entry has both, and other engines write the first only: a mark that is younger than
        // the number it belongs to says that the number is damaged.
        if let Some(entry) = mark.and_then(|mark| mark.entry)
            && seen.and_then(|seen| seen.entry).is_none_or(|seen| seen < entry)
        {
            return Err(self.number_missing(query, entry));
        }
        let Some(seen) = seen else { return Ok(Probe::Absent) };
        let wanted = mark::version_of(batch);
        if seen.txn.version < wanted {
            return Ok(Probe::Absent);
        }
        // Whoever committed may have died before the entry was durable; nobody may build on it
        // before it is.
        let entry_name = seen.entry.map(names::entry);
        self.files.settle(entry_name.as_deref().unwrap_or_else(|| snapshot.head_name()))?;
        if seen.txn.version > wanted {
            let newest = BatchId(u64::try_from(seen.txn.version).unwrap_or(0));
            return Ok(Probe::Ahead { newest });
        }
        let digest_low_48 = mark.and_then(|m| mark::decode(m.txn.version, batch));
        let attempt = match (seen.entry, digest_low_48) {
            (Some(version), Some(_)) => attempt_of(&*self.files, version)?,
            _ => None,
        };
        Ok(Probe::Committed { attempt, digest_low_48 })
    }

    fn number_missing(&self, query: QueryId, entry: u64) -> Error {
        let path = self.options.path.join("_delta_log").join(names::entry(entry));
        Error::corrupt(
            "DELTA_LOG_CORRUPT",
            format!(
                "The log entry `{}` is damaged: it has the mark of query {query}, and not the \
                 batch's number.",
                path.display()
            ),
        )
        .cure("Restore the file from a backup; the batch is not written again on a guess.")
    }

    fn commit(&self, tag: &CommitTag, staged: &Value) -> Result<CommitOutcome> {
        let staged = StagedCommit::parse(staged)?;
        let mut state = self.state.lock();
        state.catch_up(&*self.files)?;
        let app_id = tag.query.to_string();
        let newest = state.snapshot.as_ref().and_then(|s| s.txn(&app_id));
        if newest.is_none_or(|seen| seen.txn.version < mark::version_of(tag.batch)) {
            self.check_staged_files(&staged)?;
        }
        let outcome = commit::commit(&*self.files, &*self.env, &mut state, tag, &staged)?;
        if makes(Mistake::DeleteStagedOnDoubt) && matches!(outcome, CommitOutcome::Unknown(_)) {
            for add in &staged.adds {
                let _ = fs::remove_file(add.local_path(&self.options.path)?);
            }
        }
        Ok(outcome)
    }

    fn check_staged_files(&self, staged: &StagedCommit) -> Result<()> {
        for add in &staged.adds {
            if !is_whole(&self.options.path, add)? {
                let path = add.local_path(&self.options.path)?;
                return Err(Error::corrupt(
                    "DELTA_STAGED_FILE_MISSING",
                    format!(
                        "The staged data file `{}` is missing or has another size.",
                        path.display()
                    ),
                )
                .cure(
                    "Restore the file; or start again: an attempt that no table has is executed anew.",
                ));
            }
        }
        Ok(())
    }
}

/// Whether every file that was staged for the table in the directory `table` is there, as long as
/// it was written; also before there is a table.
///
/// # Errors
/// `STORE_IO` if the disk does not answer.
pub fn staged_is_complete(table: &Path, staged: &Staged) -> Result<bool> {
    let Ok(staged) = serde_json::from_value::<StagedCommit>(staged.0.clone()) else {
        return Ok(false);
    };
    for add in &staged.adds {
        if !is_whole(table, add)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a staged file is there, as long as it was written.
fn is_whole(table: &Path, add: &AddFile) -> Result<bool> {
    let path = add.local_path(table)?;
    let found = absent_is_none(fs::metadata(&path), &path)?;
    Ok(found.map(|f| f.len()) == u64::try_from(add.size).ok())
}

/// The attempt that made an entry, where the entry is still there and says so.
fn attempt_of(files: &dyn LogFiles, version: u64) -> Result<Option<AttemptId>> {
    let Some(entry) = entry::read_full(files, version)? else { return Ok(None) };
    let attempt = entry.commit_info.and_then(|mut info| {
        let attempt = info.get_mut("millstream")?.get_mut("attempt")?.take();
        serde_json::from_value(attempt).ok()
    });
    Ok(attempt)
}

/// Refuses a place that holds something else than a table.
fn refuse_foreign_directory(path: &Path) -> Result<()> {
    let not_a_table = |what: &str| {
        Error::invalid("DELTA_NOT_A_TABLE", format!("`{}` {what}.", path.display()))
            .cure("Choose an empty directory, or one that does not exist yet.")
    };
    let Some(found) = absent_is_none(fs::metadata(path), path)? else { return Ok(()) };
    if !found.is_dir() {
        return Err(not_a_table("is a file, not a Delta table"));
    }
    // A log directory without entries is where a first batch was about to be committed.
    let log = path.join("_delta_log");
    if let Some(entries) = absent_is_none(fs::read_dir(&log), &log)? {
        for entry in entries {
            let entry = entry.map_err(|e| io_error(Operation::Read, &log, e))?;
            if names::parse(&entry.file_name().to_string_lossy()) != LogName::Other {
                return Err(not_a_table("has a log without entries"));
            }
        }
        return Ok(());
    }
    let mut entries = fs::read_dir(path).map_err(|e| io_error(Operation::Read, path, e))?;
    let foreign = entries.find_map(|entry| {
        let name = entry.ok()?.file_name().to_string_lossy().into_owned();
        (!name.starts_with(['.', '_'])).then_some(name)
    });
    match foreign {
        None => Ok(()),
        Some(name) => Err(not_a_table(&format!(
            "is not a Delta table, but holds other files, such as `{name}`"
        ))),
    }
}

#[async_trait]
impl Sink for DeltaSink {
    fn describe(&self) -> String {
        format!("DeltaSink[file:{}]", self.inner.options.path.display())
    }

    async fn staged_is_complete(&self, staged: &Staged) -> Result<bool> {
        let staged = staged.clone();
        self.blocking(move |inner| staged_is_complete(&inner.options.path, &staged)).await
    }

    fn identity(&self) -> Value {
        json!({
            "kind": "delta",
            "path": self.inner.options.path.display().to_string(),
            "tableId": self.table_id(),
        })
    }

    fn is_exactly_once(&self) -> bool {
        true
    }

    async fn probe(&self, query: QueryId, batch: BatchId) -> Result<Probe> {
        self.blocking(move |inner| inner.probe(query, batch)).await
    }

    async fn commit(&self, tag: &CommitTag, staged: &Staged) -> Result<CommitOutcome> {
        let (tag, staged) = (tag.clone(), staged.clone());
        self.blocking(move |inner| {
            // Others changed the table: with several sinks it has to be said which one.
            let place = inner.options.path.display().to_string();
            inner.commit(&tag, &staged.0).map_err(|error| {
                let is_named = error.message().contains(&place);
                match error.kind() == ErrorKind::Conflict && !is_named {
                    true => error.context(place),
                    false => error,
                }
            })
        })
        .await
    }

    async fn after_completion(&self) -> Result<()> {
        let snapshot = self.inner.state.lock().snapshot.clone();
        match snapshot {
            Some(snapshot) => {
                let (files, env) = (Arc::clone(&self.inner.files), Arc::clone(&self.inner.env));
                self.inner.maintenance.run(files, env, snapshot).await
            }
            None => Ok(()),
        }
    }
}
