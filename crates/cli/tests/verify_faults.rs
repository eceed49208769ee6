//! `millstream verify` on real tables and checkpoints of the real binary: each fault that is planted
//! is found at every level where it can be seen, with its batch, file or offset; and what users may
//! do to a table is no fault.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_core::contract::Position;
use millstream_core::ids::Digest;
use millstream_core::log::{LedgerEntry, Record as _};
use millstream_testkit::{KafkaHarness, TestRecord, reader, repository_root, skip_or_fail};
use millstream_wire::Codec;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PARTITIONS: i32 = 2;
/// Batches of the lake, of ten records each.
const BATCHES: u64 = 4;

struct Lake {
    directory: tempfile::TempDir,
    kafka: KafkaHarness,
}

/// One finding of a report.
#[derive(Debug)]
struct Found {
    level: String,
    severity: String,
    batch: Option<u64>,
    what: String,
}

impl Lake {
    /// Four batches of real records, written by the real binary.
    async fn new() -> Lake {
        let kafka = KafkaHarness::embedded();
        kafka.admin().await.create_topic("topic", PARTITIONS).await;
        let lake = Lake { directory: tempfile::tempdir().unwrap(), kafka };
        lake.write_pipeline("");
        lake.produce(5 * usize::try_from(BATCHES).unwrap()).await;
        lake.run();
        assert_eq!(lake.versions().len(), usize::try_from(BATCHES).unwrap());
        let found = lake.verify(0);
        assert!(found.is_empty(), "{found:?}");
        lake
    }

    fn write_pipeline(&self, options: &str) {
        let pipeline = format!(
            "CREATE OR REFRESH STREAMING TABLE t PARTITIONED BY (partition) AS\n\
             SELECT CAST(value AS STRING) AS v, topic, partition, offset\n\
             FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic',\n\
             startingOffsets => 'earliest', maxOffsetsPerTrigger => 10 {options});",
            self.kafka.bootstrap_servers()
        );
        std::fs::write(self.path("pipeline.sql"), pipeline).unwrap();
    }

    async fn produce(&self, records: usize) {
        let records: Vec<_> = (0..records).map(|n| TestRecord::value(format!("{n}"))).collect();
        let mut producer = self.kafka.producer().await;
        for partition in 0..PARTITIONS {
            producer.produce("topic", partition, &records, Codec::None).await;
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn table(&self) -> PathBuf {
        self.path("lake/t")
    }

    fn checkpoint(&self) -> PathBuf {
        self.path("lake/_checkpoints/t/t")
    }

    fn millstream(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(&arguments[..1])
            .arg(self.path("pipeline.sql"))
            .arg("--storage")
            .arg(self.path("lake"))
            .args(&arguments[1..])
            .args(["--log-level", "error"])
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), if text.is_empty() { errors.into_owned() } else { text })
    }

    fn run(&self) {
        let (status, text) = self.millstream(&["run", "--trigger", "available-now"]);
        assert_eq!(status, Some(0), "{text}");
    }

    /// What `verify` finds. Its exit status is `wanted`.
    fn verify(&self, wanted: i32) -> Vec<Found> {
        self.verify_with(wanted, &[])
    }

    /// The same, against the broker as well.
    fn verify_source(&self, wanted: i32) -> Vec<Found> {
        let brokers = self.kafka.bootstrap_servers();
        self.verify_with(wanted, &["--bootstrap-servers", &brokers])
    }

    fn verify_with(&self, wanted: i32, more: &[&str]) -> Vec<Found> {
        let (status, text) = self.millstream(&[&["verify", "--format", "json"], more].concat());
        assert_eq!(status, Some(wanted), "{text}");
        let reports: Value = serde_json::from_str(&text).unwrap();
        let mut found = Vec::new();
        for level in reports[0]["levels"].as_array().unwrap() {
            for finding in level["findings"].as_array().unwrap() {
                found.push(Found {
                    level: level["level"].as_str().unwrap().to_owned(),
                    severity: finding["severity"].as_str().unwrap().to_owned(),
                    batch: finding["batch"].as_u64(),
                    what: finding["what"].as_str().unwrap().to_owned(),
                });
            }
        }
        found
    }

    fn log(&self, version: u64) -> PathBuf {
        self.table().join(format!("_delta_log/{version:020}.json"))
    }

    fn versions(&self) -> Vec<u64> {
        let names = std::fs::read_dir(self.table().join("_delta_log")).unwrap().flatten();
        let names = names.filter_map(|e| e.file_name().into_string().ok());
        let mut found: Vec<u64> =
            names.filter_map(|n| n.strip_suffix(".json")?.parse().ok()).collect();
        found.sort_unstable();
        found
    }

    fn actions(&self, version: u64) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log(version)).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn write_actions(&self, version: u64, actions: &[Value]) {
        let lines: Vec<String> = actions.iter().map(Value::to_string).collect();
        std::fs::write(self.log(version), lines.join("\n") + "\n").unwrap();
    }

    /// Paths of the files that a version added.
    fn files(&self, version: u64) -> Vec<String> {
        let actions = self.actions(version);
        let paths = actions.iter().filter_map(|a| a["add"]["path"].as_str());
        paths.map(str::to_owned).collect()
    }

    /// The actions of a version, with copies of its files in place of the files.
    fn doubled(&self, version: u64) -> Vec<Value> {
        let mut actions = self.actions(version);
        for action in &mut actions {
            let Some(path) = action["add"]["path"].as_str().map(str::to_owned) else { continue };
            let copy = path.replace("part-", "part-copy-");
            assert_ne!(copy, path);
            let at = |path: &str| self.table().join(path);
            std::fs::copy(at(&path), at(&copy)).unwrap();
            action["add"]["path"] = json!(copy);
        }
        actions
    }

    /// Rewrites the ledger's entry of a batch.
    fn change_ledger(&self, batch: u64, change: impl FnOnce(&mut LedgerEntry)) {
        let path = self.checkpoint().join(format!("millstream/ledger/{batch}"));
        let mut entry = LedgerEntry::decode(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut entry);
        std::fs::write(&path, entry.encode().unwrap()).unwrap();
    }

    /// Lets the wheel change the table.
    fn change_table(&self, operation: &str) {
        let output = Command::new(reader::python().unwrap())
            .arg(repository_root().join("tests/real/change_table.py"))
            .arg(self.table())
            .arg(operation)
            .output()
            .expect("Python runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{operation}: {errors}");
    }
}

/// Checks that there is a violation of this level and batch that says `part`.
#[track_caller]
fn violation(found: &[Found], level: &str, batch: impl Into<Option<u64>>, part: &str) {
    let batch = batch.into();
    let is = |f: &&Found| f.level == level && f.severity == "violation" && f.batch == batch;
    let says = found.iter().filter(is).any(|f| f.what.contains(part));
    assert!(says, "no violation of {level} and batch {batch:?} says `{part}`: {found:#?}");
}

/// Checks that a level has nothing to say against the table.
#[track_caller]
fn silent(found: &[Found], levels: &[&str]) {
    let said = |f: &&Found| levels.contains(&f.level.as_str()) && f.severity != "note";
    let said: Vec<_> = found.iter().filter(said).collect();
    assert!(said.is_empty(), "{said:#?}");
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_file_is_found() {
    let lake = Lake::new().await;
    let file = lake.files(2).remove(0);
    let path = lake.table().join(&file);
    let bytes = std::fs::read(&path).unwrap();

    std::fs::remove_file(&path).unwrap();
    let found = lake.verify(1);
    violation(&found, "files", 2, &format!("`{file}` is not on disk"));
    violation(&found, "rows", 2, "5 of the records it read are missing");
    silent(&found, &["chain"]);
    let found = lake.verify_source(1);
    violation(&found, "rows", 2, "offset 10 is lost");

    // Another file in its place: a torn one, and a whole one of another batch.
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let found = lake.verify(1);
    violation(&found, "files", 2, &format!("`{file}` is another file than was added"));
    violation(&found, "rows", 2, "5 of the records it read are missing");
    let of_another = std::fs::read(lake.table().join(lake.files(1).remove(0))).unwrap();
    std::fs::write(&path, &of_another).unwrap();
    let found = lake.verify(1);
    // Which of the two files is the second one depends on their names.
    let again = |f: &&Found| f.level == "rows" && f.what.contains("offset 5 is there again");
    assert_eq!(found.iter().filter(again).count(), 1, "{found:#?}");
    violation(&found, "rows", 2, "5 of the records it read are missing");
    std::fs::write(&path, &bytes).unwrap();
    assert!(lake.verify(0).is_empty());

    // Taken out of the table by an operation that says that it changes no rows.
    let remove = json!({"remove": {"path": file, "deletionTimestamp": 1, "dataChange": false}});
    lake.write_actions(BATCHES, &[json!({"commitInfo": {"operation": "OPTIMIZE"}}), remove]);
    let found = lake.verify(1);
    violation(&found, "rows", 2, "5 of the records it read are missing");
    silent(&found, &["chain", "files"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_column_that_the_log_calls_by_other_capitals_is_found() {
    let lake = Lake::new().await;
    let text = std::fs::read_to_string(lake.log(0)).unwrap();
    std::fs::write(lake.log(0), text.replace(r#"\"offset\""#, r#"\"Offset\""#)).unwrap();
    let found = lake.verify(1);
    violation(&found, "rows", 2, "has a column `offset`, which the table's log calls `Offset`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doubled_batch_is_found() {
    let lake = Lake::new().await;
    // The same batch, committed again by another attempt.
    let mut again = lake.doubled(1);
    for action in &mut again {
        if action["commitInfo"].is_object() {
            action["commitInfo"]["millstream"]["attempt"] =
                json!("7d1f8a52-2a5e-4f0c-9d55-0d2b7b7e5c11");
        }
    }
    lake.write_actions(BATCHES, &again);
    let found = lake.verify(1);
    violation(&found, "chain", 1, "version 4 holds batch 1, after version 3 had batch 3");
    violation(&found, "chain", 1, "version 4 holds another attempt than the ledger");
    violation(&found, "rows", 1, "topic-0 offset 5 is there again");
    let found = lake.verify_source(1);
    violation(&found, "rows", 1, "topic-0 offset 5 is there 2 times instead of 1");

    // Its rows alone, by an entry that names no batch.
    let is_row = |action: &Value| action["add"].is_object();
    let mut rows: Vec<Value> = again.into_iter().filter(is_row).collect();
    rows.insert(0, json!({"commitInfo": {"operation": "WRITE"}}));
    lake.write_actions(BATCHES, &rows);
    let found = lake.verify(1);
    silent(&found, &["chain", "files"]);
    violation(&found, "rows", None, "topic-0 offset 5 is there again");

    // And by an application that numbers its own writes: another stream.
    rows.push(json!({"txn": {"appId": "another", "version": 7, "lastUpdated": 1}}));
    lake.write_actions(BATCHES, &rows);
    let found = lake.verify(1);
    violation(&found, "rows", None, "10 rows were written by another stream as well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_in_the_ranges_is_found() {
    let lake = Lake::new().await;
    let start = |offset: i64| {
        move |entry: &mut LedgerEntry| {
            let range = entry.sources[0].as_mut().unwrap();
            range.start = Position(json!({"topic": {"0": offset, "1": 10}}));
        }
    };
    lake.change_ledger(2, start(13));
    let found = lake.verify(1);
    violation(&found, "chain", 2, "topic-0: offsets 10 to 12 were skipped");
    violation(&found, "rows", 2, "topic-0 offset 10 was never read");
    silent(&found, &["files"]);
    lake.change_ledger(2, start(8));
    violation(&lake.verify(1), "chain", 2, "topic-0: offsets 8 to 9 were read again");
    lake.change_ledger(2, start(10));
    assert!(lake.verify(0).is_empty());

    // The newest batch's entry is gone from the table.
    let newest = std::fs::read(lake.log(3)).unwrap();
    std::fs::remove_file(lake.log(3)).unwrap();
    let found = lake.verify(1);
    violation(&found, "chain", 3, "the checkpoint completed batch 3; the table ends with 2");
    violation(&found, "chain", 3, "in the ledger, but in no commit of the table");
    violation(&found, "rows", 3, "10 of the records it read are missing");
    std::fs::write(lake.log(3), &newest).unwrap();

    // One in the middle is there, and no longer says which batch it has.
    let whole = lake.actions(1);
    let is_no_txn = |action: &Value| action["txn"].is_null();
    let unnamed: Vec<Value> = whole.into_iter().filter(is_no_txn).collect();
    lake.write_actions(1, &unnamed);
    let found = lake.verify(2);
    assert!(found.iter().any(|f| f.what.contains("[DELTA_LOG_CORRUPT]")), "{found:?}");
    // Nor that it is ours.
    let is_no_info = |action: &Value| action["commitInfo"].is_null();
    let foreign: Vec<Value> = unnamed.into_iter().filter(is_no_info).collect();
    lake.write_actions(1, &foreign);
    let found = lake.verify(1);
    violation(&found, "chain", 1, "missing: versions 0 and 2 hold batches 0 and 2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_commit_is_found() {
    let lake = Lake::new().await;
    let ours = lake.actions(2);
    let change = |what: &str, to: Value| {
        let mut forged = ours.clone();
        let info = forged.iter_mut().find(|a| a["commitInfo"].is_object()).unwrap();
        info["commitInfo"]["millstream"][what] = to;
        lake.write_actions(2, &forged);
        lake.verify(1)
    };
    let other = json!(Digest::of(b"another intent"));
    let found = change("digest", other.clone());
    violation(&found, "chain", 2, "version 2 holds another intent than the ledger");
    violation(&found, "chain", 3, "version 3 follows another intent");
    silent(&found, &["files", "rows"]);
    let found = change("previous", other);
    violation(&found, "chain", 2, "version 2 follows another intent");
    let found = change("attempt", json!("7d1f8a52-2a5e-4f0c-9d55-0d2b7b7e5c11"));
    violation(&found, "chain", 2, "version 2 holds another attempt than the ledger");

    // A batch of this query's name that the checkpoint has never planned, with rows of its own.
    lake.write_actions(2, &ours);
    let mut foreign = lake.doubled(3);
    for action in &mut foreign {
        if action["txn"].is_object() {
            action["txn"]["version"] = json!(4);
        }
    }
    lake.write_actions(BATCHES, &foreign);
    let found = lake.verify(1);
    violation(&found, "chain", 4, "the newest batch that the checkpoint has planned is 3");
    violation(&found, "rows", 4, "topic-0 offset 15 is there again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rewound_checkpoint_is_found() {
    for (behind, records) in [(1, 5), (2, 10)] {
        let lake = Lake::new().await;
        let backup = lake.path("backup");
        copy_dir(&lake.checkpoint(), &backup);
        lake.produce(records).await;
        lake.run();
        assert!(lake.verify(0).is_empty());
        std::fs::remove_dir_all(lake.checkpoint()).unwrap();
        copy_dir(&backup, &lake.checkpoint());
        let found = lake.verify(1);
        let newest = BATCHES - 1 + behind;
        violation(&found, "chain", newest, "the newest batch that the checkpoint has planned is 3");
        violation(&found, "chain", newest, "an older checkpoint was put back");
        // The next run does not go on either.
        let (status, text) = lake.millstream(&["run", "--trigger", "available-now"]);
        assert_ne!(status, Some(0), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_table_is_found() {
    if skip_or_fail("the deltalake wheel", reader::python()).is_none() {
        return;
    }
    let lake = Lake::new().await;
    let backup = lake.path("backup");
    copy_dir(&lake.table(), &backup);
    // To an older version, by Delta's own means: the query's `txn` stays where it was.
    lake.change_table("restore:1");
    let found = lake.verify(1);
    for batch in [2, 3] {
        violation(&found, "files", batch, "version 4 (RESTORE) took `");
    }
    silent(&found, &["chain"]);
    let rows = found.iter().find(|f| f.level == "rows" && f.batch == Some(3)).unwrap();
    assert!(rows.what.starts_with("10 rows are gone"), "{rows:?}");

    // A restore that takes nothing of the stream away is what users may do.
    lake.change_table("restore:3");
    let found = lake.verify(0);
    silent(&found, &["chain", "files", "rows"]);
    lake.change_table("delete");
    lake.change_table("restore:5");
    let found = lake.verify_source(0);
    silent(&found, &["chain", "files", "rows"]);

    // To an older copy, file by file.
    for entry in [lake.log(2), lake.log(3)] {
        std::fs::remove_file(backup.join(entry.strip_prefix(lake.table()).unwrap())).unwrap();
    }
    std::fs::remove_dir_all(lake.table()).unwrap();
    copy_dir(&backup, &lake.table());
    let found = lake.verify(1);
    violation(&found, "chain", 2, "the checkpoint completed batch 3; the table ends with 1");
    violation(&found, "chain", 2, "in the ledger, but in no commit of the table");
    violation(&found, "rows", 2, "10 of the records it read are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_users_may_do_is_no_fault() {
    if skip_or_fail("the deltalake wheel", reader::python()).is_none() {
        return;
    }
    let lake = Lake::new().await;
    // What changes rows is named, with its operation.
    let named = |found: &[Found], operation: &str| {
        let says = format!("({operation}) is not of this query");
        assert!(found.iter().any(|f| f.what.contains(&says)), "{operation}: {found:#?}");
    };
    let operations = [
        ("append", Some("WRITE")),
        ("optimize", None),
        ("update", Some("UPDATE")),
        ("merge", Some("MERGE")),
        ("delete", Some("DELETE")),
        ("add_column", None),
        ("append_with_a_new_column", Some("WRITE")),
        ("z_order", None),
        ("vacuum", None),
        ("overwrite_a_partition", Some("WRITE")),
    ];
    for (at, (operation, name)) in operations.into_iter().enumerate() {
        lake.change_table(operation);
        let found = lake.verify(0);
        silent(&found, &["chain", "files", "rows"]);
        if let Some(name) = name {
            named(&found, name);
        }
        silent(&lake.verify_source(0), &["chain", "files", "rows"]);
        // The stream goes on beside it, and a fault is still seen.
        lake.produce(5).await;
        lake.run();
        silent(&lake.verify(0), &["chain", "files", "rows"]);
        if at % 4 == 0 {
            let version = *lake.versions().last().unwrap();
            let lost = lake.table().join(lake.files(version).remove(0));
            let kept = std::fs::read(&lost).unwrap();
            std::fs::remove_file(&lost).unwrap();
            violation(&lake.verify(1), "files", BATCHES + at as u64, "is not on disk");
            std::fs::write(&lost, kept).unwrap();
        }
    }
    // With the entries that name them, the reasons for what is missing are gone.
    lake.change_table("clean_up_the_log");
    let found = lake.verify(2);
    silent(&found, &["chain", "files"]);
    let says = "who took them away is not known";
    assert!(found.iter().any(|f| f.severity == "unknown" && f.what.contains(says)), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_was_cleaned_up_is_no_fault() {
    if skip_or_fail("the deltalake wheel", reader::python()).is_none() {
        return;
    }
    let lake = Lake::new().await;
    lake.change_table("append");
    lake.change_table("optimize");
    lake.change_table("clean_up_the_log");
    let versions = lake.versions();
    assert!(!versions.contains(&0), "the log was not cleaned up: {versions:?}");
    silent(&lake.verify(0), &["chain", "files", "rows"]);
    silent(&lake.verify_source(0), &["chain", "files", "rows"]);
    lake.produce(5).await;
    lake.run();
    silent(&lake.verify_source(0), &["chain", "files", "rows"]);
    // What the log still tells is found, and what it no longer tells is not known.
    let version = *lake.versions().last().unwrap();
    let lost = lake.files(version).remove(0);
    std::fs::remove_file(lake.table().join(&lost)).unwrap();
    let found = lake.verify(1);
    violation(&found, "files", BATCHES, &format!("`{lost}` is not on disk"));
    violation(&found, "rows", BATCHES, "5 of the records it read are missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lives_of_a_topic_that_was_created_again_are_told_apart() {
    let lake = Lake::new().await;
    lake.write_pipeline(", failOnDataLoss => false");
    lake.kafka.admin().await.recreate_topic("topic").await;
    lake.produce(15).await;
    lake.run();
    let found = lake.verify(0);
    silent(&found, &["chain", "files", "rows"]);
    let says = |part: &str| found.iter().any(|f| f.what.contains(part));
    assert!(says("reading went on at 0 (recreated)"), "{found:#?}");
    // The source has the second life only.
    let found = lake.verify_source(0);
    silent(&found, &["chain", "files", "rows"]);
    let gone = "the source no longer has all records of 4 batches from 0 to 3";
    assert!(found.iter().any(|f| f.what.contains(gone)), "{found:#?}");

    if skip_or_fail("the deltalake wheel", reader::python()).is_some() {
        // Rows of both lives in one file.
        lake.change_table("optimize");
        silent(&lake.verify(0), &["chain", "files", "rows"]);
        silent(&lake.verify_source(0), &["chain", "files", "rows"]);
    }

    // A third copy of an offset that both lives have, and a second of one that only the first has.
    let version = *lake.versions().last().unwrap() + 1;
    let mut rows = lake.doubled(5);
    rows.retain(|action| action["add"].is_object());
    lake.write_actions(version, &rows);
    let found = lake.verify(1);
    violation(&found, "rows", None, "topic-0 offset 5 is there again");
    violation(&lake.verify_source(1), "rows", None, "topic-0 offset 5 is there again");
    let mut rows = lake.doubled(3);
    rows.retain(|action| action["add"].is_object());
    lake.write_actions(version, &rows);
    violation(&lake.verify(1), "rows", None, "topic-0 offset 15 is there again");
}
