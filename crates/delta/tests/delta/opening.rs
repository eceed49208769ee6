//! Opening tables: of other engines, damaged, incomplete, and with every kind of checkpoint.

use crate::support::*;
use millstream_core::Result;
use millstream_delta::{CommitEntry, DeltaTable, LocalLog, LogFiles, Stamp};
use millstream_store::Created;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/delta/data").join(name)
}

fn spark_table() -> PathBuf {
    recorded("spark-4.2")
}

/// A table of our own with `commits` commits and a checkpoint every `interval`.
async fn table_with_checkpoints(path: &Path, commits: u64, interval: u64) {
    let interval = interval.to_string();
    let options = with_properties(path, &[("delta.checkpointInterval", &interval)]);
    let sink = millstream_delta::DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    for batch in 0..commits {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        use millstream_core::contract::Sink as _;
        sink.after_completion().await.unwrap();
        sink.finish_maintenance().await.unwrap();
    }
}

#[test]
fn a_table_of_real_spark_is_read() {
    let table = open(&spark_table());
    assert_eq!((table.version(), table.id()), (0, "a5b06de1-075e-43cf-9e57-09d14b6188c7"));
    assert_eq!(table.schema(), &ddl("v STRING"));
    assert_eq!(table.txn("4077a053-3254-4644-9959-6babc266d209"), Some(0));
    let files = table.active_files().unwrap();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].num_records(), Some(1));
    assert!(files[0].local_path(table.path()).unwrap().exists());
    let commit = table.read_commit(0).unwrap().unwrap();
    assert_eq!(commit.commit_info.unwrap()["operation"], "STREAMING UPDATE");
    assert!(table.read_commit(1).unwrap().is_none());
}

#[tokio::test]
async fn a_table_of_real_spark_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let from = spark_table();
    fs::create_dir(dir.path().join("_delta_log")).unwrap();
    for entry in fs::read_dir(from.join("_delta_log")).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), dir.path().join("_delta_log").join(entry.file_name())).unwrap();
    }
    let sink = sink(dir.path(), "v STRING");
    assert_eq!(append(&sink, query(), 0, "{\"v\":\"y\"}\n").await, 1);
    assert_eq!(row_count(dir.path()), 2);
    assert_eq!(open(dir.path()).protocol().min_writer_version, 2);
}

#[test]
fn real_sparks_checkpoint_and_partition_values_are_read() {
    let table = open(&recorded("spark-4.2-partitioned"));
    assert_eq!((table.version(), table.partition_columns()), (5, &["ts".to_owned()][..]));
    assert_eq!(table.oldest_commit().unwrap(), Some(3));
    let files = table.active_files().unwrap();
    assert_eq!(files.len(), 10);
    for file in &files {
        let value = file.partition_values["ts"].as_deref();
        let escaped = file.path.starts_with("ts=2024-05-01%2006%253A20%253A30.123456/");
        assert_eq!(value, escaped.then_some("2024-05-01T10:20:30.123456Z"), "{}", file.path);
        assert!(file.local_path(table.path()).unwrap().exists());
        assert_eq!(file.num_records(), Some(1));
    }
}

#[test]
fn what_real_spark_makes_and_this_crate_lacks_is_refused_by_name() {
    let vectors = open(&recorded("spark-4.2-vectors"));
    let error = vectors.active_files().unwrap_err();
    assert!(error.message().contains("deletionVectors"), "{error}");

    let v2 = recorded("spark-4.2-v2");
    assert_eq!(row_count(&v2), 4, "all entries are there, so the checkpoint is not needed");
    let error = refusal(millstream_delta::DeltaSinkOptions::new(&v2), "id INT");
    assert_eq!(error.code(), "DELTA_UNSUPPORTED_FEATURE");
    assert!(error.message().contains("v2Checkpoint"), "{error}");
}

#[test]
fn no_log_is_no_table() {
    let dir = tempfile::tempdir().unwrap();
    assert!(DeltaTable::open(dir.path()).unwrap().is_none());
    fs::create_dir(dir.path().join("_delta_log")).unwrap();
    assert!(DeltaTable::open(dir.path()).unwrap().is_none());
}

#[tokio::test]
async fn a_damaged_entry_is_named() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 4, 100).await;
    let whole = fs::read(entry_path(dir.path(), 2)).unwrap();
    let torn = &whole[..whole.len() - 20];
    for damage in [&b""[..], torn, b"\n\n", b"{\"add\":{\"path\":1}}garbage\n"] {
        fs::write(entry_path(dir.path(), 2), damage).unwrap();
        let error = DeltaTable::open(dir.path()).unwrap_err();
        assert_eq!(error.code(), "DELTA_LOG_CORRUPT");
        assert!(error.message().contains("00000000000000000002.json"), "{error}");
    }
}

#[tokio::test]
async fn a_hole_is_named() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 5, 100).await;
    fs::rename(entry_path(dir.path(), 3), dir.path().join("kept")).unwrap();
    let error = DeltaTable::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "DELTA_LOG_INCOMPLETE");
    assert!(error.message().contains("entry 3"), "{error}");
    fs::rename(dir.path().join("kept"), entry_path(dir.path(), 3)).unwrap();
    fs::remove_file(entry_path(dir.path(), 0)).unwrap();
    assert_eq!(DeltaTable::open(dir.path()).unwrap_err().code(), "DELTA_LOG_INCOMPLETE");
}

#[tokio::test]
async fn neither_a_missing_nor_a_stale_hint_hides_anything() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 12, 5).await;
    let hint = dir.path().join("_delta_log/_last_checkpoint");
    let log =
        |version: u64| dir.path().join(format!("_delta_log/{version:020}.checkpoint.parquet"));
    assert!(log(5).exists() && log(10).exists());
    // Entries that the checkpoint replaces are gone, as after a clean-up.
    for version in 0..10 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    let expect = || {
        let table = open(dir.path());
        assert_eq!(table.version(), 11);
        assert_eq!(row_count(dir.path()), 12);
        assert_eq!(table.txns().len(), 2);
    };
    expect();
    fs::write(&hint, json!({"version": 5, "size": 1}).to_string()).unwrap();
    expect();
    fs::write(&hint, "garbage").unwrap();
    expect();
    fs::remove_file(&hint).unwrap();
    expect();
    // Without its own entry the checkpoint still shows the version.
    fs::remove_file(entry_path(dir.path(), 11)).unwrap();
    fs::remove_file(entry_path(dir.path(), 10)).unwrap();
    assert_eq!(open(dir.path()).version(), 10);
    let sink = sink(dir.path(), "id BIGINT");
    assert_eq!(append(&sink, query(), 0, &ids(0..1)).await, 11);
}

#[tokio::test]
async fn a_damaged_checkpoint_is_replaced_by_an_older_one_or_named() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 12, 5).await;
    let newest = dir.path().join(format!("_delta_log/{:020}.checkpoint.parquet", 10));
    fs::write(&newest, "PAR1 not at all").unwrap();
    assert_eq!(row_count(dir.path()), 12);
    for version in 0..10 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    let error = DeltaTable::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "DELTA_CHECKPOINT_CORRUPT");
    assert!(error.message().contains("00000000000000000010.checkpoint.parquet"));
}

/// The sign of a number is the lowest bit of its first byte, and lengths below zero are what the
/// Parquet library panics at.
#[tokio::test]
async fn no_sign_that_changes_in_a_checkpoint_ends_in_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 3, 2).await;
    let log = dir.path().join("_delta_log");
    let newest = log.join(format!("{:020}.checkpoint.parquet", 2));
    let sound = fs::read(&newest).unwrap();
    for entry in fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path()) {
        if entry != newest {
            fs::remove_file(entry).unwrap();
        }
    }
    assert_eq!(open(dir.path()).active_files().unwrap().len(), 3);
    let mut refused = 0;
    for at in 4..sound.len() {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&newest, damaged).unwrap();
        let read = |table: Option<DeltaTable>| table.unwrap().active_files();
        if let Err(error) = DeltaTable::open(dir.path()).and_then(read) {
            assert!(error.code().starts_with("DELTA_"), "byte {at}: {error}");
            refused += 1;
        }
    }
    assert!(refused > 1_000, "{refused}");
}

#[tokio::test]
async fn a_v2_checkpoint_is_refused_by_name_where_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 3, 100).await;
    let v2 = "00000000000000000002.checkpoint.80a083e8-7026-4e79-81be-64bd76c43a11.parquet";
    fs::write(dir.path().join("_delta_log").join(v2), "").unwrap();
    assert_eq!(open(dir.path()).version(), 2);
    for version in 0..3 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    let error = DeltaTable::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "DELTA_UNSUPPORTED_FEATURE");
    assert!(error.message().contains("v2Checkpoint"), "{error}");
}

#[tokio::test]
async fn refreshing_follows_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let mut table = open(dir.path());
    append(&sink, q, 1, &ids(0..1)).await;
    assert_eq!(table.version(), 0);
    table.refresh().unwrap();
    assert_eq!((table.version(), table.txn(&q.to_string())), (1, Some(1)));
    fs::remove_dir_all(dir.path().join("_delta_log")).unwrap();
    assert_eq!(table.refresh().unwrap_err().code(), "DELTA_TABLE_REPLACED");
}

#[tokio::test]
async fn deletion_vectors_are_refused_when_files_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    table_with_checkpoints(dir.path(), 2, 100).await;
    let file = open(dir.path()).active_files().unwrap().remove(0);
    let mut add = serde_json::to_value(&file).unwrap();
    add["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "ab^-aqEH.-t@S}K{vb[*k^",
        "offset": 4, "sizeInBytes": 40, "cardinality": 1});
    foreign_commit(
        dir.path(),
        2,
        &[json!({"remove": {"path": file.path, "deletionTimestamp": 1}}), json!({"add": add})],
    );
    let error = open(dir.path()).active_files().unwrap_err();
    assert_eq!(error.code(), "DELTA_UNSUPPORTED_FEATURE");
    assert!(error.message().contains("deletionVectors"));
}

/// Cut behind a line, an entry of ours is still JSON; taken for a commit of nobody, its batch would
/// be committed again.
#[tokio::test]
async fn an_entry_that_was_cut_behind_a_line_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    append(&sink, q, 1, &ids(1..2)).await;
    let path = entry_path(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    let first = text.find('\n').unwrap() + 1;
    fs::write(&path, &text[..first]).unwrap();
    let error = DeltaTable::open(dir.path()).unwrap_err();
    assert_eq!(error.code(), "DELTA_LOG_CORRUPT");
    assert!(error.message().ends_with("is damaged in line 2."), "{error}");
    let second = first + text[first..].find('\n').unwrap() + 1;
    fs::write(&path, format!("{}{{", &text[..second])).unwrap();
    let error = DeltaTable::open(dir.path()).unwrap_err();
    assert!(error.message().ends_with("is damaged in line 3."), "{error}");
}

#[tokio::test]
async fn one_entry_is_read_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    append(&sink, q, 1, &ids(1..3)).await;
    let log = LocalLog::new(dir.path());
    let entry = CommitEntry::read(&log, 1).unwrap().unwrap();
    assert_eq!((entry.version, entry.adds.len(), entry.txns.len()), (1, 1, 2));
    assert_eq!(open(dir.path()).read_commit(1).unwrap().unwrap().version, 1);
    assert!(CommitEntry::read(&log, 2).unwrap().is_none());
}

/// A log whose first listing shows an entry that is gone when it is read.
#[derive(Debug)]
struct Moving {
    log: LocalLog,
    listings: AtomicUsize,
    moves_until: usize,
}

impl LogFiles for Moving {
    fn dir(&self) -> &Path {
        self.log.dir()
    }
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.log.read(name)
    }
    fn stamp(&self, name: &str) -> Result<Option<Stamp>> {
        self.log.stamp(name)
    }
    fn names(&self) -> Result<Option<Vec<String>>> {
        let mut names = self.log.names()?;
        let listing = self.listings.fetch_add(1, Ordering::SeqCst);
        if listing < self.moves_until {
            let gone = format!("{:020}.json", 9 + listing);
            names.iter_mut().for_each(|names| names.push(gone.clone()));
        }
        Ok(names)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.log.create(name, bytes)
    }
    fn settle(&self, name: &str) -> Result<()> {
        self.log.settle(name)
    }
}

#[tokio::test]
async fn an_opening_that_another_engine_disturbs_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    append(&sink(dir.path(), "id BIGINT"), query(), 0, &ids(0..1)).await;
    let open = |moves_until: usize| {
        let (log, listings) = (LocalLog::new(dir.path()), AtomicUsize::new(0));
        let moving = Arc::new(Moving { log, listings, moves_until });
        (DeltaTable::open_log(dir.path(), Arc::clone(&moving) as _), moving)
    };
    let (table, _) = open(3);
    assert_eq!(table.unwrap().unwrap().version(), 0);
    let (endless, moving) = open(usize::MAX);
    assert_eq!(endless.unwrap_err().code(), "DELTA_LOG_INCOMPLETE");
    assert_eq!(moving.listings.load(Ordering::SeqCst), 10, "five openings, and not for ever");
}
