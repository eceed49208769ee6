//! `millstream verify --bootstrap-servers`: what it compares, what it says, how it ends.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::Codec;
use std::process::{Command, Stdio};

struct Lake {
    directory: tempfile::TempDir,
    brokers: String,
}

impl Lake {
    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Exit status and what was printed.
    fn millstream(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(arguments)
            .args(["--log-level", "warn"])
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs");
        let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
        (output.status.code(), text.concat())
    }

    fn of_pipeline(&self) -> (Option<i32>, String) {
        let (file, lake) = (self.path("pipeline.sql"), self.path("lake"));
        self.millstream(&[
            "verify",
            &file,
            "--storage",
            &lake,
            "--bootstrap-servers",
            &self.brokers,
        ])
    }

    fn of_table(&self, brokers: &str) -> (Option<i32>, String) {
        let (table, checkpoint) = (self.path("lake/t"), self.path("lake/_checkpoints/t/t"));
        let target = ["--table", &table, "--checkpoint", &checkpoint];
        self.millstream(&[&["verify"], &target[..], &["--bootstrap-servers", brokers]].concat())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_held_against_the_source_with_and_without_the_pipeline() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let records: Vec<TestRecord> = (0..40).map(|n| TestRecord::value(format!("{n}"))).collect();
    kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
    let lake = Lake { directory: tempfile::tempdir().unwrap(), brokers: kafka.bootstrap_servers() };
    let pipeline = format!(
        "CREATE OR REFRESH STREAMING TABLE t AS\n\
         SELECT CAST(value AS STRING) AS v, topic, partition, offset\n\
         FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic',\n\
         startingOffsets => 'earliest') WHERE offset % 4 <> 1;",
        lake.brokers
    );
    std::fs::write(lake.path("pipeline.sql"), &pipeline).unwrap();
    let (file, storage) = (lake.path("pipeline.sql"), lake.path("lake"));
    let run = ["run", &file, "--storage", &storage, "--trigger", "available-now"];
    let (status, text) = lake.millstream(&run);
    assert_eq!(status, Some(0), "{text}");

    let (status, text) = lake.of_pipeline();
    assert_eq!(status, Some(0), "{text}");
    let compared = "1 batches compared with the source by the pipeline's own plan, 0 partly \
                    (topic-0 0 to 39)";
    assert!(text.contains(compared) && text.contains("verdict     clean"), "{text}");
    let (status, text) = lake.of_table(&lake.brokers);
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("compared with the source record by record"), "{text}");

    // A pipeline that asks for other rows is not what the table is held against.
    std::fs::write(lake.path("pipeline.sql"), pipeline.replace("% 4", "% 5")).unwrap();
    let (status, text) = lake.of_pipeline();
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("the pipeline is not the one that wrote the table"), "{text}");
    std::fs::write(lake.path("pipeline.sql"), &pipeline).unwrap();

    // Somebody deletes a file's rows without an operation that says so.
    let log = std::path::Path::new(&storage).join("t/_delta_log");
    let first = std::fs::read_to_string(log.join(format!("{:020}.json", 0))).unwrap();
    let add = first.lines().find(|l| l.starts_with("{\"add\"")).unwrap();
    let add: serde_json::Value = serde_json::from_str(add).unwrap();
    let remove = serde_json::json!({"remove": {
        "path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": false,
    }});
    let entry = format!("{{\"commitInfo\":{{\"operation\":\"OPTIMIZE\"}}}}\n{remove}");
    std::fs::write(log.join(format!("{:020}.json", 1)), entry).unwrap();
    let (status, text) = lake.of_pipeline();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("VIOLATION: batch 0: topic-0 offset 0 is lost"), "{text}");
    assert!(text.contains("and 10 more lost rows"), "{text}");
    let (status, text) = lake.of_table(&lake.brokers);
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("30 of its rows are lost, among the records without one"), "{text}");

    // Brokers that do not answer are an error of their own, not a verdict.
    drop(kafka);
    let (status, text) = lake.of_table("no port here");
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("KAFKA_OPTION_INVALID"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_is_part_of_the_report() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let records: Vec<TestRecord> = (0..40).map(|n| TestRecord::value(format!("{n}"))).collect();
    kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
    let lake = Lake { directory: tempfile::tempdir().unwrap(), brokers: kafka.bootstrap_servers() };
    let table = |name: &str| {
        format!(
            "CREATE OR REFRESH STREAMING TABLE {name} AS SELECT topic, partition, offset \
             FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic', \
             startingOffsets => 'earliest', maxOffsetsPerTrigger => 10);",
            lake.brokers
        )
    };
    std::fs::write(lake.path("pipeline.sql"), table("t") + &table("u")).unwrap();
    let (file, storage) = (lake.path("pipeline.sql"), lake.path("lake"));
    let run = ["run", &file, "--storage", &storage, "--trigger", "available-now"];
    let (status, text) = lake.millstream(&run);
    assert_eq!(status, Some(0), "{text}");
    let verify = || lake.millstream(&["verify", &file, "--storage", &storage]);
    let (status, text) = verify();
    assert_eq!(status, Some(0), "{text}");

    // A damaged file of the ledger: nothing is known to be wrong, and not all could be looked at.
    let entry = std::path::Path::new(&storage).join("_checkpoints/t/t/millstream/ledger/2");
    let whole = std::fs::read(&entry).unwrap();
    std::fs::write(&entry, &whole[..whole.len() / 2]).unwrap();
    let (status, text) = verify();
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("ledger/2") && text.contains("verdict     clean"), "{text}");
    std::fs::write(&entry, &whole).unwrap();

    // A data file that is gone is a violation, and the other table is looked at all the same.
    let gone = std::fs::read_dir(std::path::Path::new(&storage).join("t"))
        .unwrap()
        .flatten()
        .find(|e| e.file_name().to_string_lossy().ends_with(".parquet"))
        .unwrap();
    std::fs::remove_file(gone.path()).unwrap();
    let (status, text) = verify();
    assert_eq!(status, Some(1), "{text}");
    assert!(text.contains("is not on disk") && text.contains("verdict     clean"), "{text}");

    // So is a table whose log is damaged.
    let log = std::path::Path::new(&storage).join(format!("t/_delta_log/{:020}.json", 1));
    std::fs::write(&log, "{").unwrap();
    let (status, text) = verify();
    assert_eq!(status, Some(2), "{text}");
    assert!(text.contains("DELTA") && text.contains("verdict     clean"), "{text}");

    // Rows that somebody deleted are no loss of the stream, and the verdict says so.
    let table = std::path::Path::new(&storage).join("u");
    let first = std::fs::read_to_string(table.join(format!("_delta_log/{:020}.json", 0))).unwrap();
    let add = first.lines().find(|l| l.starts_with("{\"add\"")).unwrap();
    let add: serde_json::Value = serde_json::from_str(add).unwrap();
    let remove = serde_json::json!({"remove": {
        "path": add["add"]["path"], "deletionTimestamp": 1, "dataChange": true,
    }});
    let entry = format!("{{\"commitInfo\":{{\"operation\":\"DELETE\"}}}}\n{remove}");
    std::fs::write(table.join(format!("_delta_log/{:020}.json", 4)), entry).unwrap();
    let (_, text) = verify();
    assert!(text.contains("others have added or removed rows"), "{text}");
}
