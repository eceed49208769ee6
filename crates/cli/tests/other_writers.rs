//! Other writers on the table while the real binary writes to it: the `deltalake` wheel appends,
//! deletes, compacts, vacuums, restores and changes the table under the run. What can go on goes
//! on, with every record once; what cannot is refused by name before anything is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, Ledger, Producer, TestRecord, reader, skip_or_fail};
use millstream_wire::Codec;
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest wait for something that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// A topic with one partition, a pipeline that copies its positions, and the table.
struct Lab {
    directory: tempfile::TempDir,
    kafka: KafkaHarness,
    producer: Producer,
    ledger: Ledger,
}

/// How a run ended: its exit status and what it said.
type Answer = (Option<i32>, String);

impl Lab {
    /// `None`, after a loud SKIP, where the wheel is missing.
    async fn new() -> Option<Lab> {
        skip_or_fail("the deltalake writer", reader::python())?;
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic("topic", 1).await;
        let directory = tempfile::tempdir().unwrap();
        let pipeline = format!(
            "CREATE STREAMING TABLE t AS SELECT partition, offset FROM STREAM read_kafka(
               bootstrapServers => '{}', subscribe => 'topic', startingOffsets => 'earliest',
               maxOffsetsPerTrigger => 5);",
            kafka.bootstrap_servers()
        );
        std::fs::write(directory.path().join("p.sql"), pipeline).unwrap();
        let producer = kafka.producer().await;
        Some(Lab { directory, kafka, producer, ledger: Ledger::new() })
    }

    async fn produce(&mut self, count: u64) {
        let records: Vec<TestRecord> =
            (0..count).map(|_| TestRecord::value(self.ledger.next(0).to_string())).collect();
        self.producer.produce("topic", 0, &records, Codec::None).await;
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn table(&self) -> PathBuf {
        self.path("lake/t")
    }

    fn start(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(["run", "p.sql", "--storage", "lake", "--progress", "none"])
            .args(["--log-level", "warn"])
            .args(arguments)
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs")
    }

    /// A run to the end of what there is.
    fn run(&self) -> Answer {
        ended(self.start(&["--trigger", "available-now"]))
    }

    /// Starts a script with the wheel's names at hand; `path` and `table` are the table.
    fn wheel_beside(&self, script: &str) -> Child {
        let prelude = "import os, sys, json, pyarrow as pa\n\
             from deltalake import DeltaTable, Field, TableFeatures, write_deltalake\n\
             path = sys.argv[1]\n\
             table = lambda: DeltaTable(path)\n\
             def rows(first, count):\n  \
               partition = pa.array([-1] * count, pa.int32())\n  \
               return pa.table({'partition': partition, \
                                'offset': pa.array(range(first, first + count), pa.int64())})\n";
        // The wheel's threads may abort a process that tears them down at its leisure.
        let script = format!("{prelude}{script}\nsys.stdout.flush()\nos._exit(0)\n");
        Command::new(reader::python().unwrap())
            .args(["-c", &script])
            .arg(self.table())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs such a script to its end; what it printed.
    #[track_caller]
    fn wheel(&self, script: &str) -> String {
        let done = self.wheel_beside(script).wait_with_output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// Rows as the independent reader sees them: ours, and those of other writers.
    fn rows(&self) -> (Vec<(i32, i64)>, Vec<i64>) {
        let rows = reader::pairs(&self.table(), "partition", "offset").unwrap();
        let (ours, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(p, _)| *p >= 0);
        let mut others: Vec<i64> = others.into_iter().map(|(_, offset)| offset).collect();
        others.sort_unstable();
        (ours, others)
    }

    /// Every record is in the table once, and so are these rows of others.
    #[track_caller]
    fn audit(&self, others: impl IntoIterator<Item = i64>) {
        let (ours, found) = self.rows();
        self.ledger.audit(ours).assert_clean();
        assert_eq!(found, others.into_iter().collect::<Vec<_>>());
    }

    /// The newest completed batch.
    fn completed(&self) -> Option<u64> {
        let entries = std::fs::read_dir(self.path("lake/_checkpoints/t/t/commits")).ok()?;
        entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).max()
    }

    /// Waits until a running query has completed a batch.
    async fn wait_for(&self, batch: u64) {
        let begun = Instant::now();
        while self.completed() < Some(batch) {
            assert!(begun.elapsed() < PATIENCE, "batch {batch} is not completed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Writes the next entry of the table's log by hand.
    fn foreign_commit(&self, actions: &[Value]) {
        let log = self.table().join("_delta_log");
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let version = newest_version(&log) + 1;
        let path = log.join(format!("{version:020}.json"));
        assert!(!path.exists());
        std::fs::write(path, text).unwrap();
    }

    fn verify(&self) -> Answer {
        let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(["verify", "p.sql", "--storage", "lake", "--log-level", "warn"])
            .args(["--bootstrap-servers", &self.kafka.bootstrap_servers()])
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
        (output.status.code(), text.concat())
    }
}

fn newest_version(log: &Path) -> u64 {
    let names = std::fs::read_dir(log).unwrap().flatten();
    let version = |name: &str| name.strip_suffix(".json")?.parse().ok();
    names.filter_map(|e| version(e.file_name().to_str()?)).max().unwrap()
}

/// Waits for the end of a run.
fn ended(mut child: Child) -> Answer {
    let mut pipe = child.stderr.take().unwrap();
    let reading = std::thread::spawn(move || {
        let mut said = String::new();
        pipe.read_to_string(&mut said).unwrap();
        said
    });
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("the run does not end: {}", reading.join().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    (child.wait().unwrap().code(), reading.join().unwrap())
}

/// Tells a run to finish its batch and end.
fn stop(child: Child) -> Answer {
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    ended(child)
}

#[track_caller]
fn fine(answer: &Answer) {
    assert_eq!(answer.0, Some(0), "{}", answer.1);
}

#[track_caller]
fn refused(answer: &Answer, code: &str, word: &str) {
    assert!(answer.0 != Some(0) && answer.1.contains(code), "{code} expected: {answer:?}");
    assert!(answer.1.contains(word), "`{word}` expected: {}", answer.1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appends_deletes_compactions_and_vacuums_go_on_beside_a_run() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(20).await;
    let run = lab.start(&[]);
    lab.wait_for(3).await;
    // The wheel gives up where we commit faster than it re-reads; it has then not committed.
    let script = "
from deltalake.exceptions import CommitFailedError
def insist(work):
    for attempt in range(100):
        try:
            return work()
        except CommitFailedError as error:
            print(error, file=sys.stderr)
    sys.exit('nothing got through')
for n in range(4):
    insist(lambda: write_deltalake(path, rows(100 * n, 10), mode='append'))
    insist(lambda: table().delete(f'partition = -1 and offset >= {100 * n + 5}'))
    insist(lambda: table().optimize.compact())
    insist(lambda: table().vacuum(retention_hours=168, dry_run=False))
insist(lambda: table().create_checkpoint())
insist(lambda: table().cleanup_metadata())
";
    let mut other = lab.wheel_beside(script);
    let begun = Instant::now();
    let mut batches = 4;
    while other.try_wait().unwrap().is_none() {
        assert!(begun.elapsed() < PATIENCE, "the other writer does not end");
        lab.produce(5).await;
        batches += 1;
        lab.wait_for(batches - 1).await;
    }
    let other = other.wait_with_output().unwrap();
    assert!(other.status.success(), "{}", String::from_utf8_lossy(&other.stderr));
    lab.produce(5).await;
    lab.wait_for(batches).await;
    fine(&stop(run));
    println!("{batches} batches beside 18 operations");
    lab.audit((0..4).flat_map(|n| 100 * n..100 * n + 5));
    let (status, said) = lab.verify();
    assert_eq!(status, Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_columns_and_properties_do_not_stop_a_run() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    let run = lab.start(&[]);
    lab.wait_for(1).await;
    lab.wheel("table().alter.add_columns([Field('note', 'string', nullable=True)])");
    lab.produce(5).await;
    lab.wait_for(2).await;
    lab.wheel(
        "table().alter.set_table_description('numbers')\n\
         table().alter.set_table_properties({'delta.logRetentionDuration': 'interval 60 days'})",
    );
    lab.produce(5).await;
    lab.wait_for(3).await;
    fine(&stop(run));
    lab.produce(5).await;
    fine(&lab.run());
    lab.audit([]);
    let columns = lab.wheel("print(json.dumps([f.name for f in table().schema().fields]))");
    assert_eq!(columns.trim(), r#"["partition", "offset", "note"]"#, "the column stays");
    let properties = lab.wheel("print(table().metadata().configuration)");
    assert!(properties.contains("60 days"), "{properties}");
}

/// Writes the table anew from its version 1, with this column in the place of `offset`.
fn overwrite(column: &str) -> String {
    format!(
        "old = DeltaTable(path, version=1).to_pyarrow_table()\n\
         new = pa.table({{'partition': old['partition'], {column}}})\n\
         write_deltalake(path, new, mode='overwrite', schema_mode='overwrite')"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_retyped_under_a_run_stops_it_before_anything_is_lost() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    let run = lab.start(&[]);
    lab.wait_for(1).await;
    lab.wheel(&overwrite("'offset': old['offset'].cast(pa.string())"));
    lab.produce(5).await;
    refused(&ended(run), "DELTA_METADATA_CHANGED", "/t: The table was changed");
    let newest = "print(table().version(), table().to_pyarrow_table().num_rows)";
    assert_eq!(lab.wheel(newest).trim(), "2 10", "nothing was written");
    // It is put back, and the batch that was refused is done.
    lab.wheel(&overwrite("'offset': old['offset']"));
    fine(&lab.run());
    lab.audit([]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_is_renamed_under_a_run_is_added_again() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    let run = lab.start(&[]);
    lab.wait_for(1).await;
    lab.wheel(&overwrite("'position': old['offset']"));
    lab.produce(5).await;
    lab.wait_for(2).await;
    fine(&stop(run));
    // Tables of pipelines take new columns; no value of ours is left out.
    let rows = "t = table().to_pyarrow_table()\n\
                print(json.dumps(sorted(map(str, zip(t['position'].to_pylist(), \
                                                     t['offset'].to_pylist())))))";
    let rows: Vec<String> = serde_json::from_str(&lab.wheel(rows)).unwrap();
    let mut expected: Vec<String> = (0..10).map(|n| format!("({n}, None)")).collect();
    expected.extend((10..15).map(|n| format!("(None, {n})")));
    expected.sort();
    assert_eq!(rows, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_replaced_under_a_run_is_not_written_to() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    let run = lab.start(&[]);
    lab.wait_for(1).await;
    std::fs::rename(lab.table(), lab.path("old")).unwrap();
    lab.wheel("write_deltalake(path, rows(0, 3))");
    lab.produce(5).await;
    refused(&ended(run), "DELTA_TABLE_REPLACED", "id");
    assert_eq!(lab.rows(), (Vec::new(), vec![0, 1, 2]));
    // Nor by the next start, which has not seen the old one; and the checkpoint does not take the
    // new one for its own.
    refused(&lab.run(), "SINK_LOST_BATCH", "batch 1");
    assert_eq!(lab.rows(), (Vec::new(), vec![0, 1, 2]));
    std::fs::rename(lab.table(), lab.path("new")).unwrap();
    std::fs::rename(lab.path("old"), lab.table()).unwrap();
    fine(&lab.run());
    lab.audit([]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_feature_that_is_not_known_here_is_refused_by_name() {
    for (feature, protocol) in [
        ("rowTracking", json!(["appendOnly", "invariants", "domainMetadata", "rowTracking"])),
        ("timeTravelInsurance", json!(["appendOnly", "invariants", "timeTravelInsurance"])),
    ] {
        let Some(mut lab) = Lab::new().await else { return };
        lab.produce(10).await;
        let run = lab.start(&[]);
        lab.wait_for(1).await;
        let upgrade =
            json!({"minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": protocol});
        lab.foreign_commit(&[json!({"protocol": upgrade})]);
        lab.produce(5).await;
        let code = "DELTA_UNSUPPORTED_FEATURE";
        refused(&ended(run), code, "");
        let again = lab.run();
        refused(&again, code, "");
        let known = ["domainMetadata", feature];
        assert!(known.iter().any(|name| again.1.contains(name)), "{}", again.1);
        assert_eq!(newest_version(&lab.table().join("_delta_log")), 2, "nothing was written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_whose_transactions_expire_is_refused_under_a_run_and_at_its_start() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    let run = lab.start(&[]);
    lab.wait_for(1).await;
    let set = |value: &str| {
        let key = "delta.setTransactionRetentionDuration";
        lab.wheel(&format!("table().alter.set_table_properties({{'{key}': '{value}'}})"));
    };
    set("interval 1 hour");
    let code = "DELTA_UNSUPPORTED_TRANSACTION_RETENTION";
    let mut producer = lab.kafka.producer().await;
    producer.produce("topic", 0, &[TestRecord::value("10")], Codec::None).await;
    refused(&ended(run), code, "1 hour");
    refused(&lab.run(), code, "1 hour");
    set("interval 30 days");
    fine(&lab.run());
    lab.ledger.next(0);
    lab.audit([]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_in_doubt_whose_transaction_was_forgotten_is_not_written_twice() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(10).await;
    fine(&lab.run());
    // The run died before it could complete batch 1, and came back so late that the table has
    // forgotten who wrote what.
    std::fs::remove_file(lab.path("lake/_checkpoints/t/t/commits/1")).unwrap();
    let log = lab.table().join("_delta_log");
    for version in 0..2 {
        let path = log.join(format!("{version:020}.json"));
        let text = std::fs::read_to_string(&path).unwrap();
        let foreign = |line: &&str| !line.starts_with("{\"txn\"") && !line.contains("commitInfo");
        let kept: Vec<&str> = text.lines().filter(foreign).collect();
        assert!(kept.len() + 3 == text.lines().count());
        std::fs::write(&path, kept.join("\n") + "\n").unwrap();
    }
    let answer = lab.run();
    refused(&answer, "SINK_LOST_BATCH", "batch 0");
    lab.audit([]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_table_is_gone_on_with_and_verify_says_what_is_missing() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(20).await;
    let run = lab.start(&[]);
    lab.wait_for(3).await;
    assert_eq!(lab.verify().0, Some(0));
    lab.wheel("table().restore(1)");
    lab.produce(5).await;
    lab.wait_for(4).await;
    fine(&stop(run));
    // Batches 2 and 3 were taken out by name; the engine neither repeats nor hides them.
    let (ours, _) = lab.rows();
    let mut offsets: Vec<i64> = ours.into_iter().map(|(_, offset)| offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..10).chain(20..25).collect::<Vec<i64>>());
    let (status, said) = lab.verify();
    assert!(status == Some(1) && said.contains("batch 2: version 4 (RESTORE) took"), "{said}");
    assert!(said.contains("batch 3: version 4 (RESTORE) took"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_cleaned_up_during_a_pause_is_gone_on_with() {
    let Some(mut lab) = Lab::new().await else { return };
    lab.produce(20).await;
    let run = lab.start(&[]);
    lab.wait_for(3).await;
    lab.wheel("write_deltalake(path, rows(0, 2), mode='append')\ntable().create_checkpoint()");
    let log = lab.table().join("_delta_log");
    let newest = newest_version(&log);
    for version in 0..newest {
        std::fs::remove_file(log.join(format!("{version:020}.json"))).unwrap();
    }
    lab.produce(5).await;
    lab.wait_for(4).await;
    fine(&stop(run));
    lab.produce(5).await;
    fine(&lab.run());
    lab.audit([0, 1]);
}
