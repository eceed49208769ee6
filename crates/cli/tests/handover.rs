//! One checkpoint and one table, handed back and forth between real Spark and the real binary: every
//! record is in the table once, whoever ran last (mission row C8).
//!
//! Needs Apache Kafka's jars, the Spark environment and its connectors (`scripts/setup-tests.sh`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use millstream_core::Error;
use millstream_testkit::{KafkaHarness, Ledger, TestRecord, cache_dir, reader, skip_or_fail};
use millstream_wire::Codec;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const TOPIC: &str = "handover";
const PARTITIONS: i32 = 3;
const ROUNDS: usize = 3;

struct Spark {
    python: PathBuf,
    jars: PathBuf,
}

fn spark() -> Result<Spark, Error> {
    let python = cache_dir().join("spark-venv/bin/python");
    let jars = cache_dir().join("spark-4.2.0");
    if !python.exists() || !jars.join("spark-sql-kafka-0-10_2.13-4.2.0.jar").exists() {
        let (python, jars) = (python.display(), jars.display());
        return Err(Error::unavailable(
            "TEST_PART_MISSING",
            format!("{python}, or the connectors in {jars}, are not there."),
        ));
    }
    Ok(Spark { python, jars })
}

impl Spark {
    fn run(&self, brokers: &str, lake: &Path) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/interop/spark_run.py");
        let output = Command::new(&self.python)
            .arg(script)
            .arg(&self.jars)
            .args([brokers, TOPIC])
            .args([checkpoint(lake), lake.join("t")])
            .stdin(Stdio::null())
            .output()
            .expect("Spark runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "Spark: {}\n{errors}", output.status);
    }
}

fn checkpoint(lake: &Path) -> PathBuf {
    lake.join("_checkpoints/t/t")
}

fn millstream(brokers: &str, lake: &Path) {
    let file = lake.with_extension("sql");
    let text = format!(
        "CREATE OR REFRESH STREAMING TABLE t AS
         SELECT CAST(value AS STRING) AS v, partition, offset
         FROM STREAM read_kafka(bootstrapServers => '{brokers}', subscribe => '{TOPIC}',
                                startingOffsets => 'earliest');"
    );
    std::fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_millstream"))
        .arg("run")
        .arg(&file)
        .args(["--trigger", "available-now", "--log-level", "warn", "--storage"])
        .arg(lake)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "millstream: {}\n{errors}", output.status);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_goes_back_and_forth_between_spark_and_millstream() {
    let Some(spark) = skip_or_fail("real Spark", spark()) else { return };
    let Some(kafka) = KafkaHarness::real() else { return };
    if skip_or_fail("the deltalake reader", reader::python()).is_none() {
        return;
    }
    kafka.admin().await.create_topic(TOPIC, PARTITIONS).await;
    let mut producer = kafka.producer().await;
    let directory = tempfile::tempdir().unwrap();
    let lake = directory.path().join("lake");
    let brokers = kafka.bootstrap_servers();
    let mut ledger = Ledger::new();
    for turn in 0..ROUNDS * 2 {
        for partition in 0..PARTITIONS {
            let records: Vec<TestRecord> = (0..50)
                .map(|_| TestRecord::value(format!("{turn}:{}", ledger.next(partition))))
                .collect();
            producer.produce(TOPIC, partition, &records, Codec::None).await;
        }
        if turn % 2 == 0 {
            spark.run(&brokers, &lake);
        } else {
            millstream(&brokers, &lake);
        }
        let rows = reader::pairs(&lake.join("t"), "partition", "offset").unwrap();
        ledger.audit(rows).assert_clean();
    }
}
