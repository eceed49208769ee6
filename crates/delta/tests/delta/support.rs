//! What the tests share: sinks over temporary tables, batches from JSON lines, an environment
//! whose clock can be moved.

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use millstream_core::contract::{CommitOutcome, CommitTag, Sink, Staged};
use millstream_core::env::{Env, SharedEnv, SystemEnv};
use millstream_core::ids::{AttemptId, BatchId, Digest, Epoch, QueryId};
use millstream_core::{Error, Result};
use millstream_delta::{DeltaSink, DeltaSinkOptions, DeltaTable, StageInfo};
use millstream_types::StructType;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use uuid::Uuid;

/// The system's clock, moved by a number of milliseconds.
#[derive(Debug, Default)]
pub struct MovedEnv {
    pub by_ms: AtomicI64,
}

impl Env for MovedEnv {
    fn now_ms(&self) -> i64 {
        SystemEnv.now_ms() + self.by_ms.load(Ordering::SeqCst)
    }

    fn uuid(&self) -> Uuid {
        SystemEnv.uuid()
    }
}

pub fn env() -> SharedEnv {
    Arc::new(SystemEnv)
}

pub fn ddl(text: &str) -> StructType {
    StructType::parse_ddl(text).unwrap()
}

/// A sink with the default options.
pub fn sink(path: &Path, schema: &str) -> DeltaSink {
    DeltaSink::prepare(DeltaSinkOptions::new(path), &ddl(schema), env()).unwrap()
}

/// Options that partition by these columns.
pub fn partitioned(path: &Path, columns: &[&str]) -> DeltaSinkOptions {
    let partition_by = Some(columns.iter().map(ToString::to_string).collect());
    DeltaSinkOptions { partition_by, ..DeltaSinkOptions::new(path) }
}

/// Options with these table properties.
pub fn with_properties(path: &Path, properties: &[(&str, &str)]) -> DeltaSinkOptions {
    let properties = properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    DeltaSinkOptions { properties, ..DeltaSinkOptions::new(path) }
}

/// The code of a refusal to prepare.
pub fn refusal(options: DeltaSinkOptions, schema: &str) -> Error {
    DeltaSink::prepare(options, &ddl(schema), env()).unwrap_err()
}

/// Rows given as JSON lines, in the sink's schema.
pub fn rows(schema: &SchemaRef, lines: &str) -> RecordBatch {
    // The decoder knows no zone names here, only offsets; the values are the same.
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| match field.data_type() {
            DataType::Timestamp(unit, Some(_)) => field
                .as_ref()
                .clone()
                .with_data_type(DataType::Timestamp(*unit, Some("+00:00".into()))),
            _ => field.as_ref().clone(),
        })
        .collect();
    let mut decoder =
        arrow::json::ReaderBuilder::new(Arc::new(Schema::new(fields))).build_decoder().unwrap();
    let taken = decoder.decode(lines.as_bytes()).unwrap();
    assert_eq!(taken, lines.len(), "all lines are taken at once");
    let Some(batch) = decoder.flush().unwrap() else {
        return RecordBatch::new_empty(Arc::clone(schema));
    };
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        match column.as_primitive_opt::<TimestampMicrosecondType>() {
            Some(_) if column.data_type() != field.data_type() => Arc::new(
                column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone("UTC"),
            ) as ArrayRef,
            _ => Arc::clone(column),
        }
    });
    RecordBatch::try_new(Arc::clone(schema), columns.collect()).unwrap()
}

pub fn tag(query: QueryId, batch: u64) -> CommitTag {
    CommitTag {
        query,
        batch: BatchId(batch),
        attempt: attempt(),
        digest: Digest::of(&batch.to_be_bytes()),
        previous: batch.checked_sub(1).map(|b| Digest::of(&b.to_be_bytes())),
        epoch: Epoch(1),
    }
}

pub fn query() -> QueryId {
    QueryId(SystemEnv.uuid())
}

pub fn attempt() -> AttemptId {
    AttemptId(SystemEnv.uuid())
}

/// Writes and stages rows under the attempt of `tag`.
pub fn stage(sink: &DeltaSink, tag: &CommitTag, lines: &str) -> Result<Staged> {
    let mut writer = sink.writer(tag.attempt, 0);
    let batch = rows(&sink.input_schema(), lines);
    writer.write(&batch)?;
    let rows_out = writer.rows();
    let files = writer.finish()?;
    let info = StageInfo { rows_in: rows_out, rows_out, ranges: json!([{"t": {"0": [0, 1]}}]) };
    Ok(sink.stage(files, info))
}

/// Writes, stages and commits rows as one batch; answers the version.
pub async fn append(sink: &DeltaSink, query: QueryId, batch: u64, lines: &str) -> u64 {
    let tag = tag(query, batch);
    let staged = stage(sink, &tag, lines).unwrap();
    committed(sink.commit(&tag, &staged).await.unwrap())
}

pub fn committed(outcome: CommitOutcome) -> u64 {
    match outcome {
        CommitOutcome::Committed { version } => version,
        other => panic!("not committed: {other:?}"),
    }
}

pub fn open(path: &Path) -> DeltaTable {
    DeltaTable::open(path).unwrap().unwrap()
}

/// The number of rows that the live files' statistics say.
pub fn row_count(path: &Path) -> u64 {
    open(path).active_files().unwrap().iter().map(|f| f.num_records().unwrap()).sum()
}

pub fn entry_path(table: &Path, version: u64) -> PathBuf {
    table.join(format!("_delta_log/{version:020}.json"))
}

/// The actions of an entry, as JSON.
pub fn entry_lines(table: &Path, version: u64) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(entry_path(table, version)).unwrap();
    assert!(text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Writes the next entry by hand, as another engine would.
pub fn foreign_commit(table: &Path, version: u64, actions: &[serde_json::Value]) {
    let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
    let path = entry_path(table, version);
    assert!(!path.exists(), "an entry is created once");
    std::fs::write(path, text).unwrap();
}

/// A number of JSON lines `{"id": n}`.
pub fn ids(range: std::ops::Range<u64>) -> String {
    range.map(|id| format!("{{\"id\":{id}}}\n")).collect()
}
