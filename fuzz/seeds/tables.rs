//! Logs of tables, and table checkpoints.

use crate::{Seeds, root};
use arrow::json::ReaderBuilder;
use millstream_types::StructType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding};
use parquet::file::properties::WriterProperties;
use std::fs;
use std::sync::Arc;

const COLUMNS: &str = "
txn STRUCT<appId: STRING, version: BIGINT>,
add STRUCT<path: STRING, partitionValues: MAP<STRING, STRING>, size: BIGINT,
    modificationTime: BIGINT, dataChange: BOOLEAN, stats: STRING>,
remove STRUCT<path: STRING, deletionTimestamp: BIGINT, dataChange: BOOLEAN>,
metaData STRUCT<id: STRING, format: STRUCT<provider: STRING, options: MAP<STRING, STRING>>,
    schemaString: STRING, partitionColumns: ARRAY<STRING>, configuration: MAP<STRING, STRING>>,
protocol STRUCT<minReaderVersion: INT, minWriterVersion: INT>";

const ROWS: &str = r#"
{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"i","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[]}","partitionColumns":[],"configuration":{"k":"v"}}}
{"txn":{"appId":"q","version":4}}
{"add":{"path":"a","partitionValues":{"p":null},"size":1,"modificationTime":2,"dataChange":false,"stats":"{\"numRecords\":3}"}}
{"add":{"path":"b","partitionValues":{"p":"x"},"size":1,"modificationTime":2,"dataChange":false}}
{"remove":{"path":"c","deletionTimestamp":5,"dataChange":false}}
"#;

pub fn add(seeds: &mut Seeds) {
    let data = root().join("crates/delta/tests/delta/data");
    for table in ["spark-4.2", "spark-4.2-partitioned", "spark-4.2-vectors", "spark-4.2-v2"] {
        let log = data.join(table).join("_delta_log");
        let mut names: Vec<_> = fs::read_dir(&log).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        let mut whole = Vec::new();
        let entries = names.iter().filter(|n| {
            let name = n.file_name().unwrap().to_str().unwrap();
            name.len() == 25 && name.ends_with(".json")
        });
        for (version, path) in entries.enumerate() {
            let content = fs::read(path).unwrap();
            seeds.add("delta_log", &[0], &content);
            whole.push(version as u8);
            whole.extend(content);
            whole.push(0xff);
        }
        let hint = log.join("_last_checkpoint");
        if hint.exists() {
            whole.push(8);
            whole.extend(fs::read(hint).unwrap());
        }
        seeds.add("delta_log", &[], whole);
        let checkpoint = log.join(format!("{:020}.checkpoint.parquet", 3));
        if checkpoint.exists() {
            seeds.add("delta_checkpoint", &[], fs::read(checkpoint).unwrap());
        }
    }
    let actions = ROWS.trim().replace('\n', "\n");
    seeds.add("delta_log", &[0], &actions);
    let hint = "\u{8}{\"version\":2,\"size\":9,\"parts\":3}";
    seeds.add("delta_log", &[0], [actions.as_bytes(), &[0xff], hint.as_bytes()].concat());
    let named = "A00000000000000000001.json\n{\"txn\":{\"appId\":\"q\",\"version\":4}}";
    seeds.add("delta_log", &[0], [actions.as_bytes(), &[0xff], named.as_bytes()].concat());
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY] {
        for encoding in [None, Some(Encoding::DELTA_BYTE_ARRAY), Some(Encoding::PLAIN)] {
            seeds.add("delta_checkpoint", &[], checkpoint(compression, encoding));
        }
    }
}

fn checkpoint(compression: Compression, encoding: Option<Encoding>) -> Vec<u8> {
    let schema = Arc::new(StructType::parse_ddl(COLUMNS).unwrap().to_arrow());
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).build_decoder().unwrap();
    decoder.decode(ROWS.as_bytes()).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let mut options = WriterProperties::builder().set_compression(compression);
    if let Some(encoding) = encoding {
        options = options.set_dictionary_enabled(false);
        if encoding == Encoding::PLAIN {
            options = options.set_encoding(encoding);
        } else {
            for path in ["add.path", "txn.appId", "metaData.schemaString"] {
                let path = parquet::schema::types::ColumnPath::from(path);
                options = options.set_column_encoding(path, encoding);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(options.build())).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}
