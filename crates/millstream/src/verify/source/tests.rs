//! Tables that were tampered with, against the broker that their records came from.

use super::super::{Level, LevelReport, Severity, Verdict, VerifyTarget, verify_with_brokers};
use super::*;
use crate::DataFrame;
use crate::plan::DeadLetterRequest;
use arrow::array::BooleanArray;
use arrow::compute::{concat_batches, filter_record_batch};
use millstream_core::trigger::Trigger;
use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::{BatchBuilder, Codec, Producer, control_marker};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;

const TOPIC: &str = "t";
/// Every record makes a row.
const COPY: &[&str] = &["CAST(value AS STRING) AS v", "topic", "partition", "offset"];

struct Lake {
    kafka: KafkaHarness,
    directory: tempfile::TempDir,
    topic: &'static str,
    checkpoint: &'static str,
    exprs: &'static [&'static str],
    condition: Option<&'static str>,
    isolation: &'static str,
    dead_letters: bool,
}

impl Lake {
    async fn new() -> Self {
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic(TOPIC, 2).await;
        Lake {
            kafka,
            directory: tempfile::tempdir().unwrap(),
            topic: TOPIC,
            checkpoint: "c",
            exprs: COPY,
            condition: None,
            isolation: "read_uncommitted",
            dead_letters: false,
        }
    }

    async fn produce(&self, partition: i32, numbers: std::ops::Range<u32>) {
        let records: Vec<_> = numbers.map(|n| TestRecord::value(format!("{n}"))).collect();
        self.kafka.producer().await.produce(TOPIC, partition, &records, Codec::Lz4).await;
    }

    fn broker(&self) -> &millstream_broker::Broker {
        let KafkaHarness::Embedded(broker) = &self.kafka else { panic!("an embedded broker") };
        broker
    }

    fn frame(&self, session: &Session) -> DataFrame {
        let frame = session
            .read_stream()
            .format("kafka")
            .option("kafka.bootstrap.servers", self.kafka.bootstrap_servers())
            .option("subscribe", self.topic)
            .option("startingOffsets", "earliest")
            .option("maxOffsetsPerTrigger", 40)
            .option("kafka.isolation.level", self.isolation)
            .load()
            .unwrap()
            .select_expr(self.exprs)
            .unwrap();
        match self.condition {
            Some(text) => frame.filter(crate::functions::expr(text).unwrap()).unwrap(),
            None => frame,
        }
    }

    fn letters(&self) -> Option<PathBuf> {
        self.dead_letters.then(|| self.directory.path().join("letters"))
    }

    async fn run(&self) {
        let session = Session::builder().build().unwrap();
        let mut writer = self
            .frame(&session)
            .write_stream()
            .option("checkpointLocation", self.directory.path().join(self.checkpoint).display())
            .trigger(Trigger::AvailableNow);
        if let Some(letters) = self.letters() {
            writer = writer.option("deadLetter", letters.display());
        }
        let query = writer.start(self.directory.path().join("t")).await.unwrap();
        query.await_termination().await.unwrap();
    }

    /// The row level, with the pipeline's plan at hand or without.
    async fn rows(&self, with_plan: bool) -> (Verdict, LevelReport) {
        let session = Session::builder().build().unwrap();
        let letters = self.letters().map(|path| DeadLetterRequest {
            target: path.display().to_string(),
            casts: Vec::new(),
        });
        let plan = self.frame(&session).flow_plan(letters.as_ref()).unwrap();
        let target = VerifyTarget {
            checkpoint: self.directory.path().join(self.checkpoint),
            table: self.directory.path().join("t"),
            dead_letters: self.letters(),
        };
        let brokers = Brokers {
            bootstrap_servers: self.kafka.bootstrap_servers(),
            flow: with_plan.then_some((session, plan)),
        };
        let report = verify_with_brokers(&target, &brokers).await.unwrap();
        let rows = report.levels.into_iter().find(|l| l.level == Level::Rows).unwrap();
        (report.verdict, rows)
    }

    async fn expect_clean(&self, with_plan: bool) -> LevelReport {
        let (verdict, rows) = self.rows(with_plan).await;
        assert_eq!(verdict, Verdict::Clean, "{rows:?}");
        assert!(rows.findings.iter().all(|f| f.severity == Severity::Note), "{rows:?}");
        rows
    }

    /// Commits, as a compaction of files does, one file for all there are, with rows that `change`
    /// makes of theirs.
    fn tamper(&self, change: impl FnOnce(RecordBatch) -> RecordBatch) {
        let table = self.directory.path().join("t");
        let log = table.join("_delta_log");
        let opened = millstream_delta::DeltaTable::open(&table).unwrap().unwrap();
        let files = opened.active_files().unwrap();
        let mut batches = Vec::new();
        for file in &files {
            let reader = File::open(file.local_path(&table).unwrap()).unwrap();
            let reader = ParquetRecordBatchReaderBuilder::try_new(reader).unwrap().build().unwrap();
            batches.extend(reader.map(Result::unwrap));
        }
        let rows = change(concat_batches(&batches[0].schema(), &batches).unwrap());
        let path = table.join("tampered.parquet");
        let mut writer =
            ArrowWriter::try_new(File::create(&path).unwrap(), rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let size = std::fs::metadata(&path).unwrap().len();
        let mut lines = vec![json!({"commitInfo": {"operation": "OPTIMIZE"}})];
        for file in files {
            lines.push(json!({"remove": {
                "path": file.path, "deletionTimestamp": 1, "dataChange": false,
            }}));
        }
        lines.push(json!({"add": {
            "path": "tampered.parquet", "partitionValues": {}, "size": size,
            "modificationTime": 1, "dataChange": false,
            "stats": format!("{{\"numRecords\":{}}}", rows.num_rows()),
        }}));
        let text: Vec<String> = lines.iter().map(Value::to_string).collect();
        let name = format!("{:020}.json", opened.version() + 1);
        std::fs::write(log.join(name), text.join("\n")).unwrap();
    }
}

/// The rows whose (partition, offset) `keep`.
fn keep(rows: &RecordBatch, keep: impl Fn(i32, i64) -> bool) -> RecordBatch {
    let column = |name: &str| rows.column_by_name(name).unwrap().clone();
    let (partitions, offsets) = (column("partition"), column("offset"));
    let partitions = partitions.as_primitive::<Int32Type>();
    let offsets = offsets.as_primitive::<Int64Type>();
    let mask: BooleanArray =
        (0..rows.num_rows()).map(|n| Some(keep(partitions.value(n), offsets.value(n)))).collect();
    filter_record_batch(rows, &mask).unwrap()
}

fn with(rows: &RecordBatch, more: &RecordBatch) -> RecordBatch {
    concat_batches(&rows.schema(), [rows, more]).unwrap()
}

/// `row` at another offset.
fn moved(row: &RecordBatch, offset: i64) -> RecordBatch {
    let at = row.schema().index_of("offset").unwrap();
    let mut columns = row.columns().to_vec();
    columns[at] = Arc::new(arrow::array::Int64Array::from(vec![offset; row.num_rows()]));
    RecordBatch::try_new(row.schema(), columns).unwrap()
}

#[track_caller]
fn violations((verdict, rows): (Verdict, LevelReport), expected: &[(u64, &str)]) {
    assert_eq!(verdict, Verdict::Violation, "{rows:?}");
    let found = rows.findings.iter().filter(|f| f.severity == Severity::Violation);
    let found: Vec<(u64, &str)> = found.map(|f| (f.batch.unwrap(), f.what.as_str())).collect();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_row_a_double_and_a_phantom_are_named() {
    let mut lake = Lake::new().await;
    lake.condition = Some("offset % 10 <> 7");
    lake.produce(0, 0..50).await;
    lake.produce(1, 0..30).await;
    lake.run().await;
    let clean = lake.expect_clean(true).await;
    let said = "2 batches compared with the source by the pipeline's own plan, 0 partly \
                (t-0 0 to 49, t-1 0 to 29)";
    assert!(clean.covered.contains(said), "{}", clean.covered);
    lake.expect_clean(false).await;

    // One row lost, one doubled, one of a record that the filter drops.
    lake.tamper(|rows| {
        let less = keep(&rows, |partition, offset| (partition, offset) != (0, 13));
        let again = keep(&rows, |partition, offset| (partition, offset) == (1, 4));
        let more = with(&less, &again);
        with(&more, &moved(&again, 27))
    });
    let double = "t-1 offset 4 is there 2 times instead of 1";
    let phantom = "t-1 offset 27 is a phantom: the query makes no row of it";
    let lost = "t-0 offset 13 is lost";
    violations(lake.rows(true).await, &[(0, lost), (0, double), (1, phantom)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_pipeline_rows_are_lost_by_record_or_by_count() {
    let lake = Lake::new().await;
    lake.produce(0, 0..30).await;
    lake.run().await;
    lake.expect_clean(false).await;
    lake.tamper(|rows| keep(&rows, |_, offset| offset != 11));
    violations(lake.rows(false).await, &[(0, "t-0 offset 11 is lost")]);

    let mut filtered = Lake::new().await;
    filtered.condition = Some("offset <> 3");
    filtered.produce(0, 0..30).await;
    filtered.run().await;
    filtered.expect_clean(false).await;
    filtered.tamper(|rows| keep(&rows, |_, offset| offset != 11));
    let expected = "1 of its rows are lost, among the records without one: t-0 offset 3, \
                    t-0 offset 11";
    violations(filtered.rows(false).await, &[(0, expected)]);
}

/// Offsets 0 to 9 committed, 10 a marker, 11 to 15 aborted, 16 a marker, then plain records.
fn transactions(lake: &Lake) {
    let batch = |base: i64, count: i32, id: i64| {
        let producer = Producer { id, epoch: 0, base_sequence: 0 };
        let mut builder = BatchBuilder::new(base).producer(producer).transactional();
        for _ in 0..count {
            builder.push(0, None, Some(b"1"), &[]);
        }
        builder.build().unwrap()
    };
    let marker = |at: i64, id: i64, commit: bool| {
        let producer = Producer { id, epoch: 0, base_sequence: -1 };
        control_marker(at, 0, producer, commit, 0, 0).unwrap()
    };
    let mut plain = BatchBuilder::new(17);
    plain.push(0, None, Some(b"1"), &[]).push(0, None, Some(b"2"), &[]);
    let all = [
        batch(0, 10, 1),
        marker(10, 1, true),
        batch(11, 5, 2),
        marker(16, 2, false),
        plain.build().unwrap(),
    ];
    for bytes in all {
        lake.broker().append_raw(TOPIC, 0, bytes).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aborted_records_markers_and_compaction_are_no_loss() {
    for isolation in ["read_committed", "read_uncommitted"] {
        let mut lake = Lake::new().await;
        lake.isolation = isolation;
        transactions(&lake);
        lake.produce(1, 0..20).await;
        lake.run().await;
        for with_plan in [true, false] {
            let clean = lake.expect_clean(with_plan).await;
            assert_eq!(clean.findings, [], "{isolation}");
        }
        // Later the broker takes records away that the table has.
        lake.broker().compact(TOPIC, 0, |offset| offset < 4).unwrap();
        lake.broker().compact(TOPIC, 1, |offset| offset % 2 == 0).unwrap();
        for with_plan in [true, false] {
            lake.expect_clean(with_plan).await;
        }
        // What is still there must still have its row.
        lake.tamper(|rows| keep(&rows, |partition, offset| (partition, offset) != (1, 5)));
        for with_plan in [true, false] {
            violations(lake.rows(with_plan).await, &[(0, "t-1 offset 5 is lost")]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_aborted_records_and_of_markers_are_phantoms() {
    let mut lake = Lake::new().await;
    lake.isolation = "read_committed";
    transactions(&lake);
    lake.run().await;
    lake.tamper(|rows| {
        let one = keep(&rows, |_, offset| offset == 0);
        with(&with(&rows, &moved(&one, 16)), &moved(&one, 12))
    });
    let marker = "t-0 offset 16 is a phantom: the source has no record there";
    let aborted = "t-0 offset 12 is a phantom: its transaction was aborted";
    violations(lake.rows(false).await, &[(0, aborted), (0, marker)]);
    let none = "t-0 offset 12 is a phantom: the source has no record there";
    violations(lake.rows(true).await, &[(0, none), (0, marker)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_count_as_rows() {
    let mut lake = Lake::new().await;
    lake.dead_letters = true;
    lake.exprs =
        &["from_json(CAST(value AS STRING), 'a INT').a AS a", "topic", "partition", "offset"];
    let values = ["{\"a\":1}", "{broken", "{\"a\":3}"].map(TestRecord::value);
    lake.kafka.producer().await.produce(TOPIC, 0, &values, Codec::None).await;
    lake.run().await;
    for with_plan in [true, false] {
        assert_eq!(lake.expect_clean(with_plan).await.findings, []);
    }
    std::fs::remove_dir_all(lake.directory.path().join("letters/_delta_log")).unwrap();
    lake.dead_letters = false;
    let (verdict, rows) = lake.rows(false).await;
    assert_eq!(verdict, Verdict::Violation);
    assert!(rows.findings.iter().any(|f| f.what == "t-0 offset 1 is lost"), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retention_took_is_said_and_the_rest_is_compared() {
    let lake = Lake::new().await;
    lake.produce(0, 0..100).await;
    lake.run().await;
    let mut admin = lake.kafka.admin().await;
    admin.delete_records(TOPIC, 0, 50).await;
    lake.tamper(|rows| keep(&rows, |_, offset| offset != 60));
    let (verdict, rows) = lake.rows(true).await;
    assert!(rows.covered.contains("1 batches compared"), "{}", rows.covered);
    assert!(rows.covered.contains("1 partly (t-0 50 to 99)"), "{}", rows.covered);
    let gone = "the source no longer has all records of 2 batches from 0 to 1";
    assert!(rows.findings.iter().any(|f| f.what == gone), "{rows:?}");
    assert!(rows.findings.iter().any(|f| f.what == "t-0 offset 60 is lost"), "{rows:?}");
    assert_eq!(verdict, Verdict::Violation);

    let empty = Lake::new().await;
    empty.produce(0, 0..10).await;
    empty.run().await;
    empty.kafka.admin().await.delete_records(TOPIC, 0, -1).await;
    let (verdict, rows) = empty.rows(true).await;
    assert_eq!(verdict, Verdict::Unknown, "{rows:?}");
    // A topic that was made anew has other records under the same offsets.
    empty.kafka.admin().await.recreate_topic(TOPIC).await;
    empty.produce(0, 0..10).await;
    let (verdict, rows) = empty.rows(true).await;
    assert_eq!((verdict, rows.violations), (Verdict::Unknown, 0), "{rows:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_another_stream_into_the_same_table_are_its_own() {
    let mut lake = Lake::new().await;
    lake.kafka.admin().await.create_topic("u", 1).await;
    lake.produce(0, 0..30).await;
    lake.run().await;
    let records: Vec<_> = (0..7).map(|n| TestRecord::value(format!("{n}"))).collect();
    lake.kafka.producer().await.produce("u", 0, &records, Codec::None).await;
    (lake.topic, lake.checkpoint) = ("u", "c2");
    lake.run().await;
    let other = lake.expect_clean(true).await;
    assert!(other.covered.starts_with("7 rows, 0 twice, 0 phantom;"), "{}", other.covered);
    (lake.topic, lake.checkpoint) = (TOPIC, "c");
    for with_plan in [true, false] {
        let rows = lake.expect_clean(with_plan).await;
        assert!(rows.covered.starts_with("30 rows, 0 twice, 0 phantom;"), "{}", rows.covered);
    }
    // Put together in one file, the rows of both are told apart by what was read; and the other
    // stream is no excuse for what is lost.
    lake.tamper(|rows| keep(&rows, |_, offset| offset != 11));
    violations(lake.rows(true).await, &[(0, "t-0 offset 11 is lost")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_topic_under_two_checkpoints_is_there_twice() {
    let mut lake = Lake::new().await;
    lake.produce(0, 0..30).await;
    lake.run().await;
    lake.checkpoint = "c2";
    lake.run().await;
    let (verdict, rows) = lake.rows(true).await;
    assert_eq!(verdict, Verdict::Violation);
    let what = "30 rows were written by another stream as well; the first is t-0 offset 0";
    assert_eq!(rows.findings.iter().map(|f| f.what.as_str()).collect::<Vec<_>>(), [what]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_pipeline_is_not_taken_for_the_one_that_wrote_the_table() {
    let mut lake = Lake::new().await;
    lake.produce(0, 0..10).await;
    lake.run().await;
    lake.condition = Some("offset > 4");
    let (verdict, rows) = lake.rows(true).await;
    assert_eq!((verdict, rows.violations), (Verdict::Unknown, 0), "{rows:?}");
    let what = &rows.findings[0].what;
    assert!(what.starts_with("the pipeline is not the one that wrote the table"), "{what}");
}
