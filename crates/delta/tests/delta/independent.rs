//! Tables read by the `deltalake` Python wheel, which shares no code with this crate.

use crate::support::*;
use millstream_core::contract::Sink as _;
use millstream_delta::DeltaSink;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[allow(clippy::disallowed_methods)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The interpreter that has the wheel. Absent where nobody installed it, which is loud, and an
/// error where it is demanded.
fn python() -> Option<PathBuf> {
    let cache = environment("MILLSTREAM_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(environment("HOME")?).join(".cache/millstream")))?;
    let python = cache.join("venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    let required = environment("MILLSTREAM_REQUIRE_REAL").is_some_and(|v| v == "1")
        || environment("CI").is_some_and(|v| v == "true");
    assert!(!required, "{} is missing: run scripts/setup-tests.sh", python.display());
    eprintln!("SKIPPED: {} is missing; run scripts/setup-tests.sh", python.display());
    None
}

fn read(python: &Path, table: &Path, statements: &[&str]) -> Value {
    let script =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/real/delta/describe_table.py");
    let output = Command::new(python).arg(script).arg(table).args(statements).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn column<'a>(rows: &'a Value, name: &str) -> Vec<&'a Value> {
    rows.as_array().unwrap().iter().map(|row| &row[name]).collect()
}

#[tokio::test]
async fn every_type_is_read_back() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(
        dir.path(),
        "id BIGINT, b TINYINT, f FLOAT, flag BOOLEAN, d DECIMAL(38,18), s STRING, day DATE, \
         ts TIMESTAMP, tags ARRAY<STRING>, m MAP<STRING, BIGINT>, n STRUCT<x: INT, y: ARRAY<INT>>",
    );
    let lines = concat!(
        r#"{"id":1,"b":-7,"f":1.5,"flag":true,"d":"1.000000000000000001","s":"é\n","#,
        r#""day":"2024-02-29","ts":"2024-05-01T10:20:30.123456Z","tags":["a",null],"#,
        r#""m":{"k":1},"n":{"x":1,"y":[1,2]}}"#,
        "\n{\"id\":2}\n"
    );
    append(&sink, query(), 0, lines).await;
    let seen = read(&python, dir.path(), &["select * from t order by id"]);
    let first = &seen["answers"][0][0];
    assert_eq!(
        first,
        &json!({"id": 1, "b": -7, "f": 1.5, "flag": true, "d": "1.000000000000000001",
                "s": "é\n", "day": "2024-02-29", "ts": "2024-05-01T10:20:30.123456+00:00",
                "tags": ["a", null], "m": [["k", 1]], "n": {"x": 1, "y": [1, 2]}})
    );
    assert!(
        seen["answers"][0][1].as_object().unwrap().iter().all(|(k, v)| k == "id" || v.is_null())
    );
    assert_eq!(seen["protocol"], json!([1, 7]));
    assert_eq!(seen["history"], json!(["STREAMING UPDATE"]));
    assert_eq!(seen["id"], sink.table_id().unwrap());
    assert_eq!(
        seen["schema"],
        serde_json::from_str::<Value>(&sink.table_schema().to_json()).unwrap()
    );
}

#[tokio::test]
async fn partition_values_are_read_back() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let schema = "id INT, k STRING, ts TIMESTAMP, day DATE, dec DECIMAL(10,2), flag BOOLEAN";
    let options = partitioned(dir.path(), &["k", "ts", "day", "dec", "flag"]);
    let sink = DeltaSink::prepare(options, &ddl(schema), env()).unwrap();
    let keys =
        ["plain", "a b/c=d:e%f", "ü ? #", "quote'\"x", "tab\tnew", "{[^]}", "~!@$&*()+,;", "."];
    let mut lines = String::new();
    for (id, key) in keys.iter().enumerate() {
        let row = json!({"id": id, "k": key, "ts": "2024-05-01T10:20:30.123456Z",
            "day": "1999-12-31", "dec": "1.50", "flag": id % 2 == 0});
        lines.push_str(&format!("{row}\n"));
    }
    lines.push_str("{\"id\":100,\"k\":\"\"}\n{\"id\":101}\n");
    append(&sink, query(), 0, &lines).await;
    let seen = read(
        &python,
        dir.path(),
        &[
            "select * from t order by id",
            "select id from t where k = 'a b/c=d:e%f'",
            "select id from t where ts = timestamp '2024-05-01T10:20:30.123456Z' order by id",
            "select id from t where k is null order by id",
        ],
    );
    let all = &seen["answers"][0];
    let found: Vec<&str> =
        column(all, "k").iter().take(keys.len()).map(|k| k.as_str().unwrap()).collect();
    assert_eq!(found, keys);
    assert_eq!(all[0]["ts"], "2024-05-01T10:20:30.123456+00:00");
    assert_eq!((&all[0]["day"], &all[0]["dec"]), (&json!("1999-12-31"), &json!("1.50")));
    assert_eq!(column(&seen["answers"][1], "id"), [1]);
    assert_eq!(seen["answers"][2].as_array().unwrap().len(), keys.len());
    assert_eq!(column(&seen["answers"][3], "id"), [100, 101]);
    assert_eq!(seen["scan"].as_array().unwrap().len(), keys.len() + 2);
    let ours: BTreeSet<PathBuf> = open(dir.path())
        .active_files()
        .unwrap()
        .iter()
        .map(|f| f.local_path(dir.path()).unwrap())
        .collect();
    assert!(ours.iter().all(|path| path.exists()));
}

#[tokio::test]
async fn skipping_files_by_statistics_loses_no_row() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id INT, f DOUBLE, s STRING, ts TIMESTAMP, d DECIMAL(30,2)");
    let q = query();
    let long = "z".repeat(40);
    for batch in 0..6i64 {
        let row = json!({"id": batch, "f": batch as f64 + 0.5, "s": format!("{long}{batch}"),
            "ts": format!("2024-05-01T00:00:0{batch}.000500Z"), "d": format!("{batch}.25")});
        append(&sink, q, batch as u64, &format!("{row}\n")).await;
    }
    let exact = [
        "select id from t where id = 3".to_owned(),
        "select id from t where f = 3.5".to_owned(),
        format!("select id from t where s = '{long}3'"),
        format!("select id from t where s > '{long}2' and s < '{long}4'"),
        "select id from t where ts = timestamp '2024-05-01T00:00:03.000500Z'".to_owned(),
        "select id from t where ts > timestamp '2024-05-01T00:00:03.000499Z' \
         and ts < timestamp '2024-05-01T00:00:03.000501Z'"
            .to_owned(),
        "select id from t where d = 3.25".to_owned(),
    ];
    let statements: Vec<&str> = exact.iter().map(String::as_str).collect();
    let seen = read(&python, dir.path(), &statements);
    for (statement, answer) in exact.iter().zip(seen["answers"].as_array().unwrap()) {
        assert_eq!(column(answer, "id"), [3], "{statement}");
    }
    let third = &seen["adds"].as_array().unwrap().iter().find(|a| a["min.id"] == 3).unwrap();
    assert_eq!((&third["num_records"], &third["max.id"]), (&json!(1), &json!(3)));
    assert_eq!(third["null_count.f"], 0);
}

#[tokio::test]
async fn tables_are_read_from_our_checkpoints() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = millstream_delta::DeltaSinkOptions {
        partition_by: Some(vec!["p".to_owned()]),
        ..with_properties(dir.path(), &[("delta.checkpointInterval", "10")])
    };
    let sink = DeltaSink::prepare(options, &ddl("id INT, p STRING"), env()).unwrap();
    let q = query();
    for batch in 0..23 {
        let p = if batch % 3 == 0 { "null".to_owned() } else { format!("\"p {}\"", batch % 3) };
        append(&sink, q, batch, &format!("{{\"id\":{batch},\"p\":{p}}}\n")).await;
        sink.after_completion().await.unwrap();
        sink.finish_maintenance().await.unwrap();
    }
    for version in 0..20 {
        fs::remove_file(entry_path(dir.path(), version)).unwrap();
    }
    let seen = read(
        &python,
        dir.path(),
        &[
            "select id from t order by id",
            "select id from t where p is null and id > 17 order by id",
        ],
    );
    assert_eq!(seen["version"], 22);
    assert_eq!(column(&seen["answers"][0], "id"), (0..23).collect::<Vec<_>>());
    assert_eq!(column(&seen["answers"][1], "id"), [18, 21]);
    assert_eq!(seen["configuration"]["delta.checkpointInterval"], "10");
    assert_eq!(seen["scan"].as_array().unwrap().len(), 23);
}

#[tokio::test]
async fn tables_of_the_wheel_are_read_and_gone_on_with() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("t");
    let script = r#"
import sys, pyarrow as pa
from deltalake import DeltaTable, write_deltalake
path = sys.argv[1]
data = pa.table({"id": pa.array(range(10), pa.int64()), "p": ["a b", "c/d"] * 5})
write_deltalake(path, data, partition_by=["p"])
write_deltalake(path, data, mode="append")
table = DeltaTable(path)
table.delete("id = 3")
table.optimize.compact()
table.create_checkpoint()
write_deltalake(path, data.slice(0, 1), mode="append")
"#;
    let made = Command::new(&python).args(["-c", script]).arg(&table).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let before = open(&table);
    assert_eq!(before.partition_columns(), ["p"]);
    assert_eq!(row_count(&table), 19);
    for file in before.active_files().unwrap() {
        assert!(file.local_path(&table).unwrap().exists(), "{}", file.path);
    }
    let options = with_properties(&table, &[]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT, p STRING"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, "{\"id\":100,\"p\":\"e%f\"}\n").await;
    let seen = read(&python, &table, &["select count(*) as n, max(id) as m from t"]);
    assert_eq!(seen["answers"][0], json!([{"n": 20, "m": 100}]));
    assert_eq!(seen["version"], before.version() + 1);
}

#[tokio::test]
async fn appends_and_compactions_of_the_wheel_go_on_beside_the_stream() {
    let Some(python) = python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.checkpointInterval", "7")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, &ids(0..1)).await;
    let script = r#"
import os, sys, pyarrow as pa
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError
path, compacted = sys.argv[1], 0
for n in range(12):
    data = pa.table({"id": pa.array([1_000_000 + n], pa.int64())})
    # We commit faster than it re-reads the log, so that it may give up; it has then not committed.
    for attempt in range(100):
        try:
            write_deltalake(path, data, mode="append")
            break
        except CommitFailedError as error:
            print(error, file=sys.stderr)
    else:
        sys.exit("no append got through")
    if n % 4 == 3:
        try:
            DeltaTable(path).optimize.compact()
            compacted += 1
        except Exception as error:
            print(error, file=sys.stderr)
print(compacted, flush=True)
# The wheel's threads may abort a process that tears them down at its leisure.
os._exit(0)
"#;
    let mut other = Command::new(&python)
        .args(["-c", script])
        .arg(dir.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut batch = 1;
    // A few more after the other one has ended, so that the last of its commits are passed too.
    let mut left = 5;
    while left > 0 {
        append(&sink, q, batch, &ids(batch..batch + 1)).await;
        sink.after_completion().await.unwrap();
        batch += 1;
        if other.try_wait().unwrap().is_some() {
            left -= 1;
        }
        assert!(batch < 100_000, "the other writer does not end");
    }
    assert!(other.wait().unwrap().success());
    sink.finish_maintenance().await.unwrap();
    let statement = "select count(*) as n, count(distinct id) as d, max(id) as m from t";
    let seen = read(&python, dir.path(), &[statement]);
    assert_eq!(seen["answers"][0], json!([{"n": batch + 12, "d": batch + 12, "m": 1_000_011}]));
    assert_eq!(row_count(dir.path()), batch + 12);
}
