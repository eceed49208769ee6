//! What is refused before the first batch, and what is planned.

use crate::support::*;
use millstream_core::contract::Sink as _;
use millstream_delta::{ColumnSource, Conversion, DeltaSink, DeltaSinkOptions};
use serde_json::json;
use std::fs;

#[tokio::test]
async fn nothing_is_written_by_preparing() {
    let dir = tempfile::tempdir().unwrap();
    let table = dir.path().join("a/b/t");
    let sink = sink(&table, "id BIGINT");
    assert_eq!(sink.table_id(), None);
    assert!(!dir.path().join("a").exists());
    assert_eq!(append(&sink, query(), 0, "").await, 0);
    assert!(table.join("_delta_log/00000000000000000000.json").exists());
    assert!(sink.table_id().is_some());
}

#[tokio::test]
async fn a_sink_says_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let sink = sink(dir.path(), "id BIGINT");
    let path = dir.path().display().to_string();
    assert_eq!(sink.describe(), format!("DeltaSink[file:{path}]"));
    assert!(format!("{sink:?}").contains(&path));
    assert!(sink.is_exactly_once());
    assert_eq!(sink.version(), None);
    assert_eq!(sink.identity(), json!({"kind": "delta", "path": path, "tableId": null}));
    for version in 0..3 {
        append(&sink, query(), 0, "").await;
        assert_eq!(sink.version(), Some(version));
    }
    let id = open(dir.path()).id().to_owned();
    assert_eq!(sink.identity(), json!({"kind": "delta", "path": path, "tableId": id}));

    let relative = crate::support::sink(std::path::Path::new("no/such/table"), "id BIGINT");
    assert!(relative.path().is_absolute() && relative.path().ends_with("no/such/table"));
}

#[tokio::test]
async fn other_peoples_directories_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(refusal(DeltaSinkOptions::new(&file), "id INT").code(), "DELTA_NOT_A_TABLE");

    let parquet = dir.path().join("parquet");
    fs::create_dir(&parquet).unwrap();
    fs::write(parquet.join("part-0.parquet"), "x").unwrap();
    let error = refusal(DeltaSinkOptions::new(&parquet), "id INT");
    assert_eq!(error.code(), "DELTA_NOT_A_TABLE");
    assert!(error.message().contains("part-0.parquet"), "{error}");

    let derived = dir.path().join("derived");
    fs::create_dir_all(derived.join("_delta_log")).unwrap();
    fs::write(derived.join("_delta_log/x.tmp"), "x").unwrap();
    sink(&derived, "id INT");
    fs::write(derived.join("_delta_log/00000000000000000007.crc"), "x").unwrap();
    let error = refusal(DeltaSinkOptions::new(&derived), "id INT");
    assert_eq!(error.code(), "DELTA_NOT_A_TABLE");
    assert!(error.message().contains("a log without entries"), "{error}");

    let checkpoints = dir.path().join("checkpoints");
    fs::create_dir_all(checkpoints.join("_checkpoints")).unwrap();
    sink(&checkpoints, "id INT");

    let absent = DeltaSinkOptions { create: false, ..DeltaSinkOptions::new(dir.path().join("no")) };
    assert_eq!(refusal(absent, "id INT").code(), "DELTA_TABLE_NOT_FOUND");
}

#[tokio::test]
async fn a_first_attempt_that_died_does_not_make_a_foreign_directory() {
    let dir = tempfile::tempdir().unwrap();
    let first = sink(dir.path(), "id BIGINT");
    stage(&first, &tag(query(), 0), &ids(0..3)).unwrap();
    assert!(fs::read_dir(dir.path()).unwrap().count() > 1);
    let second = sink(dir.path(), "id BIGINT");
    append(&second, query(), 0, &ids(0..5)).await;
    assert_eq!(row_count(dir.path()), 5);
}

#[tokio::test]
async fn the_query_is_matched_to_the_table() {
    let dir = tempfile::tempdir().unwrap();
    append(&sink(dir.path(), "Id BIGINT, name STRING, at TIMESTAMP"), query(), 0, "").await;

    let plain =
        |schema: &str| DeltaSink::prepare(DeltaSinkOptions::new(dir.path()), &ddl(schema), env());
    let narrower = plain("AT DATE, iD INT").unwrap();
    assert_eq!(narrower.table_schema(), &ddl("Id BIGINT, name STRING, at TIMESTAMP"));
    assert_eq!(
        narrower.columns(),
        [
            ColumnSource::Query { index: 1, conversion: Conversion::Cast },
            ColumnSource::Null,
            ColumnSource::Query { index: 0, conversion: Conversion::Cast },
        ]
    );
    let same = plain("name STRING, id BIGINT").unwrap();
    assert_eq!(
        same.columns()[0],
        ColumnSource::Query { index: 1, conversion: Conversion::Identical }
    );
    let names: Vec<_> = same.input_schema().fields().iter().map(|f| f.name().to_owned()).collect();
    assert_eq!(names, ["Id", "name", "at"]);

    let error = plain("id BIGINT, extra INT").unwrap_err();
    assert_eq!(error.code(), "DELTA_SCHEMA_MISMATCH");
    assert!(error.to_string().contains("mergeSchema"), "{error}");
    assert_eq!(plain("id STRING").unwrap_err().code(), "DELTA_FAILED_TO_MERGE_FIELDS");

    let merging = DeltaSinkOptions { merge_schema: true, ..DeltaSinkOptions::new(dir.path()) };
    let merged = DeltaSink::prepare(merging.clone(), &ddl("id INT, extra INT"), env()).unwrap();
    assert_eq!(merged.table_schema(), &ddl("Id BIGINT, name STRING, at TIMESTAMP, extra INT"));
    assert_eq!(refusal(merging, "id INT, n TIMESTAMP_NTZ").code(), "DELTA_UNSUPPORTED_FEATURE");
}

#[tokio::test]
async fn merged_columns_are_in_the_table_after_the_first_commit() {
    let dir = tempfile::tempdir().unwrap();
    append(&sink(dir.path(), "id BIGINT"), query(), 0, &ids(0..2)).await;
    let before = open(dir.path()).metadata().clone();
    let merging = DeltaSinkOptions { merge_schema: true, ..DeltaSinkOptions::new(dir.path()) };
    let merged = DeltaSink::prepare(merging, &ddl("id BIGINT, extra STRING"), env()).unwrap();
    let q = query();
    append(&merged, q, 0, "{\"id\":2,\"extra\":\"x\"}\n").await;
    append(&merged, q, 1, "{\"id\":3,\"extra\":\"y\"}\n").await;
    let table = open(dir.path());
    assert_eq!(table.schema(), &ddl("id BIGINT, extra STRING"));
    assert_eq!(
        (table.id(), table.metadata().created_time),
        (before.id.as_str(), before.created_time)
    );
    assert!(table.read_commit(1).unwrap().unwrap().metadata.is_some());
    assert!(table.read_commit(2).unwrap().unwrap().metadata.is_none());
}

#[tokio::test]
async fn partitioning_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let schema = "id BIGINT, Day DATE, tags ARRAY<STRING>, raw BINARY";
    let code = |columns: &[&str], schema: &str| refusal(partitioned(dir.path(), columns), schema);
    assert_eq!(code(&["nope"], schema).code(), "DELTA_PARTITION_COLUMN_NOT_FOUND");
    assert_eq!(code(&["tags"], schema).code(), "DELTA_INVALID_PARTITION_COLUMN_TYPE");
    assert_eq!(code(&["raw"], schema).code(), "DELTA_INVALID_PARTITION_COLUMN_TYPE");
    assert_eq!(code(&["day", "DAY"], schema).code(), "DELTA_DUPLICATE_COLUMNS_FOUND");
    assert_eq!(code(&["id"], "id INT").code(), "DELTA_CANNOT_USE_ALL_COLUMNS_FOR_PARTITION");

    let made = DeltaSink::prepare(partitioned(dir.path(), &["day"]), &ddl(schema), env()).unwrap();
    assert_eq!(made.partition_columns(), ["Day"]);
    append(&made, query(), 0, "").await;
    assert_eq!(code(&["id"], schema).code(), "DELTA_PARTITION_MISMATCH");
    assert_eq!(code(&[], schema).code(), "DELTA_PARTITION_MISMATCH");
    sink(dir.path(), schema);
    DeltaSink::prepare(partitioned(dir.path(), &["DAY"]), &ddl(schema), env()).unwrap();
}

#[tokio::test]
async fn declared_columns_make_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let declared = ddl("id BIGINT NOT NULL COMMENT 'key', note STRING");
    let options = DeltaSinkOptions {
        declared: Some(declared.clone()),
        comment: Some("orders".to_owned()),
        ..with_properties(dir.path(), &[("delta.appendOnly", "true"), ("owner", "me")])
    };
    assert_eq!(refusal(options.clone(), "id BIGINT, x INT").code(), "DELTA_SCHEMA_MISMATCH");
    assert_eq!(
        refusal(options.clone(), "note STRING").code(),
        "DELTA_MISSING_NOT_NULL_COLUMN_VALUE"
    );
    let sink = DeltaSink::prepare(options, &ddl("id INT"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, "{\"id\":1}\n").await;
    let table = open(dir.path());
    assert_eq!(table.schema(), &declared);
    assert_eq!(table.metadata().description.as_deref(), Some("orders"));
    assert_eq!(table.properties()["owner"], "me");
    let error = stage(&sink, &tag(q, 1), "{\"note\":\"x\"}\n").unwrap_err();
    assert_eq!(error.code(), "DELTA_NOT_NULL_CONSTRAINT_VIOLATED");
    assert_eq!(error.message(), "NOT NULL constraint violated for column: id.");
}

#[tokio::test]
async fn a_constraint_that_an_existing_table_lacks_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    append(&sink(dir.path(), "id BIGINT, note STRING"), query(), 0, "{\"id\":1}\n").await;
    let defined = |columns: &str, properties: &[(&str, &str)]| DeltaSinkOptions {
        declared: Some(ddl(columns)),
        ..with_properties(dir.path(), properties)
    };
    let error = refusal(defined("ID BIGINT NOT NULL, note STRING", &[]), "id BIGINT");
    assert_eq!(error.code(), "DELTA_NOT_NULL_COLUMN_NULLABLE");
    let mapped = [("delta.columnMapping.mode", "name")];
    assert!(DeltaSink::prepare(defined("id BIGINT", &mapped), &ddl("id BIGINT"), env()).is_err());
    // What changes no row is said in the log only.
    let other = defined("id INT, note STRING, later DATE", &[("owner", "me")]);
    DeltaSink::prepare(other, &ddl("id INT"), env()).unwrap();
}

#[tokio::test]
async fn tables_with_features_that_are_not_here_are_refused_by_name() {
    let field = |metadata: serde_json::Value| {
        json!({"type": "struct", "fields": [
            {"name": "id", "type": "long", "nullable": true, "metadata": metadata}]})
        .to_string()
    };
    let legacy = json!({"minReaderVersion": 1, "minWriterVersion": 6});
    let named = |features: &[&str]| {
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": [],
               "writerFeatures": features})
    };
    let plain = field(json!({}));
    let cases = [
        (named(&["rowTracking", "domainMetadata"]), plain.clone(), json!({}), "rowTracking"),
        (named(&["inCommitTimestamp"]), plain.clone(), json!({}), "inCommitTimestamp"),
        (named(&["icebergCompatV2"]), plain.clone(), json!({}), "icebergCompatV2"),
        (named(&["clustering"]), plain.clone(), json!({}), "clustering"),
        (named(&["typeWidening"]), plain.clone(), json!({}), "typeWidening"),
        (
            legacy.clone(),
            plain.clone(),
            json!({"delta.constraints.c": "id > 0"}),
            "checkConstraints",
        ),
        (
            legacy.clone(),
            plain.clone(),
            json!({"delta.columnMapping.mode": "name"}),
            "columnMapping",
        ),
        (legacy.clone(), plain.clone(), json!({"delta.checkpointPolicy": "v2"}), "v2Checkpoint"),
        (legacy.clone(), field(json!({"delta.generationExpression": "1"})), json!({}), "generated"),
        (legacy.clone(), field(json!({"delta.identity.start": 1})), json!({}), "identity"),
        (legacy.clone(), field(json!({"delta.invariants": "{}"})), json!({}), "invariants"),
        (
            named(&["allowColumnDefaults"]),
            field(json!({"CURRENT_DEFAULT": "1"})),
            json!({}),
            "Defaults",
        ),
        (
            json!({"minReaderVersion": 4, "minWriterVersion": 7, "writerFeatures": []}),
            plain.clone(),
            json!({}),
            "reader version 4",
        ),
        (
            json!({"minReaderVersion": 1, "minWriterVersion": 8}),
            plain.clone(),
            json!({}),
            "writer version 8",
        ),
    ];
    for (protocol, schema, configuration, name) in cases {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("_delta_log")).unwrap();
        let metadata = json!({"id": "t", "format": {"provider": "parquet", "options": {}},
            "schemaString": schema, "partitionColumns": [], "configuration": configuration});
        foreign_commit(
            dir.path(),
            0,
            &[json!({"protocol": protocol}), json!({"metaData": metadata})],
        );
        let error = refusal(DeltaSinkOptions::new(dir.path()), "id BIGINT");
        assert_eq!(error.code(), "DELTA_UNSUPPORTED_FEATURE", "{name}");
        assert!(error.message().contains(name), "{name}: {error}");
        assert!(error.message().contains(dir.path().to_str().unwrap()), "{name}: {error}");
        assert_eq!(fs::read_dir(dir.path().join("_delta_log")).unwrap().count(), 1);
    }
}

#[tokio::test]
async fn short_lives_of_transactions_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options =
        with_properties(dir.path(), &[("delta.setTransactionRetentionDuration", "interval 1 day")]);
    assert_eq!(refusal(options, "id INT").code(), "DELTA_UNSUPPORTED_TRANSACTION_RETENTION");
}

#[tokio::test]
async fn features_of_new_tables_are_listed_in_their_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let options = with_properties(dir.path(), &[("delta.enableChangeDataFeed", "true")]);
    let sink = DeltaSink::prepare(options, &ddl("id BIGINT, at TIMESTAMP_NTZ"), env()).unwrap();
    let q = query();
    append(&sink, q, 0, "{\"id\":1,\"at\":\"2024-05-01T10:20:30\"}\n").await;
    append(&sink, q, 1, "").await;
    assert_eq!(
        json!(open(dir.path()).protocol()),
        json!({"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": ["timestampNtz"],
               "writerFeatures": ["appendOnly", "invariants", "changeDataFeed", "timestampNtz"]})
    );
}
