//! Writing classic checkpoints: the previous one, streamed, with the entries since it applied.
//!
//! Memory grows with the entries since the previous checkpoint, not with the table. A `txn` is
//! never dropped: it is what keeps a batch from being written twice.

use super::actions::{FileKey, RemoveFile, Row};
use super::checkpoint_read::{self, Wanted};
use super::entry;
use super::files::LogFiles;
use super::names;
use super::snapshot::{CheckpointRef, Snapshot};
use crate::properties;
use arrow::json::ReaderBuilder;
use arrow::json::reader::Decoder;
use millstream_core::{Error, Result};
use millstream_store::durable::{self, Access};
use millstream_store::{Operation, io_error};
use millstream_types::StructType;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

/// Rows encoded at a time.
const BATCH_ROWS: usize = 1024;
/// Rows of one row group: what waits in memory, encoded.
const ROW_GROUP_ROWS: usize = 16 * BATCH_ROWS;

/// The columns of a checkpoint, as the protocol names them.
const COLUMNS: &str = "
txn STRUCT<appId: STRING, version: BIGINT, lastUpdated: BIGINT>,
add STRUCT<path: STRING, partitionValues: MAP<STRING, STRING>, size: BIGINT,
    modificationTime: BIGINT, dataChange: BOOLEAN, tags: MAP<STRING, STRING>, stats: STRING,
    deletionVector: STRUCT<storageType: STRING, pathOrInlineDv: STRING, offset: INT,
        sizeInBytes: INT, cardinality: BIGINT>>,
remove STRUCT<path: STRING, deletionTimestamp: BIGINT, dataChange: BOOLEAN,
    extendedFileMetadata: BOOLEAN, partitionValues: MAP<STRING, STRING>, size: BIGINT,
    tags: MAP<STRING, STRING>,
    deletionVector: STRUCT<storageType: STRING, pathOrInlineDv: STRING, offset: INT,
        sizeInBytes: INT, cardinality: BIGINT>>,
metaData STRUCT<id: STRING, name: STRING, description: STRING,
    format: STRUCT<provider: STRING, options: MAP<STRING, STRING>>, schemaString: STRING,
    partitionColumns: ARRAY<STRING>, createdTime: BIGINT, configuration: MAP<STRING, STRING>>,
protocol STRUCT<minReaderVersion: INT, minWriterVersion: INT, readerFeatures: ARRAY<STRING>,
    writerFeatures: ARRAY<STRING>>";

/// A checkpoint that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub checkpoint: CheckpointRef,
    pub live_files: u64,
}

/// Writes the checkpoint of `snapshot`, starting from `base`, and the hint that names it.
///
/// # Errors
/// What reading the log finds or the disk says. The table is as good as before.
pub(crate) fn write(
    files: &dyn LogFiles,
    snapshot: &Snapshot,
    base: Option<&CheckpointRef>,
    now_ms: i64,
    id: Uuid,
) -> Result<Written> {
    let name = names::checkpoint(snapshot.version);
    let temporary = files.dir().join(format!(".{name}.{id}.tmp"));
    let result = encode(files, snapshot, base, now_ms, &temporary).and_then(|counts| {
        publish(&temporary, &files.dir().join(&name)).map(|size| (counts, size))
    });
    let _ = fs::remove_file(&temporary);
    let (counts, size) = result?;
    let hint = json!({
        "version": snapshot.version,
        "size": counts.actions,
        "sizeInBytes": size,
        "numOfAddFiles": counts.live_files,
    });
    let hint_path = files.dir().join(names::LAST_CHECKPOINT);
    durable::replace(&hint_path, hint.to_string().as_bytes(), Access::Umask)?;
    Ok(Written {
        checkpoint: CheckpointRef { version: snapshot.version, files: vec![name] },
        live_files: counts.live_files,
    })
}

/// The checkpoint that `_last_checkpoint` names, if it is a classic one and there.
pub(crate) fn hinted(files: &dyn LogFiles) -> Result<Option<Written>> {
    let Some(bytes) = files.read(names::LAST_CHECKPOINT)? else { return Ok(None) };
    let Ok(hint) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
    let Some(version) = hint.get("version").and_then(Value::as_u64) else { return Ok(None) };
    let parts = match hint.get("parts") {
        None | Some(Value::Null) => None,
        // No parts would be a table without files; so many that they are no number, neither.
        Some(parts) => match parts.as_u64().and_then(|n| u32::try_from(n).ok()) {
            Some(parts) if parts > 0 => Some(parts),
            _ => return Ok(None),
        },
    };
    let mut names = Vec::new();
    for part in 1..=parts.unwrap_or(1) {
        let name = match parts {
            Some(all) => names::checkpoint_part(version, part, all),
            None => names::checkpoint(version),
        };
        // Looked for one by one: a damaged number of parts must not fill the memory.
        if files.stamp(&name)?.is_none() {
            return Ok(None);
        }
        names.push(name);
    }
    let live_files = hint.get("numOfAddFiles").and_then(Value::as_u64).unwrap_or(0);
    Ok(Some(Written { checkpoint: CheckpointRef { version, files: names }, live_files }))
}

/// Gives the file its name; a checkpoint that another engine wrote meanwhile says the same.
fn publish(temporary: &Path, path: &Path) -> Result<u64> {
    let failed = |e| io_error(Operation::Write, path, e);
    match fs::hard_link(temporary, path) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(failed(e)),
    }
    if let Some(dir) = path.parent() {
        durable::fsync_dir(dir)?;
    }
    Ok(fs::metadata(path).map_err(failed)?.len())
}

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    actions: u64,
    live_files: u64,
}

fn encode(
    files: &dyn LogFiles,
    snapshot: &Snapshot,
    base: Option<&CheckpointRef>,
    now_ms: i64,
    path: &Path,
) -> Result<Counts> {
    let retention = properties::duration_ms(
        &snapshot.metadata.configuration,
        "delta.deletedFileRetentionDuration",
        7,
    );
    let oldest_tombstone = now_ms.saturating_sub(retention);
    let tail = tail_of(files, snapshot, base)?;
    let mut out = Encoder::create(path)?;
    out.push(Row { protocol: Some(snapshot.protocol.clone()), ..Row::default() })?;
    out.push(Row { meta_data: Some(snapshot.metadata.clone()), ..Row::default() })?;
    for seen in snapshot.txns.values() {
        out.push(Row { txn: Some(seen.txn.clone()), ..Row::default() })?;
    }
    if let Some(base) = base {
        checkpoint_read::for_each_row(&base.paths(files), Wanted::Files, |row| {
            let key = row.add.as_ref().map(|a| a.key()).or(row.remove.as_ref().map(|r| r.key()));
            match key {
                Some(key) if !tail.contains_key(&key) => out.push_file(row, oldest_tombstone),
                _ => Ok(()),
            }
        })?;
    }
    for row in tail.into_values() {
        out.push_file(row, oldest_tombstone)?;
    }
    out.finish()
}

/// The newest action of every file that the entries after `base` name.
fn tail_of(
    files: &dyn LogFiles,
    snapshot: &Snapshot,
    base: Option<&CheckpointRef>,
) -> Result<HashMap<FileKey, Row>> {
    let mut tail = HashMap::new();
    let first = base.map_or(0, |c| c.version + 1);
    for version in first..=snapshot.version {
        let entry = entry::read_full(files, version)?.ok_or_else(|| {
            Error::corrupt(
                "DELTA_LOG_INCOMPLETE",
                format!("The log in `{}` lacks entry {version}.", files.dir().display()),
            )
        })?;
        for remove in entry.removes {
            tail.insert(remove.key(), Row { remove: Some(remove), ..Row::default() });
        }
        for add in entry.adds {
            tail.insert(add.key(), Row { add: Some(add), ..Row::default() });
        }
    }
    Ok(tail)
}

/// Encodes rows into a Parquet file.
struct Encoder {
    path: PathBuf,
    decoder: Decoder,
    writer: ArrowWriter<File>,
    waiting: Vec<Row>,
    counts: Counts,
}

impl Encoder {
    fn create(path: &Path) -> Result<Encoder> {
        let schema = Arc::new(StructType::parse_ddl(COLUMNS)?.to_arrow());
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .map_err(|e| io_error(Operation::Write, path, e))?;
        let options = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_coerce_types(true)
            .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
            .build();
        let decoder = ReaderBuilder::new(Arc::clone(&schema))
            .with_batch_size(BATCH_ROWS)
            .build_decoder()
            .map_err(|e| encode_error(path, e))?;
        let writer =
            ArrowWriter::try_new(file, schema, Some(options)).map_err(|e| encode_error(path, e))?;
        Ok(Encoder {
            path: path.to_owned(),
            decoder,
            writer,
            waiting: Vec::with_capacity(BATCH_ROWS),
            counts: Counts::default(),
        })
    }

    fn push(&mut self, row: Row) -> Result<()> {
        self.waiting.push(row);
        self.counts.actions += 1;
        if self.waiting.len() < BATCH_ROWS {
            return Ok(());
        }
        self.encode_waiting()
    }

    /// Pushes a live file, or a tombstone that is still needed.
    fn push_file(&mut self, mut row: Row, oldest_tombstone: i64) -> Result<()> {
        if let Some(add) = &mut row.add {
            add.data_change = false;
            self.counts.live_files += 1;
        }
        if let Some(remove) = &mut row.remove {
            if is_expired(remove, oldest_tombstone) {
                return Ok(());
            }
            remove.data_change = false;
        }
        self.push(row)
    }

    fn encode_waiting(&mut self) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.decoder.serialize(&self.waiting).map_err(|e| encode_error(&self.path, e))?;
        self.waiting.clear();
        if let Some(batch) = self.decoder.flush().map_err(|e| encode_error(&self.path, e))? {
            self.writer.write(&batch).map_err(|e| encode_error(&self.path, e))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Counts> {
        self.encode_waiting()?;
        let file = self.writer.into_inner().map_err(|e| encode_error(&self.path, e))?;
        file.sync_all().map_err(|e| io_error(Operation::Sync, &self.path, e))?;
        Ok(self.counts)
    }
}

fn is_expired(remove: &RemoveFile, oldest: i64) -> bool {
    remove.deletion_timestamp.unwrap_or(0) < oldest
}

fn encode_error(path: &Path, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::unavailable(
        "DELTA_CHECKPOINT_FAILED",
        format!("The table checkpoint `{}` could not be written.", path.display()),
    )
    .caused_by(cause)
    .cure("The table is whole without it; the next checkpoint will be tried later.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_another_engine_wrote_first_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        fs::write(&ours, "four").unwrap();
        assert_eq!(publish(&ours, &theirs).unwrap(), 4);
        fs::write(&ours, "longer").unwrap();
        fs::remove_file(&theirs).unwrap();
        fs::write(&theirs, "theirs!").unwrap();
        assert_eq!(publish(&ours, &theirs).unwrap(), 7);
        assert_eq!(fs::read_to_string(&theirs).unwrap(), "theirs!");
        // Nothing to give a name to is no checkpoint, whatever is there.
        let missing = dir.path().join("missing");
        for path in [dir.path().join("new"), theirs] {
            assert_eq!(publish(&missing, &path).unwrap_err().code(), "STORE_IO");
        }
    }

    #[test]
    fn tombstones_expire_when_they_are_older_than_the_oldest() {
        let remove = |timestamp: serde_json::Value| -> RemoveFile {
            let remove = json!({"path": "a", "deletionTimestamp": timestamp});
            serde_json::from_value(remove).unwrap()
        };
        for (timestamp, expired) in
            [(json!(4), true), (json!(5), false), (json!(6), false), (Value::Null, true)]
        {
            assert_eq!(is_expired(&remove(timestamp.clone()), 5), expired, "{timestamp}");
        }
    }
}
