//! Every sink against the rules of sinks. The Delta table is read back through the product while
//! the checks run, and by an independent reader at the end.

use arrow::array::{ArrayRef, AsArray as _, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use async_trait::async_trait;
use millstream::batch::LakeCatalog;
use millstream::sinks::{
    ConsoleSink, DataSink, DeltaDataSink, MemorySink, MemoryTables, NoopSink, StageInfo,
};
use millstream::{Result, Session};
use millstream_core::contract::{CommitTag, Staged};
use millstream_core::env::SystemEnv;
use millstream_core::options::OptionMap;
use millstream_delta::{DeltaSink, DeltaSinkOptions, DeltaTable};
use millstream_testkit::conformance::sink::check;
use millstream_testkit::{SinkHarness, reader, skip_or_fail};
use millstream_types::StructType;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, true)]))
}

fn batch(rows: &[i64]) -> RecordBatch {
    let column = Arc::new(Int64Array::from(rows.to_vec())) as ArrayRef;
    RecordBatch::try_new(schema(), vec![column]).unwrap()
}

fn ids(batches: &[RecordBatch]) -> Vec<i64> {
    let column = |b: &RecordBatch| b.column(0).as_primitive::<Int64Type>().values().to_vec();
    batches.iter().flat_map(column).collect()
}

/// Writes rows with two tasks, as one attempt.
fn stage(sink: &Arc<dyn DataSink>, tag: &CommitTag, rows: &[i64]) -> Result<Staged> {
    let mut outputs = Vec::new();
    for (task, rows) in rows.chunks(rows.len().div_ceil(2).max(1)).enumerate() {
        let mut writer = sink.writer(tag.batch, tag.attempt, task)?;
        writer.write(&batch(rows))?;
        outputs.push(writer.finish()?);
    }
    let info = StageInfo { rows_in: rows.len() as u64, ranges: serde_json::json!([]) };
    sink.stage(outputs, &info)
}

/// Writes rows with one task that finishes and one that dies.
fn abandon(sink: &Arc<dyn DataSink>, tag: &CommitTag, rows: &[i64]) -> Result<()> {
    let mut done = sink.writer(tag.batch, tag.attempt, 7)?;
    done.write(&batch(rows))?;
    let _ = done.finish()?;
    let mut dies = sink.writer(tag.batch, tag.attempt, 8)?;
    dies.write(&batch(rows))
}

/// What a table's rows are read with, and what was found in the last reading.
struct Table {
    directory: TempDir,
    /// Rows that the checks saw last, for the independent reader.
    last: Mutex<Vec<i64>>,
}

impl Table {
    fn new() -> Self {
        Table { directory: tempfile::tempdir().unwrap(), last: Mutex::default() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("t")
    }
}

#[async_trait]
impl SinkHarness for Table {
    type Sink = dyn DataSink;

    async fn open(&self) -> Result<Arc<dyn DataSink>> {
        let query = StructType::parse_ddl("id BIGINT")?;
        let options = DeltaSinkOptions::new(self.path());
        let sink = DeltaSink::prepare(options, &query, Arc::new(SystemEnv))?;
        Ok(Arc::new(DeltaDataSink::new(sink)))
    }

    async fn stage(
        &self,
        sink: &Arc<dyn DataSink>,
        tag: &CommitTag,
        rows: &[i64],
    ) -> Result<Staged> {
        stage(sink, tag, rows)
    }

    async fn abandon(&self, sink: &Arc<dyn DataSink>, tag: &CommitTag, rows: &[i64]) -> Result<()> {
        abandon(sink, tag, rows)
    }

    async fn rows(&self) -> Result<Option<Vec<i64>>> {
        let rows = if DeltaTable::open(self.path())?.is_some() {
            let session = Session::builder().build()?;
            session.set_catalog(Arc::new(LakeCatalog::new(self.directory.path())));
            ids(&session.sql("SELECT id FROM t")?.collect().await?)
        } else {
            Vec::new()
        };
        self.last.lock().unwrap().clone_from(&rows);
        Ok(Some(rows))
    }

    async fn lose(&self, staged: &Staged) -> Result<bool> {
        let path = staged.0["adds"][0]["path"].as_str().expect("a staged file").to_owned();
        std::fs::remove_file(self.path().join(path)).expect("the staged file is there");
        Ok(true)
    }
}

impl Drop for Table {
    /// What the checks saw through the product is what an independent reader sees.
    fn drop(&mut self) {
        let expected = self.last.lock().unwrap().clone();
        if std::thread::panicking() || expected.is_empty() {
            return;
        }
        let rows = skip_or_fail("the deltalake wheel", reader::rows(&self.path(), &["id"]));
        let Some(rows) = rows else { return };
        let mut found: Vec<i64> = rows.iter().filter_map(|row| row["id"].as_i64()).collect();
        let mut expected = expected;
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "the independent reader");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delta_sink_conforms() {
    check(async || Ok(Table::new())).await.unwrap();
}

/// Sinks of learning: each opening is a new life, which starts with nothing.
struct Forgetful {
    tables: MemoryTables,
    make: fn(&MemoryTables) -> Result<Arc<dyn DataSink>>,
    is_read: bool,
}

#[async_trait]
impl SinkHarness for Forgetful {
    type Sink = dyn DataSink;

    async fn open(&self) -> Result<Arc<dyn DataSink>> {
        (self.make)(&self.tables)
    }

    async fn stage(
        &self,
        sink: &Arc<dyn DataSink>,
        tag: &CommitTag,
        rows: &[i64],
    ) -> Result<Staged> {
        stage(sink, tag, rows)
    }

    async fn abandon(&self, sink: &Arc<dyn DataSink>, tag: &CommitTag, rows: &[i64]) -> Result<()> {
        abandon(sink, tag, rows)
    }

    async fn rows(&self) -> Result<Option<Vec<i64>>> {
        Ok(self.is_read.then(|| self.tables.rows("t").map_or(Vec::new(), |(_, r)| ids(&r))))
    }

    async fn lose(&self, _: &Staged) -> Result<bool> {
        Ok(false)
    }
}

async fn conforms(is_read: bool, make: fn(&MemoryTables) -> Result<Arc<dyn DataSink>>) {
    let fresh = async || Ok(Forgetful { tables: MemoryTables::default(), make, is_read });
    check(fresh).await.unwrap();
}

#[tokio::test]
async fn the_memory_sink_conforms() {
    conforms(true, |tables| Ok(Arc::new(MemorySink::new("t", schema(), tables)))).await;
}

#[tokio::test]
async fn the_console_sink_conforms() {
    conforms(false, |_| Ok(Arc::new(ConsoleSink::new(schema(), &OptionMap::new())?))).await;
}

#[tokio::test]
async fn the_noop_sink_conforms() {
    conforms(false, |_| Ok(Arc::new(NoopSink::new(schema())))).await;
}
