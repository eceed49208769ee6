//! The bound: the main line's work by hand, without an engine, without a plan and without a
//! checkpoint. What any engine with these decoders pays beyond this is its own.
//!
//! One thread for every two partitions; the next Fetch is on its way while an answer is decoded.

use crate::Result;
use crate::orders::{LEAST_AMOUNT, PARTITIONS, SCHEMA};
use arrow::array::{
    Array, ArrayBuilder as _, ArrayRef, BinaryBuilder, Float64Array, RecordBatch, StructArray,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{FilterBuilder, filter_record_batch};
use bytes::Bytes;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, StrBytes};
use millstream_json::{FromJson, FromJsonOptions, Report};
use millstream_store::Created;
use millstream_store::durable::{self, Access, create_dirs, create_new};
use millstream_testkit::{Admin, Client};
use millstream_types::{DataType, StructType};
use millstream_wire::{Batches, Decompressor};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The last version in which topics go by name.
const FETCH_VERSION: i16 = 12;
/// What one Fetch asks for.
const FETCH_BYTES: i32 = 8 << 20;
/// Plain bytes that one record batch may become.
const PLAIN_BYTES_MAX: usize = 1 << 30;
/// Rows that are decoded at a time.
const CHUNK_ROWS: usize = 8_192;
const THREADS: i32 = 2;

/// How far the work goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, clap::ValueEnum)]
pub enum Stage {
    /// Fetch, checksums, values as one Arrow column.
    Consume,
    /// And JSON to five columns, filtered.
    Decode,
    /// And fsynced Parquet files, made true by fsynced commits of a Delta log.
    Table,
}

/// What is read, and where to.
#[derive(Debug, Clone, clap::Args)]
pub struct Bound {
    /// How far the work goes.
    #[arg(long, value_enum)]
    pub stage: Stage,
    /// Addresses of the brokers.
    #[arg(long)]
    pub bootstrap: String,
    /// The topic.
    #[arg(long)]
    pub topic: String,
    /// Where the table goes.
    #[arg(long)]
    pub table: PathBuf,
    /// Records of one commit.
    #[arg(long)]
    pub batch_rows: usize,
}

/// A file that one thread has made durable.
struct Staged {
    round: usize,
    path: String,
    rows: usize,
    bytes: u64,
}

impl Bound {
    /// Does the work.
    ///
    /// # Errors
    /// Whatever goes wrong.
    pub fn run(&self) -> Result<()> {
        let (sender, staged) = channel();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let sender = sender.clone();
                    scope.spawn(move || self.thread(thread, &sender))
                })
                .collect();
            drop(sender);
            if self.stage == Stage::Table {
                commit_all(&self.table, &staged)?;
            }
            for thread in threads {
                thread.join().map_err(|_| "a thread panicked")??;
            }
            Ok(())
        })
    }

    fn thread(&self, thread: i32, staged: &Sender<Staged>) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let per_round = self.batch_rows / PARTITIONS as usize;
        let mut readers = Vec::new();
        for partition in (thread..PARTITIONS).step_by(THREADS as usize) {
            readers.push(runtime.block_on(Reader::open(self, partition))?);
        }
        let mut work = Work::new(self)?;
        for round in 0.. {
            let mut is_done = true;
            for reader in &mut readers {
                let mut left = per_round;
                while left > 0 && !reader.is_done() {
                    left -= runtime.block_on(reader.next(left, &mut work))?;
                }
                work.flush()?;
                if left < per_round {
                    is_done = false;
                    if let Some(file) = work.close(round)? {
                        staged.send(file)?;
                    }
                }
            }
            if is_done {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Reads one partition.
struct Reader {
    client: Client,
    topic: TopicName,
    partition: i32,
    next: i64,
    end: i64,
    /// Bytes of an answer that are not used yet.
    rest: Bytes,
    is_asked: bool,
    decompressor: Decompressor,
}

impl Reader {
    async fn open(bound: &Bound, partition: i32) -> Result<Reader> {
        let mut admin = Admin::connect(&bound.bootstrap).await;
        let next = admin.start_offset(&bound.topic, partition).await;
        let end = admin.end_offset(&bound.topic, partition).await;
        let client = admin.leader(&bound.topic, partition).await;
        let topic = TopicName(StrBytes::from_string(bound.topic.clone()));
        let decompressor = Decompressor::new(PLAIN_BYTES_MAX);
        let mut reader = Reader {
            client,
            topic,
            partition,
            next,
            end,
            rest: Bytes::new(),
            is_asked: false,
            decompressor,
        };
        reader.ask(next).await?;
        Ok(reader)
    }

    fn is_done(&self) -> bool {
        self.next >= self.end
    }

    async fn ask(&mut self, from: i64) -> Result<()> {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_fetch_offset(from)
            .with_partition_max_bytes(FETCH_BYTES);
        let topic =
            FetchTopic::default().with_topic(self.topic.clone()).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_topics(vec![topic]);
        self.client.send(&request, FETCH_VERSION).await?;
        self.is_asked = true;
        Ok(())
    }

    /// Hands at most `most` records to `work`; how many.
    async fn next(&mut self, most: usize, work: &mut Work) -> Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.answer().await?;
        }
        let bytes = self.rest.clone();
        let (mut done, mut used) = (0, 0);
        for batch in Batches::new(&bytes) {
            let batch = batch?;
            for record in batch.records(&mut self.decompressor)? {
                let record = record?;
                if record.offset < self.next {
                    continue;
                }
                if done == most || record.offset >= self.end {
                    break;
                }
                work.push(record.value)?;
                self.next = record.offset + 1;
                done += 1;
            }
            if self.next < batch.header.next_offset() {
                break;
            }
            used += batch.header.length;
            if done == most {
                break;
            }
        }
        self.rest = bytes.slice(used..);
        if Batches::new(&self.rest).next().is_none() {
            self.rest = Bytes::new();
        }
        Ok(done)
    }

    /// The records of the next answer; the one after it is asked for at once.
    async fn answer(&mut self) -> Result<Bytes> {
        if !self.is_asked {
            self.ask(self.next).await?;
        }
        let mut frame = self.client.receive().await?;
        self.is_asked = false;
        ResponseHeader::decode(&mut frame, 1)?;
        let answer = FetchResponse::decode(&mut frame, FETCH_VERSION)?;
        let partition = answer.responses.into_iter().flat_map(|t| t.partitions).next();
        let partition = partition.ok_or("an answer without the partition")?;
        if partition.error_code != 0 {
            return Err(format!("Fetch failed with {}", partition.error_code).into());
        }
        let records = partition.records.unwrap_or_default();
        let last = Batches::new(&records).filter_map(std::result::Result::ok).last();
        let behind = last.map_or(self.next, |batch| batch.header.next_offset());
        if behind < self.end {
            self.ask(behind).await?;
        }
        Ok(records)
    }
}

/// What happens to the values of one thread.
struct Work {
    stage: Stage,
    table: PathBuf,
    values: BinaryBuilder,
    decoder: FromJson,
    writer: Option<(String, ArrowWriter<File>, usize)>,
}

impl Work {
    fn new(bound: &Bound) -> Result<Work> {
        let schema = DataType::parse(SCHEMA)?;
        if bound.stage == Stage::Table {
            create_dirs(&bound.table.join("_delta_log"), Access::Umask)?;
        }
        Ok(Work {
            stage: bound.stage,
            table: bound.table.clone(),
            values: BinaryBuilder::new(),
            decoder: FromJson::new(&schema, &FromJsonOptions::default())?,
            writer: None,
        })
    }

    fn push(&mut self, value: Option<&[u8]>) -> Result<()> {
        self.values.append_option(value);
        if self.values.len() >= CHUNK_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let values: ArrayRef = Arc::new(self.values.finish());
        if values.is_empty() || self.stage == Stage::Consume {
            return Ok(());
        }
        let decoded = self.decoder.decode(&values, Report::None);
        let decoded = decoded.map_err(millstream_core::Error::from)?.array;
        let orders = decoded.as_any().downcast_ref::<StructArray>().ok_or("not a struct")?;
        let orders = RecordBatch::from(orders.clone());
        let amounts =
            orders.column(2).as_any().downcast_ref::<Float64Array>().ok_or("no amount")?;
        let wanted = BooleanBuffer::collect_bool(amounts.len(), |at| {
            amounts.is_valid(at) && amounts.value(at) >= LEAST_AMOUNT
        });
        let wanted = arrow::array::BooleanArray::new(wanted, None);
        let predicate = FilterBuilder::new(&wanted).build();
        if predicate.count() == 0 {
            return Ok(());
        }
        let orders = filter_record_batch(&orders, &wanted)?;
        if self.stage == Stage::Table {
            self.write(&orders)?;
        }
        Ok(())
    }

    fn write(&mut self, orders: &RecordBatch) -> Result<()> {
        if self.writer.is_none() {
            let name = format!("part-{:?}-{}.parquet", std::thread::current().id(), fresh());
            let name = name.replace(['(', ')'], "");
            let file = File::create_new(self.table.join(&name))?;
            let properties =
                WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let writer = ArrowWriter::try_new(file, orders.schema(), Some(properties))?;
            self.writer = Some((name, writer, 0));
        }
        if let Some((_, writer, rows)) = &mut self.writer {
            writer.write(orders)?;
            *rows += orders.num_rows();
        }
        Ok(())
    }

    /// Ends the file of a round, fsynced.
    fn close(&mut self, round: usize) -> Result<Option<Staged>> {
        let Some((path, writer, rows)) = self.writer.take() else { return Ok(None) };
        let file = writer.into_inner()?;
        file.sync_all()?;
        let bytes = file.metadata()?.len();
        Ok(Some(Staged { round, path, rows, bytes }))
    }
}

/// A number that no other call gets.
fn fresh() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Commits each round as soon as all partitions have staged it.
fn commit_all(table: &Path, staged: &Receiver<Staged>) -> Result<()> {
    let mut rounds: BTreeMap<usize, Vec<Staged>> = BTreeMap::new();
    let mut next = 0;
    for file in staged {
        rounds.entry(file.round).or_default().push(file);
        while rounds.get(&next).is_some_and(|files| files.len() == PARTITIONS as usize) {
            commit(table, next, &rounds.remove(&next).unwrap_or_default())?;
            next += 1;
        }
    }
    for files in rounds.into_values() {
        commit(table, next, &files)?;
        next += 1;
    }
    Ok(())
}

fn commit(table: &Path, version: usize, files: &[Staged]) -> Result<()> {
    let mut lines = Vec::new();
    if version == 0 {
        let schema = StructType::parse(SCHEMA)?.to_json();
        lines.push(json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}));
        lines.push(json!({"metaData": {
            "id": "00000000-0000-0000-0000-000000000000",
            "format": {"provider": "parquet", "options": {}},
            "schemaString": schema,
            "partitionColumns": [], "configuration": {}, "createdTime": 0,
        }}));
    }
    for file in files {
        lines.push(json!({"add": {
            "path": file.path, "partitionValues": {}, "size": file.bytes,
            "modificationTime": 0, "dataChange": true,
            "stats": format!("{{\"numRecords\":{}}}", file.rows),
        }}));
    }
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    durable::fsync_dir(table)?;
    let entry = table.join("_delta_log").join(format!("{version:020}.json"));
    match create_new(&entry, text.as_bytes(), Access::Umask)? {
        Created::Created => Ok(()),
        Created::Exists => Err(format!("version {version} is there already").into()),
    }
}
