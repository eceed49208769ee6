//! Table checkpoints and log clean-up.

use crate::support::*;
use millstream_core::contract::{Probe, Sink};
use millstream_core::env::SharedEnv;
use millstream_core::ids::BatchId;
use millstream_delta::{DeltaSink, DeltaSinkOptions};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn names(table: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(table.join("_delta_log"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn checkpoint_versions(table: &Path) -> Vec<u64> {
    names(table)
        .iter()
        .filter_map(|n| n.strip_suffix(".checkpoint.parquet"))
        .map(|n| n.parse().unwrap())
        .collect()
}

async fn complete(sink: &DeltaSink) {
    sink.after_completion().await.unwrap();
    sink.finish_maintenance().await.unwrap();
}

#[tokio::test]
async fn the_property_sets_the_interval_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "4")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let (q, other) = (query(), query());
    append(&sink, other, 41, "").await;
    for batch in 0..12 {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        complete(&sink).await;
    }
    assert_eq!(checkpoint_versions(dir.path()), [4, 8, 12]);
    let hint: Value =
        serde_json::from_slice(&fs::read(dir.path().join("_delta_log/_last_checkpoint")).unwrap())
            .unwrap();
    assert_eq!((&hint["version"], &hint["numOfAddFiles"]), (&json!(12), &json!(12)));
    // protocol, metaData, two txns of each query, twelve files.
    assert_eq!(hint["size"], 2 + 4 + 12);

    for version in 0..12 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    let table = open(dir.path());
    assert_eq!(table.schema(), &ddl("id BIGINT"));
    assert_eq!(table.properties()["delta.checkpointInterval"], "4");
    assert_eq!(table.txn(&other.to_string()), Some(41));
    assert_eq!(row_count(dir.path()), 12);
    let again = crate::support::sink(dir.path(), "id BIGINT");
    let expected =
        Probe::Committed { attempt: None, digest_low_48: Some(tag(q, 11).digest.low_48_bits()) };
    fs::remove_file(entry_path(dir.path(), 12)).unwrap();
    let from_checkpoint = crate::support::sink(dir.path(), "id BIGINT");
    drop(again);
    assert_eq!(from_checkpoint.probe(q, BatchId(11)).await.unwrap(), expected);
}

#[tokio::test]
async fn without_a_property_small_tables_wait_for_a_hundred_entries() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    for batch in 0..=100 {
        append(&sink, q, batch, "").await;
        complete(&sink).await;
    }
    assert_eq!(checkpoint_versions(dir.path()), [100]);
}

#[tokio::test]
async fn tombstones_stay_for_their_time_and_removed_files_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "2")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT, p STRING"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, "{\"id\":1,\"p\":\"\"}\n").await;
    append(&sink, q, 1, "{\"id\":2}\n").await;
    append(&sink, q, 2, "{\"id\":3}\n").await;
    complete(&sink).await;
    let files = open(dir.path()).active_files().unwrap();
    let now = env().now_ms();
    foreign_commit(
        dir.path(),
        3,
        &[
            json!({"remove": {"path": files[0].path, "dataChange": true,
                "deletionTimestamp": now, "size": 7, "partitionValues": {},
                "extendedFileMetadata": true}}),
            json!({"remove": {"path": files[1].path, "dataChange": true,
                "deletionTimestamp": now - 8 * DAY_MS}}),
        ],
    );
    append(&sink, q, 3, "{\"id\":4}\n").await;
    complete(&sink).await;
    assert_eq!(checkpoint_versions(dir.path()), [2, 4]);
    let hint: Value =
        serde_json::from_slice(&fs::read(dir.path().join("_delta_log/_last_checkpoint")).unwrap())
            .unwrap();
    assert_eq!(hint["numOfAddFiles"], 2);
    assert_eq!(hint["size"], 2 + 2 + 2 + 1, "one tombstone is still needed");
    for version in 0..4 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    assert_eq!(row_count(dir.path()), 2);
}

/// A checkpoint of no parts would stand for a table of no files: what is written on top of it
/// would have lost every file up to there.
#[tokio::test]
async fn a_hint_of_no_parts_or_of_endless_ones_is_no_checkpoint() {
    for parts in [0, u32::MAX] {
        let dir = tempfile::tempdir().unwrap();
        let options = with_properties(dir.path(), &[("delta.checkpointInterval", "4")]);
        let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
        let q = query();
        for batch in 0..3 {
            append(&sink, q, batch, &ids(batch..batch + 1)).await;
        }
        let hint = json!({"version": 2, "size": 1, "parts": parts});
        fs::write(dir.path().join("_delta_log/_last_checkpoint"), hint.to_string()).unwrap();
        assert_eq!(open(dir.path()).hinted_checkpoint().unwrap(), None);
        for batch in 3..8 {
            append(&sink, q, batch, &ids(batch..batch + 1)).await;
            complete(&sink).await;
        }
        let newest = *checkpoint_versions(dir.path()).last().unwrap();
        for version in 0..newest {
            fs::remove_file(entry_path(dir.path(), version)).unwrap();
        }
        assert_eq!(row_count(dir.path()), 8, "parts {parts}");
    }
}

/// Writers put an Arrow schema beside the Parquet one; whatever became of it, the table is read.
#[tokio::test]
async fn the_arrow_schema_of_a_checkpoint_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "2")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    for batch in 0..3 {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        complete(&sink).await;
    }
    let path = dir.path().join(format!("_delta_log/{:020}.checkpoint.parquet", 2));
    let whole = fs::read(&path).unwrap();
    let key = b"ARROW:schema";
    let from = whole.windows(key.len()).position(|w| w == key).unwrap() + key.len() + 4;
    let is_base64 = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b);
    let letters = whole[from..].iter().take_while(|b| is_base64(**b)).count();
    assert!(letters > 100, "the schema is in base64");
    for version in 0..2 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    for at in (from..from + letters).step_by(7) {
        let mut damaged = whole.clone();
        damaged[at] = b'A';
        fs::write(&path, damaged).unwrap();
        let live = open(dir.path()).active_files().unwrap();
        assert_eq!(live.len(), 3, "byte {at}");
    }
}

#[tokio::test]
async fn another_engines_checkpoint_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "3")]);
    let first = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let second = sink(dir.path(), "id BIGINT");
    let (qa, qb) = (query(), query());
    for batch in 0..4 {
        append(&first, qa, batch, &ids(0..1)).await;
    }
    complete(&first).await;
    append(&second, qb, 0, &ids(0..1)).await;
    complete(&second).await;
    assert_eq!(checkpoint_versions(dir.path()), [3]);
    for version in 0..3 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    append(&second, qb, 1, &ids(0..1)).await;
    append(&second, qb, 2, &ids(0..1)).await;
    complete(&second).await;
    assert_eq!(checkpoint_versions(dir.path()), [3, 6]);
    assert_eq!(row_count(dir.path()), 7);
}

#[tokio::test]
async fn expired_entries_go_and_every_kept_version_stays_readable() {
    let dir = tempfile::tempdir().unwrap();
    let moved = Arc::new(MovedEnv::default());
    let shared: SharedEnv = Arc::clone(&moved) as _;
    let options = with_properties(
        dir.path(),
        &[("delta.checkpointInterval", "5"), ("delta.logRetentionDuration", "interval 2 days")],
    );
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), shared).unwrap();
    let q = query();
    for batch in 0..12 {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        complete(&sink).await;
    }
    let log = dir.path().join("_delta_log");
    fs::write(log.join(".00000000000000000003.json.crc"), "x").unwrap();
    fs::write(log.join(".00000000000000000099.json.0c.tmp"), "left").unwrap();
    assert_eq!(names(dir.path()).iter().filter(|n| n.ends_with(".json")).count(), 12);

    moved.by_ms.store(4 * DAY_MS, Ordering::SeqCst);
    for batch in 12..16 {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        complete(&sink).await;
    }
    // On the shifted clock everything so far is expired; the newest checkpoint stands for it.
    assert_eq!(checkpoint_versions(dir.path()), [15]);
    let left = names(dir.path());
    assert_eq!(
        left,
        [
            "00000000000000000015.checkpoint.parquet",
            "00000000000000000015.json",
            "_last_checkpoint"
        ]
    );
    assert_eq!(row_count(dir.path()), 16);
    assert_eq!(append(&sink, q, 16, "").await, 16);
    assert_eq!(append(&crate::support::sink(dir.path(), "id BIGINT"), query(), 0, "").await, 17);
}

#[tokio::test]
async fn clean_up_can_be_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let moved = Arc::new(MovedEnv::default());
    moved.by_ms.store(90 * DAY_MS, Ordering::SeqCst);
    let options = DeltaSinkOptions {
        ..with_properties(
            dir.path(),
            &[("delta.checkpointInterval", "3"), ("delta.enableExpiredLogCleanup", "false")],
        )
    };
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), moved).unwrap();
    let q = query();
    for batch in 0..8 {
        append(&sink, q, batch, "").await;
        complete(&sink).await;
    }
    assert_eq!(names(dir.path()).iter().filter(|n| n.ends_with(".json")).count(), 8);
}

/// Other engines delete the entry of a checkpoint itself, too.
#[tokio::test]
async fn the_entry_of_a_checkpoint_is_not_needed() {
    let dir = tempfile::tempdir().unwrap();
    let options = || with_properties(dir.path(), &[("delta.checkpointInterval", "4")]);
    let first = DeltaSink::prepare(options(), &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    for batch in 0..6 {
        append(&first, q, batch, &ids(batch..batch + 1)).await;
        complete(&first).await;
    }
    assert_eq!(open(dir.path()).hinted_checkpoint().unwrap(), Some(4));
    for version in 0..=4 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    assert_eq!(row_count(dir.path()), 6);
    let second = DeltaSink::prepare(options(), &ddl("id BIGINT"), env()).unwrap();
    for batch in 6..9 {
        append(&second, q, batch, &ids(batch..batch + 1)).await;
        complete(&second).await;
    }
    assert_eq!(checkpoint_versions(dir.path()), [4, 8]);
    assert_eq!(row_count(dir.path()), 9);
}

#[tokio::test]
async fn checkpoints_in_parts_and_of_many_files_are_whole() {
    const FILES: u64 = 2_100;
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "2")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let mut file = serde_json::to_value(&open(dir.path()).active_files().unwrap()[0]).unwrap();
    let adds: Vec<Value> = (1..FILES)
        .map(|n| {
            file["path"] = json!(format!("more-{n}.parquet"));
            json!({"add": file})
        })
        .collect();
    foreign_commit(dir.path(), 1, &adds);
    append(&sink, q, 1, "").await;
    complete(&sink).await;
    let whole = dir.path().join("_delta_log/00000000000000000002.checkpoint.parquet");
    let part =
        whole.with_file_name("00000000000000000002.checkpoint.0000000001.0000000001.parquet");
    fs::rename(whole, part).unwrap();
    let hint = json!({"version": 2, "size": FILES + 4, "parts": 1, "numOfAddFiles": FILES});
    fs::write(dir.path().join("_delta_log/_last_checkpoint"), hint.to_string()).unwrap();
    for version in 0..2 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    assert_eq!(row_count(dir.path()), FILES);
    assert_eq!(open(dir.path()).hinted_checkpoint().unwrap(), Some(2));
}
