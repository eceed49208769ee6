//! The shape of commits, probing them, and going on beside other writers.

use crate::support::*;
use millstream_core::contract::{CommitOutcome, Probe, Sink};
use millstream_core::ids::{BatchId, Digest};
use millstream_delta::{DeltaSink, DeltaSinkOptions};
use serde_json::{Value, json};
use std::fs;

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn entries_have_sparks_shape() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "v STRING");
    let (q, other) = (query(), query());
    let first = tag(q, 0);
    let staged = stage(&sink, &first, "{\"v\":\"x\"}\n").unwrap();
    assert_eq!(committed(sink.commit(&first, &staged).await.unwrap()), 0);
    append(&sink, other, 7, "").await;

    let lines = entry_lines(dir.path(), 0);
    let kinds: Vec<&str> = lines.iter().flat_map(keys).collect();
    assert_eq!(kinds, ["commitInfo", "metaData", "protocol", "txn", "txn", "add"]);
    let info = &lines[0]["commitInfo"];
    assert_eq!(
        keys(info),
        [
            "timestamp",
            "operation",
            "operationParameters",
            "isolationLevel",
            "isBlindAppend",
            "operationMetrics",
            "engineInfo",
            "txnId",
            "millstream"
        ]
    );
    assert_eq!(info["operation"], "STREAMING UPDATE");
    assert_eq!(
        info["operationParameters"],
        json!({"outputMode": "Append", "queryId": q.to_string(), "epochId": "0"})
    );
    assert_eq!(info["operationMetrics"]["numOutputRows"], "1");
    assert_eq!(info["operationMetrics"]["numAddedFiles"], "1");
    assert_eq!(info["txnId"], first.attempt.to_string());
    assert_eq!(info["millstream"]["digest"], first.digest.to_string());
    assert_eq!(info["millstream"]["ranges"], json!([{"t": {"0": [0, 1]}}]));
    assert_eq!(
        keys(&lines[1]["metaData"]),
        ["id", "format", "schemaString", "partitionColumns", "configuration", "createdTime"]
    );
    assert_eq!(
        lines[2]["protocol"],
        json!({"minReaderVersion": 1, "minWriterVersion": 7,
               "writerFeatures": ["appendOnly", "invariants"]})
    );
    assert_eq!(lines[3]["txn"]["appId"], q.to_string());
    assert_eq!(lines[3]["txn"]["version"], 0);
    assert_eq!(lines[4]["txn"]["appId"], format!("{q}#millstream"));
    assert_eq!(
        keys(&lines[5]["add"]),
        ["path", "partitionValues", "size", "modificationTime", "dataChange", "stats"]
    );
    let stats = lines[5]["add"]["stats"].as_str().unwrap();
    assert_eq!(
        stats,
        r#"{"numRecords":1,"minValues":{"v":"x"},"maxValues":{"v":"x"},"nullCount":{"v":0}}"#
    );
    let path = lines[5]["add"]["path"].as_str().unwrap();
    assert_eq!(path, format!("part-00000-{}-c000.snappy.parquet", first.attempt));

    let empty = entry_lines(dir.path(), 1);
    assert_eq!(empty.iter().flat_map(keys).collect::<Vec<_>>(), ["commitInfo", "txn", "txn"]);
    assert_eq!(empty[0]["commitInfo"]["readVersion"], 0);
}

#[tokio::test]
async fn probes_tell_what_the_log_says() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    assert_eq!(sink.probe(q, BatchId(0)).await.unwrap(), Probe::Absent);
    let mut tags = Vec::new();
    for batch in 0..3 {
        let tag = tag(q, batch);
        let staged = stage(&sink, &tag, &ids(0..1)).unwrap();
        committed(sink.commit(&tag, &staged).await.unwrap());
        tags.push(tag);
    }
    // A process that knows nothing sees the same.
    let fresh = DeltaSink::prepare(DeltaSinkOptions::new(dir.path()), &ddl("id BIGINT"), env());
    for sink in [sink, fresh.unwrap()] {
        assert_eq!(
            sink.probe(q, BatchId(2)).await.unwrap(),
            Probe::Committed {
                attempt: Some(tags[2].attempt),
                digest_low_48: Some(Digest::of(&2u64.to_be_bytes()).low_48_bits()),
            }
        );
        assert_eq!(sink.probe(q, BatchId(1)).await.unwrap(), Probe::Ahead { newest: BatchId(2) });
        assert_eq!(sink.probe(q, BatchId(3)).await.unwrap(), Probe::Absent);
        assert_eq!(sink.probe(query(), BatchId(0)).await.unwrap(), Probe::Absent);
    }
}

#[tokio::test]
async fn a_batch_is_committed_once() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..2)).await;
    append(&sink, q, 1, &ids(2..4)).await;
    for batch in [0, 1] {
        let again = tag(q, batch);
        let staged = stage(&sink, &again, &ids(0..2)).unwrap();
        let outcome = sink.commit(&again, &staged).await.unwrap();
        assert!(matches!(outcome, CommitOutcome::AlreadyThere), "{outcome:?}");
    }
    assert_eq!(open(dir.path()).version(), 1);
    assert_eq!(row_count(dir.path()), 4);
}

#[tokio::test]
async fn another_engines_batch_has_no_mark() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, "").await;
    let txn = json!({"txn": {"appId": q.to_string(), "version": 1}});
    foreign_commit(dir.path(), 1, &[json!({"commitInfo": {"operation": "STREAMING UPDATE"}}), txn]);
    assert_eq!(
        sink.probe(q, BatchId(1)).await.unwrap(),
        Probe::Committed { attempt: None, digest_low_48: None }
    );
}

#[tokio::test]
async fn a_later_process_finishes_what_was_staged() {
    let dir = tempfile::tempdir().unwrap();
    let q = query();
    let first = tag(q, 0);
    let staged = {
        let sink = sink(dir.path(), "id BIGINT, note STRING");
        stage(&sink, &first, "{\"id\":1,\"note\":\"a\"}\n").unwrap()
    };
    // The staged commit creates its own table, not the one that the later process would plan.
    let later = sink(dir.path(), "id BIGINT");
    assert_eq!(committed(later.commit(&first, &staged).await.unwrap()), 0);
    assert_eq!(open(dir.path()).schema(), &ddl("id BIGINT, note STRING"));
    assert_eq!(row_count(dir.path()), 1);
}

#[tokio::test]
async fn a_missing_staged_file_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let tag = tag(query(), 0);
    let staged = stage(&sink, &tag, &ids(0..2)).unwrap();
    let path = staged.0["adds"][0]["path"].as_str().unwrap().to_owned();
    fs::remove_file(dir.path().join(&path)).unwrap();
    let error = sink.commit(&tag, &staged).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_STAGED_FILE_MISSING");
    assert!(error.message().contains(&path));
    assert!(!entry_path(dir.path(), 0).exists());
}

/// What a table has is not looked for again: other engines compact and vacuum.
#[tokio::test]
async fn staged_files_are_missed_until_their_batch_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..2)).await;
    let tag = tag(q, 1);
    let staged = stage(&sink, &tag, &ids(2..4)).unwrap();
    let path = dir.path().join(staged.0["adds"][0]["path"].as_str().unwrap());
    let away = dir.path().join("away");
    fs::rename(&path, &away).unwrap();
    let error = sink.commit(&tag, &staged).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_STAGED_FILE_MISSING");
    fs::rename(&away, &path).unwrap();
    assert_eq!(committed(sink.commit(&tag, &staged).await.unwrap()), 1);
    fs::remove_file(&path).unwrap();
    let outcome = sink.commit(&tag, &staged).await.unwrap();
    assert!(matches!(outcome, CommitOutcome::AlreadyThere), "{outcome:?}");
}

#[tokio::test]
async fn a_mark_without_its_number_is_damage_and_no_absence() {
    let dir = tempfile::tempdir().unwrap();
    let q = query();
    append(&sink(dir.path(), "id BIGINT"), q, 0, &ids(0..2)).await;
    append(&sink(dir.path(), "id BIGINT"), q, 1, &ids(2..4)).await;
    let path = entry_path(dir.path(), 1);
    let text = fs::read_to_string(&path).unwrap();
    let number = format!("\"txn\":{{\"appId\":\"{q}\"");
    assert!(text.contains(&number), "{text}");
    fs::write(&path, text.replace(&number, "\"txn\":{\"appId\":\"somebody\"")).unwrap();
    let error = sink(dir.path(), "id BIGINT").probe(q, BatchId(1)).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_LOG_CORRUPT");
    assert!(error.message().contains("00000000000000000001.json"), "{error}");
}

#[tokio::test]
async fn a_torn_staged_file_is_no_staged_file() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let staged = stage(&sink, &tag(query(), 0), &ids(0..2)).unwrap();
    assert!(sink.staged_is_complete(&staged).await.unwrap());
    let path = dir.path().join(staged.0["adds"][0]["path"].as_str().unwrap());
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    assert!(!sink.staged_is_complete(&staged).await.unwrap());
}

#[tokio::test]
async fn commits_go_on_top_of_other_writers() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..2)).await;
    let tag = tag(q, 1);
    let staged = stage(&sink, &tag, &ids(2..3)).unwrap();
    let old = open(dir.path()).active_files().unwrap().remove(0);
    // An OPTIMIZE, an append, and a new table property win the race.
    let mut compacted = serde_json::to_value(&old).unwrap();
    compacted["path"] = json!("compacted.parquet");
    compacted["dataChange"] = json!(false);
    foreign_commit(
        dir.path(),
        1,
        &[
            json!({"remove": {"path": old.path, "dataChange": false, "deletionTimestamp": 1}}),
            json!({"add": compacted}),
        ],
    );
    compacted["path"] = json!("appended.parquet");
    foreign_commit(dir.path(), 2, &[json!({"add": compacted}), json!({"someday": {"x": 1}})]);
    let mut metadata = serde_json::to_value(open(dir.path()).metadata()).unwrap();
    metadata["configuration"] = json!({"owner": "me"});
    foreign_commit(dir.path(), 3, &[json!({"metaData": metadata})]);
    assert_eq!(committed(sink.commit(&tag, &staged).await.unwrap()), 4);
    assert_eq!(row_count(dir.path()), 5);
}

#[tokio::test]
async fn changed_tables_are_gone_on_with_or_refused() {
    let change = |schema: &'static str, partition: &'static [&'static str], extra: Value| async move {
        let dir = tempfile::tempdir().unwrap();
        let sink = sink(dir.path(), "id BIGINT, name STRING");
        let q = query();
        append(&sink, q, 0, "").await;
        let tag = tag(q, 1);
        let staged = stage(&sink, &tag, "{\"id\":1}\n").unwrap();
        let mut metadata = serde_json::to_value(open(dir.path()).metadata()).unwrap();
        metadata["schemaString"] = json!(ddl(schema).to_json());
        metadata["partitionColumns"] = json!(partition);
        foreign_commit(dir.path(), 1, &[json!({"metaData": metadata}), extra]);
        sink.commit(&tag, &staged).await.map(committed)
    };
    let none = || json!({"commitInfo": {}});
    assert_eq!(change("id BIGINT, name STRING, c DATE", &[], none()).await.unwrap(), 2);
    for (schema, partition) in [
        ("id BIGINT", &[][..]),
        ("id STRING, name STRING", &[]),
        ("id BIGINT NOT NULL, name STRING", &[]),
        ("id BIGINT, name STRING, c INT NOT NULL", &[]),
        ("id BIGINT, name STRING", &["name"]),
    ] {
        let error = change(schema, partition, none()).await.unwrap_err();
        assert_eq!(error.code(), "DELTA_METADATA_CHANGED", "{schema}");
    }
    let protocol = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7,
        "writerFeatures": ["rowTracking"]}});
    let error = change("id BIGINT, name STRING", &[], protocol).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_UNSUPPORTED_FEATURE");
}

#[tokio::test]
async fn a_replaced_table_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("t");
    let first = sink(&table, "id BIGINT");
    let q = query();
    append(&first, q, 0, &ids(0..1)).await;
    append(&first, q, 1, &ids(1..2)).await;
    let tag = tag(q, 2);

    fs::rename(&table, dir.path().join("old")).unwrap();
    let error = first.probe(q, BatchId(2)).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_TABLE_REPLACED");

    // Another table, which is not a log that went back, however short its own is.
    let another = sink(&table, "id BIGINT");
    append(&another, query(), 0, "").await;
    let error = first.probe(q, BatchId(2)).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_TABLE_REPLACED");
    append(&another, query(), 0, "").await;
    let staged = stage(&first, &tag, &ids(2..3)).unwrap();
    let error = first.commit(&tag, &staged).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_TABLE_REPLACED");
    assert_eq!(open(&table).version(), 1);
}

#[tokio::test]
async fn an_entry_that_vanished_stops_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    for batch in 0..3 {
        append(&sink, q, batch, &ids(0..1)).await;
    }
    let tag = tag(q, 3);
    let staged = stage(&sink, &tag, &ids(3..4)).unwrap();
    fs::remove_file(entry_path(dir.path(), 2)).unwrap();
    for _ in 0..2 {
        let error = sink.probe(q, BatchId(2)).await.unwrap_err();
        assert_eq!(error.code(), "DELTA_LOG_WENT_BACK");
    }
    let error = sink.commit(&tag, &staged).await.unwrap_err();
    assert_eq!(error.code(), "DELTA_LOG_WENT_BACK");
    assert!(!entry_path(dir.path(), 2).exists(), "the place of the lost entry is not taken");
}

#[tokio::test]
async fn several_flows_create_one_table() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (sink(dir.path(), "id BIGINT"), sink(dir.path(), "id BIGINT"));
    let (qa, qb) = (query(), query());
    let (tag_a, tag_b) = (tag(qa, 0), tag(qb, 0));
    let staged_a = stage(&a, &tag_a, &ids(0..2)).unwrap();
    let staged_b = stage(&b, &tag_b, &ids(2..5)).unwrap();
    assert_eq!(committed(a.commit(&tag_a, &staged_a).await.unwrap()), 0);
    assert_eq!(committed(b.commit(&tag_b, &staged_b).await.unwrap()), 1);
    assert_eq!(a.table_id(), b.table_id());
    assert_eq!(row_count(dir.path()), 5);
}

#[tokio::test]
async fn an_entry_that_another_writer_replaced_stops_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    append(&sink, q, 1, &ids(1..2)).await;
    let theirs = dir.path().join("theirs");
    fs::write(&theirs, "{\"commitInfo\":{\"operation\":\"WRITE\"}}\n").unwrap();
    fs::rename(&theirs, entry_path(dir.path(), 1)).unwrap();
    let tag = tag(q, 2);
    let staged = stage(&sink, &tag, &ids(2..3)).unwrap();
    for _ in 0..2 {
        let error = sink.commit(&tag, &staged).await.unwrap_err();
        assert_eq!(error.code(), "DELTA_LOG_ENTRY_REPLACED");
    }
    assert!(!entry_path(dir.path(), 2).exists());
}

#[tokio::test]
async fn a_log_that_was_copied_is_gone_on_with() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("t");
    let sink = sink(&table, "id BIGINT");
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    append(&sink, q, 1, &ids(1..2)).await;
    for version in 0..2 {
        let bytes = fs::read(entry_path(&table, version)).unwrap();
        fs::remove_file(entry_path(&table, version)).unwrap();
        fs::write(entry_path(&table, version), bytes).unwrap();
    }
    assert_eq!(append(&sink, q, 2, &ids(2..3)).await, 2);
}

/// Marks carry 15 bits of a batch's number: the next one's may be smaller, and nothing is lost.
#[tokio::test]
async fn a_mark_that_starts_over_is_no_lost_commit() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (sink(dir.path(), "id BIGINT"), sink(dir.path(), "id BIGINT"));
    let q = query();
    append(&first, q, 32_767, &ids(0..1)).await;
    first.probe(q, BatchId(32_767)).await.unwrap();
    append(&second, q, 32_768, &ids(1..2)).await;
    // The same bytes in another file, so that the first sink opens the log anew.
    let bytes = fs::read(entry_path(dir.path(), 0)).unwrap();
    fs::write(dir.path().join("copy"), bytes).unwrap();
    fs::rename(dir.path().join("copy"), entry_path(dir.path(), 0)).unwrap();
    let found = first.probe(q, BatchId(32_768)).await.unwrap();
    assert!(matches!(found, Probe::Committed { .. }), "{found:?}");
}
