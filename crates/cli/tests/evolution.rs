//! A pipeline file that changes between two runs: added columns evolve the table, anything else is
//! refused with the precise difference, and `--full-refresh` starts over (mission row T5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_testkit::{KafkaHarness, TestRecord};
use millstream_wire::Codec;
use std::process::{Command, Output, Stdio};

struct Lake {
    directory: tempfile::TempDir,
    brokers: String,
}

impl Lake {
    fn millstream(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_millstream"))
            .args(arguments)
            .args(["--log-level", "warn", "--storage"])
            .arg(self.directory.path().join("lake"))
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    /// Runs a pipeline of one table; returns exit status and standard error.
    fn run(&self, select: &str, more: &[&str]) -> (Option<i32>, String) {
        let file = self.directory.path().join("pipeline.sql");
        let text = format!(
            "CREATE OR REFRESH STREAMING TABLE t AS {select}\n\
             FROM STREAM read_kafka(bootstrapServers => '{}', subscribe => 'topic',\n\
             startingOffsets => 'earliest', deadLetter => 't_dead_letters'));",
            self.brokers
        );
        std::fs::write(&file, text).unwrap();
        let file = file.to_str().unwrap();
        let output =
            self.millstream(&[&["run", file, "--trigger", "available-now"], more].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn rows(&self, query: &str) -> String {
        let output = self.millstream(&["sql", "-e", query, "--format", "csv"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

async fn produce(kafka: &KafkaHarness, values: &[&str]) {
    let records: Vec<TestRecord> = values.iter().map(|v| TestRecord::value(*v)).collect();
    kafka.producer().await.produce("topic", 0, &records, Codec::None).await;
}

const ONE: &str = "SELECT j.a, offset FROM (SELECT from_json(CAST(value AS STRING), 'a INT') AS j, \
                   offset";
const TWO: &str = "SELECT j.a, offset, j.b FROM (SELECT from_json(CAST(value AS STRING), \
                   'a INT, b STRING') AS j, offset";
const OTHER: &str = "SELECT j.a + 1 AS a, offset, j.b FROM (SELECT from_json(CAST(value AS \
                     STRING), 'a INT, b STRING') AS j, offset";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_pipeline_evolves_the_table_or_is_refused() {
    let kafka = KafkaHarness::embedded();
    kafka.admin().await.create_topic("topic", 1).await;
    let lake = Lake { directory: tempfile::tempdir().unwrap(), brokers: kafka.bootstrap_servers() };
    produce(&kafka, &["{\"a\":1,\"b\":\"x\"}", "{\"a\":2,\"b\":\"y\"}"]).await;
    assert_eq!(lake.run(ONE, &[]), (Some(0), String::new()));
    assert_eq!(lake.rows("SELECT a, offset FROM t ORDER BY a"), "a,offset\n1,0\n2,1\n");

    // One more column, and one more field in the schema: the table gets it, old rows have none.
    produce(&kafka, &["{\"a\":3,\"b\":\"z\"}"]).await;
    assert_eq!(lake.run(TWO, &[]), (Some(0), String::new()));
    let evolved = "a,offset,b\n1,0,\n2,1,\n3,2,z\n";
    assert_eq!(lake.rows("SELECT a, offset, b FROM t ORDER BY a"), evolved);

    // Another meaning for a column: refused with both, and nothing changes.
    produce(&kafka, &["{\"a\":4,\"b\":\"w\"}"]).await;
    let (status, why) = lake.run(OTHER, &[]);
    assert_eq!(status, Some(2), "{why}");
    assert!(why.contains("QUERY_CHANGED") && why.contains("plan.columns.a: was"), "{why}");
    assert_eq!(lake.rows("SELECT a, offset, b FROM t ORDER BY a"), evolved);

    // A column that is gone is a change too.
    let (status, why) = lake.run(ONE, &[]);
    assert_eq!(status, Some(2), "{why}");
    assert!(why.contains("plan.columns.b"), "{why}");

    // Starting over is asked for by name.
    let (status, why) = lake.run(OTHER, &["--full-refresh", "t", "--yes"]);
    assert_eq!(status, Some(0), "{why}");
    let anew = "a,offset,b\n2,0,x\n3,1,y\n4,2,z\n5,3,w\n";
    assert_eq!(lake.rows("SELECT a, offset, b FROM t ORDER BY a"), anew);
}
