//! Data files: names, partitions, statistics, limits.

use crate::support::*;
use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, StructArray};
use arrow::datatypes::{DataType, Field, Fields, Schema};
use millstream_delta::{AddFile, DeltaSink, DeltaSinkOptions, OPEN_FILES_MAX};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Compression;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

fn write(sink: &DeltaSink, lines: &str) -> Vec<AddFile> {
    let mut writer = sink.writer(attempt(), 3);
    writer.write(&rows(&sink.input_schema(), lines)).unwrap();
    writer.finish().unwrap()
}

fn stats(file: &AddFile) -> Value {
    serde_json::from_str(file.stats.as_deref().unwrap()).unwrap()
}

fn rows_in(table: &Path, file: &AddFile) -> usize {
    let path = file.local_path(table).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), file.size as u64);
    ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap())
        .unwrap()
        .build()
        .unwrap()
        .map(|b| b.unwrap().num_rows())
        .sum()
}

#[test]
fn statistics_have_sparks_form() {
    let dir = tempfile::tempdir().unwrap();
    let schema = "b TINYINT, l BIGINT, d DECIMAL(10,2), big DECIMAL(38,18), f DOUBLE, s STRING, \
                  day DATE, ts TIMESTAMP, ntz TIMESTAMP_NTZ, flag BOOLEAN, raw BINARY, \
                  tags ARRAY<STRING>, m MAP<STRING, INT>, n STRUCT<x: INT, y: STRUCT<z: STRING>>";
    let sink = sink(dir.path(), schema);
    let lines = concat!(
        r#"{"b":-1,"l":9007199254740993,"d":"-0.05","big":"12345678901234567890.5","f":1.5,"#,
        r#""s":"abc","day":"2024-02-29","ts":"2024-05-01T10:20:30.123456Z","#,
        r#""ntz":"2024-05-01T10:20:30.5","flag":true,"raw":"00","tags":["a",null],"#,
        r#""m":{"k":1},"n":{"x":1,"y":{"z":"q"}}}"#,
        "\n",
        r#"{"b":2,"l":5,"d":"12.30","big":"-1","f":-2.0,"s":"b","#,
        r#""day":"1960-01-01","ts":"1969-12-31T23:59:59.999999Z","#,
        r#""ntz":"2020-01-01T00:00:00","n":{"y":null}}"#,
        "\n{}\n"
    );
    let files = write(&sink, lines);
    assert_eq!(files.len(), 1);
    let text = files[0].stats.as_deref().unwrap();
    let expected = concat!(
        r#"{"numRecords":3,"minValues":{"b":-1,"l":5,"d":-0.05,"big":-1.000000000000000000,"#,
        r#""f":-2.0,"s":"abc","day":"1960-01-01","ts":"1969-12-31T23:59:59.999Z","#,
        r#""ntz":"2020-01-01T00:00:00.000","n":{"x":1,"y":{"z":"q"}}},"#,
        r#""maxValues":{"b":2,"l":9007199254740993,"d":12.30,"#,
        r#""big":12345678901234567890.500000000000000000,"f":1.5,"s":"b","day":"2024-02-29","#,
        r#""ts":"2024-05-01T10:20:30.124Z","ntz":"2024-05-01T10:20:30.500","#,
        r#""n":{"x":1,"y":{"z":"q"}}},"#,
        r#""nullCount":{"b":1,"l":1,"d":1,"big":1,"f":1,"s":1,"day":1,"ts":1,"ntz":1,"flag":2,"#,
        r#""raw":2,"tags":2,"m":2,"n":{"x":2,"y":{"z":2}}}}"#
    );
    assert_eq!(text, expected);
}

#[test]
fn nan_and_infinity_leave_no_bound_that_lies() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "nan DOUBLE, inf DOUBLE, ok DOUBLE");
    let column = |values: [f64; 2]| Arc::new(Float64Array::from(values.to_vec())) as ArrayRef;
    let batch = RecordBatch::try_new(
        sink.input_schema(),
        vec![column([1.0, f64::NAN]), column([f64::NEG_INFINITY, 3.0]), column([0.5, 2.0])],
    )
    .unwrap();
    let mut writer = sink.writer(attempt(), 0);
    writer.write(&batch).unwrap();
    let stats = stats(&writer.finish().unwrap()[0]);
    assert_eq!(stats["minValues"], json!({"ok": 0.5}));
    assert_eq!(stats["maxValues"], json!({"inf": 3.0, "ok": 2.0}));
    assert_eq!(stats["nullCount"], json!({"nan": 0, "inf": 0, "ok": 0}));
}

#[test]
fn long_strings_are_cut_and_many_columns_are_not_all_indexed() {
    let dir = tempfile::tempdir().unwrap();
    let columns: Vec<String> = (0..40).map(|n| format!("c{n} STRING")).collect();
    let wide = sink(dir.path(), &columns.join(", "));
    let long = "ü".repeat(500);
    let files = write(&wide, &format!("{{\"c0\":\"{long}\",\"c31\":\"x\",\"c32\":\"y\"}}\n"));
    let stats = stats(&files[0]);
    assert_eq!(stats["minValues"]["c0"], "ü".repeat(32));
    assert_eq!(stats["maxValues"]["c0"], format!("{}\u{10ffff}", "ü".repeat(32)));
    assert_eq!(stats["maxValues"]["c31"], "x");
    assert!(stats["maxValues"].get("c32").is_none());
    assert_eq!(stats["nullCount"].as_object().unwrap().len(), 32);

    let named = |properties: &[(&str, &str)]| {
        let dir = tempfile::tempdir().unwrap();
        let options = with_properties(dir.path(), properties);
        let schema = ddl("a INT, n STRUCT<x: INT, y: INT>, z INT");
        let sink = DeltaSink::prepare(options, &schema, env()).unwrap();
        self::stats(&write(&sink, "{\"a\":1,\"n\":{\"x\":2,\"y\":3},\"z\":4}\n")[0])["nullCount"]
            .clone()
    };
    let key = "delta.dataSkippingNumIndexedCols";
    assert_eq!(named(&[(key, "2")]), json!({"a": 0, "n": {"x": 0}}));
    assert_eq!(named(&[(key, "0")]), json!({}));
    assert_eq!(named(&[(key, "-1")]), json!({"a": 0, "n": {"x": 0, "y": 0}, "z": 0}));
    assert_eq!(
        named(&[("delta.dataSkippingStatsColumns", "n.y, z")]),
        json!({"n": {"y": 0}, "z": 0})
    );
}

#[test]
fn files_have_sparks_physical_types() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(
        dir.path(),
        "ts TIMESTAMP, d DECIMAL(9,2), e DECIMAL(30,2), l ARRAY<INT>, m MAP<STRING, INT>",
    );
    let files = write(&sink, "{\"ts\":\"2024-05-01T10:20:30Z\",\"l\":[1],\"m\":{\"k\":1}}\n");
    let path = files[0].local_path(dir.path()).unwrap();
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let metadata = reader.metadata();
    let descriptor = metadata.file_metadata().schema_descr();
    let columns: Vec<String> = descriptor
        .columns()
        .iter()
        .map(|c| format!("{} {}", c.path().string(), c.physical_type()))
        .collect();
    assert_eq!(
        columns,
        [
            "ts INT64",
            "d INT32",
            "e FIXED_LEN_BYTE_ARRAY",
            "l.list.element INT32",
            "m.key_value.key BYTE_ARRAY",
            "m.key_value.value INT32"
        ]
    );
    assert_eq!(metadata.row_group(0).column(0).compression(), Compression::SNAPPY);
    assert!(metadata.file_metadata().key_value_metadata().is_none());
    assert_eq!(metadata.file_metadata().schema().name(), "spark_schema");
}

#[test]
fn partitions_go_into_their_directories() {
    let dir = tempfile::tempdir().unwrap();
    let options = partitioned(dir.path(), &["k", "day"]);
    let sink = DeltaSink::prepare(options, &ddl("id INT, k STRING, day DATE"), env()).unwrap();
    let files = write(
        &sink,
        "{\"id\":1,\"k\":\"a b/c\",\"day\":\"2024-01-02\"}\n{\"id\":2,\"k\":\"\"}\n{\"id\":3}\n\
         {\"id\":4,\"k\":\"a b/c\",\"day\":\"2024-01-02\"}\n",
    );
    let mut found = BTreeMap::new();
    for file in &files {
        let dir_part = file.path.rsplit_once('/').unwrap().0.to_owned();
        found.insert(dir_part, (rows_in(dir.path(), file), json!(file.partition_values)));
        assert!(file.path.contains("/part-00003-"), "{}", file.path);
    }
    assert_eq!(
        found,
        BTreeMap::from([
            (
                "k=__HIVE_DEFAULT_PARTITION__/day=__HIVE_DEFAULT_PARTITION__".to_owned(),
                (2, json!({"k": null, "day": null})),
            ),
            (
                "k=a%20b%252Fc/day=2024-01-02".to_owned(),
                (2, json!({"k": "a b/c", "day": "2024-01-02"})),
            ),
        ])
    );
    assert!(dir.path().join("k=a b%2Fc/day=2024-01-02").is_dir());
    assert_eq!(stats(&files[0])["nullCount"], json!({"id": 0}));
}

#[test]
fn every_simple_type_can_partition() {
    let dir = tempfile::tempdir().unwrap();
    let columns = ["by", "sh", "i", "l", "f", "d", "dec", "flag", "ts", "ntz"];
    let schema = "id INT, by TINYINT, sh SMALLINT, i INT, l BIGINT, f FLOAT, d DOUBLE, \
                  dec DECIMAL(10,3), flag BOOLEAN, ts TIMESTAMP, ntz TIMESTAMP_NTZ";
    let sink = DeltaSink::prepare(partitioned(dir.path(), &columns), &ddl(schema), env()).unwrap();
    let line = concat!(
        r#"{"id":1,"by":-1,"sh":2,"i":3,"l":4,"f":1.5,"d":1e10,"dec":"-1.50","flag":true,"#,
        r#""ts":"2024-05-01T10:20:30.123456Z","ntz":"2024-05-01T10:20:30"}"#,
        "\n"
    );
    let files = write(&sink, line);
    assert_eq!(
        json!(files[0].partition_values),
        json!({"by": "-1", "sh": "2", "i": "3", "l": "4", "f": "1.5", "d": "10000000000.0",
               "dec": "-1.500", "flag": "true", "ts": "2024-05-01T10:20:30.123456Z",
               "ntz": "2024-05-01 10:20:30.000000"})
    );
}

#[test]
fn open_files_are_bounded_for_many_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let options = partitioned(dir.path(), &["k"]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT, k BIGINT"), env()).unwrap();
    let mut writer = sink.writer(attempt(), 0);
    let partitions = 3 * OPEN_FILES_MAX as i64;
    for round in 0..2i64 {
        let keys: Vec<i64> = (0..partitions).flat_map(|k| [k, k]).collect();
        let batch = RecordBatch::try_new(
            sink.input_schema(),
            vec![
                Arc::new(Int64Array::from_iter_values(keys.iter().map(|k| k + round))) as ArrayRef,
                Arc::new(Int64Array::from(keys)),
            ],
        )
        .unwrap();
        writer.write(&batch).unwrap();
        let open = fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
            .filter(|target| target.starts_with(dir.path()))
            .count();
        assert!(open <= OPEN_FILES_MAX, "{open} open files");
    }
    let files = writer.finish().unwrap();
    assert_eq!(files.iter().map(|f| f.num_records().unwrap()).sum::<u64>(), 4 * 192);
    let names: std::collections::BTreeSet<&str> =
        files.iter().map(|f| f.path.rsplit_once('/').unwrap().1).collect();
    assert_eq!(names.len(), files.len(), "no name is used twice");
    assert_eq!(files.len(), partitions as usize, "rows wait for their partition's file");
}

#[test]
fn file_sizes_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let limited = |options: DeltaSinkOptions| {
        let sink = DeltaSink::prepare(options, &ddl("id BIGINT"), env()).unwrap();
        write(&sink, &ids(0..1000)).iter().map(|f| f.num_records().unwrap()).collect::<Vec<_>>()
    };
    let by_rows =
        DeltaSinkOptions { max_records_per_file: Some(300), ..DeltaSinkOptions::new(dir.path()) };
    let mut counts = limited(by_rows);
    counts.sort_unstable();
    assert_eq!(counts, [100, 300, 300, 300]);

    let sink = DeltaSink::prepare(
        DeltaSinkOptions { target_file_bytes: 100_000, ..DeltaSinkOptions::new(dir.path()) },
        &ddl("s STRING"),
        env(),
    )
    .unwrap();
    let mut writer = sink.writer(attempt(), 0);
    for n in 0..40 {
        let values = (0..500).map(|m| format!("{:0>64}", (n * 500 + m) * 7919));
        let column = Arc::new(StringArray::from_iter_values(values)) as ArrayRef;
        writer.write(&RecordBatch::try_new(sink.input_schema(), vec![column]).unwrap()).unwrap();
    }
    let files = writer.finish().unwrap();
    assert!(files.len() > 1, "{} files", files.len());
    assert_eq!(files.iter().map(|f| rows_in(dir.path(), f)).sum::<usize>(), 20_000);
}

#[test]
fn nullability_and_encodings_of_batches_are_adapted_and_other_types_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "s STRING, n STRUCT<x: BIGINT>");
    let inner = Fields::from(vec![Field::new("x", DataType::Int64, false)]);
    let schema = Arc::new(Schema::new(vec![
        Field::new("s", DataType::Utf8View, false),
        Field::new("n", DataType::Struct(inner.clone()), false),
    ]));
    let x = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
    let batch = RecordBatch::try_new(
        schema,
        vec![
            Arc::new(arrow::array::StringViewArray::from(vec!["a", "b"])),
            Arc::new(StructArray::new(inner, vec![x], None)),
        ],
    )
    .unwrap();
    let mut writer = sink.writer(attempt(), 0);
    writer.write(&batch).unwrap();
    assert_eq!(stats(&writer.finish().unwrap()[0])["maxValues"], json!({"s": "b", "n": {"x": 2}}));

    let wrong = RecordBatch::try_from_iter([
        ("s", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("n", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
    ])
    .unwrap();
    let error = sink.writer(attempt(), 0).write(&wrong).unwrap_err();
    assert_eq!(error.code(), "DELTA_BATCH_SCHEMA");
}

#[test]
fn nested_not_null_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let declared = ddl("id INT, s STRUCT<a: INT NOT NULL, b: INT>");
    let options =
        DeltaSinkOptions { declared: Some(declared.clone()), ..DeltaSinkOptions::new(dir.path()) };
    let sink = DeltaSink::prepare(options, &declared.as_nullable(), env()).unwrap();
    let q = query();
    stage(&sink, &tag(q, 0), "{\"id\":1,\"s\":{\"a\":1}}\n{\"id\":2}\n").unwrap();
    let error = stage(&sink, &tag(q, 1), "{\"s\":{\"b\":1}}\n").unwrap_err();
    assert_eq!(error.message(), "NOT NULL constraint violated for column: s.a.");
    let check = |lines: &str| sink.check(&crate::support::rows(&sink.input_schema(), lines));
    check("{\"id\":2}\n").unwrap();
    assert_eq!(check("{\"s\":{\"b\":1}}\n").unwrap_err().message(), error.message());
}

#[test]
fn waiting_rows_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = partitioned(dir.path(), &["k"]);
    let sink = DeltaSink::prepare(options, &ddl("s STRING, k BIGINT"), env()).unwrap();
    let mut writer = sink.writer(attempt(), 0);
    // A hundred partitions more than files, a megabyte each, is more than may wait.
    let partitions = OPEN_FILES_MAX as i64 + 100;
    let megabyte = "x".repeat(1 << 20);
    for k in 0..partitions {
        let batch = RecordBatch::try_new(
            sink.input_schema(),
            vec![
                Arc::new(StringArray::from(vec![megabyte.as_str()])) as ArrayRef,
                Arc::new(Int64Array::from(vec![k])),
            ],
        )
        .unwrap();
        writer.write(&batch).unwrap();
    }
    let on_disk = fs::read_dir(dir.path())
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("k="))
        .count();
    assert!(on_disk > OPEN_FILES_MAX, "{on_disk} partitions have been begun");
    let files = writer.finish().unwrap();
    assert_eq!(files.len(), partitions as usize);
    assert_eq!(files.iter().map(|f| rows_in(dir.path(), f)).sum::<usize>(), partitions as usize);
}
